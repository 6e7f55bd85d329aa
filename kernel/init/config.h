/* /.minivm/config on the root disk: how the image wants to be run (kernel/CONTRACT.md, "Configuration file"). */
#ifndef MINIVM_CONFIG_H
#define MINIVM_CONFIG_H

#include <stdbool.h>

#include "lib/text.h"

struct config {
    struct words entrypoint, cmd, env;
    const char *user, *work_dir, *stop_signal; /* "" if the image does not say */
    bool node_entrypoint, node_cmd, node_work_dir; /* these are not the image's, but the node's own */
};

/* A configuration that says nothing. */
void config_begin(struct config *config);
/* Takes one line of a configuration file; one with an unknown key is passed over. */
void config_take(struct config *config, const char *key, const char *value);

/* Reads the text of a configuration file.  Lines with unknown keys are passed over; false if the header is another. */
bool config_parse(struct config *config, const char *text);

#endif
