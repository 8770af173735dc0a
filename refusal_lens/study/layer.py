"""The layer of a run: where a study edits, shows and reports, and by which rule."""

from collections.abc import Sequence

from refusal_lens.errors import InputError
from refusal_lens.geometry import Geometry
from refusal_lens.selection import Selection
from refusal_lens.study.results import Results
from refusal_lens.study.stages.geometry import INTENDED
from refusal_lens.study.stages.selection import SELECTION


def chosen_layer(results: Results) -> int:
    """The layer of a run: see `layer_by`.

    Raises:
        InputError: the run has neither a selection nor a geometry, or one of them is damaged.
    """
    asked = (results.manifest.get("question") or {}).get("layers")
    layer = layer_by(results.find(SELECTION), results.find(INTENDED), asked)
    if layer is None:
        raise InputError(
            f"{str(results.folder)!r} has no layer: neither a selection nor a geometry"
            f"{' of the layers asked for' if asked else ''}; name one, or run the study again"
        )
    return layer


def layer_by(
    selection: Selection | None, geometry: Geometry | None, asked: Sequence[int] | None
) -> int | None:
    """The selected layer; without a selection, the one where directions are most reliable.

    Reliability is the mean over categories of the cosines by intended label, compared over the
    layers `asked` for, by default all; None without a selection and without any of these.
    """
    if selection is not None:
        return selection.choice.layer
    if geometry is None:
        return None
    among = [i for i, site in enumerate(geometry.sites) if not asked or site.layer in asked]
    if not among:
        return None
    best = int(geometry.reliability[among].nan_to_num(-1.0).mean(1).argmax())
    return geometry.sites[among[best]].layer
