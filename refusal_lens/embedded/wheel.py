"""A GGUF file inside an installed wheel."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import final

from refusal_lens.embedded.gguf_file import FileProgress, GgufFile
from refusal_lens.errors import InputError


@final
@dataclass(frozen=True)
class InstalledWheel:
    """The one GGUF file of an installed package, which is read as a file and never imported.

    Attributes:
        module: Name of the package's top-level module.
        install: The command that installs it, for messages.
    """

    module: str
    install: str

    def find(self) -> Path:
        """Path of the package's GGUF file.

        Raises:
            InputError: the package, or its file, is not installed.
        """
        spec = importlib.util.find_spec(self.module)
        folders = list(spec.submodule_search_locations or []) if spec is not None else []
        files = sorted(file for folder in folders for file in Path(folder).glob("*.gguf"))
        if len(files) != 1:
            raise InputError(
                f"the planted model's base weights are not installed: run `{self.install}`, "
                "or name another model"
            )
        return files[0]

    def present(self, file: GgufFile, root: Path) -> Path | None:
        """The installed file, if it has the pinned bytes."""
        try:
            return self.get(file, root)
        except InputError:
            return None

    def bytes_needed(self, file: GgufFile, root: Path) -> int:
        """None: the file stays where it is."""
        return 0

    def get(self, file: GgufFile, root: Path, progress: FileProgress | None = None) -> Path:
        """The installed file, checked.

        Raises:
            InputError: it is not installed, or has other bytes than the pinned ones.
        """
        path = self.find()
        if (wrong := file.wrong(path)) is not None:
            raise InputError(
                f"{path.name} of the wheel has {wrong}: run `{self.install} --force-reinstall`"
            )
        return path
