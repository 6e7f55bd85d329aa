#include "cmdline.h"

#include <stdlib.h>
#include <string.h>

/* Takes one word off the rest of a line: lib/cmdline.c, next_arg() of the kernel, with the value put back behind the name. */
static const char *next_word(char **rest)
{
    char *line = *rest;
    bool in_quote = false, quoted = false;
    size_t end = 0, equals = 0;
    if (*line == '"') {
        line++;
        in_quote = quoted = true;
    }
    for (; line[end]; end++) {
        if (strchr(" \t\n\r\v\f", line[end]) && !in_quote)
            break;
        if (!equals && line[end] == '=')
            equals = end;
        if (line[end] == '"')
            in_quote = !in_quote;
    }
    char *next = line + end + (line[end] != '\0');
    line[end] = '\0';
    bool value_quoted = equals && line[equals + 1] == '"';
    if ((value_quoted || quoted) && end && line[end - 1] == '"')
        line[end - 1] = '\0';
    if (value_quoted)
        memmove(line + equals + 1, line + equals + 2, strlen(line + equals + 2) + 1);
    *rest = next + strspn(next, " \t\n\r\v\f");
    return line;
}

void split_command_line(struct words *words, const char *line)
{
    char *copy = copy_text(line), *rest = copy + strspn(copy, " \t\n\r\v\f");
    while (*rest)
        words_add(words, next_word(&rest));
    free(copy);
}

static void complain(struct options *options, const char *word, const char *reason)
{
    words_add(&options->complaints, format("'%s': %s", word, reason));
}

static bool is_hostname(const char *name)
{
    size_t length = strlen(name);
    return length && length <= 63 && name[0] != '-' && name[length - 1] != '-' &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.") == length;
}

static void take_console(struct options *options, const char *word, const char *mode)
{
    options->has_console = true;
    if (!strcmp(mode, "main"))
        options->console = CONSOLE_MAIN;
    else if (!strcmp(mode, "shell"))
        options->console = CONSOLE_SHELL;
    else if (!strcmp(mode, "auto"))
        options->console = CONSOLE_AUTO;
    else
        complain(options, word, "must be main, shell or auto");
}

/* Words that stand for a list, each word adding to it: the part behind the first "=" counts. */
static bool take_list(struct options *options, const char *word)
{
    const struct {
        const char *prefix;
        struct words *list;
        const char *separators;
    } lists[] = {
        {"gw=", &options->gateways, ","},  {"route=", &options->routes, ""}, {"dns=", &options->dns, ","},
        {"modules=", &options->modules, ","}, {"run=", &options->run, ""},
    };
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        const char *value = after(word, lists[i].prefix);
        if (!value)
            continue;
        if (!*value)
            complain(options, word, "has no value");
        words_split(lists[i].list, value, lists[i].separators);
        return true;
    }
    return false;
}

/* Words with a dot in the name, which the kernel leaves alone and does not count. */
static bool take_dotted(struct options *options, const char *word)
{
    const char *rest;
    if ((rest = after(word, "env."))) {
        if (*rest == '=' || !strchr(rest, '='))
            complain(options, word, "must be env.NAME=value");
        else
            words_set(&options->env, rest);
    } else if ((rest = after(word, "ip."))) {
        const char *equals = strchr(rest, '=');
        if (!equals || equals == rest || !equals[1])
            complain(options, word, "must be ip.INTERFACE=ADDRESS/LENGTH, dhcp or slaac");
        else
            words_add(&options->addresses, rest);
    } else if ((rest = after(word, "sysctl."))) {
        const char *equals = strchr(rest, '=');
        if (!equals || equals == rest)
            complain(options, word, "must be sysctl.NAME=value");
        else
            words_add(&options->sysctls, rest);
    } else if ((rest = after(word, "minivm.console="))) {
        take_console(options, word, rest);
    } else if (after(word, "minivm.")) {
        complain(options, word, "is unknown");
    } else {
        return false;
    }
    return true;
}

void options_take(struct options *options, const char *word)
{
    const char *value;
    if (take_dotted(options, word) || take_list(options, word))
        return;
    if ((value = after(word, "root="))) {
        if (*value)
            options->root = copy_text(value);
        else
            complain(options, word, "has no value");
    } else if ((value = after(word, "rootflags="))) {
        options->root_flags = copy_text(value);
    } else if ((value = after(word, "rootfstype="))) {
        if (*value)
            options->root_type = copy_text(value);
        else
            complain(options, word, "has no value");
    } else if ((value = after(word, "rootdelay="))) {
        if (!parse_number(value, 3600, &options->root_wait_s))
            complain(options, word, "must be a number of seconds up to 3600");
    } else if (!strcmp(word, "ro")) {
        options->read_only = true;
    } else if (!strcmp(word, "rw")) {
        options->read_only = false;
    } else if (!strcmp(word, "single")) {
        options->single = true;
    } else if ((value = after(word, "init="))) {
        if (*value == '/')
            options->init = copy_text(value);
        else
            complain(options, word, "must be an absolute path");
    } else if ((value = after(word, "hostname="))) {
        if (is_hostname(value))
            options->hostname = copy_text(value);
        else
            complain(options, word, "must be up to 63 letters, digits and inner hyphens");
    } else if ((value = after(word, "user="))) {
        if (*value)
            options->user = copy_text(value);
        else
            complain(options, word, "must be NAME, NUMBER, or either with :GROUP");
    } else if (!strcmp(word, "console=main") || !strcmp(word, "console=shell")) {
        /* The kernel reads console= as well, finds no device of this name and keeps ttyS0. */
        take_console(options, word, word + strlen("console="));
    }
}

void options_parse(struct options *options, const char *line)
{
    struct words words = {0};
    memset(options, 0, sizeof *options);
    options->root = "/dev/vda";
    options->root_wait_s = 10;
    split_command_line(&words, line);
    for (size_t i = 0; i < words.count; i++) {
        if (options->has_arguments)
            words_add(&options->arguments, words.item[i]);
        else if (!strcmp(words.item[i], "--"))
            options->has_arguments = true;
        else
            options_take(options, words.item[i]);
    }
}

bool is_own_word(const char *word)
{
    static const char *const own[] = {"hostname=", "user=", "gw=", "route=", "dns=", "modules=", "run="};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (after(word, own[i]))
            return true;
    return false;
}
