#include "console.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <termios.h>
#include <unistd.h>

#include "exec.h"
#include "lib/escape.h"
#include "lib/file.h"
#include "lib/say.h"
#include "lib/text.h"
#include "power.h"

enum {
    OUTPUT_SIZE = 4096,
    INPUT_SIZE = 65536,
    UNDECIDED_SIZE = 1024,
    HISTORY_SIZE = 16384, /* what a service has written while a shell was in front, or nobody was reading */
    DECISION_MS = 400,    /* how long a program may take to ask for input after the Enter key */
    RECHECK_MS = 50,
    STALLED_MS = 2000,    /* a line that takes nothing for so long has no reader */
    HELD_MS = 1000,       /* how long the rest of a frame may take */
    SETTLED_MS = 100,     /* how long the rest of an escape sequence may take */
    QUEUE_MAX = 2048,     /* beyond it a frame may not fit into what the kernel holds of the line, 4095 bytes */
};

enum role { UNDECIDED, INTERACTIVE, SERVICE };

static int serial = -1;
static const char *line_path;
static pid_t agent;
static struct session front = {.master = -1, .slave = -1}, shell = {.master = -1, .slave = -1};
static const struct program *shell_program;
static const char *front_name;
static enum role role;
static bool was_used;
static long long enter_pressed_ms; /* 0: not pressed */

static char output[OUTPUT_SIZE], input[INPUT_SIZE], history[HISTORY_SIZE];
static size_t output_used, input_used, history_used;
static size_t history_next; /* where the next byte goes */
static size_t history_lost;
static long long output_ms, flushed_ms, scanned_ms; /* when output came, when the line took some, when input came */
static struct escape escape;
static struct frame_scanner scanner;

void console_hush(void)
{
    struct termios mode;
    if (tcgetattr(STDIN_FILENO, &mode))
        return;
    mode.c_lflag &= ~(tcflag_t)(ECHO | ICANON | ISIG);
    tcsetattr(STDIN_FILENO, TCSANOW, &mode);
}

void console_begin(void)
{
    struct termios mode;
    char *active = file_line("/sys/class/tty/console/active");
    /* The last of several consoles is the one that /dev/console stands for. */
    const char *name = strrchr(active, ' ') ? strrchr(active, ' ') + 1 : active;
    line_path = format("/dev/%s", *name ? name : "ttyS0");
    serial = open(line_path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (serial < 0) {
        say_error("%s", line_path);
        return;
    }
    if (!tcgetattr(serial, &mode)) {
        cfmakeraw(&mode);
        /* Until there are pseudo terminals, programs such as e2fsck write to the line itself. */
        mode.c_oflag |= OPOST | ONLCR;
        mode.c_cflag |= CLOCAL | CREAD;
        cfsetspeed(&mode, B115200);
        tcsetattr(serial, TCSANOW, &mode);
    }
    say_on(serial);
    free(active);
}

void console_hand_over(void)
{
    struct termios mode;
    if (serial < 0 || tcgetattr(serial, &mode))
        return;
    mode.c_iflag |= ICRNL | IXON;
    mode.c_oflag |= OPOST | ONLCR;
    mode.c_lflag |= ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN;
    tcsetattr(serial, TCSANOW, &mode);
    fcntl(serial, F_SETFL, fcntl(serial, F_GETFL) & ~O_NONBLOCK);
    setsid();
    ioctl(serial, TIOCSCTTY, 1);
    for (int descriptor = 0; descriptor <= 2; descriptor++)
        if (dup2(serial, descriptor) < 0)
            return;
    say_on(STDERR_FILENO);
}

void console_prepare(void)
{
    struct termios mode;
    if (front.master >= 0)
        return;
    if (serial >= 0 && !tcgetattr(serial, &mode)) {
        mode.c_oflag &= ~(tcflag_t)OPOST;
        tcsetattr(serial, TCSANOW, &mode);
    }
    if (!session_open(&front))
        return;
    process_use_terminal(front.slave);
    /* As under Docker: what a program writes to /dev/console goes where its other output goes. */
    if (mount(front.path, "/dev/console", NULL, MS_BIND, NULL))
        say_error("/dev/console");
}

/* The agent of an init system: whatever is asked of it, that is the init system's affair; a SIGTERM comes at the end. */
static _Noreturn void run_agent(const struct program *program)
{
    prctl(PR_SET_NAME, "minivm-console");
    setsid();
    role = INTERACTIVE;
    front_name = program->name;
    exec_begin(program, false);
    for (power_request = POWER_NONE; power_request == POWER_NONE || power_request == POWER_BUTTON;) {
        power_request = POWER_NONE;
        console_turn(-1);
    }
    _exit(0);
}

void console_leave_agent(const struct program *program)
{
    console_prepare();
    if (serial < 0 || front.slave < 0 || mount(front.path, line_path, NULL, MS_BIND, NULL)) {
        console_hand_over();
        return;
    }
    agent = fork();
    if (!agent)
        run_agent(program);
    for (int descriptor = 0; descriptor <= 2; descriptor++)
        if (dup2(front.slave, descriptor) < 0)
            return;
    say_on(STDERR_FILENO);
}

void console_take_back(void)
{
    if (agent > 0)
        kill(agent, SIGKILL);
    umount2(line_path, MNT_DETACH);
}

static void flush_output(void)
{
    ssize_t written = serial < 0 ? (ssize_t)output_used : write(serial, output, output_used);
    if (written > 0 || !output_used)
        flushed_ms = now_ms();
    if (written > 0) {
        output_used -= (size_t)written;
        memmove(output, output + written, output_used);
    }
}

/* Nobody reads.  A person's program waits, as it would on any terminal; a service goes on, and its last words are kept. */
static bool is_stalled(void)
{
    return role != INTERACTIVE && output_used && now_ms() - flushed_ms >= STALLED_MS;
}

static bool may_interrupt(void)
{
    return !output_used && (escape_is_between(&escape) || now_ms() - output_ms >= SETTLED_MS);
}

/* Frames go out whole, between what programs write: a short write would let other lines into them. */
static void send_frames(void)
{
    char frame[FRAME_SIZE_MAX];
    int queued = 0;
    while (serial >= 0 && exec_has_frame() && may_interrupt()) {
        if (ioctl(serial, TIOCOUTQ, &queued) || queued > QUEUE_MAX)
            return;
        size_t size = exec_next_frame(frame);
        if (write(serial, frame, size) < 0)
            return; /* the host asks for it again */
    }
}

static void remember(const char *data, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        history[history_next] = data[i];
        history_next = (history_next + 1) % HISTORY_SIZE;
    }
    history_used += size;
    if (history_used > HISTORY_SIZE) {
        history_lost += history_used - HISTORY_SIZE;
        history_used = HISTORY_SIZE;
    }
}

static void add_output(const char *data, size_t size)
{
    memcpy(output + output_used, data, size);
    output_used += size;
    escape_follow(&escape, data, size);
}

/* Shows, in pieces, what was remembered; what does not fit into the output waits for the next turn. */
static void replay(void)
{
    if (history_lost) {
        char line[256];
        size_t size = (size_t)snprintf(line, sizeof line, "minivm: %zu bytes of the output of %.150s were not kept\r\n",
                                       history_lost, front_name);
        /* Told where they are missing, once it is known how many. */
        if (is_stalled() || size > OUTPUT_SIZE - output_used)
            return;
        add_output(line, size);
        history_lost = 0;
    }
    while (history_used && output_used < OUTPUT_SIZE) {
        add_output(history + (history_next + HISTORY_SIZE - history_used) % HISTORY_SIZE, 1);
        history_used--;
    }
}

static void take_output(struct session *session, bool shown)
{
    char data[OUTPUT_SIZE];
    ssize_t got = read(session->master, data, shown ? OUTPUT_SIZE - output_used : sizeof data);
    if (got < 0 && errno == EIO)
        session_reopen(session); /* a vhangup(), as of getty and login, has closed our end too */
    if (got <= 0)
        return;
    if (!shown) {
        remember(data, (size_t)got);
        return;
    }
    add_output(data, (size_t)got);
    output_ms = now_ms();
    flush_output();
}

static void open_shell(void)
{
    input_used = 0;
    enter_pressed_ms = 0;
    if (!shell_program || !session_open(&shell)) {
        session_close(&shell);
        return;
    }
    say("a shell beside %s; exit returns to its output", front_name);
    session_start(&shell, shell_program);
}

static void close_shell(void)
{
    while (output_used < OUTPUT_SIZE) {
        size_t before = output_used;
        take_output(&shell, true);
        if (output_used == before)
            break;
    }
    session_close(&shell);
    flush_output();
    if (front.child.running)
        say("the output of %s; Enter opens a shell", front_name);
}

/* Decides, when something was typed, whether the front program wants it. */
static void decide(void)
{
    if (role == UNDECIDED && session_is_read(&front))
        role = INTERACTIVE;
    if (role == INTERACTIVE)
        return;
    bool enter = memchr(input, '\r', input_used) || memchr(input, '\n', input_used);
    if (enter && !enter_pressed_ms)
        enter_pressed_ms = now_ms();
    if (enter_pressed_ms && (role == SERVICE || now_ms() - enter_pressed_ms >= DECISION_MS))
        open_shell();
    else if (role == SERVICE || input_used >= UNDECIDED_SIZE)
        input_used = 0;
}

/* What is typed and nobody takes is lost in the end; frames must come through all the same. */
static void keep_typed(const char *typed, size_t size)
{
    if (size > INPUT_SIZE - input_used)
        size = INPUT_SIZE - input_used;
    memcpy(input + input_used, typed, size);
    input_used += size;
}

static void take_input(void)
{
    char data[1024], typed[sizeof data + FRAME_HELD_MAX];
    ssize_t got = read(serial, data, sizeof data);
    if (got <= 0)
        return;
    scanned_ms = now_ms();
    keep_typed(typed, frame_scan(&scanner, data, (size_t)got, typed, exec_take));
}

static void give_up_frame(void)
{
    char typed[FRAME_HELD_MAX];
    if (scanner.inside && now_ms() - scanned_ms >= HELD_MS)
        keep_typed(typed, frame_scan_give_up(&scanner, typed));
}

static void pass_input(struct session *session)
{
    ssize_t written = write(session->master, input, input_used);
    if (written > 0) {
        was_used = was_used || session == &front;
        input_used -= (size_t)written;
        memmove(input, input + written, input_used);
    } else if (written < 0 && errno != EAGAIN) {
        input_used = 0;
    }
}

static void shorten(int *timeout_ms, int wanted)
{
    if (*timeout_ms < 0 || *timeout_ms > wanted)
        *timeout_ms = wanted;
}

void console_turn(int timeout_ms)
{
    bool in_shell = shell.master >= 0, decided = in_shell || role == INTERACTIVE;
    struct session *current = in_shell ? &shell : &front;
    struct pollfd sources[POWER_SOURCES + 3 + EXEC_SOURCES];
    struct pollfd *line = sources + POWER_SOURCES, *main_output = line + 1, *shell_output = line + 2;
    struct pollfd *commands = line + 3;
    power_poll_for(sources);
    if (history_used && !in_shell)
        replay();
    flush_output();
    send_frames();
    bool room = output_used == 0, kept = in_shell || is_stalled(), frames = exec_has_frame();
    *line = (struct pollfd){.fd = serial, .events = POLLIN};
    if (!room || (frames && may_interrupt()))
        line->events |= POLLOUT;
    *main_output = (struct pollfd){.fd = front.master, .events = room || kept ? POLLIN : 0};
    *shell_output = (struct pollfd){.fd = shell.master, .events = room ? POLLIN : 0};
    if (decided && input_used)
        (in_shell ? shell_output : main_output)->events |= POLLOUT;
    exec_poll_for(commands, &timeout_ms);
    if (!decided && input_used)
        shorten(&timeout_ms, RECHECK_MS);
    if (frames && !may_interrupt())
        shorten(&timeout_ms, SETTLED_MS);
    if (!room || scanner.inside)
        shorten(&timeout_ms, HELD_MS);
    if (poll(sources, sizeof sources / sizeof *sources, timeout_ms) < 0)
        return;
    power_take(sources);
    if (line->revents & POLLIN)
        take_input();
    give_up_frame();
    if (main_output->revents & POLLIN)
        take_output(&front, !kept);
    if (in_shell && shell_output->revents & POLLIN)
        take_output(&shell, true);
    exec_serve(commands);
    if (input_used && !decided)
        decide();
    if (input_used && (in_shell || role == INTERACTIVE))
        pass_input(current);
    if (in_shell && !shell.child.running)
        close_shell();
}

struct child *console_start(const struct program *program, const struct program *with_shell, enum console_mode mode)
{
    shell_program = with_shell;
    front_name = program->name;
    was_used = false;
    input_used = history_used = 0;
    enter_pressed_ms = 0;
    role = mode == CONSOLE_MAIN || (mode == CONSOLE_AUTO && program->interactive) || !with_shell ? INTERACTIVE
           : mode == CONSOLE_SHELL                                                              ? SERVICE
                                                                                                : UNDECIDED;
    console_prepare();
    exec_begin(program, !with_shell);
    if (front.slave >= 0) {
        if (role == UNDECIDED)
            say("running %s; Enter opens a shell", program->name);
        session_start(&front, program);
    }
    if (mode == CONSOLE_SHELL && with_shell)
        open_shell();
    return &front.child;
}

void console_stop(const struct program *program)
{
    if (shell.child.running)
        kill(-shell.child.pid, SIGHUP);
    if (!front.child.running)
        return;
    kill(front.child.pid, program->stop_signal);
    /* Interactive shells pass over SIGTERM. */
    if (role == INTERACTIVE) {
        kill(front.child.pid, SIGHUP);
        kill(front.child.pid, SIGCONT);
    }
}

bool console_was_used(void)
{
    return was_used;
}

void console_finish(void)
{
    if (shell.master >= 0)
        close_shell();
    for (int turn = 0; turn < 1000 && front.master >= 0; turn++) {
        struct pollfd left = {.fd = front.master, .events = POLLIN};
        struct pollfd line = {.fd = serial, .events = POLLOUT};
        replay();
        flush_output();
        if (output_used)
            poll(&line, 1, 100);
        else if (poll(&left, 1, 0) > 0)
            take_output(&front, true);
        else
            break;
    }
    umount2("/dev/console", MNT_DETACH);
    process_use_terminal(-1);
    session_close(&front);
}
