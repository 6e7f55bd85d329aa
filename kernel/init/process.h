/* Child processes: started, watched, reaped. */
#ifndef MINIVM_PROCESS_H
#define MINIVM_PROCESS_H

#include <stdbool.h>
#include <sys/types.h>

#include "lib/text.h"

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* A child whose end is of interest; the status is what a shell would show (128 + signal for a killed one). */
struct child {
    pid_t pid;
    bool running;
    int status;
    int killed_by; /* signal; 0 if it has ended by itself */
    struct child *next;
};

/* Milliseconds since some moment, never going back. */
long long now_ms(void);

/* In a new child: default signal handling, nothing blocked. */
void process_reset_signals(void);
/* The path of a program by the PATH given; NULL if there is none.  A name with a slash is returned as it is. */
char *process_find(const char *name, const char *path);
/* Where the output of commands goes from now on, with nothing to read; -1: init's own descriptors. */
void process_use_terminal(int descriptor);
/* Starts a command in a session of its own, with a plain environment; -1 if there can be no process. */
pid_t process_start(const struct words *command);
/* The same with another environment. */
pid_t process_start_with(const struct words *command, char *const *environment);
/* The same without any output. */
pid_t process_start_quietly(const struct words *command);
/* Starts a command and waits for its end; 127 if there is no such program. */
int process_run(const struct words *command);
int process_run_with(const struct words *command, char *const *environment);

/* Links the child into a list, until it is forgotten: before that its memory must not be given back or written over. */
void child_watch(struct child *child, pid_t pid);
void child_forget(struct child *child);
/* Takes the status of everything that has ended. */
void children_reap(void);
/* Whether any process is left: all processes of the guest descend from init. */
bool children_left(void);

#endif
