"""Finds what keeps MiniVMs from working on one GNS3 server, and says what to do about it; changes nothing."""

from __future__ import annotations

import asyncio
import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from gns3_minivm.agent.desired import ZSTD_QEMU, is_ours
from gns3_minivm.agent.nodes import nodes_by_project
from gns3_minivm.base.architecture import X86_64
from gns3_minivm.base.artifacts import Artifact, FindArtifact
from gns3_minivm.base.errors import MiniVMError, ServerError
from gns3_minivm.base.plurals import counted
from gns3_minivm.base.versions import version_numbers, version_text
from gns3_minivm.gns3.address import Address
from gns3_minivm.gns3.model import (
    IMAGE_FIELDS,
    LOCAL_COMPUTE,
    SCRATCH_PROJECT,
    ComputeHealth,
    NodeTrial,
    QemuTemplate,
    Rights,
    ServerImage,
)
from gns3_minivm.gns3.server import Server

Level = Literal["ok", "unknown", "warning", "problem"]
"""The file that this machine has built under a name that servers have it by."""

_SCRATCH = re.escape(SCRATCH_PROJECT) + r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_UBRIDGE_HINT = (
    "If nodes do not start because ubridge is missing, install it there; the user of GNS3 must be in the group ubridge."
)
_FULL_DISK_PERCENT = 95
_FILLING_DISK_PERCENT = 85


@dataclass(frozen=True)
class Finding:
    """One thing that was checked; ``check`` is its stable name, ``hint`` what to do about it."""

    check: str
    level: Level
    message: str
    hint: str = ""

    def as_dict(self) -> dict[str, str]:
        return {"check": self.check, "level": self.level, "message": self.message, "hint": self.hint}


def failed(check: str, error: MiniVMError) -> Finding:
    """A check that could not be run, with the error's own words."""
    return Finding(check, "problem", error.message, error.hint)


async def check_server(
    server: Server, address: Address, find_artifact: FindArtifact, *, try_nodes: bool = False
) -> list[Finding]:
    """Everything that one server shows.  A check that fails is a finding and does not stop the others.

    With ``try_nodes`` a node is started on each compute for a moment.
    """
    findings = [Finding("version", "ok", f"GNS3 {server.version}, API v{server.generation}")]
    findings += [Finding("login", "warning", text) for text in server.warnings]
    findings += _connection(server, address)
    checks = (
        _rights(server),
        _raw_images(server),
        _computes(server, try_nodes),
        _ubridge(server) if not try_nodes else _nothing(),
        _images(server, find_artifact),
        _leftovers(server),
    )
    names = ("rights", "raw-images", "computes", "ubridge", "images", "projects")
    for name, found in zip(names, await asyncio.gather(*checks, return_exceptions=True), strict=True):
        if isinstance(found, MiniVMError):
            findings.append(failed(name, found))
        elif isinstance(found, BaseException):
            raise found
        else:
            findings += found
    return findings


def is_here(address: Address) -> bool:
    """Whether the server runs on this machine."""
    try:
        return ipaddress.ip_address(address.host).is_loopback
    except ValueError:
        return address.host == "localhost"


def _connection(server: Server, address: Address) -> Iterator[Finding]:
    if address.scheme == "https":
        if address.verify:
            yield Finding("tls", "ok", "TLS, and its certificate is trusted")
        else:
            hint = "Pass the signing authority's certificate with --ca-file instead of using --insecure."
            yield Finding("tls", "warning", "the server's certificate is not checked", hint)
    elif not is_here(address) and address.password is not None:
        hint = "Turn on TLS on the server (ssl, certfile and certkey in gns3_server.conf) and use https://."
        yield Finding("tls", "warning", "the password crosses the network unencrypted (http)", hint)
    if server.generation == 2 and address.username is None and not is_here(address):
        hint = "Set auth = True, user and password in gns3_server.conf on the server."
        yield Finding(
            "login", "warning", "the server requires no password: anyone who reaches it may do everything", hint
        )


async def _rights(server: Server) -> list[Finding]:
    rights: Rights = await server.rights()
    if rights.missing:
        hint = 'Ask the server\'s administrator for the roles "Template manager" and "User".'
        lacking = ", ".join(rights.missing)
        return [
            Finding("rights", "problem", f"the user {rights.username} does not have the privileges {lacking}", hint)
        ]
    if not rights.administrator:
        text = f"the user {rights.username} may create templates and projects, but is not an administrator"
        return [Finding("rights", "ok", text)]
    who = f"the user {rights.username}" if rights.username else "everybody"
    return [Finding("rights", "ok", f"{who} may do everything")]


async def _raw_images(server: Server) -> list[Finding]:
    allowed = await server.raw_images_allowed()
    if allowed is None:
        hint = "If an upload is refused, set allow_raw_images = True in the section [Server] of gns3_server.conf."
        return [
            Finding(
                "raw-images", "unknown", "whether kernels can be uploaded is unknown: the server does not tell", hint
            )
        ]
    if allowed:
        return [Finding("raw-images", "ok", "kernels and initial RAM disks can be uploaded")]
    hint = "The administrator must set allow_raw_images = True in the section [Server] of gns3_server.conf and restart."
    return [Finding("raw-images", "problem", "the server refuses kernels and initial RAM disks as images", hint)]


async def _nothing() -> list[Finding]:
    return []


async def _computes(server: Server, try_nodes: bool) -> list[Finding]:
    used = await server.default_compute()
    findings: list[Finding] = []
    for health in await server.compute_health():
        needed = health.compute.compute_id == used
        if try_nodes and not health.error:
            trial = await server.try_node(health.compute.compute_id)
            if health.qemu_versions is None and trial.qemu_version:
                health = replace(health, qemu_versions=(trial.qemu_version,))
            findings.append(_trial(f"compute {health.compute.name}", trial, needed=needed))
        findings += _compute(health, needed=needed)
    return findings


def _trial(name: str, trial: NodeTrial, *, needed: bool) -> Finding:
    if trial.ubridge:
        return Finding("ubridge", "ok", f"{name}: a node starts there, with ubridge")
    level: Level = "problem" if needed else "warning"
    if trial.ubridge is False:
        return Finding("ubridge", level, f"{name}: {trial.fault}", _UBRIDGE_HINT)
    fault = trial.fault or "it left no trace"
    return Finding("node", level, f"{name}: nodes do not start there: {fault}", "Look at the server's log.")


def _compute(health: ComputeHealth, *, needed: bool) -> Iterator[Finding]:
    name = f"compute {health.compute.name}"
    if health.error:
        hint = "Start it, or remove it from the server's list of computes."
        yield Finding("compute", "problem" if needed else "warning", f"{name} does not answer: {health.error}", hint)
        return
    yield _qemu(name, health.qemu_versions, needed=needed)
    yield _acceleration(name, health.kvm)
    used = health.disk_used_percent
    if used is None:
        yield Finding("disk-space", "unknown", f"{name} does not report how full its disk is")
        return
    level: Level = "ok"
    if used >= _FILLING_DISK_PERCENT:
        level = "problem" if used >= _FULL_DISK_PERCENT else "warning"
    hint = (
        ""
        if level == "ok"
        else "Free some space: delete old projects, snapshots and unused images (remove --delete-images)."
    )
    yield Finding("disk-space", level, f"{name}: its disk is {used} % full", hint)


def _qemu(name: str, versions: tuple[str, ...] | None, *, needed: bool) -> Finding:
    if versions is None:
        hint = (
            f"Disks need QEMU {version_text(ZSTD_QEMU)} or later there; for an older one register with "
            "--compression zlib. "
            "`gns3-minivm doctor --try` starts it to find out."
        )
        return Finding("qemu", "unknown", f"{name}: this API does not report the version of QEMU", hint)
    if not versions:
        hint = f"Install {X86_64.qemu_package} there."
        return Finding("qemu", "problem" if needed else "warning", f"{name} has no {X86_64.qemu_program}", hint)
    if any(() < version_numbers(version) < ZSTD_QEMU for version in versions):
        hint = "Update it, or register with --compression zlib."
        told = f"{name}: QEMU {', '.join(versions)} cannot read zstd disks ({version_text(ZSTD_QEMU)} can)"
        return Finding("qemu", "problem", told, hint)
    return Finding("qemu", "ok", f"{name}: QEMU {', '.join(versions)}")


def _acceleration(name: str, kvm: bool | None) -> Finding:
    if kvm is None:
        return Finding("acceleration", "unknown", f"{name} does not report whether it has KVM")
    if kvm:
        return Finding(
            "acceleration", "ok", f"{name} has /dev/kvm",
            "If guests still hang at their start, it does not work: set "
            "enable_hardware_acceleration = False in the section [Qemu] of gns3_server.conf.",
        )  # fmt: skip
    hint = "Turn on virtualisation in the machine's firmware, or nested virtualisation where it is a VM itself."
    return Finding("acceleration", "warning", f"{name} has no KVM: guests run many times slower", hint)


async def _ubridge(server: Server) -> list[Finding]:
    opened = [project for project in await server.projects() if project.status == "opened"]
    async for project, nodes in nodes_by_project(server, opened):
        for node in nodes:
            if node.status == "started" and node.node_type in ("qemu", "docker", "vpcs"):
                text = f"node {node.name} of project {project.name} is running, so ubridge is installed"
                return [Finding("ubridge", "ok", text)]
    hint = f"`gns3-minivm doctor --try` starts a node to find out. {_UBRIDGE_HINT}"
    return [
        Finding(
            "ubridge", "unknown", "no node is running, and the API does not report whether ubridge is installed", hint
        )
    ]


async def _images(server: Server, find_artifact: FindArtifact) -> list[Finding]:
    ours = [template.values for template in await server.templates() if is_ours(template) and template.values]
    findings: list[Finding] = []
    stores: dict[str, _Store] = {}
    for template in ours:
        compute_id = template.compute_id or LOCAL_COMPUTE
        # API v3 keeps all images on the server itself; what computes have are copies.
        place = compute_id if server.images_per_compute else LOCAL_COMPUTE
        try:
            stores[place] = stores.get(place) or await _Store.read(server, place)
        except ServerError as error:
            findings.append(failed("images", error))
            continue
        for name in _images_of(template):
            if (fault := await stores[place].fault(name, find_artifact(name))) is not None:
                text = f"template {template.name}: image {name} {fault.words}"
                findings.append(Finding("images", "problem", text, _sent_again(template.name, fault.listed)))
    if not findings:
        findings.append(
            Finding("images", "ok", f"{counted(len(ours), 'template')} made by gns3-minivm, all images present")
        )
    return findings


async def _leftovers(server: Server) -> list[Finding]:
    names = [project.name for project in await server.projects() if re.fullmatch(_SCRATCH, project.name)]
    hint = "Delete it, unless `gns3-minivm project export` is running right now."
    return [
        Finding("projects", "warning", f"project {name} is left over from an export that was killed", hint)
        for name in names
    ]


def _images_of(template: QemuTemplate) -> list[str]:
    return [name for name in (getattr(template, field) for field in IMAGE_FIELDS) if name]


def _sent_again(name: str, listed: bool) -> str:
    verify = " --verify" if listed else ""
    return f"Run `gns3-minivm sync{verify}`, or `gns3-minivm register {name}{verify}`, which sends it again."


@dataclass(frozen=True)
class _Fault:
    """What is wrong with an image, and whether the server lists it all the same, so that only a close look shows it."""

    words: str
    listed: bool


@dataclass(frozen=True)
class _Store:
    """The images of one server or compute: as listed, and as they lie on its disk."""

    server: Server
    compute_id: str
    listed: dict[str, ServerImage]
    on_disk: dict[str, ServerImage]

    @classmethod
    async def read(cls, server: Server, compute_id: str) -> _Store:
        listed, on_disk = await asyncio.gather(server.images(compute_id), server.disk_images(compute_id))
        return cls(server, compute_id, {i.filename: i for i in listed}, {i.filename: i for i in on_disk})

    async def fault(self, name: str, artifact: Artifact | None) -> _Fault | None:
        """What is wrong with an image; None if nothing is seen."""
        listed, there = self.listed.get(name), self.on_disk.get(name)
        if there is None:
            return _Fault("is missing on the server's disk", True) if listed else _Fault("is missing", False)
        if listed is None:
            return _Fault("is on the server's disk but missing in its database", False)
        right = artifact is not None and (there.size_bytes, there.md5) == (artifact.size_bytes, artifact.md5)
        # API v3 keeps a record that does not change with the file.
        if _differ(listed.md5, there.md5) or (_differ(listed.size_bytes, there.size_bytes) and not right):
            return _Fault(f"is damaged: {_shown(there)} on the disk, {_shown(listed)} when it arrived", True)
        if artifact and not right:
            # Listed checksums go stale.
            same_size = there.size_bytes == artifact.size_bytes
            if not same_size or await self.server.image_md5(name, self.compute_id) != artifact.md5:
                meant = f"{artifact.size_bytes} bytes, md5 {artifact.md5}"
                return _Fault(f"is damaged: {_shown(there)}, not {meant}", True)
        return None


def _differ(one: object, other: object) -> bool:
    return one is not None and other is not None and one != other


def _shown(image: ServerImage) -> str:
    return f"{image.size_bytes} bytes, md5 {image.md5}"
