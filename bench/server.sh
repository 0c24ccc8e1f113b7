# shellcheck shell=bash
# server.sh: the private server of a run. Every setting that is not the default is in this file, and
# in the output.

# In addition to the settings of setup.sh for every server that loads pm.
server_settings() {
	cat <<-CONF
	listen_addresses = ''
	unix_socket_directories = '$BENCH_WORK/socket'
	shared_buffers = $1
	max_connections = 100
	max_wal_size = 8GB
	checkpoint_timeout = 1h
	autovacuum = off
	track_commit_timestamp = on
	track_io_timing = off
	jit = off
	max_locks_per_transaction = 512
	log_min_messages = warning
	CONF
}

server_start() {
	local buffers=1GB
	quick && buffers=256MB
	mkdir -p "$BENCH_WORK/socket"
	initdb -D "$BENCH_WORK/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 >"$BENCH_WORK/initdb.log"
	{ cat "$BENCH_WORK/server.conf"; server_settings "$buffers"; } >>"$BENCH_WORK/data/postgresql.conf"
	pg_ctl -D "$BENCH_WORK/data" -l "$BENCH_WORK/server.log" -w -s start || die "the server does not start"
	# Handlers belong to an ordinary role.
	psql_do postgres -c 'CREATE ROLE bench LOGIN' -c 'GRANT pg_read_server_files TO bench'
}

server_stop() {
	pg_ctl -D "$BENCH_WORK/data" -m fast -s -w stop || true
}

# The hardware and software that were measured.
server_describe() {
	printf 'pm %s, %s\n' "${PM_BENCH_COMMIT:-}" "$(psql -XAtq -d postgres -c 'SHOW server_version' | sed 's/^/PostgreSQL /')"
	printf '%s, %s processors, %s, load before %s, at the end %s\n' "$(uname -sr | cut -d. -f1,2)" "$(nproc)" \
		"$(sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo | awk '{printf "%.1f GB", $1 / 1048576}')" \
		"${PM_BENCH_LOAD:-}" "$(cut -d' ' -f1-3 /proc/loadavg)"
	printf 'a write and fsync of 8 kB: %s\n' "$(pg_test_fsync -s 1 -f "$BENCH_WORK/fsync" 2>/dev/null |
		awk '/^ *fdatasync/ { print $(NF-1), "us"; exit }')"
	printf '%s rounds, interleaved; QUICK=%s; %s\n' "$ROUNDS" "${PM_BENCH_QUICK:-0}" "$(date -u +%F)"
	psql -XAtq -d postgres -c "
		SELECT 'settings: ' || string_agg(format('%s = %s', name, current_setting(name)), ', ' ORDER BY name)
		FROM pg_settings
		WHERE (source = 'configuration file' AND name !~ 'DateStyle|director|path|extension_|^lc_|log_|TimeZone|dynamic_|text_search|listen')
		   OR name LIKE 'pm.%' OR name IN ('fsync', 'synchronous_commit', 'wal_level', 'full_page_writes')"
}
