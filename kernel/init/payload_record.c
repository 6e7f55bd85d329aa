/* /.minivm/payload holds a line for each: "file ID PATH", "folder ID PATH" or "run ID". */
#include "payload_record.h"

#include <stdlib.h>
#include <string.h>

#include "lib/file.h"
#include "lib/say.h"

#define RECORD_FILE "/.minivm/payload"

/* Read once: nobody else writes it. */
static const struct words *known_lines(void)
{
    static struct words lines;
    static bool done;
    char *text = done ? NULL : file_text(RECORD_FILE, NULL);
    if (text)
        words_split(&lines, text, "\n");
    free(text);
    done = true;
    return &lines;
}

static char *line_of(const struct payload_entry *entry)
{
    if (entry->kind == PAYLOAD_COMMAND)
        return format("run %s", entry->once);
    return format("%s %s %s", entry->kind == PAYLOAD_FILE ? "file" : "folder", entry->once, entry->path);
}

bool record_has(const struct payload_entry *entry)
{
    const struct words *known = known_lines();
    char *line = line_of(entry);
    bool found = false;
    for (size_t i = 0; i < known->count && !found; i++)
        found = !strcmp(known->item[i], line);
    free(line);
    return found;
}

/* Whether two lines are about the same thing: the same kind and path. */
static bool same_thing(const char *line, const char *other)
{
    size_t kind = strcspn(line, " ");
    if (strncmp(line, other, kind + 1) || !strncmp(line, "run ", 4))
        return !strcmp(line, other);
    const char *path = strchr(line + kind + 1, ' '), *other_path = strchr(other + kind + 1, ' ');
    return path && other_path && !strcmp(path, other_path);
}

void record_add(const struct payload_entry *const *entries, size_t count)
{
    struct words fresh = {0};
    char *text = copy_text("");
    for (size_t i = 0; i < count; i++)
        words_add(&fresh, line_of(entries[i]));
    const struct words *known = known_lines();
    for (size_t i = 0; i < known->count; i++) {
        bool replaced = false;
        for (size_t j = 0; j < fresh.count && !replaced; j++)
            replaced = same_thing(known->item[i], fresh.item[j]);
        if (!replaced)
            words_add(&fresh, known->item[i]);
    }
    for (size_t i = 0; i < fresh.count; i++) {
        char *longer = format("%s%s\n", text, fresh.item[i]);
        free(text);
        text = longer;
    }
    if (!make_dirs("/.minivm", 0755) || !file_replace(RECORD_FILE, text, 0644))
        say_error(RECORD_FILE);
    free(text);
    *(struct words *)known = fresh;
}
