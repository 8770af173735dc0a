"""A learned mixture of given directions, such as whitened category directions (2603.13359).

The coordinates m of a unit vector are learned, r = unit(m_1 b_1 + ... + m_k b_k): it never leaves
the span of the directions b. What is learned from, and what the published code does otherwise, is
in `fit_combination`.
"""

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Final, final

from jaxtyping import Float
from torch import Tensor

from refusal_lens.directions import Direction
from refusal_lens.errors import InputError
from refusal_lens.interventions import Add
from refusal_lens.linalg import fingerprint, unit
from refusal_lens.model import LensModel
from refusal_lens.optimised.descent import Descent, weighted_terms
from refusal_lens.optimised.learned import Learned
from refusal_lens.optimised.mixing import DirectionBasis, InSpan, directions_at, projected, rows_of
from refusal_lens.optimised.objective import Objective
from refusal_lens.optimised.outcome import check_fit_model, learned_from
from refusal_lens.optimised.passes import LearningPasses, learning
from refusal_lens.optimised.rows import TargetRow, answer_rows, text_rows
from refusal_lens.optimised.score_term import OpeningProbability, RefusalOpeningLoss
from refusal_lens.optimised.settings import Settings, Weights
from refusal_lens.optimised.sphere import begin_basis
from refusal_lens.optimised.terms import RetainLoss, Term
from refusal_lens.progress import NO_PROGRESS, Progress
from refusal_lens.records import digest_of

COMBINATION_SETTINGS: Final = Settings(
    retain_tokens=0, learning_rate=0.03, weights=Weights(addition=1.0, retain=1.0)
)
"""How a combination is learned by default: of harmless prompts the next token alone is retained."""

_ACROSS: Final = 1e-2
"""A cosine of the start with its projection on the span below which it says nothing there."""


def fit_combination(
    model: LensModel,
    objective: Objective,
    basis: DirectionBasis,
    *,
    settings: Settings = COMBINATION_SETTINGS,
    checkpoint: Path | str | None = None,
    progress: Progress = NO_PROGRESS,
) -> Learned:
    """Learn a mixture of directions that refuses the refuse side and leaves the rest alone.

    The low-rank combination of arXiv 2603.13359: r = unit(m B), B the unit vectors of `basis` as
    rows, m a unit vector of as many coordinates, minimises

        w_add (-log sum p(refusal openings | alpha r added)) + w_ret KL(unedited || alpha r added)

    the first on the objective's `refused` prompts, with its `refusal_openings`; the second on its
    `harmless` ones, over the next token (over the model's own answer too with
    `Settings(retain_tokens=n)`). The start lends the site and alpha, its scale; learning begins at
    its projection on the span, or with `Settings(begin="random")` at random coordinates. `basis`
    holds directions of that site; of a `DirectionSet` all that are defined at the start's site and
    offset. The paper's are those of `fit_whitened_orthonormal(residuals, order=...)`.

    No gate takes part in learning, as in the released code: every prompt gets the addition, and
    the KL term alone keeps harmless ones as they are. The gate comes afterwards, by a probe of the
    prompt's residuals (below).

    The released code learns U, V and z of r = U V^T z, both matrices begun at the whitened basis
    and free to leave its span, and r's length with them (AdamW, rate 1e-3, 5 epochs, both weights
    1). Here the span and the length are kept, so that coordinates can be read (`mixing_of`) and r
    is compared with other directions at the same strength. Its refusal tokens are special tokens
    that the model was trained on; openings take their place where there are none. The mean
    difference is the case of fixed coordinates: where `basis` holds the categories' own, equal ones
    for categories of one size.

    Weights `ablation` and `independence` have no term here. Checkpoints, seeds, evaluation and
    stopping are as in `fit_rdo`; `losses` has the columns "addition" and "retain".

    >>> import torch
    >>> settings = rl.optimised.Settings(steps=2, rows=2, retain_tokens=0)
    >>> train = prompts.only(split="train")
    >>> asked = rl.optimised.Objective(
    ...     train.only(label="comply"), direction,
    ...     refused=train.only(label="refuse"), refusal_openings=((45,), (78,)),
    ... )
    >>> learned = rl.fit_combination(model, asked, directions, settings=settings)
    >>> learned.method
    'low-rank combination of 3 directions'

    Gated, it is added only to prompts that a probe takes for the refuse side, as in the paper:

    >>> resid = model.residuals(train, sites=[direction.site]).at(direction.site)
    >>> refuse = torch.tensor([p.label == "refuse" for p in train])
    >>> gate = rl.Probe.fit(resid, refuse, name="refuse side", at=direction.site)
    >>> with model.editing(rl.When(gate, rl.Add(learned.direction, strength=1.0))):
    ...     answers = model.generate(["Should I sell?"], rl.Decoding(max_new_tokens=4))

    Raises:
        InputError: fewer than two directions, dependent ones, two of one name, one of another site
            or width; an objective without `refused` and `refusal_openings`, with texts or several
            starts, or with a start across the span; and as `fit_rdo`.
    """
    _check(objective, settings)
    start = objective.starts[0]
    problem = _Combination(model, objective, directions_at(basis, start), settings)
    return problem.solve(checkpoint, progress)


@final
@dataclass(frozen=True)
class _Combination:
    """What is learned on which model: a mixture of these directions."""

    model: LensModel
    objective: Objective
    directions: tuple[Direction, ...]
    settings: Settings

    def solve(self, checkpoint: Path | str | None, progress: Progress) -> Learned:
        check_fit_model(self.model, (self._start, *self.directions))
        basis = rows_of(self.directions)
        begin = self._begin(basis)
        with learning(self.model):
            rows = self._rows()
            each = self._terms(rows)
            spanned = {n: (InSpan(term, basis), w) for n, (term, w) in each.items()}
            terms = weighted_terms(spanned, self.settings)
            stem = None if checkpoint is None else Path(checkpoint)
            descent = Descent(terms, self.settings, self._question(rows), stem, progress)
            state = descent.run(begin)
        vectors, method = unit(state.best @ basis), self._method
        return learned_from(
            self.model, self.objective, method=method, descent=descent, state=state, basis=vectors
        )

    @property
    def _start(self) -> Direction:
        return self.objective.starts[0]

    @property
    def _method(self) -> str:
        w = self.settings.weights
        off = [name for name, on in (("addition", w.addition), ("retain", w.retain)) if not on]
        words = "".join(f" without {name} term" for name in off)
        return f"low-rank combination of {len(self.directions)} directions{words}"

    def _begin(
        self, basis: Float[Tensor, "direction d_model"]
    ) -> Float[Tensor, "vector direction"]:
        """The coordinates of the start's projection, or random ones."""
        k, seed = len(basis), self.settings.seed
        if self.settings.begin == "random":
            return begin_basis([], 1, k, seed)
        mixing = projected(self._start.vector, basis)
        share = float((mixing @ basis).norm())
        if share < _ACROSS:
            raise InputError(
                f"the start {self._start!r} is orthogonal to the {k} directions (share {share:.2g} "
                'of its length is in their span); give another start, or Settings(begin="random")'
            )
        return begin_basis([mixing], 1, k, seed)

    def _rows(self) -> dict[str, tuple[TargetRow, ...]]:
        asked, w = self.objective, self.settings.weights
        rows: dict[str, tuple[TargetRow, ...]] = {}
        if w.addition > 0 and asked.refused is not None:
            rows["addition"] = text_rows(self.model, asked.refused, "?", 1)  # "?" is not read
        if w.retain > 0:
            rows["retain"] = answer_rows(self.model, asked.harmless, self.settings.retain_tokens)
        return rows

    def _terms(self, rows: dict[str, tuple[TargetRow, ...]]) -> dict[str, tuple[Term, float]]:
        passes, w = LearningPasses(self.model, self._start), self.settings.weights
        add, n = partial(Add, alpha=self._start.scale), self.settings.rows
        terms: dict[str, tuple[Term, float]] = {}
        if "addition" in rows:
            openings = self.objective.refusal_openings
            refusal = OpeningProbability(passes, rows["addition"], openings, add)
            passes.keep_streams(refusal.rows(), add(self._start), n)
            terms["addition"] = RefusalOpeningLoss(refusal), w.addition
        if "retain" in rows:
            passes.keep_streams(rows["retain"], add(self._start), n)
            terms["retain"] = RetainLoss(passes, rows["retain"], n_at_once=n, make=add), w.retain
        return terms

    def _question(self, rows: dict[str, tuple[TargetRow, ...]]) -> str:
        made, start = self.model.provenance(), self._start
        return digest_of(
            {
                "method": self._method,
                "model": [made.model_digest, made.template_digest, made.dtype, made.device],
                "rows": {name: [(r.prompt, r.target) for r in each] for name, each in rows.items()},
                "openings": self.objective.refusal_openings,
                "vectors": [fingerprint(d.vector) for d in (start, *self.directions)],
                "site": [str(start.site), start.scale],
                "settings": asdict(self.settings),
            }
        )


def _check(objective: Objective, settings: Settings) -> None:
    """Reject what has no term in a combination, so that nothing that was given is passed over."""
    given = {
        "refusals": objective.refusals is not None,
        "answers": objective.answers is not None,
        "independent_of": bool(objective.independent_of),
    }
    if extra := [name for name, there in given.items() if there]:
        raise InputError(
            f"a combination has no term for `{extra[0]}` of the objective; leave it out, or use "
            "fit_rdo"
        )
    if len(objective.starts) > 1:
        raise InputError(
            f"a combination begins at one direction, found {len(objective.starts)} starts; give "
            "one as `start`, and those to be combined as `basis`"
        )
    if settings.weights.addition > 0 and not objective.refusal_openings:
        raise InputError(
            "a combination is learned from the probability of refusal openings; give the objective "
            "`refused` prompts and `refusal_openings`, such as ((40, 2776),)"
        )
    if settings.retain != "paper":
        raise InputError(
            f"setting retain={settings.retain!r} is a form of fit_rdo's term; a combination has "
            'only "paper", KL(unedited || edited)'
        )
