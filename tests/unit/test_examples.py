"""Names of `rl`, exported functions and methods have examples, which `pytest refusal_lens` runs."""

import doctest
import inspect
from collections.abc import Iterator
from types import ModuleType

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
    "DirectionSet.from_hub": "needs a hub",
    "DirectionSet.push_to_hub": "needs a hub",
    "Results.model": "loads the model of a study",
}
SOME_WITHOUT = {
    "attribution": {
        "Anatomy",
        "Attribution",
        "AttributionPatch",
        "Component",
        "ComponentMatrix",
        "Decomposition",
        "HeadPath",
        "KnockOut",
        "OpeningScore",
        "Pair",
        "PatchMap",
        "ProbeProfile",
        "SourceRegions",
    },
    "defence": {"BeforeAfter", "LadderReading"},
    "directions": {"Estimator", "InvariantProbe"},
    "engines": {"EngineModel"},
    "evaluation": {"Effects", "Grid"},
    "geometry": {"PairProducts", "Separability", "WithinTests"},
    "judges": {"LLMJudge", "MannerJudge", "PhraseJudge", "ScoreTrust", "SenseChecked"},
    "languages": {"AblationTransfer", "LanguageCosines", "LanguageTransfer", "Parallel"},
    "model": {"AnswerStore", "Batch", "Feed", "HookReader", "Rerun", "StreamStore"},
    "monitor": {"MonitorTrial", "Variant"},
    "optimised": {"Independence", "Learned"},
    "refusal_tokens": {"StepZero", "TokenReadings"},
    "residuals": {"StatsAccumulator"},
    "selection": {"Separations"},
    "sparse": {"FeatureEffects", "FiringTests", "Listed", "Pool"},
    "study": {"Sizes"},
    "suffixes": {"SuffixAnalysis", "SuffixBasis"},
}
"""Classes of sub-packages that have methods without an example; no class of `rl` is among them."""


def exported() -> Iterator[tuple[str, object]]:
    """What `rl` lists, and the functions that its sub-packages export."""
    for name in dir(rl):
        value = getattr(rl, name)
        if not inspect.ismodule(value):
            yield name, value
            continue
        for inner, function in members(value).items():
            if inspect.isfunction(function) and function.__module__.startswith("refusal_lens."):
                yield f"{name}.{inner}", function


def members(module: ModuleType) -> dict[str, object]:
    """What a sub-package exports."""
    names = getattr(module, "__all__", None) or [n for n in vars(module) if n[0] != "_"]
    return {name: getattr(module, name) for name in names}


def classes() -> dict[str, type]:
    """Exported classes with methods of their own; one that `rl` lists has its name there."""
    names: dict[type, str] = {}
    for name in dir(rl):
        value = getattr(rl, name)
        listed = members(value) if inspect.ismodule(value) else {name: value}
        for inner, member in listed.items():
            package = getattr(member, "__module__", "").partition(".")[0] == "refusal_lens"
            if inspect.isclass(member) and package and not getattr(member, "_is_protocol", False):
                names.setdefault(member, name if member is value else f"{name}.{inner}")
    return {name: member for member, name in names.items() if methods(member)}


def methods(member: type) -> dict[str, object]:
    """The public methods that a class defines: no properties, and none that others must fill in."""
    values = {
        name: getattr(member, name)
        for name in vars(member)
        if name[0] != "_" and name not in getattr(member, "__dataclass_fields__", ())
    }
    return {
        name: value
        for name, value in values.items()
        if (inspect.isfunction(value) or inspect.ismethod(value))
        and not getattr(value, "__isabstractmethod__", False)
    }


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


def test_the_walk_sees_methods_by_the_names_of_the_package():
    assert {"PromptSet", "LensModel", "Answers", "residuals.ResidualStats"} <= {*classes()}
    assert {"only", "pairs", "from_texts"} <= {*methods(rl.PromptSet)}
    assert "calibrate" in methods(rl.LensModel) and "digest" not in methods(rl.PromptSet)
    some = {f"{room}.{name}" for room, names in SOME_WITHOUT.items() for name in names}
    assert some <= {*classes()}


@pytest.mark.parametrize("name", classes())
def test_every_public_method_has_an_example_that_runs(name: str):
    of = {f"{name}.{key}": value.__doc__ for key, value in methods(classes()[name]).items()}
    assert all(of.values()), f"{[key for key, text in of.items() if not text]} say nothing"
    lacking = [key for key, text in of.items() if not runs(text) and key not in NO_EXAMPLE]
    room, _, inner = name.partition(".")
    if inner in SOME_WITHOUT.get(room, ()):
        assert lacking, f"every method of {name} has an example now: take it off the list"
    else:
        assert not lacking, f"{lacking} have no example that runs"


def test_skipped_examples_do_not_count():
    assert runs(">>> 1 + 1\n2")
    assert not runs(">>> f()  # doctest: +SKIP") and not runs("No example.") and not runs(None)
