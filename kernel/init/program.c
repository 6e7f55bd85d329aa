#include "program.h"

#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/file.h"
#include "lib/say.h"
#include "paths.h"
#include "process.h"

#define INIT_SCRIPT "/etc/init.sh"

int signal_number(const char *name)
{
    static const struct {
        const char *name;
        int number;
    } known[] = {
        {"HUP", SIGHUP},   {"INT", SIGINT},   {"QUIT", SIGQUIT}, {"KILL", SIGKILL},   {"USR1", SIGUSR1},
        {"USR2", SIGUSR2}, {"ALRM", SIGALRM}, {"TERM", SIGTERM}, {"WINCH", SIGWINCH}, {"PWR", SIGPWR},
        {"ABRT", SIGABRT}, {"STOP", SIGSTOP}, {"CONT", SIGCONT},
    };
    unsigned long number;
    const char *offset;
    if (parse_number(name, 64, &number))
        return (int)number;
    if (after(name, "SIG"))
        name += strlen("SIG");
    /* As the kernel counts: libc keeps the first real-time signals for itself. */
    if ((offset = after(name, "RTMIN+")) && parse_number(offset, 29, &number))
        return 34 + (int)number;
    if (!strcmp(name, "RTMIN"))
        return 34;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(name, known[i].name))
            return known[i].number;
    return 0;
}

/* A shell that nobody has given a script or a command. */
static bool is_shell(const struct words *argv)
{
    static const char *const shells[] = {"sh",   "bash", "ash", "dash",  "zsh",   "ksh",
                                         "fish", "csh",  "tcsh", "vtysh", "login", "mksh"};
    const char *name = base_name(argv->item[0]);
    for (size_t i = 1; i < argv->count; i++)
        if (argv->item[i][0] != '-' || (argv->item[i][1] != '-' && strchr(argv->item[i], 'c')))
            return false;
    for (size_t i = 0; i < sizeof shells / sizeof *shells; i++)
        if (!strcmp(name + (*name == '-'), shells[i]))
            return true;
    return false;
}

static void plan_environment(struct program *program, const struct config *config, const struct options *options,
                             char *const *kernel_environment)
{
    char host[65] = "";
    words_add(&program->env, "PATH=" DEFAULT_PATH);
    words_add(&program->env, "TERM=linux");
    if (!gethostname(host, sizeof host - 1))
        words_add(&program->env, format("HOSTNAME=%s", host));
    for (size_t i = 0; i < config->env.count; i++)
        words_set(&program->env, config->env.item[i]);
    for (; kernel_environment && *kernel_environment; kernel_environment++)
        /* The first two are the kernel's own. */
        if (strcmp(*kernel_environment, "HOME=/") && strcmp(*kernel_environment, "TERM=linux") &&
            !is_own_word(*kernel_environment) && !after(*kernel_environment, "BOOT_IMAGE="))
            words_set(&program->env, *kernel_environment);
    for (size_t i = 0; i < options->env.count; i++)
        words_set(&program->env, options->env.item[i]);
    /* As in Docker: an empty one counts as none. */
    const char *home = words_get(&program->env, "HOME");
    if (!home || !*home)
        words_set(&program->env, format("HOME=%s", program->account.home));
    words_set(&program->env, format("PATH=%s:" TOOLS, words_get(&program->env, "PATH")));
}

static void plan_account(struct program *program, const char *user)
{
    const char *wrong = account_find(&program->account, user);
    if (!wrong)
        return;
    say("user '%s': %s; the main program runs as root", user, wrong);
    account_find(&program->account, "");
}

/* Inits for containers: some refuse to run, or kill all processes at their end, unless they are process 1. */
static bool is_container_init(const char *path)
{
    static const char *const names[] = {"tini",        "tini-static", "dumb-init", "catatonit",
                                        "docker-init", "s6-svscan",   "my_init"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(base_name(path), names[i]))
            return true;
    return !strcmp(path, "/init");
}

/* The image's own init system is recognised by what its first word leads to. */
static void plan_init(struct program *program)
{
    char *found = process_find(program->argv.item[0], words_get(&program->env, "PATH"));
    char *path = found ? realpath(found, NULL) : NULL;
    if (!path)
        return;
    bool system_init = !strcmp(found, "/sbin/init") || !strcmp(found, "/usr/sbin/init") || !strcmp(found, "/bin/init");
    program->own_init = !program->account.uid && (system_init || !strcmp(base_name(path), "systemd"));
    program->own_pids = !program->own_init && is_container_init(found);
}

static const char *find_shell(const struct account *account)
{
    static const char *const shells[] = {"/bin/bash", "/usr/bin/bash", "/bin/sh", "/usr/bin/sh", "/bin/ash"};
    if (*account->shell && is_program(account->shell) && !strstr(account->shell, "nologin") &&
        !strstr(account->shell, "false"))
        return account->shell;
    for (size_t i = 0; i < sizeof shells / sizeof *shells; i++)
        if (is_program(shells[i]))
            return shells[i];
    return NULL;
}

static void plan_shell_words(struct words *argv, const struct account *account)
{
    const char *shell = find_shell(account);
    if (shell) {
        words_add(argv, shell);
        return;
    }
    /* In the initramfs it lies elsewhere. */
    words_add(argv, is_program(TOOLS "/busybox") ? TOOLS "/busybox" : "/bin/busybox");
    words_add(argv, "sh");
}

void program_plan(struct program *program, const struct config *config, const struct options *options,
                  char *const *kernel_environment)
{
    bool script = !config->node_entrypoint && !access(INIT_SCRIPT, R_OK);
    memset(program, 0, sizeof *program);
    program->work_dir = (script && !config->node_work_dir) || !*config->work_dir ? "/" : config->work_dir;
    plan_account(program, options->user ? options->user : script ? "" : config->user);
    if (script) {
        if (!is_program(INIT_SCRIPT))
            words_add(&program->argv, "/bin/sh");
        words_add(&program->argv, INIT_SCRIPT);
    } else {
        words_add_all(&program->argv, &config->entrypoint);
    }
    bool no_cmd = options->has_arguments || (script && !config->node_cmd);
    words_add_all(&program->argv, no_cmd ? &options->arguments : &config->cmd);
    if (!program->argv.count)
        plan_shell_words(&program->argv, &program->account);
    program->name = program->argv.item[0];
    program->interactive = script || is_shell(&program->argv) || !strcmp(base_name(program->name), "busybox");
    program->stop_signal = signal_number(config->stop_signal);
    if (!program->stop_signal)
        program->stop_signal = SIGTERM;
    plan_environment(program, config, options, kernel_environment);
    if (!script)
        plan_init(program);
}

void program_plan_shell(struct program *shell, const struct program *main_program)
{
    memset(shell, 0, sizeof *shell);
    account_find(&shell->account, "");
    if (main_program)
        words_add_all(&shell->env, &main_program->env);
    else
        words_add(&shell->env, "PATH=" DEFAULT_PATH ":" TOOLS);
    words_set(&shell->env, "HOME=/root");
    if (!words_get(&shell->env, "TERM"))
        words_add(&shell->env, "TERM=linux");
    plan_shell_words(&shell->argv, &shell->account);
    shell->name = "the shell";
    shell->work_dir = main_program ? main_program->work_dir : "/";
    shell->stop_signal = SIGHUP;
    shell->interactive = true;
}

static int failed(const char *what)
{
    int status = errno == ENOENT ? 127 : 126;
    say_error("%s", what);
    return status;
}

int program_become(const struct program *program)
{
    const struct account *account = &program->account;
    make_dirs(program->work_dir, 0755);
    if (setgroups(account->group_count, account->groups) || setgid(account->gid) || setuid(account->uid))
        return failed("changing to the program's user");
    if (chdir(program->work_dir))
        return failed(program->work_dir);
    char *path = process_find(program->argv.item[0], words_get(&program->env, "PATH"));
    if (!path)
        errno = ENOENT;
    else
        execve(path, program->argv.item, program->env.item);
    return failed(program->argv.item[0]);
}
