"""Answers questions about one model, one at a time, in a thread of its own."""

import logging
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from threading import Event, Lock
from typing import Any, Final, final

from refusal_lens.attribution import PromotedTokens, promoted_tokens
from refusal_lens.directions import Direction
from refusal_lens.errors import InputError, reason_of
from refusal_lens.explorer.choices import Choice
from refusal_lens.explorer.conditions import NamedEdit, asked_direction, conditions_of
from refusal_lens.explorer.question import Question
from refusal_lens.explorer.readings import How, QuestionReadings, measure_of, read_answer
from refusal_lens.explorer.views import answer_text, readings_html
from refusal_lens.interventions import PerRow
from refusal_lens.judges import Judge, ScoreTrust
from refusal_lens.model import Decoding, Ids, LensModel, allow_transfer

MOST_WAITING: Final = 8
_SHOWN: Final = 8  # promoted tokens
_LOG: Final = logging.getLogger(__name__)

Tell = Callable[[Mapping[str, Any]], None]
"""Takes an event of a ticket, in the worker's thread. Events are JSON objects with a `kind`:

    waiting    `ahead`, the questions that are answered first
    begun      `columns`, name and edit in words of each condition
    answers    `texts`, each condition's answer so far
    reading    the answers are there and are being read
    done       `html`, the readings; `stopped` where there are none
    error      `message`, what is wrong, in one line
"""


@final
@dataclass(eq=False)
class Ticket:
    """A question that was taken; `stop` ends it where it is, also before it has begun."""

    question: Question
    tell: Tell
    _stop: Event = field(default_factory=Event)

    @property
    def stopped(self) -> bool:
        """Whether nobody wants the rest."""
        return self._stop.is_set()

    def stop(self) -> None:
        """End generation after the token that is being computed."""
        self._stop.set()


@final
class QuestionQueue:
    """The one user of a model: questions wait in line, and each may be stopped.

    `layer` is where the page begins and reads where no edit names another; `trust` says which
    refusal score the model has. Answers are read by `judge`.

    >>> from refusal_lens.explorer.choices import choices_of
    >>> judge, choices = rl.make_judge("refusal"), choices_of(directions)
    >>> queue = QuestionQueue(model, choices, judge=judge, layer=2)
    >>> events = []
    >>> ticket = queue.submit(Question("Why?", tokens=2), events.append)
    >>> queue.close()
    >>> events[0]["kind"]
    'waiting'
    """

    def __init__(
        self,
        model: LensModel,
        choices: Sequence[Choice],
        *,
        judge: Judge,
        layer: int,
        trust: ScoreTrust | None = None,
    ) -> None:
        self.model = model
        self.choices = tuple(choices)
        self.layer = layer
        self._judge = judge
        self._trust = trust
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="explorer")
        self._model_lock = Lock()
        self._line_lock = Lock()
        self._line: list[Ticket] = []  # the first one is being answered
        self._promoted: dict[tuple[int, int], PromotedTokens] = {}

    def submit(self, question: Question, tell: Tell) -> Ticket:
        """Take a question; its events go to `tell`, the last is "done" or "error".

        Raises:
            InputError: an edit that can't be, or too many questions are waiting.
        """
        conditions = conditions_of(question, self.choices)
        ticket = Ticket(question, tell)
        with self._line_lock:
            if len(self._line) > MOST_WAITING:
                raise InputError(
                    f"{MOST_WAITING} questions are waiting already; ask again when some are done"
                )
            self._line.append(ticket)
            ahead = len(self._line) - 1
            self._tell(ticket, {"kind": "waiting", "ahead": ahead})
            self._worker.submit(self._work, ticket, conditions)
        return ticket

    @contextmanager
    def paused(self) -> Generator[None]:
        """Within this context no question is answered: the model is the caller's alone."""
        with self._model_lock:
            yield

    def close(self) -> None:
        """Stop every question and end the thread."""
        with self._line_lock:
            line = list(self._line)
        for ticket in line:
            ticket.stop()
        self._worker.shutdown()

    def _work(self, ticket: Ticket, conditions: Sequence[NamedEdit]) -> None:
        try:
            with self._model_lock, allow_transfer():
                last = self._answer(ticket, conditions)
        except InputError as error:
            last = {"kind": "error", "message": str(error)}
        except Exception as error:  # the page must hear of it, and the next question be answered
            _LOG.exception("a question could not be answered")
            last = {"kind": "error", "message": f"{type(error).__name__}: {reason_of(error)}"}
        with self._line_lock:
            self._line.remove(ticket)
            for ahead, waiting in enumerate(self._line):
                self._tell(waiting, {"kind": "waiting", "ahead": ahead})
        self._tell(ticket, last)

    def _answer(self, ticket: Ticket, conditions: Sequence[NamedEdit]) -> Mapping[str, Any]:
        """The last event of a ticket, the others told."""
        if ticket.stopped:
            return {"kind": "done", "stopped": True}
        columns = [{"name": c.name, "words": answer_text(c.words)} for c in conditions]
        self._tell(ticket, {"kind": "begun", "columns": columns})
        answers = self._generate(ticket, conditions)
        if ticket.stopped:
            return {"kind": "done", "stopped": True}
        self._tell(ticket, {"kind": "reading"})
        question = ticket.question
        asked = question.edits[0] if question.edits else None
        choice = self.choices[0 if asked is None else asked.direction]
        how = How(choice, measure_of(self._trust, choice.category), self._judge)
        rows = [
            read_answer(self.model, question.prompt, ids, condition, how)
            for ids, condition in zip(answers, conditions, strict=True)
        ]
        layer = self.layer if asked is None else asked.layer
        html = readings_html(QuestionReadings(tuple(rows), layer, how, self._promotions(question)))
        return {"kind": "done", "html": html}

    def _generate(self, ticket: Ticket, conditions: Sequence[NamedEdit]) -> list[Ids]:
        so_far: dict[int, Ids] = {}

        def watch(answers: Mapping[int, Ids]) -> bool:
            so_far.update(answers)
            rows = [so_far.get(i, ()) for i in range(len(conditions))]
            texts = [answer_text(self.model.chat.answer(ids)) for ids in rows]
            n = max(map(len, rows))
            self._tell(ticket, {"kind": "answers", "texts": texts, "tokens": n})
            return not ticket.stopped

        edits = tuple(condition.edit for condition in conditions)
        prompts = [ticket.question.prompt] * len(conditions)
        decoding = Decoding(max_new_tokens=ticket.question.tokens)
        with self.model.editing(PerRow(edits)) if len(edits) > 1 else nullcontext():
            return self.model.generate_ids(prompts, decoding, watch=watch)

    def _promotions(self, question: Question) -> tuple[tuple[Direction, PromotedTokens], ...]:
        places = dict.fromkeys((asked.direction, asked.layer) for asked in question.edits)
        for asked in question.edits:
            place = asked.direction, asked.layer
            if place not in self._promoted:
                direction = asked_direction(asked, self.choices)
                self._promoted[place] = promoted_tokens(self.model, direction, most=_SHOWN)
        return tuple(
            (self.choices[c].direction(layer), self._promoted[c, layer]) for c, layer in places
        )

    def _tell(self, ticket: Ticket, event: Mapping[str, Any]) -> None:
        """Hand an event over; nobody there to take it stops the ticket."""
        try:
            ticket.tell(event)
        except RuntimeError:  # the server's loop has ended
            ticket.stop()
