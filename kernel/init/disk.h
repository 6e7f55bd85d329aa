/* Block devices: finding the root disk and the module disk, checking, mounting, growing. */
#ifndef MINIVM_DISK_H
#define MINIVM_DISK_H

#include <stdbool.h>

#include "cmdline.h"

/* The device (an allocated path) whose ext4 file system has this label, or NULL. */
char *disk_by_label(const char *label);
/* Makes /sbin/e2fsck of the initial RAM disk ready to be run, before the root disk is /. */
void disk_unpack_e2fsck(void);
/* Mounts the root disk at SYSROOT.  Returns NULL, or a line that says what is wrong. */
const char *disk_mount_root(const struct options *options);

#endif
