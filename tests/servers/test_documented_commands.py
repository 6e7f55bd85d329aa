"""Every command in the documents, as it is printed there, run against real GNS3 servers.

The ``gns3-minivm`` commands of a page run one after another, in a folder of their own, by a shell, and end with 0.
What they name is there: the servers, and stand-ins for the images of registries and for the appliances that a Docker
engine builds (busybox with the files that the examples speak of).  RULES says where a command is not run to the letter,
and PREPARED what a page takes for granted; a command that neither covers and that does not work as printed fails its
page.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import docker
import pytest
from _pytest.mark import ParameterSet

from gns3_minivm.bundle.model import Bundle
from tests.support import debs
from tests.support.documented import GENERATED, PAGES, ROOT, commands_of, examples_of
from tests.support.gns3 import PASSWORD, GNS3Process, running_gns3
from tests.support.layers import directory, file, symlink, tar_bytes
from tests.support.minivm import command_environment, minivm_cache
from tests.support.oci import archive, layout, make_image, saved, write_files
from tests.support.registry import running_registry
from tests.support.screen import Screen
from tests.support.tools import require_tool
from tests.support.ubridge import EXECUTABLE as UBRIDGE

USE = ROOT / "docs" / "use"
SERVER_URL = re.compile(r"https?://(?:user:password@)?(?:127\.0\.0\.1|gns3\.example):3080")
"""Every server that the documents name."""

IMAGES = ("team/app:1.2", "library/nginx:1.27", "library/debian:bookworm-slim", "library/debian:trixie-slim")
LONG = ("appliances.md", "kernel.md")
APPLIANCES = ("alpine-minivm", "debian-minivm", "frr-minivm")
CTRL_BRACKET = "\x1d"
PASSWD = """root:x:0:0:root:/root:/bin/sh
www-data:x:33:33:www-data:/var/www:/bin/sh
frr:x:100:100:frr:/nonexistent:/bin/false
web:x:1000:1000:web:/home/web:/bin/sh
"""
GROUP = "root:x:0:\nwww-data:x:33:\nfrr:x:100:\nweb:x:1000:\n"
OS_RELEASE = 'ID=debian\nPRETTY_NAME="a stand-in"\n'


@dataclass(frozen=True)
class Rule:
    """How the commands that ``pattern`` matches are run; each difference from the print has a reason."""

    pattern: str
    why: str
    add: str = ""
    """Words at the end."""
    change: tuple[str, str] = ("", "")
    """A regular expression and what stands for it."""
    types: tuple[tuple[str, str], ...] = ()
    """In a terminal: what is waited for (a regular expression on what is shown since), and what is typed then."""
    statuses: tuple[int, ...] = (0,)


RULES = (
    Rule(
        r"boot (?!.*--run)",
        "it gives the terminal to the guest",
        types=((r"[#$] $", "echo ready-$((6*7))\r"), (r"ready-42", CTRL_BRACKET)),
    ),
    Rule(r"lab console", "it gives the terminal to the guest", types=((r"Ctrl-\]", "\r"), (r"[#$] $", CTRL_BRACKET))),
    Rule(r"lab destroy", "it asks before it deletes", types=((r"\[y/N\]|\(y", "y\r"),)),
    Rule(r"lab up two-routers\.yml", "docs/use/labs.md starts the same lab", add="--no-start"),
    Rule(r"doctor", "it ends with 1 where the machine that runs the tests has a problem", statuses=(0, 1)),
    Rule(r"(?!kernel pack).*monolithic", "the kernel takes minutes to compile; tests marked long do", add="--dry-run"),
    Rule(r"kernel pack monolithic", "a bundle is there of the other flavour", change=("monolithic", "debian")),
    Rule(r"kernel build --from-host", "a machine that runs the tests may hide its kernel", add="--dry-run"),
    Rule(r"kernel build --deb", "packages made for tests, whose bundle boots nowhere", add="--cache other"),
    Rule(
        r"import debian\.gns3a", "`export -o files` has put it there", change=(r"debian\.gns3a", "files/debian.gns3a")
    ),
)

LAB = """
name: NAME
nodes:
  r1:
    appliance: busybox-minivm
    interfaces: {eth0: 10.0.12.1/30}
    files:
      /etc/passwd: {source: passwd, when: boot}
      /srv/check: {content: "#!/bin/sh\\ntest $(id -un) = www-data && test $(pwd) = /srv\\n", mode: "755"}
  h1: {appliance: busybox-minivm, interfaces: {eth0: 10.0.12.2/30}}
links:
  - [r1:eth0, h1:eth0]
tests:
  - {node: h1, ping: r1}
"""
TOPOLOGY = """
name: clos
topology:
  nodes:
    r1: {kind: linux, image: "debian:bookworm-slim", ports: ["8080:80"]}
    r2: {kind: linux, image: "debian:bookworm-slim"}
  links:
    - endpoints: ["r1:eth1", "r2:eth1"]
"""


@dataclass(frozen=True)
class Place:
    """Where the commands of one page run."""

    folder: Path
    servers: dict[int, GNS3Process]
    environment: dict[str, str]
    bundle: Bundle

    def write(self, name: str, text: str) -> None:
        """Write a file; the servers that it names are those of the test."""
        urls = {"https": self.servers[3].bare_url, "http": self.servers[2].bare_url}
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(SERVER_URL.sub(lambda found: urls[found[0].partition(":")[0]], text))

    async def prepare(self, *commands: str) -> None:
        for command in commands:
            await self.run(f"gns3-minivm {command}")

    async def run(self, command: str) -> None:
        """Run a command as the rules say; it has to end as it should."""
        words = command.removeprefix("gns3-minivm ")
        rules = [rule for rule in RULES if re.match(rule.pattern, words)]
        line, hash_sign, comment = command.partition("  #")
        for rule in rules:
            line = re.sub(*rule.change, line) if rule.change[0] else line
            line = f"{line} {rule.add}" if rule.add else line
        line = SERVER_URL.sub(self.servers[3].url, line) + hash_sign + comment
        statuses = next((rule.statuses for rule in rules if rule.statuses != (0,)), (0,))
        typed = next((rule.types for rule in rules if rule.types), ())
        started = time.monotonic()
        how = self._in_a_terminal if typed else self._at_once
        status, shown = await how(line, typed)
        print(f"{time.monotonic() - started:6.1f} s  {line}")
        assert status in statuses, f"{line}\nended with {status}:\n{shown}"
        assert "Traceback" not in shown, shown

    async def _at_once(self, line: str, _: object) -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            *("sh", "-c", line),
            cwd=self.folder,
            env=self.environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            shown, _ = await asyncio.wait_for(process.communicate(), 300)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode is not None
        return process.returncode, shown.decode(errors="replace")

    async def _in_a_terminal(self, line: str, typed: tuple[tuple[str, str], ...]) -> tuple[int, str]:
        return await asyncio.to_thread(self._type, line, typed)

    def _type(self, line: str, typed: tuple[tuple[str, str], ...]) -> tuple[int, str]:
        screen = Screen(["sh", "-c", line], environment=self.environment, folder=self.folder)
        for awaited, keys in typed:
            screen.wait_for(partial(_shows, re.compile(awaited)), 120)
            screen.type(keys)
        return screen.finish(120), "\n".join(screen.lines)


def _shows(awaited: re.Pattern[str], lines: list[str]) -> bool:
    # The blank at the end of a prompt is not told from the rest of its line.
    return awaited.search("\n".join(lines) + " ") is not None


async def nothing(place: Place) -> None:
    """What most pages need."""


async def for_readme(place: Place) -> None:
    await for_labs(place)
    (place.folder / "lab.yml").rename(place.folder / "two-routers.yml")
    await for_catalogue(place)
    (place.folder / "lab.yml").rename(place.folder / "servers.yml")
    place.write("project.yml", LAB.replace("NAME", "lab"))
    place.write("passwd", PASSWD)
    await place.prepare("export alpine-minivm -o .", "lab up project.yml --no-start")


async def for_catalogue(place: Place) -> None:
    place.write("lab.yml", examples_of(USE / "catalogue.md", "yaml")[0].text)
    place.write("lab-ca.pem", "")


async def for_containerlab(place: Place) -> None:
    place.write("topo.clab.yml", TOPOLOGY)


async def for_gns3a(place: Place) -> None:
    await place.prepare("export alpine-minivm -o .")


async def for_kernel(place: Place) -> None:
    line = next(one for one in commands_of(USE / "kernel.md") if "--deb" in one)
    names = re.findall(r"--deb (\S+)", line)
    for name, made in zip(names, debs.bundle_debs(place.folder), strict=True):
        made.rename(place.folder / name)
    files = debs.kernel_files("6.12.5", prefix="out/")
    write_files(place.folder, {name: data for name, data in files.items() if name.startswith("out/")})
    image = place.folder / "arch" / "x86" / "boot" / "bzImage"
    image.parent.mkdir(parents=True)
    shutil.copy(place.bundle.kernel.path, image)


async def for_lab_use(place: Place) -> None:
    place.write("lab.yml", LAB.replace("NAME", "handy"))
    place.write("passwd", PASSWD)
    place.write("motd", "hello\n")
    await place.prepare("lab up lab.yml")


async def for_labs(place: Place) -> None:
    place.write("lab.yml", examples_of(USE / "labs.md", "yaml")[0].text)
    place.write("r1/frr.conf", "hostname r1\n")


async def for_servers(place: Place) -> None:
    await for_catalogue(place)
    place.write("my-lab.yml", LAB.replace("NAME", "my-lab"))
    place.write("passwd", PASSWD)
    await place.prepare("lab up my-lab.yml --no-start")


async def for_settings(place: Place) -> None:
    place.write("r1.yml", examples_of(USE / "settings.md", "yaml")[0].text)
    place.write("r1/frr.conf", "hostname r1\n")
    place.write("website/index.html", "hello\n")


async def for_disk(place: Place) -> None:
    # At the end the cache is emptied.
    cache = place.folder / "cache"
    shutil.copytree(place.environment["GNS3_MINIVM_CACHE"], cache, copy_function=os.link)
    place.environment["GNS3_MINIVM_CACHE"] = str(cache)
    await place.prepare("convert debian-minivm -o debian.qcow2")


PREPARED: dict[str, Callable[[Place], Awaitable[None]]] = {
    "README.md": for_readme,
    "catalogue.md": for_catalogue,
    "containerlab.md": for_containerlab,
    "gns3a.md": for_gns3a,
    "kernel.md": for_kernel,
    "lab-use.md": for_lab_use,
    "labs.md": for_labs,
    "servers.md": for_servers,
    "settings.md": for_settings,
    "disk.md": for_disk,
}


def root_of(bundle: Bundle) -> bytes:
    """The layer of an image that answers at its console."""
    assert bundle.busybox is not None
    programs = "cat echo hostname id ip ls mkdir mount pwd sh sleep test".split()
    items = [
        directory("bin"),
        directory("etc"),
        directory("srv"),
        file("bin/busybox", bundle.busybox.read_bytes(), mode=0o755),
    ]
    items += [symlink(f"bin/{name}", "busybox") for name in programs]
    items += [file("etc/passwd", PASSWD.encode()), file("etc/group", GROUP.encode())]
    return tar_bytes(items)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, GNS3Process]]:
    """One server of each generation, which no other test knows."""
    folder = tmp_path_factory.mktemp("servers")
    with running_gns3(2, folder / "v2") as second, running_gns3(3, folder / "v3", ubridge=UBRIDGE) as third:
        yield {2: second, 3: third}


@pytest.fixture(scope="module")
def environment(
    servers: dict[int, GNS3Process], bundle: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """A user's environment in which all is there that the documents name."""
    home = tmp_path_factory.mktemp("home")
    shutil.copytree(minivm_cache() / "kernels", home / "cache" / "kernels", copy_function=os.link)
    program = write_files(
        home, {"bin/gns3-minivm": f'#!/bin/sh\nexec "{sys.executable}" -m gns3_minivm "$@"\n'.encode()}
    )
    (program / "bin" / "gns3-minivm").chmod(0o755)
    for name in APPLIANCES:
        stand_in_appliance(home / "appliances" / name)
    image = make_image([root_of(bundle)])
    write_files(home / "image", layout(image))
    (home / "registry").mkdir()
    with running_registry(home / "registry") as registry:
        for name in IMAGES:
            copy_image(f"oci:{home / 'image'}", f"docker://{registry}/{name}")
        yield command_environment(
            {
                "PATH": f"{home / 'bin'}:{os.environ['PATH']}",
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)) if not os.environ.get("PYTHONSAFEPATH") else "",
                "GNS3_MINIVM_APPLIANCES": str(home / "appliances"),
                "GNS3_MINIVM_REGISTRY": registry,
                "GNS3_MINIVM_REGISTRY_MIRRORS": f"registry.example={registry}",
                "GNS3_MINIVM_SERVER": servers[3].url,
                "DOCKER_HOST": "unix:///nonexistent/docker.sock",
                "LAB1_PASSWORD": PASSWORD,
                "XDG_CONFIG_HOME": str(home / "config"),
                "XDG_DATA_HOME": str(home / "data"),
            },
            home / "cache",
        )


def stand_in_appliance(folder: Path) -> None:
    """An appliance of this name that needs no Docker engine: busybox with files that the examples use."""
    shipped = ROOT / "appliances" / folder.name / "appliance.yaml"
    lines = [line for line in shipped.read_text().splitlines() if not re.match(r"build:|symbol:", line)]
    (folder / "root" / "etc").mkdir(parents=True)
    shutil.copytree(ROOT / "appliances" / "busybox-minivm" / "root", folder / "root", dirs_exist_ok=True)
    (folder / "appliance.yaml").write_text("\n".join([*lines, "embedded: busybox", "cmd: [/etc/init.sh]", ""]))
    write_files(folder / "root", {"etc/passwd": PASSWD.encode(), "etc/group": GROUP.encode()})
    write_files(folder / "root", {"usr/lib/os-release": OS_RELEASE.encode()})
    (folder / "root" / "etc" / "os-release").symlink_to("../usr/lib/os-release")


def copy_image(source: str, target: str) -> None:
    command = [require_tool("skopeo"), "--insecure-policy", "copy", "-q", "--dest-tls-verify=false", source, target]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, timeout=60)


def pages_with_commands() -> list[Path]:
    return [page for page in PAGES if page not in GENERATED and commands_of(page)]


def parameters() -> list[ParameterSet]:
    """The pages; those in LONG take as much time as all others together, and are run by ``./test --all``."""
    marks = {name: pytest.mark.long for name in LONG}
    return [pytest.param(page, id=page.name, marks=marks.get(page.name, ())) for page in pages_with_commands()]


@pytest.mark.parametrize("page", parameters())
async def test_the_commands_of_a_page_work_as_they_are_printed(
    page: Path,
    servers: dict[int, GNS3Process],
    environment: dict[str, str],
    bundle: Bundle,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    if page.name == "appliances.md":
        host = request.getfixturevalue("docker_host")
        client = docker.DockerClient(base_url=host, timeout=60)
        client.images.load(archive(saved(make_image([root_of(bundle)]), "nginx:1.27")))
        client.close()
        environment = environment | {"DOCKER_HOST": host}
    place = Place(tmp_path, servers, dict(environment), bundle)
    await PREPARED.get(page.name, nothing)(place)
    for command in commands_of(page):
        await place.run(command)


def test_every_rule_is_needed() -> None:
    commands = [command for page in pages_with_commands() for command in commands_of(page)]
    for rule in RULES:
        assert any(re.match(rule.pattern, command.removeprefix("gns3-minivm ")) for command in commands), rule.pattern
