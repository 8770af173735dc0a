"""The folder of one finished stage in a run: written whole, read, and checked."""

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast, final

from refusal_lens.folders import flush, is_file
from refusal_lens.processes import this_process
from refusal_lens.records import Record, save_record, write_json

_LATE_S: Final = 90.0  # how late a network file system may show what another machine wrote


@final
@dataclass(frozen=True)
class StageFolder:
    """`stages/<stage>/` in a run folder."""

    path: Path

    def record(self, name: str) -> Path:
        """The file of a record."""
        return self.path / f"{name}.json"

    @property
    def content(self) -> dict[str, Any] | None:
        """What `stage.json` holds: nothing where it is damaged; None where it is not there."""
        try:
            content: Any = json.loads((self.path / "stage.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError):  # unreadable, no JSON, or no text
            return {}
        return cast(dict[str, Any], content) if isinstance(content, dict) else {}

    @property
    def digest(self) -> str | None:
        """That with which the stage was made; None where it is not there.

        Empty, as no stage's is, where `stage.json` is damaged or a record that it lists is missing.
        """
        content = self.content
        if content is None:
            return None
        names: Any = content.get("records")
        whole = isinstance(names, list) and all(
            is_file(self.record(str(name))) for name in cast(list[Any], names)
        )
        return str(content.get("digest", "")) if whole else ""

    def put(self, content: Mapping[str, Any], records: Mapping[str, Record]) -> None:
        """One process writes the stage, whole or not at all; then the others see it, too."""
        with this_process().writing(f"writing {self.path.name}") as mine:
            if mine:
                self._write(content, records)
        until = time.monotonic() + _LATE_S
        while self.digest != content["digest"] and time.monotonic() < until:
            time.sleep(0.2)
            list(self.path.parent.iterdir())  # makes a network file system look again

    def _write(self, content: Mapping[str, Any], records: Mapping[str, Record]) -> None:
        temporary = self.path.with_name(f".{self.path.name}.tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        for name, record in records.items():
            save_record(record, temporary / name)
        write_json(temporary / "stage.json", dict(content))
        shutil.rmtree(self.path, ignore_errors=True)
        temporary.rename(self.path)
        flush(self.path.parent)
