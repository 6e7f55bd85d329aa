"""The programs of docs/use/python.md, as they are printed there."""

from __future__ import annotations

import ast
import asyncio
import importlib
import os
import re
import sys
from pathlib import Path

from gns3_minivm.agent.desired import template_id
from gns3_minivm.bundle.model import Bundle
from gns3_minivm.gns3.address import parse_address
from gns3_minivm.gns3.detect import connect
from tests.support.gns3 import GNS3Process
from tests.support.minivm import minivm_cache

PAGE = Path(__file__).parents[2] / "docs" / "use" / "python.md"
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


async def test_the_first_program_registers_an_appliance(gns3_v3: GNS3Process, bundle: Bundle, tmp_path: Path) -> None:
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


def test_what_the_programs_import_is_there() -> None:
    for program in PROGRAMS:
        tree = compile(program, str(PAGE), "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        for node in tree.body:
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module or "")
                assert all(hasattr(module, name.name) for name in node.names), program
