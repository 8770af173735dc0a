"""Another size makes only the stages again that use it, and those that need them."""

import shutil
from dataclasses import asdict, replace

import pytest
from support.tiny_study import SIZES

from refusal_lens.study.order import every_stage
from refusal_lens.study.run import begin, stale


@pytest.mark.parametrize(
    ("changed", "again"),
    [
        ({}, set()),
        ({"cost_prompts": 3}, {"costs"}),
        ({"shown": 1}, {"answers", "agreement"}),
        ({"curve_layers": 3}, {"layers"}),
        ({"effect_tokens": 5}, {"effects"}),
    ],
)
def test_only_what_uses_a_size_is_made_again(finished, study, tmp_path, changed, again):
    folder = tmp_path / "run"
    shutil.copytree(finished[0].folder, folder)
    sizes = SIZES.changed(**changed)
    assert asdict(sizes) != asdict(SIZES) or not changed
    bench = begin(replace(study, sizes=sizes), folder)
    stored_stages = [
        s for s in every_stage(bench.prompts.categories) if bench.results.digest(s.name)
    ]
    assert {s.name for s in stale(bench, stored_stages)} == again
