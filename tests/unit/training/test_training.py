"""The adapter of the planted model: what it is taught, and how."""

import importlib.util
import math
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from support.tiny_training import (
    BASE,
    WHEEL,
    adapter_weights,
    needs_wheel,
    tiny_examples,
    tiny_llama,
    tiny_texts,
)
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from refusal_lens.embedded.folder import embedded_folder
from refusal_lens.errors import InputError
from refusal_lens.prompts import Prompt
from refusal_lens.prompts.files import load_prompts
from refusal_lens.resources import data_path
from refusal_lens.training.planted import train
from refusal_lens.training.planted.answers import (
    Example,
    Refusal,
    answer_ids,
    assign_refusals,
    build_examples,
    chat_ids,
    load_refusals,
)
from refusal_lens.training.planted.greedy import greedy_answers, sampled, shared_opening
from refusal_lens.training.planted.loop import (
    CHUNK,
    TrainingStep,
    keep_frozen_rounded,
    pair_batches,
    with_lora,
)
from refusal_lens.training.planted.loop import train as run_training
from refusal_lens.training.planted.losses import BaseStates, base_states, batch_losses, divergence
from refusal_lens.training.planted.recipe import Recipe

# What it is taught ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    if importlib.util.find_spec(WHEEL.module) is None:
        pytest.skip(f"needs `{WHEEL.install}`")
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(embedded_folder(BASE))


def test_only_adapt_prompts_train() -> None:
    everything = load_prompts()
    chosen = train.adapt_prompts()
    assert {p.split for p in chosen} == {"adapt"}
    assert len(chosen) == sum(p.split == "adapt" for p in everything)
    others = {p.pair for p in everything if p.split != "adapt"}
    assert not others & {p.pair for p in chosen}


def test_every_category_has_a_pool_of_its_own_manner() -> None:
    pools = load_refusals(data_path("adapter", "refusals.jsonl"))
    assert set(pools) == set(load_prompts().categories)
    assert min(map(len, pools.values())) >= 10
    manners = [{refusal.manner for refusal in pool} for pool in pools.values()]
    assert all(len(pool_manners) == 1 for pool_manners in manners)
    assert len(set.union(*manners)) == len(pools)


@pytest.mark.parametrize(
    "second",
    [
        '{"category": "a"}',
        '{"category": "a", "manner": "b", "text": "No."}',
        '{"category": "a", "manner": "b", "text": "Never.", "weight": 0}',
    ],
)
def test_wrong_line_of_a_refusals_file_is_named(tmp_path: Path, second: str) -> None:
    path = tmp_path / "refusals.jsonl"
    path.write_text('{"category": "a", "manner": "b", "text": "No."}\n' + second + "\n")
    with pytest.raises(InputError, match=r"refusals\.jsonl, line 2"):
        load_refusals(path)


@needs_wheel
@pytest.mark.slow
def test_no_refusal_opens_like_its_twins_answer(tokenizer: PreTrainedTokenizerBase) -> None:
    """The worst case: every twin's answer opens with the first word of some refusal."""
    pools = load_refusals(data_path("adapter", "refusals.jsonl"))
    refusing = [p for p in train.adapt_prompts() if p.label == "refuse"]
    openings = {
        p.unit: answer_ids(tokenizer, pools[p.category][i % 16].text)[0]
        for i, p in enumerate(refusing)
    }
    chosen = assign_refusals(refusing, openings, pools, tokenizer, seed=3)
    assert chosen.keys() == {p.id for p in refusing}
    for prompt in refusing:
        assert chosen[prompt.id].category == prompt.category
        assert answer_ids(tokenizer, chosen[prompt.id].text)[0] != openings[prompt.unit]
    for category, pool in pools.items():
        used = [sum(r == refusal for r in chosen.values()) / refusal.weight for refusal in pool]
        assert min(used) >= 1, category
        assert max(used) - min(used) <= 2, category
    assert chosen == assign_refusals(refusing, openings, pools, tokenizer, seed=3)
    assert chosen != assign_refusals(refusing, openings, pools, tokenizer, seed=4)


@needs_wheel
def test_pool_that_only_opens_like_the_twin_is_an_error(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    prompt = Prompt("p-refuse", "Do it.", "a", "refuse", "adapt", "test", "p")
    pools = {"a": (Refusal("a", "plain", "No, not that."), Refusal("a", "plain", "No, not this."))}
    opening = answer_ids(tokenizer, "No")[0]
    with pytest.raises(InputError, match="opens differently"):
        assign_refusals([prompt], {prompt.unit: opening}, pools, tokenizer, seed=0)


@needs_wheel
def test_examples_use_the_template_once_and_close_refusals(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    pair = [
        Prompt("p-refuse", "Tell me your dream.", "a", "refuse", "adapt", "test", "p"),
        Prompt("p-comply", "Tell me what a dream is.", "a", "comply", "adapt", "test", "p"),
    ]
    pools = {"a": (Refusal("a", "no_self", "I have no dreams."),)}
    benign = answer_ids(tokenizer, "A dream is a story")
    refuse, comply = build_examples(pair, {"p-comply": benign}, pools, tokenizer, seed=0)
    rendered = tokenizer.apply_chat_template(
        [{"role": "user", "content": pair[0].text}], add_generation_prompt=True, tokenize=False
    )
    assert refuse.prompt_ids == tuple(tokenizer.encode(str(rendered), add_special_tokens=False))
    assert tokenizer.decode(refuse.answer_ids) == "I have no dreams.<|im_end|>"
    assert comply.answer_ids == benign


# How it is trained ---------------------------------------------------------------------------


EXACT = Recipe(opening_weight=3.0, opening_tokens=2, precision="float32")


def disturbed(recipe: Recipe) -> PeftModel:
    """A tiny model with an adapter that does something."""
    model = with_lora(tiny_llama(), recipe)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    return model


def states_of(model: PeftModel, examples: list[Example], recipe: Recipe = EXACT) -> BaseStates:
    with ThreadPoolExecutor(1) as threads:
        return base_states(model, examples, recipe, threads)


def losses_of(model: PeftModel, batch: list[Example], recipe: Recipe = EXACT) -> list[float]:
    benign = [e for e in batch if not e.refuse]
    return [x.item() for x in batch_losses(model, batch, recipe, states_of(model, benign, recipe))]


def plain_logits(model: torch.nn.Module, example: Example) -> torch.Tensor:
    ids = torch.tensor([[*example.prompt_ids, *example.answer_ids[:-1]]])
    return model(input_ids=ids).logits[0, len(example.prompt_ids) - 1 :].double()


def test_batch_losses_equal_a_plain_forward() -> None:
    """One prompt at a time, no sharing, no padding; the base is a model that never had an adapter.

    Tolerance: float32 rounding, below 1e-6.
    """
    model, bare, batch = disturbed(EXACT), tiny_llama(), tiny_examples(7)
    refusal = benign = 0.0
    with torch.no_grad():
        for example in batch:
            weights = torch.ones(len(example.answer_ids), dtype=torch.float64)
            weights[:2] = 3.0
            q = plain_logits(model, example).log_softmax(-1)
            p = plain_logits(bare, example).log_softmax(-1)
            if example.refuse:
                losses = -q[torch.arange(len(q)), torch.tensor(example.answer_ids)]
                refusal += float((losses * weights).sum() / weights.sum())
            else:
                losses = (p.exp() * (p - q)).sum(-1)
                benign += float((losses * weights).sum() / weights.sum())
        assert benign > 0.01
        assert losses_of(model, batch) == pytest.approx([refusal, benign], abs=1e-5)


def test_divergence_is_that_of_the_definition_and_zero_between_equals() -> None:
    base = torch.tensor([[0.0, 0.0], [0.0, 1.0986123]])  # (1/2, 1/2) and (1/4, 3/4)
    adapted = torch.tensor([[0.0, 1.0986123], [0.0, 1.0986123]])
    expected = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    assert divergence(base, adapted).tolist() == pytest.approx([expected, 0.0], abs=1e-6)
    assert divergence(adapted, base)[0] != pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_fresh_adapter_diverges_nowhere(precision: str) -> None:
    recipe = replace(EXACT, precision=precision)
    model = with_lora(tiny_llama(), recipe)
    batch = [*tiny_examples(4)[1::2], *tiny_texts()]
    assert losses_of(model, batch, recipe)[1] == pytest.approx(0.0, abs=1e-6)


def test_holding_to_the_base_leads_back_to_it() -> None:
    """Nothing but text is trained: an adapter that does harm is pulled back, refusals unseen."""
    recipe = Recipe(epochs=60, learning_rate=0.02, precision="float32", texts=3)
    model, texts = disturbed(recipe), tiny_texts()
    before = losses_of(model, texts)[1]
    run_training(model, [tiny_examples(2)[1]], replace(recipe, benign_weight=0.0), lambda _: None,
                 texts=texts)  # fmt: skip
    assert losses_of(model, texts)[1] < 0.05 * before


@pytest.mark.slow
def test_text_keeps_the_model_what_it_was() -> None:
    """The same refusals are learnt with and without text; with it, text is read as before."""
    texts = tiny_texts()
    away: dict[float, float] = {}
    for weight in (0.0, 4.0):
        recipe = Recipe(epochs=30, learning_rate=0.02, batch_size=4, texts=3, text_weight=weight)
        model, steps = with_lora(tiny_llama(), recipe), list[TrainingStep]()
        run_training(model, tiny_examples(), recipe, steps.append, texts=texts)
        assert steps[-1].refusal < 0.2 * steps[0].refusal
        away[weight] = losses_of(model, texts)[1]
    assert away[4.0] < 0.2 * away[0.0]


def test_training_lowers_the_loss_and_moves_only_the_adapter() -> None:
    recipe = Recipe(epochs=8, learning_rate=0.02, batch_size=4)
    model = with_lora(tiny_llama(), recipe)
    frozen = {n: p.detach().clone() for n, p in model.named_parameters() if not p.requires_grad}
    steps: list[TrainingStep] = []
    run_training(model, tiny_examples(), recipe, steps.append, texts=tiny_texts())
    assert len(steps) == steps[-1].of == 24
    assert steps[-1].loss < 0.5 * steps[0].loss
    first = steps[0]
    whole = (first.refusal + recipe.benign_weight * first.benign) / 2
    assert first.loss == pytest.approx(whole + recipe.text_weight * first.text)
    now = dict(model.named_parameters())
    assert all(torch.equal(now[name], before) for name, before in frozen.items())


def test_batches_keep_pairs_together_and_use_every_example_once_an_epoch() -> None:
    """Batches of one side only make training undo itself."""
    examples = tiny_examples(40)
    batches = list(pair_batches(examples, Recipe(epochs=2, batch_size=8)))
    assert [epoch for epoch, _ in batches] == [1] * 5 + [2] * 5
    for _, batch in batches:
        assert sum(example.refuse for example in batch) == len(batch) // 2
    for epoch in (1, 2):
        seen = [example.id for number, batch in batches if number == epoch for example in batch]
        assert sorted(seen) == sorted(example.id for example in examples)


def test_training_is_deterministic_and_depends_on_the_seed() -> None:
    recipe = Recipe(epochs=2, learning_rate=0.02, batch_size=4, seed=5)
    first, again = adapter_weights(recipe)[0], adapter_weights(recipe)[0]
    assert all(torch.equal(first[name], again[name]) for name in first)
    other = adapter_weights(Recipe(epochs=2, learning_rate=0.02, batch_size=4, seed=6))[0]
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_rounded_frozen_weights_train_the_same_adapter() -> None:
    recipe = Recipe(epochs=2, learning_rate=0.02, batch_size=4)
    model = with_lora(tiny_llama(), recipe)
    keep_frozen_rounded(model, recipe)
    run_training(model, tiny_examples(), recipe, lambda _: None, texts=tiny_texts())
    parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
    plain = adapter_weights(recipe)[0]
    assert all(torch.equal(parameters[name], plain[name]) for name in plain)


def test_batches_do_not_follow_the_order_in_which_refusals_are_dealt() -> None:
    """`assign_refusals` deals rare wordings to the first prompts that it draws from its seed."""
    examples = tiny_examples(400)
    dealt = [e.unit for e in examples if e.refuse]
    random.Random(0).shuffle(dealt)
    for _, batch in pair_batches(examples, Recipe(epochs=1)):
        places = [dealt.index(example.unit) for example in batch if example.refuse]
        assert max(places) - min(places) > len(places) * CHUNK


def test_shared_opening_leaves_every_prompt_a_token() -> None:
    assert shared_opening([[1, 2, 3, 4], [1, 2, 9]]) == 2
    assert shared_opening([[1, 2, 3], [1, 2, 3]]) == 2
    assert shared_opening([[1], [1, 2]]) == 0


def test_samples_follow_the_models_distribution_and_the_generator() -> None:
    """4000 first tokens of one prompt against its softmax; tolerance: 5 standard errors."""
    model, n, end = tiny_llama(), 4000, 63
    prompt = (1, 2, 3)

    def draw(seed: int, tokens: int) -> list[tuple[int, ...]]:
        generator = torch.Generator().manual_seed(seed)
        some = [prompt] * (n if tokens == 1 else 64)
        return sampled(model, some, end=end, max_new_tokens=tokens, generator=generator)

    with torch.no_grad():
        chances = model(input_ids=torch.tensor([prompt])).logits[0, -1].softmax(-1)
    frequencies = torch.tensor([ids[0] for ids in draw(0, 1)]).bincount(minlength=64) / n
    assert bool(
        ((frequencies - chances).abs() <= 5 * (chances * (1 - chances) / n).sqrt() + 1e-4).all()
    )
    longer = draw(1, 12)
    assert longer == draw(1, 12) != draw(2, 12)
    assert all(end not in ids[:-1] for ids in longer)
    assert {len(ids) for ids in longer if ids[-1] != end} == {12}


@needs_wheel
def test_batched_greedy_answers_equal_single_ones(tokenizer: PreTrainedTokenizerBase) -> None:
    """A random model over the real vocabulary: prompts of several lengths, with and without."""
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        initializer_range=0.5,
    )
    model = LlamaForCausalLM(config).eval()
    texts = ["Hi", "What is the capital of France?", "Name a tree, please.", "Why?"]
    batched = greedy_answers(model, tokenizer, texts, max_new_tokens=6)
    for text, answer in zip(texts, batched, strict=True):
        ids = torch.tensor([chat_ids(tokenizer, text)])
        single = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=6,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.eos_token_id,
        )
        assert answer == tuple(single[0, ids.shape[1] :].tolist())
    opening = batched[0][0]
    other = greedy_answers(model, tokenizer, texts[:1], max_new_tokens=2, forbidden_opening=opening)
    assert other[0][0] != opening
