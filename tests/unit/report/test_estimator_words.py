"""What the page says of the estimator: the study's own where it was used, the mean difference where
a section has no other."""

from dataclasses import replace
from pathlib import Path

import pytest
from support.synthetic.geometry import CATEGORIES
from support.synthetic.run import Page, run, stages

from refusal_lens.plots.estimators import estimator_name
from refusal_lens.report.page import panels, write_report
from refusal_lens.report.run import Run
from refusal_lens.report.section import every_section
from refusal_lens.report.sections.methods import SECTION as METHODS
from refusal_lens.study.results import Results

FEW = CATEGORIES[:4]
MEAN, MEDIAN = map(estimator_name, ("mean_difference", "median_difference"))


def fitted_by(estimator: str, folder: Path) -> Results:
    records = stages(FEW)
    for name in ("intended", "removed", "whitened"):
        records["geometry"][name] = replace(records["geometry"][name], estimator=estimator)
    return run(folder, records)


def texts_of(results: Results) -> dict[str, str]:
    """The rows on methods, the dimension in front, and the claims, each as one text."""
    report = Run(results)
    front = {panel.name: panel.words for panel in panels(report)}
    cells = (f.cell(report) for _, s in every_section() for f in s.findings)
    return {
        "methods": "\n".join(method_names(report)),
        "dimension": front["front_cosines"][1],
        "claims": "\n".join(cells),
    }


def method_names(report: Run) -> list[str]:
    """What the rows on methods name first, as the page has them."""
    table = METHODS.parts(report)["methods"]
    return [row[0].text for row in table.rows]  # type: ignore[union-attr]


def test_a_median_study_says_what_is_by_mean_difference(tmp_path: Path) -> None:
    results = fitted_by("median_difference", tmp_path / "median")
    report, by = Run(results), Run(results).by_mean_difference
    assert MEAN in by and MEDIAN not in by
    of_median = texts_of(results)
    of_mean = texts_of(fitted_by("mean_difference", tmp_path / "mean"))
    # Those of sections that know no other estimator, and two of a section that has both.
    sections = [s for _, s in every_section() if s.shown(report) for _ in s.methods(report)]
    names = method_names(report)
    marked = [s.id for s, name in zip(sections, names, strict=True) if name.endswith(by)]
    assert marked == ["refusal", "refusal", "contrasts", "structure", "structure", "pool"]
    ((method_name, fitted),) = [
        (name, s.id) for s, name in zip(sections, names, strict=True) if MEDIAN in name
    ]
    assert fitted == "cosines" and method_name.replace(MEDIAN, MEAN) in of_mean["methods"]
    assert by in of_median["dimension"]
    assert f"{len(FEW)}{by}" in of_median["claims"]
    assert not any(by in text for text in of_mean.values())
    assert of_median["dimension"].replace(by, "") == of_mean["dimension"]


def test_without_cosines_the_question_names_the_estimator(tmp_path: Path) -> None:
    results = run(tmp_path / "run", {})
    assert Run(results).estimator == MEAN and not Run(results).by_mean_difference
    asked = Run(results)
    asked.question["estimator"] = "linear_discriminant"
    assert asked.estimator == estimator_name("linear_discriminant")
    assert MEAN in asked.by_mean_difference


@pytest.mark.slow  # writes three whole pages
def test_the_page_names_the_estimator(tmp_path: Path) -> None:
    other, mean_page = (
        Page(write_report(fitted_by(e, tmp_path / e)).read_text(encoding="utf-8"))
        for e in ("median_difference", "mean_difference")
    )
    assert len([s for _, s in every_section() if s.by_mean_difference]) == 3
    for tag, times in (("p", 3), ("span", 1)):  # a note for each such section; how d is made
        assert [d["data-estimator"] for d in other.of(tag) if "data-estimator" in d] == (
            [MEDIAN] * times
        )
        assert not [d for d in mean_page.of(tag) if "data-estimator" in d]
    for name in ("definition-direction", "caption-cosines_naive", "caption-lengths"):
        assert MEDIAN in other.words(name) and MEAN not in other.words(name)
        assert other.words(name).replace(MEDIAN, MEAN) == mean_page.words(name)
    hostile = fitted_by("<b>x</b>", tmp_path / "c")
    assert "<b>x</b>" not in write_report(hostile).read_text(encoding="utf-8")
