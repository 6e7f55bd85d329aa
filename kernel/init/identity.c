/*
 * The host name is, in this order: hostname= on the command line, the SMBIOS serial number (GNS3: the node's name), the
 * image's /etc/hostname, "minivm".  The SMBIOS UUID (GNS3: the node's id) is remembered on the disk: where it is
 * another one than at the last boot, the disk has become another node, which gets its own machine-id and SSH host keys.
 */
#include "identity.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/file.h"
#include "lib/say.h"
#include "lib/text.h"
#include "netlink.h"
#include "process.h"

#define NODE_FILE "/.minivm/node"
#define RESOLVER "/etc/resolv.conf"
/* Where the image's own is while there is another in its place. */
#define RESOLVER_OF_IMAGE "/.minivm/resolv.conf"

/* Turns what a GNS3 user may call a node into a host name, in place; false if nothing is left. */
static bool make_hostname(char *name)
{
    size_t length = 0;
    for (const char *from = name; *from && length < 63; from++) {
        bool allowed = isalnum((unsigned char)*from) || *from == '-' || *from == '.';
        char next = allowed ? *from : '-';
        if (next == '-' && (!length || name[length - 1] == '-'))
            continue;
        name[length++] = next;
    }
    while (length && (name[length - 1] == '-' || name[length - 1] == '.'))
        length--;
    name[length] = '\0';
    return length > 0;
}

static bool is_placeholder(const char *serial)
{
    static const char *const texts[] = {"None", "Not Specified", "Not Available", "Default string", "0", "N/A",
                                        "To be filled by O.E.M.", "System Serial Number"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (!strcasecmp(serial, texts[i]))
            return true;
    return false;
}

static const char *choose_hostname(const struct options *options)
{
    if (options->hostname)
        return options->hostname;
    char *serial = file_line("/sys/class/dmi/id/product_serial");
    if (!is_placeholder(serial) && make_hostname(serial))
        return serial;
    char *own = file_line("/etc/hostname");
    return make_hostname(own) ? own : "minivm";
}

static void write_hostname(const char *name)
{
    char *now = file_line("/etc/hostname");
    if (strcmp(now, name)) {
        char *text = format("%s\n", name);
        file_replace("/etc/hostname", text, 0644);
        free(text);
    }
    free(now);
}

/* Whether a line of a hosts file, up to its end or the text's, names this host. */
static bool line_names(const char *line, const char *name)
{
    static const char blanks[] = " \t\r", ends[] = " \t\r\n#";
    line += strspn(line, blanks);
    line += strcspn(line, ends); /* the address */
    for (;;) {
        line += strspn(line, blanks);
        size_t length = strcspn(line, ends);
        if (!length)
            return false;
        if (length == strlen(name) && !strncmp(line, name, length))
            return true;
        line += length;
    }
}

/* The file may be a block list of a hundred thousand lines, and the machine small: one copy, and nothing for each line. */
static void write_hosts(const char *name)
{
    static const char mark[] = "# minivm";
    char *text = file_text("/etc/hosts", NULL), *rest = text, *line;
    char *kept = need(text ? strlen(text) + 2 : 1), *end = kept;
    bool has_localhost = false, has_name = false, changed = !text;
    while (rest && (line = strsep(&rest, "\n"))) {
        if (!*line && !rest)
            break;
        /* Our own line of another name is the trace of an earlier one. */
        if (strstr(line, mark) && !line_names(line, name)) {
            changed = true;
            continue;
        }
        has_localhost = has_localhost || line_names(line, "localhost");
        has_name = has_name || line_names(line, name);
        end = stpcpy(stpcpy(end, line), "\n");
    }
    if (changed || !has_localhost || !has_name) {
        const char *first = has_localhost ? "" : "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";
        char *last = has_name ? copy_text("") : format("127.0.1.1\t%s %s\n", name, mark);
        char *all = format("%s%s%s", first, kept, last);
        file_replace("/etc/hosts", all, 0644);
        free(last);
        free(all);
    }
    free(kept);
    free(text);
}

void resolver_replace(const char *text)
{
    char *now = file_text(RESOLVER, NULL);
    if (now && !strcmp(now, text)) {
        free(now);
        return;
    }
    if ((!now || !after(now, RESOLVER_MARK)) && make_dirs("/.minivm", 0755) && rename(RESOLVER, RESOLVER_OF_IMAGE) &&
        errno != ENOENT)
        say_error(RESOLVER_OF_IMAGE);
    file_replace(RESOLVER, text, 0644);
    free(now);
}

/* ADDRESS, or ADDRESS%INTERFACE for a link-local one. */
static bool is_server(const char *text)
{
    struct address address;
    char *copy = copy_text(text), *percent = strchr(copy, '%');
    if (percent)
        *percent = '\0';
    bool valid = !strchr(copy, '/') && address_parse(&address, copy) && !(percent && address.family == AF_INET);
    free(copy);
    return valid;
}

/* A resolver file that names no server makes a look-up fail at once; a missing or foreign one makes it wait. */
void resolver_begin(const struct options *options, bool own_init)
{
    if (options->read_only)
        return;
    char *text = file_text(RESOLVER, NULL);
    bool is_stale = text && after(text, RESOLVER_MARK);
    if (!options->dns.count && is_stale && !rename(RESOLVER_OF_IMAGE, RESOLVER)) {
        free(text);
        text = file_text(RESOLVER, NULL);
        is_stale = false;
    }
    if (!options->dns.count && !is_stale && (own_init || (text && *trim(text) && !strstr(text, "127.0.0.53"))))
        return;
    char *fresh = copy_text(RESOLVER_MARK "at boot: no name server is known\n");
    if (options->dns.count)
        fresh = copy_text(RESOLVER_MARK "at boot from dns=\n");
    for (size_t i = 0; i < options->dns.count; i++)
        if (is_server(options->dns.item[i]))
            fresh = format("%snameserver %s\n", fresh, options->dns.item[i]);
        else
            say("dns=%s: must be an address", options->dns.item[i]);
    resolver_replace(fresh);
}

/* The UUID of the node without hyphens, in lower case; "" if QEMU was given none. */
static char *node_uuid(void)
{
    char *uuid = file_line("/sys/class/dmi/id/product_uuid"), *to = uuid;
    for (const char *from = uuid; *from; from++)
        if (isxdigit((unsigned char)*from))
            *to++ = (char)tolower((unsigned char)*from);
    *to = '\0';
    if (strlen(uuid) != 32 || strspn(uuid, "0") == 32)
        *uuid = '\0';
    return uuid;
}

static char *random_uuid(void)
{
    char *uuid = file_line("/proc/sys/kernel/random/uuid"), *to = uuid;
    for (const char *from = uuid; *from; from++)
        if (*from != '-')
            *to++ = *from;
    *to = '\0';
    return uuid;
}

static void write_machine_id(const char *uuid)
{
    char *text = format("%s\n", uuid);
    struct stat status;
    file_replace("/etc/machine-id", text, 0444);
    if (!lstat("/var/lib/dbus/machine-id", &status) && S_ISREG(status.st_mode))
        file_replace("/var/lib/dbus/machine-id", text, 0444);
    free(text);
}

static struct words ssh_keys(void)
{
    struct words keys = {0};
    DIR *directory = opendir("/etc/ssh");
    struct dirent *entry;
    while (directory && (entry = readdir(directory)))
        if (after(entry->d_name, "ssh_host_") && strstr(entry->d_name, "_key"))
            words_add(&keys, format("/etc/ssh/%s", entry->d_name));
    if (directory)
        closedir(directory);
    return keys;
}

/* Replaces the keys that every node of the image would share. */
static void renew_ssh_keys(void)
{
    struct words keys = ssh_keys(), command = {0};
    if (!keys.count)
        return;
    if (!process_find("ssh-keygen", DEFAULT_PATH)) {
        say("the image's SSH host keys are the same on all its nodes: it has no ssh-keygen to make others");
        return;
    }
    say("making this node's SSH host keys");
    for (size_t i = 0; i < keys.count; i++)
        unlink(keys.item[i]);
    words_add(&command, "ssh-keygen");
    words_add(&command, "-A");
    if (process_run(&command))
        say("ssh-keygen -A failed: there are no SSH host keys");
}

static void renew_identity(void)
{
    char *uuid = node_uuid(), *known = file_line(NODE_FILE), *machine_id = file_line("/etc/machine-id");
    bool is_new = *uuid ? strcmp(uuid, known) : !*known;
    if (is_new) {
        const char *id = *uuid ? uuid : random_uuid();
        write_machine_id(id);
        renew_ssh_keys();
        char *text = format("%s\n", id);
        if (make_dirs("/.minivm", 0755))
            file_replace(NODE_FILE, text, 0644);
    } else if (strlen(machine_id) != 32) {
        write_machine_id(known);
    }
}

void identity_begin(const struct options *options)
{
    const char *name = choose_hostname(options);
    if (sethostname(name, strlen(name)))
        say_error("the host name is not %s", name);
    if (options->read_only)
        return;
    if (!make_dirs("/etc", 0755)) {
        say_error("/etc");
        return;
    }
    write_hostname(name);
    write_hosts(name);
    /* As Docker has it: the C library, and so df and others, look for it. */
    if (symlink("/proc/mounts", "/etc/mtab") && errno != EEXIST)
        say_error("/etc/mtab");
    renew_identity();
}
