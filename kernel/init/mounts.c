#include "mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "disk.h"
#include "lib/file.h"
#include "lib/say.h"
#include "lib/text.h"
#include "paths.h"

static int initramfs = -1;

static bool mount_at(const char *type, const char *target, unsigned long flags, const char *data)
{
    if (!make_dirs(target, 0755) || mount(type, target, type, flags, data)) {
        say_error("%s was not mounted", target);
        return false;
    }
    return true;
}

int initramfs_open(const char *path)
{
    return openat(initramfs, path + strspn(path, "/"), O_RDONLY | O_CLOEXEC);
}

char *initramfs_text(const char *path)
{
    int file = initramfs_open(path);
    if (file < 0)
        return NULL;
    char *name = format("/proc/self/fd/%d", file), *text = file_text(name, NULL);
    free(name);
    close(file);
    return text;
}

void initramfs_remove(const char *path)
{
    unlinkat(initramfs, path + strspn(path, "/"), 0);
}

void mounts_begin(void)
{
    initramfs = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    mount_at("proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    mount_at("sysfs", "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    mount_at("devtmpfs", "/dev", MS_NOSUID, "mode=0755");
    mount_at("devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC, "gid=5,mode=0620,ptmxmode=0666");
    static const char *const links[][2] = {
        {"/proc/self/fd", "/dev/fd"},
        {"/proc/self/fd/0", "/dev/stdin"},
        {"/proc/self/fd/1", "/dev/stdout"},
        {"/proc/self/fd/2", "/dev/stderr"},
    };
    for (size_t i = 0; i < sizeof links / sizeof *links; i++)
        if (symlink(links[i][0], links[i][1]) && errno != EEXIST)
            say_error("%s", links[i][1]);
}

/* A fresh /run with what the image has in its own, and the initramfs's programs in it. */
static void prepare_run(const char *run)
{
    static const char *const commands[][2] = {
        {"poweroff", "minivm"},  {"reboot", "minivm"}, {"halt", "minivm"},    {"minivm-lease", "minivm"},
        {"modprobe", "busybox"}, {"lsmod", "busybox"}, {"rmmod", "busybox"}, {"insmod", "busybox"},
    };
    mount_at("tmpfs", run, MS_NOSUID | MS_NODEV, "mode=0755");
    copy_tree(SYSROOT "/run", run);
    if (link("/init", "/bin/minivm") && errno != EEXIST)
        say_error("/bin/minivm");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        char *path = format("/bin/%s", commands[i][0]);
        if (symlink(commands[i][1], path) && errno != EEXIST)
            say_error("%s", path);
    }
    char *tools = format("%s/minivm/bin", run);
    if (!make_dirs(tools, 0755) || mount("/bin", tools, NULL, MS_BIND, NULL))
        say_error("%s was not mounted", tools);
}

/* A login shell sets a PATH of its own: the commands must lie where it looks, in images that have none. */
static void offer_commands(void)
{
    static const char *const commands[] = {"poweroff", "reboot", "halt", "modprobe", "lsmod", "rmmod", "insmod"};
    static const char *const folders[] = {"/sbin", "/usr/sbin", "/bin", "/usr/bin"};
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        bool has_one = false;
        struct stat status;
        for (size_t j = 0; j < sizeof folders / sizeof *folders; j++) {
            char *path = format("%s/%s", folders[j], commands[i]);
            has_one = has_one || !lstat(path, &status);
            free(path);
        }
        if (has_one || !is_directory("/sbin"))
            continue;
        char *target = format(TOOLS "/%s", commands[i]), *path = format("/sbin/%s", commands[i]);
        if (symlink(target, path) && errno != EROFS)
            say_error("%s", path);
        free(target);
        free(path);
    }
}

static void carry_mount(const char *from, const char *to)
{
    if (!make_dirs(to, 0755) || mount(from, to, NULL, MS_MOVE, NULL))
        say_error("%s was not moved to %s", from, to);
}

/* The directories that a root disk must have; one that is mounted read-only becomes writable for this moment. */
static void make_mount_points(void)
{
    static const char *const needed[] = {SYSROOT "/run", SYSROOT "/dev", SYSROOT "/sys", SYSROOT "/proc"};
    bool missing = false, locked = false;
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
        missing = missing || !is_directory(needed[i]);
    if (!missing)
        return;
    for (int turn = 0; turn < 2; turn++) {
        for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
            locked = (!make_dirs(needed[i], 0755) && errno == EROFS) || locked;
        if (turn || !locked || mount(NULL, SYSROOT, NULL, MS_REMOUNT, NULL))
            break;
    }
    if (locked && mount(NULL, SYSROOT, NULL, MS_REMOUNT | MS_RDONLY, NULL))
        say_error("the root disk did not become read-only again");
}

void mounts_move_root(void)
{
    make_mount_points();
    prepare_run("/run");
    carry_mount("/run", SYSROOT "/run");
    carry_mount("/dev", SYSROOT "/dev");
    carry_mount("/sys", SYSROOT "/sys");
    carry_mount("/proc", SYSROOT "/proc");
    if (chdir(SYSROOT) || mount(".", "/", NULL, MS_MOVE, NULL) || chroot(".") || chdir("/"))
        say_error("the root disk did not become /");
    mount_at("tmpfs", "/dev/shm", MS_NOSUID | MS_NODEV, "mode=1777");
    mount_at("mqueue", "/dev/mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    mount_at("cgroup2", "/sys/fs/cgroup", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    if (mkdir("/tmp", 0700) == 0 && chmod("/tmp", 01777))
        say_error("/tmp");
    offer_commands();
}

void mounts_module_disk(void)
{
    struct utsname kernel;
    char *device = disk_by_label(MODULES_LABEL);
    if (!device || uname(&kernel))
        return;
    /* The disk holds either VERSION/ folders, as /lib/modules does, or the content of one. */
    const char *place = "/run/minivm/modules";
    if (!make_dirs(place, 0755) || mount(device, place, "ext4", MS_RDONLY | MS_NOSUID | MS_NODEV, NULL)) {
        say_error("the module disk %s was not mounted", device);
        return;
    }
    char *version = format("%s/%s", place, kernel.release), *list = format("%s/modules.dep", place);
    char *target = is_directory(version) ? copy_text("/lib/modules") : format("/lib/modules/%s", kernel.release);
    if (!is_directory(version) && access(list, F_OK))
        say("the module disk %s has no modules for the kernel %s", device, kernel.release);
    else if (!make_dirs(target, 0755) || mount(place, target, NULL, MS_MOVE, NULL))
        say_error("the module disk %s was not mounted at %s", device, target);
    free(version);
    free(list);
    free(target);
    free(device);
}

/* The kernel's own file systems hold nothing that could be lost. */
static bool holds_nothing(const char *type)
{
    static const char *const types[] = {"proc",   "sysfs",  "devtmpfs", "devpts",     "tmpfs",   "mqueue", "cgroup2",
                                        "cgroup", "rootfs", "bpf",      "tracefs",    "debugfs", "ramfs",  "configfs",
                                        "nsfs",   "pstore", "autofs",   "securityfs", "hugetlbfs"};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (!strcmp(type, types[i]))
            return true;
    return false;
}

/* The fields of a line of /proc/self/mountinfo that are of use here; the path is left in the kernel's octal escapes. */
static bool mount_fields(char *line, char **path, char **type)
{
    char *field[5] = {0}, *rest = strstr(line, " - ");
    if (!rest)
        return false;
    *rest = '\0';
    *type = rest + 3;
    (*type)[strcspn(*type, " ")] = '\0';
    for (int i = 0; i < 5; i++)
        field[i] = strsep(&line, " ");
    *path = field[4];
    return *path != NULL;
}

static void unescape_path(char *path)
{
    char *to = path;
    for (const char *from = path; *from; to++) {
        unsigned code;
        if (*from == '\\' && sscanf(from + 1, "%3o", &code) == 1) {
            *to = (char)code;
            from += 4;
        } else {
            *to = *from++;
        }
    }
    *to = '\0';
}

static void end_swap(void)
{
    char *list = file_text("/proc/swaps", NULL), *line, *rest = list;
    if (!list)
        return;
    while ((line = strsep(&rest, "\n"))) {
        line[strcspn(line, " \t")] = '\0';
        unescape_path(line);
        if (*line == '/' && swapoff(line))
            say_error("swapoff %s", line);
    }
    free(list);
}

bool mounts_end(void)
{
    bool clean = true;
    char *list = file_text("/proc/self/mountinfo", NULL), *line, *rest = list, *path, *type;
    struct words mounts = {0};
    end_swap();
    sync();
    while (rest && (line = strsep(&rest, "\n")))
        if (mount_fields(line, &path, &type) && !holds_nothing(type)) {
            unescape_path(path);
            words_add(&mounts, path);
        }
    /* The last mounted goes first: it may lie on the others. */
    for (size_t i = mounts.count; i-- > 0;) {
        const char *target = mounts.item[i];
        if (strcmp(target, "/") && !umount2(target, UMOUNT_NOFOLLOW))
            continue;
        if (mount(NULL, target, NULL, MS_REMOUNT | MS_RDONLY, NULL)) {
            say_error("%s stays writable", target);
            clean = false;
        }
    }
    if (!clean)
        /* The kernel's own way, which asks nobody. */
        file_write("/proc/sysrq-trigger", "u");
    sync();
    free(list);
    return clean;
}
