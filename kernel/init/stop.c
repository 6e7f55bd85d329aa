#include "stop.h"

#include <signal.h>
#include <string.h>
#include <sys/reboot.h>
#include <unistd.h>

#include "console.h"
#include "lib/file.h"
#include "lib/say.h"
#include "mounts.h"
#include "power.h"
#include "process.h"

/* The original's convention: acpid's event name as a path in the image. */
#define BUTTON_SCRIPT "/etc/acpi/PWRF/00000080"

enum {
    SCRIPT_MS = 30000, /* for the image's own power-button script */
    GRACE_MS = 10000,  /* for the main program, as docker stop has it */
    TERM_MS = 3000,    /* for all other processes */
    KILL_MS = 2000,
};

static void wait_for_child(const struct child *child, long long limit_ms)
{
    long long end = now_ms() + limit_ms;
    while (child->running && now_ms() < end)
        console_turn((int)(end - now_ms()));
}

/* An image may have its own idea of what the power button does; if it then asks for the end, it waits no longer. */
static void run_button_script(void)
{
    struct child script = {0};
    struct words command = {0};
    long long end = now_ms() + SCRIPT_MS;
    if (!is_program(BUTTON_SCRIPT))
        return;
    words_add(&command, BUTTON_SCRIPT);
    child_watch(&script, process_start(&command));
    while (script.running && power_request == POWER_BUTTON && now_ms() < end)
        console_turn((int)(end - now_ms()));
    child_forget(&script);
}

int run_on_console(const struct program *program, const struct program *shell, enum console_mode mode)
{
    struct child *child = console_start(program, shell, mode);
    while (child->running && power_request == POWER_NONE)
        console_turn(-1);
    if (child->running) {
        if (power_request == POWER_BUTTON)
            run_button_script();
        console_stop(program);
        wait_for_child(child, GRACE_MS);
    }
    console_finish();
    return child->status;
}

static void end_processes(int number, long long limit_ms)
{
    long long end = now_ms() + limit_ms;
    kill(-1, number);
    if (number == SIGTERM)
        /* Stopped ones would not notice, and interactive shells end on a hang-up only. */
        kill(-1, SIGCONT), kill(-1, SIGHUP);
    children_reap();
    while (children_left() && now_ms() < end) {
        console_turn((int)(end - now_ms()));
        children_reap();
    }
}

void stop_machine(void)
{
    end_processes(SIGTERM, TERM_MS);
    end_processes(SIGKILL, KILL_MS);
    mounts_end();
    reboot(power_request == POWER_REBOOT ? RB_AUTOBOOT : RB_POWER_OFF);
    say_error("the machine does not power off");
    for (;;)
        pause();
}
