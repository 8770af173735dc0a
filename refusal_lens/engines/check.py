"""What an engine must show, when it is opened, before anything is read from it."""

import torch
from jaxtyping import Float
from torch import Tensor

from refusal_lens.directions import Direction
from refusal_lens.engines.engine_model import EngineModel
from refusal_lens.engines.failures import EngineError
from refusal_lens.interventions import Ablate, Add, Constant, Only
from refusal_lens.sites import Site

_PROBE = "Why do tides come twice in a day?"
_OTHER = "Name three rivers."
_TOLERANCE = 0.05  # of the length of what was added; bfloat16 rounds to 0.004 of the stream
_TOLERANCE_OF_LOGITS = 0.2  # of the distance between the two prompts'


def check_engine(model: EngineModel) -> None:
    """Read a prompt at every layer, add to one of them, ablate at another, replace the last.

    Below an addition nothing may change, at it the stream must move by what was added, above it
    the change must go on; after an ablation nothing may be left along the direction. What is read
    behind the last block must be all that decides the logits: put in place of another prompt's, it
    must give its own logits.

    Raises:
        EngineError: the engine does otherwise, so that no number of it would mean anything.
    """
    layer = model.n_layers // 2
    sites = [Site(n, "resid_post") for n in range(model.n_layers)]
    plain = _read(model, sites)
    if plain.shape[-1] != model.d_model or not bool(torch.isfinite(plain).all()):
        raise _broken(f"residuals are {plain.shape[-1]} wide or not finite", model)
    length = float(plain[layer].norm())
    random = torch.randn(model.d_model, generator=torch.Generator().manual_seed(0))
    direction = Direction.from_difference(
        length * random / random.norm(),
        category="check of the engine",
        site=sites[layer],
        offset=-1,
        provenance=model.provenance(),
    )
    with model.editing(Add(direction, strength=1.0)):
        moved = (_read(model, sites) - plain) / length
    if float((moved[layer] - direction.vector).norm()) > _TOLERANCE:
        raise _broken(f"what is added behind block {layer} does not show there", model)
    if layer and float(moved[:layer].norm(dim=-1).max()) > _TOLERANCE:
        raise _broken(f"what is added behind block {layer} shows before it", model)
    if layer + 1 < model.n_layers and float(moved[layer + 1].norm()) < _TOLERANCE:
        raise _broken(f"what is added behind block {layer} is lost in the next", model)
    with model.editing(Ablate(direction, at=(sites[layer],))):
        left = float(_read(model, sites)[layer] @ direction.vector) / length
    if abs(left) > _TOLERANCE:
        raise _broken(f"what is ablated behind block {layer} is still there", model)
    _check_logits(model, plain[-1], sites[-1])


def _check_logits(model: EngineModel, last: Float[Tensor, " d_model"], site: Site) -> None:
    expected, others = model.logits([_PROBE, _OTHER])
    with model.editing(Only(Constant(last, site), "prompt", (-1,))):
        (put,) = model.logits([_OTHER])
    if float((put - expected).norm()) > _TOLERANCE_OF_LOGITS * float((others - expected).norm()):
        raise _broken(f"what is read at {site} does not decide the logits", model)


def _read(model: EngineModel, sites: list[Site]) -> Float[Tensor, "site d_model"]:
    return model.residuals([_PROBE], sites=sites).tensor[0, 0]


def _broken(what: str, model: EngineModel) -> EngineError:
    versions = ", ".join(f"{k} {v}" for k, v in model.engine.opened.versions.items())
    return EngineError({"the check on opening": f"{what} ({versions})"}, of=1)
