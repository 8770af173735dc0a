"""What a run says about latents and refusal, in numbers: records of the stages."""

from dataclasses import dataclass
from typing import ClassVar, final

from refusal_lens.evaluation.effects import EditName
from refusal_lens.prompts import Label
from refusal_lens.records import Estimate, Provenance, Record
from refusal_lens.sparse.firing import Listed
from refusal_lens.sparse.published_rule import PublishedLists
from refusal_lens.sparse.quality import Quality


@final
@dataclass(frozen=True)
class FeatureSummary(Record):
    """Latents that have to do with refusal, in counts, with controls.

    `quality` is that of the autoencoder on the very vectors that are compared. `permuted` are the
    same counts with verdicts dealt out anew, a draw each. `chosen` latents are in most lists;
    `controls` are other latents of equal firing rate, a draw each. `measured` is P(z > 0 | refused)
    - P(z > 0 | answered) of the chosen latents on prompts that did not choose them, over all
    categories and latents; its control is that of the controls. `cosine` is that of the direction
    made of the chosen latents' decoder rows with the pooled direction; its control is the largest
    of the controls. `removed` is the share of the vector's length that goes when the chosen latents
    are zeroed, on refused prompts; its control is that of the controls. Edits leave vectors longer
    than `longest` alone, such as the first token's.
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    sae: str
    quality: Quality
    listed: Listed
    expected_core: float
    permuted: tuple[Listed, ...]
    published: PublishedLists
    chosen: tuple[int, ...]
    controls: tuple[tuple[int, ...], ...]
    measured: Estimate | None
    cosine: Estimate | None
    removed: Estimate | None
    longest: float
    provenance: Provenance


@final
@dataclass(frozen=True)
class FeatureEffect:
    """Refusal of one side's prompts under a condition, the rate without an edit as its control.

    `q` is of the exact McNemar test against the control of the condition (other latents of equal
    firing rate, a direction made of those), after Benjamini-Hochberg over all of them; None where
    there is no such test.
    """

    edit: EditName
    condition: str
    label: Label
    rate: Estimate
    q: float | None = None


@final
@dataclass(frozen=True)
class FeatureEffects(Record):
    """What editing latents does to answers that were read, beside controls."""

    SCHEMA_VERSION: ClassVar[int] = 1

    sae: str
    n_latents: int
    draws: int
    judge: str
    decoding: str
    rows: tuple[FeatureEffect, ...]
    provenance: Provenance

    def of(self, condition: str, label: Label) -> FeatureEffect | None:
        """The row of a condition on one side."""
        rows = [r for r in self.rows if r.condition == condition and r.label == label]
        return rows[0] if rows else None
