/* Who asks for the end: the power button, signals to PID 1, and shutdown programs of other init systems. */
#ifndef MINIVM_POWER_H
#define MINIVM_POWER_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>

enum power_request { POWER_NONE, POWER_BUTTON, POWER_OFF, POWER_REBOOT };

/* What is asked for; the first request of its kind stays until it is reset to POWER_NONE. */
extern enum power_request power_request;

enum { POWER_SOURCES = 3 };

/* Opens the sources of requests.  /run is the place of the last one, so this comes after the move to the root. */
void power_begin(void);
void power_begin_initctl(void);
/* Asks the init that listens to /run/initctl, as sysvinit's commands do; false if there is none. */
bool power_write_initctl(bool restart);
/* Fills in what to poll; then takes what has arrived. */
void power_poll_for(struct pollfd sources[POWER_SOURCES]);
void power_take(const struct pollfd sources[POWER_SOURCES]);

/* Listens to the power button alone; returns when it was pressed (for image-own init systems). */
int power_wait_for_button(void);

#endif
