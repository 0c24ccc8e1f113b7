#!/usr/bin/env bash
# run.sh: the demonstration, from nothing (`make demo`).
#
# Installs what is missing, builds pm in a temporary directory, and runs demo.sh there as an
# unprivileged user, on a private server. Nothing but Debian packages goes into system folders.
#
#   KEEP=1         leaves the server running at the end, and says how to connect and how to remove it
#   EVENTS=FILE    replays the events of a CSV file instead of the shop; plain or gzip'ed, with the
#                  columns log,stream,type,occurred_at,data
#   PM_DEMO_SEED=1  PM_DEMO_ORDERS=2000  PM_DEMO_SPAN=10 (seconds)  PM_DEMO_LIMIT=60 (seconds
#   without any progress, after which the demo gives up)
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../../test/harness/setup.sh"

EVENTS=${EVENTS:-}
orders=${PM_DEMO_ORDERS:-2000} span=${PM_DEMO_SPAN:-10}
[ "${KEEP:-}" != 0 ] || KEEP=
columns=log,stream,type,occurred_at,data

# Errors in the file that can be found without a server are reported before anything is installed.
if [ -n "$EVENTS" ]; then
	[ -e "$EVENTS" ] || pm_die "EVENTS=$EVENTS: there is no such file"
	[ -f "$EVENTS" ] || pm_die "EVENTS=$EVENTS is not a file"
	[ -r "$EVENTS" ] || pm_die "EVENTS=$EVENTS: $(id -un) may not read it"
	[ -s "$EVENTS" ] || pm_die "EVENTS=$EVENTS is empty"
	problem=$(gzip -cdf -- "$EVENTS" 2>&1 >/dev/null) ||
		pm_die "EVENTS=$EVENTS cannot be unpacked: ${problem##*: }"
	# "header" reads to the end, or gzip would die of a closed pipe.
	header=$(gzip -cdf -- "$EVENTS" | LC_ALL=C sed -n '1{s/\r$//; s/[^ -~]/?/g; s/\(.\{200\}\).*/\1.../; p}')
	case $header in
	*'?'*) pm_die "EVENTS=$EVENTS is neither CSV text nor gzip'ed CSV text" ;;
	"$columns" | '"log","stream","type","occurred_at","data"') ;;
	*) pm_die "EVENTS=$EVENTS, line 1: the columns must be $columns, but the line is: $header" ;;
	esac
fi

pm_say "pm demo: process managers inside PostgreSQL"
pm_say
if [ -n "$EVENTS" ]; then
	pm_say "It replays the events of a file into event logs, from eight sessions at once, lets two process managers"
	pm_say "follow the logs, and checks what they computed against the file."
else
	pm_say "A shop takes $orders orders in $span seconds. A process manager in the database sees each order through: stock,"
	pm_say "payment, shipment, and cancellation if nobody pays. In the end SQL checks that nothing was lost or done twice."
fi
pm_say "It takes about a minute, of which the build is half, and one to three minutes more where packages are missing."
pm_say
pm_ensure_packages perl
pm_workdir demo
if [ -n "$EVENTS" ]; then
	gzip -cdf -- "$EVENTS" | pm_as_user tee "$PM_WORK/events.csv" >/dev/null ||
		pm_die "EVENTS=$EVENTS could not be unpacked"
fi

pm_say "  build      pm, with $("$PG_CONFIG" --version), in a temporary directory"
began=$SECONDS
pm_copy_tree "$PM_WORK/src"
pm_build "$PM_WORK/src" 0 "$PM_WORK/dest" || exit 1
pm_say "             built in $((SECONDS - began)) s"

status=0
pm_as_user_group bash "$PM_WORK/src/examples/demo/demo.sh" || status=$?

# With KEEP the server stays, also after a check has failed: then it is most useful to look.
if [ -n "${KEEP:-}" ] && [ -f "$PM_WORK/data/postmaster.pid" ]; then
	PM_LEAVE_RUNNING=1
	as=
	[ "$(id -un)" = "$PM_USER" ] || as="runuser -u $PM_USER -- "
	pm_say
	pm_say "The server is still running. To look around, and to remove it:"
	pm_say "  $PM_BINDIR/psql -h $PM_WORK -U $(cat "$PM_WORK/role") demo"
	pm_say "  make console DB='host=$PM_WORK user=$(cat "$PM_WORK/role") dbname=demo'"
	pm_say "  (cd $PM_WORK && ${as}$PM_BINDIR/pg_ctl -D $PM_WORK/data -m fast stop) && rm -rf $PM_WORK"
fi
exit "$status"
