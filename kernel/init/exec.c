/*
 * Only the host asks for anything again, so nothing here waits for a host that may have gone: what it has not
 * acknowledged stays in a window, a full window stops the command's output, and a command that nobody has asked about for
 * a while is killed.
 */
#include "exec.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "exec_command.h"
#include "lib/say.h"
#include "lib/text.h"
#include "process.h"

enum {
    WINDOW = 32,            /* frames that may be on their way */
    PIECE_SIZE = 512,       /* GNU screen shows what is behind the 767th byte of a control string */
    INPUT_SIZE = 4096,      /* of a command's standard input, beside what its pipe holds */
    LEASE_MS = 60000,       /* without a word from the host */
    LEFT_OVER_MS = 200,     /* for output that is still in the pipes, where a process in the background holds them */
    LEFT_OVER_MAX = 131072, /* two full pipes: what comes later is of that process */
    FINISHED_COUNT = 32,
    REPLIES = 16,
};

struct piece {
    char kind;
    size_t size;
    char data[PIECE_SIZE];
};

struct exec {
    char id[FRAME_ID_SIZE + 1]; /* "": the slot is free */
    struct child child;
    struct exec_pipes pipes;
    bool started, ended;
    long long heard_ms, exited_ms; /* exited_ms is 0 while it runs */
    char *request;
    size_t request_size, input_used;
    unsigned long next_input; /* number of the piece that has to come next */
    bool input_ends, input_refused, answer_due;
    char input[INPUT_SIZE];
    unsigned long acknowledged, next_to_send, next_number;
    size_t left_over; /* bytes since the exit */
    struct piece window[WINDOW];
};

static struct exec *slots[EXEC_SLOTS];
static size_t turn; /* the slot that sends next */
static struct program main_program;
static bool in_recovery;
static char finished[FINISHED_COUNT][FRAME_ID_SIZE + 1];
static size_t finished_next;
/* Answers that belong to no running command. */
static struct {
    char kind, id[FRAME_ID_SIZE + 1];
    char text[128];
} replies[REPLIES];
static size_t reply_count;

static void reply(char kind, const char *id, const char *text)
{
    if (reply_count == REPLIES)
        return; /* the host asks again */
    replies[reply_count].kind = kind;
    strcpy(replies[reply_count].id, id);
    snprintf(replies[reply_count].text, sizeof replies->text, "%s", text);
    reply_count++;
}

static void close_one(int *descriptor)
{
    if (*descriptor >= 0)
        close(*descriptor);
    *descriptor = -1;
}

static struct exec *find(const char *id)
{
    for (size_t i = 0; i < EXEC_SLOTS; i++)
        if (slots[i] && !strcmp(slots[i]->id, id))
            return slots[i];
    return NULL;
}

static bool was_finished(const char *id)
{
    for (size_t i = 0; i < FINISHED_COUNT; i++)
        if (!strcmp(finished[i], id))
            return true;
    return false;
}

static struct exec *open_slot(const char *id)
{
    for (size_t i = 0; i < EXEC_SLOTS; i++)
        if (!slots[i]) {
            struct exec *exec = slots[i] = need(sizeof *exec);
            exec->pipes = (struct exec_pipes){-1, -1, -1, -1};
            strcpy(exec->id, id);
            return exec;
        }
    return NULL;
}

/* Frees the slot, and kills what still runs. */
static void close_slot(struct exec *exec)
{
    if (exec->child.running) {
        /* It may not yet have made its session. */
        kill(exec->child.pid, SIGKILL);
        kill(-exec->child.pid, SIGKILL);
    }
    child_forget(&exec->child);
    close_one(&exec->pipes.input);
    close_one(&exec->pipes.output);
    close_one(&exec->pipes.error);
    close_one(&exec->pipes.report);
    strcpy(finished[finished_next], exec->id);
    finished_next = (finished_next + 1) % FINISHED_COUNT;
    for (size_t i = 0; i < EXEC_SLOTS; i++)
        if (slots[i] == exec)
            slots[i] = NULL;
    free(exec->request);
    free(exec);
}

static bool has_room(const struct exec *exec)
{
    return exec->next_number - exec->acknowledged < WINDOW;
}

/* The place of the next frame of output; there must be room. */
static struct piece *new_piece(struct exec *exec, char kind)
{
    struct piece *piece = &exec->window[exec->next_number++ % WINDOW];
    piece->kind = kind;
    piece->size = 0;
    return piece;
}

static void end(struct exec *exec, const char *text)
{
    struct piece *piece = new_piece(exec, 'x');
    piece->size = strlen(text);
    memcpy(piece->data, text, piece->size);
    exec->ended = true;
    close_one(&exec->pipes.input);
    close_one(&exec->pipes.output);
    close_one(&exec->pipes.error);
}

static void start(struct exec *exec)
{
    const char *text = exec->request;
    /* The child reads the rest of the request: its memory goes away. */
    bool has_input = after(text, "stdin\n") || strstr(text, "\nstdin\n");
    exec->started = true;
    const char *wrong =
        exec_command_start(&exec->child, &exec->pipes, text, has_input, &main_program);
    if (wrong) {
        char *line = format("failed 126 %.200s", wrong);
        end(exec, line);
        free(line);
    }
}

/* Writes what is waiting to the command; what cannot be written any more is dropped. */
static void feed(struct exec *exec)
{
    if (exec->input_used && exec->pipes.input >= 0) {
        ssize_t written = write(exec->pipes.input, exec->input, exec->input_used);
        if (written > 0) {
            exec->input_used -= (size_t)written;
            memmove(exec->input, exec->input + written, exec->input_used);
        } else if (written < 0 && errno != EAGAIN && errno != EINTR) {
            close_one(&exec->pipes.input);
        }
    }
    if (exec->pipes.input < 0 && exec->started)
        exec->input_used = 0;
    if (exec->input_ends && !exec->input_used)
        close_one(&exec->pipes.input);
    if (exec->input_refused && exec->input_used + FRAME_DATA_MAX <= INPUT_SIZE) {
        exec->input_refused = false;
        exec->answer_due = true;
    }
}

static void keep_input(struct exec *exec, const char *data, size_t size)
{
    if (exec->pipes.input < 0)
        return;
    memcpy(exec->input + exec->input_used, data, size);
    exec->input_used += size;
}

static void refuse(struct exec *exec, const char *reason)
{
    exec->started = true;
    end(exec, reason);
}

/* Adds to the request; behind its empty line follows the input, of which the last piece of a request may hold some. */
static void take_request(struct exec *exec, const char *data, size_t size)
{
    char *text = realloc(exec->request, exec->request_size + size + 1);
    if (!text) {
        refuse(exec, "failed 126 there is no memory for the request");
        return;
    }
    size_t from = exec->request_size ? exec->request_size - 1 : 0;
    exec->request = text;
    memcpy(text + exec->request_size, data, size);
    exec->request_size += size;
    text[exec->request_size] = '\0';
    char *empty_line = memmem(text + from, exec->request_size - from, "\n\n", 2);
    size_t length = empty_line ? (size_t)(empty_line + 2 - text) : exec->request_size;
    if (length > EXEC_REQUEST_MAX) {
        char reason[80];
        snprintf(reason, sizeof reason, "failed 126 the request is larger than %d bytes", EXEC_REQUEST_MAX);
        refuse(exec, reason);
    } else if (empty_line) {
        empty_line[1] = '\0';
        start(exec);
        keep_input(exec, text + length, exec->request_size - length);
    }
}

static void take_input(struct exec *exec, const struct frame *frame)
{
    exec->answer_due = true;
    if (frame->number != exec->next_input)
        return;
    if (exec->input_used + frame->size > INPUT_SIZE) {
        exec->input_refused = true;
        return;
    }
    exec->next_input++;
    if (frame->kind == 'E')
        exec->input_ends = true;
    else if (!exec->started)
        take_request(exec, frame->data, frame->size);
    else
        keep_input(exec, frame->data, frame->size);
    feed(exec);
}

static void acknowledge(struct exec *exec, const struct frame *frame)
{
    if (frame->number >= exec->acknowledged && frame->number <= exec->next_number)
        exec->acknowledged = frame->number;
    if (exec->next_to_send < exec->acknowledged)
        exec->next_to_send = exec->acknowledged;
    if (frame->kind == 'R') {
        exec->next_to_send = exec->acknowledged;
        exec->answer_due = true;
    }
}

static void say_hello(const char *id)
{
    char text[128], name[65] = "";
    gethostname(name, sizeof name - 1);
    snprintf(text, sizeof text, "state %s\nname %s\n", in_recovery ? "recovery" : "main", name);
    reply('h', id, text);
}

void exec_begin(const struct program *program, bool recovery)
{
    main_program = *program;
    in_recovery = recovery;
    say_hello(FRAME_ANNOUNCEMENT);
}

void exec_take(const struct frame *frame)
{
    if (!main_program.argv.count)
        return; /* ifup may take its time before the main program is started; the host asks again */
    if (frame->version != FRAME_VERSION) {
        reply('n', frame->id, "version");
        return;
    }
    if (frame->kind == 'H') {
        say_hello(frame->id);
        return;
    }
    struct exec *exec = find(frame->id);
    if (frame->kind == 'B') {
        if (exec)
            close_slot(exec);
        reply('b', frame->id, "");
        return;
    }
    if (!exec && (frame->kind != 'D' || frame->number || was_finished(frame->id))) {
        reply('n', frame->id, "unknown");
        return;
    }
    if (!exec)
        exec = open_slot(frame->id);
    if (!exec) {
        reply('n', frame->id, "busy");
        return;
    }
    exec->heard_ms = now_ms();
    if (frame->kind == 'D' || frame->kind == 'E')
        take_input(exec, frame);
    else if (frame->kind == 'A' || frame->kind == 'R')
        acknowledge(exec, frame);
}

void exec_poll_for(struct pollfd sources[EXEC_SOURCES], int *timeout_ms)
{
    for (size_t i = 0; i < EXEC_SLOTS; i++) {
        const struct exec *exec = slots[i];
        struct pollfd *at = sources + 4 * i;
        bool room = exec && has_room(exec);
        at[0] = (struct pollfd){.fd = exec && exec->input_used ? exec->pipes.input : -1, .events = POLLOUT};
        at[1] = (struct pollfd){.fd = room ? exec->pipes.output : -1, .events = POLLIN};
        at[2] = (struct pollfd){.fd = room ? exec->pipes.error : -1, .events = POLLIN};
        at[3] = (struct pollfd){.fd = room ? exec->pipes.report : -1, .events = POLLIN};
        if (!exec)
            continue;
        int wanted = exec->exited_ms && !exec->ended && room ? LEFT_OVER_MS : 1000;
        if (*timeout_ms < 0 || *timeout_ms > wanted)
            *timeout_ms = wanted;
    }
}

/* Takes what the command has written; true if there was something, and more may follow. */
static bool collect(struct exec *exec, int *descriptor, char kind)
{
    if (*descriptor < 0 || !has_room(exec))
        return false;
    struct piece *piece = new_piece(exec, kind);
    ssize_t got = read(*descriptor, piece->data, sizeof piece->data);
    if (got > 0) {
        piece->size = (size_t)got;
        if (exec->exited_ms)
            exec->left_over += piece->size;
        return exec->left_over < LEFT_OVER_MAX;
    }
    exec->next_number--;
    if (got == 0 || (errno != EAGAIN && errno != EINTR))
        close_one(descriptor);
    return false;
}

/* What the child says about its start; the pipe closes when the command runs. */
static void take_report(struct exec *exec)
{
    char text[512];
    ssize_t got = exec->pipes.report >= 0 && has_room(exec) ? read(exec->pipes.report, text, sizeof text - 1) : -1;
    if (got < 0)
        return;
    close_one(&exec->pipes.report);
    text[got] = '\0';
    if (got > 0 && !exec->ended)
        end(exec, text);
}

static void take_exit(struct exec *exec)
{
    char text[32];
    bool all = exec->pipes.output < 0 && exec->pipes.error < 0;
    if (exec->child.running || !exec->started || exec->ended || exec->pipes.report >= 0)
        return;
    if (!exec->exited_ms)
        exec->exited_ms = now_ms();
    if (!all && (now_ms() - exec->exited_ms < LEFT_OVER_MS || collect(exec, &exec->pipes.output, 'o') ||
                 collect(exec, &exec->pipes.error, 'e')))
        return;
    if (!has_room(exec))
        return;
    int number = exec->child.killed_by;
    snprintf(text, sizeof text, "%s %d", number ? "signal" : "exit", number ? number : exec->child.status);
    end(exec, text);
}

void exec_serve(const struct pollfd sources[EXEC_SOURCES])
{
    for (size_t i = 0; i < EXEC_SLOTS; i++) {
        const struct pollfd *at = sources + 4 * i;
        struct exec *exec = slots[i];
        if (!exec)
            continue;
        if (at[0].revents)
            feed(exec);
        bool more = at[1].revents && collect(exec, &exec->pipes.output, 'o');
        more = (at[2].revents && collect(exec, &exec->pipes.error, 'e')) || more;
        if (at[3].revents)
            take_report(exec);
        if (!more)
            take_exit(exec);
        if (now_ms() - exec->heard_ms > LEASE_MS)
            close_slot(exec);
    }
}

static bool has_something(const struct exec *exec)
{
    return exec && (exec->answer_due || exec->next_to_send < exec->next_number);
}

bool exec_has_frame(void)
{
    for (size_t i = 0; i < EXEC_SLOTS; i++)
        if (has_something(slots[i]))
            return true;
    return reply_count;
}

static void fill(struct frame *frame, char kind, const char *id, unsigned long number, const char *data, size_t size)
{
    frame->version = FRAME_VERSION;
    frame->kind = kind;
    strcpy(frame->id, id);
    frame->number = number;
    frame->size = size;
    memcpy(frame->data, data, size);
}

size_t exec_next_frame(char *to)
{
    struct frame frame;
    if (reply_count) {
        fill(&frame, replies->kind, replies->id, 0, replies->text, strlen(replies->text));
        memmove(replies, replies + 1, --reply_count * sizeof *replies);
        return frame_write(to, &frame);
    }
    for (size_t i = 0; i < EXEC_SLOTS; i++, turn++) {
        struct exec *exec = slots[turn % EXEC_SLOTS];
        if (!has_something(exec))
            continue;
        turn++;
        if (exec->answer_due) {
            const char *room = exec->input_refused ? "full" : "";
            exec->answer_due = false;
            fill(&frame, 'a', exec->id, exec->next_input, room, strlen(room));
        } else {
            const struct piece *piece = &exec->window[exec->next_to_send % WINDOW];
            fill(&frame, piece->kind, exec->id, exec->next_to_send++, piece->data, piece->size);
        }
        return frame_write(to, &frame);
    }
    return 0;
}
