"""Several processes of one run, on one machine or many: who they are and what they exchange.

Every process runs the same program on the same inputs. Where prompts go through the model, each
takes its share of the rows, and the shares are merged so that every process holds the whole result.
What follows is computed by all alike, and one process, rank 0, writes and prints. Three places know
of it: the methods of `LensModel` through which prompts flow (`model/shares.py`), the judges that
read answers in batches, and the run folder. A pool of workers that are sent tasks would need every
task, with its edits and hooks, in a form that can be sent, and a second way through each stage.

What is merged is on the CPU, and gloo carries it whatever device the models are on. gloo also sees
at once that a process has died, which NCCL learns from a timeout. Rows are merged exactly: each is
zero in every process but one.
"""

import json
import os
import socket
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar, final

import psutil

from refusal_lens.errors import InputError, reason_of

if TYPE_CHECKING:  # takes seconds to import, and most commands are one process
    from torch import Tensor

T = TypeVar("T")

_LAUNCHED: Final = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_CONNECTING: Final = timedelta(minutes=10)
_PATIENCE: Final = timedelta(hours=2)  # one process may have to fetch a large model alone
_ROOM: Final = 4096  # bytes of what each process says when they meet
_DYING_S: Final = 2.0  # a connection closes a moment before its process is gone


class ProcessEndedError(RuntimeError):
    """Another process of this run has ended or can't be reached any more; one line says which."""


@final
@dataclass(frozen=True, eq=False)
class Processes:
    """The processes of this run as one of them sees them; by default there is no other.

    `rank` counts from 0, the one that writes and prints.

    >>> alone = Processes()
    >>> alone.is_main, alone.part(["a", "b"]), alone.texts("x", "a test")
    (True, ['a', 'b'], ['x'])
    """

    rank: int = 0
    count: int = 1
    group: Any = None
    peers: tuple[psutil.Process | None, ...] = ()

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    def part(self, units: Sequence[T]) -> list[T]:
        """This process's share: every `count`-th unit, so that sorted ones are shared out evenly.

        >>> Processes(1, 3).part("abcdefgh")
        ['b', 'e', 'h']
        """
        return list(units[self.rank :: self.count])

    def add_up(self, at: str, *tensors: "Tensor") -> None:
        """Add the tensors of all processes, in place, so that each holds the sums.

        `at` says where in the run: it must be the same in each process.

        Raises:
            ProcessEndedError: another one has ended.
        """
        if self.count == 1:
            return
        import torch.distributed as dist

        self._meet(at)
        for tensor in tensors:
            with self._linked():
                dist.all_reduce(tensor, group=self.group)

    def texts(self, text: str, at: str) -> list[str]:
        """The text of each process, by rank; raises like `add_up`."""
        if self.count == 1:
            return [text]
        self._meet(at)
        content = text.encode()
        lengths = [int(n) for n in self._gather(str(len(content)).encode(), room=24)]
        return [one.decode() for one in self._gather(content, room=max(1, *lengths))]

    @contextmanager
    def writing(self, at: str) -> Generator[bool]:
        """Whether this process may write, when all have read what was there before; then all wait
        until it is written.

        >>> with Processes().writing("a file") as mine:
        ...     mine
        True
        """
        self._meet(f"before {at}")
        yield self.is_main
        self._meet(f"after {at}")

    @contextmanager
    def main_first(self, at: str) -> Generator[None]:
        """Let rank 0 go through the context alone, and the others after it."""
        if not self.is_main:
            self._meet(f"the turn of {at}")
        yield
        if self.is_main:
            self._meet(f"the turn of {at}")
        self._meet(f"after {at}")

    @contextmanager
    def apart(self) -> Generator[None]:
        """Within, this process acts as if it were the only one: on a share that it took."""
        global _now
        before, _now = _now, ALONE
        try:
            yield
        finally:
            _now = before

    def ended(self) -> tuple[int, ...]:
        """Ranks of the processes on this machine that are gone."""
        return tuple(i for i, peer in enumerate(self.peers) if peer is not None and _gone(peer))

    def check(self) -> None:
        """Raise if another process on this machine is gone.

        Raises:
            ProcessEndedError: it is.
        """
        if ranks := self.ended():
            raise ProcessEndedError(self._lost(ranks))

    @property
    def speaks(self) -> bool:
        """Whether this is the lowest rank that is left on this machine."""
        gone = self.ended()
        return self.rank == min(i for i, p in enumerate(self.peers) if p and i not in gone)

    def tell(self, error: Exception) -> None:
        """Let the others, when they come to their next meeting, end with what ended this one."""
        with suppress(ProcessEndedError):
            self._meet("the end", failure=reason_of(error))

    def _meet(self, at: str, failure: str = "") -> None:
        """Wait for all processes, and see that they are at the same place."""
        if self.count == 1:
            return
        words = json.dumps([at[:200], failure]).encode()
        places = [json.loads(one) for one in self._gather(words, room=_ROOM)]
        if failure:
            return
        for rank, (_, why) in enumerate(places):
            if why:
                raise ProcessEndedError(f"rank {rank} of {self.count} processes ended ({why})")
        if any(place != at[:200] for place, _ in places):
            each = "; ".join(f"rank {rank}: {place}" for rank, (place, _) in enumerate(places))
            raise RuntimeError(f"the processes of this run came to different places: {each}")

    def _gather(self, content: bytes, *, room: int) -> list[bytes]:
        import torch
        import torch.distributed as dist

        mine = torch.frombuffer(bytearray(content.ljust(room, b"\0")), dtype=torch.uint8)
        every = [torch.zeros_like(mine) for _ in range(self.count)]
        with self._linked():
            dist.all_gather(every, mine, group=self.group)
        return [one.numpy().tobytes().rstrip(b"\0") for one in every]

    @contextmanager
    def _linked(self) -> Generator[None]:
        try:
            yield
        except RuntimeError as error:  # gloo's, whatever went wrong with the connection
            until = time.monotonic() + _DYING_S
            while not (ranks := self.ended()) and time.monotonic() < until:
                time.sleep(0.05)
            raise ProcessEndedError(self._lost(ranks, reason_of(error))) from None

    def _lost(self, ranks: tuple[int, ...], why: str = "") -> str:
        if not ranks:
            return f"one of {self.count} processes can't be reached any more ({why})"
        pids = ", ".join(str(peer.pid) for i in ranks if (peer := self.peers[i]) is not None)
        which = " and ".join(map(str, ranks))
        return f"rank {which} of {self.count} processes ended (process id {pids} is gone)"


ALONE: Final = Processes()
_now: Processes = ALONE


def this_process() -> Processes:
    """This process among those of its run; `ALONE` outside of `joined`."""
    return _now


def launched() -> bool:
    """Whether a launcher started this process as one of several.

    >>> launched()
    False
    """
    many = os.environ.get("WORLD_SIZE", "1")
    return all(name in os.environ for name in _LAUNCHED) and many.isdecimal() and int(many) > 1


@contextmanager
def joined() -> Generator[Processes]:
    """Be one of the processes that torchrun or `accelerate launch` started, until the context ends.

    Each takes a CUDA device of its machine in turn. All must do the same within: prompts are
    shared out there. Without a launcher nothing changes.

    Raises:
        InputError: the processes can't reach each other.

    >>> with joined() as here:
    ...     here.count
    1
    """
    global _now
    if not launched():
        yield ALONE
        return
    import torch.distributed as dist

    first = not dist.is_initialized()
    here = _connected(first)
    _now = here
    try:
        yield here
    except ProcessEndedError:
        raise
    except Exception as error:
        here.tell(error)
        raise
    finally:
        _now = ALONE
        if first:
            dist.destroy_process_group()


def _connected(first: bool) -> Processes:
    """The group of all processes, for what is on the CPU, and where each of them runs."""
    import torch
    import torch.distributed as dist

    try:
        if first:
            dist.init_process_group("gloo", timeout=_CONNECTING)
        group = dist.new_group(backend="gloo", timeout=_PATIENCE)
    except (RuntimeError, ValueError) as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise InputError(
            f"the processes of this run can't reach each other at {where} ({reason_of(error)}); "
            "check --master-addr, or name the network in GLOO_SOCKET_IFNAME"
        ) from None
    if n_devices := torch.cuda.device_count():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % n_devices)
    here = Processes(dist.get_rank(), dist.get_world_size(), group)
    at, host = (socket.gethostname(), os.getpid()), socket.gethostname()
    every = [json.loads(one) for one in here.texts(json.dumps(at), "the start")]
    peers = tuple(psutil.Process(pid) if name == host else None for name, pid in every)
    return Processes(here.rank, here.count, group, peers)


def _gone(peer: psutil.Process) -> bool:
    try:
        return not peer.is_running() or peer.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
