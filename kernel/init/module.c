#include "module.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "mounts.h"
#include "file.h"
#include "process.h"
#include "say.h"
#include "text.h"

static void load_file(const char *path)
{
    int file = initramfs_open(path);
    if (file < 0) {
        say_error("module %s", path);
        return;
    }
    if (syscall(SYS_finit_module, file, "", 0) && errno != EEXIST)
        say_error("module %s", path);
    close(file);
    initramfs_remove(path);
}

/* The network cards, which the main program may use at once, and the power button, which may be pressed at once. */
static bool is_early(const char *path)
{
    return strstr(path, "/net/") || strstr(path, "/button.ko");
}

void modules_load(enum module_part part)
{
    static bool done[MODULES_REST + 1];
    if (done[part])
        return;
    done[part] = true;
    char *list = initramfs_text(part == MODULES_BOOT ? "/etc/modules.boot" : "/etc/modules.late"), *line;
    if (!list)
        return;
    while ((line = strsep(&list, "\n"))) {
        line = trim(line);
        if (!*line || *line == '#')
            continue;
        if (part == MODULES_BOOT || is_early(line) == (part == MODULES_EARLY))
            load_file(line);
    }
}

void module_probe(const char *name)
{
    struct words command = {0};
    if (is_program("/sbin/modprobe") || is_program("/usr/sbin/modprobe")) {
        words_add(&command, "modprobe");
    } else {
        words_add(&command, TOOLS "/busybox");
        words_add(&command, "modprobe");
    }
    words_add(&command, name);
    int status = process_run(&command);
    if (status)
        say("module %s was not loaded (modprobe ended with %d); is the module disk attached?", name, status);
}
