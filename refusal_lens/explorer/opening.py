"""Opening the page: for a model and directions at hand, or for a finished run."""

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Final

from refusal_lens.arguments import one
from refusal_lens.directions import DirectionSet
from refusal_lens.errors import InputError, reason_of
from refusal_lens.explorer.choices import choices_of, choices_of_run
from refusal_lens.explorer.question_queue import QuestionQueue
from refusal_lens.judges import ScoreTrust, make_judge
from refusal_lens.judges.coherence import sense_checked
from refusal_lens.judges.registry import DEFAULT
from refusal_lens.model import LensModel
from refusal_lens.model.transfer import warn_of_transfer
from refusal_lens.placement import Placement
from refusal_lens.study import Results, Study
from refusal_lens.study.finished import model_of
from refusal_lens.study.layer import chosen_layer
from refusal_lens.study.stages.score import TRUST

if TYPE_CHECKING:  # the server's packages are an extra
    from refusal_lens.explorer.serve import Explorer

_SERVER: Final = ("starlette", "uvicorn")


def explore(
    model: LensModel,
    directions: DirectionSet | Mapping[str, DirectionSet],
    *,
    layer: int | None = None,
    trust: ScoreTrust | None = None,
    port: int = 0,
) -> "Explorer":
    """A page on this machine to play with a model under edits along directions.

    `directions` is a set, or several by the name of their estimator. `layer` is where edits begin
    (by default the middle one), `trust` the refusal score of a study, as `fit_score` gives it. Port
    0 is any that is free. Answers that make sense are read by the refusal judge. Only 127.0.0.1 is
    served, and nothing outside is asked. A notebook shows the page in a frame.

    >>> explorer = rl.explore(model, directions)  # doctest: +SKIP
    >>> explorer.stop()  # doctest: +SKIP
    >>> rl.explore(model, {})
    Traceback (most recent call last):
    refusal_lens.errors.InputError: there is no direction to explore; write ...

    Raises:
        InputError: no directions at the input of a layer, the extra is not installed, or a port
            that is taken.
    """
    one(model, LensModel, what="the model", write="explore(model, directions)")
    choices = choices_of(directions)
    require_server()
    from refusal_lens.explorer.serve import Explorer

    sets = list({id(c.directions): c.directions for c in choices}.values())
    warn_of_transfer(sets, model.provenance(), "if that is meant, use allow_transfer()")
    layers = choices[0].layers
    begin = layers[len(layers) // 2] if layer is None else layer
    judge = sense_checked(make_judge(DEFAULT))
    queue = QuestionQueue(model, choices, judge=judge, layer=begin, trust=trust)
    return Explorer(queue, port=port)


def explore_run(
    results: Results,
    *,
    model: LensModel | None = None,
    placement: Placement = Placement(),
    port: int = 0,
) -> "Explorer":
    """The page of a finished run: its model, directions, refusal score, judge, and report.

    `model` is used in place of the run's own; the page says when directions come from another one.
    Answers that make sense are read by the study's judge, on which its score was calibrated; one
    behind an endpoint is asked there.

    Raises:
        InputError: as `explore`; or a run without directions, or whose model or judge can't be
            loaded.
    """
    choices = choices_of_run(results)
    require_server()
    from refusal_lens.explorer.serve import Explorer

    layer = chosen_layer(results)
    loaded = model_of(results, placement) if model is None else model
    if model is not None:
        warn_of_transfer([choices[0].directions], model.provenance(), "the page uses it as it is")
    study = Study.of(results.manifest.get("question"))
    judge = sense_checked(study.make_judge(loaded.placement))
    queue = QuestionQueue(loaded, choices, judge=judge, layer=layer, trust=results.find(TRUST))
    report = results.folder / "report.html"
    return Explorer(queue, port=port, report=report, run=results.folder.name)


def require_server() -> None:
    """Check that the packages of the server are installed.

    Raises:
        InputError: they are not.
    """
    try:
        for name in _SERVER:
            import_module(name)
    except ImportError as error:
        raise InputError(
            f"the explorer needs Starlette and Uvicorn ({reason_of(error)}); install them with "
            "pip install 'refusal-lens[explorer]'"
        ) from None
