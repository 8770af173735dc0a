"""`Category` and `Prompt`, and a prompt as a row of a file or a table."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Literal, final, get_args

from refusal_lens.arguments import check_whole
from refusal_lens.errors import InputError
from refusal_lens.prompts.turns import Turn, check_turns, messages_of, read_messages

Label = Literal["refuse", "comply"]
LABELS: Final[tuple[Label, ...]] = get_args(Label)
REFUSE: Final = LABELS.index("refuse")
"""Where the refuse side stands on every axis of labels, or of the two sides of a pair."""
COMPLY: Final = LABELS.index("comply")


@final
@dataclass(frozen=True)
class Category:
    """A kind of refusal: its key, the title shown to readers, what it covers, where it is from."""

    key: str
    title: str
    refuse_side: str
    twin: str
    source: str
    manner: str


@final
@dataclass(frozen=True)
class Prompt:
    """One request to a chat model; `label` is what is intended, not what a model did.

    `text` is what the user asks last; `before` holds the turns that came before it (role and
    content), a system turn of this prompt's own among them.

    >>> rl.Prompt("a", "Should I sell?", "advice", "refuse", "test", "me").pair is None
    True
    """

    id: str
    text: str
    category: str
    label: Label
    split: str
    source: str
    pair: str | None = None
    language: str = "en"
    before: tuple[Turn, ...] = ()

    def __post_init__(self) -> None:
        check_fields(vars(self))
        if self.before:
            check_turns([*(role for role, _ in self.before), "user"], f"prompt {self.id!r}")
            for i, (_, content) in enumerate(self.before, 1):
                check_whole(content, f"prompt {self.id!r}, message {i}")

    @property
    def unit(self) -> tuple[str, str]:
        """What is resampled or moved as one: a pair of its category, or the prompt by itself.

        Two prompts of one category and pair name share it; those of two categories never do.
        """
        return ("", f"id {self.id}") if self.pair is None else (self.category, f"pair {self.pair}")

    @property
    def unit_name(self) -> str:
        """Its pair as one text, "category/pair", for records and messages; without one, its id.

        No two pairs share it: a "/" of the category's name is written as "%2F", and a "%" as "%25".

        >>> rl.Prompt("a", "Sell?", "advice", "refuse", "test", "me", pair="1").unit_name
        'advice/1'
        >>> rl.Prompt("a", "Sell?", "law/tax", "refuse", "test", "me", pair="1").unit_name
        'law%2Ftax/1'
        """
        category = self.category.replace("%", "%25").replace("/", "%2F")
        return f"{category}/{self.id if self.pair is None else self.pair}"

    @property
    def messages(self) -> list[dict[str, str]]:
        """All its turns, as chat templates take them."""
        return messages_of(self.before, self.text)


def category_of(unit_name: str) -> str:
    """The category in a `Prompt.unit_name`.

    >>> category_of("law%2Ftax/1/a")
    'law/tax'
    """
    return unit_name.partition("/")[0].replace("%2F", "/").replace("%25", "%")


def check_fields(row: Mapping[str, object]) -> None:
    """Reject a prompt's row that holds a wrong value; missing ones are not looked for.

    Raises:
        InputError: no text where text is meant, or an unknown label.
    """
    name = f"prompt {row['id']!r}"
    for key in ("id", "text", "category", "split", "source", "language"):
        value = row.get(key, "en")
        if not isinstance(value, str) or not value.strip():
            raise InputError(f"{name}: {key} must be text, found {value!r}")
        check_whole(value, f"{name}: {key}")
    pair = row.get("pair")
    if pair is not None and (not isinstance(pair, str) or not pair.strip()):
        raise InputError(f"{name}: pair must be text or absent, found {pair!r}")
    check_whole(pair or "", f"{name}: pair")
    if row["label"] not in LABELS:
        raise InputError(f"{name}: label {row['label']!r} must be one of {list(LABELS)}")


FIELDS: Final = (*(f.name for f in fields(Prompt) if f.name != "before"), "messages")
"""Keys of a prompt's row in a file or table: its fields, or `messages` in place of `text`."""


def prompt_of(row: Mapping[str, Any], where: str) -> Prompt:
    """The prompt of a row whose keys are those of a file: `messages` may stand for `text`.

    >>> row = {"id": "a", "category": "advice", "label": "refuse", "split": "test", "source": "me"}
    >>> prompt_of({**row, "text": "Should I sell?"}, "line 1").text
    'Should I sell?'

    Raises:
        InputError: a key that is missing, unknown or wrong; the message begins with `where`.
    """
    required = set(FIELDS) - {"pair", "language", "messages", "text"}
    values = dict(row)
    if missing := sorted(required - values.keys()):
        raise InputError(
            f"{where}: key {missing[0]!r} is missing; expected {sorted((*required, 'text'))}"
        )
    if unknown := sorted(values.keys() - set(FIELDS)):
        raise InputError(f"{where}: key {unknown[0]!r} is unknown; expected {sorted(FIELDS)}")
    if ("text" in values) == ("messages" in values):
        problem = (
            "both 'text' and 'messages'" if "text" in values else "neither 'text' nor 'messages'"
        )
        raise InputError(f"{where}: {problem}; key 'text' is missing, or one too many: give one")
    if "messages" in values:
        values["before"], values["text"] = read_messages(values.pop("messages"), where)
    try:
        check_fields(values)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    return Prompt(**values)


def row_of(prompt: Prompt) -> dict[str, Any]:
    """What `prompt_of` reads, defaults left out."""
    row = asdict(prompt)
    if row.pop("before"):
        row["messages"] = prompt.messages
        del row["text"]
    if row["pair"] is None:
        del row["pair"]
    if row["language"] == "en":
        del row["language"]
    return row
