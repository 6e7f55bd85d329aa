"""What doctor makes of servers that are in trouble; answers as real servers give them."""

from __future__ import annotations

import pytest

from gns3_minivm.agent.checkup import Finding, check_server
from gns3_minivm.gns3.address import parse_address
from gns3_minivm.gns3.detect import connect
from gns3_minivm.gns3.transport import ConnectionLimits
from tests.support.fake_gns3 import FakeGNS3, fake_gns3, reply

QUICK = ConnectionLimits(attempts=1, answer_s=2)


async def findings(fake: FakeGNS3, check: str, url: str = "") -> list[Finding]:
    """What is found at a server of API v2 that answers all else with nothing."""
    for route in ("templates", "projects", "computes/local/qemu/images"):
        fake.answers.setdefault(f"GET /v2/{route}", [reply([])])
    fake.answers.setdefault("GET /v2/computes", [reply([{"compute_id": "local", "name": "main"}])])
    address = parse_address(fake.url)
    async with await connect(address, QUICK) as server:
        found = await check_server(server, parse_address(url) if url else address, lambda _: None)
    return [finding for finding in found if finding.check == check]


@pytest.mark.parametrize(("percent", "level"), [(38, "ok"), (90, "warning"), (97, "problem")])
async def test_a_full_disk_is_told_before_an_upload_fails(percent: int, level: str) -> None:
    async with fake_gns3(2) as fake:
        fake.on("GET /v2/statistics", reply([{"compute_id": "local", "statistics": {"disk_usage_percent": percent}}]))
        fake.on("GET /v2/computes/local/qemu/capabilities", reply({"kvm": []}))
        fake.on("GET /v2/computes/local/qemu/binaries", reply([]))
        [finding] = await findings(fake, "disk-space")
    assert finding.level == level and f"{percent} %" in finding.message
    assert bool(finding.hint) == (level != "ok")


@pytest.mark.parametrize(
    ("versions", "level", "words"),
    [
        (["7.2.22"], "ok", "QEMU 7.2.22"),
        (["4.2.1"], "problem", "cannot read zstd disks"),
        (["7.2.22", "unknown"], "ok", "unknown"),
        (["7.2.22", "5.0.0"], "problem", "cannot read zstd disks"),
        ([], "problem", "has no qemu-system-x86_64"),
    ],
)
async def test_a_qemu_that_cannot_read_our_disks_is_a_problem(versions: list[str], level: str, words: str) -> None:
    binaries = [{"path": f"/opt/{version}/qemu-system-x86_64", "version": version} for version in versions]
    async with fake_gns3(2) as fake:
        fake.on("GET /v2/statistics", reply([]))
        fake.on("GET /v2/computes/local/qemu/capabilities", reply({"kvm": ["x86_64"]}))
        fake.on(
            "GET /v2/computes/local/qemu/binaries", reply([*binaries, {"path": "/x/qemu-system-arm", "version": "1"}])
        )
        [finding] = await findings(fake, "qemu")
        [acceleration] = await findings(fake, "acceleration")
    assert finding.level == level and words in finding.message
    assert acceleration.level == "ok" and "may" not in acceleration.message and acceleration.hint


async def test_a_server_without_kvm_is_a_warning() -> None:
    async with fake_gns3(2) as fake:
        fake.on("GET /v2/statistics", reply({"message": "no"}, 500))
        fake.on("GET /v2/computes/local/qemu/capabilities", reply({"kvm": []}))
        fake.on("GET /v2/computes/local/qemu/binaries", reply([]))
        [finding] = await findings(fake, "acceleration")
        [disk] = await findings(fake, "disk-space")
    assert finding.level == "warning" and "no KVM" in finding.message
    assert disk.level == "unknown"


async def test_a_compute_that_is_away_is_a_warning_unless_nodes_run_there_by_default() -> None:
    async with fake_gns3(2) as fake:
        computes = [{"compute_id": "local", "name": "main"}, {"compute_id": "c2", "name": "far"}]
        fake.on("GET /v2/computes", reply(computes))
        for name in ("local", "c2"):
            fake.on(f"GET /v2/computes/{name}/qemu/capabilities", reply({"message": f"no route to {name}"}, 409))
        found = await findings(fake, "compute")
    assert [(finding.level, "no route" in finding.message) for finding in found] == [
        ("problem", True),
        ("warning", True),
    ]


async def test_a_password_over_http_and_a_server_without_one_are_warnings_where_others_can_listen() -> None:
    async with fake_gns3(2) as fake:
        [readable] = await findings(fake, "tls", "http://user:password@gns3.example:3080")
        [anybody] = await findings(fake, "login", "http://gns3.example:3080")
        assert await findings(fake, "tls") == await findings(fake, "login") == []
    assert readable.level == anybody.level == "warning"
    assert "unencrypted" in readable.message and "no password" in anybody.message


async def test_a_check_that_fails_is_a_finding_and_the_others_go_on() -> None:
    async with fake_gns3(2) as fake:
        fake.on("GET /v2/templates", reply({"message": "database is locked"}, 500))
        [images] = await findings(fake, "images")
        [rights] = await findings(fake, "rights")
    assert images.level == "problem" and "database is locked" in images.message and images.hint
    assert rights.level == "ok"


async def test_a_project_that_is_deleted_at_this_moment_is_no_fault() -> None:
    async with fake_gns3(2) as fake:
        opened = [{"name": name, "project_id": name, "status": "opened"} for name in ("gone", "here")]
        fake.on("GET /v2/projects", reply([*opened, {"name": "closed", "project_id": "closed", "status": "closed"}]))
        node = {"project_id": "here", "node_id": "n", "name": "pc", "node_type": "vpcs", "status": "started"}
        fake.on("GET /v2/projects/here/nodes", reply([node]))
        [finding] = await findings(fake, "ubridge")
        assert (finding.level, finding.message) == ("ok", "node pc of project here is running, so ubridge is installed")
        assert not fake.count("GET /v2/projects/closed/nodes")
