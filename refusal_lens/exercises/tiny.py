"""Inputs by hand: numbers that never change, blocks of a network, a tokenizer of words."""

import re
import zlib
from typing import Any, Final, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

BOS: Final = "<bos>"


def numbers(*shape: int, seed: int = 0) -> Tensor:
    """Normal random numbers of a shape, the same in every session."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@final
class Block(nn.Module):
    """A block of a residual network: each position adds a map of the mean up to it.

    `hooks_set` counts the hooks that were registered, also those that were removed.
    """

    def __init__(self, d_model: int, seed: int) -> None:
        super().__init__()
        self.hooks_set = 0
        self.weight = nn.Parameter(numbers(d_model, d_model, seed=seed), requires_grad=False)

    def forward(self, stream: Float[Tensor, "pos d_model"]) -> Float[Tensor, "pos d_model"]:
        seen = stream.cumsum(0) / torch.arange(1, len(stream) + 1)[:, None]
        return stream + torch.tanh(seen @ self.weight)

    def register_forward_hook(self, *args: Any, **kwargs: Any) -> RemovableHandle:
        """Count it, and register it as every module does."""
        self.hooks_set += 1
        return super().register_forward_hook(*args, **kwargs)

    def register_forward_pre_hook(self, *args: Any, **kwargs: Any) -> RemovableHandle:
        """Count it, and register it as every module does."""
        self.hooks_set += 1
        return super().register_forward_pre_hook(*args, **kwargs)


def blocks(n: int = 4, d_model: int = 5) -> nn.ModuleList:
    """So many blocks with weights of their own."""
    return nn.ModuleList(Block(d_model, seed) for seed in range(n))


@final
class Tokenizer:
    """A tokenizer of words with the surface of Hugging Face's: `encode` and a chat template.

    As many real ones do, it writes `<bos>` in both: in the template, and by `encode` unless
    `add_special_tokens=False`. Ids of a template are a list, as with `return_dict=False`.
    """

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """The ids of a text, a word or a mark each."""
        words = re.findall(r"<[^>]+>|\w+|[^\w\s]", text)
        return [self._id(w) for w in ([BOS] if add_special_tokens else []) + words]

    def apply_chat_template(
        self,
        messages: list[dict[str, str]],
        *,
        tokenize: bool = True,
        add_generation_prompt: bool = False,
        return_dict: bool = False,
    ) -> str | list[int] | dict[str, list[int]]:
        """Messages in the marks of the chat template, as ids or as text."""
        text = BOS + "".join(f"<{m['role']}>{m['content']}<end>" for m in messages)
        text += "<assistant>" if add_generation_prompt else ""
        ids = self.encode(text, add_special_tokens=False)
        return ({"input_ids": ids} if return_dict else ids) if tokenize else text

    @staticmethod
    def _id(word: str) -> int:
        return zlib.crc32(word.encode()) % 50_000
