"""The refusal score as a loss where the model is sure, and what it says of few prompts."""

import pytest
import torch
import torch.nn.functional as F
from support.directions import a_direction

from refusal_lens.optimised import Objective, Settings, fit_rdo
from refusal_lens.optimised.passes import LearningPasses, learning
from refusal_lens.optimised.rows import TargetRow
from refusal_lens.optimised.score_term import RefusalScoreLoss

SETTINGS = Settings(steps=2, rows=2, target_tokens=2, retain_tokens=0)


def loss_of(model, monkeypatch, logits, openings):
    """The loss where the passes give these logits [head, pos, d_vocab], and its gradient."""
    logits = logits.clone().requires_grad_()
    with learning(model):
        passes, heads = LearningPasses(model, a_direction(model)), iter(logits)
        monkeypatch.setattr(passes, "logits", lambda rows, edit: [next(heads)])
        term = RefusalScoreLoss(passes, [TargetRow("one", (5, 6), ())], openings)
        loss = term.losses([0], [a_direction(model).vector])
    return float(loss.detach()), torch.autograd.grad(loss.sum(), logits)[0]


@pytest.mark.parametrize("size", [0.0, 5.0, 30.0, 60.0])
def test_the_loss_is_the_score_and_teaches_where_refusal_is_sure(tiny_llama, monkeypatch, size):
    """From p = 2 / 300 to 1 - p = 1e-24: softplus of the log-odds, with slope p."""
    logits = torch.zeros(1, 1, 300)
    logits[0, 0, [7, 8]] = size
    exact = logits.clone().double().requires_grad_()
    others = torch.ones(300, dtype=torch.bool)
    others[[7, 8]] = False
    score = exact[0, 0, [7, 8]].logsumexp(0) - exact[0, 0, others].logsumexp(0)
    (slope,) = torch.autograd.grad(F.softplus(score, threshold=1e3), exact)
    loss, gradient = loss_of(tiny_llama, monkeypatch, logits, ((7,), (8,)))
    assert loss == pytest.approx(float(F.softplus(score, threshold=1e3)), rel=1e-6)
    assert torch.allclose(gradient.double(), slope, rtol=1e-4, atol=1e-9)
    if size >= 30:
        assert float(gradient[0, 0, [7, 8]].sum()) == pytest.approx(1.0, abs=1e-6)


def test_openings_of_several_tokens_may_be_left_at_each(tiny_llama, monkeypatch):
    """Heads (5, 9), (5, 3) and (7, 2) share a first token or not: 1 - p by the chain rule."""
    openings = ((5, 9, 1), (5, 3, 2), (5, 3, 4), (7, 2, 1))
    random = torch.Generator().manual_seed(0)
    first, after = torch.randn(300, generator=random), {}
    first[[5, 7]] += 8.0
    likely = {(5,): [9, 3], (7,): [2], (5, 9): [1], (5, 3): [2, 4], (7, 2): [1]}
    for beginning, tokens in likely.items():
        after[beginning] = torch.randn(300, generator=random)
        after[beginning][tokens] += 8.0
    heads = ((5, 9), (5, 3), (7, 2))
    logits = torch.stack([torch.stack([first, after[h[:1]], after[h]]) for h in heads])
    p = sum(
        first.double().softmax(0)[a]
        * after[(a,)].double().softmax(0)[b]
        * after[a, b].double().softmax(0)[c]
        for a, b, c in openings
    )
    loss, _ = loss_of(tiny_llama, monkeypatch, logits, openings)
    assert 0.2 < float(p) < 1 and loss == pytest.approx(float(-torch.log1p(-p)), rel=1e-5)


@pytest.mark.parametrize("n", [3, 4])
def test_few_prompts_are_evaluated_on_their_own_and_the_method_says_so(tiny_llama, n):
    asked = Objective(["Why?", "Who?", "How?", "When?"][:n], a_direction(tiny_llama), refusals="No")
    learned = fit_rdo(tiny_llama, asked, settings=SETTINGS)
    assert learned.method.endswith("evaluated on its own prompts") is (n < 4)
