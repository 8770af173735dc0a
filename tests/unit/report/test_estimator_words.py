"""What the page says of the estimator: the study's own where it was used, the mean difference where
a section has no other."""

from dataclasses import replace
from pathlib import Path

import pytest
from support.synthetic.geometry import CATEGORIES
from support.synthetic.run import run, stages

from refusal_lens.report.page import panels, write_report
from refusal_lens.report.run import Run
from refusal_lens.report.section import every_section
from refusal_lens.report.sections.methods import SECTION as METHODS
from refusal_lens.study.results import Results

FEW = CATEGORIES[:4]
BY = " (by mean difference)"


def fitted_by(estimator: str, folder: Path) -> Results:
    held = stages(FEW)
    for name in ("intended", "removed", "whitened"):
        held["geometry"][name] = replace(held["geometry"][name], estimator=estimator)
    return run(folder, held)


def said(results: Results) -> dict[str, str]:
    """The rows on methods, the dimension in front, and the claims, each as one text."""
    report = Run(results)
    front = {panel.name: panel.words for panel in panels(report)}
    table = METHODS.parts(report)["methods"]
    cells = (f.cell(report) for _, s in every_section() for f in s.findings)
    return {
        "methods": "\n".join(row[0].text for row in table.rows),
        "dimension": front["front_cosines"][1],
        "claims": "\n".join(cells),
    }


def test_a_median_study_says_what_is_by_mean_difference(tmp_path: Path) -> None:
    of_median = said(fitted_by("median_difference", tmp_path / "median"))
    of_mean = said(fitted_by("mean_difference", tmp_path / "mean"))
    assert "Cosines, reliability, length (median difference)" in of_median["methods"]
    assert "Cosines, reliability, length (mean difference)" in of_mean["methods"]
    for row in (
        *("Effective dimension, remainders", "Clusters, map, subspaces", "Shared benign pool"),
        *("Behaviour against intended label", "Separable or not"),
    ):
        assert f"{row}{BY}" in of_median["methods"]
    assert of_median["dimension"].startswith(f"Effective dimension{BY} ")
    assert f"of {len(FEW)}{BY}, n = " in of_median["claims"]
    assert not any(BY in text for text in of_mean.values())
    assert of_median["dimension"].replace(BY, "") == of_mean["dimension"]


def test_without_cosines_the_question_names_the_estimator(tmp_path: Path) -> None:
    results = run(tmp_path / "run", {})
    assert Run(results).estimator == "mean difference"
    asked = Run(results)
    asked.question["estimator"] = "linear_discriminant"
    assert asked.estimator == "linear discriminant" and asked.by_mean_difference == BY


@pytest.mark.slow  # writes three whole pages
def test_the_page_names_the_estimator(tmp_path: Path) -> None:
    page = write_report(fitted_by("median_difference", tmp_path / "a")).read_text(encoding="utf-8")
    assert "direction is the median difference between its harmful prompts" in page
    assert "directions as fitted (median difference)" in page
    assert "Length of each direction (median difference)" in page
    assert "jackknife pseudo-values here" in page
    note = "own directions are fitted by another estimator: median difference."
    assert page.count(note) == sum(s.by_mean_difference for _, s in every_section()) == 3
    plain = write_report(fitted_by("mean_difference", tmp_path / "b")).read_text(encoding="utf-8")
    assert "direction is the mean difference between its harmful prompts" in plain
    assert "by mean difference" not in plain and "pseudo-values here" not in plain
    hostile = fitted_by("<b>x</b>", tmp_path / "c")
    assert "<b>x</b>" not in write_report(hostile).read_text(encoding="utf-8")
