"""The page of supported architectures says what a run finds."""

import re

import pytest
from support import supported_architectures as architectures


@pytest.fixture(scope="module")
def rows() -> list[architectures.Row]:
    return architectures.run()


def without_numbers(page: str) -> list[str]:
    return re.sub(r"\d+e[-+]\d+|\d+(\.\d+)+", "#", page).splitlines()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_loads_is_right(rows: list[architectures.Row]) -> None:
    wrong = {r.family: r.status for r in rows if r.status.startswith("wrong")}
    assert wrong == {}
    assert sum(r.status == "yes" for r in rows) > 80


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_page_holds(rows: list[architectures.Row]) -> None:
    written = architectures.PAGE.read_text(encoding="utf-8")
    assert without_numbers(written) == without_numbers(architectures.page(rows))


def test_a_wrong_number_shows() -> None:
    right = architectures.Row("A", "a", "", (1e-6, 1e-6), True, True, True, "heads")
    assert right.status == "yes"
    for gaps in ((1e-2, 1e-6), (1e-6, float("inf"))):
        row = architectures.Row("A", "a", "", gaps, True, True, True, "heads")
        assert row.status.startswith("wrong") and "wrong" in architectures.page([row])
