"""How the time of the statistics grows: prompts, categories, layers read, length, model."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from torch import Tensor

from benchmarks.baselines import HF, Means, largest_gap, means_with_hidden_states, padded
from benchmarks.document import Outcome, Section, compared
from benchmarks.memory import repeated
from benchmarks.setting import Setting, hugging_face, lens
from benchmarks.timing import Timing, take_turns
from refusal_lens.model import LensModel
from refusal_lens.prompts import PromptSet
from refusal_lens.residuals import ResidualStats
from refusal_lens.sites import block_inputs


def measure(setting: Setting) -> Section:
    """Each row: the larger divided by the smallest of its kind."""
    model = lens(setting.source)
    base = setting.pairs(setting.size(3, 1))
    outcomes = [
        *grown(setting, "prompts", prompt_numbers(model, base)),
        *grown(setting, "categories, as many prompts", category_numbers(setting, model)),
        *grown(setting, "layers read", layer_numbers(model, base)),
        *grown(setting, "times as many words per prompt", lengths(model, base)),
        *[o for source in dict.fromkeys(setting.sources) for o in by_model(setting, source, base)],
    ]
    return Section(
        "Growth",
        f"Statistics of {model.name}: time with more of one thing divided by the time with the "
        "least of it, in turns. Last, each model against Hugging Face on the same prompts. "
        f"{setting.turns} turns.",
        outcomes,
    )


Sizes = dict[int, Callable[[], ResidualStats]]


def grown(setting: Setting, what: str, sizes: Sizes) -> list[Outcome]:
    """Time at each size divided by that at the first."""
    timings: dict[str, Timing] = take_turns(
        {f"{n} {what}": task for n, task in sizes.items()}, setting.turns
    )
    first, *others = timings
    return [compared(name, timings[name], (first, timings[first]), gap="") for name in others]


def prompt_numbers(model: LensModel, base: PromptSet) -> Sizes:
    """The prompts once, twice, four times."""
    sets = [repeated(base, k) for k in (1, 2, 4)]
    return {len(p): lambda p=p: model.residual_stats(p) for p in sets}


def category_numbers(setting: Setting, model: LensModel) -> Sizes:
    """The same prompts dealt out over one, three and all categories."""
    prompts = setting.pairs(setting.size(3, 1))
    names = prompts.categories

    def dealt(n: int) -> PromptSet:
        place = {c: names[i % n] for i, c in enumerate(names)}
        return PromptSet(
            tuple(
                replace(p, category=place[p.category], pair=f"{p.category}/{p.pair}")
                for p in prompts
            )
        )

    sets = {n: dealt(n) for n in sorted({1, 3, len(names)})}
    return {n: lambda p=p: model.residual_stats(p) for n, p in sets.items()}


def layer_numbers(model: LensModel, base: PromptSet) -> Sizes:
    """The inputs of one block, of half of them and of all."""
    inputs, n = block_inputs(model.n_layers), model.n_layers
    chosen: list[Sequence[int]] = [[n - 1], range(0, n, 2), range(n)]
    return {
        len(layers): lambda sites=[inputs[i] for i in layers]: model.residual_stats(
            base, sites=sites
        )
        for layers in chosen
    }


def lengths(model: LensModel, base: PromptSet) -> Sizes:
    """The text of each prompt once, twice, four times over."""

    def longer(k: int) -> PromptSet:
        return PromptSet(tuple(replace(p, text=" ".join([p.text] * k)) for p in base))

    sets = {k: longer(k) for k in (1, 2, 4)}
    return {k: lambda p=p: model.residual_stats(p) for k, p in sets.items()}


def by_model(setting: Setting, source: str, prompts: PromptSet) -> list[Outcome]:
    """One model against Hugging Face on the same prompts."""
    model, hf = lens(source), hugging_face(source)
    batches = padded(model, prompts, model.rows.most)

    def theirs() -> Tensor:
        return means_with_hidden_states(hf, batches, Means(prompts, model.chat.n_post))

    ours = f"statistics, {model.name}"
    timings = take_turns(
        {ours: lambda: model.residual_stats(prompts).mean, HF: theirs}, setting.turns
    )
    gap = largest_gap(timings[ours].result, timings[HF].result)
    n = sum(layer.numel() for layer in hf.model.parameters()) / 1e6
    return [
        compared(f"{ours}, {n:,.0f} million weights", timings[ours], (HF, timings[HF]), gap=gap)
    ]
