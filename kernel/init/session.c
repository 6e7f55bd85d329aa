#include "session.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

#include "lib/file.h"
#include "lib/say.h"
#include "lib/text.h"

bool session_open(struct session *session)
{
    struct winsize size = {.ws_row = 24, .ws_col = 80};
    int unlock = 0;
    unsigned number;
    memset(&session->child, 0, sizeof session->child);
    session->slave = -1;
    session->master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (session->master < 0 || ioctl(session->master, TIOCSPTLCK, &unlock) ||
        ioctl(session->master, TIOCGPTN, &number)) {
        say_error("there is no pseudo terminal");
        return false;
    }
    snprintf(session->path, sizeof session->path, "/dev/pts/%u", number);
    session->slave = open(session->path, O_RDWR | O_NOCTTY | O_CLOEXEC);
    ioctl(session->master, TIOCSWINSZ, &size);
    return session->slave >= 0;
}

/* In the child: the terminal becomes the controlling one and the standard descriptors. */
static int take_terminal(const struct session *session, const struct program *program)
{
    setsid();
    if (ioctl(session->slave, TIOCSCTTY, 0) || fchown(session->slave, program->account.uid, 5) ||
        fchmod(session->slave, 0620))
        return -1;
    for (int descriptor = 0; descriptor <= 2; descriptor++)
        if (dup2(session->slave, descriptor) < 0)
            return -1;
    /* The terminal turns line ends by itself. */
    say_on(STDERR_FILENO);
    return 0;
}

void session_start(struct session *session, const struct program *program)
{
    /* With these flags it is a fork() too: the other arguments mean nothing without CLONE_VM and CLONE_SETTLS. */
    pid_t pid = program->own_pids
                    ? (pid_t)syscall(SYS_clone, SIGCHLD | CLONE_NEWPID | CLONE_NEWNS, NULL, NULL, NULL, NULL)
                    : fork();
    if (pid) {
        child_watch(&session->child, pid);
        return;
    }
    process_reset_signals();
    if (take_terminal(session, program))
        _exit(126);
    if (program->own_pids) {
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
        mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    }
    _exit(program_become(program));
}

void session_reopen(struct session *session)
{
    if (session->slave >= 0)
        close(session->slave);
    session->slave = open(session->path, O_RDWR | O_NOCTTY | O_CLOEXEC);
}

void session_close(struct session *session)
{
    if (session->slave >= 0)
        close(session->slave);
    if (session->master >= 0)
        close(session->master);
    session->slave = session->master = -1;
    /* Its place is used again: it must not be in the middle of the list of children then. */
    child_forget(&session->child);
}

/* Copies from the memory of a process. */
static bool read_memory(const char *pid, unsigned long address, void *data, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%.20s/mem", pid);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return false;
    ssize_t got = pread(file, data, size, (off_t)address);
    close(file);
    return got == (ssize_t)size;
}

static bool is_terminal(const char *pid, int descriptor, const char *terminal)
{
    char path[64], target[64];
    snprintf(path, sizeof path, "/proc/%.20s/fd/%d", pid, descriptor);
    ssize_t length = readlink(path, target, sizeof target - 1);
    if (length < 0)
        return false;
    target[length] = '\0';
    return !strcmp(target, terminal);
}

static bool polls(const char *pid, unsigned long address, unsigned long count, const char *terminal)
{
    struct pollfd polled[16];
    if (count > sizeof polled / sizeof *polled)
        count = sizeof polled / sizeof *polled;
    if (!read_memory(pid, address, polled, count * sizeof *polled))
        return false;
    for (unsigned long i = 0; i < count; i++)
        if (polled[i].events & POLLIN && is_terminal(pid, polled[i].fd, terminal))
            return true;
    return false;
}

static bool selects(const char *pid, unsigned long count, unsigned long address, const char *terminal)
{
    unsigned char set[8];
    if (!address || !read_memory(pid, address, set, sizeof set))
        return false;
    for (unsigned long i = 0; i < count && i < 8 * sizeof set; i++)
        if (set[i / 8] & 1 << i % 8 && is_terminal(pid, (int)i, terminal))
            return true;
    return false;
}

/* Whether a process is inside a system call that waits for input from this terminal. */
static bool process_waits(const char *pid, const char *terminal)
{
    char path[64];
    unsigned long call, first, second;
    snprintf(path, sizeof path, "/proc/%.20s/syscall", pid);
    char *line = file_line(path);
    bool inside = sscanf(line, "%lu 0x%lx 0x%lx", &call, &first, &second) == 3;
    free(line);
    if (!inside)
        return false;
    if (call == SYS_read)
        return is_terminal(pid, (int)first, terminal);
    if (call == SYS_ppoll)
        return polls(pid, first, second, terminal);
    if (call == SYS_pselect6)
        return selects(pid, first, second, terminal);
#ifdef SYS_poll /* newer architectures have the other two only */
    if (call == SYS_poll)
        return polls(pid, first, second, terminal);
    if (call == SYS_select)
        return selects(pid, first, second, terminal);
#endif
    return false;
}

bool session_is_read(const struct session *session)
{
    struct termios mode;
    if (session->master < 0)
        return false;
    if (!tcgetattr(session->slave, &mode) && !(mode.c_lflag & ICANON))
        return true;
    DIR *directory = opendir("/proc");
    struct dirent *entry;
    bool found = false;
    while (directory && !found && (entry = readdir(directory)))
        if (*entry->d_name >= '0' && *entry->d_name <= '9')
            found = process_waits(entry->d_name, session->path);
    if (directory)
        closedir(directory);
    return found;
}
