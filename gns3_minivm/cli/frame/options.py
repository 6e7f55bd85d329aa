"""Options that several commands share, and the types of their values."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from gns3_minivm.cli.frame.session import Session
from gns3_minivm.template_settings.table import Row, TemplateSettings, rows

if TYPE_CHECKING:
    from gns3_minivm.gns3.address import Address
    from gns3_minivm.ops.kernels.bundles import KernelOrigin

F = TypeVar("F", bound=Callable[..., Any])

# Imported where they are used: aiohttp, pydantic and the others cost more time than `--help` should take.
pass_session = click.make_pass_decorator(Session)

FILE = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)


def _set(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def store(context: click.Context, _parameter: click.Parameter, value: Any) -> None:
        if value:
            setattr(context.find_object(Session), name, value)

    return store


def _set_cache(context: click.Context, _parameter: click.Parameter, value: Path | None) -> None:
    session = context.find_object(Session)
    if value and session:
        session.settings = dataclasses.replace(session.settings, cache_root=value)


def _set_cache_size(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    session = context.find_object(Session)
    if value and session:
        session.settings = dataclasses.replace(session.settings, cache_size=value)


@dataclass(frozen=True, kw_only=True)
class ServerChoice:
    """The servers that the user has named, and how far they are trusted."""

    urls: tuple[str, ...]
    ca_file: Path | None
    insecure: bool

    def addresses(self, url: str | None = None) -> tuple[Address, ...]:
        """Return the servers to use: ``url`` if given, else those of ``--server``.

        :raises UsageError: if an URL is not one of a server
        """
        from gns3_minivm.ops.overview import server_addresses

        return server_addresses((url,) if url else self.urls, ca_file=self.ca_file, verify=not self.insecure)


def _gather(command: F, name: str, make: Callable[..., Any], keys: tuple[str, ...]) -> F:
    """Give the command one argument ``name``, made from the options ``keys``, instead of these."""

    @functools.wraps(command)
    def gathered(*arguments: Any, **values: Any) -> Any:
        gathered_value = make(**{key: values.pop(key) for key in keys})
        return command(*arguments, **values, **{name: gathered_value})

    return gathered  # type: ignore[return-value]


def _apply(command: F, flags: list[Callable[[Any], Any]]) -> F:
    for flag in reversed(flags):
        command = flag(command)
    return command


def _add_appliances(context: click.Context, _parameter: click.Parameter, value: tuple[Path, ...]) -> None:
    session = context.find_object(Session)
    if value and session:
        # What the option names comes before what the environment names.
        folders = (*value, *session.settings.appliances)
        session.settings = dataclasses.replace(session.settings, appliances=folders)


def appliances(command: F) -> F:
    """Option --appliances, kept in the session's settings: the folders with the user's own appliances."""
    return click.option(
        "--appliances",
        type=click.Path(file_okay=False, path_type=Path),
        metavar="DIR",
        multiple=True,
        expose_value=False,
        callback=_add_appliances,
        help="A folder with appliances of your own; may be "
        "given several times (default: GNS3_MINIVM_APPLIANCES, then gns3-minivm/appliances in the user's "
        "data folder).",
    )(command)


def common(command: F) -> F:
    """Options of every command."""
    flags = [
        click.option("--json", is_flag=True, expose_value=False, callback=_set("as_json"),
                     help="Print JSON Lines: progress events, the result last."),
        click.option("--quiet", "-q", is_flag=True, expose_value=False, callback=_set("quiet"),
                     help="Show no progress."),
        click.option("--verbose", "-v", is_flag=True, expose_value=False, callback=_set("verbose"),
                     help="Show where in the program a defect occurred."),
        click.option("--cache", type=click.Path(file_okay=False, path_type=Path), metavar="DIR", expose_value=False,
                     callback=_set_cache, help="Folder for finished disks and kernels (default: GNS3_MINIVM_CACHE, "
                     "else gns3-minivm in the user's cache folder)."),
        click.option("--cache-size", metavar="SIZE", expose_value=False, callback=_set_cache_size,
                     help="Keep at most this much of them, as in 20G, or unlimited (default: GNS3_MINIVM_CACHE_SIZE, "
                     "else 20G)."),
    ]  # fmt: skip
    return _apply(command, flags)


def dry_run(command: F) -> F:
    """Option --dry-run, kept in the session's context: nothing is made or written."""
    return click.option("--dry-run", is_flag=True, expose_value=False, callback=_set("dry_run"),
                        help="Say what would be done, but change nothing.")(command)  # fmt: skip


def verify(command: F) -> F:
    return click.option(
        "--verify",
        is_flag=True,
        help="Read the image files on the servers back and compare them: "
        "finds damaged ones, and on API v3 missing ones. Takes as long as downloading them.",
    )(command)


def _keep(group: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    """Put an option's value into a group of the session: ``image`` or ``kernel``."""

    def store(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        session = context.find_object(Session)
        if session and parameter.name:
            getattr(session, group)[parameter.name] = value

    return store


_image = functools.partial(click.option, expose_value=False, callback=_keep("image"))
_kernel = functools.partial(click.option, expose_value=False, callback=_keep("kernel"))


def image(command: F) -> F:
    """Options for how an image is found, built and converted, kept in the session's context."""
    flags = [
        _image("--size", metavar="SIZE", help="Virtual size of the disk, as in 8G or 512M (default 8G)."),
        _image("--compression", type=click.Choice(["zstd", "zlib", "none"]), default="zstd", show_default=True,
               help="Compression inside the qcow2 file; zstd needs QEMU 5.1 on the server."),
    ]  # fmt: skip
    return _apply(command, [*flags, *_source_flags()])


def sources(command: F) -> F:
    """Options for where images are looked for, kept in the session's context."""
    return _apply(command, _source_flags())


def _source_flags() -> list[Callable[[Any], Any]]:
    return [
        _image("--rebuild", is_flag=True, help="Build the appliance's Dockerfile again from the start."),
        _image("--build-network", metavar="MODE", help="Network of the Docker build, as in docker build --network."),
        _image(
            "--registry",
            metavar="HOST[/PATH]",
            envvar="GNS3_MINIVM_REGISTRY",
            help="Where names without a registry are looked for after the Docker engine (default: the "
            "environment variable GNS3_MINIVM_REGISTRY, else registries.conf, else where the engine would look).",
        ),
        _image(
            "--registry-mirror",
            "registry_mirrors",
            metavar="HOST=MIRROR",
            multiple=True,
            envvar="GNS3_MINIVM_REGISTRY_MIRRORS",
            help="Ask MIRROR (HOST[/PATH]) before the registry HOST; "
            "may be given several times (default: GNS3_MINIVM_REGISTRY_MIRRORS, separated by spaces).",
        ),
        _image(
            "--insecure-registry",
            "insecure_registries",
            metavar="HOST",
            multiple=True,
            envvar="GNS3_MINIVM_INSECURE_REGISTRIES",
            help="Take http, or any certificate, from this registry "
            "(default: GNS3_MINIVM_INSECURE_REGISTRIES, separated by spaces).",
        ),
        appliances,
    ]


def template(command: F) -> F:
    """Settings of a template that replace the appliance's own; the command gets ``template_settings``."""
    found = rows("option")
    command = _gather(command, "template_settings", TemplateSettings, tuple(row.name for row in found))
    return _apply(command, [_setting(row) for row in found])


def _setting(row: Row) -> Callable[[Any], Any]:
    word = row.name.replace("_", "-")
    if row.kind is bool:
        return click.option(f"--{word}/--no-{word}", row.name, default=None, help=row.help)
    kind: click.ParamType[Any] | None = click.Choice(row.choices) if row.choices else None
    if row.kind is int:
        kind = click.IntRange(row.minimum, row.maximum)
    metavar = None if row.choices else row.unit or "N"
    return click.option(f"--{word}", row.name, type=kind, metavar=metavar, default=None, help=row.help)


def kernel(command: F) -> F:
    """Options for the kernel bundle, kept in the session's context."""
    flags = [
        _kernel("--kernel", "name", metavar="NAME", help="The kernel bundle: debian, monolithic, host or custom (the "
                "newest of that flavour), FLAVOUR:VERSION, or the start of its id, as gns3-minivm kernel list shows "
                "them (default: that of an installed gns3-minivm-kernel, else debian). debian and monolithic "
                "are built if they are missing."),
        _kernel("--deb", "debs", **_DEB),
    ]  # fmt: skip
    return _apply(command, flags)


_DEB: dict[str, Any] = {
    "type": FILE,
    "multiple": True,
    "metavar": "FILE",
    "help": "Make the kernel bundle from this package instead of asking apt (kernel or its source, busybox and e2fsck: "
    "name each).",
}


def kernel_origin(command: F) -> F:
    """What a kernel bundle is made of; the command gets ``origin``, a KernelOrigin."""
    keys = ("debs", "flavour", "container", "from_host", "vmlinuz", "modules")
    command = _gather(command, "origin", _kernel_origin, keys)
    flags = [
        click.option(
            "--flavour",
            type=click.Choice(["debian", "monolithic"]),
            default="debian",
            show_default=True,
            help="debian: the distribution's ready kernel. monolithic: one file with everything for network labs, "
            "compiled from the distribution's source (minutes).",
        ),
        click.option(
            "--container",
            metavar="IMAGE",
            help="Compile in a container of this Debian image (default: with "
            "this machine's tools; if it lacks some, in debian:bookworm-slim).",
        ),
        click.option(
            "--from-host", is_flag=True, help="Take the kernel that runs on this machine, from /boot and /lib/modules."
        ),
        click.option("--vmlinuz", type=FILE, metavar="FILE", help="Take this kernel image."),
        click.option(
            "--modules",
            type=click.Path(exists=True, file_okay=False, path_type=Path),
            metavar="DIR",
            help="The modules of that kernel, as at /lib/modules/VERSION; not needed if it has everything built in.",
        ),
        click.option("--deb", "debs", **_DEB),
    ]
    return _apply(command, flags)


def _kernel_origin(*, flavour: str, **values: Any) -> KernelOrigin:
    from gns3_minivm.ops.kernels.bundles import KernelOrigin

    return KernelOrigin(monolithic=flavour == "monolithic", **values)


def server(command: F) -> F:
    """Which servers, and how to trust them; the command gets ``servers``, a ServerChoice."""
    command = _gather(command, "servers", ServerChoice, ("urls", "ca_file", "insecure"))
    flags = [
        click.option("--server", "urls", multiple=True, metavar="URL", envvar="GNS3_MINIVM_SERVER",
                     help="A GNS3 server, as in http://user:password@host:3080; may be given several times. "
                     "Default: the environment variable GNS3_MINIVM_SERVER (several URLs are separated by spaces)."),
        click.option("--ca-file", type=FILE, metavar="FILE", help="Certificate authority of the server (PEM)."),
        click.option("--insecure", is_flag=True, help="Do not check the server's certificate."),
    ]  # fmt: skip
    return _apply(command, flags)
