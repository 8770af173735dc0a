"""What figures call categories and models when the caller does not say."""

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache

from refusal_lens.plots.panels import MODELS
from refusal_lens.prompts import load_categories
from refusal_lens.records import Provenance

Titles = Mapping[str, str] | None


def titles_of(titles: Titles, categories: Iterable[str]) -> Mapping[str, str]:
    """Titles by category key: those given, else the project's, else the key itself.

    The project's categories come first, whichever of them are shown, so that each has one colour in
    all figures. Categories of one title have their keys behind it: menus and legends go by titles.
    """
    shown = [c for c in dict.fromkeys(categories) if c != "pooled"]
    named = _project() | dict(titles or {})
    named |= {c: c for c in shown if c not in named}
    of_title = Counter(named[c] for c in shown)
    return named | {c: f"{named[c]} ({c})" for c in shown if of_title[named[c]] > 1}


def names_of(
    names: tuple[str, str] | None, model: Provenance, control: Provenance | None
) -> tuple[str, str]:
    """Names of the model and of its control: those given, else what the records say.

    Two records of one name are distinguished as "this model" and "control model".
    """
    if names is not None:
        return names
    if control is None:
        return model.model, MODELS[1]
    pair = model.model, control.model
    return MODELS if pair[0] == pair[1] else pair


@cache
def _project() -> dict[str, str]:
    return {key: category.title for key, category in load_categories().items()}
