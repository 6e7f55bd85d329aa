"""What the monolithic kernel has to have for safety, in kernel/monolithic.config and in what a build made of it.

After the recommended settings of the Kernel Self Protection Project (x86-64), for a kernel without modules.  Counters
of references are always checked since Linux 5.7 (lib/refcount.c): there is no option for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

ON = {
    "STRICT_KERNEL_RWX": "no memory is writable and executable",
    "STACKPROTECTOR_STRONG": "stack protector",
    "VMAP_STACK": "guard pages of stacks",
    "SCHED_STACK_END_CHECK": "stacks that have run over",
    "RANDOMIZE_BASE": "KASLR",
    "RANDOMIZE_MEMORY": "KASLR of data",
    "RANDOMIZE_KSTACK_OFFSET_DEFAULT": "stacks of system calls",
    "HARDENED_USERCOPY": "copies from and to programs",
    "FORTIFY_SOURCE": "copies inside the kernel",
    "SLAB_FREELIST_RANDOM": "order of free memory",
    "SLAB_FREELIST_HARDENED": "lists of free memory",
    "BUG_ON_DATA_CORRUPTION": "damaged lists",
    "INIT_ON_ALLOC_DEFAULT_ON": "memory is cleared",
    "INIT_STACK_ALL_ZERO": "variables are cleared",
    "SECCOMP_FILTER": "filters of system calls",
    "SECURITY_DMESG_RESTRICT": "messages",
    "BPF_UNPRIV_DEFAULT_OFF": "BPF is for root",
    "CPU_MITIGATIONS": "Spectre and its kin",
    "RETPOLINE": "Spectre 2",
    "PAGE_TABLE_ISOLATION": "Meltdown",
    "LEGACY_VSYSCALL_NONE": "no executable page at a known address",
    "SYN_COOKIES": "floods of connections",
}
OFF = {
    "MODULES": "code that is loaded later",
    "KEXEC": "another kernel",
    "KEXEC_FILE": "another kernel",
    "HIBERNATION": "memory from a disk",
    "DEVMEM": "/dev/mem",
    "DEVPORT": "/dev/port",
    "PROC_KCORE": "/proc/kcore",
    "DEBUG_FS": "/sys/kernel/debug",
    "X86_MSR": "registers of the CPU",
    "ACPI_CUSTOM_METHOD": "code for ACPI",
    "COMPAT_BRK": "the heap at a known address",
    "IA32_EMULATION": "legacy system calls",
    "X86_X32_ABI": "legacy system calls",
    "COMPAT_32BIT_TIME": "legacy system calls",
    "MODIFY_LDT_SYSCALL": "legacy system calls",
    "X86_IOPL_IOPERM": "legacy system calls",
    "SYSFS_SYSCALL": "legacy system calls",
    "SGETMASK_SYSCALL": "legacy system calls",
    "USELIB": "legacy system calls",
    "X86_VSYSCALL_EMULATION": "legacy system calls",
    "IO_URING": "system calls around filters",
    "USERFAULTFD": "page faults in programs",
    "LEGACY_PTYS": "legacy terminals",
    "LDISC_AUTOLOAD": "line disciplines",
    "SLAB_MERGE_DEFAULT": "shared slabs",
    "KPROBES": "code that is changed",
    "PROC_VMCORE": "memory of another kernel",
}
_SET = re.compile(r"CONFIG_(\w+)=(.*)$")


def read_options(lines: Iterable[str]) -> dict[str, str]:
    """What is set in a configuration, by name; what is not set is not there."""
    return {found[1]: found[2] for line in lines if (found := _SET.match(line))}


def weaknesses(options: dict[str, str]) -> list[str]:
    """What a configuration lacks for safety, or has too much."""
    missing = [f"{name} is off: {what}" for name, what in ON.items() if options.get(name) != "y"]
    return missing + [f"{name} is on: {what}" for name, what in OFF.items() if name in options]
