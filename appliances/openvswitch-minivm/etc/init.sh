#!/bin/bash
# The main program, on the console: starts Open vSwitch, puts new adapters into br0, then a login shell.

management=${MANAGEMENT_INTERFACE:-eth0}
log=/var/log/openvswitch/start.log

# Adapters that were never here before go into br0.  What was changed since, a port or the bridge taken away, stays so:
# the database itself says which ones have been put in, in the same transaction.
add_new_ports() {
    local known transaction path port
    known=$(ovs-vsctl --if-exists get Open_vSwitch . external_ids:minivm-ports | tr -d '"')
    transaction=()
    for path in /sys/class/net/eth*; do
        port=${path##*/}
        ip link set "$port" up
        case " $management $known " in
        *" $port "*) ;;
        *)
            transaction+=(-- --may-exist add-port br0 "$port")
            known="$known $port"
            ;;
        esac
    done
    [ ${#transaction[@]} = 0 ] && return
    ovs-vsctl --may-exist add-br br0 "${transaction[@]}" \
        -- set Open_vSwitch . external_ids:minivm-ports="\"${known# }\""
}

# Open vSwitch 3.1 counts no processors in the first ten seconds of the monotonic clock, and then never forwards a frame.
# It is given a clock that is an hour ahead, or else started later.
ahead="unshare --time --fork --monotonic 3600"
if ! $ahead true 2>/dev/null; then
    ahead=
    until [ "$(cut -d. -f1 /proc/uptime)" -gt 10 ]; do
        sleep 0.5
    done
fi

if $ahead /usr/share/openvswitch/scripts/ovs-ctl start --system-id=random --no-mlockall --no-record-hostname >"$log" 2>&1; then
    add_new_ports
    ip link set br0 up 2>/dev/null
else
    cat "$log"
    echo "Open vSwitch did not start.  It needs the module disk (the node's hdb)."
fi

ifup -a

# A shell that is left is replaced, as a getty would do; "poweroff" ends the machine.
cd "${HOME:-/root}" 2>/dev/null || cd /
while :; do
    bash -l
    # Should the shell not start at all.
    sleep 1
done
