#!/usr/bin/env bash
# ha.sh: failover with Patroni. The tests in test/ha/ run three servers under Patroni with etcd, all on this machine, on
# loopback and without special rights. Patroni, etcd and DBD::Pg come from Debian.
#
#   TESTS="synchronous lost_tail"    only these (default: every test/ha/*.pl)
#   PM_HA_ROUNDS=20                  how many times the leader is killed in synchronous.pl and lost_tail.pl
#   KEEP=1                           keeps the data directories and the logs
#
# The last line says "N passed, N failed".
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

pm_ensure_packages perl libipc-run-perl libdbd-pg-perl patroni etcd-server
pm_workdir ha
pm_copy_tree "$PM_WORK/src"
pm_say "building with $("$PG_CONFIG" --version)"
pm_build "$PM_WORK/src" 1 "$PM_WORK/dest" || exit 1
pm_server_conf "$PM_WORK/dest" | pm_as_user tee "$PM_WORK/server.conf" >/dev/null

tests=()
for test in ${TESTS:-$(cd "$PM_ROOT/test/ha" && ls ./*.pl)}; do
	test=$(basename "$test" .pl)
	[ -f "$PM_ROOT/test/ha/$test.pl" ] || pm_die "there is no test/ha/$test.pl"
	tests+=("$test")
done

mkdir -p "$PM_ROOT/test/results"
: >"$PM_WORK/output"
rc=0 n=0
for test in "${tests[@]}"; do
	n=$((n + 1))
	began=$SECONDS
	pm_say "$n of ${#tests[@]}: $test"
	status=passed
	pm_as_user mkdir -p "$PM_WORK/log"
	pm_as_user_group env PM_SERVER_CONF="$PM_WORK/server.conf" PM_BINDIR="$PM_BINDIR" TESTDIR="$PM_WORK" TESTDATADIR="$PM_WORK/data" TESTLOGDIR="$PM_WORK/log" \
		"PERL5LIB=$PM_WORK/src/test/ha:$PM_PGXS/test/perl:$PM_WORK/src/test/t" \
		prove --nocolor -v "$PM_WORK/src/test/ha/$test.pl" >"$PM_WORK/$test.output" 2>&1 || {
		status=failed rc=1
		tail -n 20 "$PM_WORK/tmp_check/log/regress_log_$test" || true
	}
	cat "$PM_WORK/$test.output" >>"$PM_WORK/output"
	grep -E '^(not ok|# (  |Failed|figure:|Looks))' "$PM_WORK/$test.output" || true
	pm_say "   $status, $((SECONDS - began)) s"
done
cp "$PM_WORK/output" "$PM_ROOT/test/results/ha.txt"
pm_say "the whole output: test/results/ha.txt"
pm_say "$(grep -cE '^ok [0-9]' "$PM_WORK/output") passed, $(grep -cE '^not ok [0-9]' "$PM_WORK/output") failed"
exit $rc
