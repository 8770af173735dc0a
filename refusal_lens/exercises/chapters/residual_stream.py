# pyright: reportUnknownLambdaType=false
"""Chapter 1: tokens of a chat prompt, the stream at a token, and coordinates along a direction."""

from typing import Any

import torch
from torch import Tensor, nn

from refusal_lens.exercises.exercise import Case, Exercise, Mistake
from refusal_lens.exercises.registry import Chapter
from refusal_lens.exercises.tiny import Tokenizer, blocks, numbers


def _messages(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def _template(tokenizer: Tokenizer, text: str, answering: bool = True) -> str:
    return str(
        tokenizer.apply_chat_template(
            _messages(text), tokenize=False, add_generation_prompt=answering
        )
    )


def _prompt_ids(tokenizer: Tokenizer, text: str) -> Any:
    return tokenizer.apply_chat_template(_messages(text), add_generation_prompt=True)


PROMPT_IDS = Exercise(
    name="prompt_ids",
    solution=_prompt_ids,
    gives="the list of token ids that the model has to see before it answers",
    cases=(
        Case("a prompt of one word", (Tokenizer(), "Hello")),
        Case("a question", (Tokenizer(), "How do I bake bread?")),
    ),
    mistakes=(
        Mistake(
            "The template is applied, but its text already begins with `<bos>` and `encode` adds a "
            "second one: pass `add_special_tokens=False`, or let the template tokenize.",
            lambda tokenizer, text: tokenizer.encode(_template(tokenizer, text)),
        ),
        Mistake(
            "The template is applied twice: the marks of the inner one have become part of the "
            "user's message.",
            lambda tokenizer, text: _prompt_ids(tokenizer, _template(tokenizer, text)),
        ),
        Mistake(
            "These are the tokens of the bare prompt. A chat model expects its chat template "
            "around it, and without it often goes on writing the question.",
            lambda tokenizer, text: tokenizer.encode(text),
        ),
        Mistake(
            "These are the tokens of the bare prompt, without the chat template and without "
            "`<bos>`.",
            lambda tokenizer, text: tokenizer.encode(text, add_special_tokens=False),
        ),
        Mistake(
            "The assistant's turn is not opened: without `add_generation_prompt=True` the last "
            "token is the end of the user's turn, and not the place where the answer begins.",
            lambda tokenizer, text: tokenizer.apply_chat_template(_messages(text)),
        ),
        Mistake(
            "This is the text of the template. The model needs token ids.",
            lambda tokenizer, text: _template(tokenizer, text),
        ),
        Mistake(
            "This is a batch of one prompt, `[[...]]`. The ids of a prompt are a list of numbers.",
            lambda tokenizer, text: [_prompt_ids(tokenizer, text)],
        ),
    ),
)


def _last_real_token(resid: Tensor, lengths: Tensor) -> Tensor:
    return resid[torch.arange(len(lengths)), lengths - 1]


LAST_REAL_TOKEN = Exercise(
    name="last_real_token",
    solution=_last_real_token,
    gives="a tensor [prompt, d_model] with the stream at the last real token of each prompt",
    cases=(
        Case("three prompts of 4, 6 and 2 tokens", (numbers(3, 6, 5), torch.tensor([4, 6, 2]))),
        Case("two prompts of equal length", (numbers(2, 4, 5, seed=1), torch.tensor([4, 4]))),
        Case("padding behind all prompts", (numbers(3, 7, 5, seed=2), torch.tensor([3, 5, 2]))),
    ),
    mistakes=(
        Mistake(
            "This reads the last column of the batch, which is padding for every prompt that is "
            "shorter than the longest. Nothing fails when that happens; the numbers are wrong.",
            lambda resid, lengths: resid[:, -1],
        ),
        Mistake(
            "This is one token too early: a prompt of n tokens has its last one at index n - 1, "
            "or at -1 of its own part, and you read n - 2.",
            lambda resid, lengths: resid[torch.arange(len(lengths)), lengths - 2],
        ),
        Mistake(
            "Off by one: a prompt of n tokens has its last one at index n - 1. Index n is padding, "
            "and for the longest prompt there is none.",
            lambda resid, lengths: resid[torch.arange(len(lengths)), lengths],
        ),
        Mistake(
            "This is the mean over all positions, padding included. Read one position.",
            lambda resid, lengths: resid.mean(1),
        ),
        Mistake(
            "This is the mean over the real tokens. Read one position, the last of them.",
            lambda resid, lengths: torch.stack(
                [x[:n].mean(0) for x, n in zip(resid, lengths, strict=True)]
            ),
        ),
        Mistake(
            "`resid[:, lengths - 1]` takes every position of `lengths` from every prompt: it gives "
            "[prompt, prompt, d_model]. Index both axes, each prompt with its own position.",
            lambda resid, lengths: resid[:, lengths - 1],
        ),
        Mistake(
            "This reads the first token, where a causal model has seen nothing of the prompt yet.",
            lambda resid, lengths: resid[:, 0],
        ),
    ),
)


def _streams(network: nn.ModuleList, embedded: Tensor) -> tuple[Tensor, ...]:
    streams = [embedded]
    for block in network:
        streams.append(block(streams[-1]))
    return tuple(streams)


def _stream_before_each_block(network: nn.ModuleList, embedded: Tensor) -> Tensor:
    streams: list[Tensor] = []
    handles = [
        block.register_forward_pre_hook(lambda _, inputs: streams.append(inputs[0]))
        for block in network
    ]
    stream = embedded
    for block in network:
        stream = block(stream)
    for handle in handles:
        handle.remove()
    return torch.stack(streams)


def _complaint_about_hooks(network: nn.ModuleList, embedded: Tensor) -> str:
    left = sum(len(b._forward_hooks) + len(b._forward_pre_hooks) for b in network)  # pyright: ignore
    if not left and any(b.hooks_set for b in network):
        return ""
    if not left:
        return (
            "The values are right, but no hook read them. Of a real model you do not write the "
            "loop over the blocks yourself: read each input by `register_forward_pre_hook`."
        )
    return (
        f"The values are right, but {left} hooks are still on the blocks: they would fire in every "
        "later run. Keep the handles, and call `handle.remove()` on each."
    )


STREAM_BEFORE_EACH_BLOCK = Exercise(
    name="stream_before_each_block",
    solution=_stream_before_each_block,
    gives="a tensor [layer, pos, d_model]: the input of each block (resid_pre)",
    cases=(
        Case("four blocks and three tokens", (blocks(), numbers(3, 5))),
        Case("two blocks and one token", (blocks(2), numbers(1, 5, seed=1))),
    ),
    mistakes=(
        Mistake(
            "Off by one layer: these are the outputs of the blocks (resid_post), and the stream "
            "before block 0 is missing. What leaves block l is what enters block l + 1.",
            lambda network, x: torch.stack(_streams(network, x)[1:]),
        ),
        Mistake(
            "This is what each block adds, its output minus its input. The stream is the sum of "
            "all that was added before.",
            lambda network, x: torch.stack(_streams(network, x)).diff(dim=0),
        ),
        Mistake(
            "There is one layer too many: the stream after the last block is the input of none.",
            lambda network, x: torch.stack(_streams(network, x)),
        ),
        Mistake(
            "Every block was given the embedded tokens. Each has to read what the one before it "
            "left: `stream = block(stream)`.",
            lambda network, x: torch.stack([x for _ in network]),
        ),
        Mistake(
            "Return one tensor: `torch.stack` makes [layer, pos, d_model] of a list.",
            lambda network, x: list(_streams(network, x)[:-1]),
        ),
    ),
    afterwards=_complaint_about_hooks,
)


def _coordinates(stream: Tensor, directions: Tensor) -> Tensor:
    unit = directions / directions.norm(dim=-1, keepdim=True)
    return torch.einsum("lpd,ld->lp", stream, unit)


COORDINATES = Exercise(
    name="coordinates",
    solution=_coordinates,
    gives="a tensor [layer, pos]: how far each token lies along the unit vector of its layer",
    cases=(
        Case("four layers and three tokens", (numbers(4, 3, 6), 3 * numbers(4, 6, seed=1))),
        Case("as many layers as tokens", (numbers(3, 3, 5, seed=2), numbers(3, 5, seed=3))),
    ),
    mistakes=(
        Mistake(
            "The direction is not normalised: a longer direction gives larger numbers for the same "
            "stream. Divide it by its length.",
            lambda stream, directions: torch.einsum("lpd,ld->lp", stream, directions),
        ),
        Mistake(
            "This is the cosine: the stream was divided by its length, too. A coordinate keeps how "
            "long the stream is.",
            lambda s, d: torch.cosine_similarity(s, d[:, None], dim=-1),
        ),
        Mistake(
            "You divide by the squared length of the direction. That is the factor of the "
            "projected vector; the coordinate along the unit vector divides by the length once.",
            lambda s, d: torch.einsum("lpd,ld->lp", s, d / d.square().sum(-1, keepdim=True)),
        ),
        Mistake(
            "Wrong axis: the direction is normalised over layers, and not over its own components. "
            "Give `norm` the last axis: `dim=-1`.",
            lambda s, d: torch.einsum("lpd,ld->lp", s, d / d.norm(dim=0, keepdim=True)),
        ),
        Mistake(
            "All directions are divided by one number, the length of the whole tensor. Each has a "
            "length of its own: `norm(dim=-1, keepdim=True)`.",
            lambda s, d: torch.einsum("lpd,ld->lp", s, d / d.norm()),
        ),
        Mistake(
            "Wrong axis: token i met the direction of layer i. With `directions[:, None]` every "
            "token of a layer meets the direction of that layer.",
            lambda s, d: (s * (d / d.norm(dim=-1, keepdim=True))).sum(-1),
        ),
        Mistake("The sign is turned.", lambda s, d: -_coordinates(s, d)),
        Mistake("This is [pos, layer]. Layers come first.", lambda s, d: _coordinates(s, d).T),
    ),
)


def _between_means(coordinate: Tensor, low: Tensor, high: Tensor) -> Tensor:
    return (coordinate - low[:, None]) / (high - low)[:, None]


_LOW, _HIGH = torch.tensor([1.0, -2.0, 4.0]), torch.tensor([3.0, 2.0, 5.0])
BETWEEN_MEANS = Exercise(
    name="between_means",
    solution=_between_means,
    gives="a tensor [layer, pos]: 0 at the benign mean of the layer, 1 at the refused mean",
    cases=(
        Case("three layers and five tokens", (numbers(3, 5), _LOW, _HIGH)),
        Case("as many layers as tokens", (numbers(3, 3, seed=1), _LOW, _HIGH)),
    ),
    mistakes=(
        Mistake(
            "You divide by the refused mean. The distance from the benign mean to the refused one "
            "is `high - low`.",
            lambda x, low, high: (x - low[:, None]) / high[:, None],
        ),
        Mistake(
            "The ends are turned: here 0 is the refused mean, and 1 the benign one.",
            lambda x, low, high: (high[:, None] - x) / (high - low)[:, None],
        ),
        Mistake(
            "Wrong axis: `low` has a value per layer and must meet rows: `low[:, None]`. Without "
            "it the shapes agree only where there are as many tokens as layers.",
            lambda x, low, high: (x - low) / (high - low),
        ),
        Mistake(
            "Nothing was subtracted: 0 has to be the benign mean, not the origin.",
            lambda x, low, high: x / (high - low)[:, None],
        ),
        Mistake(
            "This scales by the smallest and largest value of the prompt itself, so that every "
            "prompt reaches 0 and 1. The ends are the means `low` and `high`.",
            lambda x, low, high: (x - x.amin(1, True)) / (x.amax(1, True) - x.amin(1, True)),
        ),
    ),
)

CHAPTER = Chapter(
    number=1,
    title="The residual stream",
    exercises=(
        PROMPT_IDS,
        LAST_REAL_TOKEN,
        STREAM_BEFORE_EACH_BLOCK,
        COORDINATES,
        BETWEEN_MEANS,
    ),
)
