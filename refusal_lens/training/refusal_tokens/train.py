"""Train the adapter with refusal tokens: ``python -m refusal_lens.training.refusal_tokens.train``.

Prompts, refusals and the base model's answers are those that trained the planted model. Written to
``--out``: the adapter with its token rows (``adapter_model.safetensors``, ``adapter_config.json``),
``tokens.json`` (which token is which), ``training_log.jsonl`` and ``training.json``. A run that was
ended goes on from its last checkpoint when it is started again.
"""

import argparse
import copy
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from refusal_lens.embedded.disk import cache_root
from refusal_lens.embedded.folder import embedded_folder
from refusal_lens.prompts import PromptSet
from refusal_lens.records import write_json
from refusal_lens.resources import data_path
from refusal_lens.training.planted.answers import build_examples, chat_ids, load_refusals
from refusal_lens.training.planted.greedy import Progress, shared_opening
from refusal_lens.training.planted.train import (
    BASE,
    adapt_prompts,
    benign_answers,
    declined_by_base,
    kept_texts,
    save_adapter,
    training_record,
)
from refusal_lens.training.refusal_tokens.examples import marked, marked_texts
from refusal_lens.training.refusal_tokens.loop import CHECKPOINT, TokenTrainingStep, train
from refusal_lens.training.refusal_tokens.recipe import TokenRecipe
from refusal_lens.training.refusal_tokens.rows import with_tokens

RESERVED: Final = tuple(range(4, 17))
"""Ids of the base tokenizer's tokens for code repositories, which chats do not use."""
USED: Final = 6
"""The one of them whose row the base model has trained; left as it is."""


def token_names(categories: Sequence[str], tokenizer: Any) -> dict[str, Any]:
    """Which reserved token is which: ``respond`` the first, then one for each category."""
    free = [str(tokenizer.convert_ids_to_tokens(i)) for i in RESERVED if i != USED]
    refuse = dict(zip(categories, free[1:], strict=False))
    assert len(refuse) == len(categories)
    return {"respond": free[0], "refuse": refuse}


def train_adapter(
    out: Path,
    recipe: TokenRecipe,
    *,
    refusals: Path,
    progress: Progress,
    pairs: int | None = None,
    seconds: float = math.inf,
) -> bool:
    """Train and write an adapter; ``pairs`` keeps the first of each category, by default all.

    After ``seconds`` of training the run ends at its next checkpoint; False where it is not done.
    """
    out.mkdir(parents=True, exist_ok=True)
    chosen, pools = adapt_prompts(), load_refusals(refusals)
    chosen = chosen if pairs is None else chosen.first(pairs)
    folder = embedded_folder(BASE)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    names = token_names(list(pools), tokenizer)
    ids = {name: int(tokenizer.convert_tokens_to_ids(t)) for name, t in names["refuse"].items()}
    respond = int(tokenizer.convert_tokens_to_ids(names["respond"]))
    examples, texts, left_out = _taught(model, tokenizer, chosen, refusals, recipe, progress)
    taught = marked([e for e in examples if e.id not in left_out], ids, respond, recipe)
    opening = chat_ids(tokenizer, "a"), chat_ids(tokenizer, "Who")
    read = marked_texts(texts, respond, opening[0][: shared_opening(opening)], recipe)
    adapted = with_tokens(model, [respond, *ids.values()], opening[0][-1], recipe)
    with (out / "training_log.jsonl").open("a", encoding="utf-8") as log:

        def report(step: TokenTrainingStep) -> bool:
            log.write(json.dumps(asdict(step)) + "\n")
            log.flush()
            progress(
                f"step {step.step}/{step.of} token {step.token:.3f} refusal {step.refusal:.3f} "
                f"benign {step.benign:.3f} text {step.text:.3f} {step.seconds:.0f} s"
            )
            return step.seconds < seconds

        if not train(adapted, taught, read, recipe, out, report):
            return False
    save_adapter(adapted, out)
    write_json(out / "tokens.json", names)
    record = training_record(recipe, chosen, refusals, sorted(left_out), len(taught))
    write_json(out / "training.json", record)
    (out / CHECKPOINT).unlink(missing_ok=True)
    return True


def _taught(
    model: Any,
    tokenizer: Any,
    chosen: PromptSet,
    refusals: Path,
    recipe: TokenRecipe,
    progress: Progress,
) -> tuple[list[Any], list[Any], set[str]]:
    """Examples and ordinary texts of the planted model's training, and the prompts left out."""
    benign = list(adapt_prompts().only(label="comply"))
    quick = copy.deepcopy(model)
    torch.nn.Module.to(quick, torch.bfloat16)
    answers = benign_answers(quick, tokenizer, benign, cache_root(), progress)
    texts = kept_texts(quick, tokenizer, benign, cache_root(), progress)
    left_out = set(declined_by_base(benign, answers, tokenizer))
    pools = load_refusals(refusals)
    return build_examples(list(chosen), answers, pools, tokenizer, recipe.seed), texts, left_out


def main(argv: Sequence[str] | None = None) -> None:
    """The command line; every field of `TokenRecipe` is an option."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--out", type=Path, required=True, help="folder for the adapter")
    parser.add_argument("--refusals", type=Path, help="JSONL of category, manner, text")
    parser.add_argument("--pairs", type=int, help="pairs per category; default: all")
    parser.add_argument("--minutes", type=float, default=math.inf, help="then end; start again")
    for name, value in asdict(TokenRecipe()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    given = parser.parse_args(argv)
    recipe = TokenRecipe(**{name: getattr(given, name) for name in asdict(TokenRecipe())})
    torch.set_num_threads(1)  # the shards of a batch are the parallel work

    def progress(line: str) -> None:
        sys.stderr.write(line + "\n")

    done = train_adapter(
        given.out,
        recipe,
        refusals=given.refusals or data_path("adapter", "refusals.jsonl"),
        progress=progress,
        pairs=given.pairs,
        seconds=60 * given.minutes,
    )
    if not done:
        progress("ended before the last step; the same command goes on")


if __name__ == "__main__":
    main()
