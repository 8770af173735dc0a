"""One peer in an environment of its own, which has other versions of transformers.

`python peer_worker.py FOLDER PEER THREADS` loads the model of the folder and says so in a line of
JSON. Then it reads the name of a task per line ("means" or "answers"), runs it, and answers with a
line of JSON: its seconds; the numbers are written into the folder. Nothing of this project is
imported.
"""

import json
import os
import re
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

BATCH = 32


class Given:
    """What is asked: prompts as sent, sides of pairs, a layer, what is added there, how long."""

    def __init__(self, folder: Path) -> None:
        asked = json.loads((folder / "asked.json").read_text(encoding="utf-8"))
        self.pairs: list[tuple[str, str]] = [tuple(pair) for pair in asked["pairs"]]
        self.texts: list[str] = asked["texts"]
        self.ids: list[list[int]] = asked["ids"]
        self.layer: int = asked["layer"]
        self.n_tokens: int = asked["n_tokens"]
        self.vector = load_file(folder / "vector.safetensors")["vector"]
        self.model: Any = AutoModelForCausalLM.from_pretrained(
            folder / "model", torch_dtype=torch.float32
        ).eval()
        self.model.generation_config.eos_token_id = None  # no answer ends early
        self.model.generation_config.do_sample = False
        self.tokenizer = PreTrainedTokenizerFast(
            tokenizer_file=str(folder / "model" / "tokenizer.json"), pad_token=asked["pad_token"]
        )

    def same_tokens(self) -> bool:
        """Whether this tokenizer gives what the other environment's gave."""
        return self.tokenizer(self.texts)["input_ids"] == self.ids

    def batches(self, texts: list[str]) -> list[Any]:
        """Encoded batches in the given order."""
        return [
            self.tokenizer(texts[i : i + BATCH], return_tensors="pt", padding=True)
            for i in range(0, len(texts), BATCH)
        ]

    def answers(self, model: Any) -> torch.Tensor:
        """Greedy answers from a model's own `generate`, [prompt, token]."""
        self.tokenizer.padding_side = "left"
        answers = []
        for batch in self.batches(self.texts):
            batch.pop("token_type_ids", None)
            out = model.generate(**batch, max_new_tokens=self.n_tokens, pad_token_id=0)
            answers.append(out[:, batch["input_ids"].shape[1] :])
        return torch.cat(answers)


Tasks = dict[str, Callable[[], torch.Tensor]]


def transformers_tasks(given: Given) -> Tasks:
    """Hugging Face alone, in that environment's version: for orientation."""
    model = given.model

    def means() -> torch.Tensor:
        given.tokenizer.padding_side = "left"
        sums = []
        for side in zip(*given.pairs, strict=True):
            last = []
            for batch in given.batches(list(side)):
                with torch.inference_mode():
                    out = model(**batch, output_hidden_states=True)
                last.append(torch.stack([h[:, -1] for h in out.hidden_states[1:-1]], 1))
            sums.append(torch.cat(last).mean(0))
        return sums[0] - sums[1]

    def answers() -> torch.Tensor:
        def add(module: Any, args: Any) -> Any:
            del module
            return (args[0] + given.vector, *args[1:])

        handle = model.model.layers[given.layer].register_forward_pre_hook(add)
        try:
            with torch.inference_mode():
                return given.answers(model)
        finally:
            handle.remove()

    return {"means": means, "answers": answers}


def steering_vectors_tasks(given: Given) -> Tasks:
    """`train_steering_vector` (its mean difference) and `SteeringVector.apply`."""
    from steering_vectors import SteeringVector, train_steering_vector

    def means() -> torch.Tensor:
        trained = train_steering_vector(
            given.model, given.tokenizer, given.pairs, batch_size=BATCH, read_token_index=-1
        )
        activations = trained.layer_activations
        return torch.stack([activations[layer] for layer in sorted(activations)[:-1]])

    def answers() -> torch.Tensor:
        vector = SteeringVector({given.layer - 1: given.vector}, "decoder_block")
        with torch.inference_mode(), vector.apply(given.model):
            return given.answers(given.model)

    return {"means": means, "answers": answers}


def repeng_tasks(given: Given) -> Tasks:
    """What it reads for `ControlVector.train`, and `ControlModel.set_control`."""
    from repeng import ControlModel, ControlVector
    from repeng.extract import batched_get_hiddens

    n_layers = given.model.config.num_hidden_layers

    def means() -> torch.Tensor:
        texts = [text for pair in given.pairs for text in pair]
        layers = list(range(n_layers - 1))
        hidden = batched_get_hiddens(given.model, given.tokenizer, texts, layers, BATCH)
        return torch.stack(
            [torch.from_numpy(hidden[i][::2].mean(0) - hidden[i][1::2].mean(0)) for i in layers]
        )

    def answers() -> torch.Tensor:
        controlled = ControlModel(given.model, [given.layer - 1])
        vector = ControlVector(
            given.model.config.model_type, {given.layer - 1: given.vector.numpy()}
        )
        try:
            controlled.set_control(vector, 1.0)
            with torch.inference_mode():
                return given.answers(controlled)
        finally:
            controlled.unwrap()

    return {"means": means, "answers": answers}


def nnsight_tasks(given: Given) -> Tasks:
    """A trace that saves every block's output, and a `generate` that adds to one at each step."""
    from nnsight import TransformersModel, save

    model = TransformersModel(given.model, tokenizer=given.tokenizer, task="text-generation")
    n_layers = given.model.config.num_hidden_layers

    def means() -> torch.Tensor:
        sums = []
        for side in zip(*given.pairs, strict=True):
            last = []
            for first in range(0, len(side), BATCH):
                batch = list(side[first : first + BATCH])
                with torch.inference_mode(), model.trace(batch):
                    rows = save([])
                    for layer in range(n_layers - 1):
                        rows.append(model.model.layers[layer].output[:, -1])
                last.append(torch.stack([_stream(row) for row in rows], 1))
            sums.append(torch.cat(last).mean(0))
        return sums[0] - sums[1]

    def answers() -> torch.Tensor:
        made = []
        settings = {"max_new_tokens": given.n_tokens, "pad_token_id": 0}
        for first in range(0, len(given.texts), BATCH):
            batch = given.texts[first : first + BATCH]
            with torch.inference_mode(), model.generate(batch, **settings) as tracer:
                for _ in tracer.iter[: given.n_tokens]:
                    model.model.layers[given.layer - 1].output[:] += given.vector
                out = tracer.result.save()
            made.append(out[:, -given.n_tokens :])
        return torch.cat(made)

    return {"means": means, "answers": answers}


def _stream(output: Any) -> torch.Tensor:
    return output[0] if isinstance(output, tuple) else output


PEERS: dict[str, Callable[[Given], Tasks]] = {
    "transformers": transformers_tasks,
    "steering-vectors": steering_vectors_tasks,
    "repeng": repeng_tasks,
    "nnsight": nnsight_tasks,
}


def begin_peak() -> None:
    """Begin the peak of memory anew, on Linux."""
    path = Path("/proc/self/clear_refs")
    if path.exists():
        path.write_text("5")


def memory_mib(name: str) -> float:
    """This process's memory now (VmRSS) or at its peak (VmHWM) in MiB; 0 but on Linux."""
    path = Path("/proc/self/status")
    match = re.search(rf"{name}:\s+(\d+) kB", path.read_text()) if path.exists() else None
    return int(match[1]) / 1024 if match else 0.0


def main() -> None:
    """Answer tasks until the input ends."""
    folder, peer = Path(sys.argv[1]), sys.argv[2]
    torch.set_num_threads(int(sys.argv[3]))
    answer = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever libraries print goes to stderr
    given = Given(folder)
    tasks = PEERS[peer](given)
    versions = {name: metadata.version(name) for name in dict.fromkeys((peer, "transformers"))}
    print(json.dumps({"versions": versions, "same_tokens": given.same_tokens()}), file=answer)
    for line in sys.stdin:
        name = line.strip()
        begin_peak()
        before, wall, cpu = memory_mib("VmRSS"), time.perf_counter(), time.process_time()
        made = tasks[name]()
        took = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        took["rise_mib"] = max(0.0, memory_mib("VmHWM") - before)
        save_file({name: made.detach().clone().contiguous()}, folder / f"{peer}-{name}.safetensors")
        print(json.dumps(took), file=answer)


if __name__ == "__main__":
    main()
