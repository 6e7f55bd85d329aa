"""``boot``: the guest of an image, or of a template on a server, under the local QEMU."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gns3_minivm.base.cache import Cache
from gns3_minivm.base.cancel import run_blocking
from gns3_minivm.base.errors import (
    ConflictError,
    GuestError,
    NotFoundError,
    UnsupportedServerError,
    UploadError,
    UsageError,
)
from gns3_minivm.base.events import Events
from gns3_minivm.bundle.build import list_bundles
from gns3_minivm.convert.pipeline import list_disks
from gns3_minivm.gns3.address import Address
from gns3_minivm.gns3.detect import connect
from gns3_minivm.gns3.model import IMAGE_FIELDS, LOCAL_COMPUTE, QemuTemplate, ServerImage
from gns3_minivm.gns3.server import Server
from gns3_minivm.guest.contract import with_machine
from gns3_minivm.guest.exec import ExecRequest
from gns3_minivm.guest.payload import NODE_FILE_NAME, qemu_option
from gns3_minivm.guest.settings import read_settings
from gns3_minivm.ops.context import RunContext
from gns3_minivm.ops.templates.sources import NotYet, Workshop
from gns3_minivm.ops.templates.template import describe
from gns3_minivm.qemu.command import GuestMachine, command_line, find_qemu
from gns3_minivm.qemu.probe import acceleration_works
from gns3_minivm.qemu.run import POWER_OFF_LIMIT_S, Guest, attach, prepare_overlay, running
from gns3_minivm.template_settings.table import TemplateSettings

ANSWER_LIMIT_S = 180.0
COMMAND_LIMIT_S = 300.0


@dataclass(frozen=True, kw_only=True)
class BootRequest:
    """Either ``image``, or ``template`` and one server.  ``command`` is a line for the guest's shell."""

    image: str | None = None
    template: str | None = None
    servers: tuple[Address, ...] = ()
    command: str | None = None
    keep: Path | None = None
    node_settings: Path | None = None
    """A YAML file with the node's own settings."""
    settings: TemplateSettings = field(default_factory=TemplateSettings)


@dataclass(frozen=True, kw_only=True)
class BootResult:
    """``output`` and ``status`` are the answer of the request's command, None without one.

    ``pending`` lists steps that must come first for a dry run to know the command line, which is empty until then.
    """

    command_line: str
    accelerated: bool
    output: str | None
    status: int | None
    dry_run: bool
    pending: tuple[str, ...] = ()

    @property
    def exit_status(self) -> int:
        return self.status or 0

    def as_dict(self) -> dict[str, Any]:
        return {
            "command_line": self.command_line,
            "accelerated": self.accelerated,
            "output": self.output,
            "status": self.status,
            "dry_run": self.dry_run,
            "pending": list(self.pending),
        }


async def boot(request: BootRequest, context: RunContext) -> BootResult:
    """Run a guest until it is off, with its console on this terminal or a command run in it.

    Raises UsageError, ToolError (no QEMU), GuestError (it does not answer), and what finding its disk raises.
    """
    if (request.image is None) == (request.template is None):
        wrong = "no image or template is named" if request.image is None else "both an image and a template are named"
        raise UsageError(wrong, hint="Name an appliance or image, or a template with --template NAME --server URL.")
    qemu = find_qemu()
    cache = context.settings.open_cache()
    payload = (await run_blocking(read_settings, request.node_settings)).encode() if request.node_settings else None
    async with AsyncExitStack() as stack:
        if request.image is not None:
            try:
                machine = await _machine_of_image(request, context)
            except NotYet as first:
                return BootResult(
                    command_line="", accelerated=False, output=None, status=None, dry_run=True, pending=(first.step,)
                )
        else:
            machine = await stack.enter_async_context(_machine_of_template(request, cache, context.events))
        if payload is not None:
            machine = stack.enter_context(_handed_over(machine, payload, None if context.dry_run else cache))
        accelerated = await acceleration_works(qemu, machine.kernel, context.settings.cache_root)
        shown = shlex.join(command_line(machine, qemu=qemu, accelerated=accelerated))
        if context.dry_run:
            return BootResult(command_line=shown, accelerated=accelerated, output=None, status=None, dry_run=True)
        await run_blocking(prepare_overlay, machine)
        async with running(machine, qemu, accelerated=accelerated) as guest:
            if request.command is None:
                await attach(guest)
                await guest.wait(POWER_OFF_LIMIT_S)
                return BootResult(command_line=shown, accelerated=accelerated, output=None, status=None, dry_run=False)
            output, status = await _run_command(guest, request.command, machine.name, context.events)
            with context.events.step("Power off"):
                await guest.power_off()
            return BootResult(
                command_line=shown, accelerated=accelerated, output=output.rstrip("\n"), status=status, dry_run=False
            )


@contextmanager
def _handed_over(machine: GuestMachine, payload: bytes, cache: Cache | None) -> Iterator[GuestMachine]:
    """The machine with a payload, which lies in the cache while it runs; without a cache it is only named."""
    with ExitStack() as stack:
        path = Path(NODE_FILE_NAME)
        if cache is not None:
            path = stack.enter_context(cache.scratch()) / NODE_FILE_NAME
            # It may hold passwords and keys.
            path.touch(mode=0o600)
            path.write_bytes(payload)
        yield replace(machine, options=f"{machine.options} {qemu_option(str(path))}")


async def _run_command(guest: Guest, command: str, name: str, events: Events) -> tuple[str, int]:
    """What a command writes to its two outputs, in the order of its arrival, and its exit status."""
    output = bytearray()
    async with guest.commands() as commands:
        with events.step(f"Boot {name}"):
            state = await commands.hello(ANSWER_LIMIT_S)
        if state.state == "recovery":
            raise GuestError(
                f"{name} shows a shell in place of its main program, so the command was not run",
                hint="Look at its console: run `gns3-minivm boot` without --run.",
            )
        request = ExecRequest(shell=command)
        result = await commands.run(
            request, timeout_s=COMMAND_LIMIT_S, on_output=lambda _channel, data: output.extend(data)
        )
    if result.failure:
        raise GuestError(f"the command did not start in the guest: {result.failure}")
    return output.decode("utf-8", "replace"), result.exit_status


async def _machine_of_image(request: BootRequest, context: RunContext) -> GuestMachine:
    assert request.image is not None
    workshop = Workshop(context)
    try:
        bundle = await workshop.bundle()
        source = await workshop.find(request.image)
        disk = await workshop.disk(source)
        template = describe(source, bundle, request.settings).template
    finally:
        workshop.close()
    paths = {artifact.filename: artifact.path for artifact in (*bundle.artifacts, disk)}
    return _machine(template, paths, request)


@asynccontextmanager
async def _machine_of_template(request: BootRequest, cache: Cache, events: Events) -> AsyncIterator[GuestMachine]:
    """What a server would start for a template: its settings, and files with the bytes that it has."""
    if len(request.servers) != 1:
        raise UsageError(
            f"--template needs exactly one server, but {len(request.servers)} are named",
            hint="Add --server http://user:password@host:3080, or set GNS3_MINIVM_SERVER.",
        )
    async with await connect(request.servers[0]) as server:
        template = _changed(await _find_template(server, request.template or ""), request.settings)
        images = {image.filename: image for image in await server.images(template.compute_id or LOCAL_COMPUTE)}
        with cache.scratch() as scratch:
            paths = {
                name: await _same_file(server, images.get(name), name, cache, scratch, events)
                for name in (getattr(template, field) for field in IMAGE_FIELDS)
                if name
            }
            yield _machine(template, paths, request)


async def _find_template(server: Server, name: str) -> QemuTemplate:
    found = [template.values for template in await server.templates() if template.name == name and template.values]
    if not found:
        raise NotFoundError(
            f"{server.url} has no QEMU template named {name!r}", hint=f"Create it: `gns3-minivm register {name}`."
        )
    if len(found) > 1:
        raise ConflictError(
            f"{server.url} has {len(found)} QEMU templates named {name!r}", hint="Rename all but one of them."
        )
    if not found[0].kernel_image:
        raise UnsupportedServerError(
            f"the template {name!r} on {server.url} does not name a kernel image",
            hint="`boot` can only run templates of MiniVMs.",
        )
    return found[0]


async def _same_file(
    server: Server, image: ServerImage | None, name: str, cache: Cache, scratch: Path, events: Events
) -> Path:
    """A file on this machine with the bytes of a server's image: from the cache by its checksum, else downloaded."""
    if image is None:
        raise NotFoundError(f"{server.url} has no image {name}", hint="Run `gns3-minivm register` for this template.")
    bundles = [artifact for bundle in list_bundles(cache) for artifact in bundle.artifacts]
    for artifact in (*bundles, *list_disks(cache)):
        if (artifact.size_bytes, artifact.md5) == (image.size_bytes, image.md5) and cache.use_file(artifact.path):
            return artifact.path
    path, md5 = scratch / name, hashlib.md5(usedforsecurity=False)
    with events.step(f"Download {name}", total=image.size_bytes, unit="bytes") as step, path.open("wb") as target:
        async for chunk in server.image_bytes(name):
            target.write(chunk)
            md5.update(chunk)
            step.advance(len(chunk))
    if image.md5 not in (None, md5.hexdigest()):
        raise UploadError(
            f"{server.url}: image {name} has the md5 {md5.hexdigest()}, but the server lists {image.md5}",
            hint="The file was changed on the server; register the template again.",
        )
    return path


def _changed(template: QemuTemplate, settings: TemplateSettings) -> QemuTemplate:
    """A server's template with the user's changes."""
    words = " ".join(filter(None, [template.kernel_command_line, settings.kernel_args]))
    modules = "" if settings.module_disk is False else template.hdb_disk_image
    options = with_machine(template.options, settings.machine)
    return replace(template, kernel_command_line=words, hdb_disk_image=modules, options=options, **settings.fields)


def _machine(template: QemuTemplate, paths: Mapping[str, Path], request: BootRequest) -> GuestMachine:
    return GuestMachine(
        name=template.name,
        kernel=paths[template.kernel_image],
        initrd=paths[template.initrd] if template.initrd else None,
        disks=tuple(paths[name] for name in (template.hda_disk_image, template.hdb_disk_image) if name),
        append=template.kernel_command_line,
        ram_mb=template.ram_mb,
        cpus=template.cpus,
        adapters=template.adapters,
        adapter_type=template.adapter_type,
        disk_interface=template.hda_disk_interface,
        options=template.options,
        keep=request.keep,
    )
