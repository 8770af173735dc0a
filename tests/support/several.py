"""Several processes of one run: started as a launcher does, and what each of them computes.

`python -m support.several MODEL OUT` is one of them.
"""

import os
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import safetensors.torch
import torch
from torch import Tensor

import refusal_lens as rl
from refusal_lens.model import AnswerStore, Decoding, load_model
from refusal_lens.placement import Placement
from refusal_lens.processes import joined
from refusal_lens.prompts import PromptSet
from support.command import WIDE
from support.directions import a_direction
from support.tiny_study import paired_things

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
PROMPTS = paired_things({"train": 3})
HOT = Decoding(max_new_tokens=9, temperature=2.0, seed=3)


def free_port() -> int:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return place.getsockname()[1]


def environment(**more: str) -> dict[str, str]:
    """That of the tests, with the package and `support` to be imported, one thread a process."""
    folders = [str(Path(__file__).parents[1]), str(Path(rl.__file__).parents[1])]
    return {
        **os.environ,
        **WIDE,
        "PYTHONPATH": os.pathsep.join(folders),
        "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": "lo",
        **more,
    }


def start(count: int, *arguments: str) -> list[subprocess.Popen[str]]:
    """`python ARGUMENTS` as so many processes that know each other."""
    here = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    return [
        subprocess.Popen(
            [sys.executable, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(RANK=str(rank), LOCAL_RANK=str(rank), **here),
        )
        for rank in range(count)
    ]


def process_of_rank(launcher: subprocess.Popen[str], rank: int) -> psutil.Process | None:
    """A process that torchrun started; None before it has."""
    for child in psutil.Process(launcher.pid).children(recursive=True):
        if child.environ().get("RANK") == str(rank):
            return child
    return None


def computed(folder: str, kept: Path) -> dict[str, Tensor]:
    """What the methods of `LensModel` ask of prompts, plain and with edits by row.

    `kept` is the file of kept answers.
    """
    model = load_model(folder, placement=Placement(dtype="float32", device="cpu"))
    d = a_direction(model)
    few = PromptSet(PROMPTS.prompts[:1])
    n = len(PROMPTS)
    edit = rl.PerRow(tuple(rl.Add(d, strength=i / 4) if i % 3 else None for i in range(n)))
    stats = model.residual_stats(PROMPTS)
    out = {
        "count": stats.count,
        "total": stats.total,
        "sq_norm": stats.sq_norm,
        "n_pairs": stats.n_pairs,
        "pair_sq": stats.pair_sq,
        "one logits": model.logits(few),  # fewer rows than processes
        "one residuals": model.residuals(few).tensor,
        "text log-probs": model.text_log_probs([(5, 6, 7), (8, 9), (5, 5, 5)]),
    }
    answers = [(5 + i % 3, 6) for i in range(n)]
    twice = [p.text for p in PROMPTS for _ in range(2)]
    out["shared log-probs"] = model.answer_log_probs(twice, [a for a in answers for _ in range(2)])
    for name, edits in (("plain", ()), ("by row", (edit,))):
        ticks: list[int] = []
        with model.editing(*edits):
            out[f"{name} logits"] = model.logits(PROMPTS, progress=ticks.append)
            out[f"{name} residuals"] = model.residuals(PROMPTS, offsets="post").tensor
            out[f"{name} log-probs"] = model.answer_log_probs(PROMPTS, answers)
            out[f"{name} greedy"] = _table(model.generate_ids(PROMPTS, Decoding(9)))
            out[f"{name} sampled"] = _table(model.generate_ids(PROMPTS, HOT))
        out[f"{name} ticks"] = torch.tensor(sum(ticks))
    model.answer_store = AnswerStore(kept)
    model.generate_ids(PromptSet(PROMPTS.prompts[::2]), Decoding(9))
    for n in (9, 4):
        out[f"kept greedy {n}"] = _table(model.generate_ids(PROMPTS, Decoding(n)))
    return {name: tensor.contiguous() for name, tensor in out.items()}


def _table(rows: list[tuple[int, ...]]) -> Tensor:
    return torch.tensor([[len(row), *row] + [0] * (9 - len(row)) for row in rows])


if __name__ == "__main__":
    with joined() as here:
        made = computed(sys.argv[1], Path(sys.argv[2], "answers.jsonl"))
    safetensors.torch.save_file(made, f"{sys.argv[2]}/{here.rank}.safetensors")
