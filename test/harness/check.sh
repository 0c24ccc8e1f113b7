#!/usr/bin/env bash
# check.sh [SUITE...]: runs the test suites (regress isolation tap pgtap clients) on private servers.
#
# Installs what is missing, copies the tree to a temporary directory and runs
# suites.sh there as an unprivileged user. The last line says "N passed, N failed"
# (test files); the exit status is 0 only if nothing failed. test/results/ has the
# summary, the whole output of what failed, and the figures that tests measured.
#
#   TESTS="a b*"      only the tests with these names (shell patterns, without directory and suffix)
#   KEEP=1            keeps the temporary directory and prints its name
#   PG_CONFIG=...     another server than the installed package's
#   PM_PG_MAJOR=17    another major version of the packages
#   PM_TAP_JOBS=1     how many TAP tests run at a time (default: twice the number of processors, 8 at most)
#   PM_TMPDIR=DIR     where the temporary directory is made (default /dev/shm if it has 8 GB, else /tmp)
#   PM_TEST_DATA=DIR  event logs of real systems, for 020_real_events
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

suites=("$@")
[ ${#suites[@]} -gt 0 ] || suites=(regress isolation tap pgtap clients)

packages=()
for suite in "${suites[@]}"; do
	case $suite in
	regress | isolation) ;;
	tap)
		packages+=(perl libipc-run-perl postgresql-@MAJOR@-pgtap pgbouncer graphviz)
		# Later versions have another interface, and the test of partitions skips it.
		[ "$(pm_major)" != 15 ] || packages+=(postgresql-15-partman)
		;;
	pgtap) packages+=(postgresql-@MAJOR@-pgtap libtap-parser-sourcehandler-pgtap-perl) ;;
	clients)
		packages+=(pgbouncer python3-psycopg python3-setuptools python3-wheel)
		# A node that is installed already need not be Debian's.
		PATH=$PM_PATH command -v npm >/dev/null || packages+=(nodejs npm)
		;;
	*) pm_die "there is no suite $suite" ;;
	esac
done

pm_say "pm: the test suites (${suites[*]}), on private servers in a temporary directory"
pm_ensure_packages "${packages[@]}"

# Is a test of this name among those of TESTS?
wanted() {
	local pattern patterns
	[ -n "${TESTS:-}" ] || return 0
	read -ra patterns <<<"$TESTS"
	for pattern in "${patterns[@]}"; do
		# shellcheck disable=SC2053
		[[ $1 != $pattern ]] || return 0
	done
	return 1
}

# Is a test of the console with a browser among those of TESTS?
wants_browser() {
	local file name
	[[ " ${suites[*]} " == *" clients "* ]] || return 1
	# shellcheck disable=SC2013
	for file in $(grep -l browser.js "$PM_ROOT"/console/test/*.test.js 2>/dev/null); do
		name=${file##*/}
		! wanted "console_${name%.test.js}" || return 0
	done
	return 1
}
if wants_browser && ! command -v chromium >/dev/null; then pm_try_package chromium; fi

# Prints /dev/shm if it may be used and has plenty of memory. Test servers create and remove so many small files that a disk
# costs a fifth of the time, even without fsync.
memory_directory() {
	local need=$((8 * 1024 * 1024)) free available
	free=$(df -Pk -t tmpfs /dev/shm 2>/dev/null | awk 'NR == 2 { print $4 }') || true
	available=$(awk '$1 == "MemAvailable:" { print $2 }' /proc/meminfo 2>/dev/null) || true
	if [ "${free:-0}" -gt "$need" ] && [ "${available:-0}" -gt "$need" ] && [ -w /dev/shm ] &&
		! findmnt -no OPTIONS /dev/shm 2>/dev/null | grep -qw noexec; then
		pm_say /dev/shm
	fi
}
[ -n "${PM_TMPDIR:-}" ] || PM_TMPDIR=$(memory_directory)
pm_workdir check
pm_copy_tree "$PM_WORK/src"
pm_copy_data "$PM_WORK/data"
[[ " ${suites[*]} " != *" clients "* ]] || pm_npm_packages "$PM_WORK/src"
# 241_stores follows the stores that are peers in the benchmark. It is skipped where they cannot be installed.
if [[ " ${suites[*]} " == *" tap "* ]] && wanted 241_stores; then
	# npm brings hundreds of packages: not for all tests on another major version.
	[ -z "${TESTS:-}" ] || PATH=$PM_PATH command -v npm >/dev/null || pm_try_package npm
	pm_npm_packages "$PM_WORK/src" bench/peers/npm/{emmett,graphile,message_db}
fi

# The results stay in the tree if it is writable. They are opened here, because the unprivileged user may have no access.
results=$PM_ROOT/test/results
export PM_RESULTS=${PM_RESULTS:-test/results}
if ! mkdir -p "$results" 2>/dev/null || [ ! -w "$results" ]; then
	results=$(mktemp -d "${PM_TMPDIR:-/tmp}/pm-results.XXXXXX")
	PM_RESULTS=$results
fi
pm_as_user_group bash "$PM_WORK/src/test/harness/suites.sh" "${suites[@]}" \
	7>"$results/summary.txt" 8>"$results/failures.txt" 9>"$results/figures.txt"
