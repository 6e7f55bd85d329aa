"""Results as text for people; ``--json`` shows the same results' ``as_dict``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gns3_minivm.base.plurals import counted
from gns3_minivm.base.sizes import size

if TYPE_CHECKING:
    from gns3_minivm.appliances import Appliance
    from gns3_minivm.base.errors import MiniVMError
    from gns3_minivm.bundle.model import Bundle
    from gns3_minivm.ops.boot import BootResult
    from gns3_minivm.ops.disk import ConvertResult
    from gns3_minivm.ops.kernels.bundles import BuildResult
    from gns3_minivm.ops.kernels.newer import Newer
    from gns3_minivm.ops.kernels.pack import PackResult
    from gns3_minivm.ops.overview import EngineDescription, ServerDescription


def pending_lines(steps: Sequence[str]) -> list[str]:
    return [f"would first {step}; the rest is known after that" for step in steps]


def short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def warning_lines(warnings: Sequence[str], url: str) -> list[str]:
    """Warnings about a server, to stand below the line that names it, without its URL."""
    return [f"  {'warning':10} {warning.removeprefix(f'{url}: ')}" for warning in warnings]


def error_lines(error: MiniVMError, place: str = "") -> list[str]:
    """Message and hint; ``place`` says where it happened, if the message does not."""
    lines = [f"error: {place}: {error.message}" if place else f"error: {error.message}"]
    return [*lines, f"hint: {error.hint}"] if error.hint else lines


def converted(result: ConvertResult) -> str:
    if result.pending:
        return "\n".join([*pending_lines(result.pending), "dry run: nothing was written"])
    if result.artifact is None:
        found = "is in the cache" if result.cached else "would be converted"
        return f"{result.image}: {found}, to {result.output}\ndry run: nothing was written"
    artifact = result.artifact
    return (
        f"{result.output}: {size(artifact.size_bytes)}, from {result.image}{' (cache)' if result.cached else ''}\n"
        f"md5 {artifact.md5}\nsha256 {artifact.sha256}\nin {result.elapsed_s:.1f} s"
    )


def booted(result: BootResult) -> str:
    if result.pending:
        return "\n".join(pending_lines(result.pending))
    if result.output is not None:
        return result.output
    return result.command_line if result.dry_run else ""


def bundle_built(result: BuildResult) -> str:
    if result.bundle is None:
        return "would build a kernel bundle\ndry run: nothing was written"
    how = f"built in {result.elapsed_s:.1f} s" if result.built else "nothing to do"
    return f"{_bundle(result.bundle)}\n{how}"


def bundles(found: Sequence[Bundle], newer: Sequence[Newer] = ()) -> str:
    lines = [_bundle(bundle) for bundle in found] or ["none yet: gns3-minivm kernel build"]
    for one in newer:
        flavour = "" if one.flavour == "debian" else f" --flavour {one.flavour}"
        lines.append(f"newer for {one.flavour}: {one.text}; gns3-minivm kernel build{flavour} --rebuild")
    return "\n".join(lines)


def packed(result: PackResult) -> str:
    if result.dry_run:
        return f"{result.wheel}: would be written\ndry run: nothing was written"
    return f"{result.wheel}: {size(result.size_bytes)}\npip install {result.wheel}"


def _bundle(bundle: Bundle) -> str:
    files = ", ".join(f"{artifact.filename} ({size(artifact.size_bytes)})" for artifact in bundle.artifacts)
    installed = ", installed with pip" if bundle.is_installed else ""
    return f"{bundle.flavour} {bundle.kernel_version}: {files}{installed}"


def appliances(found: Sequence[Appliance]) -> str:
    width = max((len(appliance.name) for appliance in found), default=0)
    rows = ((appliance, appliance.settings) for appliance in found)
    return "\n".join(
        f"{a.name:{width}}  {s.ram:5} MB  {counted(s.adapters or 0, 'adapter'):>11}  {a.description}" for a, s in rows
    )


def servers(found: Sequence[ServerDescription]) -> str:
    lines = []
    for server in found:
        if server.error is None:
            computes = ", ".join(server.computes) or "none"
            lines.append(
                f"{server.url}: GNS3 {server.version}, computes: {computes}, {counted(server.templates, 'template')}"
            )
            lines += warning_lines(server.warnings, server.url)
    return "\n".join(lines)


def not_answering(found: Sequence[ServerDescription]) -> str:
    """The errors, for standard error; empty if there were none."""
    return "\n".join(line for server in found if server.error for line in error_lines(server.error))


def engine(found: EngineDescription) -> str:
    return f"Docker engine {found.version} at {found.url}"
