#include "file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "text.h"

bool write_all(int descriptor, const void *data, size_t size)
{
    const char *next = data;
    while (size) {
        ssize_t written = write(descriptor, next, size);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return false;
        next += written;
        size -= (size_t)written;
    }
    return true;
}

char *file_text(const char *path, size_t *length)
{
    struct stat status;
    /* What an image has in the place of a file must not hold up the boot: a FIFO would wait, a device may never end. */
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (file < 0)
        return NULL;
    if (fstat(file, &status) || !S_ISREG(status.st_mode)) {
        close(file);
        errno = EINVAL;
        return NULL;
    }
    size_t room = 4096, used = 0;
    char *text = need(room);
    for (;;) {
        ssize_t got = read(file, text + used, room - used - 1);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            free(text);
            close(file);
            return NULL;
        }
        if (got == 0)
            break;
        used += (size_t)got;
        if (used + 1 == room) {
            char *larger = need(room * 2);
            memcpy(larger, text, used);
            free(text);
            text = larger;
            room *= 2;
        }
    }
    close(file);
    text[used] = '\0';
    if (length)
        *length = used;
    return text;
}

char *file_line(const char *path)
{
    char *text = file_text(path, NULL);
    if (!text)
        return copy_text("");
    text[strcspn(text, "\n")] = '\0';
    return trim(text);
}

bool file_write(const char *path, const char *text)
{
    int file = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC | O_NOCTTY);
    if (file < 0)
        return false;
    bool done = write_all(file, text, strlen(text));
    close(file);
    return done;
}

bool file_install(const char *path, const void *data, size_t size, const struct stat *status)
{
    char *temporary = format("%s.minivm", path);
    int file = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    bool done = file >= 0 && write_all(file, data, size) && !fchown(file, status->st_uid, status->st_gid) &&
                !fchmod(file, status->st_mode & 07777);
    if (file >= 0)
        close(file);
    done = done && !rename(temporary, path);
    int reason = errno;
    if (!done)
        unlink(temporary);
    free(temporary);
    errno = reason;
    return done;
}

bool file_replace(const char *path, const char *text, mode_t mode)
{
    struct stat status = {.st_mode = mode};
    return file_install(path, text, strlen(text), &status);
}

bool make_dirs(const char *path, mode_t mode)
{
    if (!mkdir(path, mode))
        return true;
    if (errno == EEXIST)
        return is_directory(path);
    if (errno != ENOENT)
        return false;
    char *above = copy_text(path), *slash = strrchr(above, '/');
    bool done = false;
    if (slash && slash != above) {
        *slash = '\0';
        done = make_dirs(above, 0755) && !mkdir(path, mode);
    }
    free(above);
    return done;
}

static void copy_content(const char *from, const char *to, const struct stat *status)
{
    int source = open(from, O_RDONLY | O_CLOEXEC);
    int target = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    char buffer[4096];
    ssize_t got;
    if (source >= 0 && target >= 0) {
        while ((got = read(source, buffer, sizeof buffer)) > 0 && write_all(target, buffer, (size_t)got))
            ;
        if (fchown(target, status->st_uid, status->st_gid) || fchmod(target, status->st_mode & 07777))
            unlink(to);
    }
    if (source >= 0)
        close(source);
    if (target >= 0)
        close(target);
}

static void copy_entry(const char *from, const char *to)
{
    struct stat status;
    char target[4096];
    if (lstat(from, &status))
        return;
    if (S_ISDIR(status.st_mode)) {
        if (!mkdir(to, 0700) || errno == EEXIST) {
            copy_tree(from, to);
            if (lchown(to, status.st_uid, status.st_gid) || chmod(to, status.st_mode & 07777))
                return;
        }
    } else if (S_ISREG(status.st_mode)) {
        copy_content(from, to, &status);
    } else if (S_ISLNK(status.st_mode)) {
        ssize_t length = readlink(from, target, sizeof target - 1);
        if (length > 0) {
            target[length] = '\0';
            if (!symlink(target, to) && lchown(to, status.st_uid, status.st_gid))
                return;
        }
    }
}

void copy_tree(const char *from, const char *to)
{
    DIR *directory = opendir(from);
    if (!directory)
        return;
    struct dirent *entry;
    while ((entry = readdir(directory))) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
            continue;
        char *source = format("%s/%s", from, entry->d_name), *target = format("%s/%s", to, entry->d_name);
        copy_entry(source, target);
        free(source);
        free(target);
    }
    closedir(directory);
}

bool is_program(const char *path)
{
    struct stat status;
    return !stat(path, &status) && S_ISREG(status.st_mode) && (status.st_mode & 0111);
}

bool is_directory(const char *path)
{
    struct stat status;
    return !stat(path, &status) && S_ISDIR(status.st_mode);
}
