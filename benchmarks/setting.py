"""On which models and prompts, how often, and in which size benchmarks are run."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, final

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from refusal_lens.directions import Direction, DirectionSet, fit_mean_difference
from refusal_lens.embedded.adapter import load_embedded_model
from refusal_lens.embedded.registry import NATIVE, SMALL, find_embedded
from refusal_lens.errors import InputError
from refusal_lens.evaluation import whole_pairs
from refusal_lens.judges import ScoreTrust
from refusal_lens.judges.first_token import find_refusal_tokens
from refusal_lens.model import LensModel, load_model
from refusal_lens.placement import Placement
from refusal_lens.prompts import Label, PromptSet
from refusal_lens.prompts.files import load_prompts
from refusal_lens.sites import Site

ROOT: Final = Path(__file__).resolve().parents[1]
SPLITS: Final = ("train", "val", "test")  # without what trained an adapter


@final
@dataclass(frozen=True)
class Setting:
    """What every benchmark is given.

    The first of `sources` is measured everywhere, both where the size of the model matters. With
    `whole` False everything is a few prompts, to see that it runs. `runs` are folders of studies.
    """

    prompts: PromptSet
    sources: tuple[str, str] = (SMALL, NATIVE.key)
    turns: int = 3
    whole: bool = True
    runs: tuple[Path, ...] = ()

    @property
    def source(self) -> str:
        """The model of most benchmarks."""
        return self.sources[0]

    def size(self, whole: int, small: int) -> int:
        """How much of something: as the target says, or little."""
        return whole if self.whole else small

    def split(self, name: str, n_pairs: int) -> PromptSet:
        """The first pairs of each category in one split."""
        return self.prompts.only(split=name).first(n_pairs)

    def pairs(self, n_pairs: int) -> PromptSet:
        """The first pairs of each category, whatever their split."""
        return self.prompts.first(n_pairs)

    def side(self, split: str, label: Label, n: int) -> PromptSet:
        """`n` prompts of one side of a split, taken in turn from each category."""
        return whole_pairs(self.prompts.only(split=split), n).only(label=label)


def shipped_prompts() -> PromptSet:
    """The project's own prompts."""
    return load_prompts().only(split=SPLITS)


# --- models, loaded once until `forget_models` --------------------------------------------------


@final
@dataclass(frozen=True)
class HuggingFace:
    """A model as transformers loads it (fused attention), and its tokenizer."""

    model: Any
    tokenizer: PreTrainedTokenizerBase


@cache
def lens(source: str, packed: bool = True) -> LensModel:
    """A model as this project loads it, float32 on the CPU."""
    return load_model(source, placement=Placement(dtype="float32", device="cpu", packed=packed))


@cache
def hugging_face(source: str) -> HuggingFace:
    """The same weights as a user of transformers would have them."""
    return HuggingFace(*_loaded(source))


@cache
def bridge(source: str) -> Any:
    """The same weights under TransformerLens, as its documentation boots them."""
    from transformer_lens.model_bridge import TransformerBridge

    model, tokenizer = _loaded(source)
    model.set_attn_implementation("eager")  # as it loads models by itself
    name = str(model.config.name_or_path)
    return TransformerBridge.boot_transformers(name, hf_model=model, tokenizer=tokenizer)


def forget_models() -> None:
    """Free the memory of all models."""
    for load in (lens, hugging_face, bridge):
        load.cache_clear()


def _loaded(source: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    if (entry := find_embedded(source)) is not None:
        return load_embedded_model(entry)
    model: Any = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    return model.eval(), AutoTokenizer.from_pretrained(source)


# --- what is edited with, and how answers are scored ---------------------------------------------


def directions_of(model: LensModel, prompts: PromptSet) -> DirectionSet:
    """Differences in means at every block's input and post-instruction offset."""
    return fit_mean_difference(model.residual_stats(prompts))


def defined(directions: DirectionSet, layers: Sequence[int]) -> list[Direction]:
    """All directions at these layers, at every offset, where there are any."""
    chosen: list[Direction] = []
    for category in directions.categories:
        for layer in layers:
            for offset in directions.offsets:
                try:
                    chosen.append(directions.at(category, layer, offset))
                except InputError:  # undefined there, as at layer 0
                    continue
    return chosen


def random_direction(model: LensModel, seed: int) -> Direction:
    """A random direction in the middle of the model: it costs what any other does."""
    vector = torch.randn(model.d_model, generator=torch.Generator().manual_seed(seed))
    return Direction.from_difference(
        vector / vector.norm(),
        category=f"random {seed}",
        site=Site(model.n_layers // 2),
        offset=-1,
        provenance=model.provenance(),
        low=0.0,
    )


def trust_of(model: LensModel, prompts: PromptSet) -> ScoreTrust:
    """First-token scores for every category, of the tokens that harmful prompts alone bring.

    Intended labels stand in for read verdicts: what a score costs doesn't depend on them.
    """
    harmful = torch.tensor([p.label == "refuse" for p in prompts])
    tokens = find_refusal_tokens(model.logits(prompts), harmful, [p.category for p in prompts])
    texts = tuple(model.chat.strings(tokens))
    mode = dict.fromkeys(prompts.categories, "first token")
    threshold = dict.fromkeys(prompts.categories, 0.0)
    return ScoreTrust(tokens, texts, {}, mode, threshold, {}, {})  # pyright: ignore


@contextmanager
def unending(model: LensModel) -> Generator[None]:
    """Let answers go on to the last token allowed: every way then makes as many."""
    stops = model.stops
    model.stops = frozenset()
    try:
        yield
    finally:
        model.stops = stops
