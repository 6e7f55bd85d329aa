/* The settings of a node that words on the kernel command line make: ip., gw=, route=, sysctl., modules=, run=. */
#ifndef MINIVM_NETWORK_H
#define MINIVM_NETWORK_H

#include "cmdline.h"

/* Kernel settings, modules, addresses and routes; what does not work is shown and passed over. */
void network_begin(const struct options *options);
/* What udhcpc calls for each change of a lease (action "bound", "renew", "deconfig" ...), settings in environ. */
int network_take_lease(const char *action);

#endif
