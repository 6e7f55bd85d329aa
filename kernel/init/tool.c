#include "tool.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <unistd.h>

#include "network.h"
#include "power.h"

/* systemd's signals are SIGRTMIN+4 for "power off" and SIGRTMIN+5 for "reboot", counted as the kernel does. */
enum { SYSTEMD_POWEROFF = 34 + 4 };

/* Whether PID 1 is this program and not, say, the shell of init=/bin/sh, or the first process of a container. */
static bool init_is_ours(void)
{
    struct stat first, own;
    return !stat("/proc/1/exe", &first) && !stat("/proc/self/exe", &own) && first.st_dev == own.st_dev &&
           first.st_ino == own.st_ino;
}

/* Asks whoever is process 1 for an orderly end; false if nobody takes such a request. */
static bool ask_for_end(bool restart)
{
    if (init_is_ours())
        return !kill(1, restart ? SIGINT : SIGUSR2);
    /* A fifo reaches out of a PID namespace, too. */
    if (power_write_initctl(restart))
        return true;
    return !access("/run/systemd/system", F_OK) && !kill(1, SYSTEMD_POWEROFF + restart);
}

static int stop(const char *name, bool at_once)
{
    bool restart = !strcmp(name, "reboot");
    if (!at_once && ask_for_end(restart))
        return 0;
    sync();
    reboot(restart ? RB_AUTOBOOT : RB_POWER_OFF);
    fprintf(stderr, "%s: %s\n", name, strerror(errno));
    return 1;
}

static int pass_on_button(void)
{
    while (!power_wait_for_button())
        if (kill(1, SYSTEMD_POWEROFF))
            return 1;
    return 1;
}

int tool_main(const char *name, int count, char *const *arguments)
{
    bool at_once = false;
    for (int i = 1; i < count; i++)
        at_once = at_once || (arguments[i][0] == '-' && arguments[i][1] != '-' && strchr(arguments[i], 'f')) ||
                  !strcmp(arguments[i], "--force");
    if (!strcmp(name, "poweroff") || !strcmp(name, "reboot") || !strcmp(name, "halt"))
        return stop(name, at_once);
    if (!strcmp(name, "minivm-lease") && count > 1)
        return network_take_lease(arguments[1]);
    if (count > 1 && !strcmp(arguments[1], "pass-on-power-button"))
        return pass_on_button();
    fprintf(stderr, "%s is the init of this machine; it is not run by hand\n", name);
    return 2;
}
