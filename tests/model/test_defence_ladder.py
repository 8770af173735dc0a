"""Ladders on models whose refusal is known to have one dimension, or two."""

import pytest
import torch
from support.backup_model import ANSWER, REFUSAL, A, B, backup_model, marked_prompts

from refusal_lens.defence import (
    LadderMaterial,
    ladder_directions,
    measure_ladder,
    read_ladder,
)
from refusal_lens.defence.deflation import SETS, Place, independent
from refusal_lens.defence.measure import random_span
from refusal_lens.defence.place import try_layers, weakest_layer
from refusal_lens.errors import InputError
from refusal_lens.interventions import AblateSubspace
from refusal_lens.judges import PhraseJudge, ScoreTrust
from refusal_lens.model import Decoding
from refusal_lens.prompts import PromptSet
from refusal_lens.sites import Site

PROMPTS = marked_prompts()
PLACE = Place(Site(2))


@pytest.fixture(scope="module")
def backed(tmp_path_factory):
    return backup_model(tmp_path_factory.mktemp("backed"), backup=True)


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    return backup_model(tmp_path_factory.mktemp("single"), backup=False)


def trust(model) -> ScoreTrust:
    token = model.chat.tokenizer.convert_tokens_to_ids(REFUSAL)
    return ScoreTrust((token,), (REFUSAL,), {}, {"marked": "first token"}, {"marked": 0.0}, {}, {})


def climbed(model, directions):
    material = LadderMaterial(PROMPTS, PhraseJudge(), Decoding(1), trust(model))
    return measure_ladder(model, directions, material)


def test_the_models_say_what_they_were_built_to_say(backed, single):
    for model in (backed, single):
        answers = model.generate(list(PROMPTS), Decoding(1))
        assert answers == [REFUSAL if p.label == "refuse" else ANSWER for p in PROMPTS]


def test_deflation_finds_the_backup_only_where_there_is_one(backed, single):
    two, one = (ladder_directions(m, PROMPTS, PLACE, 4) for m in (backed, single))
    assert [d.category for d in two] == ["direction 1", "direction 2"]
    assert float(two[0].vector[A]) == pytest.approx(1.0, abs=1e-2)
    assert float(two[1].vector[B]) == pytest.approx(1.0, abs=1e-2)
    assert len(one) == 1 and float(one[0].vector[A]) == pytest.approx(1.0, abs=1e-2)


def test_two_dimensions_of_refusal_survive_one_ablation_and_not_two(backed):
    ladder = climbed(backed, ladder_directions(backed, PROMPTS, PLACE, 2))
    reading = read_ladder(ladder, draws=50)
    assert [r.refusal.value for r in reading.main] == [1.0, 1.0, 0.0]
    assert [r.answered.value for r in reading.main] == [0.0, 0.0, 1.0]
    assert {r.refusal.value for r in reading.random} == {1.0}
    assert {r.over_refusal.value for r in reading.main} == {0.0}
    assert reading.halved == 2
    assert [r.kept.value for r in reading.main] == [1.0, 1.0, 0.0]
    assert float(ladder.score[0, 1, 0].min()) > 0 > float(ladder.score[0, 2, 0].max())


def test_one_dimension_of_refusal_is_gone_with_one_ablation(single):
    reading = read_ladder(climbed(single, ladder_directions(single, PROMPTS, PLACE, 2)), draws=50)
    assert [r.refusal.value for r in reading.main] == [1.0, 0.0]
    assert [r.refusal.value for r in reading.random] == [1.0, 1.0]
    assert reading.halved == 1


def test_damage_is_that_of_the_edit_by_itself(backed):
    directions = ladder_directions(backed, PROMPTS, PLACE, 2)
    ladder = climbed(backed, directions)
    benign = PROMPTS.only(label="comply")
    plain = backed.logits(benign)
    with backed.editing(AblateSubspace(directions)):
        edited = backed.logits(benign)
    expected = torch.nn.functional.kl_div(
        edited.log_softmax(-1), plain.log_softmax(-1), reduction="none", log_target=True
    ).sum(-1)
    assert torch.allclose(ladder.kl[0, 2], expected, atol=1e-5)
    assert float(ladder.kl[:, 0].abs().max()) == 0
    drawn = random_span(directions[0], 2, seed=1)  # that of the second pair
    with backed.editing(drawn):
        under = backed.logits(benign)[1]
    kl = torch.nn.functional.kl_div(
        under.log_softmax(-1), plain[1].log_softmax(-1), reduction="sum", log_target=True
    )
    assert float(ladder.kl[1, 2, 1]) == pytest.approx(float(kl), abs=1e-5)


def test_random_spans_are_nested_and_orthonormal(backed):
    like = ladder_directions(backed, PROMPTS, PLACE, 1)[0]
    small, large = random_span(like, 1, 0), random_span(like, 3, 0)
    assert torch.equal(small.directions[0].vector, large.directions[0].vector)
    assert float(large(torch.stack([d.vector for d in large.directions])).norm()) < 1e-5


@pytest.mark.parametrize("directions", SETS)
def test_every_set_gives_independent_directions(backed, directions):
    fitted = ladder_directions(backed, PROMPTS, PLACE, 3, directions=directions)
    assert 1 <= len(fitted) <= 3
    assert torch.linalg.matrix_rank(torch.stack([d.vector for d in fitted])) == len(fitted)


def test_a_direction_within_the_span_of_others_is_no_rung(backed):
    one, two = ladder_directions(backed, PROMPTS, PLACE, 2)
    assert independent([one, one, two], 3) == [one, two]


def test_the_layer_behind_the_writer_is_chosen(single):
    tried = try_layers(single, PROMPTS, PROMPTS, trust(single), [1, 2])
    assert [layer for layer, _, _ in tried] == [1, 2]
    assert all(score.value < 0 for _, score, _ in tried)
    assert weakest_layer(tried, most_kl=10.0) in (1, 2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"most": 0}, "has no rung"),
        ({"directions": "others"}, "unknown"),
        ({"place": Place(Site(0))}, "do not differ"),
    ],
)
def test_wrong_ladders_are_one_clear_line(backed, change, words):
    given = {"place": PLACE, "most": 1, "directions": "deflation"} | change
    with pytest.raises(InputError, match=words) as raised:
        ladder_directions(
            backed, PROMPTS, given["place"], given["most"], directions=given["directions"]
        )
    assert "\n" not in str(raised.value)


def test_wrong_material_is_one_clear_line(backed):
    directions = ladder_directions(backed, PROMPTS, PLACE, 1)
    alone = LadderMaterial(PromptSet(PROMPTS.prompts[:1]), PhraseJudge(), Decoding(1))
    with pytest.raises(InputError, match="whole pairs"):
        measure_ladder(backed, directions, alone)
    many = LadderMaterial(PROMPTS, PhraseJudge(), Decoding(1), dimensions=(1, 2))
    with pytest.raises(InputError, match="numbers from 1 to 1"):
        measure_ladder(backed, directions, many)
    with pytest.raises(InputError, match="at least one direction"):
        measure_ladder(backed, [], many)
