# shellcheck shell=bash
# What `make check`, `make dev` and `make demo` have in common: packages, an unprivileged
# user, a private copy of the tree, the build, and the settings with which a server loads
# pm from there. Nothing is put into system folders except Debian packages.
#
# To be sourced by bash under `set -euo pipefail`. Defines functions only, in order of use:
#
#   pm_ensure_packages [PACKAGE...]  installs server, headers, compiler and the named packages
#                                    if they are missing (@MAJOR@ in a name is the server's
#                                    major version), then calls pm_locate_postgres
#   pm_locate_postgres               sets PG_CONFIG (exported), PM_BINDIR, PM_PKGLIBDIR,
#                                    PM_SHAREDIR, PM_MAJOR, PM_PGXS (its src/ directory)
#   pm_unprivileged_user             prints the user that runs servers: the caller, or postgres for root
#   pm_workdir NAME                  makes PM_WORK, a temporary directory (mode 700, with
#                                    home/ and tmp/) of that user; pm_cleanup runs at exit
#   pm_as_user COMMAND ARG...        runs the command as that user, in the current directory
#                                    if that user may enter it (else in PM_WORK). The
#                                    environment is clean: PATH (PM_BINDIR first), HOME, TMPDIR,
#                                    LANG, TERM and every exported PM_*, PG_TEST_*, PG_CONFIG,
#                                    KEEP, TESTS, EVENTS
#   pm_as_user_group COMMAND ARG...  the same in a process group of its own, for the long main
#                                    part of a run; pm_cleanup ends the group
#   pm_tar_tree                      writes the checkout as a tar file: tracked and untracked files,
#                                    not the ignored ones
#   pm_copy_tree DIR                 copies the checkout to DIR, for that user
#   pm_copy_data DIR                 copies the event logs of PM_TEST_DATA (else ../shared/data,
#                                    where there is one) to DIR, where the unprivileged user can
#                                    read them, and exports PM_TEST_DATA
#   pm_build DIR STRICT DEST         builds DIR (STRICT 1: assertions, warnings are errors; 0:
#                                    as a user would), then each examples/*/ with a Makefile,
#                                    and installs under DEST; PM_COPT: more flags for the compiler
#   pm_npm_packages DIR [PART...]    installs what the lock files in a copy of the tree name, or those in some parts of it
#   pm_try_package PACKAGE           installs a package, if that is possible; otherwise says that it is not there
#   pm_server_conf DEST [LIBRARIES]  prints the postgresql.conf lines with which a server finds
#                                    what pm_build put under DEST, and those that every test
#                                    server needs; LIBRARIES: shared_preload_libraries (default
#                                    pm, '' for no line)
#   pm_stop_servers DIR              stops every server whose data directory is below DIR, in
#                                    immediate mode
#   pm_cleanup                       ends the group, stops the servers below PM_WORK and removes
#                                    PM_WORK; with KEEP=1 it keeps PM_WORK and prints its name.
#                                    With PM_LEAVE_RUNNING=1 it does nothing.
#
# A typical caller:
#   source test/harness/setup.sh
#   pm_ensure_packages
#   pm_workdir demo
#   pm_copy_tree "$PM_WORK/src"
#   pm_build "$PM_WORK/src" 0 "$PM_WORK/dest"
#   pm_as_user initdb -D "$PM_WORK/data" -U postgres -A trust
#   pm_server_conf "$PM_WORK/dest" | pm_as_user tee -a "$PM_WORK/data/postgresql.conf" >/dev/null
#   pm_as_user pg_ctl -D "$PM_WORK/data" -l "$PM_WORK/log" -w start

PM_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
PM_WORK=${PM_WORK:-}
PM_GROUP=
# The folders of programs, for the unprivileged user.
PM_PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin

pm_say() { printf '%s\n' "$*"; }
pm_die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# ---- packages ---------------------------------------------------------------

# The major version to use: PM_PG_MAJOR, else the newest installed server, else
# the distribution's default.
pm_major() {
	local m
	if [ -n "${PM_PG_MAJOR:-}" ]; then
		pm_say "$PM_PG_MAJOR"
		return
	fi
	m=$({ find /usr/lib/postgresql -path '*/bin/postgres' 2>/dev/null || true; } |
		sed 's,^/usr/lib/postgresql/\([0-9]*\)/.*,\1,' | sort -n | tail -1)
	if [ -z "$m" ]; then
		m=$({ apt-cache depends postgresql 2>/dev/null || true; } |
			sed -n 's/.*Depends: postgresql-\([0-9]\{1,\}\)$/\1/p' | sort -n | tail -1)
	fi
	if [ -z "$m" ]; then
		# No list of packages has been read yet.
		case $(sed -n 's/^VERSION_ID="\{0,1\}\([0-9]*\).*/\1/p' /etc/os-release 2>/dev/null) in
		13) m=17 ;;
		*) m=15 ;;
		esac
	fi
	pm_say "$m"
}

# Prints the installed version of a package, or nothing.
pm_package_version() {
	{ dpkg-query -W -f '${db:Status-Status} ${Version}\n' "$1" 2>/dev/null || true; } |
		sed -n 's/^installed //p'
}

pm_ensure_packages() {
	local major p missing=() want server headers
	want=(gcc libc6-dev make "$@")
	if [ -z "${PG_CONFIG:-}" ]; then
		command -v dpkg-query >/dev/null ||
			pm_die "this is not a Debian system: set PG_CONFIG to the pg_config of a PostgreSQL 15 or later"
		major=$(pm_major)
		want=("postgresql-$major" "postgresql-server-dev-$major" "${want[@]}")
	else
		# PG_CONFIG names a server that is not Debian's, so Debian's pgtap does not fit it.
		local kept=()
		for p in "${want[@]}"; do
			[[ $p == postgresql-* ]] || kept+=("$p")
		done
		want=("${kept[@]}")
	fi

	if command -v dpkg-query >/dev/null; then
		for p in "${want[@]}"; do
			p=${p//@MAJOR@/${major:-}}
			# majors.sh may have installed pgtap without its package.
			[[ $p != postgresql-*-pgtap || ! -e /usr/share/postgresql/$major/extension/pgtap.control ]] || continue
			[[ " ${missing[*]} " != *" $p "* ]] || continue
			[ -n "$(pm_package_version "$p")" ] || missing+=("$p")
		done
		if [ -n "${major:-}" ]; then
			# Headers of another minor release do not fit the server: install both, so
			# that they have the same version.
			server=$(pm_package_version "postgresql-$major")
			headers=$(pm_package_version "postgresql-server-dev-$major")
			if [ "$server" != "$headers" ]; then
				for p in "postgresql-$major" "postgresql-server-dev-$major"; do
					[[ " ${missing[*]} " == *" $p "* ]] || missing+=("$p")
				done
			fi
		fi
		[ ${#missing[@]} -eq 0 ] || pm_install_packages "${missing[@]}"
	fi
	pm_locate_postgres
}

# Tells a user without the right to install packages what to do, and exits.
pm_cannot_install() {
	{
		pm_say "error: $1. These Debian packages are missing:"
		pm_say "  ${*:2}"
		pm_say "Install them as root, then run make again; nothing else needs root:"
		pm_say "  apt-get update && apt-get install --no-install-recommends ${*:2}"
	} >&2
	exit 1
}

# Reads apt's progress and the lines "say: ..." of the script below. Prints these lines, and apt's progress at each new
# step and every ten seconds.
pm_apt_progress() {
	local line kind percent text step last='' said=0
	while IFS= read -r line; do
		IFS=: read -r kind _ percent text <<<"$line"
		case $kind in
		say) pm_say "  ${line#say: }" ; continue ;;
		dlstatus) step=downloading ;;
		pmstatus) step=installing ;;
		*) continue ;;
		esac
		if [ "$step" != "$last" ] || [ $((SECONDS - said)) -ge 10 ]; then
			pm_say "  $step: ${percent%.*} % (${text})"
			last=$step said=$SECONDS
		fi
	done
}

# Installs packages with one call of apt. It creates no default cluster, starts no
# server where none runs, and leaves the configuration of the machine as it was.
pm_install_packages() {
	local script
	script=$(cat <<'ROOT'
set -eu
conf=/etc/postgresql-common/createcluster.conf
template=/usr/share/postgresql-common/createcluster.conf
policy=/usr/sbin/policy-rc.d
saved=$(mktemp)
had_conf=0 made_policy=0
restore() {
	if [ $had_conf = 1 ]; then cat "$saved" > $conf
	elif [ -f $template ]; then cp $template $conf; rm -f $conf.ucf-dist
	else rm -f $conf
	fi
	if [ $made_policy = 1 ]; then rm -f $policy; fi
	rm -f "$saved"
}
trap restore EXIT
trap 'exit 130' INT TERM
if [ -f $conf ]; then had_conf=1; cat $conf > "$saved"; fi
mkdir -p /etc/postgresql-common
echo 'create_main_cluster = false' >> $conf
if [ ! -e $policy ] && ! ls /run/postgresql/*.pid >/dev/null 2>&1; then
	made_policy=1
	printf '#!/bin/sh\nexit 101\n' > $policy
	chmod 755 $policy
fi
export DEBIAN_FRONTEND=noninteractive UCF_FORCE_CONFFOLD=1 NEEDRESTART_SUSPEND=1 LC_ALL=C.UTF-8
apt="apt-get -q -o DPkg::Lock::Timeout=300"
# An earlier run may have been interrupted in the middle of dpkg.
dpkg --configure -a >&2
echo "say: reading the lists of packages"
$apt update >&2 || echo "say: apt-get update failed; using the existing lists"
# What apt is going to do: "0 upgraded, 63 newly installed, ..." and "Need to get 99.9 MB of archives."
plan=$($apt --assume-no --no-install-recommends install "$@" 2>&1 || true)
echo "say: with what they need: $(printf '%s\n' "$plan" | sed -n 's/^.* \([0-9]*\) newly installed.*/\1 packages/p; s/^Need to get \(.*B\)[ /].*/\1 to download/p; s/^After this operation, \(.*\) of additional.*/\1 on disk/p' | sed ':a;N;$!ba;s/\n/, /g')"
$apt -y -o APT::Status-Fd=3 --no-install-recommends install "$@" 3>&1 >&2
ROOT
)
	local log sudo=() began=$SECONDS
	if [ "$(id -u)" -ne 0 ]; then
		command -v sudo >/dev/null || pm_cannot_install "you are not root, and there is no sudo" "$@"
		# On a terminal, sudo can ask for a password.
		sudo -n true 2>/dev/null || [ -t 0 ] || pm_cannot_install "you are not root, and sudo wants a password" "$@"
		sudo=(sudo)
	fi
	pm_say "installing $# Debian packages that are missing; this takes one to three minutes:"
	pm_say "$*" | fold -s -w 96 | sed 's/^/  /; s/ *$//'
	log=$(mktemp)
	trap 'rm -f "$log"' EXIT
	if ! "${sudo[@]}" bash -c "$script" pm-install "$@" 2>"$log" | pm_apt_progress; then
		# Prints apt's error messages, or the end of its output if there are none.
		grep -E '^(E|Err|dpkg: error|sudo)[: ]' "$log" | tail -n 20 >&2 || tail -n 20 "$log" >&2
		pm_cannot_install "the installation failed, see above" "$@"
	fi
	rm -f "$log"
	trap - EXIT
	pm_say "  installed in $((SECONDS - began)) s"
}

# For a package without which some tests are skipped.
pm_try_package() {
	[ -z "$(pm_package_version "$1")" ] || return 0
	if ! command -v dpkg-query >/dev/null; then
		pm_say "$1 is not installed, and this is not a Debian system"
	elif [ "$(id -u)" -ne 0 ] && ! sudo -n true 2>/dev/null; then
		pm_say "$1 is not installed, and installing it needs root"
	else
		# In a subshell, because a failure exits.
		(pm_install_packages "$1") || pm_say "$1 could not be installed; tests that need it are skipped"
	fi
}

pm_locate_postgres() {
	if [ -z "${PG_CONFIG:-}" ]; then
		PG_CONFIG=/usr/lib/postgresql/$(pm_major)/bin/pg_config
	fi
	PG_CONFIG=$(command -v "$PG_CONFIG") || pm_die "no such pg_config: $PG_CONFIG"
	export PG_CONFIG
	PM_BINDIR=$("$PG_CONFIG" --bindir)
	PM_PKGLIBDIR=$("$PG_CONFIG" --pkglibdir)
	PM_SHAREDIR=$("$PG_CONFIG" --sharedir)
	PM_PGXS=$(dirname "$(dirname "$("$PG_CONFIG" --pgxs)")")
	PM_MAJOR=$("$PG_CONFIG" --version | sed 's/^[^0-9]*\([0-9]*\).*/\1/')
	[ -x "$PM_BINDIR/postgres" ] || pm_die "no server in $PM_BINDIR"
}

# ---- the unprivileged user --------------------------------------------------

pm_unprivileged_user() {
	if [ "$(id -u)" -ne 0 ]; then
		id -un
	elif getent passwd postgres >/dev/null; then
		pm_say postgres
	else
		# Debian's packages create the user postgres. With another server it may not exist.
		getent passwd pm_test >/dev/null ||
			useradd --system --no-create-home --shell /usr/sbin/nologin pm_test >&2
		pm_say pm_test
	fi
}

pm_workdir() {
	PM_USER=$(pm_unprivileged_user)
	PM_WORK=$(mktemp -d "${PM_TMPDIR:-/tmp}/pm-$1.XXXXXX")
	export PM_WORK
	trap pm_cleanup EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
	mkdir "$PM_WORK/home" "$PM_WORK/tmp"
	if [ "$(id -u)" -eq 0 ]; then
		chown -R "$PM_USER:" "$PM_WORK"
	fi
}

# Sets PM_CMD to the given command as the unprivileged user.
pm_user_command() {
	local v vars=()
	for v in $(compgen -e); do
		case $v in
		PM_* | PG_TEST_* | PG_CONFIG | KEEP | TESTS | EVENTS | TERM) vars+=("$v=${!v}") ;;
		esac
	done
	PM_CMD=()
	if [ "$(id -u)" -eq 0 ]; then
		PM_USER=${PM_USER:-$(pm_unprivileged_user)}
		PM_CMD=(setpriv "--reuid=$PM_USER" "--regid=$(id -g "$PM_USER")" --init-groups)
	fi
	PM_CMD+=(env -i --default-signal=INT --default-signal=QUIT
		"PATH=${PM_BINDIR:+$PM_BINDIR:}$PM_PATH"
		"HOME=${PM_WORK:-/tmp}${PM_WORK:+/home}" "TMPDIR=${PM_WORK:-/tmp}${PM_WORK:+/tmp}"
		LANG=C.UTF-8 "${vars[@]}" "$@")
}

pm_as_user() {
	local PM_CMD
	pm_user_command "$@"
	(
		if [ "$(id -u)" -eq 0 ] &&
			! setpriv "--reuid=$PM_USER" "--regid=$(id -g "$PM_USER")" --init-groups \
				test -x . 2>/dev/null; then
			cd "${PM_WORK:-/}" || exit
		fi
		exec "${PM_CMD[@]}"
	)
}

pm_as_user_group() {
	local PM_CMD rc=0
	pm_user_command "$@"
	(
		cd "${PM_WORK:-/}" || exit
		exec setsid "${PM_CMD[@]}"
	) &
	PM_GROUP=$!
	wait "$PM_GROUP" || rc=$?
	PM_GROUP=
	return "$rc"
}

# ---- copy, build, settings --------------------------------------------------

# Writes the checkout to standard output as a tar file.
pm_tar_tree() {
	(
		cd "$PM_ROOT" || exit
		if [ -e .git ] && command -v git >/dev/null; then
			# Listed but deleted files are left out. The checkout may belong to another
			# user: git only lists its files here.
			git -c safe.directory='*' ls-files -z --cached --others --exclude-standard |
				while IFS= read -r -d '' f; do
					if [ -e "$f" ] || [ -L "$f" ]; then printf '%s\0' "$f"; fi
				done | sort -zu | tar -c --null --no-recursion -T - -f -
		else
			tar -c --exclude=./.git --exclude='*.o' --exclude='*.so' --exclude='*.bc' -f - .
		fi
	)
}

pm_copy_tree() {
	pm_as_user mkdir -p "$1"
	pm_tar_tree | pm_as_user tar -x -C "$1" --no-same-owner -f -
}

pm_copy_data() {
	local data=${PM_TEST_DATA:-$PM_ROOT/../shared/data}
	if [ ! -d "$data" ]; then
		[ -z "${PM_TEST_DATA:-}" ] || pm_die "PM_TEST_DATA=$PM_TEST_DATA: there is no such directory"
		return 0
	fi
	pm_as_user mkdir -p "$1"
	tar -c -C "$data" -f - . | pm_as_user tar -x -C "$1" --no-same-owner -f -
	pm_as_user chmod -R u+w "$1"
	export PM_TEST_DATA=$1
}

# Installs, below each package-lock.json of a copy of the tree, the npm packages that it names. A lock file names no host:
# they come from the registry of the calling user's npm, or from its cache. Where that fails, .npm-failed says why, and
# the tests there fail.
pm_npm_packages() {
	local lock dir root=$1 parts=("${@:2}")
	[ "${#parts[@]}" -gt 0 ] || parts=(clients console examples)
	# Some of them may not exist.
	{ find "${parts[@]/#/$root/}" -name node_modules -prune -o -name package-lock.json -print 2>/dev/null || true; } |
		LC_ALL=C sort | while IFS= read -r lock; do
		dir=$(dirname "$lock")
		if ! (cd "$dir" && npm ci --ignore-scripts --prefer-offline --no-audit --no-fund) \
			>"$dir/.npm-output" 2>&1 </dev/null; then
			{
				pm_say "npm ci failed in ${dir#"$root"/}: this needs an npm registry, or what it has in npm's cache. It says:"
				grep -v 'A complete log of this run' "$dir/.npm-output" | tail -n 15
			} >"$dir/.npm-failed"
		fi
		[ "$(id -u)" -ne 0 ] || chown -R "$PM_USER:" "$dir"
	done
}

# Prints what DESTDIR must be: DEST, or nothing if this server can load extensions
# only from its own folders, as one that is built from the original source.
pm_destdir() {
	if [ "$PM_MAJOR" -ge 18 ] || grep -qa extension_destdir "$PM_BINDIR/postgres"; then
		pm_say "$1"
	elif pm_as_user test -w "$PM_PKGLIBDIR" -a -w "$PM_SHAREDIR/extension"; then
		pm_say ''
	else
		pm_die "this server has no extension_destdir and its folders are not writable for $PM_USER"
	fi
}

# Reads the output of make, and prints every ten seconds how many files are compiled.
pm_build_progress() {
	local line n=0 said=$SECONDS files
	files=$(find "$1/src" -name '*.c' | wc -l)
	while IFS= read -r line; do
		[[ $line != *" -c -o "* ]] || n=$((n + 1))
		if [ $((SECONDS - said)) -ge 10 ]; then
			pm_say "             compiled $n of $files files"
			said=$SECONDS
		fi
	done
}

pm_build() {
	local dir=$1 strict=$2 dest args log example
	dest=$(pm_destdir "$3") || return 1
	args=("PG_CONFIG=$PG_CONFIG" "PM_STRICT=$strict")
	# Bitcode is only needed for inlining by JIT, and takes as long as all the rest.
	args+=(with_llvm=no)
	[ -z "${PM_COPT:-}" ] || args+=("COPT=$PM_COPT")
	log=${PM_WORK:-${TMPDIR:-/tmp}}/build.log
	if ! {
		pm_as_user make -C "$dir" -j"$(nproc)" "${args[@]}" all &&
			pm_as_user make -C "$dir" "${args[@]}" "DESTDIR=$dest" install &&
			for example in "$dir"/examples/*/Makefile; do
				[ -e "$example" ] || continue
				pm_as_user make -C "$(dirname "$example")" "${args[@]}" all &&
					pm_as_user make -C "$(dirname "$example")" "${args[@]}" "DESTDIR=$dest" install ||
					exit 1
			done
	} 2>&1 | pm_as_user tee "$log" | pm_build_progress "$dir"; then
		if ! grep -E -A4 '(error|warning): ' "$log" | head -n 80 >&2; then
			tail -n 30 "$log" >&2
		fi
		pm_say "the build failed" >&2
		return 1
	fi
}

pm_server_conf() {
	local dest=$1 libraries=${2-pm}
	if grep -qa extension_destdir "$PM_BINDIR/postgres"; then
		pm_say "extension_destdir = '$dest'"
		pm_say "dynamic_library_path = '$dest$PM_PKGLIBDIR:\$libdir'"
	elif [ "$PM_MAJOR" -ge 18 ]; then
		pm_say "extension_control_path = '$dest$PM_SHAREDIR:\$system'"
		pm_say "dynamic_library_path = '$dest$PM_PKGLIBDIR:\$libdir'"
	fi
	[ -z "$libraries" ] || pm_say "shared_preload_libraries = '$libraries'"
	pm_say "max_prepared_transactions = 20"
	pm_say "max_worker_processes = 32"
}

# ---- the end ----------------------------------------------------------------

pm_stop_servers() {
	local pidfile pid data
	find "$1" -name postmaster.pid 2>/dev/null | while IFS= read -r pidfile; do
		data=$(dirname "$pidfile")
		pid=$(head -n 1 "$pidfile" 2>/dev/null) || continue
		[ -d "/proc/$pid" ] || continue
		[ "$(readlink "/proc/$pid/cwd")" = "$data" ] || continue
		pm_as_user pg_ctl -D "$data" -m immediate -t 20 -s stop </dev/null >/dev/null 2>&1 ||
			kill -KILL "$pid" 2>/dev/null || true
	done
}

# Kills the server processes whose working directory is below this one.
pm_kill_servers() {
	local process
	for process in /proc/[0-9]*; do
		[[ $(readlink "$process/cwd" 2>/dev/null) == "$1"/* ]] || continue
		[ "$(cat "$process/comm" 2>/dev/null)" != postgres ] || kill -KILL "${process#/proc/}" 2>/dev/null || true
	done
}

pm_cleanup() {
	local rc=$?
	trap - EXIT
	trap '' INT TERM HUP
	[ -z "${PM_LEAVE_RUNNING:-}" ] || exit "$rc"
	case $rc in 130 | 143) printf '\ninterrupted: stopping the servers\n' >&2 ;; esac
	if [ -n "$PM_GROUP" ] && kill -TERM -- "-$PM_GROUP" 2>/dev/null; then
		for _ in 1 2 3 4 5; do
			kill -0 -- "-$PM_GROUP" 2>/dev/null || break
			sleep 0.3
		done
		kill -KILL -- "-$PM_GROUP" 2>/dev/null || true
	fi
	if [ -n "$PM_WORK" ] && [ -d "$PM_WORK" ]; then
		pm_stop_servers "$PM_WORK"
		if [ -n "${KEEP:-}" ] && [ "${KEEP:-}" != 0 ]; then
			pm_say "kept: $PM_WORK"
		else
			# A server that was starting or stopping may have no postmaster.pid.
			for _ in 1 2 3 4 5 6 7 8 9 10; do
				pm_kill_servers "$PM_WORK"
				! rm -rf "$PM_WORK" 2>/dev/null || break
				sleep 0.3
			done
			[ ! -e "$PM_WORK" ] || pm_say "could not remove $PM_WORK" >&2
		fi
	fi
	exit "$rc"
}
