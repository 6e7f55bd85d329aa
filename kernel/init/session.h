/* A program on a pseudo terminal of its own. */
#ifndef MINIVM_SESSION_H
#define MINIVM_SESSION_H

#include <stdbool.h>

#include "process.h"
#include "program.h"

struct session {
    struct child child;
    int master; /* -1: none; does not block */
    int slave;  /* kept open, so that the master never reports a hang-up */
    char path[32];
};

/* Opens the terminal; false (with a line on the console) if that fails. */
bool session_open(struct session *session);
/* Starts the program on it; its end shows in session->child. */
void session_start(struct session *session, const struct program *program);
/* After a hang-up: the terminal can be used again. */
void session_reopen(struct session *session);
void session_close(struct session *session);
/* Whether a program waits for what is typed: it reads or polls, or it has taken the terminal out of line mode. */
bool session_is_read(const struct session *session);

#endif
