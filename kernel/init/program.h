/* What to run: the main program of the image, and shells. */
#ifndef MINIVM_PROGRAM_H
#define MINIVM_PROGRAM_H

#include <stdbool.h>

#include "account.h"
#include "cmdline.h"
#include "config.h"
#include "lib/text.h"

struct program {
    struct words argv, env;
    struct account account;
    const char *work_dir;
    const char *name; /* for messages */
    int stop_signal;
    bool interactive; /* known to talk to the console: a shell, or the image's /etc/init.sh */
    bool own_init;    /* the image's own init system, which wants to be PID 1 */
    bool own_pids;    /* a container's init, which wants to be PID 1 of its own processes only */
};

/* What the kernel gave init as its environment: the NAME=value words that it did not know. */
void program_plan(struct program *program, const struct config *config, const struct options *options,
                  char *const *kernel_environment);
/* A shell for root with the environment of the main program (which may be NULL): the image's, else busybox. */
void program_plan_shell(struct program *shell, const struct program *main_program);
/* Becomes the program; returns only if that fails, with the exit status that a shell would give. */
int program_become(const struct program *program);
/* The number of a signal ("SIGTERM", "TERM", "15", "SIGRTMIN+3"); 0 if there is none of this name. */
int signal_number(const char *name);

#endif
