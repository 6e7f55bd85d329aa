/*
 * systemd's own serial-getty@ waits for a device unit, which needs udev, and asks for a password, which the users of a
 * container image do not have.  The power button is systemd-logind's, which needs D-Bus.  Images often have neither.
 */
#include "systemd.h"

#include <errno.h>
#include <unistd.h>

#include "lib/file.h"
#include "lib/say.h"
#include "lib/text.h"
#include "paths.h"

#define UNITS "/run/systemd/system"

static void add_unit(const char *name, const char *text)
{
    char *path = format(UNITS "/%s", name), *wanted = format(UNITS "/multi-user.target.wants/%s", name);
    if (!file_replace(path, text, 0644) || (symlink(path, wanted) && errno != EEXIST))
        say_error("%s", path);
}

void systemd_prepare(const struct program *program)
{
    static const char shell_unit[] = "[Unit]\n"
                                     "Description=Shell on the serial console\n"
                                     "ConditionPathExists=/dev/ttyS0\n"
                                     "After=systemd-user-sessions.service\n"
                                     "[Service]\n"
                                     "ExecStart=-%s\n"
                                     "Environment=TERM=linux HOME=/root\n"
                                     "WorkingDirectory=-/root\n"
                                     "StandardInput=tty-force\n"
                                     "StandardOutput=tty\n"
                                     "StandardError=tty\n"
                                     "TTYPath=/dev/ttyS0\n"
                                     "TTYReset=yes\n"
                                     "Restart=always\n"
                                     "RestartSec=0\n"
                                     "SendSIGHUP=yes\n"
                                     "KillMode=process\n";
    static const char button_unit[] = "[Unit]\n"
                                      "Description=ACPI power button\n"
                                      "[Service]\n"
                                      "ExecStart=" TOOLS "/minivm pass-on-power-button\n";
    struct program shell;
    if (!make_dirs(UNITS "/multi-user.target.wants", 0755)) {
        say_error(UNITS);
        return;
    }
    program_plan_shell(&shell, program);
    char *command = copy_text(shell.argv.item[0]);
    for (size_t i = 1; i < shell.argv.count; i++)
        command = format("%s %s", command, shell.argv.item[i]);
    add_unit("minivm-console.service", format(shell_unit, command));
    add_unit("minivm-power-button.service", button_unit);
    if (symlink("/dev/null", UNITS "/serial-getty@ttyS0.service") && errno != EEXIST)
        say_error("serial-getty@ttyS0.service");
}
