/* Images whose main program is systemd: what a machine with one serial console needs, as units in /run. */
#ifndef MINIVM_SYSTEMD_H
#define MINIVM_SYSTEMD_H

#include "program.h"

void systemd_prepare(const struct program *program);

#endif
