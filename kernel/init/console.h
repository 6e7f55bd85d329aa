/*
 * The console: init owns the serial line, programs have pseudo terminals, and this relays between them.
 *
 * The main program is in front while it is interactive.  If it is a service, its output is shown, and the Enter key
 * brings a shell to the front until that shell ends.
 */
#ifndef MINIVM_CONSOLE_H
#define MINIVM_CONSOLE_H

#include <stdbool.h>

#include "cmdline.h"
#include "program.h"
#include "session.h"

/* Before anything else: what the host sends already is not to be echoed by the terminal that the kernel has opened. */
void console_hush(void);
/* Takes the serial line; from here on lines of init and of programs go through it as they are. */
void console_begin(void);
/* Gives it to what shall be process 1 instead: in an ordinary state, as controlling terminal and descriptors 0 to 2. */
void console_hand_over(void);

/* Leaves a process behind that keeps the serial line, and relays and answers as before, while this one becomes program:
 * /dev/console and the line's own name lead to a pseudo terminal from then on. */
void console_leave_agent(const struct program *program);
/* Undoes that, if program was not there. */
void console_take_back(void);

/* Opens the terminal of the main program, for what runs before it or beside it. */
void console_prepare(void);
/* Starts a program as the one that the console shows; the shell is what the Enter key brings up. */
struct child *console_start(const struct program *program, const struct program *shell, enum console_mode mode);
/* Asks what runs on the console to end: the program's stop signal, and a hang-up for shells. */
void console_stop(const struct program *program);
/* Whether someone has typed into the program. */
bool console_was_used(void);
/* Waits for input, output, signals and requests, at most this long (-1: for ever), and serves what came. */
void console_turn(int timeout_ms);
/* Shows what the program has left, and takes its terminal away. */
void console_finish(void);

#endif
