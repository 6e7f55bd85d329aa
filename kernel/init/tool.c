#include "tool.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/reboot.h>
#include <unistd.h>

#include "network.h"
#include "power.h"

/* Whether PID 1 is this program and not, say, the shell of init=/bin/sh. */
static bool init_is_ours(void)
{
    char target[64];
    ssize_t length = readlink("/proc/1/exe", target, sizeof target - 1);
    if (length < 0)
        return true;
    target[length] = '\0';
    return !strcmp(target, "/init") && !access("/run/minivm/init", F_OK);
}

static int stop(const char *name, bool at_once)
{
    bool restart = !strcmp(name, "reboot");
    if (!at_once && init_is_ours()) {
        if (!kill(1, restart ? SIGINT : SIGUSR2))
            return 0;
        fprintf(stderr, "%s: %s\n", name, strerror(errno));
        return 1;
    }
    sync();
    reboot(restart ? RB_AUTOBOOT : RB_POWER_OFF);
    fprintf(stderr, "%s: %s\n", name, strerror(errno));
    return 1;
}

/* For systemd, whose signal for "power off" is SIGRTMIN+4, counted as the kernel does. */
static int pass_on_button(void)
{
    while (!power_wait_for_button())
        if (kill(1, 34 + 4))
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
