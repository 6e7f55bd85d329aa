#!/bin/bash
# The main program, on the console: brings the network up, then a login shell.

ifup -a

# A shell that is left is replaced, as a getty would do; "poweroff" ends the machine.
cd "${HOME:-/root}" 2>/dev/null || cd /
while :; do
    bash -l
    # Should the shell not start at all.
    sleep 1
done
