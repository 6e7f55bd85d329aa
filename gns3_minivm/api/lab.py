"""One lab, for programs: what ``gns3-minivm lab`` does, as methods to await.  ``Agent.lab`` makes it.

lab = agent.lab("lab.yml")
await lab.up()
answer = await lab.exec("r1", "ip", "address")
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gns3_minivm.base.cancel import run_blocking
from gns3_minivm.base.errors import GuestError, UsageError
from gns3_minivm.gns3.address import Address
from gns3_minivm.guest.exec import ExecRequest, ExecResult
from gns3_minivm.ops.context import RunContext
from gns3_minivm.ops.labs.check import TestReport, lab_test
from gns3_minivm.ops.labs.exec import WAIT_S, lab_exec
from gns3_minivm.ops.labs.find import is_file, project_of
from gns3_minivm.ops.labs.outputs import lab_export, lab_graph, lab_inventory, lab_save
from gns3_minivm.ops.labs.report import LabReport
from gns3_minivm.ops.labs.state import lab_destroy, lab_down, lab_status, lab_wait
from gns3_minivm.ops.labs.up import LabRequest, lab_up
from gns3_minivm.ops.project import ProjectExport

if TYPE_CHECKING:
    from gns3fy_next import Project

__all__ = ["Lab"]


class Lab:
    """A lab file, or a project's name, and the server where it is.

    Methods raise errors of ``gns3_minivm.base.errors``.  Where only single nodes or links have failed, the report is
    returned and has their errors.
    """

    def __init__(self, lab: str | Path, server: Address, context: RunContext) -> None:
        self.name_or_file = str(lab)
        self.server = server
        self._context = context

    async def up(
        self,
        *,
        start: bool = True,
        wait_s: float = 300.0,
        at_once: int = 8,
        adopt: bool = False,
        yes: bool = False,
        dry_run: bool = False,
    ) -> LabReport:
        """Make the lab, or bring it into step with its file.  ``yes``: nodes may be removed, with their disks."""
        if not is_file(self.name_or_file):
            raise UsageError(
                f"{self.name_or_file!r} is not a lab file",
                hint="Name the file that the lab is made from, as in lab.yml.",
            )
        request = LabRequest(
            path=Path(self.name_or_file),
            server=self.server,
            start=start,
            wait_s=wait_s,
            at_once=at_once,
            adopt=adopt,
            yes=yes,
        )
        return _checked(await lab_up(request, replace(self._context, dry_run=dry_run)))

    async def down(self, *, close: bool = False, dry_run: bool = False) -> LabReport:
        """Stop its nodes."""
        context = replace(self._context, dry_run=dry_run)
        return _checked(await lab_down(self.server, self.name_or_file, context, close=close))

    async def destroy(self, *, yes: bool = False, dry_run: bool = False) -> LabReport:
        """Delete it, with its disks; nothing is deleted without ``yes``."""
        context = replace(self._context, dry_run=dry_run)
        return _checked(await lab_destroy(self.server, self.name_or_file, context, yes=yes))

    async def status(self) -> LabReport:
        """Its nodes, their state and their consoles."""
        return _checked(await lab_status(self.server, self.name_or_file))

    async def wait(self, wait_s: float = 300.0) -> LabReport:
        """Wait until the consoles of its nodes answer."""
        return _checked(await lab_wait(self.server, self.name_or_file, self._context, wait_s=wait_s))

    async def exec(
        self,
        node: str,
        *words: str,
        shell: str = "",
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
        user: str = "",
        workdir: str = "",
        timeout_s: float | None = None,
        wait_s: float = WAIT_S,
    ) -> ExecResult:
        """Run a command in a node: words, or a line for its shell.  Raises GuestError if it cannot be started."""
        request = ExecRequest(
            argv=words, shell=shell, environment=env or {}, user=user, working_dir=workdir, stdin=stdin
        )
        answer = await lab_exec(self.server, self.name_or_file, node, request, wait_s=wait_s, timeout_s=timeout_s)
        if answer.result.failure:
            raise GuestError(f"node {answer.node}: the command did not start: {answer.result.failure}")
        return answer.result

    async def test(self, *, junit: Path | None = None, at_once: int = 8, dry_run: bool = False) -> TestReport:
        """Run the checks of its file.  A check that fails is in the report, and no error."""
        context = replace(self._context, dry_run=dry_run)
        return await lab_test(self.server, self.name_or_file, context, junit=junit, at_once=at_once)

    async def graph(self, *, live: bool = False) -> str:
        """A picture (SVG): of its file, or of its state on the server."""
        ask_server = live or not is_file(self.name_or_file)
        return (await lab_graph(self.server if ask_server else None, self.name_or_file, self._context)).text

    async def inventory(self, form: Literal["ansible", "nornir"]) -> str:
        """Its nodes as an inventory."""
        return (await lab_inventory(self.server, self.name_or_file, form, self._context)).text

    async def save(self) -> str:
        """Its state on the server, as the text of a lab file."""
        return (await lab_save(self.server, self.name_or_file, self._context)).text

    async def export(self, output: Path, *, force: bool = False, dry_run: bool = False) -> ProjectExport:
        """Write it as a portable project; its nodes must be stopped."""
        context = replace(self._context, dry_run=dry_run)
        return await lab_export(self.server, self.name_or_file, output, context, force=force)

    async def gns3fy_project(self) -> Project:
        """Its project for a script that uses gns3fy, with nodes and links read.

        Raises UsageError where the extra is not installed.
        """
        try:
            from gns3_minivm.api.gns3fy import connector, open_project
        except ImportError as error:
            raise _no_gns3fy(error) from error
        project = await project_of(self.server, self.name_or_file)
        made: Any = await connector(self.server)
        return await run_blocking(open_project, made, project.project_id)


def _no_gns3fy(error: ImportError) -> UsageError:
    return UsageError(f"gns3fy cannot be used: {error}", hint="Install it: pip install 'gns3-minivm[gns3fy]'")


def _checked(report: LabReport) -> LabReport:
    """The report, unless there is nothing to report: then raises the error."""
    if report.exit_status == 1:
        raise report.gone or next(iter((report.errors or {}).values()))
    return report
