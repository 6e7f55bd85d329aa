/* Running something to its end, and the end of the machine. */
#ifndef MINIVM_STOP_H
#define MINIVM_STOP_H

#include "cmdline.h"
#include "program.h"

/* Runs a program on the console until it has ended, or was ended because the machine shall stop; its status. */
int run_on_console(const struct program *program, const struct program *shell, enum console_mode mode);
/* Ends all processes, makes the disks clean, and powers off or reboots. */
void stop_machine(void) __attribute__((noreturn));

#endif
