"""The programs of docs/use/python.md and docs/use/settings.md, as they are printed there."""

from __future__ import annotations

import ast
import asyncio
import importlib
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from gns3_minivm import Agent
from gns3_minivm.agent.desired import template_id
from gns3_minivm.gns3.address import parse_address
from gns3_minivm.gns3.detect import connect
from tests.support.documented import PAGES, examples_of
from tests.support.gns3 import GNS3Process
from tests.support.minivm import minivm_cache
from tests.support.oci import write_files
from tests.support.tools import require_tool

PAGE = Path(__file__).parents[2] / "docs" / "use" / "python.md"
SETTINGS = PAGE.with_name("settings.md")
PROGRAMS = [example.text for example in examples_of(PAGE, "python")]
"""The last one needs the extra for gns3fy: tests/gns3fy runs it."""


@pytest.mark.usefixtures("bundle")
async def test_the_first_program_registers_an_appliance(gns3_v3: GNS3Process, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    text, count = re.subn(r"http://user:password@gns3\.example:3080", gns3_v3.url, PROGRAMS[0])
    assert count == 1
    program.write_text(text)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(program)),
        env=os.environ | {"GNS3_MINIVM_CACHE": str(minivm_cache())},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
    [server] = ast.literal_eval(out.decode())["servers"]
    assert [item["name"] for item in server["appliances"]] == ["busybox-minivm"]
    async with await connect(parse_address(gns3_v3.url)) as client:
        found = await client.template(template_id("busybox-minivm"))
        assert found is not None and found.name == "busybox-minivm"
        await client.delete_template(found.template_id)


@pytest.mark.usefixtures("bundle")
async def test_the_programs_about_labs_and_commands_in_guests_run_in_a_lab(
    gns3_v3: GNS3Process,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    require_tool("qemu-system-x86_64")
    monkeypatch.chdir(tmp_path)
    Path("lab.yml").write_text(
        "{name: python, nodes: {r1: {appliance: busybox-minivm}},"
        " tests: [{node: r1, exec: hostname, output: r9, within: 1}]}"
    )
    in_guests, labs = (program for program in PROGRAMS[1:3])
    async with Agent(gns3_v3.url, cache=minivm_cache()) as agent:
        names = await run(labs, agent=agent, Path=Path)
        lab = names["lab"]
        try:
            said = capsys.readouterr().out.splitlines()
            assert any("127.0.0.1/8" in line for line in said) and len(ast.literal_eval(said[-1])) == 1
            assert "<failure" in Path("results.xml").read_text()
            [row] = (await lab.status()).rows
            host, port = row.console.split()[-1].removeprefix("telnet://").rsplit(":", 1)
            text, count = re.subn(r'"192\.0\.2\.10", 5000', f'"{host}", {port}', in_guests)
            assert count == 1
            assert (await run(text))["result"].exit_status == 0
            motd = await lab.exec("r1", "cat", "/etc/motd")
            assert motd.stdout == b"hello\n"
        finally:
            await lab.destroy(yes=True)


async def test_the_program_of_the_settings_page_writes_a_payload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    [settings], [program] = examples_of(SETTINGS, "yaml"), examples_of(SETTINGS, "python")
    write_files(tmp_path, {"r1/frr.conf": b"hostname r1\n", "website/index.html": b"hello\n"})
    Path("r1.yml").write_text(settings.text)
    await run(program.text)
    assert b"hostname r1" in Path("minivm-node").read_bytes()


async def run(program: str, **names: Any) -> dict[str, Any]:
    """Run a program that may wait at its top level; returns its names."""
    code = compile(program, str(PAGE), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    waiting = eval(code, names)
    if waiting is not None:
        await waiting
    return names


def test_every_program_of_the_documents_is_run_by_a_test() -> None:
    pages = {page.name: len(found) for page in PAGES if (found := examples_of(page, "python"))}
    assert pages == {"python.md": 4, "settings.md": 1}


def test_what_the_programs_import_is_there() -> None:
    for program in PROGRAMS:
        tree = compile(program, str(PAGE), "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        for node in tree.body:
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module or "")
                assert all(hasattr(module, name.name) for name in node.names), program
