/*
 * The payload file of a node: settings, files and commands that GNS3 hands over with -fw_cfg (kernel/CONTRACT.md,
 * "Payload file").
 */
#ifndef MINIVM_PAYLOAD_H
#define MINIVM_PAYLOAD_H

#include <stdbool.h>

#include "cmdline.h"
#include "config.h"
#include "lib/text.h"

/* A file, a folder or a command. */
struct payload_entry {
    enum payload_kind { PAYLOAD_FILE, PAYLOAD_FOLDER, PAYLOAD_COMMAND } kind;
    const char *path;   /* of a file or folder */
    const char *owner;  /* NULL if not given */
    unsigned long mode; /* if has_mode */
    bool has_mode;
    const char *once;   /* an identifier by which the disk remembers that this was done; NULL: at each boot */
    struct words argv;  /* of a command; empty for a line for the shell */
    const char *line;   /* for the shell */
    char *data;
    size_t size;
    bool broken; /* it has been complained about */
};

struct payload {
    struct options options; /* what words of the command line can say */
    struct config config;   /* what the configuration of the disk can say, but for the user */
    bool has_entrypoint, has_cmd;
    struct payload_entry *entry;
    size_t count;
    struct words complaints;
};

/* Reads a payload, whose text is used up; NULL, or why nothing of it can be used.  What is wrong in single lines goes into
 * the complaints. */
const char *payload_parse(struct payload *payload, char *text, size_t size);
/* Puts the payload's settings between those of the disk and those of the command line. */
void payload_merge(const struct payload *payload, struct config *config, struct options *options);

/* Reads the payload that QEMU has, if there is one, and merges it; what is wrong is said on the console. */
void payload_begin(struct payload *payload, struct config *config, struct options *options);
/* Writes files and folders; what does not work is said and passed over.  Gives their memory back. */
void payload_write_files(struct payload *payload);
bool payload_has_commands(const struct payload *payload);
/* Runs the commands one after another, in a process of their own.  shell: a command that takes "-c" and a line. */
void payload_start_commands(const struct payload *payload, const struct words *shell, char *const *environment);

#endif
