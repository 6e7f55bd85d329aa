#include "payload.h"

#include <stdlib.h>
#include <string.h>

#include "lib/encoding.h"

#define HEADER "minivm-node 1\n"

enum { COMPLAINTS_MAX = 20 };

/* The last line must be "end CHECKSUM" of all before it; NULL, or what is wrong.  body_size: without that line. */
static const char *check_end(const char *text, size_t size, size_t *body_size)
{
    size_t start = size ? size - 1 : 0;
    if (!size || text[size - 1] != '\n')
        return "it is cut off";
    while (start && text[start - 1] != '\n')
        start--;
    char *line = need(size - start);
    memcpy(line, text + start, size - start - 1);
    const char *wanted = after(line, "end ");
    char *found = format("%08x", (unsigned)crc32_of(text, start));
    const char *wrong = !wanted ? "it is cut off" : strcmp(wanted, found) ? "its checksum is wrong" : NULL;
    free(line);
    free(found);
    *body_size = start;
    return wrong;
}

static void complain(struct payload *payload, size_t number, const char *what)
{
    if (payload->complaints.count < COMPLAINTS_MAX)
        words_add(&payload->complaints, format("line %zu: %s", number, what));
    else if (payload->complaints.count == COMPLAINTS_MAX)
        words_add(&payload->complaints, "more lines are wrong");
}

static struct payload_entry *add_entry(struct payload *payload, enum payload_kind kind)
{
    /* A power of two is full. */
    if (!(payload->count & (payload->count - 1))) {
        struct payload_entry *larger = need((payload->count ? payload->count * 2 : 1) * sizeof *larger);
        if (payload->count)
            memcpy(larger, payload->entry, payload->count * sizeof *larger);
        free(payload->entry);
        payload->entry = larger;
    }
    struct payload_entry *entry = &payload->entry[payload->count++];
    memset(entry, 0, sizeof *entry);
    entry->kind = kind;
    return entry;
}

/* Adds what a line of base64 stands for; false if it is none.  room: what has been allocated for data. */
static bool add_data(struct payload_entry *entry, size_t *room, const char *text)
{
    size_t length = strlen(text), more = length / 4 * 3, added;
    if (entry->size + more > *room) {
        *room = (entry->size + more) * 2;
        entry->data = enlarge(entry->data, *room);
    }
    if (!base64_decode(entry->data + entry->size, *room - entry->size, &added, text, length))
        return false;
    entry->size += added;
    return true;
}

static bool parse_mode(const char *text, unsigned long *mode)
{
    size_t length = strlen(text);
    *mode = strtoul(text, NULL, 8);
    return length && length <= 5 && strspn(text, "01234567") == length && *mode <= 07777;
}

/* Lines that begin a file, a folder or a command. */
static bool take_beginning(struct payload *payload, const char *key, const char *value, const char **wrong)
{
    bool is_file = !strcmp(key, "file");
    if (is_file || !strcmp(key, "folder")) {
        struct payload_entry *entry = add_entry(payload, is_file ? PAYLOAD_FILE : PAYLOAD_FOLDER);
        entry->path = copy_text(value);
        entry->broken = *value != '/' || value[strlen(value) - 1] == '/';
        if (entry->broken)
            *wrong = "must be an absolute path";
    } else if (!strcmp(key, "run")) {
        add_entry(payload, PAYLOAD_COMMAND)->line = copy_text(value);
    } else if (!strcmp(key, "exec")) {
        words_add(&add_entry(payload, PAYLOAD_COMMAND)->argv, value);
    } else {
        return false;
    }
    return true;
}

/* Lines that say more about the file, folder or command before them. */
static bool take_attribute(struct payload *payload, size_t *room, const char *key, const char *value,
                           const char **wrong)
{
    static const char *const keys[] = {"mode", "owner", "once", "data", "exec-arg"};
    struct payload_entry *entry = payload->count ? &payload->entry[payload->count - 1] : NULL;
    size_t which = 0;
    while (which < sizeof keys / sizeof *keys && strcmp(key, keys[which]))
        which++;
    if (which == sizeof keys / sizeof *keys)
        return false;
    bool is_command = entry && entry->kind == PAYLOAD_COMMAND;
    if (!entry || (which < 2 && is_command) || (which == 3 && entry->kind != PAYLOAD_FILE) ||
        (which == 4 && !entry->argv.count)) {
        *wrong = "nothing precedes it that it could belong to";
        return true;
    }
    if (which == 0) {
        entry->has_mode = true;
        if (!parse_mode(value, &entry->mode))
            *wrong = "must be an octal number up to 7777";
    } else if (which == 1) {
        entry->owner = copy_text(value);
    } else if (which == 2) {
        entry->once = copy_text(value);
        if (!*value || strpbrk(value, " \n"))
            *wrong = "must be a word";
    } else if (which == 3) {
        if (!add_data(entry, room, value))
            *wrong = "must be base64";
    } else {
        words_add(&entry->argv, value);
    }
    entry->broken = entry->broken || *wrong;
    return true;
}

/* Settings that words of the command line make as well, with a space in the place of the equals sign. */
static bool is_word_key(const char *key)
{
    static const char *const whole[] = {"hostname", "user", "gw", "route", "dns", "modules", "minivm.console"};
    static const char *const start[] = {"ip.", "env.", "sysctl."};
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
        if (!strcmp(key, whole[i]))
            return true;
    for (size_t i = 0; i < sizeof start / sizeof *start; i++)
        if (after(key, start[i]))
            return true;
    return false;
}

/* Settings that the disk's configuration has as well, with the same keys. */
static bool take_config(struct payload *payload, const char *key, const char *value)
{
    static const char *const keys[] = {"entrypoint-arg", "cmd-arg", "workdir", "stop-signal"};
    if (!strcmp(key, "entrypoint"))
        return payload->has_entrypoint = true;
    if (!strcmp(key, "cmd"))
        return payload->has_cmd = true;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (!strcmp(key, keys[i])) {
            config_take(&payload->config, key, value);
            return true;
        }
    return false;
}

static void take_line(struct payload *payload, size_t *room, size_t number, char *key)
{
    char *value = key + strcspn(key, " ");
    const char *wrong = NULL;
    const struct words *complaints = &payload->options.complaints;
    size_t entries = payload->count, complained = complaints->count;
    if (*value)
        *value++ = '\0';
    unescape(value);
    if (is_word_key(key)) {
        char *word = format("%s=%s", key, value);
        options_take(&payload->options, word);
        free(word);
        if (complaints->count > complained)
            complain(payload, number, complaints->item[complained]);
    } else if (!take_beginning(payload, key, value, &wrong) && !take_attribute(payload, room, key, value, &wrong) &&
               !take_config(payload, key, value)) {
        wrong = "is unknown";
    }
    if (payload->count > entries)
        *room = 0;
    if (wrong)
        complain(payload, number, format("'%s': %s", key, wrong));
}

const char *payload_parse(struct payload *payload, char *text, size_t size)
{
    size_t body_size, number = 1, room = 0;
    memset(payload, 0, sizeof *payload);
    config_begin(&payload->config);
    if (size < strlen("minivm-node ") || strncmp(text, "minivm-node ", strlen("minivm-node ")))
        return "it does not start with 'minivm-node'";
    if (size < strlen(HEADER) || strncmp(text, HEADER, strlen(HEADER)))
        return "its version is not 1";
    const char *wrong = memchr(text, '\0', size) ? "it contains a zero byte" : check_end(text, size, &body_size);
    if (wrong)
        return wrong;
    /* In place: it may be a quarter of the memory. */
    char *rest = text, *line;
    text[body_size] = '\0';
    strsep(&rest, "\n");
    while ((line = strsep(&rest, "\n")) && rest)
        take_line(payload, &room, ++number, line);
    return NULL;
}

/* The addresses of an interface that the command line names are the command line's. */
static void merge_addresses(const struct words *from, struct words *to)
{
    struct words merged = {0};
    for (size_t i = 0; i < from->count; i++) {
        bool is_named = false;
        size_t length = strcspn(from->item[i], "=") + 1;
        for (size_t j = 0; j < to->count; j++)
            is_named = is_named || !strncmp(from->item[i], to->item[j], length);
        if (!is_named)
            words_add(&merged, from->item[i]);
    }
    words_add_all(&merged, to);
    *to = merged;
}

/* Of these the later one counts. */
static void merge_before(const struct words *from, struct words *to)
{
    struct words merged = {0};
    words_add_all(&merged, from);
    words_add_all(&merged, to);
    *to = merged;
}

void payload_merge(const struct payload *payload, struct config *config, struct options *options)
{
    const struct options *from = &payload->options;
    const struct config *more = &payload->config;
    if (!options->hostname)
        options->hostname = from->hostname;
    if (!options->user)
        options->user = from->user;
    if (!options->has_console) {
        options->has_console = from->has_console;
        options->console = from->console;
    }
    if (!options->dns.count)
        options->dns = from->dns;
    merge_addresses(&from->addresses, &options->addresses);
    merge_before(&from->gateways, &options->gateways);
    merge_before(&from->routes, &options->routes);
    merge_before(&from->sysctls, &options->sysctls);
    merge_before(&from->modules, &options->modules);
    for (size_t i = 0; i < from->env.count; i++)
        words_set(&config->env, from->env.item[i]);
    if (payload->has_entrypoint) {
        /* As in Docker: another ENTRYPOINT does not get the image's CMD. */
        config->entrypoint = more->entrypoint;
        config->cmd = (struct words){0};
        config->node_entrypoint = true;
    }
    if (payload->has_cmd) {
        config->cmd = more->cmd;
        config->node_cmd = true;
    }
    if (*more->work_dir) {
        config->work_dir = more->work_dir;
        config->node_work_dir = true;
    }
    if (*more->stop_signal)
        config->stop_signal = more->stop_signal;
}
