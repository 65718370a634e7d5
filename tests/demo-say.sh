# shellcheck shell=bash
# How the demos show what they see, and check it: sourced by demo.sh and demo-network.sh.

heading() { printf '\n== %s\n' "$*"; }
shown() { sed 's/^/   /'; }
row() { printf '   %-34s %s\n' "$1" "$2"; }
fail() { echo "   NOT SO: $*" >&2; exit 1; }
# is WHAT VALUE WANT: shows a value, and ends the demo when it is not the one that is claimed.
is() { row "$1" "$2"; [ "$2" = "$3" ] || fail "$1 is '$2', not '$3'"; }
# holds WHAT VALUE CONDITION...: the same for a condition.
holds() { local what=$1 value=$2; shift 2; row "$what" "$value"; "$@" || fail "$what: $value"; }
