"""Values are filled by name, and a name means one thing."""

from __future__ import annotations

import ast
from collections import Counter

from tests.support.house import modules, name_of

FIELDS_BY_PLACE = 4
"""A value of more fields is filled by name, and so is every request and result."""
_BY_NAME = ("Request", "Result", "Report", "Settings", "Choice", "Origin", "Options", "Limits")


def dataclasses() -> list[tuple[str, ast.ClassDef, ast.expr]]:
    """Module, class and decorator of each dataclass; what lies on a disk has its specification's order of fields."""
    found = []
    for path in modules():
        if name_of(path).startswith("formats"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ClassDef):
                continue
            for decorator in node.decorator_list:
                if ast.unparse(decorator).startswith("dataclass"):
                    found.append((name_of(path), node, decorator))
    return found


def test_values_of_many_fields_are_filled_by_name() -> None:
    wrong = []
    for module, kind, decorator in dataclasses():
        fields = [item for item in kind.body if isinstance(item, ast.AnnAssign) and "ClassVar" not in ast.unparse(item)]
        many = len(fields) > FIELDS_BY_PLACE or (len(fields) > 1 and kind.name.endswith(_BY_NAME))
        if many and "kw_only=True" not in ast.unparse(decorator):
            wrong.append(f"{module}.{kind.name}")
    assert not wrong


def test_a_class_name_means_one_thing() -> None:
    """Beside what both API generations have, what ``api`` shows of it, and readers beside writers of a format."""
    names: Counter[str] = Counter()
    for path in modules():
        if not name_of(path).startswith(("formats", "gns3.v2", "gns3.v3", "api")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            names.update(node.name for node in tree.body if isinstance(node, ast.ClassDef) and node.name[0] != "_")
    assert not [name for name, count in names.items() if count > 1]
