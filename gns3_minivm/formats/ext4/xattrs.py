"""Extended attributes: in the inode first, then in one block.

https://www.kernel.org/doc/html/latest/filesystems/ext4/attributes.html; POSIX ACLs: Linux fs/ext4/acl.h.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gns3_minivm.formats.ext4 import structs as s

_ACL_NAMES = {b"system.posix_acl_access": 2, b"system.posix_acl_default": 3}
_PREFIXES = {b"user.": 1, b"trusted.": 4, b"security.": 6, b"system.": 7}
_NAMES_BY_INDEX = {index: prefix for prefix, index in _PREFIXES.items()} | {
    index: name for name, index in _ACL_NAMES.items()
}
_INODE_SPACE = s.INODE_SIZE - s.INODE_XATTR_OFFSET - 4
_BLOCK_SPACE = s.BLOCK_SIZE - s.XATTR_HEADER.size
_NAME_MAX = 255
_ACL_VERSION_XATTR, _ACL_VERSION_EXT4 = 2, 1
_ACL_TAGS_WITH_ID = (0x02, 0x08)  # ACL_USER, ACL_GROUP
_ACL_TAGS = (0x01, 0x02, 0x04, 0x08, 0x10, 0x20)


@dataclass(frozen=True)
class PackedXattrs:
    """``in_inode`` (96 bytes) and ``block`` (4096 bytes) as they go to the disk; empty where not needed."""

    in_inode: bytes
    block: bytes
    dropped: tuple[tuple[bytes, str], ...]
    """Attributes that ext4 cannot hold, each with the reason."""


@dataclass(frozen=True)
class _Attribute:
    index: int
    name: bytes
    value: bytes

    @property
    def entry_size(self) -> int:
        return (s.XATTR_ENTRY.size + len(self.name) + 3) & ~3

    @property
    def size(self) -> int:
        return self.entry_size + ((len(self.value) + 3) & ~3)


def pack_xattrs(xattrs: Mapping[bytes, bytes]) -> PackedXattrs:
    """Place attributes; security ones first, so that a capability is the last to be dropped."""
    dropped = []
    attributes = []
    for name, value in sorted(xattrs.items(), key=lambda item: (not item[0].startswith(b"security."), item[0])):
        try:
            attributes.append(_attribute(name, value))
        except ValueError as error:
            dropped.append((name, str(error)))
    in_inode: list[_Attribute] = []
    in_block: list[_Attribute] = []
    # Both places end with four zero bytes after the last entry.
    inode_room, block_room = _INODE_SPACE - 4, _BLOCK_SPACE - 4
    for attribute in attributes:
        if attribute.size <= inode_room:
            in_inode.append(attribute)
            inode_room -= attribute.size
        elif attribute.size <= block_room:
            in_block.append(attribute)
            block_room -= attribute.size
        else:
            name = _NAMES_BY_INDEX[attribute.index] + attribute.name
            dropped.append((name, f"{len(attribute.value)} bytes do not fit"))
    return PackedXattrs(_pack_inode(in_inode), _pack_block(in_block), tuple(dropped))


def _attribute(name: bytes, value: bytes) -> _Attribute:
    """Raises ValueError with the reason if ext4 cannot store the attribute."""
    if name in _ACL_NAMES:
        return _Attribute(_ACL_NAMES[name], b"", _acl_to_disk(value))
    for prefix, index in _PREFIXES.items():
        if name.startswith(prefix) and len(name) > len(prefix):
            if len(name) > _NAME_MAX or b"\0" in name:
                raise ValueError("the name is not valid")
            return _Attribute(index, name[len(prefix) :], value)
    raise ValueError("ext4 cannot store this kind of name")


def _acl_to_disk(value: bytes) -> bytes:
    """From the form of the system call: 8 bytes an entry, into ext4's: 4 bytes where there is no user or group."""
    if len(value) % 8 != 4 or struct.unpack_from("<I", value)[0] != _ACL_VERSION_XATTR:
        raise ValueError("it is not a POSIX ACL of version 2")
    parts = [struct.pack("<I", _ACL_VERSION_EXT4)]
    for tag, permissions, identity in struct.iter_unpack("<HHI", value[4:]):
        if tag not in _ACL_TAGS:
            raise ValueError(f"its POSIX ACL has an entry of the unknown kind {tag}")
        parts.append(struct.pack("<HH", tag, permissions))
        if tag in _ACL_TAGS_WITH_ID:
            parts.append(struct.pack("<I", identity))
    return b"".join(parts)


def acl_from_disk(value: bytes) -> bytes:
    """The reverse: ext4's form into that of the system call."""
    parts = [struct.pack("<I", _ACL_VERSION_XATTR)]
    position = 4
    while position < len(value):
        tag, permissions = struct.unpack_from("<HH", value, position)
        identity = 0xFFFFFFFF
        position += 4
        if tag in _ACL_TAGS_WITH_ID:
            (identity,) = struct.unpack_from("<I", value, position)
            position += 4
        parts.append(struct.pack("<HHI", tag, permissions, identity))
    return b"".join(parts)


def _hash(attribute: _Attribute) -> int:
    value = 0
    for byte in attribute.name:
        # A name's bytes are signed, as on x86 when this was defined.
        value = (value << 5 & 0xFFFFFFFF) ^ (value >> 27) ^ (byte if byte < 128 else byte | 0xFFFFFF00)
    data = attribute.value + bytes(-len(attribute.value) % 4)
    for (word,) in struct.iter_unpack("<I", data):
        value = (value << 16 & 0xFFFFFFFF) ^ (value >> 16) ^ word
    return value


def _pack_entries(attributes: Iterable[_Attribute], size: int, first_entry: int) -> tuple[bytes, list[int]]:
    """Entries from the front, values from the back; value offsets count from ``first_entry`` bytes before."""
    entries = b""
    values = b""
    hashes = []
    for attribute in attributes:
        value = attribute.value + bytes(-len(attribute.value) % 4)
        values = value + values
        hashes.append(_hash(attribute))
        offset = first_entry + size - len(values) if value else 0
        entry = s.XATTR_ENTRY.pack(len(attribute.name), attribute.index, offset, 0, len(attribute.value), hashes[-1])
        entries += (entry + attribute.name).ljust(attribute.entry_size, b"\0")
    return entries + bytes(size - len(entries) - len(values)) + values, hashes


def _pack_inode(attributes: list[_Attribute]) -> bytes:
    if not attributes:
        return b""
    data, _ = _pack_entries(attributes, _INODE_SPACE, 0)
    return struct.pack("<I", s.XATTR_MAGIC) + data


def _pack_block(attributes: list[_Attribute]) -> bytes:
    if not attributes:
        return b""
    # The kernel searches a block's entries in this order.
    attributes = sorted(attributes, key=lambda one: (one.index, len(one.name), one.name))
    data, hashes = _pack_entries(attributes, _BLOCK_SPACE, s.XATTR_HEADER.size)
    block_hash = 0
    for value in hashes:
        block_hash = (block_hash << 16 & 0xFFFFFFFF) ^ (block_hash >> 16) ^ value
    if 0 in hashes:
        block_hash = 0
    return s.XATTR_HEADER.pack(s.XATTR_MAGIC, 1, 1, block_hash, 0) + data


def unpack_xattrs(data: bytes, first_entry: int, values_from: int) -> dict[bytes, bytes]:
    """The attributes whose entries start at ``first_entry``; value offsets count from ``values_from``.

    Raises ValueError or struct.error for damaged data.
    """
    found = {}
    position = first_entry
    while position + 4 <= len(data) and data[position : position + 4] != bytes(4):
        name_len, index, offset, inum, size, _ = s.XATTR_ENTRY.unpack_from(data, position)
        name = data[position + s.XATTR_ENTRY.size : position + s.XATTR_ENTRY.size + name_len]
        start = values_from + offset
        if inum or start + size > len(data) or index not in _NAMES_BY_INDEX:
            raise ValueError(f"the extended attribute {name!r} is damaged")
        value = data[start : start + size]
        if index in _ACL_NAMES.values():
            value = acl_from_disk(value)
        found[_NAMES_BY_INDEX[index] + name] = value
        position += (s.XATTR_ENTRY.size + name_len + 3) & ~3
    return found
