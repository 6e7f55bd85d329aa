"""Options that several commands share, and the types of their values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from gns3_minivm.cli.session import Session

F = TypeVar("F", bound=Callable[..., Any])

FILE = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)


def _set(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def store(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        if value:
            setattr(context.find_object(Session), name, value)

    return store


def _set_cache(context: click.Context, parameter: click.Parameter, value: Path | None) -> None:
    session = context.find_object(Session)
    if value and session:
        session.settings = type(session.settings)(cache_root=value)


def common(command: F) -> F:
    """Options of every command."""
    flags = [
        click.option("--json", is_flag=True, expose_value=False, callback=_set("as_json"),
                     help="Print JSON Lines: progress events, the result last."),
        click.option("--quiet", "-q", is_flag=True, expose_value=False, callback=_set("quiet"),
                     help="Show no progress."),
        click.option("--verbose", "-v", is_flag=True, expose_value=False, callback=_set("verbose"),
                     help="Show where in the program a defect happened."),
        click.option("--cache", type=click.Path(file_okay=False, path_type=Path), metavar="DIR", expose_value=False,
                     callback=_set_cache, help="Folder for finished disks and kernels (default: GNS3_MINIVM_CACHE, "
                     "else gns3-minivm in the user's cache folder)."),
    ]  # fmt: skip
    for flag in reversed(flags):
        command = flag(command)
    return command


def dry_run(command: F) -> F:
    return click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")(command)


def image(command: F) -> F:
    """How an image is built and converted."""
    flags = [
        click.option("--size", metavar="SIZE", help="Virtual size of the disk, as in 8G or 512M (default 8G)."),
        click.option("--compression", type=click.Choice(["zstd", "zlib", "none"]), default="zstd", show_default=True,
                     help="Compression inside the qcow2 file; zstd needs QEMU 5.1 on the server."),
        click.option("--rebuild", is_flag=True, help="Build the appliance's Dockerfile again from the start."),
        click.option("--build-network", metavar="MODE", help="Network of the Docker build, as in docker build "
                     "--network."),
        click.option("--registry", metavar="HOST[/PATH]", envvar="GNS3_MINIVM_REGISTRY",
                     help="Where names without a registry are looked for after the Docker engine (default: the "
                     "environment variable GNS3_MINIVM_REGISTRY; without it, nowhere)."),
        click.option("--registry-mirror", "registry_mirrors", metavar="HOST=MIRROR", multiple=True,
                     envvar="GNS3_MINIVM_REGISTRY_MIRRORS", help="Ask MIRROR (HOST[/PATH]) before the registry HOST; "
                     "may be given several times (default: GNS3_MINIVM_REGISTRY_MIRRORS, separated by spaces)."),
        click.option("--insecure-registry", "insecure_registries", metavar="HOST", multiple=True,
                     envvar="GNS3_MINIVM_INSECURE_REGISTRIES", help="Take http, or any certificate, from this registry "
                     "(default: GNS3_MINIVM_INSECURE_REGISTRIES, separated by spaces)."),
    ]  # fmt: skip
    for flag in reversed(flags):
        command = flag(command)
    return command


def template(command: F) -> F:
    """Settings of a template that replace the appliance's own."""
    flags = [
        click.option("--ram", type=click.IntRange(min=32), metavar="MB", help="Memory."),
        click.option("--cpus", type=click.IntRange(1, 255), metavar="N", help="Virtual CPUs."),
        click.option("--adapters", type=click.IntRange(0, 275), metavar="N", help="Network adapters."),
        click.option("--kernel-args", metavar="WORDS", default=None,
                     help="Words for the end of the kernel command line (kernel/CONTRACT.md lists them)."),
    ]  # fmt: skip
    for flag in reversed(flags):
        command = flag(command)
    return command


def kernel(command: F) -> F:
    return click.option("--deb", "debs", type=FILE, multiple=True, metavar="FILE",
                        help="Make the kernel bundle from this package instead of asking apt (kernel, busybox and "
                        "e2fsck: name each).")(command)  # fmt: skip


def server(command: F) -> F:
    """Which servers, and how to trust them."""
    flags = [
        click.option("--server", "servers", multiple=True, metavar="URL", envvar="GNS3_MINIVM_SERVER",
                     help="A GNS3 server, as in http://user:password@host:3080; may be given several times. "
                     "Default: the environment variable GNS3_MINIVM_SERVER (several URLs are separated by spaces)."),
        click.option("--ca-file", type=FILE, metavar="FILE", help="Certificate authority of the server (PEM)."),
        click.option("--insecure", is_flag=True, help="Do not check the server's certificate."),
    ]  # fmt: skip
    for flag in reversed(flags):
        command = flag(command)
    return command
