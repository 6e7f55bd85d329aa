"""Shows an old and a new value side by side, so that the difference is visible however long they are."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterator, Mapping

VALUE_MAX = 60
_SAME_SHOWN = 20
"""How much of what two texts have in common is shown before their first difference."""
Say = Callable[[object], str]


def change(old: object, new: object, say: Say = repr) -> str:
    """How a value changes, as in "256 -> 512"; of long lines of words, those that go and those that come."""
    told = []
    for before, after in _apart(old, new, say):
        if before and after:
            told.append(f"{before} -> {after}")
        else:
            told.append(f"without {before}" if before else f"with {after}")
    return ", ".join(told)


def deviation(there: object, ours: object, say: Say = repr) -> str:
    """How a kept value differs from the one that we would have set, as in "512 (not 256)"."""
    told = []
    for seen, meant in _apart(there, ours, say):
        if seen and meant:
            told.append(f"{seen} (not {meant})")
        else:
            told.append(f"with {seen}" if seen else f"without {meant}")
    return ", ".join(told)


def _apart(old: object, new: object, say: Say) -> Iterator[tuple[str, str]]:
    """The parts of two values that differ; one of a pair may be "", never both."""
    texts = say(old), say(new)
    if max(map(len, texts)) <= VALUE_MAX or not (old and new):
        yield _cut(texts)
    elif isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
        yield _cut((say({key: old.get(key) for key in keys}), say({key: new.get(key) for key in keys})))
    elif isinstance(old, str) and isinstance(new, str) and old.split() != new.split():
        before, after = old.split(), new.split()
        for kind, i, j, k, m in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
            if kind != "equal":
                gone, come = _cut((" ".join(before[i:j]), " ".join(after[k:m])))
                yield say(gone) if gone else "", say(come) if come else ""
    else:
        yield _cut(texts)


def _cut(texts: tuple[str, str]) -> tuple[str, str]:
    """Both texts, if they are long from shortly before their first difference."""
    same = len(os.path.commonprefix(texts))
    start = max(0, same - _SAME_SHOWN) if max(map(len, texts)) > VALUE_MAX else 0
    first, second = (f"…{text[start:]}" if start else text for text in texts)
    return _ended(first), _ended(second)


def _ended(text: str) -> str:
    return text if len(text) <= VALUE_MAX else f"{text[: VALUE_MAX - 1]}…"
