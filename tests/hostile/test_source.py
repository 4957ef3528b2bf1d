"""Loading runs no code, by the syntax tree of every module of the package: no pickle, no eval, no remote code, no network.

`faults` judges one module's text; it is tried on planted ones first, since a checker that finds nothing proves nothing.
"""

import ast
import re
from pathlib import Path

import interplay

PACKAGE = Path(interplay.__file__).parent
PICKLES = {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal", "cloudpickle", "jsonpickle", "pandas.io.pickle"}
NETWORK = {
    "requests",
    "urllib",
    "urllib3",
    "httpx",
    "aiohttp",
    "socket",
    "socketserver",
    "http",
    "ftplib",
    "smtplib",
    "telnetlib",
    "xmlrpc",
}
# Where a library of the network may be, and which part of it: the knock at a Ray cluster whose address the user gave.
MAY_IMPORT = {("parallel/cluster.py", "socket")}
# Processes of our own: worker processes that run this very command again.
MAY_START = {"parallel/run.py"}
CODE = {"eval", "exec", "compile", "__import__", "execfile"}
CALLS = {  # by their last two names
    "torch.load": "torch.load unpickles",
    "torch.save": "torch.save pickles",
    "torch.hub": "torch.hub runs code from a repository",
    "hub.load": "torch.hub runs code from a repository",
    "os.system": "a shell",
    "os.popen": "a shell",
    "pd.read_pickle": "unpickles",
    "pandas.read_pickle": "unpickles",
    "yaml.load": "builds any object: use the loader in config/loading.py",
    "yaml.load_all": "builds any object",
    "yaml.full_load": "builds objects",
    "yaml.unsafe_load": "builds any object",
    "runpy.run_path": "runs a file",
    "runpy.run_module": "runs a module",
}
SAFE_YAML = {
    "yaml.SafeLoader",
    "yaml.safe_dump",
    "yaml.safe_load",
    "yaml.YAMLError",
    "yaml.MappingNode",
    "yaml.ScalarNode",
    "yaml.SequenceNode",
}
REMOTE = re.compile(r"^(Auto\w+|PreTrained\w+|\w+Config|\w+Tokenizer\w*|\w+ForCausalLM)$")
TEXT_CALLS = {"read_text", "write_text"}


def faults(source: str, name: str = "x.py") -> list[str]:
    """What in a module could run code that it loads, or reach a network: one line each, with the line's number."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(node, said) for alias in node.names if (said := _bad_import(alias.name, name))]
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            found += [(node, said) for said in [_bad_import(module, name)] if said]
            whole = [f"{module}.{alias.name}" for alias in node.names]
            found += [(node, f"imports {w}") for w in whole if w in CALLS]
            found += [(node, f"imports {w}") for w in whole if w.startswith("yaml.") and w not in SAFE_YAML]
        elif isinstance(node, ast.Call):
            found += [(node, said) for said in _bad_call(node, name)]
        elif isinstance(node, ast.Attribute) and dotted(node).startswith("yaml.") and dotted(node) not in SAFE_YAML:
            found.append((node, f"{dotted(node)}: only yaml.SafeLoader"))
        elif isinstance(node, ast.Constant) and node.value in PICKLES:
            found.append((node, f"names {node.value}"))  # as for importlib.import_module
        elif isinstance(node, ast.keyword) and node.arg == "trust_remote_code" and not _is(node.value, False):
            found.append((node.value, "trust_remote_code is not False"))
    return [f"{name}:{node.lineno}: {said}" for node, said in found]


def _bad_import(module: str, name: str) -> str | None:
    top = module.partition(".")[0]
    if top in PICKLES or module in PICKLES:
        return f"imports {module}"
    if top in NETWORK and (name, module) not in MAY_IMPORT:
        return f"imports {module}"
    if top == "subprocess" and name not in MAY_START:
        return f"imports {module}"
    return None


def _bad_call(node: ast.Call, name: str) -> list[str]:
    called = dotted(node.func)
    last = called.rpartition(".")[2]
    given = {keyword.arg: keyword.value for keyword in node.keywords}
    out = []
    if called in CODE or (called.startswith("builtins.") and last in CODE):
        out.append(f"calls {called}")
    if (two := ".".join(called.split(".")[-2:])) in CALLS:
        out.append(f"calls {two}: {CALLS[two]}")
    if _is(given.get("shell"), True):
        out.append("shell=True")
    if called in ("np.load", "numpy.load") and not _is(given.get("allow_pickle"), False):
        out.append("numpy.load without allow_pickle=False")
    if _is(given.get("allow_pickle"), True):
        out.append("allow_pickle=True")
    if last in ("from_pretrained", "from_config") and REMOTE.match(called.split(".")[-2] if "." in called else ""):
        if not _is(given.get("trust_remote_code"), False):
            out.append(f"{called} without trust_remote_code=False")
        weights = "Model" in called.split(".")[-2] and last == "from_pretrained" and "gguf_file" not in given
        if weights and not _is(given.get("use_safetensors"), True):
            out.append(f"{called} without use_safetensors=True")
    if last == "load_dataset" and "trust_remote_code" in given:
        out.append("load_dataset with trust_remote_code")
    if last in TEXT_CALLS and isinstance(node.func, ast.Attribute) and "encoding" not in given:
        out.append(f"{last} without an encoding")
    if called in ("open", "io.open", "gzip.open") and _text_mode(node, given) and "encoding" not in given:
        out.append("open in text mode without an encoding")
    return out


def _text_mode(node: ast.Call, given: dict) -> bool:
    mode = given.get("mode", node.args[1] if len(node.args) > 1 else ast.Constant("r"))
    return not (isinstance(mode, ast.Constant) and "b" in str(mode.value))


def _is(node: ast.expr | None, value: bool) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def dotted(node: ast.expr) -> str:
    """`a.b.c` of an attribute or a name; what it hangs on that is neither is left out."""
    if isinstance(node, ast.Attribute):
        inner = dotted(node.value)
        return f"{inner}.{node.attr}" if inner else f".{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


PLANTED = (
    "import pickle",
    "import dill as d",
    "from joblib import load",
    "import cloudpickle",
    "import marshal",
    "from shelve import open",
    "import importlib; importlib.import_module('pickle')",
    "torch.load('x')",
    "import torch; torch.load('x', weights_only=True)",
    "torch.hub.load('a/b', 'c')",
    "from torch import load",
    "eval('1')",
    "exec(open('x', encoding='utf-8').read())",
    "compile('1', 'x', 'eval')",
    "__import__('os')",
    "import builtins; builtins.eval('1')",
    "os.system('ls')",
    "os.popen('ls')",
    "import subprocess",
    "subprocess.run('ls', shell=True)",
    "yaml.load(text, Loader=yaml.SafeLoader)",
    "yaml.load(text)",
    "yaml.unsafe_load(text)",
    "class L(yaml.FullLoader): pass",
    "from yaml import Loader",
    "np.load('x.npy')",
    "np.load('x.npy', allow_pickle=True)",
    "numpy.load('x.npy', allow_pickle=wanted)",
    "pd.read_pickle('x')",
    "AutoModelForCausalLM.from_pretrained('x', use_safetensors=True)",
    "AutoModelForCausalLM.from_pretrained('x', use_safetensors=True, trust_remote_code=True)",
    "AutoModelForCausalLM.from_pretrained('x', trust_remote_code=False)",
    "AutoModelForCausalLM.from_pretrained('x', trust_remote_code=False, use_safetensors=False)",
    "transformers.AutoTokenizer.from_pretrained('x')",
    "AutoConfig.from_pretrained('x', trust_remote_code=asked)",
    "AutoModelForCausalLM.from_config(c)",
    "f(trust_remote_code=True)",
    "datasets.load_dataset('x', trust_remote_code=False)",
    "import requests",
    "from urllib import request",
    "import urllib.request",
    "import socket",
    "from http.server import HTTPServer",
    "open('x')",
    "open('x', 'w')",
    "Path('x').read_text()",
    "Path('x').write_text('y')",
    "gzip.open('x', 'rt')",
)
HARMLESS = (
    "model.eval()",
    "re.compile('x')",
    "torch.compile(model)",
    "prepare_eval(rows)",
    "json.loads(text)",
    "np.load('x.npy', allow_pickle=False)",
    "class L(yaml.SafeLoader): pass",
    "yaml.safe_dump({})",
    "open('x', 'rb')",
    "open('x', 'w', encoding='utf-8')",
    "path.read_text(encoding='utf-8')",
    "read_text(path)",
    "safe_open(path, framework='np')",
    "Trajectory.load(path)",
    "AutoTokenizer.from_pretrained('x', trust_remote_code=False)",
    "AutoModelForCausalLM.from_pretrained('x', trust_remote_code=False, use_safetensors=True)",
    "AutoModelForCausalLM.from_pretrained('x', gguf_file='x.gguf', trust_remote_code=False)",
    "PeftModel.from_pretrained(base, 'x', is_trainable=False)",
)


def test_planted_faults_are_found_and_what_is_harmless_is_let_be():
    assert [source for source in PLANTED if not faults(source)] == []
    assert [fault for source in HARMLESS for fault in faults(source)] == []


def test_no_module_runs_what_it_loads():
    modules = {path.relative_to(PACKAGE).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}
    assert [f for name, path in modules.items() for f in faults(path.read_text(encoding="utf-8"), name)] == []


def test_exceptions_are_in_use():
    """An exception that nothing needs any more is a door left open."""
    for name, module in MAY_IMPORT:
        assert re.search(rf"\b{re.escape(module)}\b", (PACKAGE / name).read_text(encoding="utf-8")), name
    for name in MAY_START:
        assert "subprocess" in (PACKAGE / name).read_text(encoding="utf-8"), name


def test_adapters_are_opened_as_safetensors():
    """peft falls back to a pickle where adapter_model.safetensors is missing: it is given tensors, and no folder."""
    source = (PACKAGE / "models" / "adapters.py").read_text(encoding="utf-8")
    assert "load_file(path / ADAPTER)" in source
    assert "from_pretrained" not in source
    assert 'ADAPTER = "adapter_model.safetensors"' in "".join(
        p.read_text(encoding="utf-8") for p in (PACKAGE / "models").glob("*.py")
    )


# ---- templates -------------------------------------------------------------------------------------------------------

TEMPLATES = sorted(path for path in (PACKAGE / "report" / "templates").iterdir() if path.suffix != ".toml")
# A template that names a script, a style or a picture of elsewhere, an event handler, or switches escaping off.
OPEN_MARKUP = re.compile(
    r"<script[^>]*\ssrc|<link\b|<img\b|<iframe\b|<object\b|<embed\b|<form\b|<base\b|@import|url\((?!#)|https?://(?!www\.w3\.org/)"
    r"|\son[a-z]+\s*=\s*[\"']|\|\s*safe\b|autoescape\s+false|javascript:",
    re.IGNORECASE,
)
OPEN_SCRIPT = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|setTimeout\(\s*[\"']|\bfetch\(|XMLHttpRequest"
    r"|WebSocket|EventSource|sendBeacon|\bimport\s*\(|localStorage|document\.cookie|window\.open|location\s*="
)


def test_no_template_opens_the_page():
    for path in TEMPLATES:
        assert (OPEN_SCRIPT if path.suffix == ".js" else OPEN_MARKUP).findall(path.read_text(encoding="utf-8")) == [], (
            path
        )


def test_a_planted_template_fault_is_found():
    for text in (
        '<script src="x.js">',
        "<img src=x>",
        '<a onclick="x">',
        "{{ x|safe }}",
        "@import 'x'",
        "url(x)",
        "<p>https://a.b",
    ):
        assert OPEN_MARKUP.search(text), text
    for text in ("e.innerHTML = x", "eval(x)", "new Function('x')", "fetch('/')", "document.write(x)"):
        assert OPEN_SCRIPT.search(text), text
