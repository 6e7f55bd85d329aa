#include "text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void *need(size_t size)
{
    void *memory = calloc(1, size ? size : 1);
    while (!memory) {
        /* PID 1 must not end: wait until the kernel has made room. */
        sleep(1);
        memory = calloc(1, size ? size : 1);
    }
    return memory;
}

void *enlarge(void *memory, size_t size)
{
    void *larger;
    while (!(larger = realloc(memory, size)))
        sleep(1);
    return larger;
}

char *copy_text(const char *text)
{
    size_t size = strlen(text) + 1;
    return memcpy(need(size), text, size);
}

char *format(const char *pattern, ...)
{
    va_list arguments;
    va_start(arguments, pattern);
    int length = vsnprintf(NULL, 0, pattern, arguments);
    va_end(arguments);
    size_t size = (length < 0 ? 0 : (size_t)length) + 1;
    char *text = need(size);
    va_start(arguments, pattern);
    vsnprintf(text, size, pattern, arguments);
    va_end(arguments);
    return text;
}

void words_add(struct words *words, const char *text)
{
    char **items = need((words->count + 2) * sizeof *items);
    if (words->count)
        memcpy(items, words->item, words->count * sizeof *items);
    free(words->item);
    items[words->count++] = copy_text(text);
    words->item = items;
}

void words_add_all(struct words *words, const struct words *more)
{
    for (size_t i = 0; i < more->count; i++)
        words_add(words, more->item[i]);
}

static size_t name_length(const char *assignment)
{
    return strcspn(assignment, "=");
}

void words_set(struct words *words, const char *assignment)
{
    size_t length = name_length(assignment);
    for (size_t i = 0; i < words->count; i++)
        if (name_length(words->item[i]) == length && !strncmp(words->item[i], assignment, length)) {
            char *copy = copy_text(assignment); /* first: it may be a part of what is replaced */
            free(words->item[i]);
            words->item[i] = copy;
            return;
        }
    words_add(words, assignment);
}

const char *words_get(const struct words *words, const char *name)
{
    size_t length = strlen(name);
    for (size_t i = 0; i < words->count; i++)
        if (!strncmp(words->item[i], name, length) && words->item[i][length] == '=')
            return words->item[i] + length + 1;
    return NULL;
}

void words_split(struct words *words, const char *text, const char *separators)
{
    char *copy = copy_text(text), *rest = copy, *part;
    while ((part = strsep(&rest, separators)))
        if (*part)
            words_add(words, part);
    free(copy);
}

const char *after(const char *text, const char *prefix)
{
    size_t length = strlen(prefix);
    return strncmp(text, prefix, length) ? NULL : text + length;
}

const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

bool parse_number(const char *text, unsigned long limit, unsigned long *number)
{
    size_t digits = strspn(text, "0123456789");
    if (!digits || digits > 18 || text[digits])
        return false;
    *number = strtoul(text, NULL, 10);
    return *number <= limit;
}

char *trim(char *text)
{
    static const char blanks[] = " \t\r\n";
    const char *first = text + strspn(text, blanks);
    size_t length = strlen(first);
    while (length && strchr(blanks, first[length - 1]))
        length--;
    memmove(text, first, length);
    text[length] = '\0';
    return text;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

char *unescape(char *text)
{
    char *to = text;
    for (const char *from = text; *from; to++) {
        if (from[0] == '\\' && from[1] == 'x' && hex_digit(from[2]) >= 0 && hex_digit(from[3]) >= 0) {
            *to = (char)(hex_digit(from[2]) << 4 | hex_digit(from[3]));
            from += 4;
        } else {
            *to = *from++;
        }
    }
    *to = '\0';
    return text;
}
