#!/usr/bin/env bash
# release-check.sh [STEP...]: everything that must be true before a version is released, in these steps
# (default: all of them, which takes some hours):
#
#   versions   the version, its date and the addresses agree in all files; nothing is uncommitted
#   frozen     the released install script is there, and is the one that is built
#   lint       the project's rules (the length of README.md is one), clang-tidy and cppcheck
#   check      all suites
#   upgrade    the tests of upgrades alone: of the extension, and pg_upgrade
#   pg-upgrade the chain of pg_upgrade from 15 to 19
#   ha         failover with Patroni
#   majors     all suites on the other major versions
#   assert     all suites on a server with assertions
#   valgrind   the regress suite under valgrind
#   deb        Debian packages: built, lintian, installed, tested and purged in clean roots
#   dist       PGXN's zip: META.json is valid, builds and passes its suite without the repository, pgxn install and check
#   rpm        the RPM builds
#   image      the files of an image volume, and a server that finds them anywhere (in majors, too)
#
# A step that fails does not stop the others. The last lines name each step with its result; the output of a step is in
# dist/release-check/STEP.log. The variables of the steps apply: PM_MAJORS_DIR, PM_ASSERT_DIR, PM_DEB_DIR.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../test/harness/setup.sh"
cd "$PM_ROOT"

all=(versions frozen lint check upgrade pg-upgrade ha majors assert valgrind deb dist rpm image)
steps=("$@")
[ ${#steps[@]} -gt 0 ] || steps=("${all[@]}")
for step in "${steps[@]}"; do
	[[ " ${all[*]} " == *" $step "* ]] || pm_die "there is no step $step; the steps are: ${all[*]}"
done
logs=dist/release-check
mkdir -p "$logs"

step_versions() {
	local changed
	perl packaging/versions.pl --release
	changed=$(git -c safe.directory='*' status --porcelain)
	[ -z "$changed" ] || pm_die "not committed: $changed"
}

step_frozen() {
	local version script
	version=$(sed -n "s/^default_version *= *'\(.*\)'/\1/p" pm.control)
	script=pm--$version.sql
	[ -f "src/sql/released/$script" ] || pm_die "src/sql/released/$script is missing"
	pm_ensure_packages
	pm_workdir frozen
	pm_copy_tree "$PM_WORK/src"
	pm_as_user make -s -C "$PM_WORK/src" "$script"
	diff -u "src/sql/released/$script" "$PM_WORK/src/$script"
	pm_say "src/sql/released/$script is what is built"
}

step_lint() { make lint; }
step_check() { make check; }
step_upgrade() {
	make check-tap TESTS='21[0-9]_*'
	make check-pg-upgrade
}
step_pg-upgrade() { make check-pg-upgrade; }
step_ha() { make check-ha; }
step_majors() { make check-majors; }
step_assert() { make check-assert; }
step_valgrind() { make check-valgrind; }
step_deb() { make deb; }
step_dist() { make dist-check; }
step_rpm() { make rpm; }

step_image() {
	make image
	PM_SUITES=tap make check-majors MAJORS='18 19' TESTS=220_image
}

results=()
failed=0
for step in "${steps[@]}"; do
	began=$SECONDS
	pm_say "$step: $logs/$step.log"
	# If this were a condition, it would continue after an error.
	set +e
	(
		set -e
		"step_$step"
	) >"$logs/$step.log" 2>&1 </dev/null
	status=$?
	set -e
	result=ok
	if [ "$status" -ne 0 ]; then
		result=FAILED
		failed=$((failed + 1))
		tail -n 20 "$logs/$step.log" | sed 's/^/    /'
	fi
	said=$(grep -vE '^ *$' "$logs/$step.log" | tail -n 1 | cut -c 1-100 || true)
	results+=("$(printf '%-10s %-7s %6d s  %s' "$step" "$result" $((SECONDS - began)) "$said")")
	pm_say "  ${results[-1]}"
done
pm_say
printf '%s\n' "${results[@]}"
pm_say "release-check: $((${#steps[@]} - failed)) passed, $failed failed"
[ "$failed" -eq 0 ]
