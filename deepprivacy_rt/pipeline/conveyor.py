"""Threads that pass items on in order, through short queues, and always end."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from deepprivacy_rt.errors import Stopped

T = TypeVar("T")

_POLL_SECONDS = 0.05
_JOIN_SECONDS = 1.5


@dataclass(frozen=True, slots=True)
class _Item(Generic[T]):
    value: T


@dataclass(frozen=True, slots=True)
class _End:
    """The last thing in every queue, with the error that ended the stage, if one did."""

    error: BaseException | None


class Conveyor:
    """A chain of iterators, each run on a thread of its own. A context manager: its threads end with it.

    An error in one stage arrives, after the items that came before it, at the next, and so at the consumer. When the
    consumer leaves the with-block early, or ``stop`` is set, all stages end at their next item.
    """

    def __init__(self, stop: threading.Event, depth: int) -> None:
        """:param stop: set from outside to end early. :param depth: items that wait between two stages."""
        self._stop = stop
        self._depth = depth
        self._left = threading.Event()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Conveyor:
        return self

    def __exit__(self, *exc: object) -> None:
        self._left.set()
        deadline = time.monotonic() + _JOIN_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def run(self, name: str, items: Iterator[T]) -> Iterator[T]:
        """Start a thread that draws the items; return an iterator over them.

        The iterator raises what ``items`` raised, and Stopped when stopped.
        """
        channel: queue.Queue[_Item[T] | _End] = queue.Queue(self._depth)
        thread = threading.Thread(target=self._pump, args=(items, channel), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()
        return self._drain(channel)

    def _pump(self, items: Iterator[T], channel: queue.Queue[_Item[T] | _End]) -> None:
        end = _End(None)
        try:
            for value in items:
                if not self._put(channel, _Item(value)):
                    return
        except BaseException as error:  # it belongs to the consumer, whatever it is
            end = _End(error)
        self._put(channel, end)

    def _put(self, channel: queue.Queue[_Item[T] | _End], item: _Item[T] | _End) -> bool:
        while not self._is_over():
            try:
                channel.put(item, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return True
        return False

    def _drain(self, channel: queue.Queue[_Item[T] | _End]) -> Iterator[T]:
        while True:
            if self._is_over():
                raise Stopped("stopped before the end of the stream")
            try:
                item = channel.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                continue
            if isinstance(item, _Item):
                yield item.value
            elif item.error is not None:
                raise item.error
            else:
                return

    def _is_over(self) -> bool:
        return self._stop.is_set() or self._left.is_set()
