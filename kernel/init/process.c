#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/file.h"
#include "lib/say.h"
#include "paths.h"

static struct child *watched;
static int terminal = -1;
static char *const plain_environment[] = {"PATH=" DEFAULT_PATH ":" TOOLS, "HOME=/root", "TERM=linux", NULL};

long long now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

void process_reset_signals(void)
{
    sigset_t none;
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

char *process_find(const char *name, const char *path)
{
    struct words folders = {0};
    if (strchr(name, '/'))
        return copy_text(name);
    words_split(&folders, path, ":");
    for (size_t i = 0; i < folders.count; i++) {
        char *candidate = format("%s/%s", folders.item[i], name);
        if (is_program(candidate))
            return candidate;
        free(candidate);
    }
    return NULL;
}

void process_use_terminal(int descriptor)
{
    terminal = descriptor;
}

static int exit_status(int status)
{
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static pid_t start(const struct words *command, char *const *environment, bool quietly)
{
    pid_t pid = fork();
    if (pid)
        return pid;
    process_reset_signals();
    setsid();
    int nowhere = quietly || terminal >= 0 ? open("/dev/null", O_RDWR | O_CLOEXEC) : -1;
    int output = quietly || terminal < 0 ? nowhere : terminal;
    if (nowhere >= 0 && (dup2(nowhere, 0) < 0 || dup2(output, 1) < 0 || dup2(output, 2) < 0))
        _exit(126);
    const char *folders = DEFAULT_PATH;
    for (char *const *entry = environment; *entry; entry++)
        if (after(*entry, "PATH="))
            folders = after(*entry, "PATH=");
    char *path = process_find(command->item[0], folders);
    if (path)
        execve(path, command->item, environment);
    _exit(errno == ENOENT || !path ? 127 : 126);
}

pid_t process_start(const struct words *command)
{
    return start(command, plain_environment, false);
}

pid_t process_start_quietly(const struct words *command)
{
    return start(command, plain_environment, true);
}

pid_t process_start_with(const struct words *command, char *const *environment)
{
    return start(command, environment, false);
}

int process_run(const struct words *command)
{
    return process_run_with(command, plain_environment);
}

int process_run_with(const struct words *command, char *const *environment)
{
    int status;
    pid_t pid = process_start_with(command, environment);
    if (pid < 0)
        return 126;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return 126;
    return exit_status(status);
}

void child_watch(struct child *child, pid_t pid)
{
    child->pid = pid;
    child->running = pid > 0;
    child->status = pid > 0 ? 0 : 126;
    child->killed_by = 0;
    for (struct child *known = watched; known; known = known->next)
        if (known == child)
            return;
    child->next = watched;
    watched = child;
}

void child_forget(struct child *child)
{
    for (struct child **link = &watched; *link; link = &(*link)->next)
        if (*link == child) {
            *link = child->next;
            return;
        }
}

void children_reap(void)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        for (struct child *child = watched; child; child = child->next)
            if (child->running && child->pid == pid) {
                child->running = false;
                child->status = exit_status(status);
                child->killed_by = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
            }
}

bool children_left(void)
{
    siginfo_t info;
    return !waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) || errno != ECHILD;
}
