/* Runs the guest's parsers on the host: reads standard input, writes what was understood, each value ended by NUL. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "account.h"
#include "cmdline.h"
#include "config.h"
#include "exec_command.h"
#include "exec_frame.h"
#include "lib/escape.h"
#include "lib/file.h"
#include "lib/text.h"
#include "netlink.h"
#include "payload.h"
#include "program.h"

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

static void show_parsed_config(const struct config *config)
{
    show_all("entrypoint", &config->entrypoint);
    show_all("cmd", &config->cmd);
    show_all("env", &config->env);
    show("user", config->user);
    show("workdir", config->work_dir);
    show("stop-signal", config->stop_signal);
}

static int show_config(const char *text)
{
    struct config config;
    if (!config_parse(&config, text))
        return 1;
    show_parsed_config(&config);
    return 0;
}

static void show_words(const struct options *options)
{
    show("hostname", options->hostname);
    show("user", options->user);
    show("flags", format("%d%d%d", options->read_only, options->single, options->console));
    show_all("env", &options->env);
    show_all("argument", &options->arguments);
    show_all("ip", &options->addresses);
    show_all("gw", &options->gateways);
    show_all("route", &options->routes);
    show_all("dns", &options->dns);
    show_all("sysctl", &options->sysctls);
    show_all("module", &options->modules);
    show_all("run", &options->run);
}

/* What a payload says, after the configuration and the options that it is merged with (empty ones). */
static int show_payload(char *text, size_t size)
{
    struct payload payload;
    struct config config;
    struct options options;
    const char *wrong = payload_parse(&payload, text, size);
    show("wrong", wrong);
    if (wrong)
        return 0;
    config_begin(&config);
    options_parse(&options, "");
    payload_merge(&payload, &config, &options);
    show("node", format("%d%d%d", config.node_entrypoint, config.node_cmd, config.node_work_dir));
    show_parsed_config(&config);
    show_words(&options);
    for (size_t i = 0; i < payload.count; i++) {
        const struct payload_entry *entry = &payload.entry[i];
        static const char *const kinds[] = {"file", "folder", "command"};
        show(kinds[entry->kind], entry->path ? entry->path : entry->line);
        show_all("argv", &entry->argv);
        show("owner", entry->owner);
        show("mode", entry->has_mode ? format("%lo", entry->mode) : NULL);
        show("once", entry->once);
        show("broken", entry->broken ? "yes" : NULL);
        printf("data ");
        for (size_t j = 0; j < entry->size; j++)
            printf("%02x", (unsigned char)entry->data[j]);
        putchar('\0');
    }
    show_all("complaint", &payload.complaints);
    return 0;
}

static int show_options(const char *text)
{
    struct options options;
    options_parse(&options, text);
    show("root", options.root);
    show("init", options.init);
    show_words(&options);
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

static void show_bytes(const char *key, const char *data, size_t size)
{
    printf("%s ", key);
    for (size_t i = 0; i < size; i++)
        printf("%02x", (unsigned char)data[i]);
    putchar('\0');
}

static void show_frame(const struct frame *frame)
{
    show("frame", format("%lu %c %s %lu", frame->version, frame->kind, frame->id, frame->number));
    show_bytes("data", frame->data, frame->size);
}

/* In pieces, whose size is the first byte, as a serial line delivers them; every frame is also written again. */
static int show_frames(const char *data, size_t size)
{
    static struct frame_scanner scanner;
    char typed[256 + FRAME_HELD_MAX];
    size_t step = size && *data ? (unsigned char)*data : 1;
    for (size_t at = 1; at < size; at += step) {
        size_t piece = size - at < step ? size - at : step;
        show_bytes("typed", typed, frame_scan(&scanner, data + at, piece, typed, show_frame));
    }
    show_bytes("typed", typed, frame_scan_give_up(&scanner, typed));
    return 0;
}

static int write_frame(const char *data, size_t size)
{
    struct frame frame = {.version = FRAME_VERSION, .kind = 'o', .id = "0123456789abcdef", .number = 7, .size = size};
    char written[FRAME_SIZE_MAX];
    memcpy(frame.data, data, size);
    show_bytes("written", written, frame_write(written, &frame));
    return 0;
}

/* Where the bytes may be interrupted: a one for each byte behind which they may. */
static int show_gaps(const char *data, size_t size)
{
    struct escape escape = {0};
    for (size_t i = 0; i < size; i++) {
        escape_follow(&escape, data + i, 1);
        show("gap", escape_is_between(&escape) ? "1" : "0");
    }
    return 0;
}

static int show_request(const char *text)
{
    struct exec_request request;
    const char *wrong = exec_request_parse(&request, text);
    show("wrong", wrong);
    if (wrong)
        return 0;
    show_all("arg", &request.argv);
    show_all("env", &request.env);
    show("shell", request.shell);
    show("user", request.user);
    show("workdir", request.work_dir);
    return 0;
}

/* The first line of a file that text names; the caller owns it. */
static int show_line(const char *path)
{
    char *line = file_line(path);
    show("line", line);
    free(line);
    return 0;
}

static int show_limits(void)
{
    show("request", format("%d", EXEC_REQUEST_MAX));
    show("data", format("%d", FRAME_DATA_MAX));
    return 0;
}

static char *read_input(size_t *size)
{
    size_t room = 65536, got;
    char *text = need(room);
    *size = 0;
    while ((got = fread(text + *size, 1, room - *size - 1, stdin)) > 0)
        if ((*size += got) + 1 == room)
            text = enlarge(text, room *= 2);
    text[*size] = '\0';
    return text;
}

int main(int count, char **arguments)
{
    size_t size = 0;
    char *text = read_input(&size);
    const char *what = count > 1 ? arguments[1] : "";
    if (!strcmp(what, "config"))
        return show_config(text);
    if (!strcmp(what, "options"))
        return show_options(text);
    if (!strcmp(what, "payload"))
        return show_payload(text, size);
    if (!strcmp(what, "account"))
        return show_account(text);
    if (!strcmp(what, "split")) {
        struct words words = {0};
        split_command_line(&words, text);
        show_all("word", &words);
        return 0;
    }
    if (!strcmp(what, "signal")) {
        show("number", format("%d", signal_number(text)));
        return 0;
    }
    if (!strcmp(what, "frames"))
        return show_frames(text, size);
    if (!strcmp(what, "write-frame"))
        return write_frame(text, size);
    if (!strcmp(what, "gaps"))
        return show_gaps(text, size);
    if (!strcmp(what, "request"))
        return show_request(text);
    if (!strcmp(what, "line"))
        return show_line(text);
    if (!strcmp(what, "limits"))
        return show_limits();
    return 2;
}
