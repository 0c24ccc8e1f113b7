# Where no worker runs, pm.status says which kind has no place, and which kinds of workers have the places
# and how many. The hints are followed.
use strict;
use warnings FATAL => 'all';

use PmTest;
use Test::More;
use Time::HiRes qw(sleep time);

# Background workers of another extension.
my $library = PmTest::build_library('others', <<'C');
#include "postgres.h"
#include "fmgr.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/wait_event.h"
PG_MODULE_MAGIC;
PGDLLEXPORT void others_main(Datum arg);
void
others_main(Datum arg)
{
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection("postgres", NULL, 0);
	for (;;)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH, -1, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}
PG_FUNCTION_INFO_V1(take_worker);
Datum
take_worker(PG_FUNCTION_ARGS)
{
	BackgroundWorker worker;
	BackgroundWorkerHandle *handle;
	pid_t		pid;

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker.bgw_library_name, PG_GETARG_CSTRING(0), sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "others_main", BGW_MAXLEN);
	strlcpy(worker.bgw_name, "somebody else's", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "somebody else's", BGW_MAXLEN);
	worker.bgw_notify_pid = MyProcPid;
	if (!RegisterDynamicBackgroundWorker(&worker, &handle))
		PG_RETURN_BOOL(false);
	PG_RETURN_BOOL(WaitForBackgroundWorkerStartup(handle, &pid) == BGWH_STARTED);
}
C

my $node = PmTest::node('places', conf => <<'CONF');
max_connections = 40
max_worker_processes = 8
pm.max_workers = 1
CONF

sub answer { my ($sql, %opt) = @_; return $node->safe_psql($opt{dbname} // 'postgres', $sql, extra_params => $opt{user} ? [ '-U', $opt{user} ] : []); }

sub wait_for
{
	my ($sql, $expected, $name, %opt) = @_;
	return ok(PmTest::wait_until($node, $sql, $expected, %opt), $name)
	  || diag(answer('SELECT * FROM pm.status', %opt) . "\n" . answer('SELECT * FROM pm.worker', %opt));
}

sub wait_idle { my ($name, %opt) = @_; return wait_for("SELECT state || lag FROM pm.status WHERE process_manager = '$name'", 'idle0', "$name continues", %opt); }

# Creates a process manager with a role of its own.
sub make
{
	my ($name, $body, %opt) = @_;
	answer("DO \$\$ BEGIN CREATE ROLE r_$name LOGIN; EXCEPTION WHEN duplicate_object THEN END \$\$; GRANT USAGE ON SCHEMA pm TO r_$name; GRANT CREATE ON SCHEMA public TO r_$name", %opt);
	answer("CREATE FUNCTION $name(e pm.event) RETURNS void LANGUAGE plpgsql AS \$\$ BEGIN $body END \$\$;
		SELECT pm.create_log('log_$name'); SELECT pm.register('$name', '$name', '{log_$name}')", %opt, user => "r_$name");
	return;
}

# Takes all free worker processes. Returns how many.
sub take_all { return answer("SELECT count(*) FROM generate_series(1, 20) WHERE take_worker('$library')"); }

answer("CREATE FUNCTION take_worker(cstring) RETURNS boolean LANGUAGE C AS '$library'; CREATE ROLE stranger LOGIN; GRANT USAGE ON SCHEMA pm TO stranger");

# ---- pm.max_workers

make('hog', 'PERFORM pg_sleep(600);');
make('poor', '');
answer("INSERT INTO log_hog (stream, type) VALUES ('a', 'A')");
wait_for("SELECT process_manager FROM pm.worker WHERE state = 'handling'", 'hog', 'one role has the only place');
# Keeps the answer of the first moment, because the place is soon taken from the other role.
answer(<<'SQL');
CREATE TABLE said (reason text, hint text);
CREATE PROCEDURE listen(manager text, pattern text) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. 18000 LOOP
		INSERT INTO said SELECT reason, hint FROM pm.status WHERE process_manager = manager AND reason ~ pattern;
		EXIT WHEN FOUND;
		COMMIT;
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;
SQL
my $listener = PmTest::session($node);
$listener->send("CALL listen('poor', 'max_workers')");
answer("INSERT INTO log_poor (stream, type) VALUES ('a', 'A')");
$listener->wait;
is(answer('SELECT * FROM said'), 'no dispatcher runs for role "r_poor", because all places of pm.max_workers are taken (in this database: 1, in others: 0)|The role gets its turn. For more places, raise pm.max_workers, now 1, and restart the server.',
	'another role waits for a place: how many there are, and in which databases they are taken');
answer('ALTER SYSTEM SET pm.max_workers = 4');
$node->restart;
wait_idle('poor');
$node->safe_psql('postgres', "SELECT pg_cancel_backend(pid) FROM pm.worker WHERE process_manager = 'hog'; SELECT pm.unregister('hog')");

# ---- max_worker_processes: no process for a scheduler

# Idle workers would give up their places.
$node->safe_psql('postgres', $_) for 'CREATE DATABASE second', 'ALTER SYSTEM SET pm.launcher = off', 'SELECT pg_reload_conf()';
wait_for("SELECT count(*) FROM pg_stat_activity WHERE backend_type IN ('pm scheduler', 'pm dispatcher')", 0, 'no worker of pm runs');
my $taken = take_all();
cmp_ok($taken, '>', 0, "other workers take all free worker processes ($taken)");
answer('CREATE EXTENSION pm; GRANT USAGE ON SCHEMA pm TO stranger', dbname => 'second');
make('late', '', dbname => 'second');
answer("INSERT INTO log_late (stream, type) VALUES ('a', 'A')", dbname => 'second');
$node->safe_psql('postgres', $_) for 'ALTER SYSTEM RESET pm.launcher', 'SELECT pg_reload_conf()';
my $ours = "(SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'pm %')";
wait_for("SELECT state || ' ' || regexp_replace(reason, 'pm has .*', '') FROM pm.status", 'waiting no background worker process is free for a scheduler of this database; of 8, ', 'no process for a scheduler: that is said', dbname => 'second');
my ($pm, $others, $hint) = answer("SELECT reason || '|' || hint FROM pm.status", dbname => 'second', user => 'r_late') =~ /pm has (\d+) \(schedulers: \d+, dispatchers: \d+\) and others have (\d+)\|(.*)/;
is($pm + $others, 8, "the kinds of workers and their numbers (pm $pm, others $others)");
cmp_ok($others, '>=', $taken, "workers of others are not counted as pm's");
is($hint, 'It is tried again. Raise max_worker_processes, now 8, and restart the server.', 'there is a hint');
unlike(answer("SELECT reason FROM pm.status", dbname => 'second', user => 'r_late'), qr/poor|postgres/, 'it names no objects of others');
is(answer('SELECT count(*) FROM pm.status', dbname => 'second', user => 'stranger'), 0, 'another role sees nothing');
answer('ALTER SYSTEM SET max_worker_processes = 20');
$node->restart;
wait_idle('late', dbname => 'second');

# ---- no process for a dispatcher

take_all();
my $scheduler = answer("SELECT pid FROM pm.worker WHERE kind = 'scheduler' AND database = 'second'");
make('last', '', dbname => 'second');
answer("INSERT INTO log_last (stream, type) VALUES ('a', 'A')", dbname => 'second');
ok(PmTest::wait_until($node, "SELECT reason ~ 'process is free|^no (dispatcher|scheduler)' OR state || lag = 'idle0' FROM pm.status WHERE process_manager = 'last'", 't', dbname => 'second'), 'no process for a dispatcher, or another worker has given one up')
  or diag(answer('SELECT * FROM pm.status', dbname => 'second'));
note(answer("SELECT state, reason, hint FROM pm.status WHERE process_manager = 'last'", dbname => 'second'));
answer("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'somebody else''s'");
ok(PmTest::wait_until($node, "SELECT state || lag FROM pm.status WHERE process_manager = 'last'", 'idle0', dbname => 'second'), 'with free processes it continues');

# ---- a database that accepts no connections

my $inside = PmTest::session($node, dbname => 'second');
answer('ALTER DATABASE second ALLOW_CONNECTIONS false');
is($inside->do("SELECT DISTINCT state FROM pm.status"), 'idle', 'the running workers stay, and are not reported as missing') if $inside->do("SELECT count(*) > 0 FROM pm.worker WHERE database = 'second'") eq 't';
answer("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'second' AND backend_type LIKE 'pm %'");
my $said = '';
for (1 .. 3600)
{
	$said = $inside->do("SELECT DISTINCT state, reason, hint FROM pm.status");
	last if $said =~ /connections/;
	sleep 0.05;
}
is($said, 'waiting|no worker runs, because this database does not accept connections|Run ALTER DATABASE second ALLOW_CONNECTIONS true.', 'a database that accepts no connections');
$inside->do("INSERT INTO log_late (stream, type) VALUES ('a', 'A')");
answer(($said =~ /Run (.*)\.$/)[0]);
$inside->quit;
answer("SELECT pm.resume('late')", dbname => 'second');
ok(PmTest::wait_until($node, "SELECT state || lag FROM pm.status WHERE process_manager = 'late'", 'idle0', dbname => 'second'), 'it continues when it accepts them again')
  or diag(answer('SELECT * FROM pm.status', dbname => 'second'));

# ---- no launcher

answer('ALTER SYSTEM SET max_worker_processes = 0; ALTER SYSTEM SET max_parallel_workers = 0');
$node->restart;
answer("INSERT INTO log_poor (stream, type) VALUES ('a', 'A')");
is(answer("SELECT state, reason FROM pm.status WHERE process_manager = 'poor'"), 'waiting|no worker runs, because the launcher does not run', 'no place for the launcher');
like(answer("SELECT hint FROM pm.status WHERE process_manager = 'poor'"), qr/raise max_worker_processes, now 0, and restart the server/, 'there is a hint');
answer('ALTER SYSTEM SET max_worker_processes = 8');
$node->restart;
wait_idle('poor');

PmTest::no_crash_ok($node);
$node->stop('immediate');
done_testing();
