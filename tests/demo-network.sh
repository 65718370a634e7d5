#!/usr/bin/env bash
# The second half of the demo: three network functions from the debian fixture, connected by nfrun alone. A client asks a
# web server through a router that filters and translates by its own nftables; the picture of who is connected to whom is
# drawn from what `nfrun state` says. Every value that is shown is checked; the first that is not as claimed ends it with
# exit code 1. `make demo` runs it. NFRUN names the binary.
# shellcheck disable=SC2016   # what is in single quotes is for the shell inside
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."

NFRUN=${NFRUN:-$PWD/target/release/nfrun}
ROOTFS=$PWD/rootfs-fixtures/built/debian
[ -x "$NFRUN" ] || { echo "there is no $NFRUN: run 'make demo'" >&2; exit 1; }
[ -d "$ROOTFS" ] || { echo "there is no $ROOTFS: run 'make fixtures'" >&2; exit 1; }
[ "$(id -u)" = 0 ] || { echo "the demo runs containers as root: become root and run it again" >&2; exit 1; }

# A network namespace of its own plays the host, so that the demo changes nothing of this machine's networks.
if [ "${DEMO_NETWORK_NS:-}" != 1 ]; then
  exec env DEMO_NETWORK_NS=1 unshare --net --mount --propagation private -- "./tests/${0##*/}" "$@"
fi
mount -t tmpfs -o mode=755 run /run

WORK=$(mktemp -d /tmp/nfrun-demo.XXXXXX)
nfrun() { "$NFRUN" --root "$WORK/state" --network-config-dir "$WORK/networks" "$@"; }
# shellcheck source=tests/demo-say.sh
. tests/demo-say.sh

cleanup() {
  local status=$?
  trap - EXIT
  nfrun delete --force client router web > "$WORK/cleanup" 2>&1 || [ "$status" != 0 ] || cat "$WORK/cleanup" >&2
  [ "$status" = 0 ] || echo "the demo FAILED" >&2
  rm -rf --one-file-system "$WORK"
  exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# bundle NAME SCRIPT: a container that runs it with the rights of a network function.
bundle() {
  local caps='["CAP_NET_ADMIN", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW"]'
  mkdir -p "$WORK/$1"
  jq -n --arg rootfs "$ROOTFS" --arg name "$1" --arg script "$2" --arg cgroup "/nfrun-demo-$$/$1" --argjson caps "$caps" '
  {
    ociVersion: "1.0.2", hostname: $name, root: { path: $rootfs, readonly: true },
    process: {
      user: { uid: 0, gid: 0 }, cwd: "/", args: ["/bin/bash", "-c", $script], noNewPrivileges: true,
      env: ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
      capabilities: { bounding: $caps, effective: $caps, permitted: $caps }
    },
    mounts: [
      { destination: "/proc", type: "proc", source: "proc" },
      { destination: "/dev", type: "tmpfs", source: "tmpfs", options: ["nosuid", "mode=755", "size=65536k"] }
    ],
    linux: {
      cgroupsPath: $cgroup,
      sysctl: (if $name == "router" then { "net.ipv4.ip_forward": "1" } else {} end),
      namespaces: [{ type: "pid" }, { type: "network" }, { type: "ipc" }, { type: "uts" }, { type: "mount" }]
    }
  }' > "$WORK/$1/config.json"
}

# run NAME FLAGS...: runs it, and waits until it says that it is ready.
run() {
  local name=$1 line
  shift
  mkfifo "$WORK/$name/out"
  exec {out}<> "$WORK/$name/out"
  row "run $name" "$*"
  nfrun run --detach --bundle "$WORK/$name" "$@" "$name" < /dev/null >&"$out" 2>&1
  read -r -t 20 line <&"$out" || fail "$name said nothing in 20 s"
  [ "$line" = ready ] || fail "$name says: $line"
  exec {out}>&-
}

heading "Three network functions, connected by nfrun alone"
bundle web "$(cat << 'END'
exec python3 -c '
import os, socket
# A process for each port, which tells whoever asks which address it sees.
servers = [(port, socket.create_server(("", port))) for port in (80, 8081)]
port, server = servers[0] if os.fork() else servers[1]
if port == 80:
    print("ready", flush=True)
while True:
    client, (address, _) = server.accept()
    client.sendall(b"HTTP/1.0 200 OK\r\n\r\nweb, port %d, to %s\n" % (port, address.encode()))
    client.close()
'
END
)"
bundle router 'nft -f - <<RULES && echo ready && exec sleep infinity
table ip fw {
  chain forward {
    type filter hook forward priority filter; policy drop;
    ct state established,related accept
    iifname "lan0" tcp dport 80 accept
    iifname "lan0" icmp type echo-request accept
  }
  chain out {
    type nat hook postrouting priority srcnat;
    oifname "dmz0" masquerade
  }
}
RULES'
bundle client 'echo ready; exec sleep infinity'
row "network lan, internal" "$(nfrun network create lan --subnet 10.1.0.0/24 --internal)"
# Whoever comes first makes the link; no order has to be kept.
run web --network link:router:dmz0,ip=10.2.0.2/24
run router --network lan,name=lan0,ip=10.1.0.254 --network link:web:eth0,name=dmz0,ip=10.2.0.1/24
run client --network lan,ip=10.1.0.2,route=default@10.1.0.254 --add-host web:10.2.0.2

heading "Who is connected to whom (nfrun state)"
for name in client router web; do nfrun state "$name" > "$WORK/$name/state"; done
jq -rn --slurpfile c "$WORK/client/state" --slurpfile r "$WORK/router/state" --slurpfile w "$WORK/web/state" '
  def all: [$c[0], $r[0], $w[0]];
  def pad($n): . + (" " * ($n - length));
  def text: "\(.name) \(.addresses[0] | sub("/.*"; ""))";
  # An edge is two interfaces of one network, or the two ends of a link.
  def edges: [all[] as $a | all[] as $b | select($a.id < $b.id) | $a.interfaces[] as $x | $b.interfaces[] as $y
    | select($x.network == $y.network and ($x.network != "link" or $x.peer == "\($b.id):\($y.name)"))
    | { from: $a.id, left: ($x | text), network: $x.network, to: $b.id, right: ($y | text) }];
  def bar($l; $r): [all[] | $l + ("─" * 20) + $r] | join(" " * 11);
  (bar("┌"; "┐")),
  ([all[] | "│ " + (.id | pad(19)) + "│"] | join(" " * 11)),
  (edges[] as $e | [all[].id] | . as $ids | ($ids | index($e.from)) as $at
    | [range(0; 3) | if . == $at then "│ " + ($e.left | pad(19)) + "├" elif . == $at + 1 then "┤ " + ($e.right | pad(19)) + "│"
                     else "│" + (" " * 20) + "│" end] as $cells
    | $cells[0] + (if $at == 0 then "── \($e.network | pad(5)) ──" else " " * 11 end)
      + $cells[1] + (if $at == 1 then "── \($e.network | pad(5)) ──" else " " * 11 end) + $cells[2]),
  (bar("└"; "┘"))' > "$WORK/picture"
shown < "$WORK/picture"
is "lines of it that connect" "$(grep -c ├ "$WORK/picture")" 2

heading "The client's request arrives, by the web server's name and through the router's NAT"
# ask PORT: what the web server answers the client; nothing where the router lets nothing through.
ask() {
  nfrun exec client bash -c "exec 2> /dev/null; timeout 2 bash -c 'exec 3<> /dev/tcp/web/$1 && tail -n 1 <&3'" || echo "nothing"
}
is "client asks web, port 80" "$(ask 80)" "web, port 80, to 10.2.0.1"
is "client asks web, port 8081" "$(ask 8081)" nothing
is "and the router itself, port 8081" "$(nfrun exec router bash -c 'exec 3<> /dev/tcp/10.2.0.2/8081 && tail -n 1 <&3')" "web, port 8081, to 10.2.0.1"
is "client pings web" "$(nfrun exec client ping -c 1 -W 5 web | grep -o '1 received')" "1 received"
dropped=$(nfrun exec router nft list ruleset | grep -c 'policy drop')
is "rules, the router's own" "$dropped chain drops what it does not accept" "1 chain drops what it does not accept"
nfrun top --once 2> /dev/null | cut -c 1-120 | shown

heading "delete: nothing stays"
nfrun delete --force client router web
nfrun network rm lan > /dev/null
# What a namespace had goes a moment after it.
for _ in {1..200}; do
  left=$(ip -o link | grep -vc ' lo:' || true)
  [ "$left" != 0 ] || break
  read -r -t 0.02 <> <(:) || true
done
is "interfaces on the host" "$left" 0
is "files of networks" "$(find /run/nfrun-networks "$WORK/networks" -type f ! -name .filter 2> /dev/null | wc -l)" 0
is "cgroups" "$(find /sys/fs/cgroup -type d -path "*/nfrun-demo-$$/*" | wc -l)" 0
heading "Three functions, one filter of their own, no engine: checked as it was shown, in $SECONDS s."
