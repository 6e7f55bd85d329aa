"""The host's side of the contract with the guest; ``kernel/CONTRACT.md`` is the contract itself.

Two things cross the border here: a configuration file on the root disk, and words on the kernel command line; a third,
the payload file of a node, is in ``guest.payload``.

The configuration file is text, one ``KEY VALUE`` a line, first line ``minivm-config 1``.  Values are bytes in which
a backslash, and every byte outside the printable ASCII range (space to tilde), is written as ``\\xHH``.  Keys that may
occur many times keep their order.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from gns3_minivm.base.architecture import X86_64, Architecture
from gns3_minivm.base.errors import DamagedImageError, UsageError

CONFIG_PATH = b".minivm/config"
CONFIG_HEADER = "minivm-config 1"
MODULES_LABEL = "minivm-modules"
"""The ext4 label by which the guest finds the module disk."""

# Limits of the Linux kernel and of QEMU on x86 (kernel/CONTRACT.md, "Limits").
COMMAND_LINE_MAX = 1920
UNKNOWN_WORDS_MAX = 30
ARGUMENTS_MAX = 30


@dataclass(frozen=True, kw_only=True)
class GuestConfig:
    """What a disk says about how its image wants to be run (OCI image specification, config.md).

    ``entrypoint`` and ``cmd`` are None where the image does not set them.  ``env`` holds ``NAME=value`` in the image's
    order.  ``stop_signal`` is as the image writes it ("SIGQUIT", "3") or empty.
    """

    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    env: tuple[str, ...] = ()
    user: str = ""
    working_dir: str = ""
    stop_signal: str = ""
    exposed_ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)

    def lines(self) -> list[tuple[str, str]]:
        """The configuration as ordered (key, value) pairs: the canonical form, also for recipes."""
        pairs: list[tuple[str, str]] = []
        # The bare key tells "set, but empty" from "not set".
        for key, words in (("entrypoint", self.entrypoint), ("cmd", self.cmd)):
            if words is not None:
                pairs += [(key, "")] + [(f"{key}-arg", word) for word in words]
        pairs += [("env", item) for item in self.env]
        for key, text in (("user", self.user), ("workdir", self.working_dir), ("stop-signal", self.stop_signal)):
            if text:
                pairs.append((key, text))
        pairs += [("expose", port) for port in sorted(self.exposed_ports)]
        pairs += [("volume", path) for path in sorted(self.volumes)]
        pairs += [("label", f"{name}={value}") for name, value in sorted(self.labels.items())]
        return pairs

    def encode(self, diff_ids: Iterable[str] = ()) -> bytes:
        """The bytes of the configuration file; ``diff_ids`` name the layers that the disk was made from."""
        pairs = [("diff-id", diff_id) for diff_id in diff_ids] + self.lines()
        text = "".join(f"{key} {escape(value)}".rstrip(" ") + "\n" for key, value in pairs)
        return f"{CONFIG_HEADER}\n{text}".encode("ascii")


def decode_config(data: bytes) -> tuple[GuestConfig, tuple[str, ...]]:
    """Read a configuration file: the configuration and the diff IDs.

    Raises DamagedImageError for another header or an unknown key.
    """
    lines = data.decode("ascii", "replace").split("\n")
    if lines[0] != CONFIG_HEADER or lines[-1]:
        raise DamagedImageError(
            f"the guest configuration starts with {lines[0][:40]!r}, not with {CONFIG_HEADER!r}",
            hint="Convert the image again with this release of gns3-minivm.",
        )
    values: dict[str, list[str]] = {}
    for number, line in enumerate(lines[1:-1], 2):
        key, _, value = line.partition(" ")
        if key not in _KEYS:
            raise DamagedImageError(f"guest configuration, line {number}: unknown key {key!r}")
        values.setdefault(key, []).append(unescape(value))

    def words(key: str) -> tuple[str, ...] | None:
        return tuple(values.get(f"{key}-arg", ())) if key in values else None

    def text(key: str) -> str:
        return values.get(key, [""])[-1]

    config = GuestConfig(
        entrypoint=words("entrypoint"),
        cmd=words("cmd"),
        env=tuple(values.get("env", ())),
        user=text("user"),
        working_dir=text("workdir"),
        stop_signal=text("stop-signal"),
        exposed_ports=tuple(values.get("expose", ())),
        volumes=tuple(values.get("volume", ())),
        labels=dict(item.split("=", 1) for item in values.get("label", ())),
    )
    return config, tuple(values.get("diff-id", ()))


_KEYS = frozenset(
    "entrypoint entrypoint-arg cmd cmd-arg env user workdir stop-signal expose volume label diff-id".split()
)


def escape(value: str) -> str:
    """A value as one line of a configuration or payload file."""
    data = value.encode("utf-8", "surrogateescape")
    escaped = "".join(chr(b) if 0x20 <= b <= 0x7E and b != 0x5C else f"\\x{b:02x}" for b in data)
    # A trailing space would be lost with the line's end.
    return escaped[:-1] + "\\x20" if escaped.endswith(" ") else escaped


def unescape(value: str) -> str:
    """The value that such a line stands for."""
    data = re.sub(rb"\\x([0-9a-f]{2})", lambda m: bytes([int(m[1], 16)]), value.encode("ascii", "replace"))
    return data.decode("utf-8", "surrogateescape")


def kernel_command_line(extra: str = "", architecture: Architecture = X86_64) -> str:
    """The kernel command line of a template: console and root disk first, then ``extra`` as given.

    Raises UsageError if the kernel or QEMU would not accept it (a hang or a panic in the guest).
    """
    line = " ".join([*base_words(architecture), *extra.split("\n")]).strip()
    if len(line) > COMMAND_LINE_MAX:
        raise UsageError(
            f"the kernel command line has {len(line)} characters; a guest accepts at most {COMMAND_LINE_MAX}",
            hint="Shorten the kernel arguments; put long values into the image or into the node's payload file.",
        )
    if extra.count('"') % 2:
        raise UsageError(
            f"the kernel arguments {extra!r} are malformed: a quotation mark is not closed",
            hint='Close every quotation mark, as in run="ip link".',
        )
    options, arguments = split_command_line(line), []
    if "--" in options:
        cut = options.index("--")
        options, arguments = options[:cut], options[cut + 1 :]
    unknown = [word for word in options if "=" in word and not _is_known(word.partition("=")[0])]
    counted = (("NAME=value words", unknown, UNKNOWN_WORDS_MAX), ("words after --", arguments, ARGUMENTS_MAX))
    for what, found, limit in counted:
        if len(found) > limit:
            raise UsageError(
                f"the kernel command line has {len(found)} {what}; the Linux kernel panics above {limit}",
                hint="Write environment variables as env.NAME=value, which do not count.",
            )
    return line


def split_command_line(line: str) -> list[str]:
    """Split a kernel command line as the kernel does (lib/cmdline.c, next_arg): only double quotes quote."""
    words = []
    rest = line.lstrip(_BLANKS)
    while rest:
        quoted = rest.startswith('"')
        rest = rest[quoted:]
        in_quote, end = quoted, 0
        while end < len(rest) and (in_quote or rest[end] not in _BLANKS):
            in_quote ^= rest[end] == '"'
            end += 1
        word, rest = rest[:end], rest[end:].lstrip(_BLANKS)
        # An equals sign at the start is part of the name.
        value_at = word.find("=", 1) + 1
        value_quoted = value_at > 0 and word[value_at : value_at + 1] == '"'
        if (quoted or value_quoted) and word.endswith('"'):
            word = word[:-1]
        if value_quoted and word[value_at : value_at + 1] == '"':
            word = word[:value_at] + word[value_at + 1 :]
        words.append(word)
    return words


def _is_known(name: str) -> bool:
    """Whether the kernel takes this name itself, or leaves it alone for its dot, and so does not count it."""
    return "." in name or name in _KERNEL_NAMES


_BLANKS = " \t\n\r\v\f"
_KERNEL_NAMES = frozenset(
    ("root", "rootflags", "rootfstype", "rootdelay", "console", "init", "tsc", "loglevel", "panic")
)


def base_words(architecture: Architecture) -> tuple[str, ...]:
    """The words that the kernel command line of every template carries.

    ``cryptomgr.notests`` and the architecture's own words spare the kernel checks and work that no guest needs: a sixth
    of the time to the shell without KVM (Linux, admin-guide/kernel-parameters).
    """
    return (
        f"console={architecture.console}",
        "quiet",
        f"root={architecture.root_device}",
        "rw",
        "net.ifnames=0",
        "cryptomgr.notests",
        *architecture.kernel_words,
    )


def qemu_options(architecture: Architecture, machine: str | None = None) -> str:
    """The ``options`` of a template; GNS3 puts the node's name in the place of ``%vm-name%``.

    ``machine`` is a machine type of QEMU, None the architecture's default.  No ROM file: the BIOS does not look for a
    boot server on each network card.  Raises UsageError for a machine type that guests do not run on.
    """
    if machine is None:
        machine = architecture.machines[0]
    if machine not in architecture.machines:
        raise UsageError(
            f"guests for {architecture.label} do not run on QEMU's machine type {machine!r}, "
            f"only on {' and '.join(architecture.machines)}",
            hint=f"Leave the machine type out to get {architecture.machines[0]}.",
        )
    return (
        f"-machine {machine} -cpu {architecture.cpu} -device virtio-rng-pci -smbios type=1,serial=%vm-name% "
        "-global virtio-net-pci.romfile="
    )


def with_machine(options: str, machine: str | None) -> str:
    """A template's ``options`` with another machine type; None leaves it."""
    if machine is None:
        return options
    changed, found = re.subn(r"(?<!\S)-machine \S+", f"-machine {machine}", options, count=1)
    return changed if found else f"{options} -machine {machine}".lstrip()
