/* Kernel modules: from the initramfs by list, from the module disk by name. */
#ifndef MINIVM_MODULE_H
#define MINIVM_MODULE_H

#include <stdbool.h>

enum module_part {
    MODULES_BOOT,    /* needed to mount the root disk: /etc/modules.boot */
    MODULES_EARLY,   /* network cards and the power button, before the main program: some lines of /etc/modules.late */
    MODULES_REST,    /* what can wait until the main program runs: the other lines of it */
};

/* Loads a part of the initramfs's modules in the order of its list, once; the files are removed, which gives memory back. */
void modules_load(enum module_part part);
/* Loads a module and what it depends on from /lib/modules with the image's modprobe, else with busybox. */
void module_probe(const char *name);

#endif
