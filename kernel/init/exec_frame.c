/*
 * To the host a frame is an operating system command with a number that nobody uses, which terminals swallow (ECMA-48,
 * 8.3.89).  From the host it stands between two control characters that hardly anyone types, so that no key, such as Esc,
 * has to be held back.  Between them there are only the characters of base64 and semicolons.
 */
#include "exec_frame.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "lib/encoding.h"

#define MARK "7411;"
#define BEFORE "\033]"
#define BEHIND "\033\\"

enum { START = 0x1e, END = 0x1f, FIELDS = 7 };

/* A number of at most max digits of this base, which takes the whole field. */
static bool read_number(const char *text, size_t size, unsigned base, size_t max, unsigned long *number)
{
    static const char hex[] = "0123456789abcdef";
    *number = 0;
    if (!size || size > max)
        return false;
    for (size_t i = 0; i < size; i++) {
        const char *digit = memchr(hex, text[i], base);
        if (!digit)
            return false;
        *number = *number * base + (unsigned long)(digit - hex);
    }
    return true;
}

bool frame_parse(struct frame *frame, const char *body, size_t size)
{
    const char *field[FIELDS];
    size_t length[FIELDS], count = 0, begin = 0;
    unsigned long sum;
    for (size_t i = 0; i <= size; i++) {
        if (i < size && body[i] != ';')
            continue;
        if (count == FIELDS)
            return false;
        field[count] = body + begin;
        length[count++] = i - begin;
        begin = i + 1;
    }
    if (count != FIELDS || length[0] != strlen(MARK) - 1 || memcmp(body, MARK, strlen(MARK)))
        return false;
    if (length[6] != 8 || !read_number(field[6], 8, 16, 8, &sum) ||
        sum != crc32_of(body, (size_t)(field[6] - body) - 1))
        return false;
    if (!read_number(field[1], length[1], 10, 3, &frame->version) || length[2] != 1 || length[3] != FRAME_ID_SIZE ||
        !read_number(field[4], length[4], 10, 9, &frame->number))
        return false;
    frame->kind = *field[2];
    memcpy(frame->id, field[3], FRAME_ID_SIZE);
    frame->id[FRAME_ID_SIZE] = '\0';
    return base64_decode(frame->data, sizeof frame->data, &frame->size, field[5], length[5]);
}

size_t frame_write(char *to, const struct frame *frame)
{
    size_t used = (size_t)sprintf(to, BEFORE MARK "%lu;%c;%s;%lu;", frame->version, frame->kind, frame->id,
                                  frame->number);
    used += base64_encode(to + used, frame->data, frame->size);
    uint32_t sum = crc32_of(to + strlen(BEFORE), used - strlen(BEFORE));
    return used + (size_t)sprintf(to + used, ";%08x" BEHIND, (unsigned)sum);
}

size_t frame_scan_give_up(struct frame_scanner *scanner, char *typed)
{
    size_t count = 0;
    if (scanner->inside && scanner->used < strlen(MARK)) {
        typed[count++] = START;
        memcpy(typed + count, scanner->body, scanner->used);
        count += scanner->used;
    }
    scanner->inside = false;
    return count;
}

static bool may_be_inside(char byte)
{
    return base64_digit(byte) >= 0 || byte == '=' || byte == ';';
}

static bool ends_like_frame(const char *typed, size_t count)
{
    unsigned long sum;
    return count > 8 && typed[count - 9] == ';' && read_number(typed + count - 8, 8, 16, 8, &sum);
}

size_t frame_scan(struct frame_scanner *scanner, const char *data, size_t size, char *typed,
                  void (*take)(const struct frame *frame))
{
    static const struct frame knock = {.version = FRAME_VERSION, .kind = 'H', .id = FRAME_ANNOUNCEMENT};
    struct frame frame;
    size_t count = 0;
    for (size_t i = 0; i < size; i++) {
        if (data[i] == START) {
            count += frame_scan_give_up(scanner, typed + count);
            scanner->inside = true;
            scanner->used = 0;
        } else if (!scanner->inside && data[i] == END && ends_like_frame(typed, count)) {
            /* Its beginning came before the line was ours. */
            while (count && may_be_inside(typed[count - 1]))
                count--;
        } else if (!scanner->inside) {
            typed[count++] = data[i];
        } else if (data[i] == END && !scanner->used) {
            scanner->inside = false;
            take(&knock);
        } else if (scanner->used < strlen(MARK) && data[i] != MARK[scanner->used]) {
            count += frame_scan_give_up(scanner, typed + count);
            typed[count++] = data[i];
        } else if (data[i] == END) {
            scanner->inside = false;
            if (frame_parse(&frame, scanner->body, scanner->used))
                take(&frame);
        } else if (!may_be_inside(data[i])) {
            /* A key pressed by a person whose client shares the line. */
            typed[count++] = data[i];
        } else if (scanner->used < sizeof scanner->body) {
            /* What is too long has no valid checksum. */
            scanner->body[scanner->used++] = data[i];
        }
    }
    return count;
}
