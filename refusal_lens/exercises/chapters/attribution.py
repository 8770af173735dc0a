# pyright: reportUnknownLambdaType=false
"""Chapter 6: shares of parts and heads, a patch, and what it recovers."""

import torch
from torch import Tensor, nn

from refusal_lens.exercises.exercise import Case, Exercise, Mistake
from refusal_lens.exercises.registry import Chapter
from refusal_lens.exercises.tiny import blocks, numbers


def _unit(vector: Tensor) -> Tensor:
    return vector / vector.norm()


def _direct_shares(refused: Tensor, answered: Tensor, direction: Tensor) -> Tensor:
    return (refused.mean(1) - answered.mean(1)) @ _unit(direction)


DIRECT_SHARES = Exercise(
    name="direct_shares",
    solution=_direct_shares,
    gives="a tensor [part]: what each part adds to the difference of means along the direction",
    cases=(
        Case(
            "four parts, six refused and five answered prompts",
            (numbers(4, 6, 5) + 1, numbers(4, 5, 5, seed=1), 3 * numbers(5, seed=2)),
        ),
        Case(
            "as many parts as prompts",
            (numbers(3, 3, 5, seed=3), numbers(3, 3, 5, seed=4), numbers(5, seed=5)),
        ),
    ),
    mistakes=(
        Mistake(
            "The direction is not normalised: the shares then sum to the difference times its "
            "length.",
            lambda r, a, d: (r.mean(1) - a.mean(1)) @ d,
        ),
        Mistake(
            "Each part's difference is normalised: this is a cosine. A part that writes little "
            "looks as important as one that writes much, and shares no longer sum to the whole.",
            lambda r, a, d: torch.cosine_similarity(r.mean(1) - a.mean(1), d[None], dim=-1),
        ),
        Mistake(
            "Wrong axis: this is the mean over parts. Prompts are the middle axis: `mean(1)`.",
            lambda r, a, d: (r.mean(0) - a.mean(0)) @ _unit(d),
        ),
        Mistake(
            "Sums over prompts instead of means: with unequal numbers of prompts on both sides the "
            "difference is about those numbers.",
            lambda r, a, d: (r.sum(1) - a.sum(1)) @ _unit(d),
        ),
        Mistake(
            "The sign is turned: refused minus answered.",
            lambda r, a, d: -_direct_shares(r, a, d),
        ),
        Mistake(
            "This is what the parts write for refused prompts. Most of it they write for every "
            "prompt: subtract the answered ones.",
            lambda r, a, d: r.mean(1) @ _unit(d),
        ),
        Mistake(
            "These are divided by their sum. Where shares of both signs cancel, that sum may be "
            "near 0; leave them in the units of the stream.",
            lambda r, a, d: _direct_shares(r, a, d) / _direct_shares(r, a, d).sum(),
        ),
    ),
)


def _head_shares(z: Tensor, w_o: Tensor, direction: Tensor) -> Tensor:
    return torch.einsum("phe,hed,d->ph", z, w_o, _unit(direction))


HEAD_SHARES = Exercise(
    name="head_shares",
    solution=_head_shares,
    gives="a tensor [prompt, head]: what each head writes along the unit vector",
    cases=(
        Case(
            "four prompts, three heads of size 2",
            (numbers(4, 3, 2), numbers(3, 2, 6, seed=1), 2 * numbers(6, seed=2)),
        ),
        Case(
            "heads as large as the model",
            (numbers(3, 3, 3, seed=3), numbers(3, 3, 3, seed=4), numbers(3, seed=5)),
        ),
    ),
    mistakes=(
        Mistake(
            "The direction is not normalised.",
            lambda z, w, d: torch.einsum("phe,hed,d->ph", z, w, d),
        ),
        Mistake(
            "The heads are summed: this is the whole attention layer. Keep the head axis.",
            lambda z, w, d: _head_shares(z, w, d).sum(1),
        ),
        Mistake(
            "You divide by the number of heads. Heads write into the stream as a sum, not as a "
            "mean.",
            lambda z, w, d: _head_shares(z, w, d) / z.shape[1],
        ),
        Mistake(
            "This is the length of what each head writes, in whatever direction. Project it.",
            lambda z, w, d: torch.einsum("phe,hed->phd", z, w).norm(dim=-1),
        ),
        Mistake(
            "Each head went through the output weights of all heads. Head h has its own: the head "
            "axis is shared by `z` and `w_o`.",
            lambda z, w, d: torch.einsum("phe,ged,d->ph", z, w, _unit(d)),
        ),
        Mistake(
            "The output weights are transposed: they lead from d_head to d_model. The shapes agree "
            "only where both are equal.",
            lambda z, w, d: torch.einsum("phe,hde,d->ph", z, w, _unit(d)),
        ),
        Mistake(
            "This is [head, prompt]. Prompts come first.", lambda z, w, d: _head_shares(z, w, d).T
        ),
    ),
)


def _run(network: nn.ModuleList, stream: Tensor) -> list[Tensor]:
    """The stream before each block, and the last one after all."""
    streams = [stream]
    for block in network:
        streams.append(block(streams[-1]))
    return streams


def _spliced(
    network: nn.ModuleList, receiver: list[Tensor], donor: list[Tensor], layer: int, pos: int
) -> Tensor:
    stream = receiver[layer].clone()
    stream[pos] = donor[layer][pos]
    for block in list(network)[layer:]:
        stream = block(stream)
    return stream


def _patch_stream(
    network: nn.ModuleList, benign: Tensor, refused: Tensor, layer: int, pos: int
) -> Tensor:
    return _spliced(network, _run(network, benign), _run(network, refused), layer, pos)


def _patch_all(network: nn.ModuleList, refused: Tensor) -> Tensor:
    return _run(network, refused)[-1]


_BENIGN, _REFUSED = numbers(4, 5), numbers(4, 5, seed=1)
PATCH_STREAM = Exercise(
    name="patch_stream",
    solution=_patch_stream,
    gives="the final stream [pos, d_model] of the benign run with one vector of the refused run",
    cases=(
        Case("layer 2 of four, the second token", (blocks(), _BENIGN, _REFUSED, 2, 1)),
        Case("layer 1 of four, the last token", (blocks(), _BENIGN, _REFUSED, 1, 3)),
        Case("layer 0, the first token", (blocks(), _BENIGN, _REFUSED, 0, 0)),
    ),
    mistakes=(
        Mistake(
            "Off by one layer: you replaced what leaves block `layer`. The patch is made on what "
            "enters it.",
            lambda net, b, r, layer, pos: _patch_stream(net, b, r, layer + 1, pos),
        ),
        Mistake(
            "Off by one layer: you replaced the input of the block before.",
            lambda net, b, r, layer, pos: _patch_stream(net, b, r, layer - 1, pos),
        ),
        Mistake(
            "The whole stream was replaced, at every position: what follows is just the refused "
            "run. Replace one position.",
            lambda net, b, r, layer, pos: _patch_all(net, r),
        ),
        Mistake(
            "The direction of the patch is turned: a vector of the benign run went into the "
            "refused run.",
            lambda net, b, r, layer, pos: _patch_stream(net, r, b, layer, pos),
        ),
        Mistake(
            "The refused prompt's *embedding* was put in at that layer. Put in its stream at that "
            "layer: run the refused prompt through the blocks below first.",
            lambda net, b, r, layer, pos: _spliced(
                net, _run(net, b), [r] * (len(net) + 1), layer, pos
            ),
        ),
        Mistake(
            "The patch had no effect: this is the plain benign run.",
            lambda net, b, r, layer, pos: _run(net, b)[-1],
        ),
        Mistake(
            "The blocks after the patch did not run: this is the stream where it was patched.",
            lambda net, b, r, layer, pos: _spliced(
                nn.ModuleList(list(net)[:layer]), _run(net, b), _run(net, r), layer, pos
            ),
        ),
    ),
)


def _recovery(patched: Tensor, benign: Tensor, refused: Tensor) -> Tensor:
    return (patched - benign[:, None]) / (refused - benign)[:, None]


RECOVERY = Exercise(
    name="recovery",
    solution=_recovery,
    gives="a tensor [pair, site]: 0 where the patch did nothing, 1 at the refused prompt's score",
    cases=(
        Case(
            "three pairs and five sites",
            (numbers(3, 5), numbers(3, seed=1), numbers(3, seed=2) + 4),
        ),
        Case(
            "as many pairs as sites",
            (numbers(3, 3, seed=3), numbers(3, seed=4), numbers(3, seed=5) + 4),
        ),
    ),
    mistakes=(
        Mistake(
            "The ends are turned: 1 has to be the score of the refused prompt.",
            lambda x, b, r: 1 - _recovery(x, b, r),
        ),
        Mistake(
            "You divide by the refused score. The distance to be recovered is refused minus "
            "benign.",
            lambda x, b, r: (x - b[:, None]) / r[:, None],
        ),
        Mistake(
            "The benign score was not subtracted: a patch that does nothing has to give 0.",
            lambda x, b, r: x / (r - b)[:, None],
        ),
        Mistake(
            "Wrong axis: each pair has scores of its own, and pairs are rows: `benign[:, None]`. "
            "Without it the shapes agree only where there are as many sites as pairs.",
            lambda x, b, r: (x - b) / (r - b),
        ),
        Mistake(
            "All pairs are divided by one mean distance. Each has a distance of its own.",
            lambda x, b, r: (x - b[:, None]) / (r - b).mean(),
        ),
        Mistake(
            "This is the change of the score, in its own units. Divide by refused minus benign, so "
            "that pairs can be compared.",
            lambda x, b, r: x - b[:, None],
        ),
    ),
)

CHAPTER = Chapter(
    number=6,
    title="Who writes it",
    exercises=(DIRECT_SHARES, HEAD_SHARES, PATCH_STREAM, RECOVERY),
)
