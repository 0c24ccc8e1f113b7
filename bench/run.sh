#!/usr/bin/env bash
# run.sh: the whole benchmark (`make bench`, `make bench QUICK=1`, `make bench ONLY=idle`).
#
#   bash bench/run.sh [SECTION...]     append dispatch latency idle growth lanes failures peers
#                                      consumers partitions monitoring; all of them by default
#
# Installs what is missing (server, headers, compiler, gnuplot; for the sections peers and consumers also
# PgQ and psycopg from Debian, and the peers that npm has, if node is installed), builds pm from a copy of the tree in a
# temporary directory, starts a private server there as an unprivileged user, and measures. What is not
# available is skipped, with a message. Results go to bench/results/ :
#
#   results.txt    settings, the results with a bound, what was skipped, all medians and what they mean
#   results.md     the tables of doc/performance.md; perl bench/report.pl --into doc/performance.md bench/results
#                  inserts them there
#   raw.tsv        each single measurement: section, case, variant, metric, round, value
#   medians.tsv    section, case, variant, metric, median, minimum, maximum, rounds
#   *.png, plots.txt      plots, as pictures and as text
#
#   QUICK=1        small sizes and few rounds: under two minutes, once everything is installed
#   ROUNDS=n       the number of rounds (default 5; with QUICK 2)
#   KEEP=1         leaves the server running at the end, and says how to connect and how to remove it
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../test/harness/setup.sh"

export PM_BENCH_QUICK=${QUICK:-0} PM_BENCH_ROUNDS=${ROUNDS:-}
[ -n "$PM_BENCH_QUICK" ] || PM_BENCH_QUICK=0
[ "${KEEP:-}" != 0 ] || KEEP=
all=(append dispatch latency idle growth lanes failures peers consumers partitions monitoring)
[ $# -gt 0 ] || set -- "${all[@]}"
for section in "$@"; do
	[[ " ${all[*]} " == *" $section "* ]] || pm_die "no such section: $section (there are: ${all[*]})"
done
results=$PM_ROOT/bench/results

# Packages that are optional.
optional() {
	local p missing=()
	for p in "$@"; do
		[ -n "$(pm_package_version "$p")" ] || missing+=("$p")
	done
	[ ${#missing[@]} -eq 0 ] || (pm_install_packages "${missing[@]}") >&2 || true
}

pm_say "pm bench: $*"
pm_ensure_packages perl
pm_workdir bench
pm_as_user mkdir "$PM_WORK/results" "$PM_WORK/npm"
if command -v dpkg-query >/dev/null; then
	optional gnuplot-nox
	[[ " $* " != *" peers "* && " $* " != *" consumers "* ]] || optional "postgresql-$PM_MAJOR-pgq3" pgqd
	[[ " $* " != *" consumers "* ]] || optional python3-psycopg
fi
if [[ " $* " == *" peers "* && "$PM_BENCH_QUICK" = 0 ]] || [[ " $* " == *" consumers "* ]]; then
	bash "$PM_ROOT/bench/peers/npm.sh" "$PM_WORK/npm"
	chown -R "$PM_USER:" "$PM_WORK/npm" 2>/dev/null || true
fi

pm_say "building with $("$PG_CONFIG" --version)"
pm_copy_tree "$PM_WORK/src"
[[ " $* " != *" consumers "* ]] || pm_npm_packages "$PM_WORK/src" clients examples
[[ " $* " != *" monitoring "* ]] || pm_npm_packages "$PM_WORK/src" console
pm_build "$PM_WORK/src" 0 "$PM_WORK/dest" || exit 1
dest=$(pm_destdir "$PM_WORK/dest")
pm_as_user make -s -C "$PM_WORK/src/bench/cloop" "PG_CONFIG=$PG_CONFIG" with_llvm=no "DESTDIR=$dest" install \
	>"$PM_WORK/cloop.log" 2>&1 || { cat "$PM_WORK/cloop.log" >&2; pm_die "the build of bench/cloop failed"; }
pm_server_conf "$PM_WORK/dest" pm,pm_bench_cloop | pm_as_user tee "$PM_WORK/server.conf" >/dev/null
export PM_BENCH_COMMIT
PM_BENCH_COMMIT=$(git -c safe.directory='*' -C "$PM_ROOT" describe --always --dirty 2>/dev/null || echo unknown)

status=0
pm_as_user_group bash "$PM_WORK/src/bench/measure.sh" "$@" || status=$?

if compgen -G "$PM_WORK/results/*" >/dev/null; then
	rm -rf "$results"
	mkdir -p "$results"
	cp "$PM_WORK"/results/* "$results/"
	[ "$(id -u)" -ne 0 ] || chown -R --reference="$PM_ROOT/bench" "$results"
	pm_say
	pm_say "in bench/results: $(cd "$results" && echo *)"
fi
if [ -n "${KEEP:-}" ] && [ -f "$PM_WORK/data/postmaster.pid" ]; then
	PM_LEAVE_RUNNING=1
	as=
	[ "$(id -un)" = "$PM_USER" ] || as="runuser -u $PM_USER -- "
	pm_say
	pm_say "The server is still up. To look around, and to remove it:"
	pm_say "  $PM_BINDIR/psql -h $PM_WORK/socket -U postgres postgres"
	pm_say "  (cd $PM_WORK && ${as}$PM_BINDIR/pg_ctl -D $PM_WORK/data -m fast stop) && rm -rf $PM_WORK"
fi
exit "$status"
