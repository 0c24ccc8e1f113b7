#!/usr/bin/env bash
# check.sh SUITE...: the test suites (regress isolation tap pgtap) on private servers.
#
# Installs what is missing, copies the tree to a temporary directory and runs
# suites.sh there as an unprivileged user. The last line says "N passed, N failed"
# (test files); the exit status is 0 only if nothing failed.
#
#   TESTS="a b*"      only the tests of these names (shell patterns, no directory or suffix)
#   KEEP=1            leaves the temporary directory and says where
#   PG_CONFIG=...     another server than the installed package's
#   PM_PG_MAJOR=17    another major version of the packages
#   PM_TAP_JOBS=1     TAP tests at a time (default 2)
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

suites=("$@")
[ ${#suites[@]} -gt 0 ] || suites=(regress isolation tap pgtap)

packages=()
for suite in "${suites[@]}"; do
	case $suite in
	regress | isolation) ;;
	tap) packages+=(perl libipc-run-perl postgresql-@MAJOR@-pgtap) ;;
	pgtap) packages+=(postgresql-@MAJOR@-pgtap libtap-parser-sourcehandler-pgtap-perl) ;;
	*) pm_die "no suite is called $suite" ;;
	esac
done

pm_ensure_packages "${packages[@]}"
pm_workdir check
pm_copy_tree "$PM_WORK/src"
pm_copy_data "$PM_WORK/data"
pm_as_user_group bash "$PM_WORK/src/test/harness/suites.sh" "${suites[@]}"
