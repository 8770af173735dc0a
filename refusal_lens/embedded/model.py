"""What an embedded model is: a record that names it, says what it is for and how it is got."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, final

from refusal_lens.embedded.weights import PinnedWeights

SizeChanges = Mapping[str, Any]
"""What of a study's `Sizes` fits a model, by field; the rest stays as it is."""


@final
@dataclass(frozen=True)
class Planting:
    """Refusals that were trained into a model by an adapter of this project.

    `adapter` and `controls` are folders of `data/`; adapter scale 0 is the base model, the control.
    `deranged` names the control adapter in which refusal styles are moved over the categories.
    `planted` and `not_planted` say what is true by construction, and what is left to be measured.
    """

    adapter: str
    controls: str
    deranged: str
    planted: str
    not_planted: str


@final
@dataclass(frozen=True)
class EmbeddedModel:
    """A model that this project can bring by itself.

    `planting` is None for a model that refuses by itself. `aliases` are names of earlier versions,
    under which runs may still stand.
    """

    key: str
    title: str
    purpose: str
    weights: PinnedWeights
    licence: str
    planting: Planting | None = None
    sizes: SizeChanges = field(default_factory=lambda: MappingProxyType({}))
    aliases: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"EmbeddedModel({self.key!r}: {self.title}, {self.purpose})"
