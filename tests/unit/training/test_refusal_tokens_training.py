"""Training with refusal tokens, on a tiny language model: rows, losses, learning, going on."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel, get_peft_model_state_dict
from support.tiny_training import tiny_examples, tiny_llama, tiny_texts

from refusal_lens.training.planted.losses import base_states
from refusal_lens.training.refusal_tokens import loop
from refusal_lens.training.refusal_tokens.examples import Marked, marked, marked_texts
from refusal_lens.training.refusal_tokens.loop import train
from refusal_lens.training.refusal_tokens.losses import batch_sums
from refusal_lens.training.refusal_tokens.recipe import TokenRecipe
from refusal_lens.training.refusal_tokens.rows import TokenRows, with_tokens

RESPOND, REFUSE = 60, 61
RECIPE = TokenRecipe(rank=2, alpha=8, learning_rate=0.02, precision="float32", shards=1, epochs=12)


def tied():
    model = tiny_llama()
    model.config.tie_word_embeddings = True
    model.tie_weights()
    return model


def fresh(recipe: TokenRecipe = RECIPE) -> PeftModel:
    return with_tokens(tied(), [RESPOND, REFUSE], 5, recipe)


def taught(recipe: TokenRecipe = RECIPE) -> tuple[list[Marked], list[Marked]]:
    examples = marked(tiny_examples(), {"a": REFUSE}, RESPOND, recipe)
    return examples, marked_texts(tiny_texts(), RESPOND, (1, 2), recipe)


def first_tokens(model: PeftModel) -> list[int]:
    with torch.no_grad():
        logits = [model(torch.tensor([e.prompt_ids])).logits[0, -1] for e in tiny_examples()]
    return [int(row.argmax()) for row in logits]


def test_every_answer_has_its_token_and_running_text_has_none():
    examples, texts = taught(replace(RECIPE, benign_tokens=1))
    refuse, benign = examples[0], examples[1]
    assert (refuse.token, benign.token) == (REFUSE, RESPOND)
    assert benign.example.answer_ids == (50,) and refuse.example.answer_ids == (40, 41, 42, 43)
    assert refuse.fed == (*refuse.example.prompt_ids, REFUSE, 40, 41, 42)
    assert all(text.token is None for text in texts)
    chat = marked_texts(tiny_texts(), RESPOND, tiny_texts()[0].prompt_ids, RECIPE)
    assert [text.token for text in chat] == [RESPOND, None, None]


def test_the_rows_give_what_the_adapter_gives():
    model = fresh()
    rows = TokenRows.of(model)
    ids = torch.tensor([[1, 2, RESPOND, 5, REFUSE]])
    with torch.no_grad():
        body = model.get_base_model().base_model
        hidden = body(inputs_embeds=rows.embed(ids)).last_hidden_state
        assert torch.allclose(rows.unembed(hidden[0]), model(ids).logits[0], atol=1e-5)
    plain = torch.nn.functional.embedding(ids, rows.matrix)
    assert not torch.allclose(rows.embed(ids)[0, 2], plain[0, 2])
    assert torch.equal(rows.embed(ids)[0, 3], plain[0, 3])


def test_the_sums_are_those_of_a_plain_pass_over_each_example():
    model, (examples, texts) = fresh(), taught()
    batch = [*examples[:4], *texts[:1]]
    benign = [one.example for one in batch if not one.example.refuse]
    with torch.no_grad(), ThreadPoolExecutor(1) as threads:
        base = base_states(model, benign, RECIPE.shared, threads)
        sums = batch_sums(model, TokenRows.of(model), batch, base, RECIPE)
        token = refusal = away = 0.0
        for one in batch:
            start = len(one.example.prompt_ids) - 1
            log_p = model(torch.tensor([one.fed])).logits[0, start:].log_softmax(-1)
            if one.token is not None:
                token -= float(log_p[0, one.token])
                log_p = log_p[1:]
            answer = torch.tensor(one.example.answer_ids)
            if one.example.refuse:
                refusal -= float(log_p.gather(1, answer[:, None]).mean())
                continue
            with model.disable_adapter():
                fed = (*one.example.prompt_ids, *one.example.answer_ids[:-1])
                plain = model(torch.tensor([fed])).logits[0, start:].log_softmax(-1)
            away += float((plain.exp() * (plain - log_p)).sum(-1).mean())
    assert [s.item() for s in sums] == pytest.approx([token, refusal, away], abs=1e-4)


def test_training_teaches_the_token_that_the_prompt_asks_for(tmp_path: Path):
    model, (examples, texts) = fresh(), taught()
    wanted = [REFUSE if e.refuse else RESPOND for e in tiny_examples()]
    assert first_tokens(model) != wanted
    steps: list[loop.TokenTrainingStep] = []

    def report(step: loop.TokenTrainingStep) -> bool:
        steps.append(step)
        return True

    assert train(model, examples, texts, RECIPE, tmp_path, report)
    assert first_tokens(model) == wanted
    assert steps[-1].token < 0.2 < steps[0].token and steps[-1].refusal < steps[0].refusal


def test_a_run_that_was_ended_goes_on_to_the_same_weights(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(loop, "SAVE_EVERY", 2)
    recipe = replace(RECIPE, epochs=2, batch_size=4)
    whole, parts = fresh(recipe), [fresh(recipe), fresh(recipe)]
    examples, texts = taught(recipe)
    assert train(whole, examples, texts, recipe, tmp_path / "whole", lambda step: True)
    folder = tmp_path / "parts"
    assert not train(parts[0], examples, texts, recipe, folder, lambda step: step.step < 2)
    assert train(parts[1], examples, texts, recipe, folder, lambda step: True)
    expected, gone_on = (get_peft_model_state_dict(m) for m in (whole, parts[1]))
    assert all(torch.allclose(gone_on[k], v, atol=1e-6) for k, v in expected.items())
    early = get_peft_model_state_dict(parts[0])
    assert not all(torch.allclose(early[k], v, atol=1e-4) for k, v in expected.items())


def test_the_saved_adapter_holds_the_rows_alone_and_merges_to_the_same_logits(tmp_path: Path):
    from refusal_lens.embedded.adapter import merge_adapter
    from refusal_lens.training.planted.train import save_adapter

    model = fresh()
    rows = TokenRows.of(model).trained
    rows.data = rows.data.to(torch.bfloat16).float()
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            weight.data = (0.3 * torch.randn_like(weight)).to(torch.bfloat16).float()
        elif "lora_A" in name:
            weight.data = weight.data.to(torch.bfloat16).float()
    save_adapter(model, tmp_path)
    ids = torch.tensor([[1, 2, RESPOND, 5, REFUSE]])
    with torch.no_grad():
        expected = model(ids).logits
        merged = merge_adapter(tied(), tmp_path, 1.0)
        assert torch.allclose(merged(ids).logits, expected, atol=1e-4)
    assert (tmp_path / "adapter_model.safetensors").stat().st_size < 60_000
