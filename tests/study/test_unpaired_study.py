"""A study of two plain lists without twins: what needs pairs is drawn, or a gap that says so."""

from pathlib import Path

import pytest
from support.synthetic.run import Page

from refusal_lens.errors import InputError
from refusal_lens.prompts import PromptSet
from refusal_lens.prompts.pairing import drawn_note
from refusal_lens.report.page import write_report
from refusal_lens.residuals import pair_rows
from refusal_lens.study import Sizes, Study, run_attribution, run_study, study_prompts
from refusal_lens.study.attributed import twins_only
from refusal_lens.study.fitted import Gap
from refusal_lens.study.stages.geometry import INTENDED

SIZES = Sizes.default(
    fit_pairs=12,
    behaviour_tokens=3,
    selection_prompts=4,
    selection_layers=2,
    curve_prompts=4,
    curve_layers=2,
    trade_off_pairs=3,
    strengths=(0.0, 1.0),
    effect_pairs=3,
    effect_tokens=3,
    manner_pairs=2,
    manner_tokens=3,
    cost_prompts=2,
    cost_tokens=3,
    cost_windows=2,
    shown=1,
    shown_tokens=3,
)


class Quiet:
    """Remembers what could not be measured."""

    def __init__(self) -> None:
        self.gaps: dict[str, str] = {}

    def planned(self, stages):
        self.stages = [p.stage.name for p in stages]

    def started(self, planned):
        return lambda n: None

    def ended(self, planned, gap):
        if gap is not None:
            self.gaps[planned.stage.name] = gap


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("lists")
    for name, n in (("harmful", 30), ("harmless", 26)):
        lines = [f"Tell me about {name} matter {i * 7}" for i in range(n)]
        (folder / f"{name}.txt").write_text("\n\n".join(lines) + "\n")
    return str(folder / "harmful.txt"), str(folder / "harmless.txt")


def asked(tiny_folders: dict[str, Path], lists: tuple[str, str]) -> Study:
    return Study(
        source=str(tiny_folders["llama"]),
        refuse=lists[0],
        comply=lists[1],
        labels="intended",
        sizes=SIZES,
    )


def test_lists_become_splits_with_drawn_pairs(
    tiny_folders: dict[str, Path], lists: tuple[str, str]
) -> None:
    prompts = study_prompts(asked(tiny_folders, lists))
    assert len(prompts) == 56
    assert set(prompts.splits) == {"train", "val", "test"}
    assert len(pair_rows(prompts)) == 26 - (26 - 16) + 10  # every benign prompt has a partner
    for split in prompts.splits:
        n = [len(prompts.only(split=split, label=label)) for label in ("refuse", "comply")]
        assert abs(n[0] - n[1]) <= 3


@pytest.mark.parametrize(
    "changed", [{"refuse": None}, {"comply": None}, {"prompts": "somewhere.jsonl"}]
)
def test_one_list_is_not_enough(
    changed: dict[str, str | None], tiny_folders: dict[str, Path], lists: tuple[str, str]
) -> None:
    from dataclasses import replace

    with pytest.raises(InputError, match="--refuse, --comply"):
        study_prompts(replace(asked(tiny_folders, lists), **changed))  # pyright: ignore


def test_a_study_of_lists_runs_and_says_what_it_lacks(
    tiny_folders: dict[str, Path], lists: tuple[str, str], tmp_path: Path
) -> None:
    watch = Quiet()
    results = run_study(asked(tiny_folders, lists), tmp_path / "run", watch)
    geometry = results.get(INTENDED)
    assert geometry.categories == ("prompts",)
    assert 10 <= geometry.n[0] <= 12
    prompts = study_prompts(asked(tiny_folders, lists))
    note = results.manifest["prompts_note"]
    assert note and note == drawn_note(prompts)
    page = Page(write_report(results).read_text(encoding="utf-8"))
    assert page.words("fact-pairs") == note
    run_attribution(tmp_path / "run", watch)
    with pytest.raises(Gap) as unpatched:
        twins_only(prompts)
    assert any(str(unpatched.value) in gap for gap in watch.gaps.values())


def test_sets_from_texts_split_alike() -> None:
    prompts = PromptSet.from_texts([f"no {i}" for i in range(40)], [f"yes {i}" for i in range(20)])
    sizes = {s: len(prompts.only(split=s, label="refuse")) for s in ("train", "val", "test")}
    assert sizes == {"train": 24, "val": 6, "test": 10}
    assert prompts == PromptSet.from_texts(
        [f"no {i}" for i in range(40)], [f"yes {i}" for i in range(20)]
    )
    moved = prompts.resplit({"train": 0.5, "test": 0.5}, seed=1)
    assert set(moved.splits) == {"train", "test"} and moved.ids == prompts.ids
    with pytest.raises(InputError, match="parts of 1"):
        prompts.resplit({"train": 0.5})
