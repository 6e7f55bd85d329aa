/* Runs the guest's parsers on the host: reads standard input, writes what was understood, each value ended by NUL. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "account.h"
#include "cmdline.h"
#include "config.h"
#include "file.h"
#include "netlink.h"
#include "program.h"
#include "text.h"

static void show(const char *key, const char *value)
{
    printf("%s %s", key, value ? value : "-");
    putchar('\0');
}

static void show_all(const char *key, const struct words *words)
{
    for (size_t i = 0; i < words->count; i++)
        show(key, words->item[i]);
}

static int show_config(const char *text)
{
    struct config config;
    if (!config_parse(&config, text))
        return 1;
    show_all("entrypoint", &config.entrypoint);
    show_all("cmd", &config.cmd);
    show_all("env", &config.env);
    show("user", config.user);
    show("workdir", config.work_dir);
    show("stop-signal", config.stop_signal);
    return 0;
}

static int show_options(const char *text)
{
    struct options options;
    options_parse(&options, text);
    show("root", options.root);
    show("init", options.init);
    show("hostname", options.hostname);
    show("user", options.user);
    show("flags", format("%d%d%d", options.read_only, options.single, options.console));
    show_all("env", &options.env);
    show_all("argument", &options.arguments);
    show_all("ip", &options.addresses);
    show_all("gw", &options.gateways);
    show_all("route", &options.routes);
    show_all("dns", &options.dns);
    show_all("sysctl", &options.sysctls);
    show_all("module", &options.modules);
    show_all("run", &options.run);
    show_all("complaint", &options.complaints);
    return 0;
}

/* The user is the first line; a line "--" parts /etc/passwd from /etc/group. */
static int show_account(char *text)
{
    struct account account;
    char *user = strsep(&text, "\n"), *group = strstr(text, "--\n");
    group[0] = '\0';
    const char *wrong = account_resolve(&account, user, text, group + 3);
    show("wrong", wrong);
    if (wrong)
        return 0;
    show("ids", format("%u:%u", (unsigned)account.uid, (unsigned)account.gid));
    show("home", account.home);
    for (size_t i = 0; i < account.group_count; i++)
        show("group", format("%u", (unsigned)account.groups[i]));
    return 0;
}

int main(int count, char **arguments)
{
    char *text = file_text("/dev/stdin", NULL);
    const char *what = count > 1 ? arguments[1] : "";
    if (!strcmp(what, "config"))
        return show_config(text);
    if (!strcmp(what, "options"))
        return show_options(text);
    if (!strcmp(what, "account"))
        return show_account(text);
    if (!strcmp(what, "split")) {
        struct words words = {0};
        split_command_line(&words, text);
        show_all("word", &words);
        return 0;
    }
    if (!strcmp(what, "signal"))
        return signal_number(text);
    return 2;
}
