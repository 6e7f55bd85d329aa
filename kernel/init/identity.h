/* What tells one node from another: host name, /etc/hosts, machine-id, SSH host keys; and /etc/resolv.conf. */
#ifndef MINIVM_IDENTITY_H
#define MINIVM_IDENTITY_H

#include <stdbool.h>

#include "cmdline.h"

/* Sets the host name and makes the files agree with it; gives a disk that has become another node its own identity. */
void identity_begin(const struct options *options);
/* Makes /etc/resolv.conf usable; an image's own init system may have its own way with it. */
void resolver_begin(const struct options *options, bool own_init);

#endif
