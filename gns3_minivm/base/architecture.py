"""Everything that depends on the processor that guests are made for; so far there is one, x86-64.

Each project has its own name for the same processor, its own words for the same device, and its own format of kernel
images.  All of them stand here, in one value for each architecture, and nowhere else in the code of the host.
"""

from __future__ import annotations

import platform
import struct
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class KernelImageFormat:
    """How the start of a kernel image looks: offsets in bytes, numbers as (format of ``struct``, offset).

    ``name`` is the format's and that of its target in Linux's makefiles.  The version is a text whose offset, less
    ``version_base``, is the number ``version_offset``.  The kernel unpacks itself at ``load_address`` and takes
    ``memory_size`` bytes there.
    """

    name: str
    magic: bytes
    magic_at: int
    version_offset: tuple[str, int]
    version_base: int
    load_address: tuple[str, int]
    memory_size: tuple[str, int]

    def is_start_of(self, header: bytes) -> bool:
        """Whether an image that starts like this has this format."""
        return header.startswith(self.magic, self.magic_at)

    def version_at(self, header: bytes) -> int | None:
        """The offset of the version's text; None where the image has none, or the header is cut off."""
        offset = _number(header, self.version_offset)
        return self.version_base + offset if offset else None

    def memory_end(self, header: bytes) -> int | None:
        """The address up to which the kernel takes memory; None where the header is cut off."""
        address, size = _number(header, self.load_address), _number(header, self.memory_size)
        return None if address is None or size is None else address + size


def _number(header: bytes, place: tuple[str, int]) -> int | None:
    code, offset = place
    if len(header) < offset + struct.calcsize(code):
        return None
    number: int = struct.unpack_from(code, header, offset)[0]
    return number


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """One kind of processor, and the machine around it that QEMU makes for guests."""

    label: str
    """As people write it."""
    oci: str
    """In OCI images and Docker (GOARCH)."""
    debian: str
    """In Debian and Ubuntu."""
    linux: str
    """In Linux, as ``uname -m`` prints it."""
    host_names: tuple[str, ...]
    """What Python's ``platform.machine()`` calls such a machine, on any operating system."""
    elf_machine: int
    """``e_machine`` of ELF files, elf(5)."""

    qemu: str
    """In QEMU, and so the ``platform`` of GNS3's templates."""
    qemu_package: str
    """The Debian package that has QEMU for it."""
    machines: tuple[str, ...]
    """QEMU's machine types that guests run on; the first is the default."""
    cpu: str
    """What QEMU's option ``-cpu`` gets."""

    console: str
    """The device of the first serial line, without /dev."""
    early_console: str
    """Words of the kernel command line that bring the kernel's first messages to that line."""
    root_device: str
    """The first disk of a template."""
    kernel_words: tuple[str, ...]
    """Words of the kernel command line that this architecture's kernels gain by."""

    make: str
    """ARCH of Linux's makefiles."""
    source_folder: str
    """The folder below ``arch`` in Linux's source."""
    image: KernelImageFormat
    console_option: str
    """The option of a kernel's configuration, without CONFIG_, that it needs to speak on ``console``."""
    kernel_packages: tuple[str, ...]
    """The packages that depend on the newest kernel for virtual machines: Debian's, then Ubuntu's."""
    kernel_endings: tuple[str, ...]
    """How versions of the distributions' kernels end."""

    @property
    def qemu_program(self) -> str:
        return f"qemu-system-{self.qemu}"

    @property
    def image_path(self) -> str:
        """Where compiling leaves the kernel image, below the source."""
        return f"arch/{self.source_folder}/boot/{self.image.name}"

    @property
    def init_file(self) -> str:
        """The name of the guest's ready-made init in a wheel."""
        return f"init-{self.linux}"


X86_64 = Architecture(
    label="x86-64",
    oci="amd64",
    debian="amd64",
    linux="x86_64",
    host_names=("x86_64", "AMD64"),
    elf_machine=62,
    qemu="x86_64",
    qemu_package="qemu-system-x86",
    # The ACPI code of "pc" (before QEMU 9) takes 90 ms for every virtio device when there is no KVM, which is a fifth
    # of the boot.
    machines=("q35", "pc"),
    # All that the host's CPU, or QEMU without KVM, can do.  GNS3 itself asks for none, and QEMU's own default does not
    # have what today's userlands (x86-64-v2 and v3) need.  Not ERMS ("rep movsb is fast"): it makes the kernel clear
    # and copy memory by bytes, each of which QEMU without KVM does by itself; a CPU does words as fast.
    cpu="max,-arch-capabilities,-erms",
    console="ttyS0",
    early_console="earlyprintk=serial,ttyS0",
    root_device="/dev/vda",
    # No check of the timer, and no rewriting of locks for a single CPU (Linux, admin-guide/kernel-parameters).  Not
    # tsc=reliable: it gains nothing, and where the host is so busy that the kernel misjudges the frequency, the guest's
    # clock runs several times too fast and nothing notices.
    kernel_words=("no_timer_check", "noreplace-smp"),
    make="x86_64",
    source_folder="x86",
    # Linux, Documentation/arch/x86/boot.rst: the fields header, kernel_version, pref_address, init_size.
    image=KernelImageFormat(
        name="bzImage",
        magic=b"HdrS",
        magic_at=0x202,
        version_offset=("<H", 0x20E),
        version_base=0x200,
        load_address=("<Q", 0x258),
        memory_size=("<I", 0x260),
    ),
    console_option="SERIAL_8250_CONSOLE",
    kernel_packages=("linux-image-cloud-amd64", "linux-image-virtual"),
    kernel_endings=("amd64", "generic", "virtual", "kvm"),
)

ARCHITECTURES = (X86_64,)


def host_architecture() -> Architecture | None:
    """The architecture of this machine; None if no guests can be made for it."""
    name = platform.machine()
    return next((known for known in ARCHITECTURES if name in known.host_names), None)
