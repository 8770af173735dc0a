"""What every fit does before and after its descent: it checks widths, and makes the record."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from refusal_lens.directions import Direction
from refusal_lens.errors import InputError
from refusal_lens.model import LensModel, warn_of_transfer
from refusal_lens.optimised.descent import Descent
from refusal_lens.optimised.learned import Learned, coordinates, without_number
from refusal_lens.optimised.objective import Objective
from refusal_lens.optimised.state import State
from refusal_lens.prompts import PromptSet


def check_fit_model(model: LensModel, given: Sequence[Direction]) -> None:
    """Reject directions of another width, and warn of those of another model.

    Raises:
        InputError: a direction that is not as wide as the stream.
    """
    wrong = [d for d in given if len(d.vector) != model.d_model]
    if wrong:
        raise InputError(
            f"{wrong[0]!r} is {len(wrong[0].vector)} wide, this model's stream "
            f"{model.d_model}; give directions of this model"
        )
    warn_of_transfer(given, model.provenance(), "if that is meant, use allow_transfer()")


def learned_from(
    model: LensModel,
    objective: Objective,
    *,
    method: str,
    descent: Descent,
    state: State,
    basis: Float[Tensor, "vector d_model"],
) -> Learned:
    """The record of a descent that has ended; `basis` holds the vectors of its best evaluation."""
    start, settings = objective.starts[0], descent.settings
    harmless = objective.harmless
    resid = model.residuals(harmless, sites=[start.site], offsets=[start.offset])
    ended = state.stopped(settings)
    if any(set(term.held_out) & set(term.schedule.places) for term in descent.terms.values()):
        method = f"{method} evaluated on its own prompts"
    return Learned(
        method=method,
        category=without_number(start.category),
        site=start.site,
        offset=start.offset,
        alpha=start.scale,
        basis=basis,
        low=coordinates(resid.tensor[:, 0, 0], basis),
        terms=tuple(descent.terms),
        losses=torch.tensor(state.losses, dtype=torch.float64),
        evaluated=tuple(state.evaluated),
        evaluation=torch.tensor(state.evaluation, dtype=torch.float64),
        chosen=state.evaluated[state.evaluation.index(state.best_loss)],
        stopped="no improvement at the lowest learning rate" if ended else "all steps taken",
        settings=settings,
        provenance=model.provenance(
            harmless if isinstance(harmless, PromptSet) else None, seed=settings.seed
        ),
    )
