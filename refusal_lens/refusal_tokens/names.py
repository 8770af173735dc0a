"""Which tokens of a model are refusal tokens: read from a small file, checked by its tokenizer."""

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast, final

from transformers import PreTrainedTokenizerBase

from refusal_lens.errors import InputError
from refusal_lens.folders import is_folder

FILE: Final = "tokens.json"
"""Its name in an adapter's folder."""
_EXAMPLE: Final = 'respond = "[respond]" and a table [refuse] with advice = "[advice]"'

Token = str | int


@final
@dataclass(frozen=True)
class RefusalTokens:
    """The token that answers, and one for each category of refusals: ids and how they are written.

    `refuse[k]` belongs to `categories[k]`, which need not be those of any prompts.

    Raises:
        InputError: no category or one that is named twice, a negative id, or one token for two
            things.

    >>> RefusalTokens(7, ("advice",), (9,), ("[respond]", "[advice]")).all_ids
    (7, 9)
    """

    respond: int
    categories: tuple[str, ...]
    refuse: tuple[int, ...]
    pieces: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.categories or len(self.categories) != len(self.refuse):
            raise InputError(
                f"{len(self.categories)} categories and {len(self.refuse)} refusal tokens; give "
                "one token for each category, at least one"
            )
        if len(set(self.categories)) < len(self.categories):
            twice = next(c for c in self.categories if self.categories.count(c) > 1)
            raise InputError(f"category {twice!r} is named twice; give each category one token")
        ids = self.all_ids
        if (lowest := min(ids)) < 0:
            raise InputError(f"token id {lowest} is negative; ids count from 0")
        if twice := [p for p, i in zip(self.pieces, ids, strict=True) if ids.count(i) > 1]:
            raise InputError(f"token {twice[0]!r} is named twice; give each name its own token")

    @property
    def all_ids(self) -> tuple[int, ...]:
        """The respond token, then the refusal tokens in the order of the categories."""
        return (self.respond, *self.refuse)

    def of(self, category: str) -> int:
        """The token of a category; raises InputError where it has none.

        >>> RefusalTokens(7, ("advice",), (9,), ("[respond]", "[advice]")).of("advice")
        9
        """
        if category not in self.categories:
            raise InputError(f"category {category!r} has no token; there are {[*self.categories]}")
        return self.refuse[self.categories.index(category)]


def load_tokens(path: Path | str, tokenizer: PreTrainedTokenizerBase) -> RefusalTokens:
    """The tokens that a JSON or TOML file names, by their text or their id.

    The file has `respond`, a token, and `refuse`, a table of category -> token. A folder stands
    for its `tokens.json`.

    >>> from pathlib import Path
    >>> _ = Path("tokens.toml").write_text('respond = "a"\\nrefuse = {advice = "b"}')
    >>> load_tokens("tokens.toml", model.chat.tokenizer).categories
    ('advice',)

    Raises:
        InputError: no such file, another content, or a token that the tokenizer does not have.
    """
    path = Path(path)
    path = path / FILE if is_folder(path) else path
    content = _content(path)
    refuse = content.get("refuse")
    if set(content) != {"respond", "refuse"} or not isinstance(refuse, dict) or not refuse:
        raise InputError(f"{path} has {sorted(content)}; expected {_EXAMPLE}")
    named = {str(k): v for k, v in cast(dict[str, Any], refuse).items()}
    respond = _token_id(content["respond"], "respond", tokenizer, path)
    ids = tuple(_token_id(token, name, tokenizer, path) for name, token in named.items())
    pieces = (str(content["respond"]), *(str(token) for token in named.values()))
    return RefusalTokens(respond, tuple(named), ids, pieces)


def _content(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        read: Any = (
            tomllib.loads(text)
            if path.suffix == ".toml"
            else json.loads(text, object_pairs_hook=_once)
        )
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; write {_EXAMPLE}, as TOML or JSON") from None
    except OSError as error:
        raise InputError(f"{path} can't be read ({error.strerror}); give another file") from None
    except ValueError as error:  # of TOML, JSON or the encoding
        raise InputError(f"{path} can't be read ({error}); write {_EXAMPLE}") from None
    if not isinstance(read, dict):
        raise InputError(f"{path} holds no table; write {_EXAMPLE}")
    return cast(dict[str, Any], read)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose names stand once, as TOML demands of its own."""
    names = [name for name, _ in pairs]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"{twice[0]!r} is given twice")
    return dict(pairs)


def _token_id(token: Any, name: str, tokenizer: PreTrainedTokenizerBase, path: Path) -> int:
    """The id of a token given by its text or its id."""
    where = f"{path.name}, {name}: token {token!r}"
    vocabulary = tokenizer.get_vocab()
    if isinstance(token, bool) or not isinstance(token, str | int):
        raise InputError(f"{where} is neither a token's text nor its id; write one of them")
    if isinstance(token, int):
        if token not in vocabulary.values():
            raise InputError(
                f"{where} is no id of this tokenizer, which has {len(vocabulary):,} tokens; name "
                "a token that it has"
            )
        return token
    if token not in vocabulary:
        raise InputError(
            f"{where} is no token of this tokenizer; it must be one token, such as one added "
            "before training"
        )
    return vocabulary[token]
