"""Blocking work in threads that stops when its caller is cancelled.

``run_blocking`` is the one place where blocking work enters a thread.  When the awaiting task is cancelled (Ctrl-C),
the work is told: its next ``checkpoint`` raises Interrupted, and the callbacks that it registered with ``on_cancel``
run at once, to end what it waits for (close a connection, end a child process).  Every ``events.Step.advance`` is a
checkpoint.  The caller then waits until the work has cleaned up after itself.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

CLEANUP_LIMIT_S = 15.0
"""How long a cancelled task waits for its thread; a thread stuck for longer is left behind (it is a daemon)."""


class Interrupted(BaseException):
    """The caller gave up.  Not an Exception, so no handler on the way mistakes it for a failure."""


class _Scope:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cancelled = False
        self._callbacks: list[Callable[[], object]] = []

    @property
    def cancelled(self) -> bool:
        return self._cancelled

    def cancel(self) -> None:
        with self._lock:
            self._cancelled = True
            callbacks = list(self._callbacks)
        for callback in callbacks:
            callback()

    def add(self, callback: Callable[[], object]) -> None:
        with self._lock:
            if not self._cancelled:
                self._callbacks.append(callback)
                return
        raise Interrupted

    def remove(self, callback: Callable[[], object]) -> None:
        with self._lock:
            if callback in self._callbacks:
                self._callbacks.remove(callback)


_scope: ContextVar[_Scope | None] = ContextVar("gns3_minivm_cancel", default=None)


def checkpoint() -> None:
    """Raise Interrupted if the caller of this blocking work has given up."""
    scope = _scope.get()
    if scope is not None and scope.cancelled:
        raise Interrupted


@contextmanager
def on_cancel(callback: Callable[[], object]) -> Iterator[None]:
    """Run ``callback`` (from another thread, at most once) if the caller gives up inside the block."""
    scope = _scope.get()
    if scope is None:
        yield
        return
    scope.add(callback)
    try:
        yield
    finally:
        scope.remove(callback)


async def run_blocking(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a blocking function in a thread of its own and wait for its result."""
    loop = asyncio.get_running_loop()
    finished: asyncio.Future[T] = loop.create_future()
    scope = _Scope()
    context = contextvars.copy_context()
    context.run(_scope.set, scope)

    def settle(result: T | None, error: BaseException | None) -> None:
        if finished.done():
            return
        if error is None:
            finished.set_result(result)  # type: ignore[arg-type]
        else:
            finished.set_exception(error)

    def work() -> None:
        result: T | None = None
        error: BaseException | None = None
        try:
            result = context.run(function, *args, **kwargs)
        except Interrupted:
            error = asyncio.CancelledError()
        except BaseException as caught:  # noqa: BLE001  (carried over to the awaiting task as it is)
            error = caught
        try:
            loop.call_soon_threadsafe(settle, result, error)
        except RuntimeError:
            pass  # the loop has ended: nobody waits any more

    threading.Thread(target=work, name=getattr(function, "__name__", "blocking"), daemon=True).start()
    try:
        return await asyncio.shield(finished)
    except asyncio.CancelledError:
        scope.cancel()
        await asyncio.wait({finished}, timeout=CLEANUP_LIMIT_S)
        if finished.done() and not finished.cancelled():
            finished.exception()  # seen: the cancellation is what counts
        raise
