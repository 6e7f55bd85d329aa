#!/bin/bash
# The main program, on the console: brings the network up, starts the services, then a login shell.

ifup -a
# The services have to have an address to serve, unless one is on its way: ip.eth0=dhcp on the kernel command line.
case " $(cat /proc/cmdline) " in
*" ip.eth0="*) ;;
*)
    if [ -z "$(ip -4 -o address show dev eth0 2>/dev/null)" ]; then
        ip address add 192.168.0.1/24 dev eth0
    fi
    ;;
esac
services start
services status

# A shell that is left is replaced, as a getty would do; "poweroff" ends the machine.
cd "${HOME:-/root}" 2>/dev/null || cd /
while :; do
    bash -l
    # Should the shell not start at all.
    sleep 1
done
