/* What the disk remembers of payloads: which files, folders and commands that are to be done once were done. */
#ifndef MINIVM_PAYLOAD_RECORD_H
#define MINIVM_PAYLOAD_RECORD_H

#include <stdbool.h>

#include "payload.h"

bool record_has(const struct payload_entry *entry);
/* Remembers a list of entries, a file's or folder's in the place of what was known of its path. */
void record_add(const struct payload_entry *const *entries, size_t count);

#endif
