#!/usr/bin/env bash
# The demo: one container from the debian fixture, seen from the inside and from the outside, from its plan to its end.
# Every value that it shows it also checks; the first that is not as claimed ends it with exit code 1. `make demo` runs
# it. NFRUN names the binary; with runc or crun there, what only nfrun has (the plan) is left out.
# shellcheck disable=SC2016   # what is in single quotes is for the shell inside
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."

NFRUN=${NFRUN:-$PWD/target/release/nfrun}
ROOTFS=$PWD/rootfs-fixtures/built/debian
ID=demo-$$
CGROUP=/nfrun-demo-$$
MEMORY=$((64 << 20)) PIDS=64 QUOTA=50000 PERIOD=100000
# Debian's own: pyenv's and the like cost a quarter of a second a start.
PYTHON=/usr/bin/python3
[ -x "$PYTHON" ] || PYTHON=$(command -v python3)

[ -x "$NFRUN" ] || { echo "there is no $NFRUN: run 'make demo', or name a runtime with NFRUN=" >&2; exit 1; }
[ -d "$ROOTFS" ] || { echo "there is no $ROOTFS: run 'make fixtures'" >&2; exit 1; }
[ "$(id -u)" = 0 ] || { echo "the demo runs a container as root: become root and run it again" >&2; exit 1; }

WORK=$(mktemp -d /tmp/nfrun-demo.XXXXXX)
STATE=$WORK/state   # A state root of its own: `list` shows this container and no other.
nfrun() { "$NFRUN" --root "$STATE" "$@"; }
within() { nfrun exec "$ID" "$@"; }

cleanup() {
  local status=$?
  trap - EXIT
  nfrun delete --force "$ID" > "$WORK/cleanup" 2>&1 || [ "$status" != 0 ] || cat "$WORK/cleanup" >&2
  if [ "$status" != 0 ]; then
    [ ! -s "$WORK/log" ] || { echo "what the runtime logged:"; tail -n 20 "$WORK/log"; } >&2
    echo "the demo FAILED" >&2
  fi
  rm -rf --one-file-system "$WORK"
  exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# shellcheck source=tests/demo-say.sh
. tests/demo-say.sh
differs() { [ "$1" != "$2" ]; }
contains() { [[ $1 == *"$2"* ]]; }
gone() { [ ! -e "$1" ]; }

# Where a controller's files of process $PID are: its own v1 hierarchy, else the unified one.
cgroup_dir() {
  local path
  path=$(awk -F: -v c="$1" '{ n = split($2, names, ","); for (i = 1; i <= n; i++) if (names[i] == c) print $3 }' "/proc/$PID/cgroup")
  if [ -n "$path" ]; then echo "/sys/fs/cgroup/$1$path"; return; fi
  path=$(awk -F: '$1 == "0" { print $3 }' "/proc/$PID/cgroup")
  if [ -d /sys/fs/cgroup/unified ]; then echo "/sys/fs/cgroup/unified$path"; else echo "/sys/fs/cgroup$path"; fi
}
# The host's mounts of what the container is made of. Not all of the host's: others may mount and unmount meanwhile.
host_mounts() { grep -cF -e "$WORK" -e "$ROOTFS" /proc/self/mountinfo || true; }
# The value of the first of these files that is there: v1 and v2 name them differently.
cgroup_value() {
  local dir file
  dir=$(cgroup_dir "$1"); shift
  for file in "$@"; do
    if [ -e "$dir/$file" ]; then tr '\n' ' ' < "$dir/$file" | sed 's/ $//'; return; fi
  done
  echo "none of $* in $dir"
}
field() { awk -v RS='[ \n]' -v k="$1" 'found { print; exit } $0 == k { found = 1 }'; }

# --- the bundle
heading "A bundle: config.json beside a Debian root filesystem"
mkdir -p "$WORK/bundle" "$WORK/shared"
echo "written by the host" > "$WORK/shared/note"
# The first process: says that it runs, then waits to be told to stop, as a service does.
MAIN='trap "echo stopping; exit 7" TERM; echo "up as pid $$ on $(hostname)"; sleep infinity & wait'
caps='["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]'
jq -n --arg rootfs "$ROOTFS" --arg main "$MAIN" --arg cgroup "$CGROUP" --arg shared "$WORK/shared" \
  --argjson caps "$caps" --argjson memory "$MEMORY" --argjson pids "$PIDS" --argjson quota "$QUOTA" --argjson period "$PERIOD" '
{
  ociVersion: "1.0.2",
  root: { path: $rootfs, readonly: true },
  hostname: "demo",
  process: {
    terminal: false, user: { uid: 0, gid: 0 }, cwd: "/", args: ["/bin/bash", "-c", $main],
    env: ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "GREETING=hello"],
    capabilities: { bounding: $caps, effective: $caps, permitted: $caps },
    rlimits: [{ type: "RLIMIT_NOFILE", soft: 256, hard: 256 }], noNewPrivileges: true
  },
  mounts: [
    { destination: "/proc", type: "proc", source: "proc" },
    { destination: "/dev", type: "tmpfs", source: "tmpfs", options: ["nosuid", "strictatime", "mode=755", "size=65536k"] },
    { destination: "/dev/pts", type: "devpts", source: "devpts", options: ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
    { destination: "/dev/shm", type: "tmpfs", source: "shm", options: ["nosuid", "noexec", "nodev", "mode=1777", "size=8m"] },
    { destination: "/dev/mqueue", type: "mqueue", source: "mqueue", options: ["nosuid", "noexec", "nodev"] },
    { destination: "/sys", type: "sysfs", source: "sysfs", options: ["nosuid", "noexec", "nodev", "ro"] },
    { destination: "/sys/fs/cgroup", type: "cgroup", source: "cgroup", options: ["nosuid", "noexec", "nodev", "relatime", "ro"] },
    { destination: "/tmp", type: "tmpfs", source: "tmpfs", options: ["nosuid", "nodev", "mode=1777", "size=4m"] },
    { destination: "/mnt", type: "bind", source: $shared, options: ["rbind", "ro", "nosuid", "nodev"] }
  ],
  linux: {
    cgroupsPath: $cgroup,
    resources: {
      devices: [{ allow: false, access: "rwm" }],
      memory: { limit: $memory }, pids: { limit: $pids }, cpu: { quota: $quota, period: $period }
    },
    namespaces: [{ type: "pid" }, { type: "network" }, { type: "ipc" }, { type: "uts" }, { type: "mount" }],
    maskedPaths: ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
    readonlyPaths: ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
  }
}' > "$WORK/bundle/config.json"
jq -r '"own namespaces: \([.linux.namespaces[].type] | join(" "))",
       "mounts:         \([.mounts[].destination] | join(" "))",
       "limits:         memory \(.linux.resources.memory.limit / 1048576) MiB, cpu \(.linux.resources.cpu.quota * 100 / .linux.resources.cpu.period) %, \(.linux.resources.pids.limit) pids"' \
  "$WORK/bundle/config.json" | shown
nfrun --version | shown

# --- the plan
case $("$NFRUN" --version) in
  runc* | crun*) plans= ;;
  *) plans=1 ;;
esac
# Not by the name in --version alone: nfrun may be installed under runc's name.
"$NFRUN" --help 2>&1 | grep -qE '^ +plan\b' && plans=1
if [ -n "$plans" ]; then
  heading "Its plan: all that create would do, with nothing done (nfrun plan --bundle DIR ID)"
  nfrun plan --bundle "$WORK/bundle" "$ID" > "$WORK/plan"
  nfrun plan --format json --bundle "$WORK/bundle" "$ID" > "$WORK/plan.json"
  head -n 12 "$WORK/plan" | cut -c 1-130 | shown
  echo "   ..."
  for side in runtime init; do
    count=$(jq --arg side "$side" '[.steps[] | select(.side == $side)] | length' "$WORK/plan.json")
    holds "steps of the $side" "$count" [ "$count" -gt 0 ]
  done
  holds "made by planning" "nothing" gone "$STATE/$ID"
fi

# --- create and start
heading "create: everything is set up, nothing of the user's runs yet"
# The container's output comes through a pipe that the demo waits on, so nothing here has to sleep and hope.
mkfifo "$WORK/out"
exec {out}<> "$WORK/out"
began=${EPOCHREALTIME/./}
nfrun --log "$WORK/log" create --bundle "$WORK/bundle" --pid-file "$WORK/pid" "$ID" < /dev/null >&"$out" 2>&1
took=$((${EPOCHREALTIME/./} - began))
PID=$(cat "$WORK/pid")
row "create took" "$((took / 1000)).$(printf %03d $((took % 1000))) ms"
is "status" "$(nfrun state "$ID" | jq -r .status)" created

heading "start: the user's process runs"
nfrun start "$ID"
read -r -t 10 line <&"$out" || fail "the container said nothing in 10 s"
is "its first words" "$line" "up as pid 1 on demo"

# --- inside
heading "What the inside sees (nfrun exec $ID ...)"
is "hostname" "$(within hostname)" demo
is "user" "$(within id -un)" root
is "environment" "$(within sh -c 'echo "$GREETING"')" hello
is "network interfaces" "$(within sh -c 'ip -o link | cut -d: -f2 | xargs')" lo
is "capabilities" "$(within sh -c 'capsh --decode=$(grep CapEff /proc/1/status | cut -f2) | cut -d= -f2')" cap_kill,cap_net_bind_service,cap_audit_write
is "open files, at most" "$(within sh -c 'ulimit -n')" 256
within cat /proc/self/mountinfo > "$WORK/mounts"
# A mount's number is unique on the machine: one that both see would be shared with the host.
common=$(comm -12 <(cut -d' ' -f1 "$WORK/mounts" | sort) <(cut -d' ' -f1 /proc/self/mountinfo | sort) | wc -l)
holds "mounts" "$(wc -l < "$WORK/mounts"), $common of them the host's" [ "$common" = 0 ]
is "the root filesystem" "$(within sh -c 'touch /x 2>&1 || true' | sed 's/.*: //')" "Read-only file system"
is "/tmp, a tmpfs" "$(within sh -c 'echo kept > /tmp/x && cat /tmp/x && stat -f -c %T /tmp' | xargs)" "kept tmpfs"
is "/mnt, a bind" "$(within cat /mnt/note)" "written by the host"
is "/mnt, written to" "$(within sh -c 'touch /mnt/note 2>&1 || true' | sed 's/.*: //')" "Read-only file system"
is "/proc/keys, masked" "$(within wc -c /proc/keys | cut -d' ' -f1)" 0
within ps -eo pid,user,args > "$WORK/ps"
holds "processes" "$(($(wc -l < "$WORK/ps") - 1)):" [ "$(wc -l < "$WORK/ps")" = 4 ]
shown < "$WORK/ps"

# --- outside
heading "What the outside sees"
nfrun state "$ID" | jq -c '{ociVersion, id, status, pid, bundle}' | shown
is "state: status" "$(nfrun state "$ID" | jq -r .status)" running
is "state: pid" "$(nfrun state "$ID" | jq -r .pid)" "$PID"
nfrun list | cut -c 1-120 | shown
is "list: containers" "$(nfrun list --quiet | xargs)" "$ID"
nfrun ps "$ID" | shown
is "ps: processes" "$(nfrun ps --format json "$ID" | jq length)" 2
is "memory limit, bytes" "$(cgroup_value memory memory.limit_in_bytes memory.max)" "$MEMORY"
is "pids limit" "$(cgroup_value pids pids.max)" "$PIDS"
quota=$(cgroup_value cpu cpu.cfs_quota_us cpu.max)
is "cpu quota of $PERIOD us" "${quota%% *}" "$QUOTA"
for ns in pid net ipc uts mnt; do
  holds "namespace $ns, and the host's" "$(readlink "/proc/$PID/ns/$ns")  $(readlink "/proc/self/ns/$ns")" \
    differs "$(readlink "/proc/$PID/ns/$ns")" "$(readlink "/proc/self/ns/$ns")"
done
is "user namespace" "$(readlink "/proc/$PID/ns/user") (the host's)" "$(readlink /proc/self/ns/user) (the host's)"
is "its mounts on the host" "$(host_mounts)" 0

# --- limits
heading "The limits bite"
status=0
within python3 -c 'bytearray(200 << 20)' > "$WORK/big" 2>&1 || status=$?
is "200 MiB in 64: exit code" "$status" 137
kills=$(cgroup_value memory memory.oom_control memory.events | field oom_kill)
holds "killed by the kernel for memory" "$kills" [ "$kills" -ge 1 ]
# Children wait on a pipe that closes when their parent has counted them.
forks=$(within python3 -c '
import os
r, w = os.pipe()
n = 0
try:
    while n < 1000:
        if os.fork() == 0:
            os.close(w); os.read(r, 1); os._exit(0)
        n += 1
except BlockingIOError:
    pass
print(n)
os.close(w)
for _ in range(n): os.wait()')
holds "of 1000 forks allowed" "$forks" [ "$forks" -lt "$PIDS" ]
refused=$(cgroup_value pids pids.events | field max)
holds "refused by the kernel" "$refused" [ "$refused" -ge 1 ]
share=$(within python3 -c '
import time
t = time.monotonic()
while time.monotonic() - t < 1: pass
print(round(time.process_time() * 100))')
holds "a busy loop gets of one cpu, %" "$share" [ "$share" -lt 75 ]
is "and the container runs on" "$(nfrun state "$ID" | jq -r .status)" running

# --- pause, exec, kill
heading "pause, resume, exec, kill"
nfrun pause "$ID"
is "after pause" "$(nfrun state "$ID" | jq -r .status)" paused
nfrun resume "$ID"
is "after resume" "$(nfrun state "$ID" | jq -r .status)" running
status=0
within sh -c 'exit 42' || status=$?
is "exec sh -c 'exit 42': exit code" "$status" 42
is "exec as another user" "$(nfrun exec --user 1000:1000 --cwd /tmp --env A=b "$ID" sh -c 'echo $(id -u):$(id -g) $PWD $A')" "1000:1000 /tmp b"
nfrun kill "$ID" TERM
read -r -t 10 line <&"$out" || fail "TERM did not reach the container in 10 s"
is "its last word, on TERM" "$line" stopping
# A pidfd becomes readable when its process has ended.
"$PYTHON" - "$PID" <<'END' || fail "pid $PID lives on 10 s after TERM"
import os, select, sys
try:
    fd = os.pidfd_open(int(sys.argv[1]))
except ProcessLookupError:
    sys.exit(0)
p = select.poll()
p.register(fd, select.POLLIN)
sys.exit(0 if p.poll(10_000) else 1)
END
is "after kill" "$(nfrun state "$ID" | jq -r .status)" stopped

# --- delete
heading "delete: nothing stays"
nfrun delete "$ID"
holds "process $PID" "gone" gone "/proc/$PID/exe"
left=$(find /sys/fs/cgroup -type d -path "*$CGROUP*" | wc -l)
is "cgroups" "$left" 0
is "state files" "$(find "$STATE" -mindepth 1 2> /dev/null | wc -l)" 0
is "its mounts on the host" "$(host_mounts)" 0
status=0
nfrun state "$ID" > "$WORK/gone" 2>&1 || status=$?
holds "nfrun state $ID" "exit $status: $(tail -n 1 "$WORK/gone" | sed 's/.*msg=//' | cut -c 1-60)" contains "$(cat "$WORK/gone")" "does not exist"
[ "$status" != 0 ] || fail "state of a deleted container succeeds"

heading "All of this was checked as it was shown; it took $SECONDS s."
