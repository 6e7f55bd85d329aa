/* What a request of the exec protocol asks for, and its process (kernel/CONTRACT.md, "Exec"). */
#ifndef MINIVM_EXEC_COMMAND_H
#define MINIVM_EXEC_COMMAND_H

#include <stdbool.h>

#include "lib/text.h"
#include "process.h"
#include "program.h"

enum {
    EXEC_REQUEST_MAX = 65536, /* bytes of a request with its empty line, without the input behind it; as exec.py says */
};

struct exec_request {
    struct words argv, env;
    const char *shell; /* a command line instead of argv; NULL if there is none */
    const char *user;
    const char *work_dir; /* NULL: the main program's */
};

/* Reads the text of a request; NULL, or what is wrong. */
const char *exec_request_parse(struct exec_request *request, const char *text);

/* Ends of pipes that do not block; -1: closed. */
struct exec_pipes {
    int input, output, error;
    int report; /* says, as a text, why the command could not be started; else it ends without a word */
};

/* Starts what text asks for, with the environment of the main program.  has_input: the text has the line "stdin".
 * NULL, or what is wrong. */
const char *exec_command_start(struct child *child, struct exec_pipes *pipes, const char *text, bool has_input,
                               const struct program *main_program);

#endif
