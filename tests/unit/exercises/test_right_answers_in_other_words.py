"""Right answers as other people write them: loops, einsum, libraries, float64, a device by name."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import cohen_kappa_score, confusion_matrix, mutual_info_score, roc_auc_score
from torch.nn import functional as F

import refusal_lens as rl


def by_hand(tokenizer, text):
    return tokenizer.encode(f"<bos><user>{text}<end><assistant>", add_special_tokens=False)


def from_a_dict(tokenizer, text):
    messages = [{"role": "user", "content": text}]
    made = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)
    return torch.tensor(made["input_ids"])


def by_forward_hooks(blocks, embedded):
    seen = {}
    handles = [
        block.register_forward_hook(lambda m, given, out, i=i: seen.update({i: given[0]}))
        for i, block in enumerate(blocks)
    ]
    try:
        for block in blocks:
            embedded = block(embedded)
    finally:
        for handle in handles:
            handle.remove()
    return torch.stack([seen[i] for i in range(len(blocks))])


def coordinates_by_loop(stream, directions):
    made = torch.zeros(stream.shape[:2], dtype=torch.float64, device="cpu")
    for layer in range(stream.shape[0]):
        for pos in range(stream.shape[1]):
            d = directions[layer].double()
            made[layer, pos] = stream[layer, pos].double() @ d / torch.sqrt((d * d).sum())
    return made


def ablate_by_matrix(resid, direction):
    r = F.normalize(direction.double(), dim=0)
    return (resid.double() @ (torch.eye(len(r), dtype=torch.float64) - torch.outer(r, r))).float()


def add_by_loop(resid, unit, scale, strength):
    return torch.stack([torch.stack([x + unit * (scale * strength) for x in row]) for row in resid])


def rate_by_counter(outcomes):
    n = Counter(outcomes)
    readable = n.total() - n["unclear"]
    return np.float64(n["refused"] / readable) if readable else None


def kl_by_library(before, after):
    p, q = before.softmax(-1).numpy(), after.softmax(-1).numpy()
    return np.mean([stats.entropy(x, y) for x, y in zip(p, q, strict=True)])


def reliability_by_variance(d):
    return 1 - d.var(0).sum() / len(d) / d.mean(0).square().sum()


def corrected_by_reliability(a, b):
    naive = F.cosine_similarity(a.mean(0), b.mean(0), dim=0)
    return naive / math.sqrt(reliability_by_variance(a) * reliability_by_variance(b))


def p_by_loop(differences, signs):
    observed, b = differences.mean(0).pow(2).sum(), 0
    for draw in signs:
        b += int((draw[:, None] * differences).mean(0).pow(2).sum() >= observed)
    return (b + 1) / (len(signs) + 1)


def dimension_without_eigenvalues(directions):
    cosines = F.normalize(directions, dim=1) @ F.normalize(directions, dim=1).T
    return (len(directions) ** 2 / (cosines**2).sum()).item()


def isotonic(values):
    return IsotonicRegression().fit_transform(np.arange(len(values)), values)


def over_refusal_with_nothing_outside(target, refusal, over_refusal):
    value = np.interp(target, refusal, over_refusal, left=np.nan, right=np.nan)
    return None if np.isnan(value) else value


def percentiles(a, b, draws):
    a, b, draws = a.numpy(), b.numpy(), draws.numpy()
    return np.percentile((a - b)[draws].mean(1), [2.5, 97.5])


def knob_by_comparing(low, high, margin):
    if max(abs(low), abs(high)) <= margin:
        return np.str_("equivalent")
    return "different" if min(abs(low), abs(high)) > margin and low * high > 0 else "unresolved"


def counts_by_put(direction, style, refused, shape):
    at, one = (direction[refused], style[refused]), torch.tensor(1.0)
    return torch.zeros(shape).index_put_(at, one, accumulate=True)


def shares_by_loop(refused, answered, direction):
    unit = direction / torch.linalg.vector_norm(direction)
    pairs = zip(refused, answered, strict=True)
    return torch.tensor([float((r.mean(0) - a.mean(0)).dot(unit)) for r, a in pairs])


def heads_by_matmul(z, w_o, direction):
    written = (z[:, :, None, :] @ w_o).squeeze(2)
    return (written * F.normalize(direction, dim=0)).sum(-1)


def patched_by_a_hook(blocks, benign, refused, layer, pos):
    for block in list(blocks)[:layer]:
        refused = block(refused)

    def replace(module, inputs):
        stream = inputs[0].clone()
        stream[pos] = refused[pos]
        return (stream,)

    handle = blocks[layer].register_forward_pre_hook(replace)
    for block in blocks:
        benign = block(benign)
    handle.remove()
    return benign


def cells_by_library(harmful, refused):
    return confusion_matrix(harmful, refused, labels=[1, 0])[:, [0, 1]]


def behaviour_by_lists(resid, harmful, refused):
    rows = list(zip(resid.double(), harmful.tolist(), refused.tolist(), strict=True))
    high = torch.stack([x for x, h, r in rows if h and r]).mean(0)
    low = torch.stack([x for x, h, r in rows if not h and not r]).mean(0)
    return F.normalize(high - low, dim=0)


def within_by_loop(resid, harmful, refused):
    total = torch.zeros(resid.shape[1])
    for side in (True, False):
        here = harmful == side
        total += resid[here & refused].mean(0) - resid[here & ~refused].mean(0)
    return total / total.norm()


def score_by_logsumexp(logits, refusal_tokens):
    kept = torch.ones(logits.shape[1], dtype=torch.bool)
    kept[refusal_tokens] = False
    return logits[:, refusal_tokens].logsumexp(1) - logits[:, kept].logsumexp(1)


def in_test_by_library(pairs, n_test):
    order = sorted(set(pairs), key=pairs.index)
    return np.isin(pairs, order[len(order) - n_test :])


def gap_by_library(refuse, comply):
    t = stats.ttest_ind(refuse.numpy(), comply.numpy()).statistic
    return t * math.sqrt(1 / len(refuse) + 1 / len(comply))


def area_by_library(refuse, comply):
    u = stats.mannwhitneyu(refuse.numpy(), comply.numpy()).statistic
    return u / (len(refuse) * len(comply))


def threshold_by_counting(benign, rate):
    return min(t for t in benign.tolist() if np.mean(benign.numpy() > t) <= rate)


def score_by_loop(coordinate, lengths):
    pairs = zip(coordinate.double(), lengths, strict=True)
    return torch.stack([row[:n].max() for row, n in pairs])


def alarm_by_loop(coordinate, threshold):
    for i, value in enumerate(coordinate):
        if value > threshold:
            return torch.tensor(i, device="cpu")
    return None


def detected_by_counting(benign, harmful, disguised, rate):
    limit = threshold_by_counting(benign, rate)
    return [float(np.mean(x.numpy() > limit)) for x in (harmful, disguised)]


ANSWERS = {
    "prompt_ids": [by_hand, from_a_dict, lambda t, x: np.array(by_hand(t, x))],
    "last_real_token": [
        lambda x, n: torch.stack([row[k - 1] for row, k in zip(x, n, strict=True)]),
        lambda x, n: x.gather(1, (n - 1)[:, None, None].expand(-1, 1, x.shape[2])).squeeze(1),
    ],
    "stream_before_each_block": [by_forward_hooks],
    "coordinates": [
        coordinates_by_loop,
        lambda s, d: (s @ F.normalize(d, dim=-1)[..., None]).squeeze(-1),
    ],
    "between_means": [
        lambda x, low, high: ((x.T - low) / (high - low)).T,
        lambda x, low, high: (x.double() - low.view(-1, 1)) / (high - low).view(-1, 1),
    ],
    "mean_difference": [
        lambda r, a: F.normalize(r.mean(0) - a.mean(0), dim=0),
        lambda r, a: F.normalize((sum(r) / len(r) - sum(a) / len(a)).double(), dim=-1),
    ],
    "ablate": [ablate_by_matrix, lambda x, r: x - torch.einsum("bpd,d,e->bpe", x, r, r) / (r @ r)],
    "add": [add_by_loop, lambda x, unit, scale, k: torch.add(x, unit, alpha=scale * k)],
    "refusal_rate": [rate_by_counter],
    "mean_kl": [
        kl_by_library,
        lambda b, a: F.kl_div(
            a.log_softmax(-1), b.log_softmax(-1), log_target=True, reduction="batchmean"
        ),
        lambda b, a: F.kl_div(
            a.double().log_softmax(1), b.double().softmax(1), reduction="batchmean"
        ),
    ],
    "cosine_matrix": [
        lambda d: F.cosine_similarity(d[:, None], d[None], dim=-1),
        lambda d: torch.tensor([[float(x @ y / x.norm() / y.norm()) for y in d] for x in d]),
    ],
    "reliability": [reliability_by_variance, lambda d: float(reliability_by_variance(d))],
    "corrected_cosine": [corrected_by_reliability],
    "sign_flip_p": [p_by_loop],
    "effective_dimension": [dimension_without_eigenvalues],
    "monotone": [isotonic, lambda v: torch.tensor(isotonic(v))],
    "over_refusal_at": [over_refusal_with_nothing_outside],
    "difference_interval": [percentiles, lambda a, b, d: percentiles(a, b, d).tolist()],
    "knob_answer": [knob_by_comparing],
    "style_counts": [counts_by_put],
    "mutual_information": [
        lambda c: mutual_info_score(None, None, contingency=c.numpy()),
        lambda c: (
            torch.special.entr(c.sum(0) / c.sum()).sum()
            + torch.special.entr(c.sum(1) / c.sum()).sum()
            - torch.special.entr(c / c.sum()).sum()
        ),
    ],
    "adjusted": [lambda o, p, most: (o - np.mean(p.tolist())) / (most - np.mean(p.tolist()))],
    "cohen_kappa": [cohen_kappa_score],
    "direct_shares": [
        shares_by_loop,
        lambda r, a, d: (r.mean(1) @ d - a.mean(1) @ d) / (d @ d).sqrt(),
    ],
    "head_shares": [heads_by_matmul],
    "patch_stream": [patched_by_a_hook],
    "recovery": [lambda x, b, r: ((x.T - b) / (r - b)).T],
    "four_cells": [
        cells_by_library,
        lambda h, r: [[int((x & y).sum()) for y in (r, ~r)] for x in (h, ~h)],
        lambda h, r: torch.tensor([[(x & y).sum() for y in (r, ~r)] for x in (h, ~h)]),
        lambda h, r: torch.bincount(2 * ~h + 1 * ~r, minlength=4).view(2, 2),
    ],
    "behaviour_direction": [behaviour_by_lists],
    "within_direction": [within_by_loop],
    "refusal_score": [
        score_by_logsumexp,
        lambda x, ids: torch.logit(x.double().softmax(1)[:, ids].sum(1)),
    ],
    "in_test": [in_test_by_library, lambda p, n: list(in_test_by_library(p, n))],
    "length_gap": [gap_by_library],
    "area": [
        area_by_library,
        lambda a, b: roc_auc_score([1] * len(a) + [0] * len(b), torch.cat([a, b])),
    ],
    "layer_and_score": [
        lambda layers, val, test: [
            max(layers, key=lambda x: val[layers.index(x)]),
            test[val.argmax()],
        ],
        lambda layers, val, test: (np.array(layers)[val.argmax()], test[val.argmax()].double()),
    ],
    "threshold": [threshold_by_counting],
    "prompt_score": [score_by_loop],
    "first_alarm": [alarm_by_loop],
    "detected": [detected_by_counting],
}
CASES = [(name, i) for name, functions in ANSWERS.items() for i in range(len(functions))]


def test_every_exercise_is_answered():
    assert set(ANSWERS) == set(rl.exercises.all_exercises())


@pytest.mark.parametrize(("name", "i"), CASES)
def test_it_passes(name: str, i: int):
    feedback = rl.exercises.check(name, ANSWERS[name][i])
    assert feedback, feedback


@pytest.mark.parametrize("name", ["last_real_token", "prompt_score", "add", "mean_kl"])
def test_a_default_device_of_the_notebook_changes_nothing(name: str):
    with torch.device("meta"):
        assert rl.exercises.check(name, ANSWERS[name][0])
