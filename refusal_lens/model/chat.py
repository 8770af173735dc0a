"""The chat template, applied exactly once; tokens and offsets. Needs a tokenizer, no model."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, Final, final

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from refusal_lens.arguments import check_whole, several
from refusal_lens.errors import InputError
from refusal_lens.model.batch import Ids
from refusal_lens.model.clock import VALUES, stopped, time_by_format_code
from refusal_lens.model.lengths import named
from refusal_lens.prompts import Prompt, PromptSet
from refusal_lens.prompts.turns import Turn, messages_of
from refusal_lens.records import digest_of

# Contents that begin and end differently: what all their renderings share is the template's own.
_PROBES: Final = ("a", "7 apples?", "Zebra. ", "the end!", "(x)", "Who\nknows")

_SWITCH: Final = "enable_thinking"
_THOUGHT_MARK: Final = re.compile(r"</?think(?:ing)?>", re.IGNORECASE)
_OPENED_THOUGHT: Final = re.compile(r"<think(?:ing)?>\s*\Z", re.IGNORECASE)


@final
@dataclass(frozen=True)
class ChatTemplate:
    r"""A tokenizer's own chat template with an explicit system prompt and thinking switch.

    `system=None` leaves the template's default, which may insert a system prompt by itself
    (SmolLM2's does); `prefix_text` shows what is really sent. `thinking=None` leaves the
    template's default; True or False is passed on as `enable_thinking`. `now` is the time of a
    template that prints it (`dated`): it stands still, so that every prompt gets the same prefix.

    Raises:
        InputError: the tokenizer has no chat template, or the template takes no system prompt or
            has no thinking switch, and one is given.

    >>> model.chat.offsets[-1], model.chat.prefix_text
    (-1, '<|im_start|>user\n')
    """

    tokenizer: PreTrainedTokenizerBase
    system: str | None = None
    thinking: bool | None = None
    now: datetime = field(default_factory=datetime.now)

    def __post_init__(self) -> None:
        if not self.tokenizer.chat_template:
            raise InputError(
                f"{self.tokenizer.name_or_path!r} has no chat template: refusal is studied in "
                "chat models; load the instruction-tuned model, or set tokenizer.chat_template"
            )
        check_whole(self.system or "", "the system prompt")
        self._check_generation_prompt()
        if self.thinking is not None and _SWITCH not in str(self.tokenizer.get_chat_template()):
            raise InputError(
                f"thinking is {self.thinking}, and the chat template of "
                f"{self.tokenizer.name_or_path!r} has no switch for it ({_SWITCH}); leave it out"
            )

    def tokenised(
        self, prompts: PromptSet | Sequence[Prompt | str]
    ) -> tuple[tuple[str, ...], list[Ids]]:
        """What an error calls each prompt, and its token ids.

        Raises:
            InputError: something else than prompts, or a lone one.

        >>> model.chat.tokenised(["Why?"])[0]
        ("prompt 1 of 1 ('Why?')",)
        """
        write = '["first?", "second?"], or a PromptSet'
        asked = several(prompts, (str, Prompt), what="prompt", write=write)
        return named(asked), [self.ids(prompt) for prompt in asked]

    def ids(self, prompt: Prompt | str) -> tuple[int, ...]:
        """Token ids of the templated prompt, as they are fed to the model.

        >>> len(model.chat.ids("Why?"))
        23

        Raises:
            InputError: a special token or half of a character inside the prompt's text, or an end
                of the templated prompt that is not the template's (so that offsets would not mean
                the same).
        """
        plain = isinstance(prompt, str)
        text, name = (prompt, prompt) if plain else (prompt.text, prompt.id)
        before = () if plain else prompt.before
        self._check_system(before, name)
        check_whole(text, f"prompt {name[:60]!r}")
        texts = [text, *(content for _, content in before)]
        special = [token for token in self.special_tokens if any(token in part for part in texts)]
        if special:
            raise InputError(
                f"prompt {name[:60]!r} contains the special token {special[0]!r}; "
                "remove it: it would be read as part of the template"
            )
        ids = self._ids(text, before)
        if ids[-self.n_post :] != self.post_ids:
            raise InputError(
                f"prompt {name[:60]!r} changes the tokens of the template's end; expected "
                f"{self.strings(self.post_ids)}, found {self.strings(ids[-self.n_post :])}"
            )
        return ids

    @cached_property
    def special_tokens(self) -> tuple[str, ...]:
        """Texts that the tokenizer would read as control tokens."""
        added = self.tokenizer.added_tokens_decoder.values()
        names = {t.content for t in added if t.special} | set(self.tokenizer.all_special_tokens)
        return tuple(sorted(names))

    @cached_property
    def prefix_ids(self) -> tuple[int, ...]:
        """Tokens that every templated prompt begins with."""
        return _common_prefix([self._ids(text) for text in _PROBES])

    @cached_property
    def post_ids(self) -> tuple[int, ...]:
        """The post-instruction tokens: those that every templated prompt ends with.

        Raises:
            InputError: the template ends with the prompt itself.
        """
        backwards = _common_prefix([self._ids(text)[::-1] for text in _PROBES])
        if not backwards:
            raise InputError("the chat template ends without tokens of its own after the prompt")
        return backwards[::-1]

    @property
    def n_post(self) -> int:
        """Number of post-instruction tokens."""
        return len(self.post_ids)

    @property
    def offsets(self) -> tuple[int, ...]:
        """Read-out offsets of the post-instruction tokens: (-n_post, ..., -1)."""
        return tuple(range(-self.n_post, 0))

    @property
    def prefix_text(self) -> str:
        """What the template sends before the prompt, the system prompt included."""
        return self._render("\x00probe\x00").split("\x00probe\x00")[0]

    @property
    def digest(self) -> str:
        """SHA-256 of the template, the system prompt, the thinking switch and a date it prints."""
        parts: tuple[object, ...] = (self.tokenizer.chat_template, self.system, self.thinking)
        if self.dated:
            parts = (*parts, self.prefix_text)
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    @cached_property
    def tokenizer_digest(self) -> str:
        """SHA-256 of what turns text into ids and back: vocabulary, merges, added tokens, rules."""
        core: Any = getattr(self.tokenizer, "backend_tokenizer", None)
        if core is None:  # a tokenizer in Python
            added = {i: str(token) for i, token in self.tokenizer.added_tokens_decoder.items()}
            content: Any = (self.tokenizer.get_vocab(), added)
        else:
            content = json.loads(core.to_str())
            for how in ("padding", "truncation"):  # as the last call set them
                content.pop(how, None)
        return digest_of(content)

    @cached_property
    def dated(self) -> bool:
        """Whether what is sent depends on the day or the time."""
        # Every part of a date and a time differs between these two.
        moments = (datetime(1999, 1, 2, 3, 4, 5), datetime(2026, 12, 31, 16, 57, 48))
        return len({self._render("probe", moment) for moment in moments}) > 1

    def strings(self, ids: Sequence[int]) -> list[str]:
        """The text of each token, for people to read.

        >>> model.chat.strings(model.chat.ids("Why?"))[0]
        '<|im_start|>'
        """
        return [str(self.tokenizer.decode([i])) for i in ids]

    def answer(self, ids: Sequence[int]) -> str:
        """The text of an answer, special tokens left out.

        Where the template itself opens a thought (DeepSeek-R1's does), its mark begins the text, so
        that readers can tell a thought from an answer.

        >>> model.chat.answer(model.chat.answer_ids("Because."))
        'Because.'
        """
        shown = [i for i in ids if i not in self._left_out]
        return self.opened_thought + str(self.tokenizer.decode(shown, skip_special_tokens=False))

    def answer_ids(self, answer: str) -> tuple[int, ...]:
        """Token ids of an answer's text as the model would generate it behind the prompt.

        >>> model.chat.answer(model.chat.answer_ids("Because."))
        'Because.'
        """
        text = answer.removeprefix(self.opened_thought)
        return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    @cached_property
    def _left_out(self) -> frozenset[int]:
        """Special tokens, but for marks of thoughts, which some tokenizers count among them."""
        tokens = [token for token in self.special_tokens if not _THOUGHT_MARK.fullmatch(token)]
        vocabulary = self.tokenizer.get_vocab()
        return frozenset(vocabulary[token] for token in tokens if token in vocabulary)

    @cached_property
    def opened_thought(self) -> str:
        """The mark of a thought that every templated prompt ends with; empty without one."""
        match = _OPENED_THOUGHT.search(self._render("probe"))
        return "" if match is None else match.group()

    def _check_generation_prompt(self) -> None:
        """Reject a template whose rendering ends before the assistant's turn has been opened."""
        sent, answer = self._render("probe").rstrip(), "\x00answer\x00"
        try:
            whole = self._render("probe", answer=answer)
        except InputError:  # no assistant's turn can be given: nothing to compare with
            return
        before = whole.split(answer)[0].rstrip()
        if answer in whole and before != sent and before.startswith(sent):
            raise InputError(
                f"the chat template of {self.tokenizer.name_or_path!r} has no generation prompt: "
                f"what it sends ends with {sent[-20:]!r}, and answers begin behind "
                f"{before[len(sent) :]!r}, which it leaves out; residuals would be read at the end "
                "of the user's turn: set a tokenizer.chat_template that obeys "
                "add_generation_prompt"
            )

    def _check_system(self, before: Sequence[Turn], name: str) -> None:
        if self.system is not None and before and before[0][0] == "system":
            raise InputError(
                f"prompt {name[:60]!r} has a system turn of its own, and the model was loaded with "
                f"system={self.system[:40]!r}; leave one of them out"
            )

    def _messages(
        self, text: str, before: Sequence[Turn]
    ) -> tuple[list[dict[str, str]], dict[str, Any]]:
        messages = [] if self.system is None else [{"role": "system", "content": self.system}]
        switch = {} if self.thinking is None else {_SWITCH: self.thinking}
        return [*messages, *messages_of(before, text)], switch

    def _render(
        self,
        text: str,
        now: datetime | None = None,
        answer: str | None = None,
        before: Sequence[Turn] = (),
    ) -> str:
        """What is sent for a prompt; or, with `answer`, the exchange that it would become."""
        messages, switch = self._messages(text, before)
        if answer is not None:
            messages.append({"role": "assistant", "content": answer})
        template: Any = self.tokenizer.get_chat_template()
        if (still := stopped(template)) != template:
            switch[VALUES] = time_by_format_code(now or self.now)
        try:
            rendered: Any = self.tokenizer.apply_chat_template(
                messages,
                chat_template=still,
                add_generation_prompt=answer is None,
                tokenize=False,
                **switch,
            )
        except TemplateError as error:
            raise InputError(
                f"the chat template of {self.tokenizer.name_or_path!r} refuses these messages "
                f"({error}); a template without a system role needs "
                "system=None and prompts without a system turn"
            ) from None
        return str(rendered)

    def _ids(self, text: str, before: Sequence[Turn] = ()) -> tuple[int, ...]:
        # The rendered text holds its own BOS: special tokens must not be added a second time.
        encoded = self.tokenizer(self._render(text, before=before), add_special_tokens=False)
        return tuple(encoded["input_ids"])


def _common_prefix(rows: list[tuple[int, ...]]) -> tuple[int, ...]:
    shortest = min(rows, key=len)
    n = next((i for i, t in enumerate(shortest) if any(r[i] != t for r in rows)), len(shortest))
    return shortest[:n]
