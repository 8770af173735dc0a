"""The rooms of the package by layer, from docs/rooms.toml, as README and CONTRIBUTING show them.

`PYTHONPATH=tests python -m support.rooms` writes both pages.
"""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WIDTH = 18


@dataclass(frozen=True)
class Layer:
    """Rooms that may import each other, with a phrase each, and what else they may use."""

    name: str
    may_use: str
    rooms: dict[str, str]


LAYERS = tuple(
    Layer(**table)
    for table in tomllib.loads((ROOT / "docs/rooms.toml").read_text(encoding="utf-8"))["layer"]
)


def unit(room: str) -> str:
    """The module's name: "prompts" of "prompts/", "sites" of "sites.py"."""
    return room.removesuffix("/").removesuffix(".py")


def tree() -> str:
    """The lines of the README's tree, lowest layer first."""
    rooms = {room: phrase for layer in LAYERS for room, phrase in layer.rooms.items()}
    return "".join(f"  {room:{WIDTH}}{phrase}\n" for room, phrase in rooms.items())


def table() -> str:
    """The rows of CONTRIBUTING's table."""
    rows = ""
    for layer in LAYERS:
        names = ", ".join(f"`{room.removesuffix('.py')}`" for room in layer.rooms)
        rows += f"| {layer.name} | {names} | {layer.may_use} |\n"
    return rows


PAGES = {
    "README.md": (r"(?<=^refusal_lens/\n).*?(?=^notebooks/)", tree),
    "CONTRIBUTING.md": (r"(?<=^\|---\|---\|---\|\n).*?(?=^\n)", table),
}
"""Page -> the place of the list on it, and the list."""


def shown(page: str) -> str:
    """The list as the page shows it."""
    match = re.search(PAGES[page][0], (ROOT / page).read_text(encoding="utf-8"), re.M | re.S)
    assert match is not None, f"{page} shows no list of rooms"
    return match.group()


def write(page: str) -> None:
    """Put the list into the page."""
    text = (ROOT / page).read_text(encoding="utf-8")
    (ROOT / page).write_text(text.replace(shown(page), PAGES[page][1]()), encoding="utf-8")


if __name__ == "__main__":
    for name in PAGES:
        write(name)
