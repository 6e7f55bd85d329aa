/* What tells one node from another: host name, /etc/hosts, machine-id, SSH host keys; and /etc/resolv.conf. */
#ifndef MINIVM_IDENTITY_H
#define MINIVM_IDENTITY_H

#include <stdbool.h>

#include "cmdline.h"

/* Sets the host name and makes the files agree with it. */
void identity_begin(const struct options *options, bool own_init);

#endif
