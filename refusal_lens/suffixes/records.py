"""What is kept of suffixes: what each stage measured, and the analysis. No answer is kept."""

from dataclasses import dataclass
from typing import ClassVar, Literal, final

from jaxtyping import Float
from torch import Tensor

from refusal_lens.prompts import Label
from refusal_lens.records import Estimate, Provenance, Record
from refusal_lens.sites import Site
from refusal_lens.suffixes.flips import Prediction
from refusal_lens.suffixes.suffix import Suffix

Against = Literal["no suffix", "neutral text"]


@final
@dataclass(frozen=True, eq=False)
class SuffixBasis(Record):
    """What suffixes are compared on: prompts, what the model did without one, and directions.

    Attributes:
        suffixes: The suffixes; `neutral[i]` is the neutral text for `suffixes[i]`.
        tokens: How many tokens each adds; `neutral_tokens` the same of the neutral texts.
        ids: The prompts; `refused[i]` None where the answer could not be read.
        units: What is resampled as one: a pair, or a prompt by itself.
        sites: Where directions are defined, at the last token of the template.
        vectors: The unit directions that the run edits with, one per site.
        scale: Distance between the two class means along each.
        centre: Mean residual of the prompts without a suffix.
        controls: Unit control directions at `layer`, called `control_names`.
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    suffixes: tuple[Suffix, ...]
    neutral: tuple[Suffix, ...]
    tokens: tuple[int, ...]
    neutral_tokens: tuple[int, ...]
    ids: tuple[str, ...]
    labels: tuple[Label, ...]
    units: tuple[str, ...]
    refused: tuple[bool | None, ...]
    layer: int
    sites: tuple[Site, ...]
    vectors: Float[Tensor, "site d_model"]
    scale: Float[Tensor, " site"]
    centre: Float[Tensor, "site d_model"]
    control_names: tuple[str, ...]
    controls: Float[Tensor, "control d_model"]
    judge: str
    decoding: str
    provenance: Provenance

    @property
    def texts(self) -> tuple[Suffix, ...]:
        """Every text that is put behind the prompts, suffixes before neutral texts."""
        return (*self.suffixes, *dict.fromkeys(self.neutral))

    @property
    def at(self) -> int:
        """Where `layer` is among the sites."""
        return [site.layer for site in self.sites].index(self.layer)

    def neutral_place(self, i: int) -> int:
        """Where in `texts` the neutral text for suffix i is."""
        return self.texts.index(self.neutral[i])


@final
@dataclass(frozen=True, eq=False)
class SuffixReadings(Record):
    """What the texts did to some of the prompts: verdicts, and the shift at every site.

    `refused[t][p]` is the verdict on the answer to prompt p with text t behind it. Tensors are as
    in `Shift`; `control_push` is the push along the control directions at the basis' layer.
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    ids: tuple[str, ...]
    refused: tuple[tuple[bool | None, ...], ...]
    connectivity: Float[Tensor, "prompt site"]
    cosine: Float[Tensor, "prompt site"]
    push: Float[Tensor, "text prompt site"]
    orthogonal: Float[Tensor, "text prompt site"]
    control_push: Float[Tensor, "control text prompt"]


@final
@dataclass(frozen=True)
class FlipTest:
    """A text against another condition on the same prompts: exact McNemar test, two-sided.

    `lost` prompts are refused under the other condition alone, `gained` under this text alone.
    `q` is `p` after Benjamini-Hochberg over all tests of the analysis.
    """

    against: Against
    lost: int
    gained: int
    p: float
    q: float


@final
@dataclass(frozen=True)
class SuffixRow:
    """What one text did; rates are shares of prompts refused, controls without a suffix.

    `change` is the refusal rate with the text minus that without, `change_neutral` minus that with
    the neutral text; over pairs. `push` (control: the neutral text's) and `orthogonal` are at the
    run's layer, in distances between the class means; `efficiency` is the ratio of the means.
    """

    suffix: Suffix
    tokens: int
    neutral_tokens: int
    harmful: Estimate
    benign: Estimate
    change: Estimate
    change_neutral: Estimate | None
    push: Estimate
    orthogonal: Estimate
    efficiency: float | None
    tests: tuple[FlipTest, ...] = ()

    def test(self, against: Against) -> FlipTest | None:
        """The test against one of the two baselines; a neutral text has one."""
        return next((t for t in self.tests if t.against == against), None)


@final
@dataclass(frozen=True)
class FamilyRow:
    """A family's mean change of the refusal rate, and its push; over prompts and suffixes."""

    family: str
    n_suffixes: int
    change: Estimate
    change_neutral: Estimate | None
    push: Estimate


@final
@dataclass(frozen=True)
class FlipGroup:
    """Flips of one kind: "lost", refused without a suffix; "gained", not refused without.

    `predictions` are empty where there are too few, for the `reason`. `by_site` is the AUROC of
    push by itself at each site.
    """

    kind: Literal["lost", "gained"]
    n_rows: int
    n_flips: int
    n_prompts: int
    reason: str | None
    predictions: tuple[Prediction, ...]
    by_site: tuple[Estimate, ...]


@final
@dataclass(frozen=True, eq=False)
class SuffixAnalysis(Record):
    """What suffixes did to refusal and to the residual stream, and whether one predicts the other.

    Attributes:
        rows: One per suffix, then one per neutral text.
        families: In the order of the suffixes, the neutral texts last.
        groups: Flips of refusals lost and gained.
        curves: Mean push by family at each site with the ends of its interval, in distances
            between the class means; over prompts refused without a suffix, `n_curves` of them.
        points: Push and orthogonal shift of each (suffix, prompt refused without one) at the
            layer, in the same units, and 1 where the refusal was lost.
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    layer: int
    sites: tuple[Site, ...]
    scale: float
    n_prompts: int
    n_refused: int
    judge: str
    decoding: str
    control_names: tuple[str, ...]
    rows: tuple[SuffixRow, ...]
    families: tuple[FamilyRow, ...]
    groups: tuple[FlipGroup, ...]
    n_curves: int
    curves: Float[Tensor, "family value site"]
    points: Float[Tensor, "point value"]
    suffixes_digest: str
    provenance: Provenance

    def group(self, kind: Literal["lost", "gained"]) -> FlipGroup:
        """The flips of one kind."""
        return next(g for g in self.groups if g.kind == kind)
