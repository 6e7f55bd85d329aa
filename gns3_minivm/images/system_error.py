"""Finds the operating system's error below those of HTTP libraries."""

from __future__ import annotations


def system_error(error: BaseException) -> OSError | None:
    """The operating system's error below a chain of wrapped ones, or None.

    The docker package and requests hide it in causes, contexts and arguments.
    """
    seen: set[int] = set()
    waiting: list[BaseException] = [error]
    found: OSError | None = None
    while waiting:
        one = waiting.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        # requests' own errors are OSErrors too, but without a number.
        if isinstance(one, OSError) and (
            one.errno is not None or type(one).__module__ in ("ssl", "builtins", "socket")
        ):
            found = found or one
        inner = [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
        waiting += [item for item in inner if isinstance(item, BaseException)]
    return found
