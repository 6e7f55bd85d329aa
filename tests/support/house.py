"""The rooms of the code: what each is for, which others it may import, and which libraries.

The one table of it: ``tests/unit/house/test_imports.py`` holds every import against it, those under TYPE_CHECKING
included, and ``python -m tests.support.reference`` writes it into docs/internals/architecture.md.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "gns3_minivm"
BASE = "base"
"""The room that all others may import."""


@dataclass(frozen=True)
class Room:
    """``may_import`` names rooms, or single modules of rooms; ``libraries`` are imported names."""

    does: str
    may_import: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()


def _room(does: str, may_import: str = "", libraries: str = "") -> Room:
    return Room(does, tuple(may_import.split()), tuple(libraries.split()))


ROOMS: dict[str, Room] = {
    "base": _room(
        "error tree, architectures, progress events, artifacts, cache, cancelling, locks, running programs; work for "
        "many things at once, threads that bring something in"
    ),
    "documents": _room("YAML with the place of every value, and mistakes told with it", "", "pydantic yaml"),
    "settings": _room("user settings: files, environment"),
    "guest": _room("the contract with the guest: command line, payload, commands run in it"),
    "guest.settings": _room(
        "a node's settings in YAML, and the payload that they become", "guest documents", "pydantic"
    ),
    "template_settings": _room("the settings of a template, in one table", "guest"),
    "template_settings.keys": _room(
        "keys of files and fields of replies, made of the table", "template_settings", "pydantic"
    ),
    "appliances": _room("reads `appliances/*/`", "documents template_settings template_settings.keys", "pydantic"),
    "catalogue": _room(
        "reads catalogue files: servers, and what each of them should have",
        "documents template_settings template_settings.keys",
        "pydantic",
    ),
    "formats": _room("what the formats share: file tree, contents, sinks; cpio, ar, raw disks"),
    "formats.tar": _room("tar layers -> file tree", "formats"),
    "formats.ext4": _room("file tree -> ext4, and the reader", "formats"),
    "formats.qcow2": _room("blocks -> qcow2, and the reader", "", "zlib_ng zstandard"),
    "images": _room(
        "where images come from: names resolved, the embedded busybox; model, OCI configuration, unpacking",
        "appliances formats formats.tar guest images.engine images.files images.registry",
        "zlib_ng zstandard",
    ),
    "images.registry": _room("images of registries", "images", "requests urllib3"),
    "images.files": _room(
        "images in files: archives, OCI layouts, root tar files", "formats.tar guest images images.registry"
    ),
    "images.engine": _room(
        "images of a Docker engine; builds and containers there",
        "images images.files.archive images.registry.reference",
        "docker requests urllib3",
    ),
    "convert": _room(
        "image -> disk artifact: the pipeline and its cache; disks inspected",
        "formats formats.tar formats.ext4 formats.qcow2 guest images",
    ),
    "bundle": _room(
        "kernel bundle: init, initramfs, module disk, manifest, wheels of bundles",
        "bundle.modules bundle.packages bundle.source formats formats.ext4 formats.qcow2 guest",
        "zlib_ng zstandard",
    ),
    "bundle.modules": _room("kernel modules: dependencies, aliases, the order of loading"),
    "bundle.packages": _room("the packages that a bundle is made of", "bundle.model formats", "zstandard"),
    "bundle.source": _room("the kernel that is compiled", "bundle bundle.packages"),
    "qemu": _room("runs the same guest locally: acceleration probe, command line as GNS3 forms it, console", "guest"),
    "gns3": _room(
        "one GNS3 server in our words, API v2 and v3 alike; several at once; project files",
        "gns3.v2.server gns3.v3.server template_settings template_settings.keys",
        "aiohttp pydantic zstandard",
    ),
    "gns3.v2": _room("what is API v2's own", "gns3"),
    "gns3.v3": _room("what is API v3's own", "gns3", "pydantic"),
    "gns3a": _room("GNS3's appliance files: model, reader, writer, downloads", "", "pydantic requests urllib3"),
    "agent": _room(
        "templates and images of servers: desired state, observe, plan, apply; checkup, uses of images", "gns3"
    ),
    "labs": _room(
        "lab files: their model, what a server has of them, the difference, and how it is made good",
        "agent documents gns3 guest guest.settings labs.canvas labs.written.junit template_settings "
        "template_settings.keys",
        "pydantic",
    ),
    "labs.canvas": _room("what a lab looks like: layout, drawings, pictures", "gns3 labs.model"),
    "labs.containerlab": _room("containerlab topologies as labs", "documents guest labs", "pydantic"),
    "labs.written": _room(
        "files written from a lab: lab files, inventories, test reports",
        "documents gns3 guest labs.canvas labs.model template_settings",
    ),
    "ops": _room(
        "one async function for each thing a user can ask for",
        "agent appliances bundle convert gns3 guest guest.settings images images.engine images.registry ops.kernels "
        "template_settings ops.templates qemu settings",
    ),
    "ops.kernels": _room(
        "operations on kernel bundles", "bundle bundle.packages bundle.source images.engine ops.context settings"
    ),
    "ops.templates": _room(
        "operations on templates: register, sync, status, remove, and what they share",
        "agent appliances bundle catalogue convert gns3 guest images images.engine ops.context ops.kernels "
        "template_settings",
    ),
    "ops.gns3a": _room(
        "operations on GNS3's appliance files",
        "agent appliances bundle convert gns3 gns3a images images.registry ops.context ops.kernels ops.templates "
        "template_settings",
    ),
    "ops.labs": _room(
        "operations on labs",
        "agent appliances gns3 guest images labs labs.canvas labs.containerlab labs.written "
        "ops.context ops.project ops.templates",
    ),
    "cli": _room(
        "the commands: each calls one operation and shows what it returns",
        "cli.frame cli.show convert.report guest.contract ops ops.gns3a ops.kernels ops.templates settings "
        "template_settings",
        "click",
    ),
    "cli.frame": _room(
        "what commands share: session, options, progress, the top-level handler",
        "gns3.address ops.context ops.kernels ops.overview settings template_settings",
        "click rich",
    ),
    "cli.show": _room(
        "results as text for people",
        "agent.plan appliances bundle.model labs.plan ops ops.kernels ops.labs ops.templates",
    ),
    "cli.labs": _room(
        "the commands of `gns3-minivm lab`",
        "cli.frame cli.project cli.show guest.exec labs.checks ops ops.labs",
        "click",
    ),
    "api": _room(
        "the same for programs: `gns3_minivm.Agent` and its labs; a connector for gns3fy, an extra",
        "gns3 guest.exec ops ops.gns3a ops.kernels ops.labs ops.templates settings template_settings",
        "gns3fy_next requests",
    ),
    "__init__": _room("`gns3_minivm.Agent` and the version", "api"),
    "__main__": _room("`python -m gns3_minivm`", "cli"),
}


@dataclass(frozen=True)
class Import:
    """``target`` is a module of ours as a dotted name below the package, or a library's name with ``ours`` False."""

    target: str
    ours: bool
    line: int


def modules() -> list[Path]:
    """All modules of the package."""
    return sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    """The dotted name of a module below the package; a package's own module has the package's name."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


def room_of(name: str) -> str:
    """The room of a module or name: the longest one of the table that it begins with; "" for none."""
    parts = name.split(".")
    candidates = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((candidate for candidate in candidates if candidate in ROOMS), "")


def imports_of(path: Path) -> list[Import]:
    """All that a file imports, anywhere in it, for names of types as well."""
    found: list[Import] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{path}:{node.lineno}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            first, _, rest = name.partition(".")
            ours = first == "gns3_minivm"
            found.append(Import(_module(rest) if ours else first, ours, node.lineno))
    return found


def _module(name: str) -> str:
    """The module in which a name of ours is: of ``base.cache.Cache`` it is ``base.cache``."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        place = PACKAGE.joinpath(*parts[:length])
        if place.is_dir() or place.with_suffix(".py").is_file():
            return ".".join(parts[:length])
    return "__init__"


def may_import(room: str, target: str) -> bool:
    """Whether modules of a room may import a module of ours."""
    if target == "__init__":  # the version
        return True
    there = room_of(target)
    return there in (room, BASE, *ROOMS[room].may_import) or target in ROOMS[room].may_import


def table() -> str:
    """The rooms as a table in Markdown."""
    lines = ["| room | does | may import, beside `base` | libraries |", "| --- | --- | --- | --- |"]
    for name, room in ROOMS.items():
        shown = (" ".join(f"`{item}`" for item in items) for items in (room.may_import, room.libraries))
        lines.append(f"| `{name}` | {room.does} | {' | '.join(shown)} |")
    return "\n".join(lines)
