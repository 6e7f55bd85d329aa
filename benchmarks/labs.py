"""How long a lab takes to be made on a GNS3 server: in one go, with several requests at once, and one after another.

    python benchmarks/labs.py --server URL [--nodes 100] [--links 150] [--repeats 3] [--ways NAME,NAME]
                             [--pid PID] [--json]

Three ways to the same project of stopped nodes, in turn, so that other work on this computer meets all alike:

one-by-one  node after node and link after link: what a script does, over one connection that is kept
at-once     the same requests, eight at a time
whole       as `gns3-minivm lab up` does it: a project file that the server opens, then whatever it lacks

After each, `lab up --dry-run` has to find nothing to do.  Nodes are QEMU nodes without images, each with a payload
file.  Wall time is from the start of `lab up` to its end; with --pid, CPU time is that of the server's process.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import patch

from gns3_minivm.base.errors import MiniVMError
from gns3_minivm.gns3.address import Address, parse_address
from gns3_minivm.gns3.detect import connect
from gns3_minivm.gns3.model import QemuTemplate
from gns3_minivm.guest.contract import kernel_command_line
from gns3_minivm.ops.context import RunContext
from gns3_minivm.ops.labs import make
from gns3_minivm.ops.labs.state import lab_destroy
from gns3_minivm.ops.labs.up import LabRequest, lab_up

WAYS = {"one-by-one": (1, False), "at-once": (8, False), "whole": (8, True)}
"""How many requests at a time, and whether as a project file."""


@dataclass(frozen=True)
class Sample:
    wall_s: float
    cpu_s: float | None


def lab_text(name: str, template: str, nodes: int, links: int) -> str:
    """A ring, and chords between nodes that are far from each other."""
    lines = [f"name: {name}", "nodes:"]
    lines += [f"  n{i}: {{template: {template}, interfaces: {{eth0: 10.1.{i % 250}.1/24}}}}" for i in range(nodes)]
    lines.append("links:")
    free = [0] * nodes

    def port(node: int) -> str:
        free[node] += 1
        return f"n{node}:eth{free[node] - 1}"

    for number in range(links):
        step = 1 + number // nodes
        one, other = number % nodes, (number + (1 if step == 1 else nodes // 2)) % nodes
        lines.append(f"  - [{port(one)}, {port(other)}]")
    return "\n".join(lines) + "\n"


def cpu_s(pid: int | None) -> float | None:
    """User and system time of a process so far."""
    if pid is None:
        return None
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def one_run(address: Address, path: Path, way: str, pid: int | None) -> Sample:
    at_once, whole = WAYS[way]
    context = RunContext()
    request = LabRequest(path=path, server=address, start=False, at_once=at_once)
    before, started = cpu_s(pid), time.monotonic()
    with patch.object(make, "SMALLEST", make.SMALLEST if whole else sys.maxsize):
        report = await lab_up(request, context)
    wall_s, after = time.monotonic() - started, cpu_s(pid)
    if report.errors:
        raise next(iter(report.errors.values()))
    again = await lab_up(LabRequest(path=path, server=address, start=False), replace(context, dry_run=True))
    assert again.plan is not None and again.plan.nothing_to_do, f"{way}: something is left to do"
    await lab_destroy(address, str(path), context, yes=True)
    return Sample(wall_s, None if before is None or after is None else after - before)


async def measure(
    address: Address, nodes: int, links: int, repeats: int, pid: int | None, ways: list[str]
) -> dict[str, list[Sample]]:
    template = QemuTemplate(
        template_id=str(uuid.uuid4()),
        name=f"lab-benchmark-{uuid.uuid4().hex[:6]}",
        adapters=4,
        ram_mb=64,
        kernel_command_line=kernel_command_line(),
    )
    samples: dict[str, list[Sample]] = {way: [] for way in ways}
    async with await connect(address) as server:
        await server.create_template(template)
        try:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "lab.yml"
                path.write_text(lab_text(f"lab-benchmark-{uuid.uuid4().hex[:6]}", template.name, nodes, links))
                for _ in range(repeats):
                    for way in ways:
                        samples[way].append(await one_run(address, path, way, pid))
                        print(f"{way:10} {samples[way][-1].wall_s:7.1f} s", file=sys.stderr)
        finally:
            await server.delete_template(template.template_id)
    return samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", required=True, metavar="URL")
    parser.add_argument("--nodes", type=int, default=100)
    parser.add_argument("--links", type=int, default=150)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--ways", default=",".join(WAYS), help="default: %(default)s")
    parser.add_argument("--pid", type=int, help="the server's process on this machine, for its CPU time")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    try:
        samples = asyncio.run(
            measure(
                parse_address(options.server),
                options.nodes,
                options.links,
                options.repeats,
                options.pid,
                options.ways.split(","),
            )
        )
    except MiniVMError as error:
        sys.exit(f"error: {error.message}")
    medians = {way: statistics.median(sample.wall_s for sample in found) for way, found in samples.items()}
    if options.json:
        print(json.dumps({way: [vars(sample) for sample in found] for way, found in samples.items()}))
        return
    for way, found in samples.items():
        cpu = [sample.cpu_s for sample in found if sample.cpu_s is not None]
        told = f"{statistics.median(cpu):7.1f} s CPU" if cpu else ""
        first = next(iter(medians))
        print(f"{way:10} {medians[way]:7.1f} s {told}  {medians[way] / medians[first]:5.0%} of {first}")


if __name__ == "__main__":
    main()
