/* What the init binary does under other names: poweroff, reboot, halt for images that have none, and udhcpc's hook. */
#ifndef MINIVM_TOOL_H
#define MINIVM_TOOL_H

int tool_main(const char *name, int count, char *const *arguments);

#endif
