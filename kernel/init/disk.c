/* The few fields of the ext4 superblock that are read here: kernel documentation, filesystems/ext4/super.rst. */
#include "disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/abi.h"
#include "lib/file.h"
#include "lib/say.h"
#include "paths.h"
#include "process.h"

enum {
    SUPERBLOCK_OFFSET = 1024,
    SUPERBLOCK_SIZE = 1024,
    EXT4_MAGIC = 0xef53,
    EXT4_ERROR_FS = 2,
    INCOMPAT_64BIT = 0x80,
};

struct ext4 {
    uint64_t blocks;
    uint64_t block_size;
    unsigned state;
    char label[17];
    char uuid[37];
};

static uint64_t little_endian(const unsigned char *bytes, int count)
{
    uint64_t value = 0;
    while (count-- > 0)
        value = value << 8 | bytes[count];
    return value;
}

static bool ext4_read(const char *device, struct ext4 *ext4)
{
    unsigned char block[SUPERBLOCK_SIZE];
    int file = open(device, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return false;
    ssize_t got = pread(file, block, sizeof block, SUPERBLOCK_OFFSET);
    close(file);
    if (got != SUPERBLOCK_SIZE || little_endian(block + 56, 2) != EXT4_MAGIC)
        return false;
    ext4->blocks = little_endian(block + 4, 4);
    if (little_endian(block + 96, 4) & INCOMPAT_64BIT)
        ext4->blocks |= little_endian(block + 336, 4) << 32;
    ext4->block_size = 1024ULL << (block[24] & 7);
    ext4->state = (unsigned)little_endian(block + 58, 2);
    memcpy(ext4->label, block + 120, 16);
    ext4->label[16] = '\0';
    char *to = ext4->uuid;
    for (int i = 0; i < 16; i++) {
        *to++ = "0123456789abcdef"[block[104 + i] >> 4];
        *to++ = "0123456789abcdef"[block[104 + i] & 15];
        if (i == 3 || i == 5 || i == 7 || i == 9)
            *to++ = '-';
    }
    *to = '\0';
    return true;
}

/* The first device, by name, whose ext4 file system is the one that is looked for. */
static char *find_disk(bool (*fits)(const struct ext4 *, const char *), const char *wanted)
{
    DIR *directory = opendir("/sys/class/block");
    struct dirent *entry;
    struct ext4 ext4;
    char *found = NULL;
    while (directory && (entry = readdir(directory))) {
        if (*entry->d_name == '.' || after(entry->d_name, "ram") || after(entry->d_name, "loop"))
            continue;
        char *device = format("/dev/%s", entry->d_name);
        if (ext4_read(device, &ext4) && fits(&ext4, wanted) && (!found || strcmp(device, found) < 0)) {
            free(found);
            found = device;
        } else {
            free(device);
        }
    }
    if (directory)
        closedir(directory);
    return found;
}

static bool has_label(const struct ext4 *ext4, const char *label)
{
    return !strcmp(ext4->label, label);
}

static bool has_other_label(const struct ext4 *ext4, const char *label)
{
    return strcmp(ext4->label, label);
}

static bool has_uuid(const struct ext4 *ext4, const char *uuid)
{
    return !strcasecmp(ext4->uuid, uuid);
}

char *disk_by_label(const char *label)
{
    return find_disk(has_label, label);
}

/* The path of the root device if it is there now. */
static char *look_for_root(const char *root)
{
    const char *wanted;
    struct stat status;
    struct ext4 ext4;
    if ((wanted = after(root, "LABEL=")))
        return find_disk(has_label, wanted);
    if ((wanted = after(root, "UUID=")))
        return find_disk(has_uuid, wanted);
    if (stat(root, &status) || !S_ISBLK(status.st_mode))
        return NULL;
    /* Disks attached in another order: the module disk is never the root. */
    if (ext4_read(root, &ext4) && has_label(&ext4, MODULES_LABEL)) {
        char *other = find_disk(has_other_label, MODULES_LABEL);
        if (other)
            return other;
    }
    return copy_text(root);
}

static char *wait_for_root(const struct options *options)
{
    char *device = look_for_root(options->root);
    for (unsigned long turn = 0; !device && turn < options->root_wait_s * 50; turn++) {
        if (turn == 50)
            say("waiting for the root disk %s", options->root);
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
        device = look_for_root(options->root);
    }
    return device;
}

/* Rarely needed, and every page of the initramfs costs time at every boot. */
void disk_unpack_e2fsck(void)
{
    struct words command = {0};
    if (access("/sbin/e2fsck.gz", F_OK))
        return;
    words_add(&command, "/bin/busybox");
    words_add(&command, "gunzip");
    words_add(&command, "/sbin/e2fsck.gz");
    if (process_run(&command))
        say("/sbin/e2fsck.gz was not unpacked");
    chmod("/sbin/e2fsck", 0755);
}

/* Runs e2fsck -p; NULL if the file system is in order now. */
static const char *check(const char *device)
{
    struct words command = {0};
    disk_unpack_e2fsck();
    words_add(&command, "/sbin/e2fsck");
    words_add(&command, "-p");
    words_add(&command, device);
    int status = process_run(&command);
    /* 1: errors corrected.  2: "reboot", which only matters for a mounted file system. */
    if (status >= 0 && status <= 3)
        return NULL;
    return format("e2fsck -p could not repair %s (exit status %d); run: e2fsck -fy %s", device, status, device);
}

/* Options that mount(8) turns into flags; the others are the file system's own, and are returned. */
static char *take_flags(const char *text, unsigned long *flags)
{
    static const struct {
        const char *name;
        unsigned long flag;
    } known[] = {
        {"defaults", 0},         {"ro", MS_RDONLY},   {"noatime", MS_NOATIME}, {"nodiratime", MS_NODIRATIME},
        {"relatime", MS_RELATIME}, {"strictatime", MS_STRICTATIME}, {"lazytime", MS_LAZYTIME}, {"sync", MS_SYNCHRONOUS},
        {"dirsync", MS_DIRSYNC}, {"nodev", MS_NODEV}, {"nosuid", MS_NOSUID},   {"noexec", MS_NOEXEC},
    };
    struct words words = {0};
    char *own = need(strlen(text) + 1), *end = own;
    words_split(&words, text, ",");
    for (size_t i = 0; i < words.count; i++) {
        size_t k = 0;
        while (k < sizeof known / sizeof *known && strcmp(words.item[i], known[k].name))
            k++;
        if (k < sizeof known / sizeof *known)
            *flags |= known[k].flag;
        else
            end = stpcpy(stpcpy(end, end == own ? "" : ","), words.item[i]);
    }
    return own;
}

static int mount_root(const struct options *options, const char *device)
{
    const char *type = options->root_type ? options->root_type : "ext4";
    unsigned long flags = options->read_only ? MS_RDONLY : 0;
    char *own = take_flags(options->root_flags ? options->root_flags : "", &flags);
    return mount(device, SYSROOT, type, flags, own);
}

/* Grows the mounted file system to its device, after the disk image was made larger. */
static void grow(const char *device, const struct ext4 *ext4)
{
    uint64_t size = 0;
    int file = open(device, O_RDONLY | O_CLOEXEC);
    if (file < 0 || ioctl(file, (int)BLKGETSIZE64, &size)) /* musl's takes an int */
        size = 0;
    if (file >= 0)
        close(file);
    uint64_t blocks = size / ext4->block_size;
    if (blocks <= ext4->blocks)
        return;
    file = open(SYSROOT, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (file < 0 || ioctl(file, EXT4_IOC_RESIZE_FS, &blocks))
        say_error("the root file system was not grown to the size of %s", device);
    if (file >= 0)
        close(file);
}

const char *disk_mount_root(const struct options *options)
{
    struct ext4 ext4;
    char *device = wait_for_root(options);
    if (!device)
        return format("there is no root disk %s after %lu s (root=)", options->root, options->root_wait_s);
    make_dirs(SYSROOT, 0755);
    bool is_ext4 = ext4_read(device, &ext4);
    bool checked = is_ext4 && (ext4.state & EXT4_ERROR_FS);
    if (checked) {
        say("%s is marked as damaged, checking it", device);
        const char *wrong = check(device);
        if (wrong)
            return wrong;
    }
    if (mount_root(options, device)) {
        const char *reason = strerror(errno);
        if (!is_ext4)
            return format("%s was not mounted (%s): it holds no ext4 file system", device, reason);
        if (checked)
            return format("%s was not mounted: %s", device, reason);
        say("%s was not mounted (%s), checking it", device, reason);
        const char *wrong = check(device);
        if (wrong)
            return wrong;
        if (mount_root(options, device))
            return format("%s was not mounted: %s", device, strerror(errno));
    }
    if (is_ext4 && !options->read_only)
        grow(device, &ext4);
    return NULL;
}
