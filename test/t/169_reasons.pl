# Rare reasons in pm.status: each situation is created, and the hint is followed.
use strict;
use warnings FATAL => 'all';

use PmTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

my $library = PmTest::build_library('deaf', <<'C');
#include "postgres.h"
#include "fmgr.h"
PG_MODULE_MAGIC;
PG_FUNCTION_INFO_V1(deaf);
Datum
deaf(PG_FUNCTION_ARGS)
{
	/* It is ended by SIGQUIT alone. */
	for (int i = 0; i < 6000; i++)
		pg_usleep(10000L);
	PG_RETURN_VOID();
}
C

my $node = PmTest::node('reasons', conf => <<'CONF');
max_connections = 40
max_worker_processes = 30
pm.max_workers = 16
CONF

sub answer { my ($sql, $user) = @_; return $node->safe_psql('postgres', $sql, extra_params => $user ? [ '-U', $user ] : []); }

sub wait_for
{
	my ($sql, $expected, $name, %opt) = @_;
	return ok(PmTest::wait_until($node, $sql, $expected, %opt), $name)
	  || diag(answer('SELECT * FROM pm.status') . "\n" . answer('SELECT * FROM pm.worker') . "\n" . answer('SELECT * FROM pm.blocker'));
}

sub status { my ($name, $columns, $user) = @_; return answer("SELECT $columns FROM pm.status WHERE process_manager = '$name'", $user); }
sub wait_idle { my ($name) = @_; return wait_for("SELECT state || lag || coalesce(reason, '') FROM pm.status WHERE process_manager = '$name'", 'idle0', "$name continues"); }

sub role { my ($name) = @_; answer("CREATE ROLE r_$name LOGIN; GRANT USAGE ON SCHEMA pm TO r_$name; GRANT CREATE ON SCHEMA public TO r_$name"); return; }

sub make
{
	my ($name, $body, %opt) = @_;
	role($name);
	answer("CREATE FUNCTION $name(@{[ $opt{argument} // 'e pm.event' ]}) RETURNS void LANGUAGE plpgsql AS \$\$ BEGIN $body END \$\$;
		SELECT pm.create_log('log_$name'); SELECT pm.register('$name', '$name', '{log_$name}'" . ($opt{settings} ? ", $opt{settings}" : '') . ')', "r_$name");
	return;
}

sub replace
{
	my ($name, $body, %opt) = @_;
	answer("CREATE OR REPLACE FUNCTION $name(@{[ $opt{argument} // 'e pm.event' ]}) RETURNS void LANGUAGE plpgsql AS \$\$ BEGIN $body END \$\$", "r_$name");
	return;
}

# ---- before a dispatcher has noticed

make('reads', '');
wait_idle('reads');
answer('ALTER TABLE log_reads OWNER TO postgres');
# The dispatcher may already have noticed, because the table has changed.
like(status('reads', 'state, reason', 'r_reads'), qr/^waiting\|(?:its owner, role "r_reads", may not read the log|role "r_reads" may not read log "log_reads")$/, 'a right is missing, and there is no event yet: the owner is told');
answer('GRANT SELECT ON log_reads TO r_reads; GRANT USAGE ON SCHEMA public TO r_reads');
ok(PmTest::wait_until($node, "SELECT state FROM pm.status WHERE process_manager = 'reads'", 'idle'), 'following the hint helps');

# ---- server errors

make('trouble', "RAISE 'no room' USING ERRCODE = '53100';");
answer("INSERT INTO log_trouble (stream, type) VALUES ('a', 'A')");
wait_for("SELECT state, reason FROM pm.status WHERE process_manager = 'trouble'", 'waiting|the server ran out of a resource in the handler (SQLSTATE 53100): no room', 'a server error');
is(status('trouble', 'state, reason', 'postgres'), 'waiting|the server ran out of a resource in the handler (SQLSTATE 53100): no room', 'the owner sees its text');
answer('CREATE ROLE watcher LOGIN IN ROLE pg_monitor; GRANT USAGE ON SCHEMA pm TO watcher');
is(status('trouble', 'reason', 'watcher'), 'the server ran out of a resource in the handler (SQLSTATE 53100)', 'others do not');
replace('trouble', '');
wait_idle('trouble');

# ---- an array of events whose dispatcher dies

make('arrays', 'PERFORM pg_sleep(60);', argument => 'e pm.event[]');
answer("INSERT INTO log_arrays (stream, type) VALUES ('a', 'A'), ('a', 'B'), ('a', 'C')");
wait_for("SELECT position FROM pm.worker WHERE process_manager = 'arrays' AND state = 'handling'", 3, 'an array is being handled');
answer("SELECT pg_terminate_backend(pid) FROM pm.worker WHERE process_manager = 'arrays'");
ok(PmTest::wait_until($node, "SELECT state || (reason ~ '^the handler failed for several events up to position 3 of log \"log_arrays\".*; it is being tried again: the handler has been running for [0-9]+ s in process [0-9]+ .*; it handles the event at position 1 of') FROM pm.status WHERE process_manager = 'arrays'", 'retryingtrue'), 'several events have failed: the first one is tried alone')
  or diag(status('arrays', '*'));
replace('arrays', '', argument => 'e pm.event[]');
answer("SELECT pg_cancel_backend(pid) FROM pm.worker WHERE process_manager = 'arrays'");
wait_for("SELECT lag FROM pm.status WHERE process_manager = 'arrays'", 0, 'then they are handled');

# ---- an event is about to be parked, and its key is computed again

role('keys');
answer(<<'SQL', 'r_keys');
CREATE FUNCTION keys(e pm.event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;
CREATE TABLE slow ();
GRANT ALL ON slow TO PUBLIC;
CREATE FUNCTION key_of(e pm.event) RETURNS text LANGUAGE plpgsql AS $$ BEGIN IF EXISTS (SELECT FROM pm.status WHERE process_manager = 'keys' AND state = 'retrying') THEN LOCK TABLE slow; END IF; RETURN e.stream; END $$;
SELECT pm.create_log('log_keys');
SELECT pm.register('keys', 'keys', '{log_keys}', 'key_of', backoff => '1 hour');
SQL
my $gate = PmTest::session($node);
$gate->do('BEGIN; LOCK TABLE slow IN ACCESS SHARE MODE');
answer("INSERT INTO log_keys (stream, type) VALUES ('a', 'A')");
ok(PmTest::wait_until($node, "SELECT state || (reason ~ '^the handler failed at position 1 of log \"log_keys\": no; it is being tried again: the handler has waited for a lock') FROM pm.status WHERE process_manager = 'keys'", 'retryingtrue'), 'about to be parked, it waits for a lock')
  or diag(status('keys', '*'));
answer(answer("SELECT hint FROM pm.blocker WHERE process_manager = 'keys' AND hint ~ 'pg_terminate'"));
$gate->quit;
wait_for("SELECT state, reason, parked, dead FROM pm.status WHERE process_manager = 'keys'", 'idle|1 event is parked|1|0', 'then it is parked');

# ---- a dispatcher that waits before it calls a handler

make('waits', '');
answer("INSERT INTO log_waits (stream, type) VALUES ('a', 'A')");
wait_idle('waits');
my $locker = PmTest::session($node);
$locker->do('BEGIN; LOCK TABLE pm_catalog.parked IN ACCESS EXCLUSIVE MODE');
answer("INSERT INTO log_waits (stream, type) VALUES ('a', 'A')");
ok(PmTest::wait_until($node, "SELECT state || wait_event_type FROM pm.worker WHERE role = 'r_waits'", 'readingLock'), 'a dispatcher waits for a lock before it reads');
$locker->do('COMMIT');
wait_idle('waits');

# ---- a dispatcher that cannot start

my $starts = PmTest::session($node);
make('starts', '');
answer("SELECT pm.pause('starts')");
wait_for("SELECT count(*) FROM pm.worker WHERE role = 'r_starts'", 0, 'there is no dispatcher');
answer("INSERT INTO log_starts (stream, type) VALUES ('a', 'A')");
my $resumes = PmTest::session($node);
$starts->do('BEGIN; LOCK TABLE pg_catalog.pg_db_role_setting IN ACCESS EXCLUSIVE MODE');
$resumes->do("SELECT pm.resume('starts')");
my $said = '';
for (1 .. 3600)
{
	$said = $starts->do("SELECT state, reason FROM pm.status WHERE process_manager = 'starts'");
	last if $said =~ /started/;
	sleep 0.05;
}
is($said, 'waiting|its dispatcher is being started', 'a dispatcher is being started');
$starts->do('COMMIT');
wait_idle('starts');

# ---- library and extension

my ($version, $oldest) = map { slurp_file("$ENV{PM_TEST_ROOT}/src/pm.h") =~ /#define $_\s+"(.*)"/ } qw(PM_VERSION PM_OLDEST_SERVED);

answer("UPDATE pg_catalog.pg_extension SET extversion = '0.0.9' WHERE extname = 'pm'");
is(status('waits', 'state, reason, hint'), "waiting|no worker runs, because the extension has version 0.0.9, and version $version of the library serves extensions "
	  . "from version $oldest on|Run ALTER EXTENSION pm UPDATE in this database.", 'the extension is too old');
answer("UPDATE pg_catalog.pg_extension SET extversion = '99.0.0' WHERE extname = 'pm'");
is(status('waits', 'state, reason, hint'), "waiting|no worker runs, because the library of pm has version $version, which is older than version 99.0.0 of the extension|"
	  . 'Install version 99.0.0 of the library and restart the server.', 'the library is older than the extension');
answer("UPDATE pg_catalog.pg_extension SET extversion = '$version' WHERE extname = 'pm'; SELECT pm.pause('waits'); SELECT pm.resume('waits')");
wait_idle('waits');

# ---- a handler that ignores every attempt to end it: the hint helps

role('deaf');
answer("CREATE FUNCTION deaf(pm.event) RETURNS void LANGUAGE C AS '$library'; SELECT pm.create_log('log_deaf'); GRANT ALL ON log_deaf TO r_deaf;
	SELECT pm.register('deaf', 'deaf', '{log_deaf}', handler_timeout => '500 ms')");
answer("INSERT INTO log_deaf (stream, type) VALUES ('a', 'A')");
wait_for("SELECT state, reason FROM pm.status WHERE process_manager = 'deaf'", 'running|the handler does not return and ignores handler_timeout; it handles the event at position 1 of log "log_deaf"', 'a handler that cannot be stopped');
like(status('deaf', 'hint'), qr/pg_ctl restart -m immediate/, 'there is a hint');
answer('CREATE OR REPLACE FUNCTION deaf(pm.event) RETURNS void LANGUAGE sql AS $$ SELECT $$');
$node->stop('immediate');
$node->start;
wait_for("SELECT state || lag FROM pm.status WHERE process_manager = 'deaf'", 'idle0', 'with a new handler and an immediate restart of the server, it continues');

PmTest::no_crash_ok($node);
$node->stop('immediate');
done_testing();
