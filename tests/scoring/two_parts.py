"""Two gloo processes score with one model cut up between them; each writes what it saw as JSON.

    python two_parts.py OUT LLAMA QWEN GEMMA ADAPTER DORA

One process imports everything and forks the two, since imports take longer than the scoring. The adapters belong to the Llama.
"""

import json
import os
import socket
import sys
from pathlib import Path


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def prepared_for(tokenizer):
    from interplay.data.samples import make_sample
    from interplay.data.template import PromptTemplate
    from interplay.scoring.scores import prepare

    template = PromptTemplate(system="", template="Sentence: {text}\nEmotion:")
    sample = make_sample("I was not happy with the food", "sadness", words=["not", "happy", "food"], template=template)
    return prepare(sample, tokenizer, template)


def scored(model, tokenizer) -> list:
    from interplay.scoring.scores import score_prepared

    unit = score_prepared(model, prepared_for(tokenizer))
    return [unit.values.tolist(), unit.noise_sigma]


def message(call) -> str:
    from interplay.errors import InterplayError

    try:
        call()
    except InterplayError as error:
        return str(error)
    return ""


def talk(rank: int) -> dict:
    """What each process hears of numbers and decisions, and of differences between the processes."""
    from interplay.scoring.parallel import decided, in_parallel, is_first, refuse_difference, told

    heard = {
        "several": in_parallel(),
        "first": is_first(),
        "told": told([rank + 0.25, 2**53 - 1.0]),
        "decided": decided(rank == 0),
    }
    heard["same"] = message(lambda: refuse_difference("settings", "a: 1"))
    heard["other"] = message(lambda: refuse_difference("settings", f"a: {rank}"))
    heard["still in step"] = told([7.0 + rank])
    return heard


def work(rank: int, folders: list[str]) -> dict:
    from interplay.scoring.checkpoints import Checkpoint, model_at
    from interplay.scoring.models import load_model

    llama, qwen, gemma, adapter, dora = folders
    found: dict = {}
    for name, folder, dtype in (
        ("llama", llama, "float32"), ("qwen2", qwen, "float32"), ("gemma3", gemma, "float32"), ("float16", llama, "float16"),
    ):  # fmt: skip
        loaded = load_model(folder, dtype=dtype, tensor_parallel=True)
        found[name] = [loaded.sha256, *scored(loaded.model, loaded.tokenizer)]
        if name == "llama":
            base = loaded
            found["part"] = list(base.model.model.layers[0].self_attn.q_proj.weight.to_local().shape)
    with model_at(Checkpoint(1, Path(adapter), "adapter"), base) as model:
        found["adapter"] = scored(model, base.tokenizer)
    found["after"] = scored(base.model, base.tokenizer)
    with model_at(Checkpoint(2, Path(llama), "full"), base) as model:
        found["full"] = scored(model, base.tokenizer)

    def put_on() -> None:
        with model_at(Checkpoint(1, Path(dora), "adapter"), base):
            pass

    found["dora"] = message(put_on)
    found["talk"] = talk(rank)
    return found


def main() -> None:
    import peft  # noqa: F401
    from torch.distributed.tensor import DTensor  # noqa: F401
    from transformers import LlamaForCausalLM, Qwen2ForCausalLM  # noqa: F401

    import interplay.scoring.scores  # noqa: F401

    out, port = Path(sys.argv[1]), free_port()
    children = []
    for rank in range(2):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.environ |= {
                    "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
                    "MASTER_PORT": str(port),
                }  # fmt: skip
                found = work(rank, sys.argv[2:])
                (out / f"rank-{rank}.json").write_text(json.dumps(found))
                code = 0
            except BaseException:
                import traceback

                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    sys.exit(max(map(abs, codes)))


if __name__ == "__main__":
    main()
