/*
 * The init of a MiniVM: PID 1 in the initramfs, and after it, until the machine stops.
 *
 * kernel/CONTRACT.md says what it does and what it is told; the order of the steps is in main() below.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "autoload.h"
#include "cmdline.h"
#include "config.h"
#include "console.h"
#include "disk.h"
#include "identity.h"
#include "ifupdown.h"
#include "lib/file.h"
#include "lib/say.h"
#include "link.h"
#include "module.h"
#include "mounts.h"
#include "network.h"
#include "payload.h"
#include "power.h"
#include "process.h"
#include "program.h"
#include "stop.h"
#include "systemd.h"
#include "tool.h"

enum {
    EARLY_FAILURE_MS = 10000, /* a main program that fails sooner has not worked at all */
    LATE_S = 1,               /* about what it takes from here to a prompt without KVM */
};

static struct options options;
static struct config config;
static struct payload payload;
static char **kernel_environment;

/* A shell in the initramfs; stops the machine if that is what its user wants. */
static void initramfs_shell(void)
{
    struct program shell;
    disk_unpack_e2fsck();
    modules_load(MODULES_EARLY);
    modules_load(MODULES_REST);
    program_plan_shell(&shell, NULL);
    run_on_console(&shell, NULL, CONSOLE_MAIN);
    if (power_request != POWER_NONE)
        stop_machine();
}

static void mount_root(void)
{
    const char *wrong;
    if (options.single) {
        say("single: the root disk %s is not mounted yet; exit continues the boot", options.root);
        initramfs_shell();
    }
    while ((wrong = disk_mount_root(&options))) {
        say("%s", wrong);
        say("this is a shell in the initial RAM disk; exit tries again, poweroff -f ends");
        initramfs_shell();
    }
}

/*
 * Loading drivers, mounting and naming cards wait for RCU grace periods, of several clock ticks each once the kernel has
 * started init, unless they are expedited.
 */
static void hurry(bool yes)
{
    file_write("/sys/kernel/rcu_expedited", yes ? "1" : "0");
}

/*
 * Work that the main program does not wait for: a process of its own, which runs when no other wants to.  It waits a
 * little too: while the main program reads from its disk nobody else wants to run, but loading a module then goes on in
 * the kernel after the disk has answered.
 */
static void start_late_work(void)
{
    if (fork())
        return;
    process_reset_signals();
    sched_setscheduler(0, SCHED_IDLE, &(struct sched_param){0});
    nanosleep(&(struct timespec){.tv_sec = LATE_S}, NULL);
    modules_load(MODULES_REST);
    initramfs_remove("/sbin/e2fsck");
    initramfs_remove("/sbin/e2fsck.gz");
    hurry(false);
    _exit(0);
}

/* Returns only if that fails. */
static void become(const struct program *program)
{
    console_hand_over();
    process_reset_signals();
    program_become(program);
    console_begin();
    power_begin();
}

/* run="COMMAND", and those of the payload, beside the start of the main program, with its environment. */
static void start_run_commands(const struct program *program)
{
    struct program shell;
    program_plan_shell(&shell, program);
    /* The image's own init system has the serial line to itself, without our terminals. */
    if ((options.run.count || payload_has_commands(&payload)) && !program->own_init)
        console_prepare();
    payload_start_commands(&payload, &shell.argv, shell.env.item);
    for (size_t i = 0; i < options.run.count; i++) {
        struct words command = {0};
        words_add_all(&command, &shell.argv);
        words_add(&command, "-c");
        words_add(&command, options.run.item[i]);
        process_start_with(&command, shell.env.item);
    }
}

/* The image's own init system: what it finds is what it would find in a container with a console. */
static void become_image_init(const struct program *program)
{
    unlink("/.dockerenv");
    systemd_prepare(program);
    start_late_work();
    start_run_commands(program);
    console_leave_agent(program);
    process_reset_signals();
    program_become(program);
    console_take_back();
    console_begin();
    power_begin();
}

/* init=PATH: that program is PID 1 from here on, on the console. */
static void become_other_init(const struct program *plan, const char *path)
{
    struct program other = *plan;
    memset(&other.argv, 0, sizeof other.argv);
    words_add(&other.argv, path);
    words_add_all(&other.argv, &options.arguments);
    other.work_dir = "/";
    account_find(&other.account, "");
    if (!is_program(path)) {
        say("init=%s: there is no such program", path);
        return;
    }
    hurry(false);
    say("init=%s is process 1 now; leave it with: sync; poweroff -f", path);
    become(&other);
}

static void read_config(void)
{
    char *text = file_text("/.minivm/config", NULL);
    if (!text || !config_parse(&config, text)) {
        if (text)
            say("/.minivm/config is malformed: it is ignored");
        config_parse(&config, "minivm-config 1\n");
    }
}

static void run_main_program(struct program *program)
{
    struct program shell;
    long long started = now_ms();
    program_plan_shell(&shell, program);
    start_late_work();
    int status = run_on_console(program, &shell, options.console);
    if (power_request != POWER_NONE || !status || console_was_used() || now_ms() - started > EARLY_FAILURE_MS)
        return;
    say("%s ended with status %d after %lld ms", program->name, status, now_ms() - started);
    say("this is a shell in its place; exit powers off");
    run_on_console(&shell, NULL, CONSOLE_MAIN);
}

/* As Docker's.  Set for process 1 itself, because PAM gives its limits to whoever logs in. */
static void set_limits(void)
{
    /* Programs that raise their own limit find room, others are not slowed by a huge one. */
    setrlimit(RLIMIT_NOFILE, &(struct rlimit){.rlim_cur = 65536, .rlim_max = 1048576});
    /* The kernel's default goes by the memory: some hundred processes for a user of a small machine. */
    setrlimit(RLIMIT_NPROC, &(struct rlimit){.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY});
}

static void begin(int count, char **arguments)
{
    umask(022);
    set_limits();
    console_hush();
    mounts_begin();
    hurry(true);
    options_parse(&options, file_line("/proc/cmdline"));
    for (size_t i = 0; i < options.complaints.count; i++)
        say("kernel command line: %s", options.complaints.item[i]);
    /* The kernel hands on words that it does not know, then those after "--". */
    for (int i = 1; i + (int)options.arguments.count < count; i++)
        if (strcmp(arguments[i], "single"))
            say("kernel command line: '%s': is unknown", arguments[i]);
    modules_load(MODULES_BOOT);
    power_begin();
    console_begin();
}

int main(int count, char **arguments, char **environment)
{
    struct program program;
    if (getpid() != 1)
        return tool_main(base_name(arguments[0]), count, arguments);
    kernel_environment = environment;
    begin(count, arguments);
    mount_root();
    mounts_move_root();
    mounts_module_disk();
    autoload_begin();
    modules_load(MODULES_EARLY);
    links_begin();
    read_config();
    payload_begin(&payload, &config, &options);
    identity_begin(&options);
    payload_write_files(&payload);
    program_plan(&program, &config, &options, kernel_environment);
    resolver_begin(&options, program.own_init);
    network_begin(&options);
    links_up();
    if (options.init)
        become_other_init(&program, options.init);
    else if (program.own_init)
        become_image_init(&program);
    power_begin_initctl();
    ifupdown_begin(&options, &program);
    start_run_commands(&program);
    run_main_program(&program);
    stop_machine();
}
