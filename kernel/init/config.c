#include "config.h"

#include <stdlib.h>
#include <string.h>

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Replaces every \xHH by its byte, in place. */
static char *unescape(char *text)
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

static void take_line(struct config *config, char *line)
{
    char *value = line + strcspn(line, " ");
    if (*value)
        *value++ = '\0';
    unescape(value);
    if (!strcmp(line, "entrypoint-arg"))
        words_add(&config->entrypoint, value);
    else if (!strcmp(line, "cmd-arg"))
        words_add(&config->cmd, value);
    else if (!strcmp(line, "env"))
        words_set(&config->env, value);
    else if (!strcmp(line, "user"))
        config->user = copy_text(value);
    else if (!strcmp(line, "workdir"))
        config->work_dir = copy_text(value);
    else if (!strcmp(line, "stop-signal"))
        config->stop_signal = copy_text(value);
}

bool config_parse(struct config *config, const char *text)
{
    memset(config, 0, sizeof *config);
    config->user = config->work_dir = config->stop_signal = "";
    const char *body = after(text, "minivm-config 1\n");
    if (!body)
        return false;
    char *copy = copy_text(body), *rest = copy, *line;
    while ((line = strsep(&rest, "\n")))
        take_line(config, line);
    free(copy);
    return true;
}
