/* Places and names that several parts know. */
#ifndef MINIVM_PATHS_H
#define MINIVM_PATHS_H

/* Where the root disk is mounted in the initramfs. */
#define SYSROOT "/sysroot"
/* Where the initramfs's programs are found once the root disk is /. */
#define TOOLS "/run/minivm/bin"
/* The file system label of the module disk. */
#define MODULES_LABEL "minivm-modules"

#endif
