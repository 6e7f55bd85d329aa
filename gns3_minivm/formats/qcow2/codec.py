"""Compression of single clusters, to the same bytes on every machine.

Both codecs bring their library with them, in a version that setup.cfg pins.  Their output was compared on five kinds of
x86 CPU and on 64-bit ARM (docs/internals/disk.md).  The standard library's zlib is the distribution's and differs
between them; ISA-L's output depends on the CPU.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

import zstandard
from zlib_ng import __version__ as zlib_ng_version
from zlib_ng import zlib_ng

from gns3_minivm.base.errors import DamagedImageError
from gns3_minivm.formats.qcow2.structs import Compression

_ZSTD_LEVEL = 3
_ZLIB_LEVEL = 2
_WINDOW_BITS = -12
"""Raw deflate with the window of 4 KiB that QEMU reads."""
_ZSTD_WINDOW_MAX = 8 << 20
"""What every decoder has to support (RFC 8878, section 3.1.1.1.2), and four times the largest cluster."""
_SIZE_NOT_TOLD = -1

Cluster = bytes | memoryview


def made_with() -> dict[str, dict[str, str | int]]:
    """The codecs whose releases and settings decide the bytes of a file, for manifests."""
    return {
        "zstd": {
            "package": f"zstandard {zstandard.__version__}",
            "library": "zstd " + ".".join(str(part) for part in zstandard.ZSTD_VERSION),
            "level": _ZSTD_LEVEL,
        },
        "zlib": {
            "package": f"zlib-ng {zlib_ng_version}",
            "library": f"zlib-ng {zlib_ng.ZLIBNG_RUNTIME_VERSION}",
            "level": _ZLIB_LEVEL,
            "window_bits": -_WINDOW_BITS,
        },
    }


def compressor(compression: Compression) -> Callable[[Sequence[Cluster]], list[bytes]] | None:
    """A function that compresses clusters one by one and may be called from any thread; None for no compression."""
    if compression == "zstd":
        return _zstd
    if compression == "zlib":
        return _deflate
    return None


def _zstd(clusters: Sequence[Cluster]) -> list[bytes]:
    # All in one call: between calls, a thread would wait for the interpreter, which another one keeps busy.
    packed = zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=False).multi_compress_to_buffer(
        list(clusters), threads=1
    )
    return [packed[place].tobytes() for place in range(len(packed))]


def _deflate(clusters: Sequence[Cluster]) -> list[bytes]:
    return [zlib_ng.compress(data, _ZLIB_LEVEL, _WINDOW_BITS) for data in clusters]


def decompress(compression: Compression, data: bytes, size: int) -> bytes:
    """The ``size`` bytes of a cluster; ``data`` may go on after the compressed bytes.

    Raises DamagedImageError.
    """
    try:
        if compression == "zstd":
            # The decoder would believe the size that a frame gives, and make room for it.
            told = zstandard.frame_content_size(data)
            if told not in (size, _SIZE_NOT_TOLD):
                raise DamagedImageError(f"a cluster of the qcow2 file has {told} bytes instead of {size}")
            decoder = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_MAX)
            plain = decoder.decompress(data, max_output_size=size)
        else:
            plain = zlib.decompressobj(_WINDOW_BITS).decompress(data, size)
    except (zstandard.ZstdError, zlib.error) as error:
        raise DamagedImageError(f"a cluster of the qcow2 file is damaged: {error}") from error
    if len(plain) != size:
        raise DamagedImageError(f"a cluster of the qcow2 file has {len(plain)} bytes instead of {size}")
    return plain
