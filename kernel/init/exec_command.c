#include "exec_command.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config.h"
#include "lib/file.h"
#include "lib/say.h"

static const char *take_line(struct exec_request *request, char *key)
{
    char *value = key + strcspn(key, " ");
    if (*value)
        *value++ = '\0';
    unescape(value);
    if (!strcmp(key, "arg"))
        words_add(&request->argv, value);
    else if (!strcmp(key, "shell"))
        request->shell = copy_text(value);
    else if (!strcmp(key, "env") && strchr(value, '='))
        words_set(&request->env, value);
    else if (!strcmp(key, "user"))
        request->user = copy_text(value);
    else if (!strcmp(key, "workdir"))
        request->work_dir = copy_text(value);
    else if (strcmp(key, "stdin"))
        return "the request has an unknown line";
    return NULL;
}

const char *exec_request_parse(struct exec_request *request, const char *text)
{
    char *copy = copy_text(text), *rest = copy, *line;
    const char *wrong = NULL;
    memset(request, 0, sizeof *request);
    request->user = "";
    while (!wrong && (line = strsep(&rest, "\n")))
        wrong = *line ? take_line(request, line) : NULL;
    free(copy);
    if (wrong)
        return wrong;
    return request->argv.count || request->shell ? NULL : "the request has no command";
}

static const char *plan(struct program *program, const struct exec_request *request,
                        const struct program *main_program)
{
    program_plan_shell(program, main_program);
    const char *wrong = account_find(&program->account, request->user);
    if (wrong)
        return wrong;
    if (*request->user)
        words_set(&program->env, format("HOME=%s", program->account.home));
    for (size_t i = 0; i < request->env.count; i++)
        words_set(&program->env, request->env.item[i]);
    if (request->work_dir)
        program->work_dir = request->work_dir;
    if (request->shell) {
        /* A script's shell, not the one that its user likes to type into. */
        if (process_find("sh", words_get(&program->env, "PATH"))) {
            memset(&program->argv, 0, sizeof program->argv);
            words_add(&program->argv, "sh");
        }
        words_add(&program->argv, "-c");
        words_add(&program->argv, request->shell);
    } else {
        program->argv = request->argv;
    }
    return NULL;
}

static void report(int descriptor, int status, const char *what)
{
    char text[512];
    int length = snprintf(text, sizeof text, "failed %d %s", status, what);
    if (length > 0)
        write_all(descriptor, text, (size_t)length < sizeof text ? (size_t)length : sizeof text - 1);
}

/* In the child: becomes the command, or reports why not. */
static void become(const char *text, const struct program *main_program, int descriptor)
{
    struct exec_request request;
    struct program program;
    const char *wrong = exec_request_parse(&request, text);
    if (!wrong)
        wrong = plan(&program, &request, main_program);
    if (wrong) {
        report(descriptor, 126, wrong);
        return;
    }
    if (chdir(program.work_dir)) {
        report(descriptor, 126, format("%s: %s", program.work_dir, strerror(errno)));
        return;
    }
    if (!process_find(program.argv.item[0], words_get(&program.env, "PATH"))) {
        report(descriptor, 127, format("%s: there is no such program", program.argv.item[0]));
        return;
    }
    say_on(-1);
    int status = program_become(&program);
    report(descriptor, status, format("%s: %s", program.argv.item[0], strerror(errno)));
}

static void close_all(const int *descriptors, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (descriptors[i] >= 0)
            close(descriptors[i]);
}

/* Our end of a pipe does not block; the other one is the command's, and an ordinary one. */
static bool open_pipe(int ends[2], int ours)
{
    if (pipe2(ends, O_CLOEXEC)) {
        ends[0] = ends[1] = -1;
        return false;
    }
    fcntl(ends[ours], F_SETFL, O_NONBLOCK);
    return true;
}

const char *exec_command_start(struct child *child, struct exec_pipes *pipes, const char *text, bool has_input,
                               const struct program *main_program)
{
    enum { INPUT, OUTPUT, ERROR, REPORT, COUNT };
    int ends[COUNT][2] = {{-1, -1}, {-1, -1}, {-1, -1}, {-1, -1}};
    bool opened = open_pipe(ends[OUTPUT], 0) && open_pipe(ends[ERROR], 0) && open_pipe(ends[REPORT], 0);
    if (has_input)
        opened = opened && open_pipe(ends[INPUT], 1);
    else
        ends[INPUT][0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    pid_t pid = opened && ends[INPUT][0] >= 0 ? fork() : -1;
    if (pid < 0) {
        close_all(ends[0], sizeof ends / sizeof ends[0][0]);
        return strerror(errno);
    }
    if (!pid) {
        process_reset_signals();
        setsid();
        if (dup2(ends[INPUT][0], 0) >= 0 && dup2(ends[OUTPUT][1], 1) >= 0 && dup2(ends[ERROR][1], 2) >= 0)
            become(text, main_program, ends[REPORT][1]);
        _exit(126);
    }
    int theirs[] = {ends[INPUT][0], ends[OUTPUT][1], ends[ERROR][1], ends[REPORT][1]};
    close_all(theirs, COUNT);
    *pipes = (struct exec_pipes){ends[INPUT][1], ends[OUTPUT][0], ends[ERROR][0], ends[REPORT][0]};
    child_watch(child, pid);
    return NULL;
}
