"""`--ray local`: the cluster that is started here obeys nobody else."""

import subprocess
import sys
from importlib.machinery import ModuleSpec
from types import SimpleNamespace

import pytest
from tiny_job import environment

from interplay.errors import InterplayError
from interplay.parallel import cluster

STRANGER = """
import sys
from ray._raylet import GcsClient
from ray.exceptions import AuthenticationError
try:
    GcsClient(address=sys.argv[1]).internal_kv_put(b"a", b"b", True)
except AuthenticationError:
    print("refused", end="")
else:
    print("let in", end="")
"""
OWNER = f"""
import os, subprocess, sys
import psutil
from interplay.parallel.cluster import _connected, _ray
ray = _ray("local")
outside = {{k: v for k, v in os.environ.items() if not k.startswith("RAY_AUTH")}}
with _connected(ray, "local"):
    address = ray.get_runtime_context().gcs_address
    assert ray.get(ray.remote(lambda: 7).remote()) == 7
    ours = [psutil.Process(), *psutil.Process().children(recursive=True)]
    listening = {{c.laddr.ip.removeprefix("::ffff:") for p in ours for c in p.net_connections("inet") if c.status == "LISTEN"}}
    for token in (None, "ab" * 32):
        how = {{}} if token is None else {{"RAY_AUTH_TOKEN": token}}
        mode = "disabled" if token is None else "token"
        command = [sys.executable, "-c", {STRANGER!r}, address]
        print(subprocess.run(command, env=outside | how | {{"RAY_AUTH_MODE": mode}}, capture_output=True, text=True).stdout)
print(sorted(listening), "RAY_AUTH_TOKEN" in os.environ)
"""


def test_a_stranger_is_refused_and_only_this_machine_can_knock():
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    pytest.importorskip("psutil", reason="psutil lists who listens where")
    env = environment(RAY_AUTH_MODE="disabled")  # whatever stands there
    done = subprocess.run([sys.executable, "-c", OWNER], env=env, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["refused", "refused", "['127.0.0.1'] False"], done.stderr[-2000:]


def test_a_ray_without_tokens_is_not_started(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(__version__="2.51.0", __spec__=ModuleSpec("ray", None)))
    with pytest.raises(InterplayError, match=r"Ray 2\.51\.0 would let anybody .*: pip install 'ray>=2\.52'"):
        cluster.refuse_unreachable("local")  # before a training
