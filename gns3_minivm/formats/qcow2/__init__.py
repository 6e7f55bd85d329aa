"""The qcow2 disk image format, version 3, written in one pass and read.

https://gitlab.com/qemu-project/qemu/-/blob/master/docs/interop/qcow2.txt

::

    ┌────────┬──────────────────────────────────────┬───────────┬──────────┬─────────────────┬────────────────┐
    │ header │ data: compressed clusters, packed;   │ L2 tables │ L1 table │ refcount blocks │ refcount table │
    │        │ plain ones where that is no smaller  │           │          │                 │                │
    └────────┴──────────────────────────────────────┴───────────┴──────────┴─────────────────┴────────────────┘

Clusters of 64 KiB, in the order in which they are written; clusters of zeros are left out.  The reader also reads other
cluster sizes, version 2 and overlays.  Not supported: encryption, external data files, extended L2 entries, the
contents of snapshots.
"""

from gns3_minivm.formats.qcow2.codec import made_with
from gns3_minivm.formats.qcow2.reader import Qcow2Info, Qcow2Reader
from gns3_minivm.formats.qcow2.structs import Compression
from gns3_minivm.formats.qcow2.writer import Qcow2Writer

__all__ = ["Compression", "Qcow2Info", "Qcow2Reader", "Qcow2Writer", "made_with"]
