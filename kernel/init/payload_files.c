/* Files and folders of a payload, and its commands. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "account.h"
#include "lib/file.h"
#include "lib/say.h"
#include "payload.h"
#include "payload_record.h"
#include "process.h"

enum { LINKS_MAX = 40 };

static char *folder_of(const char *path)
{
    char *folder = copy_text(path), *slash = strrchr(folder, '/');
    slash[slash == folder] = '\0';
    return folder;
}

/* Where a file's content goes: through symbolic links, also dangling ones.  The root disk is /: none leads out of it. */
static char *target_of(const char *path)
{
    char link[PATH_MAX];
    char *target = copy_text(path);
    for (int turn = 0; turn < LINKS_MAX; turn++) {
        ssize_t length = readlink(target, link, sizeof link - 1);
        if (length < 0)
            return target;
        link[length] = '\0';
        char *next = *link == '/' ? copy_text(link) : format("%s/%s", folder_of(target), link);
        free(target);
        target = next;
    }
    free(target);
    errno = ELOOP;
    return NULL;
}

/* What a payload says about owner and mode, or else what a file has now that is there.  false: the owner is unknown. */
static bool plan_status(const struct payload_entry *entry, const char *target, struct stat *status)
{
    static struct account account;
    static const char *last;
    if (stat(target, status) || (entry->kind == PAYLOAD_FILE) != S_ISREG(status->st_mode)) {
        memset(status, 0, sizeof *status);
        status->st_mode = entry->kind == PAYLOAD_FILE ? 0644 : 0755;
    }
    status->st_mode &= 07777;
    if (entry->has_mode)
        status->st_mode = (mode_t)entry->mode;
    if (!entry->owner)
        return true;
    status->st_uid = status->st_gid = 0;
    /* Looked up once for a run of files with the same owner. */
    const char *wrong = last && !strcmp(last, entry->owner) ? NULL : account_find(&account, entry->owner);
    last = wrong ? NULL : entry->owner;
    if (wrong) {
        say("payload: %s: owner '%s': %s; root owns it", entry->path, entry->owner, wrong);
        return false;
    }
    status->st_uid = account.uid;
    status->st_gid = account.gid;
    return true;
}

/* Whether everything was done as it should be. */
static bool write_entry(const struct payload_entry *entry)
{
    struct stat status;
    char *target = target_of(entry->path), *folder = target ? folder_of(target) : NULL;
    bool done = target && make_dirs(folder, 0755), known = false;
    if (done) {
        known = plan_status(entry, target, &status);
        if (entry->kind == PAYLOAD_FILE)
            done = file_install(target, entry->data, entry->size, &status);
        else
            done = make_dirs(target, 0755) && !chown(target, status.st_uid, status.st_gid) &&
                   !chmod(target, status.st_mode);
    }
    if (!done)
        say_error("payload: %s was not written", entry->path);
    free(target);
    free(folder);
    return done && known;
}

void payload_write_files(struct payload *payload)
{
    const struct payload_entry **done = need((payload->count + 1) * sizeof *done);
    size_t count = 0;
    for (size_t i = 0; i < payload->count; i++) {
        struct payload_entry *entry = &payload->entry[i];
        if (entry->kind == PAYLOAD_COMMAND || entry->broken)
            continue;
        /* /run is empty after each start. */
        bool is_there = !access(entry->path, F_OK);
        if ((!entry->once || !is_there || !record_has(entry)) && write_entry(entry) && entry->once)
            done[count++] = entry;
        free(entry->data);
        entry->data = NULL;
    }
    if (count)
        record_add(done, count);
    free(done);
}

static bool is_due(const struct payload_entry *entry)
{
    return entry->kind == PAYLOAD_COMMAND && !entry->broken && (!entry->once || !record_has(entry));
}

bool payload_has_commands(const struct payload *payload)
{
    for (size_t i = 0; i < payload->count; i++)
        if (is_due(&payload->entry[i]))
            return true;
    return false;
}

static void run_command(const struct payload_entry *entry, const struct words *shell, char *const *environment)
{
    struct words command = {0};
    if (entry->line) {
        words_add_all(&command, shell);
        words_add(&command, "-c");
        words_add(&command, entry->line);
    } else {
        words_add_all(&command, &entry->argv);
    }
    int status = process_run_with(&command, environment);
    if (status)
        say("payload: '%s' ended with status %d", entry->line ? entry->line : entry->argv.item[0], status);
    else if (entry->once)
        record_add(&entry, 1);
}

void payload_start_commands(const struct payload *payload, const struct words *shell, char *const *environment)
{
    if (!payload_has_commands(payload) || fork())
        return;
    process_reset_signals();
    for (size_t i = 0; i < payload->count; i++)
        if (is_due(&payload->entry[i]))
            run_command(&payload->entry[i], shell, environment);
    _exit(0);
}
