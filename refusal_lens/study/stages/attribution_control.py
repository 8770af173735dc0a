"""What the control model's parts write along the same directions."""

from typing import Final

from refusal_lens.attribution import Decomposition, decompose
from refusal_lens.model import allow_transfer
from refusal_lens.progress import Progress
from refusal_lens.study.fitted import FitSizes, Gap
from refusal_lens.study.key import Key
from refusal_lens.study.layer import chosen_layer
from refusal_lens.study.other_models import control_model, has_control
from refusal_lens.study.stage import Bench, Records, Stage, Work, category_directions

CONTROL_DECOMPOSITION: Final = Key("attribution_control", "decomposition", Decomposition)


def attribution_control(bench: Bench, tick: Progress) -> Records:
    """The control model's parts along the same directions: what the prompts' texts alone do."""
    plain, model = control_model(bench), bench.model
    if (plain.d_model, plain.n_layers) != (model.d_model, model.n_layers):
        raise Gap("the control model has another width or depth: it has no such directions")
    directions = category_directions(bench, chosen_layer(bench.results))
    with allow_transfer():  # what the control writes along the study's directions is the question
        return {CONTROL_DECOMPOSITION: decompose(plain, bench.train, directions, progress=tick)}


STAGE: Final = Stage(
    "attribution_control",
    "the same in the control model",
    run=attribution_control,
    work=lambda b: Work.over(b.train if has_control(b) else ()),
    writes=(CONTROL_DECOMPOSITION,),
    needs=("attribution",),
    uses=(FitSizes,),
    uses_control=True,
    plan="attribution",
    place=320,
)
