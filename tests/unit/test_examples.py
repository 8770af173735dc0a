"""Names of `rl` and exported functions have an example, which `pytest refusal_lens` runs."""

import doctest
import inspect
from collections.abc import Iterator

import pytest

import refusal_lens as rl

NO_EXAMPLE = {
    "explain_prompt": "needs a finished study",
    "push_to_hub": "needs a hub",
    "explore_run": "serves a page until it is stopped",
    "run_attribution": "needs a finished study",
    "run_comparison": "needs a finished study",
    "run_features": "needs a finished study",
    "run_defence": "needs a finished study",
    "run_full_evaluation": "needs a finished study",
    "run_monitor": "needs a finished study",
    "run_languages": "needs a finished study",
    "run_refusal_tokens": "takes minutes",
    "run_study": "takes minutes",
    "run_suffixes": "needs a finished study",
}


def exported() -> Iterator[tuple[str, object]]:
    """What `rl` lists, and the functions that its sub-packages export."""
    for name in dir(rl):
        value = getattr(rl, name)
        if not inspect.ismodule(value):
            yield name, value
            continue
        names = getattr(value, "__all__", None) or [n for n in vars(value) if n[0] != "_"]
        for inner in names:
            function = getattr(value, inner)
            if inspect.isfunction(function) and function.__module__.startswith("refusal_lens."):
                yield f"{name}.{inner}", function


def runs(docstring: str | None) -> bool:
    """Whether a docstring has an example that is not skipped."""
    examples = doctest.DocTestParser().get_examples(docstring or "")
    return any(not example.options.get(doctest.SKIP) for example in examples)


def test_the_walk_sees_functions_of_sub_packages_and_names_of_the_package():
    names = dict(exported())
    assert {"Ablate", "plot_cosines", "geometry.cosine_table", "plots.plot_cosines"} <= {*names}
    assert "plots.Component" not in names and len(names) > 150


@pytest.mark.parametrize("name", [name for name, _ in exported()])
def test_every_public_name_has_an_example_that_runs(name: str):
    value, last = dict(exported())[name], name.rpartition(".")[2]
    if last in NO_EXAMPLE:
        assert not runs(value.__doc__), f"{last} has an example now: take it off the list"
    else:
        assert runs(value.__doc__), f"{name} has no example in its docstring that runs"


def test_skipped_examples_do_not_count():
    assert runs(">>> 1 + 1\n2")
    assert not runs(">>> f()  # doctest: +SKIP") and not runs("No example.") and not runs(None)
