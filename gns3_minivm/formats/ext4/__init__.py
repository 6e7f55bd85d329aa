"""The ext4 file system, written and read without the kernel.

Follows https://www.kernel.org/doc/html/latest/filesystems/ext4/ (on-disk structures; the names are its own) and, for
what that leaves open, the sources of Linux fs/ext4 and of e2fsprogs.

::

    block group 0                        1          ...  16                17 ...
    ┌────┬─────┬────────────────────┬───┬────┬─────┬────┬─────────────────┬────
    │ sb │ gdt │ bitmaps and inode  │ j │ sb │ gdt │    │ bitmaps and ino-│
    │    │     │ tables of 0 to 15  │ o │ (backup) │ d │ de tables 16-31 │ d
    └────┴─────┴────────────────────┴ u ┴────┴─────┴ a ┴─────────────────┴ a
                                      rnal           ta                    ta

``plan`` decides everything (inode numbers, places, directory blocks that need it) and raises if the disk is too small;
``write`` then goes once through the files in canonical order.  Blocks that hold only zeros are not written.

Features: has_journal ext_attr dir_index | filetype extents flex_bg | sparse_super large_file huge_file uninit_bg
dir_nlink extra_isize; 4 KiB blocks, 256-byte inodes.  Not supported: 64bit (above 16 TiB), metadata_csum, inline_data,
encryption, quota, ea_inode, bigalloc.
"""

from gns3_minivm.formats.ext4.plan import Ext4Options, Plan
from gns3_minivm.formats.ext4.planner import plan
from gns3_minivm.formats.ext4.reader import Ext4Reader, Stat
from gns3_minivm.formats.ext4.write import write

__all__ = ["Ext4Options", "Ext4Reader", "Plan", "Stat", "plan", "write"]
