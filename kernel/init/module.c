#include "module.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/file.h"
#include "lib/say.h"
#include "lib/text.h"
#include "mounts.h"
#include "paths.h"
#include "process.h"

/* The length of a module without the signature at its end (Linux, include/linux/module_signature.h). */
static size_t unsigned_size(const unsigned char *module, size_t size)
{
    static const char mark[] = "~Module signature appended~\n";
    enum { MARK = sizeof mark - 1, INFO = 12 };
    if (size < MARK + INFO || memcmp(module + size - MARK, mark, MARK))
        return size;
    const unsigned char *length = module + size - MARK - 4;
    size_t all = MARK + INFO + ((size_t)length[0] << 24 | length[1] << 16 | length[2] << 8 | length[3]);
    return all < size ? size - all : size;
}

/*
 * The signature is only shown to a kernel that insists on it (lockdown=, module.sig_enforce): what else is in the initial
 * RAM disk has none, and without KVM checking them takes a tenth of the time from the kernel to the prompt.
 */
static bool load(const unsigned char *module, size_t size)
{
    size_t plain = unsigned_size(module, size);
    if (!syscall(SYS_init_module, module, plain, "") || errno == EEXIST)
        return true;
    return plain < size && (!syscall(SYS_init_module, module, size, "") || errno == EEXIST);
}

static void load_file(const char *path)
{
    struct stat status;
    int file = initramfs_open(path);
    void *module = MAP_FAILED;
    if (file >= 0 && !fstat(file, &status))
        module = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file, 0);
    if (module == MAP_FAILED || !load(module, (size_t)status.st_size))
        say_error("module %s", path);
    if (module != MAP_FAILED)
        munmap(module, (size_t)status.st_size);
    if (file >= 0)
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
    for (char *rest = list; rest && (line = strsep(&rest, "\n"));) {
        line = trim(line);
        if (!*line || *line == '#')
            continue;
        if (part == MODULES_BOOT || is_early(line) == (part == MODULES_EARLY))
            load_file(line);
    }
    free(list);
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
