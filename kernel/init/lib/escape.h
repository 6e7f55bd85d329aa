/* Where a terminal's input can be interrupted: not inside an escape sequence, nor inside a character of UTF-8. */
#ifndef MINIVM_ESCAPE_H
#define MINIVM_ESCAPE_H

#include <stdbool.h>
#include <stddef.h>

struct escape {
    enum { ESCAPE_NONE, ESCAPE_BEGUN, ESCAPE_CONTROL, ESCAPE_STRING, ESCAPE_STRING_END } state;
    unsigned continuation; /* bytes of a character that are missing */
};

/* Follows what is sent to the terminal. */
void escape_follow(struct escape *escape, const char *data, size_t size);
bool escape_is_between(const struct escape *escape);

#endif
