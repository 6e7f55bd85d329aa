/* ECMA-48, 5.3 to 5.6: escape sequences, control sequences and control strings, in their 7-bit forms. */
#include "escape.h"

enum { BEL = 7, CANCEL = 0x18, SUBSTITUTE = 0x1a, ESC = 0x1b };

static unsigned missing_bytes(unsigned char first)
{
    return first >= 0xf0 && first < 0xf8 ? 3 : first >= 0xe0 ? 2 : first >= 0xc2 ? 1 : 0;
}

static void follow_character(struct escape *escape, unsigned char byte)
{
    if (byte < 0x80)
        escape->continuation = 0;
    else if (byte >= 0xc0)
        escape->continuation = byte < 0xf8 ? missing_bytes(byte) : 0;
    else if (escape->continuation)
        escape->continuation--;
}

static void follow(struct escape *escape, unsigned char byte)
{
    bool in_string = escape->state == ESCAPE_STRING || escape->state == ESCAPE_STRING_END;
    if (byte == CANCEL || byte == SUBSTITUTE)
        escape->state = ESCAPE_NONE;
    else if (byte == ESC)
        escape->state = escape->state == ESCAPE_STRING ? ESCAPE_STRING_END : ESCAPE_BEGUN;
    else if (escape->state == ESCAPE_STRING)
        escape->state = byte == BEL ? ESCAPE_NONE : ESCAPE_STRING;
    else if (escape->state == ESCAPE_CONTROL)
        escape->state = byte >= 0x40 && byte < 0x7f ? ESCAPE_NONE : ESCAPE_CONTROL;
    else if (escape->state == ESCAPE_NONE)
        follow_character(escape, byte);
    else if (byte == '[')
        escape->state = ESCAPE_CONTROL;
    else if (byte == ']' || byte == 'P' || byte == 'X' || byte == '^' || byte == '_')
        escape->state = ESCAPE_STRING;
    else if (byte >= 0x30 || in_string)
        escape->state = ESCAPE_NONE;
}

void escape_follow(struct escape *escape, const char *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        follow(escape, (unsigned char)data[i]);
}

bool escape_is_between(const struct escape *escape)
{
    return escape->state == ESCAPE_NONE && !escape->continuation;
}
