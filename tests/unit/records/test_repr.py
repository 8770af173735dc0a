"""What a notebook shows of a record: a few lines, whatever the record holds."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from support.examples import RECORDS, record

import refusal_lens as rl
from refusal_lens.embedded.registry import find_embedded
from refusal_lens.records import Estimate, Record
from refusal_lens.refusal_tokens import RefusalTokens, StepZero
from refusal_lens.sparse import Pool
from refusal_lens.suffixes.flips import FlipRows

MOST = 1000
"""Characters: a dozen lines of a notebook."""
TOKENS = RefusalTokens(7, ("advice",), (9,), ("[respond]", "[advice]"))


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_prints_a_few_lines(name: str):
    for one in leaves(record(name)):
        assert repr(one).startswith(f"{type(one).__name__}(")
        assert len(repr(one)) < MOST
        assert repr(one).count("\n") < 6


def leaves(value: Any) -> Iterator[Any]:
    """The records of a list or table of records."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for one in value:
            yield from leaves(one)
    else:
        yield value


@pytest.mark.parametrize(
    "made",
    [
        lambda: rl.Study("smollm2-planted"),
        lambda: find_embedded("qwen-coder-0.5b"),
        lambda: rl.exercises.area,
        lambda: rl.Results(Path("runs/mine"), {"question": {"source": "x" * 5000}}),
        lambda: FlipRows({"push": np.zeros(900)}, np.zeros(900, bool), *[tuple(range(900))] * 3),
        lambda: StepZero(TOKENS, torch.zeros(80), torch.zeros(80, 11), torch.zeros(80)),
        lambda: Pool(torch.zeros(40, 20).bool(), torch.zeros(40).bool(), ("advice",) * 40),
    ],
)
def test_what_else_a_notebook_may_show_prints_a_few_lines(made):
    assert repr(made()).startswith(f"{type(made()).__name__}(") and len(repr(made())) < MOST


def test_numbers_are_shown_and_sizes_stand_for_what_is_long():
    @dataclass(frozen=True)
    class Rates(Record):
        SCHEMA_VERSION: ClassVar[int] = 1
        judge: str
        rate: Estimate
        by_layer: torch.Tensor
        ids: tuple[str, ...]

    shown = repr(
        Rates("refusal", Estimate(0.5, 0.25, 0.75, 8, "any"), torch.ones(3, 2), ("x",) * 99)
    )
    assert shown == (
        "Rates(judge='refusal', rate=0.500 [0.250, 0.750] (n=8), by_layer=[3 x 2 Tensor], "
        "ids=[99 str])"
    )


def test_a_class_keeps_a_repr_of_its_own():
    @dataclass(frozen=True)
    class Named(Record):
        SCHEMA_VERSION: ClassVar[int] = 1
        name: str

        def __repr__(self) -> str:
            return "as it likes"

    assert repr(Named("a")) == "as it likes"
