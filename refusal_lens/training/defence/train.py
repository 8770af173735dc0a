"""Train the defence on the planted model: ``python -m refusal_lens.training.defence.train``.

``--out DIR --ablated refusal`` trains the defence, ``nothing`` and ``random`` its two controls:
the same prompts, answers and number of steps, without any ablation and with that of a random
direction. Prompts, refusals and benign answers are those that planted refusal (the ``adapt``
split). Written to the folder is the planted adapter and what was learnt on top of it as one
adapter of rank 16, ``training.json`` and ``training_log.jsonl``. A run that was stopped goes on
from its last checkpoint when it is started again.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from refusal_lens.embedded.adapter import load_embedded_model
from refusal_lens.embedded.disk import cache_root
from refusal_lens.embedded.registry import PLANTED
from refusal_lens.errors import InputError
from refusal_lens.files import file_sha256
from refusal_lens.prompts import PromptSet
from refusal_lens.records import write_json
from refusal_lens.resources import data_path
from refusal_lens.training.defence.loop import DefenceTraining
from refusal_lens.training.defence.recipe import ARMS, DefenceRecipe
from refusal_lens.training.planted.answers import Example, build_examples, load_refusals
from refusal_lens.training.planted.greedy import Progress
from refusal_lens.training.planted.loop import keep_frozen_rounded, with_lora
from refusal_lens.training.planted.train import (
    adapt_prompts,
    benign_answers,
    declined_by_base,
    kept_texts,
    training_record,
)

WEIGHTS: Final = "adapter_model.safetensors"
CONFIG: Final = "adapter_config.json"
CHECKPOINT: Final = "checkpoint.safetensors"


def train_defence(
    out: Path, recipe: DefenceRecipe, *, progress: Progress, adapter: Path | None = None
) -> None:
    """Train one arm on top of an adapter (by default the shipped one) and write the whole."""
    below = data_path("adapter") if adapter is None else adapter
    out.mkdir(parents=True, exist_ok=True)
    model, tokenizer = load_embedded_model(PLANTED, adapter=below)
    model.set_attn_implementation("eager")
    chosen = adapt_prompts().first(recipe.pairs)
    examples, texts, left_out = _taught(tokenizer, recipe, chosen, progress)
    model.requires_grad_(False)
    adapted = with_lora(model, recipe.loss)
    keep_frozen_rounded(adapted, recipe.loss)
    training = DefenceTraining(adapted, examples, texts, recipe)
    _run(training, out, progress)
    _save_whole(adapted, below, out)
    refusals = data_path("adapter", "refusals.jsonl")
    record = training_record(recipe.loss, chosen, refusals, left_out, len(examples))
    record["on_top_of"] = file_sha256(below / WEIGHTS)
    record["recipe"] = asdict(recipe)
    write_json(out / "training.json", record)
    (out / CHECKPOINT).unlink(missing_ok=True)


def _taught(
    tokenizer: Any, recipe: DefenceRecipe, chosen: PromptSet, progress: Progress
) -> tuple[list[Example], list[Example], list[str]]:
    """Examples and ordinary text as when refusal was planted, and the benign prompts left out."""
    quick = _base()
    benign = list(adapt_prompts().only(label="comply"))
    answers = benign_answers(quick, tokenizer, benign, cache_root(), progress)
    texts = kept_texts(quick, tokenizer, benign, cache_root(), progress)
    left_out = declined_by_base(benign, answers, tokenizer)
    taught = {key: ids[: recipe.loss.benign_tokens] for key, ids in answers.items()}
    pools = load_refusals(data_path("adapter", "refusals.jsonl"))
    examples = build_examples(list(chosen), taught, pools, tokenizer, recipe.loss.seed)
    return [e for e in examples if e.id not in set(left_out)], texts, left_out


def _base() -> PreTrainedModel:
    """The base model as it answered the benign prompts, in bfloat16."""
    model, _ = load_embedded_model(PLANTED, 0.0)
    torch.nn.Module.to(model, torch.bfloat16)
    return model


def _run(training: DefenceTraining, out: Path, progress: Progress) -> None:
    """All steps that are missing, with a line of the log for each and a checkpoint now and then."""
    log, kept = out / "training_log.jsonl", out / CHECKPOINT
    if kept.is_file():
        training.resume(load_file(kept))
        progress(f"goes on behind step {training.step}")
    lines = log.read_text(encoding="utf-8").splitlines()[: training.step] if log.is_file() else []
    with log.open("w", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in lines)
        for step in training:
            file.write(json.dumps(asdict(step)) + "\n")
            file.flush()
            if step.step % training.recipe.checkpoint == 0:
                _checkpoint(training.state(), kept)
            progress(
                f"step {step.step}/{step.of} refusal {step.refusal:.3f} benign {step.benign:.3f} "
                f"text {step.text:.3f} ablated: refusal {step.refusal_ablated:.3f} "
                f"benign {step.benign_ablated:.3f} {step.seconds:.0f} s"
            )


def _checkpoint(state: Mapping[str, Tensor], path: Path) -> None:
    """Write what a stopped run goes on from; the old one is whole until the new one is."""
    partial = path.with_suffix(".partial")
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, partial)
    partial.replace(path)


def _save_whole(model: PeftModel, below: Path, out: Path) -> None:
    """The adapter below and the one trained on top of it, as one of the sum of their ranks."""
    top = {k: v.detach() for k, v in get_peft_model_state_dict(model).items()}
    config = json.loads((below / CONFIG).read_text(encoding="utf-8"))
    trained = model.peft_config["default"].to_dict()
    if config["lora_alpha"] / config["r"] != trained["lora_alpha"] / trained["r"]:
        raise InputError("the two adapters have different alpha / rank; train with the same")
    weights = stacked(load_file(below / WEIGHTS), top)
    save_file(
        {k: v.to(torch.bfloat16).contiguous() for k, v in weights.items()},
        out / WEIGHTS,
        metadata={"format": "pt"},
    )
    config["r"] += trained["r"]
    config["lora_alpha"] += trained["lora_alpha"]
    write_json(out / CONFIG, config)


def stacked(below: Mapping[str, Tensor], top: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """LoRA weights whose product is the sum of two adapters' products, by the weights' names.

    Raises:
        InputError: they adapt different layers.
    """
    if below.keys() != top.keys():
        other = sorted(below.keys() ^ top.keys())[0]
        raise InputError(f"only one of the two adapters has {other!r}; train the same layers")
    return {
        name: torch.cat([below[name].float(), top[name].float()], 0 if ".lora_A." in name else 1)
        for name in below
    }


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--out", type=Path, required=True, help="folder for the adapter")
    parser.add_argument("--ablated", choices=ARMS, default=ARMS[0], help="in half of each batch")
    parser.add_argument("--pairs", type=int, default=DefenceRecipe().pairs, help="per category")
    given = parser.parse_args(argv)

    def progress(line: str) -> None:
        sys.stderr.write(line + "\n")

    torch.set_num_threads(1)  # the halves of a batch are the parallel work
    recipe = DefenceRecipe(ablated=given.ablated, pairs=given.pairs)
    train_defence(given.out, recipe, progress=progress)


if __name__ == "__main__":
    main()
