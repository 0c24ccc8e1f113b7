# P4, P7: however a handler fails for one key, with on_failure => 'park' that key is parked with the
# reason. The other keys, the other process managers of the role and those of other roles continue.
# Failures that are not the handler's fault are not counted. If correlate fails, the key is not known,
# so the process manager halts.
use strict;
use warnings FATAL => 'all';

use PmTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = PmTest::node('parks', conf => "pm.max_workers = 8\nmax_connections = 40\ndeadlock_timeout = '20s'\n");

$node->safe_psql('postgres', <<'SQL');
CREATE ROLE app LOGIN;
CREATE ROLE other LOGIN;
GRANT USAGE ON SCHEMA pm TO app, other;
GRANT CREATE ON SCHEMA public TO app, other;
CREATE TABLE broken (pm text);
GRANT ALL ON broken TO app;
CREATE TABLE parent (id text PRIMARY KEY);
CREATE TABLE child (id text REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
INSERT INTO parent SELECT 'k' || i FROM generate_series(1, 5) i WHERE i <> 3;
GRANT ALL ON parent, child TO app;
CREATE SEQUENCE tries;
GRANT ALL ON tries TO app;
SQL
PmTest::create_seen($node);

my @cases = qw(raise suicide slow stubborn ends_timed late_timed raise_timed deferred forgetful timer_of_none locked serial always_serial trouble gives_up backoff correlates);
$node->safe_psql('postgres', "SELECT pm.create_log('log_$_'); GRANT SELECT, INSERT ON log_$_ TO app, other") for @cases;
my $all_logs = join ',', map { "log_$_" } @cases;
PmTest::create_handler($node, 'bystander', user => 'app');
PmTest::create_handler($node, 'neighbor', user => 'other');
$node->safe_psql('postgres', "SELECT pm.register('bystander', 'bystander', '{$all_logs}')", extra_params => [ '-U', 'app' ]);
$node->safe_psql('postgres', "SELECT pm.register('neighbor', 'neighbor', '{$all_logs}', on_failure => 'halt')", extra_params => [ '-U', 'other' ]);

sub answer
{
	my ($sql) = @_;
	return $node->safe_psql('postgres', $sql);
}

# Creates a handler that does this for events of type 'bad' while it is broken; f(pm.event, jsonb) if kind is 'instance'.
sub handler
{
	my ($name, $bad, %opt) = @_;
	my $head = $opt{instance} ? "(e pm.event, state jsonb) RETURNS jsonb" : '(e pm.event) RETURNS void';
	my $tail = $opt{instance} ? "RETURN '{}';" : '';

	$node->safe_psql('postgres', <<"SQL", extra_params => [ '-U', 'app' ]);
CREATE OR REPLACE FUNCTION public.$name$head LANGUAGE plpgsql AS \$handler\$
BEGIN
	INSERT INTO public.seen (pm, log, pos, stream, key) VALUES ('$name', e.log, e.position, e.stream, e.stream);
	IF e.type = 'bad' AND EXISTS (SELECT FROM broken WHERE pm = '$name') THEN
		$bad
	END IF;
	$tail
END
\$handler\$;
SQL
	return;
}

sub register
{
	my ($name, $more) = @_;
	$node->safe_psql('postgres', "SELECT pm.register('$name', '$name', '{log_$name}'" . ($more // '') . ')', extra_params => [ '-U', 'app' ]);
	return;
}

# Appends three events for each of the keys k1 to k5; the second event of k3 is bad.
sub append
{
	my ($name) = @_;
	answer("BEGIN; INSERT INTO broken VALUES ('$name'); INSERT INTO log_$name (stream, type) SELECT 'k' || k, CASE WHEN k = 3 AND r = 2 THEN 'bad' ELSE 'good' END FROM generate_series(1, 3) r, generate_series(1, 5) k ORDER BY r, k; COMMIT");
	return;
}

sub status
{
	my ($name, $columns) = @_;
	return answer('SELECT ' . ($columns // 'state, reason, hint, lag, parked, attempts, errors') . " FROM pm.status WHERE process_manager = '$name'");
}

sub others_ok
{
	my ($name) = @_;
	ok(PmTest::wait_until($node, "SELECT count(*) FROM pm.status WHERE process_manager IN ('bystander', 'neighbor') AND log = 'log_$name' AND (lag > 0 OR parked > 0)", 0), "$name: others continue");
	return;
}

# The key is parked as dead, and all else is handled. Corrected and retried, the rest follows in order.
sub parked_ok
{
	my ($name, $attempts, $message, $mend) = @_;
	my $bad = answer("SELECT position FROM log_$name WHERE type = 'bad'");
	my $took;

	$mend //= '';
	$took = PmTest::seconds { ok(PmTest::wait_until($node, "SELECT state FROM pm.parked WHERE process_manager = '$name' AND position = $bad", 'dead'), "$name: the event is parked, dead after max_attempts"); };
	note(sprintf('%s: parked and dead after %.1f s', $name, $took));
	ok(PmTest::wait_until($node, "SELECT state || lag FROM pm.status WHERE process_manager = '$name'", 'idle0'), "$name: the other keys continue")
	  or diag(status($name));
	is(answer("SELECT string_agg(key || ' ' || state || ' ' || attempts, ', ' ORDER BY position) FROM pm.parked WHERE process_manager = '$name'"), "k3 dead $attempts, k3 behind 0", "$name: the failing event and those behind it are parked");
	my $error = answer("SELECT concat_ws(' ', sqlstate, message, detail) FROM pm.parked WHERE process_manager = '$name' AND state = 'dead'");
	like($error, $message, "$name: the reason");
	is(status($name, 'parked'), 2, "$name: pm.status counts the parked events");
	PmTest::once_in_key_order_ok($node, $name, "SELECT 'log_$name' AS log, position AS pos, stream AS key FROM log_$name WHERE stream <> 'k3' OR position < $bad", "$name: all events of other keys are handled");
	others_ok($name);
	answer("DELETE FROM broken WHERE pm = '$name'; $mend; SELECT pm.retry('$name', 'log_$name', $bad)");
	ok(PmTest::wait_until($node, "SELECT count(*) FROM pm.parked WHERE process_manager = '$name'", 0), "$name: corrected and retried, nothing is parked")
	  or diag(answer("SELECT * FROM pm.parked WHERE process_manager = '$name'"));
	PmTest::once_in_key_order_ok($node, $name, "SELECT 'log_$name' AS log, position AS pos, stream AS key FROM log_$name");
	is(status($name, 'state, reason IS NULL, attempts, retry_at IS NULL, parked'), 'idle|t|0|t|0', "$name: pm.status shows no failure");
	return;
}

# ---- each kind of failure

handler('raise', "RAISE EXCEPTION 'no good' USING DETAIL = 'the detail', ERRCODE = 'P0777';");
register('raise', ", max_attempts => 3, backoff => '50 ms'");
append('raise');
parked_ok('raise', 3, qr/^P0777 no good the detail/);

# a handler that terminates its own session
my $dispatcher = "SELECT pid FROM pm.worker WHERE kind = 'dispatcher' AND role = 'app'";
my $pid = answer($dispatcher);
handler('suicide', 'PERFORM pg_terminate_backend(pg_backend_pid());');
register('suicide', ", max_attempts => 2, backoff => '100 ms'");
append('suicide');
parked_ok('suicide', 2, qr/terminat|ended|session/);
isnt(answer($dispatcher), $pid, 'suicide: another dispatcher has taken over');

# a handler that is canceled at its timeout, and one that ignores it
handler('slow', 'PERFORM pg_sleep(60);');
register('slow', ", max_attempts => 2, backoff => '100 ms', handler_timeout => '300 ms'");
append('slow');
parked_ok('slow', 2, qr/did not return within handler_timeout/);

$pid = answer($dispatcher);
handler('stubborn', 'LOOP BEGIN PERFORM pg_sleep(60); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP;');
register('stubborn', ", max_attempts => 2, backoff => '100 ms', handler_timeout => '300 ms'");
append('stubborn');
parked_ok('stubborn', 2, qr/did not return within handler_timeout/);
isnt(answer($dispatcher), $pid, 'stubborn: its dispatcher was killed');

# the same in a timer that is set and becomes due in one batch, so that the failure undoes setting it
my %ends = (
	ends_timed => [ 'PERFORM pg_terminate_backend(pg_backend_pid());', qr/terminat|ended|session/ ],
	late_timed => [ 'LOOP BEGIN PERFORM pg_sleep(60); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP;', qr/did not return within handler_timeout/ ],
	raise_timed => [ 'RAISE EXCEPTION \'refused\';', qr/refused/ ]);
for my $name (sort keys %ends)
{
	$node->safe_psql('postgres', <<"SQL", extra_params => [ '-U', 'app' ]);
CREATE FUNCTION public.$name(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS \$f\$
BEGIN
	INSERT INTO public.seen (pm, log, pos, stream, key) VALUES ('$name', e.log, e.position, e.stream, e.stream);
	IF e.log IS NOT NULL THEN PERFORM pm.set_timer('ring', pm.now());
	ELSIF e.stream = 'k3' AND EXISTS (SELECT FROM broken WHERE pm = '$name') THEN $ends{$name}[0]
	END IF;
	RETURN '{}';
END
\$f\$;
SQL
	register($name, ", max_attempts => 2, backoff => '100 ms', handler_timeout => '300 ms'");
	append($name);
	ok(PmTest::wait_until($node, "SELECT string_agg(key || coalesce(log, '') || ' ' || attempts, ', ') FROM pm.parked WHERE process_manager = '$name' AND state = 'dead'", 'k3 2'), "$name: the timer is parked")
	  or diag(status($name) . "\n" . answer("SELECT * FROM pm.parked WHERE process_manager = '$name'"));
	like(answer("SELECT message FROM pm.parked WHERE process_manager = '$name' AND state = 'dead'"), $ends{$name}[1], "$name: the reason");
	ok(PmTest::wait_until($node, "SELECT (SELECT state || lag FROM pm.status WHERE process_manager = '$name'), (SELECT count(*) FROM pm.timer WHERE process_manager = '$name')", 'idle0|0'), "$name: the other keys continue");
	others_ok($name);
	answer("DELETE FROM broken WHERE pm = '$name'; SELECT pm.retry(process_manager, log, position) FROM pm.parked WHERE process_manager = '$name' AND state = 'dead'");
	ok(PmTest::wait_until($node, "SELECT count(*) FROM pm.parked WHERE process_manager = '$name'", 0), "$name: corrected and retried, nothing is parked");
	PmTest::once_in_key_order_ok($node, $name, "SELECT 'log_$name' AS log, position AS pos, stream AS key FROM log_$name");
	is(answer("SELECT count(DISTINCT key) FROM seen WHERE pm = '$name' AND log IS NULL"), 5, "$name: every key's timer has fired");
}

# a failure at commit
$node->safe_psql('postgres', <<'SQL', extra_params => [ '-U', 'app' ]);
CREATE FUNCTION public.deferred(e pm.event) RETURNS void LANGUAGE plpgsql AS
$$BEGIN
	INSERT INTO public.seen (pm, log, pos, stream, key) VALUES ('deferred', e.log, e.position, e.stream, e.stream);
	IF e.type = 'bad' THEN INSERT INTO child VALUES (e.stream); END IF;
END$$;
SQL
register('deferred', ", max_attempts => 2, backoff => '100 ms'");
append('deferred');
parked_ok('deferred', 2, qr/^23503 .*foreign key constraint/, "INSERT INTO parent VALUES ('k3')");

# returning NULL for a live instance; timers without an instance
handler('forgetful', 'RETURN NULL;', instance => 1);
register('forgetful', ", max_attempts => 2, backoff => '100 ms'");
append('forgetful');
parked_ok('forgetful', 2, qr/^22004 /);
is(answer("SELECT count(*) FROM pm.instance WHERE process_manager = 'forgetful'"), 5, 'forgetful: no instance is lost');

handler('timer_of_none', "PERFORM pm.set_timer('x', now());");
register('timer_of_none', ", max_attempts => 2, backoff => '100 ms'");
append('timer_of_none');
parked_ok('timer_of_none', 2, qr/^55000 /);

# ---- failures that are not the handler's fault: deadlocks, serialization failures, lock timeouts, server errors

$node->safe_psql('postgres', 'CREATE TABLE account (id int PRIMARY KEY, n int); INSERT INTO account VALUES (1, 0), (2, 0); GRANT ALL ON account TO app');
PmTest::create_handler($node, 'locked', user => 'app', after =>
	'UPDATE account SET n = n + 1 WHERE id = 2; PERFORM pg_advisory_xact_lock(1); UPDATE account SET n = n + 1 WHERE id = 1;');
register('locked', ", max_attempts => 1, handler_timeout => '5 min'");
my ($session, $gate) = map { PmTest::session($node) } 1 .. 2;
$gate->do('SELECT pg_advisory_lock(1)');
$session->do('BEGIN; UPDATE account SET n = n WHERE id = 1');
answer("INSERT INTO log_locked (stream, type) VALUES ('k1', 'good')");
ok(PmTest::wait_until($node, "SELECT count(*) FROM pg_locks l JOIN pm.worker w ON w.pid = l.pid WHERE w.process_manager = 'locked' AND l.locktype = 'advisory' AND NOT l.granted", 1), 'deadlock: the handler is running');
# The application waits first. A session checks only once, deadlock_timeout after it began to wait, and the dispatcher's check
# comes sooner.
$session->send('UPDATE account SET n = n WHERE id = 2');
ok(PmTest::wait_until($node, "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid = " . $session->pid, 1), 'deadlock: the application waits for the handler');
$gate->do('SELECT pg_advisory_unlock(1)');
ok(eval { $session->wait; 1 }, 'deadlock: the application is not the victim') or diag($@);
$session->do('COMMIT', may_fail => 1);
$_->quit for $session, $gate;
ok(PmTest::wait_until($node, "SELECT state || lag || parked FROM pm.status WHERE process_manager = 'locked'", 'idle00'), 'deadlock: the event is retried and not parked, although max_attempts is 1')
  or diag(status('locked'));
is(answer('SELECT sum(n) FROM account'), 2, 'deadlock: its effects are there once');
is(status('locked', 'errors'), 0, 'deadlock: it is not counted');
ok(PmTest::wait_until($node, "SELECT deadlocks > 0 FROM pg_stat_database WHERE datname = 'postgres'", 't'), 'a deadlock was detected');

handler('serial', "IF nextval('tries') < 8 THEN RAISE EXCEPTION 'again' USING ERRCODE = (ARRAY['40001', '40P01', '55P03'])[1 + currval('tries') % 3]; END IF;");
register('serial', ', max_attempts => 1');
append('serial');
ok(PmTest::wait_until($node, "SELECT state || lag || parked FROM pm.status WHERE process_manager = 'serial'", 'idle00'), 'serialization failures, deadlocks and lock timeouts: retried, not parked')
  or diag(status('serial'));
is(answer("SELECT last_value || ' ' || (SELECT errors FROM pm.status WHERE process_manager = 'serial') FROM tries"), '8 0', 'eight attempts, none of them counted');
PmTest::once_in_key_order_ok($node, 'serial', "SELECT 'log_serial' AS log, position AS pos, stream AS key FROM log_serial");
# but there is a limit
handler('always_serial', "RAISE EXCEPTION 'always' USING ERRCODE = '40001';");
register('always_serial', ", max_attempts => 2, backoff => '50 ms'");
append('always_serial');
parked_ok('always_serial', 2, qr/^40001 always/);

$node->safe_psql('postgres', 'CREATE TABLE full_disk ()');
handler('trouble', "IF to_regclass('full_disk') IS NOT NULL THEN RAISE EXCEPTION 'no room' USING ERRCODE = '53100'; END IF;");
register('trouble', ', max_attempts => 1');
append('trouble');
ok(PmTest::wait_until($node, "SELECT state FROM pm.status WHERE process_manager = 'trouble'", 'waiting'), "a server error: waiting");
is(answer("SELECT count(*) FROM pm.parked WHERE process_manager = 'trouble'"), 0, 'nothing is parked');
$node->safe_psql('postgres', 'DROP TABLE full_disk');
ok(PmTest::wait_until($node, "SELECT state || lag || parked FROM pm.status WHERE process_manager = 'trouble'", 'idle00'), 'it continues by itself');
PmTest::once_in_key_order_ok($node, 'trouble', "SELECT 'log_trouble' AS log, position AS pos, stream AS key FROM log_trouble");

# ---- the time between attempts: 0.3, 0.6, 1.2 s and up to 10 % more, by the server's log

handler('backoff', "RAISE EXCEPTION 'not yet';");
register('backoff', ", max_attempts => 4, backoff => '300 ms'");
append('backoff');
ok(PmTest::wait_in_log($node, qr/"backoff" in database "postgres": the event at position \d+ .* is dead/), 'backoff: the last attempt has failed');
my @at = PmTest::logged_at($node, qr/"backoff" in database "postgres": the handler failed/);
is(scalar @at, 4, "four failures in the server's log");
my @gaps = map { $at[ $_ + 1 ] - $at[$_] } 0 .. $#at - 1;
note('backoff: between the attempts ' . join(', ', map { sprintf '%.2f s', $_ } @gaps));
# a busy machine may call the handler a bit later, but never sooner
ok($gaps[ $_ - 1 ] > 0.3 * 2**($_ - 1) - 0.02 && $gaps[ $_ - 1 ] < 0.3 * 2**($_ - 1) * 1.1 + 0.4, "backoff doubles ($_)") for 1 .. 3;
parked_ok('backoff', 4, qr/not yet/);

# ---- discarding an event

handler('gives_up', "RAISE EXCEPTION 'never';");
register('gives_up', ", max_attempts => 1");
append('gives_up');
ok(PmTest::wait_until($node, "SELECT count(*) FROM pm.parked WHERE process_manager = 'gives_up' AND state = 'dead'", 1), 'parked');
my $bad = answer("SELECT position FROM log_gives_up WHERE type = 'bad'");
answer("SELECT pm.discard('gives_up', 'log_gives_up', $bad)");
ok(PmTest::wait_until($node, "SELECT count(*) FROM pm.parked WHERE process_manager = 'gives_up'", 0), 'pm.discard: the events behind it are handled');
PmTest::once_in_key_order_ok($node, 'gives_up', "SELECT 'log_gives_up' AS log, position AS pos, stream AS key FROM log_gives_up WHERE position <> $bad", 'no other event is skipped');
like(slurp_file($node->logfile), qr/LOG: .*\b$bad\b.*gives_up|LOG: .*gives_up.*\b$bad\b/, "the server's log says so");

# ---- correlate fails: the key is not known, so the event cannot be parked

my %correlate = (
	raises => "RAISE EXCEPTION 'no key'",
	sleeps => 'PERFORM pg_sleep(60)',
	ends => 'PERFORM pg_terminate_backend(pg_backend_pid())');
handler('correlates', '');
for my $how (sort keys %correlate)
{
	my $set = sub {
		my ($what) = @_;
		$node->safe_psql('postgres', "CREATE OR REPLACE FUNCTION public.key_of(e pm.event) RETURNS text LANGUAGE plpgsql AS \$f\$ BEGIN IF e.type = 'bad' THEN $what; END IF; RETURN 'key ' || e.stream; END \$f\$", extra_params => [ '-U', 'app' ]);
	};
	$set->($correlate{$how});
	register('correlates', ", correlate => 'key_of', max_attempts => 2, backoff => '50 ms', handler_timeout => '300 ms'");
	append('correlates');
	$bad = answer("SELECT max(position) FROM log_correlates WHERE type = 'bad'");
	ok(PmTest::wait_until($node, "SELECT state FROM pm.status WHERE process_manager = 'correlates'", 'halted'), "correlate $how: halted")
	  or diag(status('correlates'));
	like(status('correlates'), qr/position $bad of log "log_correlates"/, "correlate $how: pm.status names the event");
	note("correlate $how: " . status('correlates', 'reason, hint'));
	is(answer("SELECT position FROM pm.cursor WHERE process_manager = 'correlates'"), $bad - 1, "correlate $how: the cursor is before it");
	is(answer("SELECT count(*) FROM pm.parked WHERE process_manager = 'correlates'"), 0, "correlate $how: nothing is parked");
	others_ok('correlates');
	$set->('NULL');
	answer("SELECT pm.resume('correlates')");
	ok(PmTest::wait_until($node, "SELECT state || lag || parked FROM pm.status WHERE process_manager = 'correlates'", 'idle00'), "correlate $how: corrected and resumed, it continues")
	  or diag(status('correlates'));
}
PmTest::once_in_key_order_ok($node, 'correlates', "SELECT 'log_correlates' AS log, position AS pos, stream AS key FROM log_correlates");

# ---- no other process manager was disturbed at any time

PmTest::exactly_once_ok($node, $_->[0], $_->[1]) for map { my $pm = $_; map { [ $pm, "log_$_" ] } @cases } qw(bystander neighbor);
is(answer("SELECT sum(errors), sum(parked) FROM pm.status WHERE process_manager IN ('bystander', 'neighbor')"), '0|0', 'bystander and neighbor never failed');
PmTest::no_crash_ok($node);
$node->stop('fast');
done_testing();
