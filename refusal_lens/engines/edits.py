"""The edits that are on, as what an engine does at its layers."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import final

from refusal_lens.engines.interface import Act
from refusal_lens.engines.places import place_of
from refusal_lens.errors import InputError
from refusal_lens.interventions import (
    Edit,
    Part,
    check_sites,
    double_actions,
    edits_text,
    refuse_double,
)


@final
class EngineEdits:
    """Checks edits as they are put on, and gives what they are for each prompt of a call."""

    def __init__(self, n_layers: int, d_model: int) -> None:
        self._n_layers, self._d_model = n_layers, d_model
        self._edits: list[Edit] = []
        self.parts: list[Part] = []

    @property
    def text(self) -> str:
        """The edits that are on, in words."""
        return edits_text(self._edits)

    @property
    def alike(self) -> bool:
        """Whether every prompt of a call is edited in the same way."""
        return all(part.everywhere for part in self.parts)

    @contextmanager
    def on(self, edits: Sequence[Edit]) -> Generator[None]:
        """Put edits on, behind those that are on, until the context ends, also by an exception.

        Raises:
            InputError: an edit that the engine can't make, or a pair that would act twice on one
                vector.
        """
        before = len(self._edits), len(self.parts)
        try:
            self._edits.extend(edits)
            self.parts.extend(part for edit in edits for part in edit.parts())
            for part in self.parts[before[1] :]:
                _check(part, self._n_layers, self._d_model)
            for i, j in double_actions(self.parts, self._n_layers):
                raise refuse_double(self.parts[i], self.parts[j])
            yield
        finally:
            del self._edits[before[0] :], self.parts[before[1] :]

    def check_prompts(self, lengths: Sequence[int], names: Sequence[str]) -> None:
        """Reject edits made for another number of prompts, and offsets before a prompt."""
        for part in self.parts:
            if part.n_rows not in (None, len(lengths)):
                raise InputError(
                    f"PerRow holds {part.n_rows} edits, this call has {len(lengths)} prompts; "
                    "give one edit, or None, for each prompt"
                )
            for row, n in enumerate(lengths):
                short = [o for o in part.offsets or () if -o > n]
                if short and (part.rows is None or row in part.rows):
                    raise InputError(
                        f"offset {short[0]} of {part.edit!r} reaches before the beginning of "
                        f"{names[row]}, which has {n} tokens with its template; choose a later one"
                    )

    def of(self, row: int) -> tuple[Act, ...]:
        """What acts on the prompt at place `row`, in order.

        At one vector `resid_post[l]` comes before `resid_pre[l + 1]`, as in a `LensModel`; where
        they share a name, edits act in the order in which they were put on.
        """
        acts: list[Act] = []
        for point in ("resid_post", "resid_pre"):
            for part in self.parts:
                sites = check_sites(part.edit, self._n_layers)
                places = sorted(place_of(site, "written") for site in sites if site.point == point)
                if places and (part.rows is None or row in part.rows):
                    acts.append(Act(part, tuple(dict.fromkeys(places))))
        return tuple(acts)


def _check(part: Part, n_layers: int, d_model: int) -> None:
    """Reject what the engine can't do, and what was made for another model."""
    edit = part.edit
    if part.conditions:
        raise InputError(
            f"{edit!r} under a condition can't be done on the vLLM engine; read the condition with "
            "residuals() and give each prompt its edit with PerRow, or use load_model"
        )
    if edit.width != d_model:
        raise InputError(
            f"{edit!r} is {edit.width} wide, this model's stream {d_model}: it was fitted on "
            "another model"
        )
    for site in check_sites(edit, n_layers):
        place_of(site, f"written by {edit!r}")
