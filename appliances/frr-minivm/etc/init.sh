#!/bin/sh
# The main program, on the console: starts FRRouting, then vtysh.

# FRR's scripts have a variable DAEMONS of their own.
export FRR_DAEMONS=$(echo "${DAEMONS:-}" | tr ' ' ,)
unset DAEMONS

# Names that FRR does not know would be passed over without a word.
known="babel bfd bgp eigrp fabric isis ldp nhrp ospf ospf6 path pbr pim rip ripng vrrp"
for name in $(echo "$FRR_DAEMONS" | tr , ' '); do
    case " $known zebra static " in
    *" ${name%d} "*) ;;
    *) echo "DAEMONS: there is no daemon $name; there are: $known" ;;
    esac
done

# IPv4 is forwarded from the start.  "no ip forwarding" and "no ipv6 forwarding" in vtysh change it for good.
echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
# An address that a link loses when it goes down would be missing when it comes back.
echo 1 >/proc/sys/net/ipv6/conf/all/keep_addr_on_down

# MPLS is there where the module disk is.
if modprobe -qa mpls_router mpls_iptunnel; then
    echo 100000 >/proc/sys/net/mpls/platform_labels
    for input in /proc/sys/net/mpls/conf/eth*/input; do
        echo 1 >"$input"
    done
fi

# Without somebody who takes its messages, watchfrr writes them over what is typed.
busybox syslogd -O /var/log/messages

/usr/lib/frr/frrinit.sh start >/var/log/frr/start.log 2>&1 || cat /var/log/frr/start.log
# The daemons start, and read their configuration, in the background.
settled='/ Up$/ { up = 1 } / (Init|Down|Connecting|Unresponsive)$|running, pid/ { busy = 1 } END { exit !up || busy }'
for try in $(seq 240); do
    vtysh -d watchfrr -c "show watchfrr" 2>/dev/null | awk "$settled" && break
    sleep 0.5
done

# Leaving vtysh leads to a shell, leaving the shell back to vtysh; "poweroff" in the shell ends the machine.
cd /root || cd /
while :; do
    vtysh
    echo 'A shell; "exit" goes back to vtysh, "poweroff" switches the machine off.'
    bash -l
    # Should neither start at all.
    sleep 1
done
