#include "say.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Before the serial line is opened: what the kernel has opened for init. */
static int terminal = STDERR_FILENO;

void say_on(int descriptor)
{
    terminal = descriptor;
}

/* The console must not hold up the boot for ever, and a full buffer must not lose lines: wait a little. */
static void show(const char *text, size_t size)
{
    while (size) {
        ssize_t written = write(terminal, text, size);
        if (written > 0) {
            text += written;
            size -= (size_t)written;
            continue;
        }
        struct pollfd wanted = {.fd = terminal, .events = POLLOUT};
        if (written < 0 && errno != EAGAIN && errno != EINTR)
            return;
        if (poll(&wanted, 1, 1000) <= 0)
            return;
    }
}

__attribute__((format(printf, 1, 0))) static void show_line(const char *pattern, va_list arguments, const char *reason)
{
    char line[1024] = "minivm: ";
    size_t used = strlen(line), room = sizeof line - 3;
    int length = vsnprintf(line + used, room - used, pattern, arguments);
    if (length > 0)
        used += (size_t)length < room - used ? (size_t)length : room - used - 1;
    if (reason && used < room) {
        length = snprintf(line + used, room - used, ": %s", reason);
        if (length > 0)
            used += (size_t)length < room - used ? (size_t)length : room - used - 1;
    }
    memcpy(line + used, "\r\n", 2);
    show(line, used + 2);
}

void say(const char *pattern, ...)
{
    va_list arguments;
    va_start(arguments, pattern);
    show_line(pattern, arguments, NULL);
    va_end(arguments);
}

void say_error(const char *pattern, ...)
{
    int number = errno;
    va_list arguments;
    va_start(arguments, pattern);
    show_line(pattern, arguments, strerror(number));
    va_end(arguments);
    errno = number;
}
