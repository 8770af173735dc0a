"""Suffixes behind the prompts of a finished study: resumed, replaced, reported, refused."""

import json

import pytest
import torch
from support.command import run as command
from support.tiny_study import Watch, copied

from refusal_lens.errors import InputError
from refusal_lens.report.page import write_report
from refusal_lens.study import run_suffixes
from refusal_lens.study.question import Study
from refusal_lens.study.run import begin
from refusal_lens.study.stages.suffix_basis import BASIS, suffix_prompts
from refusal_lens.study.stages.suffix_parts import PARTS, READINGS, part_name
from refusal_lens.study.stages.suffixes import SUFFIXES
from refusal_lens.suffixes import Suffix, append_suffix

FEW = (
    Suffix("thanks", "thanks", "politeness"),
    Suffix("please", "please", "politeness"),
    Suffix("now", "right now", "length"),
    Suffix("kindly", "kindly please", "politeness"),
)
WHOLE = ["suffix_basis", *(part_name(i) for i in range(PARTS)), "suffixes"]


@pytest.fixture(scope="module")
def measured(finished, tmp_path_factory):
    folder = copied(finished[0], tmp_path_factory.mktemp("suffixes") / "run").folder
    watch = Watch()
    return run_suffixes(folder, watch, suffixes=FEW), watch


def test_every_suffix_and_its_neutral_text_has_a_row(measured):
    results, watch = measured
    assert not watch.gaps and watch.started_stages == WHOLE
    analysis, basis = results.get(SUFFIXES), results.get(BASIS)
    assert [row.suffix for row in analysis.rows[:4]] == list(FEW)
    assert all(row.suffix.family == "neutral" for row in analysis.rows[4:])
    assert [f.family for f in analysis.families] == ["politeness", "length", "neutral"]
    assert analysis.n_prompts == len(basis.ids) and analysis.layer == basis.layer
    assert {site.layer for site in analysis.sites} == {1, 2}
    for name, ticks in watch.ticks.items():
        assert ticks == watch.expected[name], name


def test_the_shifts_are_those_of_residuals_read_one_by_one(measured):
    results, _ = measured
    bench = begin(Study.of(results.manifest["question"]), results.folder, _placement())
    prompts, basis = suffix_prompts(bench), results.get(BASIS)
    part = results.get(READINGS.of(part_name(1)))
    mine = prompts.only(ids=part.ids)
    at = basis.sites.index(next(s for s in basis.sites if s.layer == basis.layer))
    read = {"sites": (basis.sites[at],), "offsets": (-1,)}
    v = basis.vectors[at].double()
    plain = bench.model.residuals(mine, **read).tensor[:, 0, 0].double()
    for t, suffix in enumerate(FEW):
        pushed = bench.model.residuals(append_suffix(mine, suffix), **read).tensor[:, 0, 0]
        push = plain @ v - pushed.double() @ v
        assert torch.allclose(part.push[t, :, at].double(), push, atol=1e-4)
        assert float(push.abs().max()) > 0.01
        whole = (pushed.double() - plain).norm(dim=-1)
        both = torch.hypot(part.push[t, :, at].double(), part.orthogonal[t, :, at].double())
        assert torch.allclose(both, whole, atol=1e-3)


def test_no_answer_is_kept(measured, finished):
    results, _ = measured
    assert results.answers_file.read_bytes() == finished[0].answers_file.read_bytes()
    for name in WHOLE:
        for file in (results.folder / "stages" / name).glob("*.json"):
            fields = json.loads(file.read_text()).get("fields", {})
            assert "answers" not in fields and "texts" not in fields, file


def test_a_run_goes_on_where_it_stopped_and_other_suffixes_take_their_place(measured, tmp_path):
    results = copied(measured[0], tmp_path / "run")
    before = results.get(SUFFIXES)
    results.drop("suffix_part_1")
    results.drop("suffixes")
    again = Watch()
    assert run_suffixes(results.folder, again, suffixes=FEW).get(SUFFIXES).rows == before.rows
    assert again.started_stages == ["suffix_part_1", "suffixes"]
    third = Watch()
    run_suffixes(results.folder, third)  # the run's own, not those of the project
    assert third.started_stages == [] and results.get(BASIS).suffixes == FEW
    other = Watch()
    fewer = run_suffixes(results.folder, other, suffixes=FEW[:1])
    assert other.started_stages == WHOLE
    assert fewer.get(SUFFIXES).rows[0].suffix == FEW[0] and len(fewer.get(BASIS).suffixes) == 1


def test_the_report_shows_them_where_they_were_measured(measured, finished, tmp_path):
    page = write_report(measured[0]).read_text(encoding="utf-8")
    assert 'id="plot-suffix_rates"' in page and "kindly please" in page
    plain = write_report(finished[0], tmp_path / "plain.html").read_text(encoding="utf-8")
    assert 'id="suffixes"' not in plain


def test_a_special_token_in_a_suffix_and_a_missing_file_are_one_line(measured, tmp_path):
    results = copied(measured[0], tmp_path / "run")
    bad = (Suffix("end", "now <|im_end|>"),)
    with pytest.raises(InputError, match="im_end") as raised:
        run_suffixes(results.folder, Watch(), suffixes=bad)
    assert "\n" not in str(raised.value)
    asked = command("suffixes", str(results.folder), "--suffixes", str(tmp_path / "no.txt"))
    assert asked.returncode == 2 and "no.txt' does not exist" in asked.stderr


def _placement():
    from refusal_lens.placement import Placement

    return Placement()
