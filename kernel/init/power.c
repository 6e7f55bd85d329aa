/*
 * The power button comes as a generic netlink event of the ACPI core (drivers/acpi/event.c) once button.ko is loaded;
 * unlike /dev/input it needs no further module.  Signals are those that busybox's, and habit's, commands send.
 * /run/initctl takes the requests of sysvinit's and systemd's poweroff, where an image brings one of these.
 */
#include "power.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/abi.h"
#include "lib/file.h"
#include "lib/say.h"
#include "lib/text.h"
#include "process.h"

enum power_request power_request;

static int signals = -1, button = -1, initctl = -1;

/* sysvinit, initreq.h */
enum { INITCTL_MAGIC = 0x03091969, INITCTL_RUNLEVEL = 1, INITCTL_SIZE = 384 };

struct initctl_request {
    int32_t magic;
    int32_t command;
    int32_t runlevel;
    int32_t sleep_s;
    char data[INITCTL_SIZE - 16];
};

static void ask(enum power_request request)
{
    /* The button is weaker than an explicit wish: its handler may call poweroff itself. */
    if (power_request == POWER_NONE || power_request == POWER_BUTTON)
        power_request = request;
}

static size_t padded(size_t length)
{
    return (length + 3) & ~(size_t)3;
}

/* The payload of the attribute of this type, or NULL. */
static const unsigned char *find_attribute(const unsigned char *data, size_t size, unsigned type, size_t *length)
{
    struct netlink_attribute attribute;
    while (size >= sizeof attribute) {
        memcpy(&attribute, data, sizeof attribute);
        if (attribute.length < sizeof attribute || attribute.length > size)
            return NULL;
        /* The upper two bits are flags. */
        if (!type || (attribute.type & 0x3fff) == type) {
            *length = attribute.length - sizeof attribute;
            return data + sizeof attribute;
        }
        size_t step = padded(attribute.length);
        if (step > size)
            return NULL;
        data += step;
        size -= step;
    }
    return NULL;
}

/* Asks the kernel for the multicast group of a generic netlink family; 0 if there is none. */
static uint32_t find_group(int socket, const char *family)
{
    unsigned char message[128] = {0}, answer[2048];
    struct netlink_header header = {.type = GENL_ID_CTRL, .flags = NLM_F_REQUEST};
    struct netlink_generic generic = {.command = CTRL_CMD_GETFAMILY, .version = 1};
    struct netlink_attribute attribute = {.type = CTRL_ATTR_FAMILY_NAME};
    size_t at = sizeof header + sizeof generic, length;
    uint32_t group = 0;
    attribute.length = (uint16_t)(sizeof attribute + strlen(family) + 1);
    header.length = (uint32_t)(at + padded(attribute.length));
    memcpy(message, &header, sizeof header);
    memcpy(message + sizeof header, &generic, sizeof generic);
    memcpy(message + at, &attribute, sizeof attribute);
    strcpy((char *)message + at + sizeof attribute, family);
    if (send(socket, message, header.length, 0) < 0)
        return 0;
    ssize_t got = recv(socket, answer, sizeof answer, 0);
    if (got < (ssize_t)at)
        return 0;
    memcpy(&header, answer, sizeof header);
    if (header.type != GENL_ID_CTRL)
        return 0;
    const unsigned char *groups = find_attribute(answer + at, (size_t)got - at, CTRL_ATTR_MCAST_GROUPS, &length);
    const unsigned char *first = groups ? find_attribute(groups, length, 0, &length) : NULL;
    const unsigned char *number = first ? find_attribute(first, length, CTRL_ATTR_MCAST_GRP_ID, &length) : NULL;
    if (number && length == sizeof group)
        memcpy(&group, number, sizeof group);
    return group;
}

static int open_button(void)
{
    struct netlink_address address = {.family = AF_NETLINK};
    int descriptor = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC);
    if (descriptor < 0 || bind(descriptor, (struct sockaddr *)&address, sizeof address))
        return -1;
    uint32_t group = find_group(descriptor, ACPI_EVENT_FAMILY);
    if (!group || setsockopt(descriptor, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group)) {
        close(descriptor);
        return -1;
    }
    return descriptor;
}

static bool is_button_event(const unsigned char *message, size_t size)
{
    size_t at = sizeof(struct netlink_header) + sizeof(struct netlink_generic), length;
    struct acpi_event event;
    const unsigned char *data = size > at ? find_attribute(message + at, size - at, 0, &length) : NULL;
    if (!data || length < sizeof event)
        return false;
    memcpy(&event, data, sizeof event);
    return !strncmp(event.device_class, "button/power", sizeof event.device_class);
}

static bool take_button(void)
{
    unsigned char message[1024];
    ssize_t got = recv(button, message, sizeof message, MSG_DONTWAIT);
    return got > 0 && is_button_event(message, (size_t)got);
}

/* SIGTERM means "end" to those who know containers, and "reboot" to busybox's reboot, which is gone at once. */
static enum power_request meaning_of_term(pid_t sender)
{
    char *path = format("/proc/%d/comm", (int)sender), *name = file_line(path);
    bool reboot = !*name || !strcmp(name, "reboot") || !strcmp(name, "busybox") || !strcmp(name, "exe");
    free(path);
    free(name);
    return reboot ? POWER_REBOOT : POWER_OFF;
}

static void take_signals(void)
{
    struct signalfd_siginfo info;
    while (read(signals, &info, sizeof info) == sizeof info) {
        if (info.ssi_signo == SIGCHLD)
            children_reap();
        else if (info.ssi_signo == SIGINT)
            ask(POWER_REBOOT);
        else if (info.ssi_signo == SIGTERM)
            ask(meaning_of_term((pid_t)info.ssi_pid));
        else if (info.ssi_signo != SIGHUP)
            ask(POWER_OFF);
    }
}

static void take_initctl(void)
{
    struct initctl_request request;
    while (read(initctl, &request, sizeof request) == sizeof request) {
        if (request.magic != INITCTL_MAGIC || request.command != INITCTL_RUNLEVEL)
            continue;
        if (request.runlevel == '0')
            ask(POWER_OFF);
        else if (request.runlevel == '6')
            ask(POWER_REBOOT);
    }
}

void power_begin(void)
{
    static const int wanted[] = {SIGCHLD, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGPWR, SIGHUP};
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        sigaddset(&set, wanted[i]);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    /* Ctrl-Alt-Del becomes a SIGINT to PID 1. */
    reboot(RB_DISABLE_CAD);
    button = open_button();
    if (button < 0)
        say_error("the power button cannot be watched");
}

void power_begin_initctl(void)
{
    if (mkfifo("/run/initctl", 0600) && errno != EEXIST)
        return;
    /* Open for writing too, or it would look closed whenever no one has it open. */
    initctl = open("/run/initctl", O_RDWR | O_NONBLOCK | O_CLOEXEC);
}

bool power_write_initctl(bool restart)
{
    struct initctl_request request = {
        .magic = INITCTL_MAGIC, .command = INITCTL_RUNLEVEL, .runlevel = restart ? '6' : '0'};
    /* Without a reader, this fails instead of waiting for one. */
    int fifo = open("/run/initctl", O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    bool done = fifo >= 0 && write(fifo, &request, sizeof request) == sizeof request;
    if (fifo >= 0)
        close(fifo);
    return done;
}

void power_poll_for(struct pollfd sources[POWER_SOURCES])
{
    sources[0] = (struct pollfd){.fd = signals, .events = POLLIN};
    sources[1] = (struct pollfd){.fd = button, .events = POLLIN};
    sources[2] = (struct pollfd){.fd = initctl, .events = POLLIN};
}

void power_take(const struct pollfd sources[POWER_SOURCES])
{
    if (sources[0].revents)
        take_signals();
    if (sources[1].revents && take_button())
        ask(POWER_BUTTON);
    if (sources[2].revents)
        take_initctl();
}

int power_wait_for_button(void)
{
    unsigned char message[1024];
    int descriptor = open_button();
    while (descriptor >= 0) {
        ssize_t got = recv(descriptor, message, sizeof message, 0);
        if (got < 0 && errno != EINTR && errno != ENOBUFS)
            break;
        if (got > 0 && is_button_event(message, (size_t)got))
            return 0;
    }
    return 1;
}
