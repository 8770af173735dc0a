"""Directions in and out in the formats of neighbouring projects: one file per format."""

from pathlib import Path
from typing import Final

from refusal_lens.directions.direction_set import DirectionSet
from refusal_lens.directions.formats import (
    gguf_control_vector,
    layer_tensors,
    refusal_direction,
    svec,
)
from refusal_lens.directions.formats.base import Format, raw_vectors
from refusal_lens.errors import InputError
from refusal_lens.folders import is_file, make_folder_of

FORMATS: Final[dict[str, Format]] = {
    module.FORMAT.name: module.FORMAT
    for module in (gguf_control_vector, layer_tensors, refusal_direction, svec)
}


def import_directions(path: Path | str, *, category: str | None = None) -> DirectionSet:
    """Directions of a neighbour's file, which its suffix tells; `category` names them.

    Vectors stand at the sites that their format means (`FORMATS[name].site`); by default the
    category is the file's name.

    Raises:
        InputError: no such file, an unknown suffix, or another content.
    """
    path = Path(path)
    if not is_file(path):
        raise InputError(f"file {str(path)!r} does not exist; give a file of vectors")
    for form in FORMATS.values():
        if form.suffix == path.suffix:
            return form.read(path).directions(category or path.stem, f"imported: {form.title}")
    known = {form.suffix: form.title for form in FORMATS.values()}
    raise InputError(f"{path.name}: suffix {path.suffix!r} is unknown; expected one of {known}")


def export_directions(
    directions: DirectionSet, path: Path | str, category: str, *, offset: int = -1
) -> None:
    """Write a category's vectors, with their lengths, in the format that the suffix tells.

    For research: a vector is written, never a model's weights.

    Raises:
        InputError: an unknown suffix, a format that can't be written, nothing to write, or a place
            where no file can be.
    """
    path = Path(path)
    for form in FORMATS.values():
        if form.suffix == path.suffix and form.write is not None:
            vectors = raw_vectors(directions, category, offset)
            make_folder_of(path)
            form.write(vectors, path, directions.provenance.model)
            return
    known = {form.suffix: form.title for form in FORMATS.values() if form.write is not None}
    raise InputError(f"{path.name}: suffix {path.suffix!r} is unknown; expected one of {known}")
