#include "autoload.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>

#include "lib/file.h"
#include "lib/say.h"
#include "lib/text.h"
#include "paths.h"

/* As udev's own rules have it: these two are for everybody, and check rights themselves. */
static mode_t node_mode(const char *name)
{
    return !strcmp(name, "net/tun") || !strcmp(name, "fuse") ? 0666 : 0600;
}

/* A line of modules.devname: "tun net/tun c10:200". */
static void make_node(char *line)
{
    struct words field = {0};
    unsigned number, minor_number;
    char kind;
    words_split(&field, line, " ");
    if (field.count != 3 || strstr(field.item[1], "..") ||
        sscanf(field.item[2], "%c%u:%u", &kind, &number, &minor_number) != 3)
        return;
    char *path = format("/dev/%s", field.item[1]), *folder = copy_text(path);
    mode_t mode = node_mode(field.item[1]);
    *strrchr(folder, '/') = '\0';
    if (!make_dirs(folder, 0755) || mknod(path, (kind == 'b' ? S_IFBLK : S_IFCHR) | mode, makedev(number, minor_number)))
        if (errno != EEXIST)
            say_error("%s", path);
    chmod(path, mode); /* the umask takes bits away */
    free(folder);
    free(path);
}

void autoload_begin(void)
{
    struct utsname kernel;
    if (!is_program("/sbin/modprobe"))
        file_write("/proc/sys/kernel/modprobe", TOOLS "/modprobe");
    if (uname(&kernel))
        return;
    char *list = format("/lib/modules/%s/modules.devname", kernel.release), *text = file_text(list, NULL), *line;
    for (char *rest = text; rest && (line = strsep(&rest, "\n"));)
        if (*line && *line != '#')
            make_node(line);
    free(text);
    free(list);
}
