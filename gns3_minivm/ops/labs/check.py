"""``lab test``: the checks of a lab file, in the running lab."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gns3_minivm.base.cancel import run_blocking
from gns3_minivm.base.errors import ConfigError
from gns3_minivm.base.output import check_output, write_output
from gns3_minivm.gns3.address import Address
from gns3_minivm.gns3.detect import connect
from gns3_minivm.gns3.model import Project
from gns3_minivm.gns3.server import Server
from gns3_minivm.guest.exec import ExecRequest, ExecResult
from gns3_minivm.labs.checks import AT_ONCE, CheckResult, name_of, run_checks
from gns3_minivm.labs.written.junit import junit_xml
from gns3_minivm.ops.context import RunContext
from gns3_minivm.ops.labs.find import commands_in, find_lab, find_node, read


@dataclass(frozen=True, kw_only=True)
class TestReport:
    """``results`` are in the order of the file; a dry run has none, only the ``names`` of the checks."""

    __test__ = False  # for pytest, which would take the name for that of a test

    lab: str
    names: tuple[str, ...]
    results: tuple[CheckResult, ...]
    elapsed_s: float
    junit: Path | None
    dry_run: bool

    @property
    def failed(self) -> tuple[CheckResult, ...]:
        return tuple(result for result in self.results if result.outcome != "passed")

    @property
    def exit_status(self) -> int:
        return 1 if self.failed else 0

    def as_dict(self) -> dict[str, Any]:
        return {
            "lab": self.lab,
            "passed": len(self.results) - len(self.failed),
            "failed": len(self.failed),
            "elapsed_s": round(self.elapsed_s, 3),
            "checks": [result.as_dict() for result in self.results] or [{"name": name} for name in self.names],
            "junit": str(self.junit) if self.junit else None,
            "dry_run": self.dry_run,
        }


async def lab_test(
    address: Address,
    lab: str,
    context: RunContext,
    *,
    junit: Path | None = None,
    at_once: int = AT_ONCE,
    on_result: Callable[[CheckResult], object] = lambda _: None,
) -> TestReport:
    """Run the checks of a lab file in its running lab; ``junit`` is a file for their results.

    A failed check is a result, not an error.  Raises ConfigError, NotFoundError, ServerError, HostError.
    """
    found = (await read(lab)).lab
    if not found.tests:
        raise ConfigError(f"{found.path} has no checks", hint="Write them under `tests:`; docs/use/labs.md shows how.")
    if junit is not None:
        check_output(junit, replace=True)
    names = tuple(name_of(test) for test in found.tests)
    if context.dry_run:
        return TestReport(lab=found.name, names=names, results=(), elapsed_s=0.0, junit=junit, dry_run=True)
    loop = asyncio.get_running_loop()
    async with await connect(address) as server:
        project = await find_lab(server, lab)
        guests = _Guests(server, project)
        started = loop.time()
        with context.events.step(f"Check {found.name}", total=len(names)) as step:

            def tell(result: CheckResult) -> None:
                step.advance(1)
                on_result(result)

            results = await run_checks(found, guests.run, at_once=at_once, on_result=tell)
        elapsed_s = loop.time() - started
    if junit is not None:
        data = junit_xml(found.name, [result.as_case() for result in results], elapsed_s)
        await run_blocking(write_output, junit, data, replace=True)
    return TestReport(lab=found.name, names=names, results=results, elapsed_s=elapsed_s, junit=junit, dry_run=False)


class _Guests:
    """The nodes of a project, each asked for once for every command: it may have been started again meanwhile."""

    def __init__(self, server: Server, project: Project) -> None:
        self._server = server
        self._project = project

    async def run(self, node: str, request: ExecRequest, limit_s: float) -> ExecResult:
        found = await find_node(self._server, self._project, node)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + limit_s
        async with commands_in(found) as commands:
            await commands.hello(limit_s)
            return await commands.run(request, timeout_s=max(0.1, deadline - loop.time()))
