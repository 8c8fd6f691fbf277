"""One call of a network for the faces of several streams.

A network that is asked by several threads at the same time is asked once, for the faces of all. There is no thread
behind it: whoever finds the network free runs it for everybody who waits, so that nothing is left to be shut down.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, Protocol, TypeVar

from deepprivacy_rt.errors import StageError

MOST_FACES = 16
"""Of a call. More at once gain nothing, and everybody waits for the last one."""
_RECENT_SECONDS = 0.25
"""A thread that asked so lately is a stream that goes on: it is worth waiting for. One that has ended is not."""
_HANG_SECONDS = 30.0


class _Rows(Protocol):
    """An array or a tensor, one row per face."""

    def __len__(self) -> int: ...


Rows = TypeVar("Rows", bound=_Rows)


class BatchCounts(NamedTuple):
    """What a network was asked so far.

    :ivar calls: how often. :ivar faces: for how many faces, in all calls together.
    """

    calls: int
    faces: int


@dataclass(slots=True, eq=False)
class _Request(Generic[Rows]):
    inputs: Sequence[Rows]
    thread: int = field(default_factory=threading.get_ident)
    since: float = field(default_factory=time.monotonic)
    output: Rows | None = None
    error: BaseException | None = None
    is_done: bool = False

    @property
    def faces(self) -> int:
        return len(self.inputs[0])


class Batcher(Generic[Rows]):
    """A network that may be called from any thread, and runs on one thread at a time.

    A call waits while the network is busy; then the first in the row takes all that wait with it, ``most`` faces and no
    more unless one call alone has more. Where it is the only stream, it runs at once and on its own thread.

    An error of the network is raised in every call that was in the batch: none of them has got faces. While one call
    hangs in the network, the others raise StageError after half a minute, and then at once until it comes back.

    :param run: takes inputs with one row per face, and returns one output with as many rows, in their order.
    :param join: makes one input of several.
    :param patience: seconds that a call waits for streams that asked lately; 0 where batches gain nothing: then only
        those that wait anyway are taken together.
    """

    def __init__(
        self,
        run: Callable[..., Rows],
        join: Callable[[Sequence[Rows]], Rows],
        *,
        patience: float = 0.0,
        most: int = MOST_FACES,
        hang_seconds: float = _HANG_SECONDS,
    ) -> None:
        self._run, self._join = run, join
        self._patience, self._most, self._hang_seconds = patience, most, hang_seconds
        self._turn = threading.Condition()
        self._waiting: list[_Request[Rows]] = []
        self._seen: dict[int, float] = {}
        self._busy_since: float | None = None
        self._counts = BatchCounts(0, 0)

    @property
    def counts(self) -> BatchCounts:
        """The account so far, calls that failed included."""
        return self._counts

    def __call__(self, *inputs: Rows) -> Rows:
        """Return the network's output for these inputs. Raises what the network raises, and StageError."""
        request = _Request(inputs)
        with self._turn:
            self._seen[request.thread] = request.since
            self._waiting.append(request)
            self._turn.notify_all()  # somebody may wait for company
        while batch := self._next_batch(request):
            self._serve(batch)
        if request.error is not None:
            raise request.error
        assert request.output is not None
        return request.output

    def _next_batch(self, request: _Request[Rows]) -> list[_Request[Rows]]:
        """Wait until the request is done, and return nothing; or until it is this thread's turn to run a batch."""
        with self._turn:
            while not request.is_done:
                now = time.monotonic()
                if self._busy_since is not None:
                    seconds = self._busy_since + self._hang_seconds - now
                    if seconds <= 0:
                        self._waiting = [one for one in self._waiting if one is not request]
                        raise StageError(f"the network has not answered another stream for {self._hang_seconds:.0f} s")
                else:
                    seconds = self._waiting[0].since + self._patience - now
                    if seconds <= 0 or self._is_complete(now):
                        self._busy_since = now
                        return self._take()
                self._turn.wait(min(seconds, _RECENT_SECONDS))  # by then a stream that has ended is not waited for
        return []

    def _is_complete(self, now: float) -> bool:
        """Say whether there is nothing to wait for: the batch is full, or all streams are in it."""
        self._seen = {thread: at for thread, at in self._seen.items() if now - at < _RECENT_SECONDS}
        full = sum(one.faces for one in self._waiting) >= self._most
        return full or self._seen.keys() <= {one.thread for one in self._waiting}

    def _take(self) -> list[_Request[Rows]]:
        """Remove the first ones that wait, and return them: at least one."""
        number, faces = 1, self._waiting[0].faces
        for one in self._waiting[1:]:
            faces += one.faces
            if faces > self._most:
                break
            number += 1
        batch, self._waiting = self._waiting[:number], self._waiting[number:]
        return batch

    def _serve(self, batch: Sequence[_Request[Rows]]) -> None:
        """Run the network, and hand everybody the own rows or the error."""
        outputs: list[Rows] = []
        error: BaseException | None = None
        try:
            outputs = self._answers(batch)
        except BaseException as caught:  # whatever it is, all of them must hear of it, and the network is free again
            error = caught
        with self._turn:
            self._busy_since = None
            self._counts = BatchCounts(self._counts.calls + 1, self._counts.faces + sum(one.faces for one in batch))
            for place, one in enumerate(batch):
                one.output, one.error, one.is_done = None if error else outputs[place], error, True
            self._turn.notify_all()

    def _answers(self, batch: Sequence[_Request[Rows]]) -> list[Rows]:
        if len(batch) == 1:
            joined = batch[0].inputs
        else:
            joined = [self._join(parts) for parts in zip(*(one.inputs for one in batch), strict=True)]
        output = self._run(*joined)
        if len(output) != sum(one.faces for one in batch):
            raise StageError(f"the network returned {len(output)} faces for {sum(one.faces for one in batch)}")
        outputs, first = [], 0
        for one in batch:
            outputs.append(output[first : first + one.faces])  # type: ignore[index]  # arrays and tensors can
            first += one.faces
        return outputs
