# pm.status is right about what is overdue, what is committed behind a mark that is held back, why
# something that runs makes no progress, and when it is tried again. Each hint is followed, and helps.
use strict;
use warnings FATAL => 'all';

use PmTest;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = PmTest::node('status', init => [ allows_streaming => 1 ], conf => <<'CONF');
max_connections = 40
max_prepared_transactions = 10
pm.max_workers = 8
max_worker_processes = 20
synchronous_standby_names = ''
CONF

sub answer { my ($sql, $user) = @_; return $node->safe_psql('postgres', $sql, extra_params => $user ? [ '-U', $user ] : []); }

sub wait_for
{
	my ($sql, $expected, $name, %opt) = @_;
	return ok(PmTest::wait_until($node, $sql, $expected, %opt), $name)
	  || diag(answer('SELECT * FROM pm.status') . "\n" . answer('SELECT * FROM pm.worker') . "\n" . answer('SELECT * FROM pm.blocker'));
}

# The only row of a process manager.
sub status { my ($name, $columns, $user) = @_; return answer("SELECT $columns FROM pm.status WHERE process_manager = '$name'", $user); }

sub wait_idle { my ($name) = @_; return wait_for("SELECT state || lag || coalesce(reason, '') FROM pm.status WHERE process_manager = '$name'", 'idle0', "$name continues"); }

# Creates a process manager with a role of its own, whose handler runs this code.
sub make
{
	my ($name, $body, $arguments) = @_;
	answer("CREATE ROLE r_$name LOGIN; GRANT USAGE ON SCHEMA pm TO r_$name; GRANT CREATE ON SCHEMA public TO r_$name; GRANT ALL ON gate TO r_$name");
	answer("CREATE FUNCTION $name(e pm.event) RETURNS void LANGUAGE plpgsql AS \$\$ BEGIN $body END \$\$;
		SELECT pm.create_log('log_$name'); SELECT pm.register('$name', '$name', '{log_$name}', handler_timeout => '5 min'" . ($arguments ? ", $arguments" : '') . ')', "r_$name");
	return;
}

answer('CREATE TABLE gate (name text PRIMARY KEY, n int NOT NULL DEFAULT 0); CREATE ROLE watcher LOGIN IN ROLE pg_monitor; CREATE ROLE stranger LOGIN; GRANT USAGE ON SCHEMA pm TO watcher, stranger');

# ---- a mark that is held back: events behind it are counted

make('held', '');
my $writer = PmTest::session($node);
$writer->do("BEGIN; INSERT INTO log_held (stream, type) VALUES ('a', 'open')");
answer("INSERT INTO log_held (stream, type) SELECT 'a', 'A' FROM generate_series(1, 5)");
wait_for("SELECT state, reason FROM pm.status WHERE process_manager = 'held'", 'waiting|a transaction that may write to the log is still open', 'a mark is held back: the process manager waits');
is(status('held', 'lag, eta IS NULL, oldest_unhandled IS NOT NULL'), '6|t|t', 'lag counts the events behind it, and eta is not known');
is(status('held', 'hint'), 'SELECT * FROM pm.blocker shows which session it is.', 'there is a hint');
answer(answer("SELECT hint FROM pm.blocker WHERE blocks = 'high-water mark' AND log = 'log_held'"));
$writer->quit;
wait_idle('held');
answer("BEGIN; INSERT INTO log_held (stream, type) VALUES ('a', 'open'); PREPARE TRANSACTION 'its writer'");
wait_for("SELECT state, lag, reason FROM pm.status WHERE process_manager = 'held'", 'waiting|1|a prepared transaction that may have written to the log is still open', 'a prepared transaction is named as such');
answer((split /; or /, answer("SELECT hint FROM pm.blocker WHERE blocks = 'high-water mark' AND log = 'log_held'"))[1]);
wait_idle('held');

# ---- a handler that runs

make('sleeps', 'PERFORM pg_sleep(300);');
answer("INSERT INTO log_sleeps (stream, type) VALUES ('a', 'A')");
wait_for("SELECT state || ' ' || regexp_replace(reason, '[0-9]+', 'N', 'g') FROM pm.status WHERE process_manager = 'sleeps'",
	'running the handler has been running for N s in process N (wait event: Timeout PgSleep); it handles the event at position N of log "log_sleeps"', 'a handler that runs long: its event, its process, and what it waits for');
is(status('sleeps', "hint ~ 'handler_timeout', eta IS NULL"), 't|t', 'there is a hint');
is(status('sleeps', "reason ~ 'wait event: Timeout PgSleep'", 'watcher'), 't', 'pg_monitor sees it, too');
is(status('sleeps', 'count(*)', 'stranger'), 0, 'another role does not');
is(answer("SELECT wait_event FROM pm.worker WHERE process_manager = 'sleeps'", 'r_sleeps'), 'PgSleep', 'pm.worker shows the wait event to its role');

# Another process manager of the same role waits for the dispatcher, and pm.status says so.
answer("CREATE FUNCTION beside(e pm.event) RETURNS void LANGUAGE plpgsql AS \$\$ BEGIN END \$\$; SELECT pm.register('beside', 'beside', '{log_sleeps}', start_at => 'beginning')", 'r_sleeps');
wait_for("SELECT state || ' ' || regexp_replace(reason, '[0-9]+', 'N', 'g') FROM pm.status WHERE process_manager = 'beside'",
	'waiting its dispatcher has been busy with process manager "sleeps" for N s', 'one that waits for its role\'s dispatcher says for what that is busy');
answer("GRANT SELECT ON log_sleeps TO r_held; SELECT pm.unregister('beside')");
answer("CREATE FUNCTION beside_too(e pm.event) RETURNS void LANGUAGE plpgsql AS \$\$ BEGIN END \$\$; SELECT pm.register('beside', 'beside_too', '{log_sleeps}', start_at => 'beginning')", 'r_held');
wait_idle('beside');
answer("SELECT pm.unregister('beside')");
# The hint says that it is canceled after handler_timeout.
answer("SELECT pg_cancel_backend(pid) FROM pm.worker WHERE process_manager = 'sleeps'");
answer("CREATE OR REPLACE FUNCTION sleeps(e pm.event) RETURNS void LANGUAGE plpgsql AS 'BEGIN END'", 'r_sleeps');
wait_for("SELECT count(*) FROM pm.worker WHERE process_manager = 'sleeps'", 0, 'canceled');
answer("SELECT pm.unregister('sleeps')");

# a row lock
make('locks', "UPDATE gate SET n = n + 1 WHERE name = 'locks';");
answer("INSERT INTO gate VALUES ('locks')");
my $locker = PmTest::session($node);
$locker->do("BEGIN; UPDATE gate SET n = 0 WHERE name = 'locks'");
answer("INSERT INTO log_locks (stream, type) VALUES ('a', 'A')");
my $pid = $locker->pid;
wait_for("SELECT state || ' ' || regexp_replace(reason, 'for [0-9]+ s', 'for N s') FROM pm.status WHERE process_manager = 'locks'",
	"running the handler has waited for a lock for N s; process $pid blocks it; it handles the event at position 1 of log \"log_locks\"", 'a handler that waits for a row lock: the session that holds it');
is(status('locks', 'hint'), 'SELECT * FROM pm.blocker shows what blocks it.', 'there is a hint');
answer(answer("SELECT hint FROM pm.blocker WHERE blocks = 'dispatcher' AND process_manager = 'locks'"));
$locker->quit;
wait_idle('locks');
# the same for a prepared transaction
answer("BEGIN; UPDATE gate SET n = 0 WHERE name = 'locks'; PREPARE TRANSACTION 'in its way'");
answer("INSERT INTO log_locks (stream, type) VALUES ('a', 'A')");
wait_for("SELECT regexp_replace(reason, 'for [0-9]+ s', 'for N s') FROM pm.status WHERE process_manager = 'locks'",
	'the handler has waited for a lock for N s; a prepared transaction blocks it; it handles the event at position 2 of log "log_locks"', 'a prepared transaction that holds it');
answer((split /; or /, answer("SELECT hint FROM pm.blocker WHERE blocks = 'dispatcher' AND gid = 'in its way'"))[0] . ';');
wait_idle('locks');

# ---- a synchronous standby that is missing

my $standby_hint = 'SELECT application_name, state, sync_state FROM pg_stat_replication shows the standbys that are connected. Start the missing one, or take it out of synchronous_standby_names, which is "nobody", and reload the configuration.';

make('appends', "PERFORM pm.append('log_appended', 's', 'T');");
answer("SELECT pm.create_log('log_appended')", 'r_appends');
answer("INSERT INTO log_appends (stream, type) VALUES ('a', 'A')");
wait_idle('appends');
answer("ALTER SYSTEM SET synchronous_standby_names = 'nobody'; SELECT pg_reload_conf()");
wait_for('SHOW synchronous_standby_names', 'nobody', 'a synchronous standby that is missing');
my $sync = PmTest::session($node);
$sync->send("INSERT INTO log_appends (stream, type) VALUES ('a', 'A')");
wait_for("SELECT state, lag, reason, hint FROM pm.status WHERE process_manager = 'appends'",
	"waiting|1|a transaction that wrote to the log waits for a synchronous standby|$standby_hint",
	'it is not taken for an open writer');
like(answer("SELECT wait_event || ' ' || hint FROM pm.blocker WHERE log = 'log_appends'"), qr/^SyncRep Its transaction is committed and waits for a synchronous standby/, 'pm.blocker says so, too, and does not advise to terminate a session');
answer("ALTER SYSTEM SET synchronous_standby_names = ''; SELECT pg_reload_conf()");
$sync->wait;
wait_idle('appends');
answer("CREATE OR REPLACE FUNCTION appends(e pm.event) RETURNS void LANGUAGE plpgsql AS \$\$ BEGIN
	WHILE NOT EXISTS (SELECT FROM gate WHERE name = 'commit') LOOP PERFORM pg_sleep(0.02); END LOOP;
	PERFORM pg_sleep(1);
	PERFORM pm.append('log_appended', 's', 'T');
END \$\$", 'r_appends');
answer("INSERT INTO log_appends (stream, type) VALUES ('a', 'A')");
wait_for("SELECT state FROM pm.worker WHERE process_manager = 'appends'", 'handling', 'its handler runs');
answer("ALTER SYSTEM SET synchronous_standby_names = 'nobody'; SELECT pg_reload_conf(); SET synchronous_commit = local; INSERT INTO gate VALUES ('commit')");
wait_for("SELECT state || ' ' || regexp_replace(reason, '[0-9]+', 'N') || ' ' || hint FROM pm.status WHERE process_manager = 'appends'",
	"running its commit has waited for a synchronous standby for N s $standby_hint", "the dispatcher's own commit waits for the standby");
like(answer("SELECT hint FROM pm.blocker WHERE log = 'log_appended'") . answer("SELECT count(*) FROM pm.blocker WHERE hint LIKE '%terminate_backend%'"), qr/0$/, 'no session is to be terminated');
answer("ALTER SYSTEM SET synchronous_standby_names = ''; SELECT pg_reload_conf()");
wait_idle('appends');

# ---- overdue timers

answer('CREATE ROLE r_timers LOGIN; GRANT USAGE ON SCHEMA pm TO r_timers; GRANT CREATE ON SCHEMA public TO r_timers; GRANT ALL ON gate TO r_timers');
answer(<<'SQL', 'r_timers');
CREATE FUNCTION timers(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN
	IF e.type = 'Begin' THEN PERFORM pm.set_timer('T' || i, now() + i * interval '200 ms') FROM generate_series(1, 3) i;
	ELSIF e.type = 'T1' THEN UPDATE gate SET n = n + 1 WHERE name = 'timers'; END IF;
	RETURN '{}'; END $$;
SELECT pm.create_log('log_timers'); SELECT pm.create_log('other_timers'); SELECT pm.register('timers', 'timers', '{log_timers,other_timers}', handler_timeout => '5 min');
SQL
answer("INSERT INTO gate VALUES ('timers')");
$locker = PmTest::session($node);
$locker->do("BEGIN; UPDATE gate SET n = 0 WHERE name = 'timers'");
answer("INSERT INTO log_timers (stream, type) VALUES ('a', 'Begin')");
wait_for("SELECT log, state, regexp_replace(reason, 'for [0-9]+ s', 'for N s'), timers_overdue FROM pm.status WHERE process_manager = 'timers' ORDER BY log",
	sprintf("log_timers|running|the handler has waited for a lock for N s; process %d blocks it; it handles a timer|3\nother_timers|idle||0", $locker->pid), 'a process manager with overdue timers is not idle');
is(answer("SELECT oldest_overdue = (SELECT min(due) FROM pm.timer) FROM pm.status WHERE log = 'log_timers'"), 't', 'since when they are overdue');
$locker->do('ROLLBACK');
wait_for("SELECT state, timers_overdue, oldest_overdue IS NULL FROM pm.status WHERE log = 'log_timers'", 'idle|0|t', 'then they fire');
# While it is paused they are overdue, too.
answer("SELECT pm.pause('timers')");
answer("INSERT INTO log_timers (stream, type) VALUES ('b', 'Begin')");
is(status('timers', "string_agg(state || timers_overdue, ' ')"), 'paused0 paused0', 'paused');
answer("SELECT pm.resume('timers')");
wait_for("SELECT string_agg(state, ' ') FROM pm.status WHERE process_manager = 'timers'", 'idle idle', 'resumed');

# ---- failures: the next attempt, and dead events

make('fails', "RAISE 'no % today', e.type;", "backoff => '50 ms', max_attempts => 2");
answer("INSERT INTO log_fails (stream, type) VALUES ('dead', 'A'), ('dead', 'B')");
wait_for("SELECT state, parked, dead, reason, retry_at IS NULL FROM pm.status WHERE process_manager = 'fails'", 'idle|2|1|2 events are parked, 1 of them dead|t', 'dead events are reported');
answer("CREATE OR REPLACE FUNCTION fails(e pm.event) RETURNS void LANGUAGE plpgsql AS 'BEGIN END'", 'r_fails');
my ($query, undef) = split / shows them\./, status('fails', 'hint');
is(answer("SELECT count(*) FROM ($query) q", 'r_fails'), 2, 'the hint shows them');
answer("SELECT pm.retry(process_manager, log, position) FROM pm.parked WHERE process_manager = 'fails' AND state = 'dead'");
wait_idle('fails');

# A retry is due but is not made, because another session holds the lock of the unit.
make('retries', "RAISE 'no';", "on_failure => 'halt', backoff => '500 ms', max_attempts => 20");
answer("INSERT INTO log_retries (stream, type) VALUES ('a', 'A')");
wait_for("SELECT state, attempts > 1 FROM pm.status WHERE process_manager = 'retries'", 'retrying|t', 'it is retrying');
$locker = PmTest::session($node, user => 'r_retries');
$locker->do("BEGIN; SELECT pm.pause('retries'); SELECT pm.resume('retries')");
wait_for("SELECT state, reason FROM pm.status WHERE process_manager = 'retries'", 'retrying|the handler failed at position 1 of log "log_retries": no; it is due, but another session has locked it', 'a retry that is due says what it waits for');
is(status('retries', 'retry_at < clock_timestamp(), hint, eta IS NULL'), 't|SELECT * FROM pm.blocker shows which session it is.|t', 'it names the session');
answer(answer("SELECT hint FROM pm.blocker WHERE blocks = 'process manager' AND process_manager = 'retries'"));
$locker->quit;
answer("CREATE OR REPLACE FUNCTION retries(e pm.event) RETURNS void LANGUAGE plpgsql AS 'BEGIN END'", 'r_retries');
wait_idle('retries');
is(answer("SELECT count(*) FROM pm.status WHERE retry_at < clock_timestamp() - interval '1 s' AND coalesce(reason, '') !~ 'due'"), 0, 'no retry_at is in the past without a reason');

# A process manager that waits for something outside is checked again and again, and shows no time in the past.
answer("ALTER FUNCTION held(pm.event) RENAME TO gone", 'r_held');
answer("INSERT INTO log_held (stream, type) VALUES ('a', 'A')");
wait_for("SELECT state, reason ~ 'held' FROM pm.status WHERE process_manager = 'held'", 'waiting|t', 'it waits for its handler');
answer("UPDATE pm_catalog.lane SET retry_at = retry_at - interval '1 min' WHERE process_manager = 'held'");
is(status('held', 'retry_at IS NULL OR retry_at > clock_timestamp()'), 't', 'no time in the past');
answer("ALTER FUNCTION gone(pm.event) RENAME TO held", 'r_held');
wait_idle('held');

# ---- the right to connect or to log in is revoked: a running dispatcher continues

make('connects', "UPDATE gate SET n = n + 1 WHERE name = 'connects';");
answer("INSERT INTO gate VALUES ('connects')");
for my $right ([ 'REVOKE CONNECT ON DATABASE postgres FROM PUBLIC', 'may not connect to this database' ], [ 'ALTER ROLE r_connects NOLOGIN', 'is not permitted to log in' ])
{
	my ($revoke, $reason) = @$right;

	$locker = PmTest::session($node);
	$locker->do("BEGIN; UPDATE gate SET n = 0 WHERE name = 'connects'");
	answer("INSERT INTO log_connects (stream, type) VALUES ('a', 'A')");
	wait_for("SELECT state FROM pm.worker WHERE process_manager = 'connects'", 'handling', 'its handler runs');
	answer($revoke);
	is(status('connects', 'state'), 'running', "$revoke: it runs");
	unlike(status('connects', 'reason'), qr/may not|not permitted/, 'there is no reason yet');
	$locker->quit;
	wait_for("SELECT state, lag, reason FROM pm.status WHERE process_manager = 'connects'", qq{waiting|0|its owner, role "r_connects", $reason}, 'the event is handled, the dispatcher ends, and then it waits');
	answer("INSERT INTO log_connects (stream, type) VALUES ('a', 'A')");
	answer(status('connects', "substring(hint FROM 'Run (.*)\\.\$')"));
	wait_idle('connects');
}
answer('GRANT CONNECT ON DATABASE postgres TO PUBLIC');

# ---- eta, only where there is progress

make('slow', 'PERFORM pg_sleep(0.01);', 'batch_size => 5');
answer("INSERT INTO log_slow (stream, type) SELECT 'a', 'A' FROM generate_series(1, 3000)");
wait_for("SELECT state, eta BETWEEN '0' AND '1 min' FROM pm.status WHERE process_manager = 'slow'", 'running|t', 'eta of a process manager that makes progress');
answer("SELECT pm.pause('slow')");
is(status('slow', 'state, lag > 0, eta IS NULL, rate > 1'), 'paused|t|t|t', 'paused: eta is not known');
answer("SELECT pm.resume('slow')");
answer("CREATE OR REPLACE FUNCTION slow(e pm.event) RETURNS void LANGUAGE plpgsql AS \$\$ BEGIN PERFORM pg_sleep(300); END \$\$", 'r_slow');
wait_for("SELECT state, reason ~ 'PgSleep', eta IS NULL FROM pm.status WHERE process_manager = 'slow'", 'running|t|t', 'no progress: eta is not known');

PmTest::no_crash_ok($node);
$node->stop('immediate');
done_testing();
