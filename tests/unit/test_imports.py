"""The table of which part may import which (docs/architecture.md)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "gns3_minivm"

BASE = {
    "errors",
    "events",
    "artifacts",
    "guest",
    "guest_exec",
    "guest_frames",
    "guest_payload",
    "guest_payload_reader",
    "guest_transcript",
    "resources",
    "cancel",
    "cache",
    "holds",
    "sizes",
    "terminal",
}
PARTS = {
    "__init__",
    "formats",
    "images",
    "convert",
    "bundle",
    "qemu",
    "gns3",
    "gns3a",
    "agent",
    "catalog",
    "catalogue",
    "config",
    "documents",
    "ops",
    "cli",
    "gns3fy",
    "guest_settings",
    "labs",
    "library",
    "library_lab",
}
MAY_IMPORT: dict[str, set[str]] = {
    "__init__": {"library"},
    "formats": set(),
    "images": {"formats"},
    "convert": {"formats", "images"},
    "bundle": {"formats"},
    "qemu": set(),
    "gns3": set(),
    "gns3a": set(),
    "guest_settings": {"documents"},
    "agent": {"gns3"},
    "catalog": {"documents"},
    "catalogue": {"documents"},
    "labs": {"documents", "guest_settings", "gns3", "agent"},
    "config": set(),
    "documents": set(),
    "ops": {
        "images",
        "convert",
        "bundle",
        "qemu",
        "gns3",
        "gns3a",
        "agent",
        "catalog",
        "catalogue",
        "config",
        "guest_settings",
        "labs",
    },
    "cli": {"ops", "config"},
    "gns3fy": {"gns3"},
    "library": {"ops", "config", "gns3", "gns3fy", "library_lab"},
    "library_lab": {"ops", "config", "gns3", "gns3fy"},
}
# Base modules know the standard library only; these parts may also use these distributions.
LIBRARIES: dict[str, set[str]] = {
    "formats": {"zlib_ng", "zstandard"},
    "images": {"docker", "requests", "urllib3", "zlib_ng", "zstandard"},
    "convert": {"zstandard"},
    "bundle": {"zlib_ng", "zstandard"},
    "gns3": {"aiohttp", "pydantic"},
    "gns3a": {"pydantic", "requests", "urllib3"},
    "agent": {"zstandard"},
    "catalog": {"pydantic"},
    "catalogue": {"pydantic"},
    "config": {"pydantic", "yaml"},
    "documents": {"pydantic", "yaml"},
    "guest_settings": {"pydantic"},
    "labs": {"pydantic"},
    "cli": {"click", "rich"},
    "gns3fy": {"gns3fy_next", "requests"},
}


def imports_of(path: Path) -> set[str]:
    """Absolute names of all modules that a file imports, anywhere in it but for names of types only."""
    found: set[str] = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = [ast.Pass()]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            found |= {f"{module}.{alias.name}" for alias in node.names} if module == "gns3_minivm" else {module}
    return found


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if part_of(path) != "__main__"]


def test_every_module_belongs_to_a_part_of_the_table() -> None:
    assert {part_of(path) for path in FILES} == BASE | PARTS
    assert set(MAY_IMPORT) == PARTS


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_what_its_part_may(path: Path) -> None:
    import sys

    part = part_of(path)
    for name in imports_of(path):
        first, _, rest = name.partition(".")
        if first == "gns3_minivm":
            target = rest.split(".")[0]
            allowed = BASE | ({part} | MAY_IMPORT[part] if part in PARTS else set())
            assert not target or target in allowed or target == "__version__", f"{part} imports {name}"
        else:
            standard = first in sys.stdlib_module_names
            assert standard or first in LIBRARIES.get(part, set()), f"{part} imports {name}"


def test_the_two_disk_formats_do_not_know_each_other() -> None:
    for one, other in (("ext4", "qcow2"), ("qcow2", "ext4")):
        for path in (PACKAGE / "formats" / one).glob("*.py"):
            assert not [name for name in imports_of(path) if f"formats.{other}" in name], path


def test_what_differs_between_the_api_versions_stays_below_gns3() -> None:
    for path in FILES:
        if part_of(path) != "gns3":
            assert not [n for n in imports_of(path) if n.startswith(("gns3_minivm.gns3.v2", "gns3_minivm.gns3.v3"))]


def test_every_folder_of_modules_is_in_the_wheel() -> None:
    settings = (PACKAGE.parent / "setup.cfg").read_text(encoding="utf-8")
    folders = {path.parent.relative_to(PACKAGE.parent).as_posix().replace("/", ".") for path in PACKAGE.rglob("*.py")}
    named = {line.strip() for line in settings.splitlines()}
    # In an installed wheel the kernel's and the appliances' folders are below the package.
    assert {folder for folder in folders if "._" not in folder} <= named
