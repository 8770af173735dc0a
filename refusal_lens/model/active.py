"""The edits that are on, and on which tokens of a forward pass each acts."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from refusal_lens.errors import InputError
from refusal_lens.interventions import (
    Condition,
    Edit,
    Part,
    double_actions,
    edits_text,
    refuse_double,
)
from refusal_lens.interventions.base import AlongOne
from refusal_lens.model.backend import Backend, HookFunction, Hooks
from refusal_lens.model.hooks import (
    AttentionInput,
    Moves,
    Stack,
    TokenMask,
    Tokens,
    by_site,
    masked,
)
from refusal_lens.sites import Site

ConditionsMet = tuple[bool, ...]


@final
class ActiveEdits:
    """The edits of a model that are on: their hooks, and at which tokens of a pass each acts.

    Phases, offsets, rows and conditions refer to prompts, which a hook does not see: the caller
    announces each forward pass with `seeing`. In a pass that was not announced, edits without any
    restriction act at every position, and others are an error.

    >>> edits = ActiveEdits(model.backend)
    >>> with edits.on([rl.Ablate(direction, at=(rl.Site(1),))]):
    ...     model.backend.hook_count() > 0
    True
    >>> edits.text
    'none'
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self._edits: list[Edit] = []
        self._parts: list[Part] = []
        self._mid: list[Site] = []
        self._input = AttentionInput()
        self._tokens: Tokens | None = None
        self._holds = torch.zeros(0, 0, dtype=torch.bool)
        self._reach: list[TokenMask] = []
        self._moves: dict[int, Moves] = {}
        self._n_hooks = self._n_over = 0
        self._over_acts = True

    @property
    def text(self) -> str:
        """The edits that are on, in words."""
        return edits_text(self._edits)

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Each condition once, in the order in which the parts name them."""
        return tuple(dict.fromkeys(c for part in self._parts for c in part.conditions))

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts of the edits that are on, in the order in which they act."""
        return tuple(self._parts)

    @property
    def alone(self) -> bool:
        """Whether no other functions are on hook points than those of the edits that are on."""
        return self.backend.hook_count() == self._n_hooks

    @property
    def joined_by_others(self) -> bool:
        """Whether functions are on hook points that were put there neither by `on` nor by `over`.

        Nothing is known of the tokens that they change.
        """
        return self.backend.hook_count() != self._n_hooks + self._n_over

    @property
    def by_row(self) -> bool:
        """Whether an edit that is on is restricted to some rows of a batch (`PerRow`)."""
        return any(part.rows is not None for part in self._parts)

    @contextmanager
    def on(self, edits: Sequence[Edit]) -> Generator[None]:
        """Put edits on, behind those that are on, until the context ends, also by an exception.

        Raises:
            InputError: a site that the model does not have or that can't be written, or edits
                that would act twice on one vector.
        """
        before, n_hooks = (len(self._edits), len(self._parts), len(self._mid)), self._n_hooks
        try:
            self._edits.extend(edits)
            self._parts.extend(part for edit in edits for part in edit.parts())
            new = list(enumerate(self._parts))[before[1] :]
            hooks = self._functions(new)
            self._check_fit(new)
            self._check_doubles()
            others = self.backend.hook_count() - n_hooks
            with self.backend.hooks(hooks):
                self._n_hooks = self.backend.hook_count() - others
                yield
        finally:
            self._n_hooks = n_hooks
            for active, n in zip((self._edits, self._parts, self._mid), before, strict=True):
                del active[n:]

    @contextmanager
    def over(self, hooks: Hooks) -> Generator[None]:
        """Put functions onto hook points, after the edits that are on, until the context ends.

        They see what the edits made of an activation, and what they return goes on as it is. An
        edit of `resid_mid` reads the block's input anew behind them, in case they change it.
        """
        inputs = [self._input.reader(site) for site in dict.fromkeys(self._mid)]
        before, n_over = self.backend.hook_count(), self._n_over
        with self.backend.hooks([*((name, self._over(f)) for name, f in hooks), *inputs]):
            self._n_over += self.backend.hook_count() - before
            try:
                yield
            finally:
                self._n_over = n_over

    @contextmanager
    def without_over(self) -> Generator[None]:
        """Functions put on by `over` are not called: the tokens of the pass are not theirs."""
        before, self._over_acts = self._over_acts, False
        try:
            yield
        finally:
            self._over_acts = before

    def _over(self, function: HookFunction) -> HookFunction:
        def act(value: Any, hook: Any = None) -> Tensor | None:
            return function(value, hook=hook) if self._over_acts else None

        return act

    @property
    def middles(self) -> frozenset[int]:
        """Layers whose `resid_mid` is edited, through what attention writes."""
        return frozenset(site.layer for site in self._mid)

    def _functions(self, new: list[tuple[int, Part]]) -> list[tuple[str, HookFunction]]:
        """The hook functions of new parts; what they do in a pass is looked up in the pass."""
        hooks: list[tuple[str, HookFunction]] = []
        stacks: dict[tuple[int, ...], Stack] = {}
        for site, levels in by_site(new, self.backend).items():
            act = self._actor([self._level(level, stacks) for level in levels])
            if site.writable:
                hooks.append((site.hook_name, act))
            else:
                self._mid.append(site)
                hooks.append(self._input.writer(site, act))
        # Contexts nest: an inner one may edit the input of a block whose middle an outer one edits.
        return hooks + [self._input.reader(site) for site in dict.fromkeys(self._mid)]

    def _level(
        self, level: list[tuple[int, Part]], stacks: dict[tuple[int, ...], Stack]
    ) -> tuple[Stack | None, list[tuple[int, Part]]]:
        along = [(n, part) for n, part in level if isinstance(part.edit, AlongOne)]
        if len(along) < 2:
            return None, level
        numbers = tuple(n for n, _ in along)
        stack = stacks.setdefault(numbers, Stack(along, self.backend))
        return stack, [(n, part) for n, part in level if n not in numbers]

    def _actor(self, levels: list[tuple[Stack | None, list[tuple[int, Part]]]]) -> HookFunction:
        # TransformerLens passes the canonical name of the hook point, not the alias it was put on
        # with; nothing here may depend on it.
        def act(
            resid: Float[Tensor, "batch pos d_model"], hook: Any = None
        ) -> Float[Tensor, "batch pos d_model"]:
            del hook
            for stack, singles in levels:
                if stack is not None:
                    moves = self._moves_of(stack)
                    resid = resid if moves.where is False else moves(resid)
                for number, part in singles:
                    resid = masked(part.edit, self._reach_of(number, part), resid)
            return resid

        return act

    def _reach_of(self, number: int, part: Part) -> TokenMask:
        if self._tokens is not None:
            return self._reach[number]
        if not part.everywhere:
            raise InputError(
                f"{part.edit!r} is restricted to some tokens or prompts, which only the methods "
                "of LensModel know; run the prompts through logits, residuals or generate"
            )
        return True

    def _moves_of(self, stack: Stack) -> Moves:
        if id(stack) not in self._moves:
            reaches = [self._reach_of(n, self._parts[n]) for n in stack.numbers]
            self._moves[id(stack)] = stack.moves(self._holds[stack.numbers], reaches)
        return self._moves[id(stack)]

    @contextmanager
    def seeing(self, tokens: Tokens) -> Generator[None]:
        """Announce the tokens of a forward pass, for the time that it takes."""
        self._tokens = tokens
        self._holds = self.holding(tokens.rows, tokens.decided)
        self._reach = [
            tokens.reach(part, holds) for part, holds in zip(self._parts, self._holds, strict=True)
        ]
        self._moves = {}
        try:
            yield
        finally:
            self._tokens, self._reach, self._moves = None, [], {}

    def holding(
        self, rows: Sequence[int], decided: Bool[Tensor, "batch condition"]
    ) -> Bool[Tensor, "part batch"]:
        """Which parts act on which rows, wherever in them."""
        holds = torch.ones(len(self._parts), len(rows), dtype=torch.bool)
        conditions = self.conditions
        for i, part in enumerate(self._parts):
            if part.rows is not None:
                holds[i] = torch.tensor([row in part.rows for row in rows])
            for c in part.conditions:
                holds[i] &= decided[:, conditions.index(c)]
        return holds

    def variants(
        self, rows: Sequence[int], decided: Bool[Tensor, "batch condition"]
    ) -> list[ConditionsMet]:
        """Per row, a key of the edits that act on the shared prefix: equal keys share its cache.

        The key has one entry per part that is restricted to rows or by a condition and acts on
        prompt tokens: whether it is active on that row. For example, under
        `PerRow((Ablate(d), None))` the two rows get the keys (True,) and (False,). Parts
        restricted to offsets are left out, as no offset reaches into the prefix (see
        `check_prompts`), and so are parts that move nothing: another batch would recompute the
        same prefix with other rounding.
        """
        choosing = [
            i
            for i, part in enumerate(self._parts)
            if (part.rows is not None or part.conditions)
            and part.phase != "generated"
            and part.offsets is None
            and not (isinstance(part.edit, AlongOne) and part.edit.still)
        ]
        return [tuple(column) for column in self.holding(rows, decided)[choosing].T.tolist()]

    def check_decided(self, rows: Sequence[int], decided: Bool[Tensor, "batch condition"]) -> None:
        """Raise for a prompt whose conditions let one vector be edited twice."""
        holds = self.holding(rows, decided)
        for i, j in double_actions(self._parts, self.backend.n_layers):
            if bool((holds[i] & holds[j]).any()):
                raise refuse_double(self._parts[i], self._parts[j])

    def _check_fit(self, new: list[tuple[int, Part]]) -> None:
        """Raise for an edit or a condition that was made for another model."""
        n_layers, d_model = self.backend.n_layers, self.backend.d_model
        for _, part in new:
            for name, width in [(repr(part.edit), part.edit.width)] + [
                (repr(c), c.width) for c in part.conditions
            ]:
                if width != d_model:
                    raise InputError(
                        f"{name} is {width} wide, this model's stream {d_model}: it was fitted on "
                        "another model"
                    )
            for c in part.conditions:
                if c.site.layer >= n_layers:
                    raise InputError(
                        f"{c.site}, where {c!r} reads, is beyond this model: its layers are 0 to "
                        f"{n_layers - 1}"
                    )

    def _check_doubles(self) -> None:
        for i, j in double_actions(self._parts, self.backend.n_layers):
            if not (self._parts[i].conditions or self._parts[j].conditions):
                raise refuse_double(self._parts[i], self._parts[j])

    def check_prompts(self, lengths: Sequence[int], names: Sequence[str]) -> int:
        """How many tokens from the end of a prompt offsets reach.

        Raises:
            InputError: an edit made for another number of prompts, or an offset before the
                beginning of a prompt.
        """
        farthest = 0
        for part in self._parts:
            if part.n_rows not in (None, len(lengths)):
                raise InputError(
                    f"PerRow holds {part.n_rows} edits, this call has {len(lengths)} prompts; "
                    "give one edit, or None, for each prompt"
                )
            rows = [i for i in range(len(lengths)) if part.rows is None or i in part.rows]
            for offset in (*(part.offsets or ()), *(c.offset for c in part.conditions)):
                shortest = min(rows, key=lengths.__getitem__, default=None)
                if shortest is not None and -offset > lengths[shortest]:
                    raise InputError(
                        f"offset {offset} of {part.edit!r} reaches before the beginning of "
                        f"{names[shortest]}, which has {lengths[shortest]} tokens with its "
                        "template; choose a later one"
                    )
                farthest = max(farthest, -offset)
        return farthest
