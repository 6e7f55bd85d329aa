#include "ifupdown.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "console.h"
#include "lib/file.h"
#include "lib/say.h"
#include "power.h"
#include "process.h"

#define INTERFACES "/etc/network/interfaces"

enum {
    PATIENCE_MS = 10000, /* for a lease; a main program that needs none shall not wait for ever */
};

static bool is_configured(const struct options *options, const char *name, size_t length)
{
    for (size_t i = 0; i < options->addresses.count; i++)
        if (!strncmp(options->addresses.item[i], name, length) && options->addresses.item[i][length] == '=')
            return true;
    return false;
}

/* busybox's ifup cannot leave out an interface: the names of the "auto" lines, but for the configured ones. */
static void add_auto_names(struct words *command, const struct options *options)
{
    struct words lines = {0};
    char *text = file_text(INTERFACES, NULL);
    if (text)
        words_split(&lines, text, "\n");
    for (size_t i = 0; i < lines.count; i++) {
        struct words line = {0};
        words_split(&line, lines.item[i], " \t");
        for (size_t k = 1; k < line.count && !strcmp(line.item[0], "auto"); k++)
            if (strcmp(line.item[k], "lo") && !is_configured(options, line.item[k], strlen(line.item[k])))
                words_add(command, line.item[k]);
    }
    free(text);
}

static void add_exclusions(struct words *command, const struct options *options)
{
    words_add(command, "-a");
    for (size_t i = 0; i < options->addresses.count; i++) {
        char *name = copy_text(options->addresses.item[i]);
        name[strcspn(name, "=")] = '\0';
        words_add(command, "-X");
        words_add(command, name);
    }
}

static bool is_busybox(const char *path)
{
    char *real = realpath(path, NULL);
    bool found = real && strstr(real, "busybox");
    free(real);
    return found;
}

void ifupdown_begin(const struct options *options, const struct program *program)
{
    struct words command = {0};
    struct child child;
    char *ifup = process_find("ifup", DEFAULT_PATH);
    long long end = now_ms() + PATIENCE_MS;
    if (!ifup || access(INTERFACES, R_OK) || !strcmp(program->argv.item[0], "/etc/init.sh"))
        return;
    words_add(&command, ifup);
    if (is_busybox(ifup))
        add_auto_names(&command, options);
    else
        add_exclusions(&command, options);
    if (command.count == 1)
        return;
    make_dirs("/run/network", 0755); /* where both keep their state */
    console_prepare();
    child_watch(&child, process_start(&command));
    while (child.running && now_ms() < end && power_request == POWER_NONE)
        console_turn(100);
    if (child.running)
        say("ifup continues beside the main program");
    child_forget(&child);
}
