/* The words of the kernel command line that init understands (kernel/CONTRACT.md, "Command line"). */
#ifndef MINIVM_CMDLINE_H
#define MINIVM_CMDLINE_H

#include <stdbool.h>

#include "lib/text.h"

enum console_mode { CONSOLE_AUTO, CONSOLE_MAIN, CONSOLE_SHELL };

struct options {
    const char *root;       /* device path, LABEL=... or UUID=... */
    const char *root_flags; /* mount options, comma separated; NULL if not given */
    const char *root_type;  /* file system type; NULL if not given */
    unsigned long root_wait_s;
    bool read_only;
    bool single;
    const char *init;     /* program to run as PID 1 instead; NULL if not given */
    const char *hostname; /* these four: NULL if not given */
    const char *user;
    enum console_mode console;
    bool has_console;       /* it was chosen, well or badly */
    struct words env;       /* NAME=value from env.NAME=value */
    struct words arguments; /* after "--" */
    bool has_arguments;
    struct words addresses; /* "eth0=10.0.0.1/24", in order */
    struct words gateways, routes, dns, sysctls, modules, run;
    struct words complaints; /* malformed words, each with a reason */
};

/* Splits a command line as the kernel does: only double quotes quote, and they are taken off. */
void split_command_line(struct words *words, const char *line);
void options_parse(struct options *options, const char *line);
/* Takes one word; one that is not init's is passed over. */
void options_take(struct options *options, const char *word);
/* Whether a NAME=value word is one of init's own, so that the main program must not see it in its environment. */
bool is_own_word(const char *word);

#endif
