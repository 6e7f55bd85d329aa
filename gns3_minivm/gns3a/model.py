"""What a ``.gns3a`` file holds, as far as QEMU appliances that boot a kernel directly need it.

Schemas 1 to 7 of the GNS3 registry have these keys in common (``appliance_v4.json`` is the one that we write);
version 8 has another structure (``read.py`` turns it into this one).  GNS3's loaders pass over keys that they do not
know: server 2.2.61 checks nothing, 3.0.6 has a model without ``extra="forbid"``
(gns3server/schemas/controller/appliances.py), and the schemas of the GUI do not say ``additionalProperties``.  So what
only we need stands below one key of our own.

https://github.com/GNS3/gns3-registry/blob/master/schemas/appliance_v4.json
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

SUFFIX = ".gns3a"
REGISTRY_VERSION = 4
"""What we write: server 3.0.6 loads 1 to 6, the GUI of 2.2 takes any that it knows."""
REGISTRY_VERSIONS_READ = range(1, 9)
RECORD = "gns3_minivm"
RECORD_FORMAT = 1

KERNEL_SLOT = "kernel_image"
SLOTS = ("hda_disk_image", KERNEL_SLOT, "initrd", "hdb_disk_image")
"""The images that a template of ours can have, by its field."""
DISK_INTERFACES = ("ide", "sata", "nvme", "scsi", "sd", "mtd", "floppy", "pflash", "virtio", "none")
FILE_SIZE_MAX = 16 << 40
NAME_MAX = 200
COMPRESSIONS = ("gzip", "bzip2", "xz", "lzma")
"""Those that hold one file; people unpack archives (zip, 7z, rar) themselves."""

WHEEL_PATTERN = r"gns3-minivm-kernel==[0-9][0-9A-Za-z.!+_-]{0,60}"
"""The requirement of a released kernel package (``bundle.wheel``)."""
_FILENAME = re.compile(r"[^/\\]{1,255}")


def _plain(value: str) -> str:
    """A file name without a folder in it."""
    if not _FILENAME.fullmatch(value) or value in (".", "..") or value.startswith("-") or not value.isprintable():
        raise ValueError("must be a plain file name, without folders")
    return value


def _printable(value: str) -> str:
    """A name without control characters."""
    if not value.isprintable():
        raise ValueError("must be printable")
    return value


FileName = Annotated[str, AfterValidator(_plain)]
Md5 = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(min_length=1, max_length=NAME_MAX), AfterValidator(_printable)]


class _Part(BaseModel):
    """Strict about types; ignores keys that are not needed here."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


class ImageFile(_Part):
    """An image file of some version."""

    filename: FileName
    version: str = ""
    md5sum: Md5
    filesize: Annotated[int, Field(ge=1, le=FILE_SIZE_MAX)]
    download_url: str | None = None
    """A page for people."""
    direct_download_url: str | None = None
    compression: str | None = None
    """How what is at ``direct_download_url`` is packed; size and md5 are those of the file itself."""

    @property
    def can_be_downloaded(self) -> bool:
        """Whether the file can be downloaded without a person."""
        return bool(self.direct_download_url) and (self.compression or "") in ("", *COMPRESSIONS)


class Version(_Part):
    """``images`` are file names by the field of the template."""

    name: Name
    images: dict[str, FileName] = {}


class Qemu(_Part):
    """Settings of the template; those without a default here are the template's own."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    adapter_type: str
    adapters: Annotated[int, Field(ge=0, le=275)]
    ram: Annotated[int, Field(ge=1, le=1 << 24)]
    cpus: Annotated[int, Field(ge=1, le=255)] = 1
    hda_disk_interface: Literal[DISK_INTERFACES] = "none"  # type: ignore[valid-type]
    hdb_disk_interface: Literal[DISK_INTERFACES] | None = None  # type: ignore[valid-type]
    arch: str
    console_type: str
    kernel_command_line: str = ""
    kvm: Literal["require", "allow", "disable"] = "allow"
    options: str = ""
    on_close: Literal["power_off", "shutdown_signal", "save_vm_state"] = "power_off"


class DiskSource(_Part):
    """What a disk is made of.

    ``image`` finds it anywhere: ``docker://HOST/PATH@DIGEST``, or an appliance that comes with the program.  It is
    empty where only the machine that exported it has the image; ``digest`` says which one it was.
    """

    image: Annotated[str, Field(pattern=r"^(docker://[!-~]+@sha(256|512):[0-9a-f]+|[a-z0-9][a-z0-9_.-]{0,62})?$")] = ""
    digest: Annotated[str, Field(pattern=r"^sha(256|512):[0-9a-f]{64,128}$")]
    recipe: Sha256
    size_bytes: Annotated[int, Field(ge=1)]
    compression: Literal["zstd", "zlib", "none"]


class KernelSource(_Part):
    """Which kernel bundle a file belongs to.  ``wheel`` is the released package that holds it, as pip names it.

    No other package is named to anybody: people are told to install it.
    """

    bundle: Sha256
    flavour: str
    version: str
    wheel: Annotated[str, Field(pattern=rf"^({WHEEL_PATTERN})?$")] = ""


class MadeFile(_Part):
    """How an image file is made again; exactly one of the two."""

    sha256: Sha256
    disk: DiskSource | None = None
    kernel: KernelSource | None = None

    @model_validator(mode="after")
    def _one(self) -> MadeFile:
        if (self.disk is None) == (self.kernel is None):
            raise ValueError("exactly one of disk and kernel is needed")
        return self


class Record(_Part):
    """What we add: ``made`` by file name, ``origins`` (the image of a version, with its digest) by version."""

    format: Literal[1]
    release: str
    default_name_format: str = ""
    origins: dict[str, str] = {}
    made: dict[str, MadeFile] = {}


class ApplianceFile(_Part):
    """A ``.gns3a`` file of a QEMU appliance; the fields in the order in which they are written."""

    appliance_id: str
    name: Name
    category: Literal["router", "multilayer_switch", "switch", "firewall", "guest"]
    description: str = ""
    vendor_name: str = ""
    vendor_url: str = ""
    product_name: str = ""
    registry_version: int
    status: str = "stable"
    availability: str | None = None
    maintainer: str = ""
    maintainer_email: str = ""
    usage: str = ""
    symbol: str | None = None
    first_port_name: str | None = None
    port_name_format: str | None = None
    port_segment_size: int | None = None
    custom_adapters: list[Any] | None = None
    linked_clone: bool | None = None
    qemu: Qemu
    images: list[ImageFile]
    versions: Annotated[list[Version], Field(min_length=1)]
    record: Annotated[Record | None, Field(alias=RECORD)] = None

    @model_validator(mode="after")
    def _images_fit(self) -> ApplianceFile:
        by_name = {image.filename for image in self.images}
        names = [version.name for version in self.versions]
        if repeated := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"versions: {repeated!r} appears twice")
        for version in self.versions:
            lacking = [name for name in version.images.values() if name not in by_name]
            if lacking:
                raise ValueError(f"version {version.name!r} needs {lacking[0]}, which is not among the images")
        return self

    def images_named(self, filename: str) -> list[ImageFile]:
        """The images of this name: one, but for mistakes of authors (GNS3's own registry has such a file)."""
        return list({image.md5sum: image for image in self.images if image.filename == filename}.values())

    def made(self, filename: str) -> MadeFile | None:
        """How an image is made again, where the file says so."""
        return self.record.made.get(filename) if self.record else None


def legible(text: str) -> str:
    """Text from a file, for messages: short, and without control characters."""
    return "".join(c if c.isprintable() else "?" for c in text[:100])


def without_secrets(url: str) -> str:
    """An address for messages: without login and query."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
        return legible(f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}")
    except ValueError:
        return "the address in the file"
