"""alpine-minivm: booted where its base image and Alpine's packages can be had; elsewhere the user is told plainly.

Its files do their work in any case: on a base in the place of Alpine's, with the same shell and network commands.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import docker
import pytest

from gns3_minivm.base import resources
from gns3_minivm.bundle.model import Bundle
from tests.support.layers import directory, file, symlink, tar_bytes
from tests.support.minivm import gns3_minivm
from tests.support.tools import require_tool

STAND_IN = "gns3-minivm-test-alpine"
APK = b"""\
#!/bin/sh
[ "$*" = "add --no-cache nano" ] || exit 1
printf '#!/bin/sh\\necho nano\\n' >/usr/bin/nano
chmod 755 /usr/bin/nano
"""
# Commands that are busybox's in Alpine too, of those that the appliance and this test use (main/busybox/busyboxconfig
# of Alpine's package sources).
APPLETS = "ash awk cat chmod grep head ifdown ifup ip mkdir mv poweroff ps rm run-parts sed sh sleep test udhcpc vi"
STEPS = (
    # The network is up and the prompt is there, with an editor.
    "until grep -q eth1 /var/run/ifstate 2>/dev/null && ps | grep -q '[s]h -l'; do sleep 1; done",
    "echo ifstate: $(cat /var/run/ifstate)",
    "ip -o link | grep -c 'eth[01].*UP'",
    "ps | grep -c '[s]h -l'",
    "nano",
    # As the usage text says.
    r"printf 'iface eth0 inet static\n\taddress 192.168.0.2\n\tnetmask 255.255.255.0\n' >/etc/network/interfaces",
    "ifdown eth0; ifup eth0",
    "ip -4 -o address show dev eth0 | awk '{print $4}'",
)


@pytest.mark.long
@pytest.mark.usefixtures("bundle")
async def test_it_boots_or_the_user_is_told_that_its_base_cannot_be_had(docker_host: str) -> None:
    require_tool("qemu-system-x86_64")
    words = ("boot", "alpine-minivm", "--build-network", "host", "--run", "cat /etc/os-release; which nano", "--json")
    done = await gns3_minivm(*words, environment={"DOCKER_HOST": docker_host})
    last = json.loads(done.out.splitlines()[-1])
    if done.status == 0:
        assert "Alpine Linux" in last["output"] and "/usr/bin/nano" in last["output"]
    else:
        assert (done.status, last["code"]) == (1, "build"), last
        assert "building the appliance alpine-minivm failed in step" in last["message"]
        assert "is unavailable" in last["hint"] or "cannot reach the network" in last["hint"]


async def test_its_files_make_a_machine_of_a_base_with_alpines_commands(
    docker_host: str, bundle: Bundle, tmp_path: Path
) -> None:
    require_tool("qemu-system-x86_64")
    base = import_base(docker_host, bundle, tmp_path)
    folder = tmp_path / "alpine-minivm"
    shutil.copytree(resources.folder("appliances") / "alpine-minivm", folder)
    dockerfile = folder / "Dockerfile"
    text = dockerfile.read_text()
    assert text.startswith("FROM alpine:3.20\n")
    dockerfile.write_text(text.replace("FROM alpine:3.20\n", f"FROM {base}\n"))
    words = ("boot", "alpine-minivm", "--appliances", str(tmp_path), "--build-network", "host", "--adapters", "2")
    done = await gns3_minivm(*words, "--run", "; ".join(STEPS), "--json", environment={"DOCKER_HOST": docker_host})
    lines = done.result()["output"].splitlines()
    assert lines == ["ifstate: eth0=eth0 eth1=eth1", "2", "1", "nano", "192.168.0.2/24"]


def import_base(docker_host: str, bundle: Bundle, scratch: Path) -> str:
    """Give the engine an image with the busybox of the kernel bundle, linked as Alpine's is; its name."""
    assert bundle.busybox is not None
    busybox = scratch / "busybox"
    shutil.copyfile(bundle.busybox, busybox)
    busybox.chmod(0o755)
    places = subprocess.run([busybox, "--list-full"], check=True, capture_output=True, text=True).stdout.split()
    wanted = set(APPLETS.split())
    links = {Path(place).name: symlink(place, "/bin/busybox") for place in places if Path(place).name in wanted}
    assert links.keys() == wanted
    members = [
        *(directory(name) for name in ("bin", "sbin", "usr", "usr/bin", "usr/sbin", "etc", "run", "var", "root")),
        *(directory(f"etc/network/if-{when}.d") for when in ("pre-up", "up", "down", "post-down")),
        symlink("var/run", "../run"),
        file("bin/busybox", busybox.read_bytes(), mode=0o755),
        *links.values(),
        file("sbin/apk", APK, mode=0o755),
        file("etc/passwd", b"root:x:0:0:root:/root:/bin/ash\n"),
        file("etc/group", b"root:x:0:root\n"),
    ]
    content = tar_bytes(members)
    # What was built on another base is not taken for this one.
    tag = hashlib.sha256(content).hexdigest()[:12]
    client = docker.DockerClient(base_url=docker_host, timeout=300)
    try:
        client.api.import_image_from_data(content, repository=STAND_IN, tag=tag)
    finally:
        client.close()
    return f"{STAND_IN}:{tag}"
