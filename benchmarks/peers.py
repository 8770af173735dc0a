"""Peers on what they do, mean residuals and steered generation, each in an environment of its own.

The environments are made by `make bench-peers`; the workers (`peer_worker.py`) get the same
weights, the same prompts as sent and the same vector, and take turns with ours.
"""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, final

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.baselines import equal_tokens, largest_gap
from benchmarks.document import Outcome, Section, compared
from benchmarks.generation import speed
from benchmarks.machine import HERE
from benchmarks.peer_worker import BATCH
from benchmarks.setting import (
    ROOT,
    Setting,
    defined,
    directions_of,
    hugging_face,
    lens,
    unending,
)
from benchmarks.timing import Timing, measure_into, say
from refusal_lens.directions import Direction
from refusal_lens.interventions import Add
from refusal_lens.model import Decoding, LensModel
from refusal_lens.model.batch import Ids
from refusal_lens.prompts import Prompt, PromptSet

PYTHONS: Final = {
    peer: ROOT / ".venv-peers" / folder / "bin" / "python"
    for peer, folder in (
        ("steering-vectors", "transformers4"),
        ("repeng", "transformers4"),
        ("nnsight", "transformers5"),
    )
}
OURS: Final = "refusal-lens"


class Worker:
    """A peer that runs in a process of its own."""

    def __init__(self, peer: str, python: Path, folder: Path) -> None:
        self.peer, self._folder = peer, folder
        command = [str(python), str(HERE / "peer_worker.py"), str(folder), peer]
        command.append(str(torch.get_num_threads()))
        # The environment of this project must not reach into that of the peer.
        clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
        clean["HF_HUB_OFFLINE"] = "1"
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=clean
        )
        begun = self._line()
        assert begun["same_tokens"], f"{peer} reads other tokens"
        self.versions: dict[str, str] = begun["versions"]

    def run(self, task: str, timing: Timing) -> None:
        """Run a task once more and add what it took."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{task}\n")
        self.process.stdin.flush()
        took = self._line()
        timing.add(took["wall"], took["cpu"], took["rise_mib"])
        timing.result = load_file(self._folder / f"{self.peer}-{task}.safetensors")[task]

    def _line(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.peer} ended with code {self.process.wait()}: see above")
        return json.loads(line)


@contextmanager
def workers(pythons: Mapping[str, Path], folder: Path) -> Iterator[list[Worker]]:
    """All peers, until the context ends."""
    with ExitStack() as stack:
        started: list[Worker] = []
        for peer, python in pythons.items():
            say(f"starting {peer}")
            worker = Worker(peer, python, folder)
            stack.callback(worker.process.wait)
            stack.callback(worker.process.stdin.close)
            started.append(worker)
        yield started


def write_question(folder: Path, source: str, question: "Question") -> None:
    """The model, the prompts and the vector, for every version of transformers."""
    hf = hugging_face(source)
    hf.model.save_pretrained(folder / "model")
    hf.tokenizer.save_pretrained(folder / "model")
    config = json.loads((folder / "model" / "config.json").read_text(encoding="utf-8"))
    config |= {k: v for k, v in (config.get("rope_parameters") or {}).items() if k == "rope_theta"}
    config["torch_dtype"] = config.pop("dtype", "float32")  # the names of transformers 4
    (folder / "model" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "asked.json").write_text(json.dumps(question.asked()), encoding="utf-8")
    added = question.direction.scale * question.direction.vector
    save_file({"vector": added.contiguous()}, folder / "vector.safetensors")


def texts_of(model: LensModel, prompts: Sequence[Prompt]) -> list[str]:
    """The prompts as they are sent."""
    return [
        model.chat.tokenizer.apply_chat_template(
            [{"role": "user", "content": p.text}], add_generation_prompt=True, tokenize=False
        )
        for p in prompts
    ]


@final
@dataclass(frozen=True, eq=False)
class Question:
    """Pairs whose residuals are read, prompts that are answered, and what is added."""

    model: LensModel
    pairs: PromptSet
    prompts: PromptSet
    direction: Direction
    n_tokens: int

    @classmethod
    def of(cls, setting: Setting) -> "Question":
        """A category's direction in the middle of the model."""
        model = lens(setting.source)
        fitted = directions_of(model, setting.split("train", setting.size(8, 2)))
        middle = defined(fitted, [max(1, model.n_layers // 2)])
        return cls(
            model,
            setting.pairs(setting.size(4, 2)),
            setting.side("val", "refuse", setting.size(32, 3)),
            next(d for d in middle if d.offset == -1),
            setting.size(32, 4),
        )

    def means(self) -> Tensor:
        """The mean difference at the output of every block but the last: the next one's input."""
        stats = self.model.residual_stats(self.pairs, offsets=[-1]).pooled()
        return stats.difference[0, 0, 1:]

    def answers(self) -> list[Ids]:
        """Greedy answers with the direction added."""
        with unending(self.model), self.model.editing(Add(self.direction, strength=1.0)):
            return self.model.generate_ids(self.prompts, Decoding(self.n_tokens))

    def asked(self) -> dict[str, Any]:
        """The same in JSON."""
        tokenizer = self.model.chat.tokenizer
        sides = [texts_of(self.model, side) for side in zip(*self.pairs.pairs(), strict=True)]
        return {
            "pairs": list(zip(*sides, strict=True)),
            "texts": texts_of(self.model, self.prompts.prompts),
            "ids": self.model.ids(self.prompts),
            "layer": self.direction.site.layer,
            "n_tokens": self.n_tokens,
            "pad_token": tokenizer.pad_token or tokenizer.eos_token,
        }


def measure(setting: Setting, pythons: Mapping[str, Path] = PYTHONS) -> Section:
    """Mean differences at every layer's output, and answers with a vector added."""
    if missing := [str(python) for python in pythons.values() if not python.is_file()]:
        return Section("Peers", f"Not measured: {missing[0]} is not there; run `make bench-peers`.")
    question = Question.of(setting)
    with TemporaryDirectory() as folder:
        write_question(Path(folder), setting.source, question)
        with workers(pythons, Path(folder)) as peers:
            timings = {
                "means": in_turns("means", question.means, peers, setting.turns),
                "answers": in_turns("answers", question.answers, peers, setting.turns),
            }
            versions = {worker.peer: worker.versions for worker in peers}
    n, layer = len(question.pairs), question.direction.site.layer
    return Section(
        "Peers",
        f"{question.model.name} in float32, each peer in an environment of its own with the same "
        "weights, tokens and threads, loaded before. Mean difference of the residual stream at the "
        f"last token behind every block but the last, {n} prompts; and greedy answers to "
        f"{len(question.prompts)} prompts, {question.n_tokens} tokens each, with a vector added "
        f"behind block {layer - 1}: there the ratio is that of speeds. Peers read in batches of "
        f"{BATCH}. {setting.turns} turns.",
        outcomes_of(timings, n),
        {f"{name}, {task}": t for task, each in timings.items() for name, t in each.items()},
        notes="; ".join(
            f"{peer} with {', '.join(f'{k} {v}' for k, v in of_peer.items())}"
            for peer, of_peer in versions.items()
        ),
    )


def in_turns(task: str, ours: Any, peers: Sequence[Worker], turns: int) -> dict[str, Timing]:
    """Ours and each peer's seconds, turn by turn."""
    timings = {OURS: Timing()} | {worker.peer: Timing() for worker in peers}
    for worker in peers:  # a peer may prepare something at its first call
        worker.run(task, Timing())
    ours()
    for turn in range(turns):
        measure_into(timings[OURS], ours)
        for worker in peers:
            worker.run(task, timings[worker.peer])
        say(
            f"turn {turn + 1}, {task}: "
            + ", ".join(f"{k} {t.wall[-1]:.2f} s" for k, t in timings.items())
        )
    return timings


def outcomes_of(timings: Mapping[str, dict[str, Timing]], n: int) -> list[Outcome]:
    """Ours against each peer."""
    outcomes: list[Outcome] = []
    for task, of_task in timings.items():
        ours = of_task[OURS]
        for peer, theirs in of_task.items():
            if peer == OURS:
                continue
            if task == "means":
                gap = largest_gap(ours.result, theirs.result)
                outcomes.append(
                    compared(f"mean residuals, {n} prompts", ours, (peer, theirs), gap=gap)
                )
            else:
                gap = equal_tokens(ours.result, theirs.result)
                outcomes.append(speed(OURS, of_task, peer, gap))
    return outcomes
