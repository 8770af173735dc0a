"""Tables of what was measured and of where it came from."""

from collections.abc import Mapping
from typing import Any

from refusal_lens.plots.tables import Cell, Table, plain_table
from refusal_lens.plots.text import number, visible


def provenance_table(manifest: Mapping[str, Any]) -> Table:
    """The manifest, but for what is shown apart."""
    apart = ("question", "rendered_prefix", "post_tokens")
    return plain_table(
        "From manifest.json",
        ("name", "value"),
        {k.replace("_", " "): v for k, v in manifest.items() if k not in apart},
    )


def offsets_table(manifest: Mapping[str, Any]) -> Table:
    """The template's tokens after the prompt, with the offsets that name them."""
    strings: list[str] = list(manifest.get("post_tokens") or ())
    n = len(strings)
    return plain_table(
        "Read-out offsets and their tokens (␣ space, ↵ newline)",
        ("offset", "token"),
        {number(i - n, 0): t.replace(" ", "␣") or "∅" for i, t in enumerate(strings)},
    )


def methods_table(
    question: Mapping[str, Any],
    *,
    controlled: bool,
    attributed: bool,
    compared: str | None = None,
) -> Table:
    """Each figure with its data, n, interval and control.

    `compared` names the model of the trade-off where it is another than the study's.
    """
    at_half = "test" if compared is None else f"test; {visible(compared)}"
    sizes: Mapping[str, Any] = question.get("sizes") or {}
    other = "the control model on the same prompts" if controlled else "none in this run"

    def n(name: str, unit: str) -> str:
        return f"{sizes[name]} {unit}" if name in sizes else "in the hover"

    pairs = n("fit_pairs", "pairs a category at most")
    asked = pairs if compared is None else n("contrast_pairs", "pairs a category at most")
    rows = (
        ("What the model did", "train", pairs, "Wilson", "the benign side"),
        (
            "Cosines, reliability, length",
            "train, last token",
            pairs,
            "delete-one-pair jackknife",
            other,
        ),
        (
            "Separable or not",
            "train, every offset",
            pairs,
            "none: p of 9,999 sign flips, q over categories",
            "the same pairs with random signs",
        ),
        (
            "Shares and cosines, minus control",
            "train, last token",
            pairs,
            "delete-one-pair jackknife, paired",
            other,
        ),
        (
            "Effective dimension, remainders",
            "train, last token",
            pairs,
            "delete-one-pair jackknife",
            "random directions; the mean of the others",
        ),
        (
            "Clusters, map, subspaces",
            "train, last token",
            pairs,
            "pairs drawn again (bootstrap); angles: none",
            "random subspaces of the same sizes",
        ),
        (
            "What it did against what was asked",
            "train, last token",
            asked,
            "delete-one-pair jackknife",
            "the other contrasts",
        ),
        (
            "Refused or answered, within a category",
            "train, last token, harmful prompts",
            asked,
            "none: p of 9,999 permutations of verdicts, q over categories",
            "the same prompts with verdicts exchanged",
        ),
        (
            "Shared benign pool",
            "train, last token",
            pairs,
            "delete-one-pair jackknife (one pool)",
            "matched twins",
        ),
        ("Coordinates of either side", "train, last token", pairs, "none recorded", other),
        (
            "Trust in scores",
            "val; tokens found on train",
            pairs,
            "percentile bootstrap over prompts",
            "chance, .5",
        ),
        (
            "Choice of the layer",
            "val, pooled",
            n("selection_prompts", "prompts a side at most"),
            "t interval over prompts",
            "the unedited model",
        ),
        (
            "Refusal score by layer",
            "val, pooled",
            n("curve_prompts", "prompts a side at most"),
            "t interval over prompts",
            "the unedited model",
        ),
        (
            "Refusals with a direction ablated or added",
            "test, read answers",
            n("effect_pairs", "prompts a side at most"),
            "Wilson",
            "unedited; random, shuffled labels, within-class, of equal length",
        ),
        (
            "Trade-off",
            at_half,
            n("trade_off_pairs", "pairs, the same for every direction"),
            "Wilson",
            "strength 0; three control directions of equal length",
        ),
        (
            "At equal refusal",
            at_half,
            n("trade_off_pairs", "pairs, the same for every direction"),
            "bootstrap over pairs; simultaneous over directions and rates",
            "three control directions of equal length",
        ),
        (
            "How it refuses",
            "test",
            n("manner_pairs", "pairs"),
            "bootstrap over prompts",
            "directions permuted within prompts; for the planted model, deranged manners",
        ),
        (
            "Costs",
            "test, benign side; a passage of a novel",
            n("cost_prompts", "prompts"),
            "t interval; Wilson",
            "the unedited model; a random direction",
        ),
        ("Answers", "test", n("shown", "prompts a category"), "none: examples", "unedited"),
        ("Tokens by layer", "test", "1 prompt", "none: an example", "none"),
    )
    if attributed:
        rows += _attribution(pairs, other)
    return Table(
        "What was measured, on which split, with which n. The exact n stands beside each number.",
        ("figure", "split", "n", "interval (95%)", "control"),
        tuple(tuple(Cell(x) for x in row) for row in rows),
        kind="words",
    )


def _attribution(pairs: str, other: str) -> tuple[tuple[str, str, str, str, str], ...]:
    few = "in the hover"
    return (
        ("What each part writes", "train, last token", pairs, "t interval over pairs", other),
        ("Patches", "test", few, "t interval over pairs", "a random vector of equal length"),
        (
            "Paths of heads, words that they read",
            "test",
            few,
            "t interval over pairs",
            "a random vector of equal length; the benign twins",
        ),
        (
            "Neurons",
            "test",
            few,
            "t interval over pairs",
            "the largest neuron under random signs",
        ),
        ("Knock-outs", "test", few, "t interval over prompts", "as many random parts"),
        ("Probe by depth", "test, another category", few, "Wilson", "shuffled labels"),
    )
