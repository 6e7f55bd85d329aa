/* Modules that load by themselves when they are asked for. */
#ifndef MINIVM_AUTOLOAD_H
#define MINIVM_AUTOLOAD_H

/* Tells the kernel which modprobe to call, and makes the device nodes whose first use loads a module; once the module
   disk is mounted. */
void autoload_begin(void);

#endif
