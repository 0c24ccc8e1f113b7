# P2, P3, P4, P7: handlers that misbehave, all at the same time. Each has the expected outcome, its other keys are handled
# once and in order, and no other role waits. A writer writes events all the time, and the process manager of another
# role that follows them is never late: from the commit of the event to the commit of its effect, the 95th
# percentile is below a second (measured with track_commit_timestamp). A process manager of the same role, which shares
# the dispatcher with all of them, waits for its turn and loses nothing; its lag is printed.
#
#   PM_SOAK=1               five rounds instead of one
use strict;
use warnings FATAL => 'all';

use PmTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $rounds = $ENV{PM_SOAK} ? 5 : 1;
my $node = PmTest::node('handlers', conf => <<'CONF');
pm.max_workers = 8
max_connections = 40
max_worker_processes = 20
track_commit_timestamp = on
max_prepared_transactions = 2
CONF

sub answer
{
	my ($sql, $role) = @_;
	return $node->safe_psql('postgres', $sql, extra_params => $role ? [ '-U', $role ] : []);
}

answer(<<'SQL');
CREATE ROLE app LOGIN;
CREATE ROLE second LOGIN;
CREATE ROLE third LOGIN;
CREATE ROLE neighbor LOGIN;
GRANT USAGE ON SCHEMA pm TO app, second, third, neighbor;
GRANT CREATE ON SCHEMA public TO app, second, third, neighbor;
ALTER DATABASE postgres OWNER TO app;
ALTER ROLE app CREATEDB;
SELECT pm.create_log('pulse');
GRANT SELECT ON pulse TO app, second, third, neighbor;
CREATE TABLE account (id int PRIMARY KEY, n int);
INSERT INTO account VALUES (1, 0), (2, 0);
GRANT SELECT, UPDATE ON account TO second, third;
SQL
PmTest::create_seen($node);

# ---- what the handlers do for a bad event, and the expected outcome

# The reason is what pm.parked shows: SQLSTATE and message.
my %case = (
	sleeps => [ "SET LOCAL statement_timeout = 0; PERFORM pg_sleep(1000000);", qr/^57014 .*did not return within handler_timeout \(\d+ ms\)$/m ],
	sleeps_session => [ "PERFORM set_config('statement_timeout', '0', false), set_config('lock_timeout', '0', false); PERFORM pg_sleep(1000000);", qr/^57014 .*did not return within handler_timeout/ ],
	catches => [ "SET LOCAL statement_timeout = 0; LOOP BEGIN PERFORM pg_sleep(1000000); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP;", qr/did not return within handler_timeout/ ],
	holds => [ "EXECUTE 'DECLARE held CURSOR WITH HOLD FOR SELECT pg_sleep(1000000)';", 'handled' ],
	defers => [ "INSERT INTO deferring VALUES (1);", qr/^57014 .*did not return within handler_timeout/ ],
	waits_for_lock => [ "PERFORM pg_advisory_xact_lock(66);", qr/^57014 .*did not return within handler_timeout .*: it was waiting for a lock/ ],
	commits => [ 'COMMIT;', qr/^2D000 / ],
	commits_in_procedure => [ 'CALL commits();', qr/^2D000 / ],
	prepares => [ q{EXECUTE 'PREPARE TRANSACTION ''handler''';}, qr/^0A000 / ],
	ends_session => [ 'PERFORM pg_terminate_backend(pg_backend_pid());', qr/terminat|ended|session/ ],
	# not the sessions in which this test itself has that role
	ends_role => [ q{PERFORM pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = current_user AND backend_type = 'pm dispatcher';}, qr/terminat|ended|session/ ],
	unregisters => [ "PERFORM pm.unregister('unregisters');", qr/^55006 .*own handler/ ],
	drops_log => [ "PERFORM pm.drop_log('log_drops_log');", qr/^2BP01 / ],
	catches_up => [ "PERFORM pm.catch_up('catches_up');", qr/^55006 / ],
	catches_up_others => [ "PERFORM pm.catch_up();", qr/^55006 / ],
	seeks => [ "PERFORM pm.seek('seeks', 'log_seeks', 0);", qr/^55006 .*own handler/ ],
	seeks_reset => [ "PERFORM pm.seek('seeks_reset', 'log_seeks_reset', 0, true);", qr/^55006 .*own handler/ ],
	resumes_all => [ "PERFORM pm.pause('bystander'); PERFORM pm.resume();", qr/^55006 .*own handler/ ],
	retries => [ "PERFORM pm.retry('retries', 'log_retries', e.position);", qr/^55006 .*own handler/ ],
	waits_for_itself => [ "PERFORM pm.wait_for('waits_for_itself');", qr/^55006 / ],
	read_only => [ "SET TRANSACTION READ ONLY;", qr/^25006 / ],
	recurses => [ "PERFORM recurse(1);", qr/^54001 / ],
	renames_database => [ "EXECUTE 'ALTER DATABASE postgres RENAME TO elsewhere';", qr/^(?:0A000|42501|55006) / ],
	drops_extension => [ "EXECUTE 'DROP EXTENSION pm CASCADE';", qr/^42501 / ],
	rolls_back_to => [ "EXECUTE 'ROLLBACK TO SAVEPOINT x';", qr/^(?:0A000|2D000|3B001|25P01) / ]);
my @cases = sort keys %case;

answer(<<'SQL', 'app');
CREATE PROCEDURE commits() LANGUAGE plpgsql AS 'BEGIN COMMIT; END';
CREATE PROCEDURE commits_for(e pm.event) LANGUAGE plpgsql AS 'BEGIN COMMIT; END';
CREATE FUNCTION recurse(i int) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN recurse(i + 1); END';
CREATE TABLE deferring (id int);
CREATE FUNCTION sleep_at_commit() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(1000000); RETURN NULL; END';
CREATE CONSTRAINT TRIGGER sleep_at_commit AFTER INSERT ON deferring DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION sleep_at_commit();
SQL
my (undef, undef, $err) = $node->psql('postgres', "SELECT pm.register('x', 'commits_for', '{pulse}', start_at => 'end')", extra_params => [ '-U', 'app' ]);
like($err, qr/cannot be a handler.*procedure/s, 'a procedure that commits cannot be a handler');

for my $name (@cases)
{
	answer("SELECT pm.create_log('log_$name')", 'app');
	PmTest::create_handler($node, $name, user => 'app', before => "IF e.type = 'bad' THEN $case{$name}[0] END IF;");
	answer("SELECT pm.register('$name', '$name', '{log_$name}', max_attempts => 2, backoff => '50 ms', handler_timeout => '300 ms')", 'app');
}
# Two handlers that deadlock with each other, each of its own role. After a deadlock the victim lets the other one handle
# an event first, so neither fails ten times in a row, which would count. Both wait for the gate between their two locks.
for my $pair ([ 'second', 'locks_up', 1, 2 ], [ 'third', 'locks_down', 2, 1 ])
{
	my ($role, $name, $first, $then) = @$pair;

	answer("SELECT pm.create_log('log_$name')", $role);
	PmTest::create_handler($node, $name, user => $role,
		before => "UPDATE account SET n = n + 1 WHERE id = $first; PERFORM pg_advisory_xact_lock_shared(67); PERFORM pg_sleep(0.1); UPDATE account SET n = n + 1 WHERE id = $then;");
	answer("SELECT pm.register('$name', '$name', '{log_$name}', max_attempts => 1, handler_timeout => '10 min', batch_size => 1)", $role);
}
for my $name (qw(neighbor bystander))
{
	my $role = $name eq 'neighbor' ? 'neighbor' : 'app';

	PmTest::create_handler($node, $name, user => $role);
	answer("SELECT pm.register('$name', '$name', '{pulse}')", $role);
}
# another session holds the lock that a handler waits for
my $locker = PmTest::session($node);
$locker->do('SELECT pg_advisory_lock(66)');
my $gate = PmTest::session($node);

# ---- all at the same time, while the writer writes

my $script = $node->basedir . '/pulse.sql';
append_to_file($script, "INSERT INTO pulse (stream, type) VALUES ('s', 'P');\n");
my $pulse = PmTest::start_program($node, 'pgbench', '-n', '-c', '1', '-R', '40', '-T', '600', '-f', $script, $node->connstr('postgres'));
ok(PmTest::wait_until($node, "SELECT count(*) > 20 FROM seen WHERE pm = 'neighbor'", 't'), 'the writer has started');
my $from = answer('SELECT max(position) FROM pulse');
my %n;
for my $round (1 .. $rounds)
{
	my $began = time;

	for my $name (@cases)
	{
		answer("INSERT INTO log_$name (stream, type) SELECT 'k' || k, CASE WHEN k = 2 AND r = 1 THEN 'bad' ELSE 'good' END FROM generate_series(1, 2) r, generate_series(1, 3) k ORDER BY r, k", 'app');
	}
	# The gate opens when both have their first lock, so that there is a deadlock.
	$gate->do('SELECT pg_advisory_lock(67)');
	answer("INSERT INTO log_locks_up (stream, type) SELECT 's', 'U' FROM generate_series(1, 6)", 'second');
	answer("INSERT INTO log_locks_down (stream, type) SELECT 's', 'D' FROM generate_series(1, 6)", 'third');
	ok(PmTest::wait_until($node, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 67 AND NOT granted", 2), 'two handlers have a lock each');
	$gate->do('SELECT pg_advisory_unlock(67)');

	for my $name (@cases)
	{
		my $what = $case{$name}[1];
		my $bad = answer("SELECT max(position) FROM log_$name WHERE type = 'bad'");
		my $where = '';

		if ($what eq 'handled')
		{
			ok(PmTest::wait_until($node, "SELECT count(*) FROM seen WHERE pm = '$name' AND pos >= $bad", 5), "$name: all is handled")
			  or diag(answer("SELECT state, reason FROM pm.status WHERE process_manager = '$name'"));
		}
		else
		{
			ok(PmTest::wait_until($node, "SELECT state FROM pm.parked WHERE process_manager = '$name' AND position = $bad", 'dead'), "$name: the event is parked, dead after max_attempts")
			  or diag(answer("SELECT state, reason, attempts FROM pm.status WHERE process_manager = '$name'"));
			my $reason = answer("SELECT concat_ws(' ', sqlstate, message) FROM pm.parked WHERE process_manager = '$name' AND position = $bad");
			like($reason, $what, "$name: the reason");
			note("$name: $reason");
			$where = "stream <> 'k2'";
		}
		ok(PmTest::wait_until($node, "SELECT state || lag FROM pm.status WHERE process_manager = '$name'", 'idle0'), "$name: all events of other keys are handled");
		PmTest::once_in_key_order_ok($node, $name, "SELECT 'log_$name' AS log, position AS pos, stream AS key FROM log_$name" . ($where ? " WHERE $where" : ''));
	}
	note(sprintf('round %d: all have their outcome after %.1f s', $round, time - $began));
	ok(PmTest::wait_until($node, "SELECT string_agg(state || lag || parked || errors, ' ') FROM pm.status WHERE process_manager LIKE 'locks%'", 'idle000 idle000'), 'deadlocked handlers: retried and not counted, although max_attempts is 1')
	  or diag(answer("SELECT process_manager, state, reason, lag, parked, errors FROM pm.status WHERE process_manager LIKE 'locks%'"));
	PmTest::exactly_once_ok($node, $_, "log_$_") for qw(locks_up locks_down);
	is(answer('SELECT string_agg(n::text, \' \') FROM account'), join(' ', (12 * $round) x 2), 'deadlocked handlers: their effects are there once');
}
ok(PmTest::wait_until($node, "SELECT deadlocks > 0 FROM pg_stat_database WHERE datname = 'postgres'", 't'), 'a deadlock was detected');

# ---- no other role was late

$pulse->{h}->signal('TERM');
eval { $pulse->{h}->finish };
my $to = answer('SELECT max(position) FROM pulse');
ok(PmTest::wait_until($node, "SELECT count(*) FROM pm.status WHERE process_manager IN ('neighbor', 'bystander') AND (state <> 'idle' OR lag > 0)", 0), 'neighbor and bystander have handled everything');
PmTest::exactly_once_ok($node, $_, 'pulse') for qw(neighbor bystander);
is(answer("SELECT sum(errors), sum(parked) FROM pm.status WHERE process_manager IN ('neighbor', 'bystander')"), '0|0', 'neighbor and bystander never failed');
my %lag;
for my $name (qw(neighbor bystander))
{
	# pgbench writes at a fixed rate, so the lag is that of each event, including those that were written during a delay
	my ($count, $p50, $p95, $max) = split /\|/, answer(<<"SQL");
WITH lag AS (
	SELECT extract(epoch FROM pg_xact_commit_timestamp(s.xmin) - pg_xact_commit_timestamp(p.xmin)) AS lag
	FROM seen s JOIN pulse p ON p.position = s.pos WHERE s.pm = '$name' AND s.log = 'pulse' AND s.pos BETWEEN $from AND $to)
SELECT count(*), round(percentile_disc(0.5) WITHIN GROUP (ORDER BY lag)::numeric, 4), round(percentile_disc(0.95) WITHIN GROUP (ORDER BY lag)::numeric, 4), round(max(lag)::numeric, 3) FROM lag
SQL
	$lag{$name} = $p95;
	PmTest::figure(sprintf('%s: commit to effect, %d events, p50 %.1f ms, p95 %.1f ms, max %.0f ms', $name, $count, $p50 * 1000, $p95 * 1000, $max * 1000));
	cmp_ok($count, '>', 100, "$name: there were enough events");
}
cmp_ok($lag{neighbor}, '<', 1, 'others are not affected: p95 below a second');
is(answer("SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'pm %' AND state = 'active' AND query_start < now() - interval '30 s'"), 0, 'no worker hangs');

# ---- what an owner's handler may do to its own process manager: it stops, and pm.status says why

for my $own (
	[ 'drops_function', 'EXECUTE \'DROP FUNCTION drops_function(pm.event)\';', qr/handler .*drops_function.* does not exist/ ],
	[ 'drops_guard', 'EXECUTE \'ALTER TABLE log_drops_guard DISABLE TRIGGER ALL\';', qr/missing or disabled/ ])
{
	my ($name, $does, $reason) = @$own;

	answer("SELECT pm.create_log('log_$name')", 'app');
	PmTest::create_handler($node, $name, user => 'app', after => "IF e.type = 'bad' THEN $does END IF;");
	answer("SELECT pm.register('$name', '$name', '{log_$name}', batch_size => 1, max_attempts => 2, backoff => '50 ms')", 'app');
	answer("INSERT INTO log_$name (stream, type) VALUES ('k', 'good'), ('k', 'bad'), ('k', 'good')", 'app');
	my $ok = PmTest::wait_until($node, "SELECT state FROM pm.status WHERE process_manager = '$name' AND reason IS NOT NULL AND reason NOT LIKE '%dispatcher%' AND parked = 0", 'waiting');
	my $said = answer("SELECT state, reason, hint FROM pm.status WHERE process_manager = '$name'");
	ok($ok, "$name: waiting");
	like($said, $reason, "$name: pm.status says why");
	note("$name: $said");
}
# it cannot drop its log: that is a failure like any other
for my $drop ('DROP TABLE log_drops', 'DROP TABLE log_drops CASCADE', 'DROP OWNED BY app')
{
	answer("SELECT pm.create_log('log_drops')", 'app');
	PmTest::create_handler($node, 'drops', user => 'app', after => "IF e.type = 'bad' THEN EXECUTE '$drop'; END IF;");
	answer("SELECT pm.register('drops', 'drops', '{log_drops}', batch_size => 1, max_attempts => 2, backoff => '50 ms')", 'app');
	answer("INSERT INTO log_drops (stream, type) VALUES ('k', 'good'), ('k', 'bad'), ('l', 'good')", 'app');
	ok(PmTest::wait_until($node, "SELECT (SELECT string_agg(state || ' ' || position, ',') FROM pm.parked WHERE process_manager = 'drops'), (SELECT lag FROM pm.status WHERE process_manager = 'drops')", 'dead 2|0'), "a handler that runs $drop has failed");
	answer("SELECT pm.unregister('drops'); DROP TABLE log_drops", 'app');
}
$_->quit for $locker, $gate;
PmTest::no_crash_ok($node);
$node->stop('fast');
done_testing();
