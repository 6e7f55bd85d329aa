/* Users and groups of the image, read from /etc/passwd and /etc/group: a static libc cannot load NSS modules. */
#ifndef MINIVM_ACCOUNT_H
#define MINIVM_ACCOUNT_H

#include <stdbool.h>
#include <sys/types.h>

enum { GROUPS_MAX_COUNT = 1024 };

struct account {
    uid_t uid;
    gid_t gid;
    gid_t groups[GROUPS_MAX_COUNT]; /* supplementary groups */
    size_t group_count;
    const char *name;  /* "" if /etc/passwd does not know the user */
    const char *home;  /* "/" likewise */
    const char *shell; /* "" if unknown or not given */
};

/* Resolves USER of an image: "", NAME, NUMBER, NAME:GROUP, NUMBER:NUMBER ...  passwd and group are the files' texts
 * ("" if there are none).  Returns NULL, or what is wrong. */
const char *account_resolve(struct account *account, const char *user, const char *passwd, const char *group);
/* The same with /etc/passwd and /etc/group. */
const char *account_find(struct account *account, const char *user);

#endif
