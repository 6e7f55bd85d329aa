/* What tells one node from another: host name, /etc/hosts, machine-id, SSH host keys; and /etc/resolv.conf. */
#ifndef MINIVM_IDENTITY_H
#define MINIVM_IDENTITY_H

#include <stdbool.h>

#include "cmdline.h"

/* Sets the host name and makes the files agree with it; gives a disk that has become another node its own identity. */
void identity_begin(const struct options *options);
/* How the resolver files that are made here begin. */
#define RESOLVER_MARK "# made "
/* Puts another text into /etc/resolv.conf; the image's own is kept until no name server is set any more. */
void resolver_replace(const char *text);
/* Makes /etc/resolv.conf usable; an image's own init system may have its own way with it. */
void resolver_begin(const struct options *options, bool own_init);

#endif
