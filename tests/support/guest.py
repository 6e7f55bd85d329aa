"""Boots guests under QEMU without acceleration, as GNS3 would start them, with console and monitor on sockets."""

from __future__ import annotations

import re
import shlex
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from gns3_minivm.base.architecture import X86_64
from gns3_minivm.bundle.model import Bundle
from gns3_minivm.formats.tree import FileTree
from gns3_minivm.guest import contract
from tests.support.disks import make_disk
from tests.support.tools import require_tool

BOOT_LIMIT_S = 300.0
"""A boot takes 3 to 7 s on an idle machine; beside ten other guests on two cores it takes a minute."""
PROMPT = "GUEST> "


class Guest:
    """A running QEMU; everything that its console has shown is in ``log``."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self.process = process
        self.log = ""
        self.started = time.monotonic()
        self._seen = 0
        self._console = _connect(folder / "console")
        self._monitor = _connect(folder / "monitor")

    def expect(self, pattern: str, limit_s: float = BOOT_LIMIT_S) -> str:
        """Wait for a regular expression in what follows on the console; return the text up to its end."""
        end = time.monotonic() + limit_s
        while True:
            match = re.search(pattern, self.log[self._seen :])
            if match:
                text = self.log[self._seen : self._seen + match.end()]
                self._seen += match.end()
                return text
            left = end - time.monotonic()
            if left <= 0:
                raise AssertionError(f"no {pattern!r} on the console within {limit_s} s; it shows:\n{self.log[-3000:]}")
            self._console.settimeout(left)
            try:
                data = self._console.recv(65536)
            except TimeoutError:
                continue
            if not data:
                raise AssertionError(f"the guest ended before {pattern!r} on its console:\n{self.log[-3000:]}")
            self._add(data)

    def _add(self, data: bytes) -> None:
        # What shells ask of a terminal around each line, and frames of the exec protocol, are of no interest here.
        new = self.log[self._seen :] + data.decode("utf-8", "replace")
        self.log = self.log[: self._seen] + re.sub(
            r"\x1b\[\?2004[hl]\r?|\x1b\[6n|\x1b\[J|\x1b\]7411;[^\x1b]*\x1b\\", "", new
        )

    def send(self, text: str) -> None:
        self._console.sendall(text.encode())

    def shell(self, ready: str = r"[#$] $") -> None:
        """Wait for a shell and give it a prompt of its own, and long lines."""
        self.expect(ready)
        self.send("stty cols 1000\n")
        self.expect(ready)
        # The prompt is not spelled out in what is typed, so that the echo does not look like it.
        self.send("PS1='GUES''T> '; PS2=\n")
        self.expect(rf"\n\r*{PROMPT}")

    def run(self, command: str, limit_s: float = BOOT_LIMIT_S) -> str:
        """Type a command into the shell and return what it shows."""
        self.send(command + "\n")
        text = self.expect(rf"(?s)\r?\n(.*\n)?\r*{PROMPT}$", limit_s)
        return text.split("\n", 1)[1].rsplit(PROMPT, 1)[0].replace("\r", "").strip()

    def monitor(self, command: str) -> None:
        self._monitor.sendall(command.encode() + b"\n")

    def take_console(self) -> socket.socket:
        """The console, for a test that reads it by itself from now on."""
        taken = self._console.dup()
        taken.setblocking(False)
        return taken

    def press_power_button(self) -> None:
        self.monitor("system_powerdown")

    def wait_off(self, limit_s: float = BOOT_LIMIT_S) -> str:
        """Wait until QEMU has ended by itself; return what the console has shown since the last look."""
        end = time.monotonic() + limit_s
        while self.process.poll() is None:
            self._console.settimeout(0.1)
            try:
                self._add(self._console.recv(65536))
            except TimeoutError:
                pass
            except OSError:
                time.sleep(0.05)
            if time.monotonic() > end:
                raise AssertionError(f"the guest is not off after {limit_s} s:\n{self.log[-3000:]}")
        text = self.log[self._seen :]
        self._seen = len(self.log)
        return text

    def close(self) -> None:
        self._console.close()
        self._monitor.close()


def _connect(path: Path) -> socket.socket:
    end = time.monotonic() + 60
    while True:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(str(path))
            return connection
        except OSError:
            connection.close()
            if time.monotonic() > end:
                raise
            time.sleep(0.01)


def overlay(disk: Path, target: Path, size: str = "") -> Path:
    """A linked clone of a disk, as a GNS3 node has one."""
    command = [require_tool("qemu-img"), "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(disk), str(target)]
    subprocess.run(command + ([size] if size else []), check=True)
    return target


@contextmanager
def boot(
    bundle: Bundle,
    disks: Sequence[Path],
    folder: Path,
    *,
    words: str = "",
    name: str = "node-1",
    options: Sequence[str] = (),
    base_words: str = " ".join(contract.base_words(X86_64)),
) -> Iterator[Guest]:
    """Start a guest; it is killed at the end if it has not stopped by itself."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [require_tool("qemu-system-x86_64"), "-accel", "tcg", "-m", "128", "-smp", "1"]
    command += ["-display", "none", "-net", "none", "-name", name]
    command += ["-kernel", str(bundle.kernel.path)]
    command += ["-initrd", str(bundle.initrd.path)] if bundle.initrd else []
    command += ["-append", f"{base_words} {words}".strip()]
    for index, disk in enumerate(disks):
        command += ["-drive", f"file={disk},if=virtio,index={index},media=disk"]
    for channel, option in (("console", "-serial"), ("monitor", "-monitor")):
        (folder / channel).unlink(missing_ok=True)
        command += [option, f"unix:{folder / channel},server=on,wait=off"]
    command += [*options, *shlex.split(contract.qemu_options(X86_64).replace("%vm-name%", f'"{name}"'))]
    with (folder / "qemu.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    running = None
    try:
        while not (folder / "monitor").exists():
            assert process.poll() is None, (folder / "qemu.log").read_text()
            time.sleep(0.01)
        running = Guest(process, folder)
        yield running
    finally:
        if running:
            running.close()
        if process.poll() is None:
            process.kill()
        process.wait()


def raw_copy(disk: Path, target: Path) -> Path:
    """The disk with all its overlays as a raw image, for e2fsck and debugfs."""
    subprocess.run([require_tool("qemu-img"), "convert", "-O", "raw", str(disk), str(target)], check=True)
    return target


def assert_clean(disk: Path, folder: Path) -> None:
    """The file system is in order, and no journal waits to be replayed."""
    raw = raw_copy(disk, folder / "check.raw")
    try:
        result = subprocess.run([require_tool("e2fsck"), "-fn", str(raw)], check=False, capture_output=True, text=True)
        assert result.returncode == 0, result.stdout + result.stderr
        features = subprocess.run(
            [require_tool("dumpe2fs"), "-h", str(raw)], capture_output=True, text=True, check=True
        ).stdout
        assert "needs_recovery" not in features, features
        assert re.search(r"Filesystem state:\s+clean\n", features), features
    finally:
        raw.unlink()


APPLETS = (
    "cat chmod cp echo env false grep hostname id ifup ip kill ls mkdir modprobe mount ping printf ps readlink reboot "
    "route sh sleep stat stty sysctl tail touch tr true tty umount uname"
).split()
PASSWD = "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000:Web:/home/web:/bin/sh\n"
GROUP = "root:x:0:\ntty:x:5:\nweb:x:1000:\nnet:x:2000:root,web\nlab:x:2001:web\n"


def busybox_tree(busybox: Path, files: Mapping[str, str] | None = None) -> FileTree:
    """A small ordinary image; ``files`` that start with ``#!`` are programs."""
    tree = FileTree()
    for directory in ("bin", "etc", "root", "run", "tmp", "home/web"):
        tree.add_directory(directory.encode())
    tree.add_file(b"bin/busybox", busybox.read_bytes(), 0o755)
    for applet in APPLETS:
        tree.add_symlink(f"bin/{applet}".encode(), b"busybox")
    for path, text in ({"etc/passwd": PASSWD, "etc/group": GROUP} | dict(files or {})).items():
        tree.add_file(path.encode(), text.encode(), 0o755 if text.startswith("#!") else 0o644)
    return tree


def guest_disk(
    path: Path, tree: FileTree, config: contract.GuestConfig | None = None, size_bytes: int = 64 << 20
) -> Path:
    """A disk as conversion makes them; without a configuration it carries none."""
    if config is not None:
        tree.add_file(contract.CONFIG_PATH, config.encode())
    make_disk(tree, path, size_bytes)
    return path
