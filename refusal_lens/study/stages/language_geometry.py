"""The languages' directions: cosines, transfer to one another, and what language means add."""

from typing import Final

from refusal_lens.languages import (
    LanguageCosines,
    LanguageLayers,
    LanguageTransfer,
    language_cosines,
    language_layers,
    language_transfer,
)
from refusal_lens.progress import NO_PROGRESS, Progress
from refusal_lens.residuals import Residuals
from refusal_lens.sites import Site
from refusal_lens.study.key import Key
from refusal_lens.study.layer import chosen_layer
from refusal_lens.study.stage import Bench, Outline, Records, Stage, Work
from refusal_lens.study.stages.language_answers import LanguageSizes

COSINES: Final = Key("language_geometry", "cosines", LanguageCosines)
TRANSFER: Final = Key("language_geometry", "transfer", LanguageTransfer)
LAYERS: Final = Key("language_geometry", "layers", LanguageLayers)


def language_residuals(bench: Bench, tick: Progress = NO_PROGRESS) -> Residuals:
    """Residuals of the parallel prompts' last token at every block's input, read once."""
    prompts = bench.size(LanguageSizes).prompts
    return bench.once("language residuals", lambda: bench.model.residuals(prompts, progress=tick))


def geometry(bench: Bench, tick: Progress) -> Records:
    """Directions by intended label at the last token, cross-fitted where they are tried."""
    read = language_residuals(bench, tick)
    site = Site(chosen_layer(bench.results))
    return {
        COSINES: language_cosines(read),
        TRANSFER: language_transfer(read, site, seed=bench.study.seed),
        LAYERS: language_layers(read),
    }


def _work(bench: Outline) -> Work:
    return Work.over(bench.size(LanguageSizes).prompts)


STAGE: Final = Stage(
    "language_geometry",
    "directions of languages: cosines and transfer",
    run=geometry,
    work=_work,
    writes=(COSINES, TRANSFER, LAYERS),
    needs=("geometry",),
    after=("selection",),
    uses=(LanguageSizes,),
    plan="languages",
    place=510,
)
