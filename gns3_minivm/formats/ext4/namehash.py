"""The hash by which directories are indexed: half MD4, over names as signed bytes.

Linux fs/ext4/hash.c (half_md4_transform, str2hashbuf_signed, __ext4fs_dirhash).
"""

from __future__ import annotations

import struct

_MASK = 0xFFFFFFFF
_EOF = 0x7FFFFFFF << 1
_K2 = 0x5A827999
_K3 = 0x6ED9EBA1
_CHUNK = 32
_WORDS = struct.Struct(">8I")


def seed_words(seed: bytes) -> tuple[int, int, int, int]:
    """The start values for a file system's s_hash_seed; MD4's own if it is zero."""
    words = struct.unpack("<4I", seed)
    return words if any(words) else (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476)


def half_md4(name: bytes, seed: tuple[int, int, int, int]) -> tuple[int, int]:
    """The major and the minor hash of a name."""
    a, b, c, d = seed
    for start in range(0, len(name), _CHUNK):
        a, b, c, d = _transform(a, b, c, d, _words(name, start))
    major = b & ~1
    return (major if major != _EOF else (0x7FFFFFFF - 1) << 1), c


def _words(name: bytes, start: int) -> tuple[int, ...]:
    """Eight words of a name; what is missing is filled with the length of what is left."""
    left = len(name) - start
    pad = left & 0xFF
    part = name[start : start + _CHUNK]
    if part.isascii() and left >= _CHUNK:
        return _WORDS.unpack(part)
    fill = pad * 0x01010101
    words = []
    for at in range(0, _CHUNK, 4):
        value = fill
        for byte in part[at : at + 4]:
            # Names are signed bytes, so a byte above 127 borrows from what stands before it.
            value = ((byte - 256 if byte > 127 else byte) + (value << 8)) & _MASK
        words.append(value)
    return tuple(words)


def _transform(a0: int, b0: int, c0: int, d0: int, x: tuple[int, ...]) -> tuple[int, int, int, int]:
    a, b, c, d = a0, b0, c0, d0
    x0, x1, x2, x3, x4, x5, x6, x7 = x
    # Round 1: F(x, y, z) = z ^ (x & (y ^ z)), rotations 3 7 11 19.
    for k0, k1, k2, k3 in ((x0, x1, x2, x3), (x4, x5, x6, x7)):
        t = (a + (d ^ (b & (c ^ d))) + k0) & _MASK
        a = (t << 3 | t >> 29) & _MASK
        t = (d + (c ^ (a & (b ^ c))) + k1) & _MASK
        d = (t << 7 | t >> 25) & _MASK
        t = (c + (b ^ (d & (a ^ b))) + k2) & _MASK
        c = (t << 11 | t >> 21) & _MASK
        t = (b + (a ^ (c & (d ^ a))) + k3) & _MASK
        b = (t << 19 | t >> 13) & _MASK
    # Round 2: G(x, y, z) = (x & y) + ((x ^ y) & z), rotations 3 5 9 13.
    for k0, k1, k2, k3 in ((x1, x3, x5, x7), (x0, x2, x4, x6)):
        t = (a + (b & c) + ((b ^ c) & d) + k0 + _K2) & _MASK
        a = (t << 3 | t >> 29) & _MASK
        t = (d + (a & b) + ((a ^ b) & c) + k1 + _K2) & _MASK
        d = (t << 5 | t >> 27) & _MASK
        t = (c + (d & a) + ((d ^ a) & b) + k2 + _K2) & _MASK
        c = (t << 9 | t >> 23) & _MASK
        t = (b + (c & d) + ((c ^ d) & a) + k3 + _K2) & _MASK
        b = (t << 13 | t >> 19) & _MASK
    # Round 3: H(x, y, z) = x ^ y ^ z, rotations 3 9 11 15.
    for k0, k1, k2, k3 in ((x3, x7, x2, x6), (x1, x5, x0, x4)):
        t = (a + (b ^ c ^ d) + k0 + _K3) & _MASK
        a = (t << 3 | t >> 29) & _MASK
        t = (d + (a ^ b ^ c) + k1 + _K3) & _MASK
        d = (t << 9 | t >> 23) & _MASK
        t = (c + (d ^ a ^ b) + k2 + _K3) & _MASK
        c = (t << 11 | t >> 21) & _MASK
        t = (b + (c ^ d ^ a) + k3 + _K3) & _MASK
        b = (t << 15 | t >> 17) & _MASK
    return (a0 + a) & _MASK, (b0 + b) & _MASK, (c0 + c) & _MASK, (d0 + d) & _MASK
