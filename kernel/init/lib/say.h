/* Lines that init itself shows on the console. */
#ifndef MINIVM_SAY_H
#define MINIVM_SAY_H

/* Shows one line, "minivm: " in front and the line's end added. */
void say(const char *pattern, ...) __attribute__((format(printf, 1, 2)));
/* The same, followed by what errno means. */
void say_error(const char *pattern, ...) __attribute__((format(printf, 1, 2)));
/* Where lines go from now on: a terminal that takes bytes as they are. */
void say_on(int descriptor);

#endif
