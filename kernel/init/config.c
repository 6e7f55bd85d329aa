#include "config.h"

#include <stdlib.h>
#include <string.h>

void config_begin(struct config *config)
{
    memset(config, 0, sizeof *config);
    config->user = config->work_dir = config->stop_signal = "";
}

void config_take(struct config *config, const char *key, const char *value)
{
    if (!strcmp(key, "entrypoint-arg"))
        words_add(&config->entrypoint, value);
    else if (!strcmp(key, "cmd-arg"))
        words_add(&config->cmd, value);
    else if (!strcmp(key, "env"))
        words_set(&config->env, value);
    else if (!strcmp(key, "user"))
        config->user = copy_text(value);
    else if (!strcmp(key, "workdir"))
        config->work_dir = copy_text(value);
    else if (!strcmp(key, "stop-signal"))
        config->stop_signal = copy_text(value);
}

static void take_line(struct config *config, char *line)
{
    char *value = line + strcspn(line, " ");
    if (*value)
        *value++ = '\0';
    config_take(config, line, unescape(value));
}

bool config_parse(struct config *config, const char *text)
{
    config_begin(config);
    const char *body = after(text, "minivm-config 1\n");
    if (!body)
        return false;
    char *copy = copy_text(body), *rest = copy, *line;
    while ((line = strsep(&rest, "\n")))
        take_line(config, line);
    free(copy);
    return true;
}
