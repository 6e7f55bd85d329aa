#include "account.h"

#include <stdlib.h>
#include <string.h>

#include "lib/file.h"
#include "lib/text.h"

enum { FIELDS_MAX = 7 };

/* Cuts a line at its colons; missing fields are "". */
static void split_fields(char *line, char *field[FIELDS_MAX])
{
    for (int i = 0; i < FIELDS_MAX; i++) {
        field[i] = line ? strsep(&line, ":") : NULL;
        if (!field[i])
            field[i] = "";
    }
}

/* Looks for the first line whose name or number (third field) is wanted; the fields belong to the copy that is returned. */
static char *find_line(const char *text, const char *wanted, char *field[FIELDS_MAX])
{
    unsigned long number, candidate;
    bool by_number = parse_number(wanted, 0xfffffffeUL, &number);
    /* A name may consist of digits: names go first, as in Docker. */
    for (int pass = 0; pass < (by_number ? 2 : 1); pass++) {
        char *copy = copy_text(text), *rest = copy, *line;
        while ((line = strsep(&rest, "\n"))) {
            split_fields(line, field);
            if (pass == 0 ? *field[0] && !strcmp(field[0], wanted)
                          : parse_number(field[2], 0xfffffffeUL, &candidate) && candidate == number)
                return copy;
        }
        free(copy);
    }
    return NULL;
}

static void add_group(struct account *account, gid_t gid)
{
    for (size_t i = 0; i < account->group_count; i++)
        if (account->groups[i] == gid)
            return;
    if (account->group_count < GROUPS_MAX_COUNT)
        account->groups[account->group_count++] = gid;
}

/* Adds every group that has the user's name among its members. */
static void add_memberships(struct account *account, const char *group)
{
    char *copy = copy_text(group), *rest = copy, *line, *field[FIELDS_MAX], *member;
    unsigned long gid;
    while ((line = strsep(&rest, "\n"))) {
        split_fields(line, field);
        if (!parse_number(field[2], 0xfffffffeUL, &gid))
            continue;
        char *members = field[3];
        while ((member = strsep(&members, ",")))
            if (*member && !strcmp(member, account->name))
                add_group(account, (gid_t)gid);
    }
    free(copy);
}

static const char *take_user(struct account *account, char *field[FIELDS_MAX])
{
    unsigned long number;
    if (!parse_number(field[2], 0xfffffffeUL, &number))
        return "its line in /etc/passwd has no user number";
    account->uid = (uid_t)number;
    account->gid = parse_number(field[3], 0xfffffffeUL, &number) ? (gid_t)number : 0;
    account->name = copy_text(field[0]);
    account->home = *field[5] ? copy_text(field[5]) : "/";
    account->shell = copy_text(field[6]);
    return NULL;
}

static const char *take_group(struct account *account, const char *name, const char *group)
{
    char *field[FIELDS_MAX], *line = find_line(group, name, field);
    unsigned long number;
    bool found = (line && parse_number(field[2], 0xfffffffeUL, &number)) || parse_number(name, 0xfffffffeUL, &number);
    free(line);
    if (!found)
        return "there is no such group in /etc/group";
    account->gid = (gid_t)number;
    return NULL;
}

const char *account_resolve(struct account *account, const char *user, const char *passwd, const char *group)
{
    char *name = copy_text(*user ? user : "0"), *group_name = strchr(name, ':'), *field[FIELDS_MAX];
    const char *wrong = NULL;
    unsigned long number;
    memset(account, 0, sizeof *account);
    account->name = account->shell = "";
    account->home = "/";
    if (group_name)
        *group_name++ = '\0';
    const char *wanted = *name ? name : "0";
    char *line = find_line(passwd, wanted, field);
    if (line)
        wrong = take_user(account, field);
    else if (parse_number(wanted, 0xfffffffeUL, &number))
        account->uid = (uid_t)number;
    else
        wrong = "there is no such user in /etc/passwd";
    if (!wrong && group_name && *group_name)
        wrong = take_group(account, group_name, group);
    else if (!wrong && *account->name)
        /* As in Docker: a group that is given stands alone. */
        add_memberships(account, group);
    add_group(account, account->gid);
    free(line);
    free(name);
    return wrong;
}

const char *account_find(struct account *account, const char *user)
{
    char *passwd = file_text("/etc/passwd", NULL), *group = file_text("/etc/group", NULL);
    const char *wrong = account_resolve(account, user, passwd ? passwd : "", group ? group : "");
    free(passwd);
    free(group);
    return wrong;
}
