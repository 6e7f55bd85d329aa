"""``doctor``: finds what keeps MiniVMs from working, on this machine and on GNS3 servers, and says what to do."""

from __future__ import annotations

import asyncio
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gns3_minivm import __version__
from gns3_minivm.agent.checkup import Finding, check_server, failed, is_here
from gns3_minivm.base.architecture import X86_64
from gns3_minivm.base.cache import Cache
from gns3_minivm.base.cancel import run_blocking
from gns3_minivm.base.errors import EngineError, MiniVMError
from gns3_minivm.base.events import Events
from gns3_minivm.base.sizes import binary_size
from gns3_minivm.gns3.address import Address
from gns3_minivm.gns3.on_each import on_each
from gns3_minivm.gns3.server import Server
from gns3_minivm.ops.context import RunContext
from gns3_minivm.ops.kernels.bundles import find_chosen
from gns3_minivm.ops.kernels.choice import KernelChoice
from gns3_minivm.ops.overview import describe_engine
from gns3_minivm.ops.templates.cached_files import artifact_finder
from gns3_minivm.qemu.command import PROGRAM
from gns3_minivm.qemu.probe import acceleration_works

_SCARCE_BYTES = 2_000_000_000


@dataclass(frozen=True)
class Examined:
    """One place that was checked: "this machine" or a server's URL."""

    place: str
    findings: tuple[Finding, ...]

    def as_dict(self) -> dict[str, Any]:
        return {"place": self.place, "findings": [finding.as_dict() for finding in self.findings]}


@dataclass(frozen=True)
class Diagnosis:
    places: tuple[Examined, ...]

    @property
    def problems(self) -> int:
        return sum(finding.level == "problem" for place in self.places for finding in place.findings)

    @property
    def exit_status(self) -> int:
        """0 if there is no problem (warnings do not count), else 1."""
        return 1 if self.problems else 0

    def as_dict(self) -> dict[str, Any]:
        return {"problems": self.problems, "places": [place.as_dict() for place in self.places]}


async def examine(servers: Sequence[Address], context: RunContext, *, try_nodes: bool = False) -> Diagnosis:
    """Check this machine and every server at once.

    Nothing is changed; with ``try_nodes`` each server gets a project with a node for a moment.
    """
    cache = Cache(context.settings.cache_root)
    find_artifact = await run_blocking(artifact_finder, cache)
    by_url = {address.url: address for address in servers}

    async def one(server: Server) -> list[Finding]:
        with context.events.step(f"Check {server.url}"):
            found = await check_server(server, by_url[server.url], find_artifact, try_nodes=try_nodes)
        return [_seen_from_here(finding) for finding in found] if is_here(by_url[server.url]) else found

    here, outcomes = await asyncio.gather(_this_machine(cache, context.events), on_each(servers, one))
    places = [Examined("this machine", tuple(here))]
    for outcome in outcomes:
        found = outcome.value or ([failed("connection", outcome.error)] if outcome.error else [])
        places.append(Examined(outcome.address.url, tuple(found)))
    return Diagnosis(tuple(places))


def _seen_from_here(finding: Finding) -> Finding:
    """Facts about a server on this machine that the server does not report and this machine shows."""
    if (finding.check, finding.level) != ("ubridge", "unknown"):
        return finding
    path = shutil.which("ubridge")
    if path:
        return Finding("ubridge", "ok", f"{path} is installed on this machine")
    return Finding("ubridge", "warning", "ubridge is not in this user's PATH on this machine", finding.hint)


async def _this_machine(cache: Cache, events: Events) -> list[Finding]:
    with events.step("Check this machine"):
        findings = [Finding("version", "ok", f"gns3-minivm {__version__}, Python {platform.python_version()}")]
        findings.append(await _engine())
        findings.append(await run_blocking(_kernel, cache))
        findings.append(await run_blocking(_room, cache))
        findings += await _qemu(cache)
    return findings


async def _engine() -> Finding:
    try:
        engine = await describe_engine()
    except EngineError as error:
        hint = f"The engine is only needed to build appliances and for images in it. {error.hint}"
        return Finding("docker", "warning", error.message, hint)
    return Finding("docker", "ok", f"Docker engine {engine.version} at {engine.url}")


def _kernel(cache: Cache) -> Finding:
    try:
        bundle = find_chosen(cache, KernelChoice())
    except MiniVMError as error:
        return failed("kernel", error)
    if bundle is not None:
        place = "was installed with pip" if bundle.is_installed else "is in the cache"
        return Finding("kernel", "ok", f"kernel {bundle.kernel_version} ({bundle.flavour}) {place}")
    if shutil.which("apt-get"):
        return Finding("kernel", "ok", "no kernel bundle yet; apt-get can get its packages")
    hint = (
        "Install a ready kernel, `pip install gns3-minivm-kernel`, or name the kernel's packages with --deb when you "
        "register (docs/use/kernel.md)."
    )
    return Finding("kernel", "problem", "no kernel bundle yet, and no apt-get to get its packages with", hint)


def _room(cache: Cache) -> Finding:
    folder = cache.root
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not os.access(folder, os.W_OK):
        return Finding(
            "cache", "problem", f"the cache {cache.root} cannot be written", "Choose another folder with --cache."
        )
    free = shutil.disk_usage(folder).free
    text = f"the cache {cache.root}: {binary_size(free)} free"
    if free < _SCARCE_BYTES:
        return Finding("cache", "warning", text, "Free some space, or choose another folder with --cache.")
    return Finding("cache", "ok", text)


async def _qemu(cache: Cache) -> list[Finding]:
    path = shutil.which(PROGRAM)
    if path is None:
        hint = f"Run `sudo apt install {X86_64.qemu_package}`; only `gns3-minivm boot` and a local GNS3 server need it."
        return [Finding("qemu", "warning", f"{PROGRAM} is not installed", hint)]
    version = await run_blocking(_version_of, path)
    findings = [Finding("qemu", "ok", f"{PROGRAM} {version}")]
    bundle = await run_blocking(find_chosen, cache, KernelChoice())
    if bundle is None:
        hint = "Run `gns3-minivm kernel build`, then `gns3-minivm doctor` again."
        findings.append(Finding("acceleration", "unknown", "KVM can only be checked with a kernel bundle", hint))
    elif await acceleration_works(path, bundle.kernel.path, cache.root):
        findings.append(Finding("acceleration", "ok", "KVM works here"))
    else:
        has = "/dev/kvm exists but does not work" if Path("/dev/kvm").exists() else "there is no /dev/kvm"
        hint = "Guests run without KVM, but many times slower."
        findings.append(Finding("acceleration", "warning", has, hint))
    return findings


def _version_of(program: str) -> str:
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=30, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return "(version unknown)"
    match = re.search(r"version (\S+)", said)
    return match[1] if match else "(version unknown)"
