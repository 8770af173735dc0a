"""Small records, such as a study writes, that the examples of figures may use by name."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final

from refusal_lens.selection import Selection
from refusal_lens.study import Results
from support.synthetic.attribution import decomposition, followed, knock_out, patched, profiles
from support.synthetic.attribution import stages as attribution_stages
from support.synthetic.estimators import comparison as estimators
from support.synthetic.estimators import transfer
from support.synthetic.evaluation import effects, manners, matched
from support.synthetic.features import cards, firing
from support.synthetic.geometry import (
    CATEGORIES,
    comparison,
    contrasts,
    geometry,
    separability,
    shared_pool,
    structure,
    within,
)
from support.synthetic.independence import independence
from support.synthetic.ladder import before_after, ladder
from support.synthetic.languages import ablation, cosines, language_areas, language_curves
from support.synthetic.monitor import trial as monitor_trial
from support.synthetic.records import candidates, direction_set, token_map, trade_off
from support.synthetic.refusal_tokens import carved, roc
from support.synthetic.run import run
from support.synthetic.suffixes import analysis as suffixes

FEW: Final = CATEGORIES[:4]


def _attributions(seed: int) -> dict[str, Any]:
    whole = decomposition(FEW, seed)
    return {category: whole.attribution(category) for category in FEW}


def _maps() -> list[Any]:
    return list(attribution_stages(FEW)["answer_map_0"].values())


def _manners() -> list[Any]:
    matrices = manners(FEW)
    return [{side: matrices[side] for side in ("refuse", "comply")}]


RECORDS: Final[dict[str, Callable[[], Any]]] = {
    "geometry": lambda: geometry(FEW),
    "control": lambda: geometry(FEW, seed=1),
    "comparison": lambda: comparison(FEW),
    "structure": lambda: structure(CATEGORIES[:4]),
    "tests": lambda: separability(FEW),
    "within": lambda: within(FEW),
    "shared_pool": lambda: shared_pool(FEW),
    "contrasts": contrasts,
    "candidates": candidates,
    "trade_off": trade_off,
    "matched": lambda: matched(FEW),
    "manners": _manners,
    "effects": effects,
    "estimators": estimators,
    "transfer": transfer,
    "independence": independence,
    "suffixes": suffixes,
    "monitor_trial": monitor_trial,
    "cards": cards,
    "latent_tests": firing,
    "ladder": ladder,
    "before_after": before_after,
    "language_cosines": cosines,
    "language_transfer": language_areas,
    "language_layers": language_curves,
    "language_ablation": ablation,
    "roc": roc,
    "carved": carved,
    "token_map": token_map,
    "answer_maps": _maps,
    "attributions": lambda: _attributions(0),
    "control_attributions": lambda: _attributions(1),
    "matrix": lambda: attribution_stages(FEW)["attribution"]["matrix"],
    "patches": lambda: patched(FEW)[0],
    "fast_patches": lambda: patched(FEW)[1],
    "curve": lambda: knock_out(FEW[0]),
    "followed": lambda: followed(FEW[0]),
    "profiles": lambda: profiles(FEW),
}


def write_run(folder: Path) -> Results:
    """A run folder with a few of a study's records."""
    chosen = Selection(candidates(4), (3,), 3, None)
    sets = {"directions": direction_set(FEW), "pooled": direction_set(("pooled",))}
    return run(folder, {"directions": sets, "selection": {"selection": chosen}})


@cache
def record(name: str) -> Any:
    """The record of that name, made once."""
    return RECORDS[name]()
