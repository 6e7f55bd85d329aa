"""``register``: appliances and images become templates on GNS3 servers."""

from __future__ import annotations

from dataclasses import dataclass, field

from gns3_minivm.base.errors import UsageError
from gns3_minivm.gns3.address import Address, check_named
from gns3_minivm.guest import contract as guest
from gns3_minivm.ops.context import RunContext
from gns3_minivm.ops.templates.reconcile import Policy, Target, reconcile
from gns3_minivm.ops.templates.report import SyncResult
from gns3_minivm.ops.templates.supply import BuiltSupply, Wanted
from gns3_minivm.template_settings.table import TemplateSettings


@dataclass(frozen=True, kw_only=True)
class RegisterRequest:
    """``template_name`` and ``compute`` are None for the defaults."""

    names: tuple[str, ...]
    servers: tuple[Address, ...]
    compute: str | None = None
    template_name: str | None = None
    template: TemplateSettings = field(default_factory=TemplateSettings)
    adopt: bool = False
    verify: bool = False


async def register(request: RegisterRequest, context: RunContext) -> SyncResult:
    """Bring templates, and the files they need, to every server of the request.

    An error of one server is in its report and stops no other.  Raises UserError, ImageError, HostError for what
    concerns all servers: an image that cannot be found or made.
    """
    _check(request)
    wanted = tuple(Wanted(image=name, name=request.template_name, template=request.template) for name in request.names)
    targets = [
        Target(name=address.url, url=address.url, address=address, wanted=wanted, compute=request.compute)
        for address in request.servers
    ]
    supply = BuiltSupply(context)
    try:
        policy = Policy(adopt=request.adopt, verify=request.verify)
        result = await reconcile(targets, supply, policy, context)
    finally:
        await supply.close()
    if result.errors and not result.servers:
        raise result.errors[0][1]
    return result


def _check(request: RegisterRequest) -> None:
    check_named(request.servers)
    if request.template_name and len(request.names) > 1:
        raise UsageError("--as names one template, but several images are given", hint="Register them one by one.")
    guest.kernel_command_line(request.template.kernel_args or "")
