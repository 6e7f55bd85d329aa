/* The image's own /etc/network/interfaces, where ifupdown (or a program of its name) is there. */
#ifndef MINIVM_IFUPDOWN_H
#define MINIVM_IFUPDOWN_H

#include "cmdline.h"
#include "program.h"

/* Configures the interfaces marked "auto", but for those that the words of the command line have configured; not for
   programs that do it themselves.  Waits for its end for some seconds; it goes on beside the main program then. */
void ifupdown_begin(const struct options *options, const struct program *program);

#endif
