"""Numbers of things as people say them."""

from __future__ import annotations


def counted(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun.

    >>> counted(1, "node"), counted(3, "node"), counted(0, "entry", "entries")
    ('1 node', '3 nodes', '0 entries')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {plural or noun + 's'}"
