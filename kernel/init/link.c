/*
 * GNS3 creates a node's adapters in order, on the root bus (2.2) or behind PCI bridges (3.0), and the kernel numbers
 * the buses in the same order, so the address DOMAIN:BUS:SLOT.FUNCTION sorts cards as GNS3 counts adapters.  The
 * kernel's own names follow the order in which drivers were loaded.
 */
#include "link.h"

#include <dirent.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/say.h"
#include "lib/text.h"

enum { LINKS_MAX = 512 };

struct link {
    char name[IFNAMSIZ];
    unsigned long long address;
};

/* The PCI address in the device path that is deepest, as one number; 0 if there is none. */
static unsigned long long pci_address(const char *name)
{
    char target[512];
    char *path = format("/sys/class/net/%s", name);
    ssize_t length = readlink(path, target, sizeof target - 1);
    unsigned long long address = 0;
    free(path);
    if (length < 0)
        return 0;
    target[length] = '\0';
    char *rest = target, *part;
    while ((part = strsep(&rest, "/"))) {
        unsigned domain, bus, slot, function;
        if (sscanf(part, "%x:%x:%x.%x", &domain, &bus, &slot, &function) == 4)
            address = 1ULL << 62 | (unsigned long long)domain << 24 | bus << 16 | slot << 8 | function;
    }
    return address;
}

static int compare(const void *left, const void *right)
{
    unsigned long long a = ((const struct link *)left)->address, b = ((const struct link *)right)->address;
    return a < b ? -1 : a > b;
}

static size_t read_links(struct link links[LINKS_MAX])
{
    size_t count = 0;
    DIR *directory = opendir("/sys/class/net");
    struct dirent *entry;
    while (directory && (entry = readdir(directory)) && count < LINKS_MAX) {
        unsigned long long address = *entry->d_name == '.' ? 0 : pci_address(entry->d_name);
        if (!address)
            continue;
        links[count].address = address;
        snprintf(links[count].name, IFNAMSIZ, "%.15s", entry->d_name);
        count++;
    }
    if (directory)
        closedir(directory);
    qsort(links, count, sizeof *links, compare);
    return count;
}

static void rename_link(int socket, const char *from, const char *to)
{
    struct ifreq request = {0};
    snprintf(request.ifr_name, IFNAMSIZ, "%.15s", from);
    snprintf(request.ifr_newname, IFNAMSIZ, "%.15s", to);
    if (ioctl(socket, SIOCSIFNAME, &request))
        say_error("%s was not renamed to %s", from, to);
}

static void order_links(int socket)
{
    static struct link links[LINKS_MAX];
    char name[32], last[32];
    size_t count = read_links(links);
    bool ordered = true;
    for (size_t i = 0; i < count; i++) {
        snprintf(name, sizeof name, "eth%zu", i);
        ordered = ordered && !strcmp(links[i].name, name);
    }
    if (ordered)
        return;
    /* By way of names that nobody has. */
    for (size_t i = 0; i < count; i++) {
        snprintf(name, sizeof name, "minivm%zu", i);
        rename_link(socket, links[i].name, name);
    }
    for (size_t i = 0; i < count; i++) {
        snprintf(name, sizeof name, "minivm%zu", i);
        snprintf(last, sizeof last, "eth%zu", i);
        rename_link(socket, name, last);
    }
}

static void set_up(int socket, const char *name)
{
    struct ifreq request = {0};
    snprintf(request.ifr_name, IFNAMSIZ, "%.15s", name);
    if (ioctl(socket, SIOCGIFFLAGS, &request))
        return;
    request.ifr_flags |= IFF_UP;
    if (ioctl(socket, SIOCSIFFLAGS, &request))
        say_error("%s is not up", name);
}

void links_up(void)
{
    static struct link links[LINKS_MAX];
    int descriptor = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0)
        return;
    size_t count = read_links(links);
    for (size_t i = 0; i < count; i++)
        set_up(descriptor, links[i].name);
    close(descriptor);
}

void links_begin(void)
{
    struct ifreq loopback = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    int descriptor = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0) {
        say_error("there is no network");
        return;
    }
    if (ioctl(descriptor, SIOCSIFFLAGS, &loopback))
        say_error("lo is not up");
    order_links(descriptor);
    close(descriptor);
}
