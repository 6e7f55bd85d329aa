/*
 * The guest's main loop on the host: console, sessions, exec, signals, and the end, as process 1 of a PID namespace.
 *
 *     guest_loop WORDS PROGRAM [ARGUMENT...]     WORDS: a kernel command line
 *
 * All of kernel/init is linked but main.c and mounts.c: file systems and the machine belong to the host here.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/reboot.h>
#include <unistd.h>

#include "cmdline.h"
#include "config.h"
#include "console.h"
#include "mounts.h"
#include "power.h"
#include "program.h"
#include "stop.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/lsan_interface.h>
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#include <sanitizer/lsan_interface.h>
#endif
#endif

/* The kernel's: here the process ends, and what it has lost of its memory is told. */
int reboot(int how)
{
    if (how != (int)RB_DISABLE_CAD) {
        fprintf(stderr, "reboot: %s\n", how == (int)RB_AUTOBOOT ? "restart" : "power off");
        exit(0);
    }
    return 0;
}

bool mounts_end(void)
{
    return true;
}

int initramfs_open(const char *path)
{
    (void)path;
    return -1;
}

char *initramfs_text(const char *path)
{
    (void)path;
    return NULL;
}

void initramfs_remove(const char *path)
{
    (void)path;
}

int main(int count, char **arguments, char **environment)
{
    static struct program program, shell;
    static struct options options;
    static struct config config;
    /* stop_machine() kills every process that it can see. */
    if (getpid() != 1 || count < 3) {
        fprintf(stderr, "this must be process 1 of a PID namespace, with WORDS and PROGRAM\n");
        return 2;
    }
    /* Boot-time code may keep its memory, the loop must not (kernel/init/README.md). */
    __lsan_disable();
    options_parse(&options, arguments[1]);
    config_begin(&config);
    config.node_entrypoint = true; /* whatever /etc/init.sh the host has */
    for (int i = 2; i < count; i++)
        words_add(&config.entrypoint, arguments[i]);
    power_begin();
    console_begin();
    program_plan(&program, &config, &options, environment);
    program_plan_shell(&shell, &program);
    __lsan_enable();
    fprintf(stderr, "status: %d\n", run_on_console(&program, &shell, options.console));
    stop_machine();
}
