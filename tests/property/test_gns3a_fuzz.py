"""Whatever an appliance file holds, it is read, or refused with an error of the user's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gns3_minivm.base.errors import UserError
from gns3_minivm.gns3a.read import parse_gns3a
from gns3_minivm.gns3a.write import gns3a_text
from gns3_minivm.ops.gns3a.template import imported
from tests.support.gns3a import original

PATH = Path("/nonexistent/a.gns3a")
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def places(value: Any, where: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The ways to all values of a document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [where, *(place for key, item in inner for place in places(item, (*where, key)))]


PLACES = places(original())[1:]


def read(data: bytes) -> None:
    try:
        appliance = parse_gns3a(PATH, data)
        for version in appliance.versions:
            imported(PATH, appliance, version, name=appliance.name, is_pinned=False)
    except UserError as error:
        assert error.message.startswith(str(PATH))
    else:
        text = gns3a_text(appliance)
        assert gns3a_text(parse_gns3a(PATH, text.encode())) == text


@given(st.lists(st.tuples(st.sampled_from(PLACES), VALUES), min_size=1, max_size=4))
def test_wrong_values_anywhere(changes: list[tuple[tuple[Any, ...], Any]]) -> None:
    document = json.loads(json.dumps(original()))
    for (*parents, last), value in changes:
        inner = document
        try:
            for key in parents:
                inner = inner[key]
            inner[last] = value
        except (LookupError, TypeError):
            continue  # what it would be in has been replaced already
    read(json.dumps(document).encode())


@given(st.integers(0, 3000), st.binary(max_size=20))
def test_damaged_bytes_anywhere(at: int, damage: bytes) -> None:
    data = json.dumps(original(), indent=1).encode()
    read(data[:at] + damage + data[at + len(damage) :])


@given(st.binary(max_size=200))
def test_any_bytes_at_all(data: bytes) -> None:
    read(data)
