/* Whole files and directories. */
#ifndef MINIVM_FILE_H
#define MINIVM_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>

/* The content of a file, with a NUL added; NULL if it cannot be read.  length may be NULL. */
char *file_text(const char *path, size_t *length);
/* The first line of a file without white space around it; "" if it cannot be read. */
char *file_line(const char *path);
/* Writes in place, as /proc and /sys want it. */
bool file_write(const char *path, const char *text);
/* Writes a new file and renames it; a symbolic link at path is replaced. */
bool file_replace(const char *path, const char *text, mode_t mode);
/* The same for any bytes, with the owner and mode of a status. */
bool file_install(const char *path, const void *data, size_t size, const struct stat *status);
/* A directory and the missing ones above it. */
bool make_dirs(const char *path, mode_t mode);
/* Copies files, directories and symbolic links with owner and mode into an existing directory. */
void copy_tree(const char *from, const char *to);
bool is_program(const char *path);
bool is_directory(const char *path);
/* write(2) of everything, whatever the number of calls. */
bool write_all(int descriptor, const void *data, size_t size);

#endif
