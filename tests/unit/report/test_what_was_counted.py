"""Counts in words are of what was tested, drawn and asked, and say so where that is less."""

from dataclasses import replace

import pytest
import torch
from support.synthetic.geometry import CATEGORIES, structure, within
from support.synthetic.run import run, stages

from refusal_lens.evaluation import Answers
from refusal_lens.geometry.clusters import DRAWS
from refusal_lens.judges import Verdict
from refusal_lens.report.cosine_words import spread_of_cosines
from refusal_lens.report.missing import Missing
from refusal_lens.report.run import Run
from refusal_lens.report.sections.planted import SECTION as PLANTED
from refusal_lens.report.sections.refusal import SECTION as REFUSAL
from refusal_lens.report.sections.structure import SECTION as STRUCTURE
from refusal_lens.report.summary import facts
from refusal_lens.report.verdict_words import n_tested, refusal_directions
from refusal_lens.study import Study, study_prompts

FEW = CATEGORIES[:4]
DIGEST = within(FEW).provenance.model_digest


def of(folder, *, control=True, tested=None, tests=True, **manifest):
    """A run with or without a control, of whose categories some were tested by behaviour."""
    records = stages(FEW)
    if not control:
        del records["control"]
    del records["contrasts"]
    if not tests:
        del records["structure"]
    if tested is not None:
        q = torch.full((len(FEW),), torch.nan)
        q[:tested] = 0.001
        records["contrasts"] = {"within": replace(within(FEW), q=q)}
    return Run(run(folder / "run", records, model_digest=DIGEST, **manifest))


def claim(report):
    (finding,) = REFUSAL.findings
    return finding.cell(report)


def fact(report, key):
    return next(f.value for f in facts(report) if f.key == key)


def test_no_count_of_refusal_directions_without_a_test(tmp_path):
    report = of(tmp_path, control=False)
    assert n_tested(report) == 0 and report.verdicts
    assert "refusal directions: not tested" in claim(report)
    assert isinstance(fact(report, "refusal-directions"), Missing)


def test_categories_that_were_not_tested_are_not_counted_as_not(tmp_path):
    report = of(tmp_path, control=False, tested=2)
    assert n_tested(report) == 2 and refusal_directions(report).endswith("of 2 tested")
    assert "of 2 tested refusal directions" in claim(report)
    assert "of 2 tested categories" in fact(report, "refusal-directions")
    none = of(tmp_path / "none", control=False, tested=0)
    assert "not tested" in claim(none) and isinstance(fact(none, "refusal-directions"), Missing)


def test_a_count_of_all_is_as_it_was(tmp_path):
    report = of(tmp_path)
    n = int(torch.isfinite(report.comparison.q).sum())
    assert n == n_tested(report)
    assert f"of {n}" in claim(report) and "exceed the control model" in claim(report)
    no_tests = of(tmp_path / "no_tests", tests=False)
    assert fact(no_tests, "refusal-directions").key == "unfinished:structure"


@pytest.mark.parametrize("kept", [DRAWS, 56])
def test_captions_name_the_draws_that_count(tmp_path, kept):
    records = stages(FEW)
    records["structure"]["structure"] = replace(structure(FEW), draws=kept)
    text = str(STRUCTURE.parts(Run(run(tmp_path / "run", records)))["draws"])
    assert text.startswith(f"{kept} of {DRAWS} draws")
    assert ("left out" in text) == (kept < DRAWS)


def test_the_median_is_the_middle_or_the_two_in_the_middle():
    def words(*cosines):
        size = int((1 + (1 + 8 * len(cosines)) ** 0.5) / 2)
        value = torch.eye(size)
        for (i, j), c in zip(torch.triu_indices(size, size, 1).T.tolist(), cosines, strict=True):
            value[i, j] = value[j, i] = c
        return spread_of_cosines(value, value - 0.05, value + 0.05, [True] * size)

    assert "over 0.30 [0.25, 0.35] (median) to 0.90" in words(0.9, 0.3, 0.1)
    assert "over 0.30 [0.25, 0.35] and 0.70 [0.65, 0.75] (the two in the middle)" in words(
        0.1, 0.2, 0.3, 0.7, 0.8, 0.9
    )


def asked(scale):
    return {
        "question": Study("smollm2-planted", adapter_scale=scale, categories=("advice",)).plain()
    }


def test_an_adapter_that_is_off_plants_nothing(tmp_path):
    on, off = (of(tmp_path / str(s), **asked(s)) for s in (1.0, 0.0))
    (finding,) = PLANTED.findings
    assert on.planted and finding.cell(on).startswith("planted: ")
    assert not off.planted and finding.cell(off).startswith("nothing by construction")
    assert PLANTED.shown(on) and not PLANTED.shown(off)


def test_pairs_as_intended_are_counted_in_the_prompts_of_the_study(tmp_path):
    """Also where twins were drawn; not where the file now holds others."""
    lists = {side: tmp_path / f"{side}.txt" for side in ("refuse", "comply")}
    for side, path in lists.items():
        path.write_text("".join(f"{side} number {i}\n" for i in range(20)))
    study = Study("tiny", refuse=str(lists["refuse"]), comply=str(lists["comply"]))
    prompts = study_prompts(study)
    outcome = {"refuse": "refused", "comply": "complied"}
    read = Answers(
        conditions=("none",),
        edits=("none",),
        decoding="",
        ids=prompts.ids,
        texts=tuple(p.text for p in prompts),
        categories=tuple(p.category for p in prompts),
        labels=tuple(p.label for p in prompts),
        answers=(("",) * len(prompts),),
        senseless=None,
        provenance=within(FEW).provenance,
        judged_by="simulated",
        readings=(tuple(Verdict(outcome[p.label], None, ()) for p in prompts),),
    )

    def kept(name, digest):
        records = {"behaviour": {"train": read}}
        manifest = {"question": study.plain(), "prompts_digest": digest}
        return Run(run(tmp_path / name, records, **manifest)).kept

    assert sum((kept("same", prompts.digest) or {}).values()) == len(prompts.pairs()) == 20
    assert kept("other", "0" * 64) is None
    lists["refuse"].unlink()
    assert kept("gone", prompts.digest) is None
