"""Environment variables in the text of a containerlab topology, as containerlab's envsubst puts them in.

``$NAME``, ``${NAME}``; with ``-`` or ``=`` a default for one that is not set, with ``:-`` or ``:=`` also for an
empty one, with ``+`` or ``:+`` a value for one that is set (and not empty); defaults may hold variables
again.  ``$$`` is a dollar.
A variable that is not set and has no default stays as it is written, and so do ``$1`` and the like.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_VARIABLE = re.compile(r"\$(?:(\$)|([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)(:?[-=+])?)")


def put_in(text: str, environment: Mapping[str, str]) -> str:
    """The text with the values of its variables."""
    done: list[str] = []
    at = 0
    while found := _VARIABLE.search(text, at):
        done.append(text[at : found.start()])
        end = found.end() if found[3] is None else _end_of_braces(text, found.end())
        if end < 0:  # a brace that is never closed is plain text
            done.append(found[0])
            at = found.end()
            continue
        written = text[found.start() : end]
        if found[1]:
            done.append("$")
        elif found[2]:
            done.append(environment.get(found[2], written))
        else:
            done.append(_braces(found[3], found[4] or "", text[found.end() : end - 1], written, environment))
        at = end
    return "".join([*done, text[at:]])


def _braces(name: str, operator: str, word: str, written: str, environment: Mapping[str, str]) -> str:
    value = environment.get(name)
    if not operator:
        return written if word or value is None else value
    is_there = bool(value) if operator.startswith(":") else value is not None
    if operator.endswith("+"):
        return put_in(word, environment) if is_there else ""
    return (value or "") if is_there else put_in(word, environment)


def _end_of_braces(text: str, at: int) -> int:
    """Behind the brace that closes the one before ``at``, in the same line; -1 without one."""
    depth = 1
    for place in range(at, len(text)):
        if text[place] == "\n":
            break
        if text[place] == "{" and text[place - 1] == "$":
            depth += 1
        elif text[place] == "}":
            depth -= 1
            if not depth:
                return place + 1
    return -1
