/*
 * Frames of the exec protocol (kernel/CONTRACT.md, "Exec"): what they look like on the serial line, in both directions.
 *
 * Only bytes in memory: no descriptors, no clock.
 */
#ifndef MINIVM_EXEC_FRAME_H
#define MINIVM_EXEC_FRAME_H

#include <stdbool.h>
#include <stddef.h>

enum {
    FRAME_VERSION = 1,
    FRAME_ID_SIZE = 16,
    FRAME_DATA_MAX = 1024,
    FRAME_SIZE_MAX = 1536, /* with everything around it: a terminal's output buffer takes it whole */
};

/* The identifier of what nobody has asked for, and of the answer to an empty frame. */
#define FRAME_ANNOUNCEMENT "0000000000000000"

struct frame {
    unsigned long version;
    char kind;
    char id[FRAME_ID_SIZE + 1];
    unsigned long number;
    size_t size;
    char data[FRAME_DATA_MAX];
};

/* Reads what stands between a frame's start and end; false if it is damaged. */
bool frame_parse(struct frame *frame, const char *body, size_t size);
/* Writes a frame as terminals pass over it; to has room for FRAME_SIZE_MAX.  Returns its size. */
size_t frame_write(char *to, const struct frame *frame);

/* Finds frames among what people type. */
struct frame_scanner {
    bool inside;
    size_t used;
    char body[FRAME_SIZE_MAX];
};

enum { FRAME_HELD_MAX = 6 }; /* bytes that may yet turn out to be typed */

/* Takes what has arrived: hands on each frame, and gives back in typed, which has room for size + FRAME_HELD_MAX, what is
 * none.  Returns how much that is. */
size_t frame_scan(struct frame_scanner *scanner, const char *data, size_t size, char *typed,
                  void (*take)(const struct frame *frame));
/* Nothing more has come for a while: what was held back is given up, or was typed.  Returns how much was typed. */
size_t frame_scan_give_up(struct frame_scanner *scanner, char *typed);

#endif
