/*
 * Commands that programs on the host run through the serial line, beside what people do there (kernel/CONTRACT.md, "Exec").
 *
 * The console gives what has arrived to frame_scan with exec_take, and asks for frames to send when the line is free.
 */
#ifndef MINIVM_EXEC_H
#define MINIVM_EXEC_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>

#include "exec_frame.h"
#include "program.h"

enum { EXEC_SLOTS = 8, EXEC_SOURCES = EXEC_SLOTS * 4 };

/* What runs now: commands get its environment.  in_recovery: it is a shell in the place of the main program. */
void exec_begin(const struct program *program, bool in_recovery);
void exec_take(const struct frame *frame);
/* Fills in what to poll, and shortens the time-out where something is due; then serves what has come. */
void exec_poll_for(struct pollfd sources[EXEC_SOURCES], int *timeout_ms);
void exec_serve(const struct pollfd sources[EXEC_SOURCES]);
/* Whether there is a frame to send, and the next one; to has room for FRAME_SIZE_MAX. */
bool exec_has_frame(void);
size_t exec_next_frame(char *to);

#endif
