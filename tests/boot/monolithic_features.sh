# What the monolithic kernel must be able to do, used once in a booted guest: sh lab_features.sh NAME runs feature_NAME.
#
# Each function works in network namespaces of its own: a and b, and where there is somebody between them, r.  A ping
# through a tunnel goes to an address that only the tunnel leads to, and frames of the tunnel's kind are caught on the way.
set -eu

a() { ip netns exec a "$@"; }
b() { ip netns exec b "$@"; }
r() { ip netns exec r "$@"; }
fail() { echo "failed: $*" >&2; exit 1; }
pings() { a ping -n -q -c 2 -i 0.2 -W 10 "$@" >/tmp/ping 2>&1 || { cat /tmp/ping; return 1; }; }

# eventually COMMAND...: until it succeeds; gives up after 300 tries.
eventually() {
  for _ in $(seq 300); do
    ! "$@" >/tmp/tried 2>&1 || return 0
    sleep 0.2
  done
  cat /tmp/tried
  echo "never true: $*"
  return 1
}

# stop: what runs in namespaces, or was started in the background.
stop() {
  for name in $(ip netns list | cut -d' ' -f1); do ip netns pids "$name" | xargs -r kill 2>/dev/null || true; done
  wait
}

# caught NAMESPACE CARD FILTER COMMAND...: the command succeeds, and two frames that match pass the card meanwhile.
caught() {
  namespace=$1 card=$2 filter=$3
  shift 3
  rm -f /tmp/caught
  ip netns exec "$namespace" timeout 60 tcpdump -nn -c 2 -i "$card" "$filter" >/tmp/frames 2>/tmp/caught &
  watcher=$!
  eventually grep -q 'listening on' /tmp/caught
  "$@"
  wait $watcher || { cat /tmp/caught; fail "no frames that match '$filter' on $card of $namespace"; }
}

namespaces() {
  for name; do
    ip netns add "$name"
    ip -n "$name" link set lo up
    ip netns exec "$name" sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0
  done
}

# cable NAMESPACE CARD ADDRESS... -- NAMESPACE CARD ADDRESS...: a veth pair.
cable() {
  left=$1 left_card=$2 left_addresses=
  shift 2
  while [ "$1" != -- ]; do left_addresses="$left_addresses $1"; shift; done
  right=$2 right_card=$3
  shift 3
  ip -n "$left" link add "$left_card" numtxqueues 4 numrxqueues 4 type veth peer name "$right_card" netns "$right"
  for address in $left_addresses; do ip -n "$left" address add "$address" dev "$left_card"; done
  for address; do ip -n "$right" address add "$address" dev "$right_card"; done
  ip -n "$left" link set "$left_card" up
  ip -n "$right" link set "$right_card" up
}

# a and b side by side.
two() {
  namespaces a b
  cable a v0 192.0.2.1/24 2001:db8::1/64 -- b v0 192.0.2.2/24 2001:db8::2/64
}

# a, then the router r, then b.
three() {
  namespaces a r b
  r sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
  cable a v0 192.0.2.1/24 2001:db8::1/64 -- r left 192.0.2.254/24 2001:db8::ff/64
  cable r right 198.51.100.254/24 2001:db8:1::ff/64 -- b v0 198.51.100.1/24 2001:db8:1::1/64
  ip -n a route add default via 192.0.2.254
  ip -n a route add default via 2001:db8::ff
}

# addressed CARD [CARD-OF-B]: inner addresses on both sides of a tunnel, which is set up.
addressed() {
  there=${2:-$1}
  ip -n a address add 10.9.0.1/24 dev "$1"
  ip -n b address add 10.9.0.2/24 dev "$there"
  ip -n a address add fd00:9::1/64 dev "$1"
  ip -n b address add fd00:9::2/64 dev "$there"
  ip -n a link set "$1" up
  ip -n b link set "$there" up
}

# tunnel FILTER WORDS...: ip link add WORDS on both sides, HERE and THERE being the addresses; it carries a ping.
tunnel() {
  filter=$1
  shift
  ip -n a link add name t0 $(echo "$*" | sed 's/HERE6/2001:db8::1/;s/THERE6/2001:db8::2/;s/THERE/192.0.2.2/;s/HERE/192.0.2.1/')
  ip -n b link add name t0 $(echo "$*" | sed 's/HERE6/2001:db8::2/;s/THERE6/2001:db8::1/;s/THERE/192.0.2.1/;s/HERE/192.0.2.2/')
  addressed t0
  caught b v0 "$filter" pings "${inner:-10.9.0.2}"
}

# --- layer 2

feature_no_interface_is_there_that_nobody_asked_for() {
  [ "$(ip -br link | cut -d' ' -f1 | sort | tr '\n' ' ')" = "eth0 eth1 lo " ] || { ip -br link; fail "interfaces"; }
  namespaces a
  [ "$(ip -n a -br link | cut -d' ' -f1)" = lo ] || { ip -n a -br link; fail "interfaces in a new namespace"; }
}
feature_a_bridge_keeps_vlans_apart() {
  namespaces a b c r
  ip -n r link add br0 type bridge vlan_filtering 1 vlan_default_pvid 0
  ip -n r link set br0 up
  port() {
    cable "$1" v0 "$2" -- r "port-$1"
    ip -n r link set "port-$1" master br0
    r bridge vlan add dev "port-$1" vid "$3" pvid untagged
  }
  port a 10.0.0.1/24 10
  port b 10.0.0.2/24 10
  port c 10.0.0.3/24 20
  pings 10.0.0.2
  ! a ping -q -c 1 -W 1 10.0.0.3 || fail "a frame has left its VLAN"
  r bridge fdb show br br0 | grep -q 'vlan 10'
}
feature_vlan() { two; tunnel 'vlan 10' link v0 type vlan id 10; }
feature_qinq() {
  two
  for side in a b; do
    ip -n $side link add link v0 name outer type vlan proto 802.1ad id 100
    ip -n $side link set outer up
  done
  tunnel 'vlan 100 and vlan 10' link outer type vlan id 10
}
bonded() {
  namespaces a b
  cable a v0 -- b v0
  cable a v1 -- b v1
  for side in a b; do
    ip -n $side link add bond0 type bond mode "$1" miimon 100
    for card in v0 v1; do ip -n $side link set $card down; ip -n $side link set $card master bond0; done
  done
  addressed bond0
}
feature_bonding_with_lacp() {
  bonded 802.3ad
  eventually pings 10.9.0.2
  a grep -q 'Bonding Mode: IEEE 802.3ad' /proc/net/bonding/bond0
  eventually sh -c "ip netns exec a grep 'Partner Mac Address' /proc/net/bonding/bond0 | grep -qv 00:00:00:00:00:00"
}
feature_bonding_goes_on_without_a_link() {
  bonded active-backup
  eventually pings 10.9.0.2
  ip -n a link set v0 down
  eventually pings 10.9.0.2
}
teamed() {
  namespaces a b
  cable a v0 -- b v0
  cable a v1 -- b v1
  for side in a b; do
    for card in v0 v1; do ip -n $side link set $card down; done
    ip netns exec $side teamd -r -d -t team-$side -c '{"runner": {"name": "'"$1"'"}, "link_watch": {"name": "ethtool"},
      "ports": {"v0": {}, "v1": {}}}'
  done
  addressed team-a team-b
  eventually pings 10.9.0.2
  a teamnl team-a getoption mode | grep -q "$2"
  stop
}
feature_team_with_a_backup() { teamed activebackup activebackup; }
feature_team_with_lacp() { teamed lacp loadbalance; }
feature_macvlan_and_ipvlan() {
  two
  for kind in macvlan ipvlan; do
    namespaces $kind
    ip -n a link add link v0 name m0 netns $kind type $kind mode $([ $kind = macvlan ] && echo bridge || echo l2)
    ip -n $kind address add 192.0.2.77/24 dev m0
    ip -n $kind link set m0 up
    ip netns exec $kind ping -q -c 1 -W 10 192.0.2.2
    ip -n $kind link del m0
  done
}
feature_macsec() {
  two
  for side in a b; do
    other=$([ $side = a ] && echo b || echo a)
    mac=$(ip netns exec $other cat /sys/class/net/v0/address)
    ip -n $side link add link v0 t0 type macsec encrypt on
    ip -n $side macsec add t0 tx sa 0 pn 1 on key 01 0123456789abcdef0123456789abcde$side
    ip -n $side macsec add t0 rx port 1 address "$mac"
    ip -n $side macsec add t0 rx port 1 address "$mac" sa 0 pn 1 on key 02 0123456789abcdef0123456789abcde$other
  done
  addressed t0
  caught b v0 'ether proto 0x88e5' pings 10.9.0.2
}
feature_dummy_and_other_kinds_of_interfaces() {
  two
  ip -n a link add d0 type dummy
  ip -n a address add 10.0.0.1/32 dev d0
  ip -n a link set d0 up
  pings 10.0.0.1
  ip -n a link add link v0 name x0 type macvtap mode bridge
  ip -n a link del x0
  ip -n a link add link v0 name x0 type ipvtap mode l2
  ip -n a link del x0
  for words in ifb nlmon 'bareudp dstport 6635 ethertype mpls_uc' 'vti local 192.0.2.1 remote 192.0.2.2 key 5' \
    'vti6 local 2001:db8::1 remote 2001:db8::2 key 6' 'erspan local 192.0.2.1 remote 192.0.2.2 seq key 7 erspan_ver 1 erspan 1'; do
    ip -n a link add x0 type $words
    ip -n a link set x0 up
    ip -n a link del x0
  done
}
feature_tun_and_tap() {
  two
  for kind in tun tap; do
    ip netns exec b socat "UDP4-LISTEN:7000" "TUN:10.9.0.2/24,iff-up,tun-type=$kind,tun-name=t0" &
    eventually b sh -c 'ss -Hlun | grep -q :7000'
    ip netns exec a socat "UDP4:192.0.2.2:7000" "TUN:10.9.0.1/24,iff-up,tun-type=$kind,tun-name=t0" &
    eventually ip -n a link show t0
    eventually pings 10.9.0.2
    stop
  done
  ip -n a tuntap add mode tap name kept
  ip -n a link show kept | grep -q kept
}
feature_open_vswitch_forwards() {
  namespaces a b c
  ovs-vsctl --may-exist add-br br0
  trap 'ovs-vsctl del-br br0; for card in oa ob oc; do ip link del $card 2>/dev/null || true; done' EXIT
  for side in a b c; do
    ip link add o$side type veth peer name v0 netns $side
    ip link set o$side up
    ip -n $side link set v0 up
    ovs-vsctl add-port br0 o$side tag=$([ $side = c ] && echo 20 || echo 10)
  done
  ip -n a address add 10.0.0.1/24 dev v0
  ip -n b address add 10.0.0.2/24 dev v0
  ip -n c address add 10.0.0.3/24 dev v0
  eventually pings 10.0.0.2
  ! a ping -q -c 1 -W 1 10.0.0.3 || fail "a frame has left its VLAN"
  # It is the kernel that forwards.
  [ "$(ovs-vsctl get bridge br0 datapath_type)" = '""' ]
  ovs-appctl dpctl/show | grep -q 'system@ovs-system'
  ovs-appctl dpctl/dump-flows | grep -q in_port
}
feature_open_vswitch_has_tunnels() {
  two
  ovs-vsctl --may-exist add-br br1
  trap 'ovs-vsctl del-br br1' EXIT
  for kind in vxlan geneve gre; do
    ovs-vsctl add-port br1 ovs-$kind -- set interface ovs-$kind type=$kind options:remote_ip=192.0.2.2 options:key=5
    [ "$(ovs-vsctl get interface ovs-$kind error)" = '[]' ] || { ovs-vsctl show; fail "$kind"; }
    eventually sh -c "ovs-appctl dpctl/show | grep -q '($kind'"
  done
}

# --- tunnels

feature_vxlan() { two; tunnel 'udp port 4789' type vxlan id 42 remote THERE dstport 4789 dev v0; }
feature_geneve() { two; tunnel 'udp port 6081' type geneve id 42 remote THERE; }
feature_gre() { two; tunnel 'proto 47' type gre local HERE remote THERE key 5; }
feature_gretap() { two; tunnel 'proto 47' type gretap local HERE remote THERE; }
feature_gre_over_ipv6() { two; tunnel 'ip6 proto 47' type ip6gre local HERE6 remote THERE6 encaplimit none; }
feature_ipip() { two; tunnel 'proto 4' type ipip local HERE remote THERE; }
feature_sit() { two; inner=fd00:9::2 tunnel 'proto 41' type sit local HERE remote THERE; }
feature_ip_in_ipv6() { two; tunnel 'ip6 proto 4' type ip6tnl mode any local HERE6 remote THERE6 encaplimit none; }
feature_foo_over_udp() {
  two
  a ip fou add port 5555 ipproto 4
  b ip fou add port 5555 ipproto 4
  tunnel 'udp port 5555' type ipip local HERE remote THERE encap fou encap-sport auto encap-dport 5555
}
feature_wireguard() {
  two
  for side in a b; do
    (umask 077; wg genkey >/tmp/key-$side)
    ip -n $side link add t0 type wireguard
  done
  for side in a b; do
    other=$([ $side = a ] && echo b || echo a)
    ip netns exec $side wg set t0 listen-port 51820 private-key /tmp/key-$side \
      peer "$(wg pubkey </tmp/key-$other)" allowed-ips 10.9.0.0/24 \
      endpoint "192.0.2.$([ $other = a ] && echo 1 || echo 2):51820"
  done
  addressed t0
  caught b v0 'udp port 51820' pings 10.9.0.2
}
feature_l2tp() {
  two
  for encapsulation in ip udp; do
    ports=$([ $encapsulation = ip ] || echo 'udp_sport 1701 udp_dport 1701')
    a ip l2tp add tunnel tunnel_id 1 peer_tunnel_id 2 encap $encapsulation local 192.0.2.1 remote 192.0.2.2 $ports
    b ip l2tp add tunnel tunnel_id 2 peer_tunnel_id 1 encap $encapsulation local 192.0.2.2 remote 192.0.2.1 $ports
    a ip l2tp add session name t0 tunnel_id 1 session_id 1 peer_session_id 2
    b ip l2tp add session name t0 tunnel_id 2 session_id 2 peer_session_id 1
    addressed t0
    caught b v0 "$([ $encapsulation = ip ] && echo 'proto 115' || echo 'udp port 1701')" pings 10.9.0.2
    a ip l2tp del tunnel tunnel_id 1
    b ip l2tp del tunnel tunnel_id 2
  done
}
feature_ppp() {
  namespaces a b
  ip netns exec a pppd noauth local 10.9.0.1:10.9.0.2 ifname t0 nodetach maxfail 1 \
    pty 'ip netns exec b pppd noauth local notty nodetach ifname t0 10.9.0.2:10.9.0.1' &
  eventually pings 10.9.0.2
  stop
}
feature_pppoe() {
  two
  printf 'noauth\nlogfile /tmp/pppoe.log\ndebug\n' >/tmp/pppoe-options
  ip netns exec b pppoe-server -F -I v0 -L 10.9.0.2 -R 10.9.0.1 -N 1 -O /tmp/pppoe-options &
  ip netns exec a pppd plugin pppoe.so nic-v0 noauth nodetach ifname t0 maxfail 20 holdoff 1 persist &
  eventually pings 10.9.0.2 || { cat /tmp/pppoe.log; exit 1; }
  caught b v0 'ether proto 0x8864' pings 10.9.0.2
  stop
}

# --- IPsec

# protected PROTOCOL FILTER ALGORITHMS...: a ping from host to host goes out as this protocol.
protected() {
  protocol=$1 filter=$2
  shift 2
  for side in a b; do
    [ $side = a ] && out=192.0.2.1 && in=192.0.2.2 || { out=192.0.2.2 in=192.0.2.1; }
    ip -n $side xfrm state flush
    ip -n $side xfrm policy flush
    ip -n $side xfrm state add src 192.0.2.1 dst 192.0.2.2 proto "$protocol" spi 0x101 mode transport "$@"
    ip -n $side xfrm state add src 192.0.2.2 dst 192.0.2.1 proto "$protocol" spi 0x102 mode transport "$@"
    # A packet that does not become smaller is not compressed.
    level=$([ "$protocol" = comp ] && echo use || echo required)
    ip -n $side xfrm policy add src $out dst $in dir out tmpl proto "$protocol" mode transport level $level
    ip -n $side xfrm policy add src $in dst $out dir in tmpl proto "$protocol" mode transport level $level
  done
  caught b v0 "$filter" pings -s 400 -p 00 192.0.2.2
}
KEY128=0x0123456789abcdef0123456789abcdef
KEY160=${KEY128}01234567
KEY256=${KEY128}0123456789abcdef0123456789abcdef
feature_ipsec_esp() {
  two
  protected esp esp aead 'rfc4106(gcm(aes))' $KEY160 128
  protected esp esp aead 'rfc4106(gcm(aes))' ${KEY256}01234567 128
  protected esp esp aead 'rfc4309(ccm(aes))' ${KEY128}012345 128
  protected esp esp aead 'rfc7539esp(chacha20,poly1305)' ${KEY256}01234567 128
  protected esp esp enc 'cbc(aes)' $KEY256 auth-trunc 'hmac(sha256)' $KEY256 128
  protected esp esp enc 'cbc(aes)' $KEY128 auth-trunc 'hmac(sha384)' ${KEY256}0123456789abcdef0123456789abcdef 192
  protected esp esp enc 'cbc(aes)' $KEY128 auth-trunc 'hmac(sha512)' ${KEY256}${KEY256#0x} 256
  protected esp esp enc 'cbc(aes)' $KEY128 auth-trunc 'hmac(sha1)' $KEY160 96
  protected esp esp enc 'rfc3686(ctr(aes))' $KEY160 auth-trunc 'xcbc(aes)' $KEY128 96
  protected esp esp enc 'cbc(des3_ede)' 0x0123456789abcdef1123456789abcdef2123456789abcdef auth-trunc 'hmac(md5)' $KEY128 96
  protected esp esp enc 'ecb(cipher_null)' '' auth-trunc 'cmac(aes)' $KEY128 96
}
feature_ipsec_ah_and_compression() {
  two
  protected ah ah auth-trunc 'hmac(sha256)' $KEY256 128
  protected comp 'proto 108' comp deflate
}
feature_ipsec_tunnel_as_an_interface() {
  two
  for side in a b; do
    [ $side = a ] && out=192.0.2.1 && in=192.0.2.2 || { out=192.0.2.2 in=192.0.2.1; }
    ip -n $side link add t0 type xfrm dev v0 if_id 7
    for direction in "$out $in 0x10$side" "$in $out 0x10$([ $side = a ] && echo b || echo a)"; do
      set -- $direction
      ip -n $side xfrm state add src "$1" dst "$2" proto esp spi "$3" mode tunnel flag af-unspec if_id 7 aead 'rfc4106(gcm(aes))' $KEY160 128
    done
    for any in 0.0.0.0/0 ::/0; do
      ip -n $side xfrm policy add src $any dst $any dir out if_id 7 tmpl src $out dst $in proto esp mode tunnel
      ip -n $side xfrm policy add src $any dst $any dir in if_id 7 tmpl src $in dst $out proto esp mode tunnel
    done
  done
  addressed t0
  caught b v0 esp pings 10.9.0.2
  caught b v0 esp pings fd00:9::2
}

# --- routing

feature_policy_routing() {
  two
  cable a v1 203.0.113.1/24 -- b v1 203.0.113.2/24
  ip -n b address add 10.5.5.5/32 dev lo
  ip -n a route add 10.5.5.5 via 192.0.2.2
  ip -n a route add 10.5.5.5 via 203.0.113.2 table 100
  ip -n a rule add from 203.0.113.1 lookup 100
  ip -n a -6 rule add fwmark 7 lookup 100
  b sysctl -qw net.ipv4.conf.all.rp_filter=0
  caught b v0 'icmp and dst 10.5.5.5' pings 10.5.5.5
  caught b v1 'icmp and dst 10.5.5.5' pings -I 203.0.113.1 10.5.5.5
}
feature_ecmp() {
  two
  cable a v1 203.0.113.1/24 -- b v1 203.0.113.2/24
  ip -n b address add 10.5.5.0/24 dev lo
  ip -n b address add 10.6.6.0/24 dev lo
  b sysctl -qw net.ipv4.conf.all.rp_filter=0
  ip -n a route add 10.5.5.0/24 nexthop via 192.0.2.2 nexthop via 203.0.113.2
  ip -n a nexthop add id 1 via 192.0.2.2 dev v0
  ip -n a nexthop add id 2 via 203.0.113.2 dev v1
  ip -n a nexthop add id 12 group 1/2
  ip -n a route add 10.6.6.0/24 nhid 12
  each() { for last in $(seq 20); do a ping -q -c 1 -W 10 "$1.$last" >/dev/null || fail "$1.$last"; done; }
  # Of twenty addresses, some go one way and some the other.
  caught b v0 'icmp and dst net 10.5.5.0/24' each 10.5.5
  caught b v1 'icmp and dst net 10.5.5.0/24' each 10.5.5
  caught b v1 'icmp and dst net 10.6.6.0/24' each 10.6.6
}
feature_vrf() {
  three
  # The same address twice, in two VRFs of one router; a program lives in one of them (a BPF program of its cgroup).
  namespaces c
  cable c v0 198.51.100.1/24 -- r other 198.51.100.254/24
  for vrf in red:10:right blue:20:other; do
    name=${vrf%%:*} card=${vrf##*:} table=${vrf#*:}
    ip -n r link add "$name" type vrf table "${table%:*}"
    ip -n r link set "$name" up
    ip -n r link set "$card" master "$name"
  done
  caught b v0 icmp r ip vrf exec red ping -q -c 2 -i 0.2 -W 10 198.51.100.1
  caught c v0 icmp r ping -q -c 2 -i 0.2 -W 10 -I blue 198.51.100.1
  ! r ping -q -c 1 -W 1 198.51.100.1 || fail "a packet has left its VRF"
  r ip vrf exec blue bpftool prog show | grep -q cgroup_sock
}
feature_mpls() {
  three
  for side in a r b; do
    ip netns exec $side sysctl -qw net.mpls.platform_labels=1000
    for card in v0 left right; do
      [ ! -e /proc/sys/net/mpls ] || ip netns exec $side sh -c "[ ! -e /proc/sys/net/mpls/conf/$card ] || sysctl -qw net.mpls.conf.$card.input=1"
    done
  done
  ip -n b address add 10.5.5.5/32 dev lo
  ip -n b route add 192.0.2.0/24 via 198.51.100.254
  ip -n a route add 10.5.5.5 encap mpls 100 via 192.0.2.254
  ip -n r -f mpls route add 100 as 200 via inet 198.51.100.1
  ip -n b -f mpls route add 200 dev lo
  caught b v0 'mpls 200' pings 10.5.5.5
}
feature_segment_routing() {
  three
  for side in a r b; do
    ip netns exec $side sysctl -qw net.ipv6.conf.all.seg6_enabled=1 net.ipv6.conf.default.seg6_enabled=1
    for card in v0 left right; do
      ip netns exec $side sh -c "[ ! -e /proc/sys/net/ipv6/conf/$card ] || sysctl -qw net.ipv6.conf.$card.seg6_enabled=1"
    done
  done
  ip -n b -6 route add default via 2001:db8:1::ff
  ip -n b address add fd00:5::5/128 dev lo
  ip -n r -6 route add fd00:aa::/64 encap seg6local action End dev right
  ip -n r -6 route add fd00:bb::/64 via 2001:db8:1::1
  ip -n b -6 route add fd00:bb::1 encap seg6local action End.DT6 table local dev v0
  ip -n a -6 route add fd00:5::/64 encap seg6 mode encap segs fd00:aa::1,fd00:bb::1 dev v0
  ip -n a -6 route add fd00:aa::/64 via 2001:db8::ff
  caught b v0 'ip6 proto 43' pings fd00:5::5
}
feature_multicast_routing() {
  three
  printf 'phyint left enable\nphyint right enable\nmroute from left group 239.1.1.1 to right\n' >/tmp/smcroute.conf
  ip netns exec r smcrouted -n -f /tmp/smcroute.conf -I smc -P /tmp/smcroute.pid &
  ip netns exec b socat -u UDP4-RECV:5000,ip-add-membership=239.1.1.1:198.51.100.1 OPEN:/tmp/heard,creat,trunc &
  send() { echo by multicast | a socat -u - UDP4-DATAGRAM:239.1.1.1:5000,ip-multicast-ttl=4,ip-multicast-if=192.0.2.1; grep -q 'by multicast' /tmp/heard; }
  eventually send
  ip -n r mroute show | grep -q '239.1.1.1'
  stop
}
feature_congestion_control_and_signed_tcp() {
  grep -q cubic /proc/sys/net/ipv4/tcp_available_congestion_control
  namespaces a
  a sysctl -qw net.ipv4.tcp_congestion_control=bbr
}

# --- traffic control

feature_queueing_disciplines() {
  two
  for words in 'htb default 1' 'hfsc default 1' prio multiq sfq drr qfq codel fq_codel cake fq pie 'ets bands 3' \
    'red limit 100000 min 10000 max 30000 avpkt 1000 burst 20' 'tbf rate 10mbit burst 32kb latency 50ms' 'netem delay 1ms' \
    'mqprio num_tc 2 map 0 1 queues 2@0 2@2 hw 0' 'gred setup DPs 2 default 1' 'pfifo limit 5' 'cbs idleslope 98688 sendslope -901312 hicredit 153 locredit -1389' \
    'etf clockid CLOCK_TAI delta 300000' \
    'taprio num_tc 2 map 0 1 queues 2@0 2@2 base-time 0 sched-entry S 03 300000 clockid CLOCK_TAI'; do
    tc -n a qdisc add dev v0 root $words || fail "tc qdisc ... $words"
    tc -n a qdisc show dev v0 | grep -q "qdisc ${words%% *} " || { tc -n a qdisc show dev v0; fail "$words"; }
    tc -n a qdisc del dev v0 root
  done
}
feature_shaping() {
  two
  tc -n a qdisc add dev v0 root handle 1: htb default 30
  tc -n a class add dev v0 parent 1: classid 1:10 htb rate 1mbit
  tc -n a class add dev v0 parent 1: classid 1:30 htb rate 10mbit
  tc -n a filter add dev v0 parent 1: protocol ip prio 1 u32 match ip protocol 1 0xff flowid 1:10
  pings 192.0.2.2
  tc -n a -s class show dev v0 classid 1:10 | grep -q 'Sent [1-9]'
}
feature_netem() {
  two
  tc -n a qdisc add dev v0 root netem delay 300ms
  pings 192.0.2.2
  [ "$(sed -n 's|^rtt min[^=]*= \([0-9]*\).*|\1|p' /tmp/ping)" -ge 299 ] || { cat /tmp/ping; fail "no delay"; }
  tc -n a qdisc replace dev v0 root netem loss 100%
  ! a ping -q -c 2 -i 0.2 -W 1 192.0.2.2 || fail "nothing was lost"
}
feature_filters_and_actions() {
  two
  tc -n a qdisc add dev v0 clsact
  add() { tc -n a filter add dev v0 egress protocol all prio 7 "$@" || fail "tc filter ... $*"; tc -n a filter del dev v0 egress prio 7; }
  add matchall action drop
  add flower dst_mac 02:00:00:00:00:01 action vlan push id 5
  add flower action mpls push protocol mpls_uc label 100
  add flower action tunnel_key set src_ip 1.1.1.1 dst_ip 2.2.2.2 id 5
  add flower action ct zone 5
  add flower action csum ip
  add flower action skbedit mark 5
  add flower action sample rate 10 group 5
  add matchall action police rate 1mbit burst 10k
  add handle 5 fw action ok
  add basic match 'meta(pkt_len gt 100)' action ok
  add handle 5 flow hash keys src divisor 16
  add u32 match u32 0 0 action pedit munge offset 0 u8 set 0x45
  add bpf bytecode '1,6 0 0 4294967295,' action ok
  add matchall action bpf bytecode '1,6 0 0 4294967295,'
  tc -n a filter add dev v0 egress protocol ip prio 1 u32 match ip dst 10.5.5.5 action nat egress 10.5.5.5 192.0.2.2
  # What comes in is shaped on an ifb.
  ip -n a link add ifb0 type ifb
  ip -n a link set ifb0 up
  tc -n a qdisc add dev ifb0 root netem delay 300ms
  tc -n a filter add dev v0 ingress protocol ip prio 1 matchall action mirred egress redirect dev ifb0
  pings 192.0.2.2
  [ "$(sed -n 's|^rtt min[^=]*= \([0-9]*\).*|\1|p' /tmp/ping)" -ge 299 ] || { cat /tmp/ping; fail "no delay"; }
}

# --- packet filters

feature_nftables_nat_and_conntrack() {
  three
  r nft -f - <<'RULES'
table inet filter {
  set known { type ipv4_addr; flags interval; elements = { 192.0.2.0/24 } }
  flowtable fast { hook ingress priority 0; devices = { left, right }; }
  chain forward {
    type filter hook forward priority 0; policy drop;
    ct state established,related counter accept
    ip saddr @known icmp type echo-request limit rate 100/second log prefix "ping " accept
    ip saddr @known tcp dport 8080 meta l4proto tcp flow add @fast
    tcp dport 8080 accept
    reject with icmpx admin-prohibited
  }
}
table ip nat {
  chain prerouting {
    type nat hook prerouting priority -100
    ip daddr 192.0.2.254 tcp dport 80 dnat to 198.51.100.1:8080
    tcp dport 81 redirect to :82
  }
  chain postrouting {
    type nat hook postrouting priority 100
    oifname "right" masquerade
  }
}
table bridge frames {
  chain forward {
    type filter hook forward priority 0
    ether type arp counter
  }
}
table netdev cards {
  chain in {
    type filter hook ingress device "left" priority 0
    counter
  }
}
RULES
  caught b v0 'icmp and src 198.51.100.254' pings 198.51.100.1
  r conntrack -L 2>/dev/null | grep -q 'src=192.0.2.1 dst=198.51.100.1.*dst=198.51.100.254'
  ip netns exec b socat -u TCP4-LISTEN:8080,reuseaddr CREATE:/tmp/served &
  eventually b sh -c 'ss -Hltn | grep -q :8080'
  echo through the router | a socat -u - TCP4:192.0.2.254:80
  wait
  grep -q 'through the router' /tmp/served
  ! a socat -u OPEN:/dev/null TCP4:198.51.100.1:9999,connect-timeout=5 || fail "not filtered"
}
feature_iptables() {
  for flavour in iptables-nft iptables-legacy; do
    three
    r $flavour -t nat -A POSTROUTING -o right -j MASQUERADE
    r $flavour -P FORWARD DROP
    r $flavour -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
    r ipset create known hash:ip -exist
    r ipset add known 192.0.2.1 -exist
    r $flavour -A FORWARD -m set --match-set known src -p icmp -m comment --comment ping -m limit --limit 50/s -j ACCEPT
    r $flavour -t mangle -A FORWARD -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu
    r ip6${flavour#ip} -A FORWARD -p udp -m multiport --dports 1,2 -j REJECT
    caught b v0 'icmp and src 198.51.100.254' pings 198.51.100.1
    for name in a r b; do ip netns del $name; done
  done
}

# --- what programs expect

feature_packet_sockets() { two; caught b any icmp pings 192.0.2.2; }
feature_vsock() {
  socat -u VSOCK-LISTEN:1234 CREATE:/tmp/vsock &
  eventually sh -c 'echo through a vsock | socat -u - VSOCK-CONNECT:1:1234'
  wait
  grep -q 'through a vsock' /tmp/vsock
}
feature_socket_diagnosis() {
  for words in -ltn -lun -lwn -lx -0 '-f netlink'; do ss $words >/dev/null; done
}
feature_seccomp() {
  systemd-run -q --wait --pipe -p SystemCallFilter=@system-service grep -q 'Seccomp:.2' /proc/self/status
  ! systemd-run -q --wait --pipe -p SystemCallFilter=~@chown chown 0 /root || fail "a forbidden call"
}
feature_control_groups() {
  [ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ]
  for controller in cpuset cpu io memory pids; do grep -qw $controller /sys/fs/cgroup/cgroup.controllers || fail $controller; done
  systemctl reset-failed
  ! systemd-run -q --wait -u greedy -p MemoryMax=16M -p MemorySwapMax=0 sh -c 'tail /dev/zero'
  [ "$(systemctl show -P Result greedy)" = oom-kill ] || { systemctl status greedy; fail "no memory limit"; }
  systemctl reset-failed greedy
  systemd-run -q --wait -p CPUQuota=50% -p TasksMax=10 -p CPUWeight=10 -p IOWeight=10 -p AllowedCPUs=0 true
}
feature_namespaces() {
  [ "$(unshare --user --map-root-user --pid --fork --mount --mount-proc --uts --ipc --net --time --cgroup \
    sh -c 'hostname inside; echo $$ $(id -u) $(hostname) $(ls /sys/class/net /proc/self/ns | grep -c .)')" \
    = "1 0 inside $(ls /sys/class/net /proc/self/ns | grep -c .)" ]
}
feature_bpf() {
  systemd-run -q --wait -p IPAddressAllow=127.0.0.1 -p IPAddressDeny=any ping -q -c 1 127.0.0.1
  ! systemd-run -q --wait -p IPAddressDeny=any ping -q -c 1 -W 1 127.0.0.1 || fail "no address filter"
  bpftool prog show | grep -q cgroup_
  [ "$(cat /proc/sys/kernel/unprivileged_bpf_disabled)" = 2 ]
}
feature_file_systems() {
  cd /tmp
  mkdir -p lower upper work merged disk
  echo below >lower/file
  mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work overlay merged
  echo above >merged/file
  [ "$(cat lower/file upper/file)" = "below
above" ]
  umount merged
  truncate -s 16M image
  mkfs.ext4 -q image
  mount -o loop image disk
  echo kept >disk/file
  setfattr -n user.colour -v blue disk/file 2>/dev/null || true
  umount disk
  mount -o loop,ro image disk
  grep -q kept disk/file
  umount disk
  mount -t tmpfs tmpfs disk
  umount disk
}
feature_network_cards() {
  for card in eth0:virtio_net:10.91.0 eth1:e1000:10.92.0; do
    name=${card%%:*} driver=${card#*:} network=${card##*:}
    ethtool -i "$name" | grep -qx "driver: ${driver%:*}"
    ip address replace "$network.15/24" dev "$name"
    ip link set "$name" up
    eventually ping -q -c 1 -W 10 -I "$name" "$network.2"
    ip address del "$network.15/24" dev "$name"
  done
}
feature_devices_of_the_machine() {
  grep -q virtio_rng /sys/class/misc/hw_random/rng_current
  head -c 8 /dev/hwrng | wc -c | grep -qx 8
  hwclock --show >/dev/null
  [ "$(nproc)" = 2 ]
}

stop
for name in $(ip netns list | cut -d' ' -f1); do ip netns del "$name"; done
"feature_$1"
