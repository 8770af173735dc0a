"""Stages are found and ordered by what they need; keys and sizes belong to them."""

from dataclasses import replace
from graphlib import TopologicalSorter

import pytest

from refusal_lens.embedded.registry import NATIVE
from refusal_lens.errors import InputError
from refusal_lens.evaluation import Costs
from refusal_lens.study import Results, Sizes, Study
from refusal_lens.study.key import Key
from refusal_lens.study.order import all_verdicts, every_stage, stages_of
from refusal_lens.study.sizes import flat_sizes
from refusal_lens.study.stage import Bench, Work
from refusal_lens.study.stages import costs
from refusal_lens.study.stages.costs import COSTS, CostSizes
from refusal_lens.study.stages.effects import EffectSizes
from refusal_lens.study.stages.paths import PATH

STUDY = [
    *("behaviour", "directions", "geometry", "control", "contrasts", "score", "selection"),
    *("layers", "effects", "structure", "trade_off", "rules", "manners", "costs", "answers"),
    *("agreement", "tokens"),
]


def test_the_order_of_the_study_is_declared_and_keeps_every_need():
    assert [s.name for s in stages_of("study", ())] == STUDY
    stages = every_stage(("a", "b"))
    place = {s.name: i for i, s in enumerate(stages)}
    for stage in stages:
        for before in (*stage.needs, *stage.after):
            assert place[before] < place[stage.name], (before, stage.name)
    TopologicalSorter({s.name: [*s.needs, *s.after] for s in stages}).prepare()


def test_stages_of_attribution_count_the_categories():
    names = [s.name for s in stages_of("attribution", tuple("abcdefghijkl"))]
    assert names[:4] == ["attribution", "attribution_control", "patching", "patching_full"]
    knock_outs = [n for n in names if n.startswith("knock_out_") and n[10:].isdigit()]
    assert knock_outs == [f"knock_out_{i}" for i in range(12)]
    few = {s.name for s in stages_of("attribution", ("a", "b")) if s.asked_for(False, True)}
    assert {"patching", "knock_out_0", "paths_0", "depth", "answer_map_0"} <= few
    assert not {n for n in few if "full" in n or "zero" in n or "pooled" in n}


def test_every_record_has_one_key():
    keys = [key for stage in every_stage(("a",)) for key in stage.writes]
    assert len({(k.stage, k.name, k.kind) for k in keys}) == len({(k.stage, k.name) for k in keys})
    assert {v.key for v in all_verdicts()} <= set(keys)


def test_a_key_that_no_stage_declares_can_not_be_read(tmp_path):
    results = Results.begin(tmp_path / "run", Study().plain())
    for key in (Key("costs", "other", Costs), Key("nothing", "costs", Costs)):
        for read in (results.get, results.find, results.has):
            with pytest.raises(ValueError, match="no stage declares the record"):
                read(key)
    assert results.find(COSTS) is None and not results.has(PATH.of("paths_0_full").at(3))


def test_a_stage_writes_its_own_keys_and_no_others():
    other = Key("effects", "costs", Costs)
    with pytest.raises(ValueError, match="writes keys of another stage"):
        replace(costs.STAGE, writes=(COSTS, other))
    with pytest.raises(ValueError, match="records it does not declare"):
        costs.STAGE.check_writes([COSTS, other])
    costs.STAGE.check_writes([COSTS])


def test_sizes_have_three_levels_and_one_can_be_changed():
    default, full, quick = (s.of(CostSizes) for s in (Sizes.default(), Sizes.full(), Sizes.quick()))
    assert (default.cost_prompts, full.cost_prompts, quick.cost_prompts) == (12, 44, 3)
    assert default.cost_windows == full.cost_windows != quick.cost_windows
    changed = Sizes.default(cost_prompts=5)
    assert changed.of(CostSizes) == replace(default, cost_prompts=5)
    assert changed.of(EffectSizes) == Sizes.default().of(EffectSizes)
    assert Sizes.fitting(NATIVE.key).of(CostSizes).cost_categories == 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"cost_promts": 5}, "no stage has sizes called"), ({"cost_prompts": "many"}, "'costs'")],
)
def test_a_wrong_size_is_one_clear_line(changes, words):
    with pytest.raises(InputError, match=words) as raised:
        Sizes.default(**changes)
    assert "\n" not in str(raised.value)


def test_a_question_is_read_with_its_sizes_by_stage_and_as_earlier_versions_had_them():
    study = Study(sizes=Sizes.default(cost_prompts=5, strengths=(0.0, 2.0)))
    plain = study.plain()
    assert plain["sizes"]["costs"]["cost_prompts"] == 5
    assert Study.of(plain) == study
    old = plain | {"sizes": flat_sizes(plain["sizes"])}
    assert "costs" not in old["sizes"] and Study.of(old) == study


def test_other_sizes_are_no_other_question(tmp_path):
    folder = tmp_path / "run"
    Results.begin(folder, Study().plain())
    again = Study(sizes=Sizes.default(cost_prompts=5)).plain()
    assert Results.begin(folder, again).manifest["question"] == again
    with pytest.raises(InputError, match="another question"):
        Results.begin(folder, Study(seed=1).plain())


@pytest.mark.parametrize("most", [1, 2, 3, 28, 40])
def test_layers_are_spread_evenly_and_one_alone_is_the_middle(most):
    layers = Study().layers_of(30, most)
    assert len(layers) == min(most, 29) and set(layers) <= set(range(1, 30))
    assert (layers[0], layers[-1]) == ((1, 29) if most > 1 else (15, 15))
    assert Study(layers=(20, 4, 9)).layers_of(30, 1) == (9,)
    with pytest.raises(InputError, match="0 layers"):
        Study().layers_of(30, 0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**40}, "seed is"),
        ({"layers": ()}, "layers is empty"),
    ],
)
def test_a_question_that_can_not_be_asked_is_one_clear_line(changes, words):
    with pytest.raises(InputError, match=words):
        Study(**changes)


def test_a_stage_reads_no_size_that_it_does_not_use():
    bench = object.__new__(Bench)  # without the model that it is made with
    bench.study, bench._uses = Study(), None
    assert bench.size(CostSizes).cost_prompts == 12
    with bench.using(costs.STAGE.uses):
        assert bench.size(CostSizes).cost_prompts == 12
        with pytest.raises(ValueError, match="add EffectSizes to what the stage `uses`"):
            bench.size(EffectSizes)
    assert bench.size(EffectSizes).effect_tokens == 20


def test_work_of_two_kinds_costs_what_both_do():
    assert Work.over("abc", 2.0) == Work(3, 2.0)
    parts = Work(10, 1), Work(30, 2, 20), Work(0, 5, 5)
    whole = parts[0] + parts[1] + parts[2]
    assert whole.ticks == 40
    assert whole.total_passes == pytest.approx(sum(p.total_passes for p in parts))
    assert (Work(0) + Work(0)).total_passes == 0
