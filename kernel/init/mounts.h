/* File systems: the kernel's own, the move to the root disk, and what stays reachable of the initramfs. */
#ifndef MINIVM_MOUNTS_H
#define MINIVM_MOUNTS_H

#include <stdbool.h>

/* /proc, /sys, /dev and /dev/pts in the initramfs. */
void mounts_begin(void);
/* Makes the root disk, mounted at SYSROOT, the root directory, and mounts everything that programs expect. */
void mounts_move_root(void);
/* Mounts the module disk, if there is one, at /lib/modules. */
void mounts_module_disk(void);
/* Unmounts what can be unmounted and makes the rest read-only; true if no file system is writable any more. */
bool mounts_end(void);

/* Files of the initramfs, before and after the move. */
int initramfs_open(const char *path);
char *initramfs_text(const char *path);
void initramfs_remove(const char *path);

#endif
