/* Strings and growing lists of words.  Who may free what: kernel/init/README.md. */
#ifndef MINIVM_TEXT_H
#define MINIVM_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* A list of strings that always ends with NULL, so that item serves as argv or envp. */
struct words {
    char **item;
    size_t count;
};

/* Allocation that never returns NULL. */
void *need(size_t size);
/* The same for memory that gets larger; what is new is not zeroed, and large pieces are not copied. */
void *enlarge(void *memory, size_t size);
char *copy_text(const char *text);
char *format(const char *pattern, ...) __attribute__((format(printf, 1, 2)));

void words_add(struct words *words, const char *text);
void words_add_all(struct words *words, const struct words *more);

/* Adds NAME=value, replacing an earlier value of the same name. */
void words_set(struct words *words, const char *assignment);
/* The value of NAME in a list of NAME=value, or NULL. */
const char *words_get(const struct words *words, const char *name);
/* Adds the non-empty parts of text between separator characters. */
void words_split(struct words *words, const char *text, const char *separators);

/* What follows prefix in text, or NULL if text does not start with it. */
const char *after(const char *text, const char *prefix);
/* The part of a path behind the last slash. */
const char *base_name(const char *path);
/* Reads a decimal number that takes the whole text; false if it is none or exceeds limit. */
bool parse_number(const char *text, unsigned long limit, unsigned long *number);
/* Cuts white space off both ends, in place: what is left begins where text does, so that its owner can free it. */
char *trim(char *text);
/* Replaces every \xHH (two lower-case hexadecimal digits) by its byte, in place. */
char *unescape(char *text);

#endif
