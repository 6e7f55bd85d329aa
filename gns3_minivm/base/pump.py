"""Passes items from threads to a thread that waits for them; either side may give up at any moment.

A thread that waits for the network cannot be ended from outside.  One that is given up is left behind, and ends with
the next item that it brings, or with its own time limit.
"""

from __future__ import annotations

import contextvars
import queue
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from typing import Generic, ParamSpec, TypeVar

from gns3_minivm.base.cancel import checkpoint

P = ParamSpec("P")
T = TypeVar("T")
_POLL_S = 0.1


class Abandoned(BaseException):
    """Nobody is waiting any more.  Not an Exception, so no handler on the way mistakes it for a failure."""


class Inbox(Generic[T]):
    """A queue from any number of threads to one that waits; it holds at most ``depth`` items."""

    def __init__(self, depth: int) -> None:
        self._items: queue.Queue[tuple[T, None] | tuple[None, BaseException]] = queue.Queue(depth)
        self._abandoned = threading.Event()

    def put(self, item: T) -> None:
        """Bring an item; waits while there is no room.  Raises Abandoned."""
        self._put((item, None))

    def fail(self, error: BaseException) -> None:
        """Bring an error, which the one that waits raises; dropped where nobody does."""
        with suppress(Abandoned):
            self._put((None, error))

    def get(self) -> T:
        """The next item.  Raises what a thread has failed with, and Interrupted."""
        while True:
            checkpoint()
            try:
                item, error = self._items.get(timeout=_POLL_S)
            except queue.Empty:
                continue
            if error is not None:
                raise error
            return item  # type: ignore[return-value]

    def abandon(self) -> None:
        """Take no more items."""
        self._abandoned.set()

    def _put(self, entry: tuple[T, None] | tuple[None, BaseException]) -> None:
        while not self._abandoned.is_set():
            with suppress(queue.Full):
                return self._items.put(entry, timeout=_POLL_S)
        raise Abandoned


def start_thread(work: Callable[[], object], name: str) -> threading.Thread:
    """Start a daemon thread with the caller's context, so that the caller's checkpoints hold there too."""
    thread = threading.Thread(target=contextvars.copy_context().run, args=(work,), name=name, daemon=True)
    thread.start()
    return thread


def pumped(source: Callable[[], Iterator[T]], name: str, *, depth: int) -> Generator[T, None, None]:
    """The items of ``source``, which a thread goes through; close it to give up.  Raises what the source raises.

    The source is closed by its own thread.
    """
    inbox: Inbox[T] = Inbox(depth)

    def work() -> None:
        try:
            stream = source()
            try:
                for item in stream:
                    inbox.put(item)
            finally:
                getattr(stream, "close", lambda: None)()
        except Abandoned:
            return
        except BaseException as error:  # noqa: BLE001  (raised by the one that waits)
            return inbox.fail(error)
        inbox.fail(_AtEnd())

    start_thread(work, name)
    try:
        while True:
            yield inbox.get()
    except _AtEnd:
        return
    finally:
        inbox.abandon()


def abandonable(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function that may wait long for somebody else, such as a registry.

    It runs in a thread that is left behind when the caller gives up, so it must leave nothing to clean up.
    """

    def call() -> Iterator[T]:
        yield function(*args, **kwargs)

    with closing(pumped(call, getattr(function, "__name__", "abandonable"), depth=1)) as results:
        return next(results)


class _AtEnd(Exception):
    """The source has no more items."""
