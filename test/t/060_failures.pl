# Handlers that fail in workers, with on_failure => 'halt': they are retried with backoff, then halted, with the
# reason in pm.status. Others are not disturbed, and what succeeded took effect once. (For 'park' see 041
# and 047.)
use strict;
use warnings FATAL => 'all';

use PmTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = PmTest::node('failures', conf => "pm.max_workers = 8\nmax_connections = 40\ndeadlock_timeout = '20s'\n");

$node->safe_psql('postgres', <<'SQL');
CREATE ROLE app LOGIN;
CREATE ROLE other LOGIN;
GRANT USAGE ON SCHEMA pm TO app, other;
GRANT CREATE ON SCHEMA public TO app, other;
-- what handlers have to do, by process manager and position, as the test decides
CREATE TABLE orders_to_fail (pm text, pos bigint);
CREATE SEQUENCE attempt_no;
GRANT ALL ON orders_to_fail, attempt_no TO app, other;
SQL
PmTest::create_seen($node);

# Each case has its own log, which the failing process manager follows. "bystander" of the same role and
# "neighbor" of another role follow all of these logs.
my @cases = qw(poison middle batch slow stubborn deferred locked suicide calls leftover renumber);
$node->safe_psql('postgres', "SELECT pm.create_log('log_$_'); GRANT SELECT, INSERT ON log_$_ TO app, other") for @cases;
PmTest::create_handler($node, 'bystander', user => 'app');
PmTest::create_handler($node, 'neighbor', user => 'other');
my $all_logs = join ',', map { "log_$_" } @cases;
$node->safe_psql('postgres', "SELECT pm.register('bystander', 'bystander', '{$all_logs}')", extra_params => [ '-U', 'app' ]);
$node->safe_psql('postgres', "SELECT pm.register('neighbor', 'neighbor', '{$all_logs}')", extra_params => [ '-U', 'other' ]);

my $marked = "IF EXISTS (SELECT FROM orders_to_fail f WHERE f.pm = '%s' AND f.pos = e.position) THEN %s END IF;";

sub handler
{
	my ($name, $when_marked, %opt) = @_;
	PmTest::create_handler($node, $name, user => 'app', after => sprintf($marked, $name, $when_marked), %opt);
	return;
}

sub register
{
	my ($name, $more) = @_;
	$node->safe_psql('postgres', "SELECT pm.register('$name', '$name', '{log_$name}', on_failure => 'halt'" . ($more // '') . ')', extra_params => [ '-U', 'app' ]);
	return;
}

sub append
{
	my ($name, $n, @marks) = @_;
	$node->safe_psql('postgres', join(' ', "BEGIN;", map({ "INSERT INTO orders_to_fail VALUES ('$name', $_);" } @marks),
			"INSERT INTO log_$name (stream, type) SELECT 's', 'A' FROM generate_series(1, $n); COMMIT;"));
	return;
}

sub status
{
	my ($name, $columns) = @_;
	return $node->safe_psql('postgres', 'SELECT ' . ($columns // 'state, reason, hint') . " FROM pm.status WHERE process_manager = '$name'");
}

sub wait_state
{
	my ($name, $state) = @_;
	return PmTest::wait_until($node, "SELECT state FROM pm.status WHERE process_manager = '$name'", $state);
}

# Corrects the cause of a failure, and tests that all events are handled once.
sub mended_ok
{
	my ($name) = @_;
	$node->safe_psql('postgres', "DELETE FROM orders_to_fail WHERE pm = '$name'; SELECT pm.resume('$name')");
	ok(PmTest::wait_until($node, "SELECT state || lag FROM pm.status WHERE process_manager = '$name'", 'idle0'),
		"$name: corrected and resumed, it continues");
	PmTest::exactly_once_ok($node, $name, "log_$name");
	is(status($name, 'attempts, retry_at IS NULL, reason IS NULL'), '0|t|t', "$name: pm.status shows no failure");
	return;
}

sub others_ok
{
	my ($name) = @_;
	ok(PmTest::wait_until($node, "SELECT count(*) FROM pm.status WHERE process_manager IN ('bystander', 'neighbor') AND log = 'log_$name' AND lag > 0", 0),
		"$name: others continue");
	return;
}

# ---- an event that always fails: retried, then halted

handler('poison', "RAISE EXCEPTION 'poison at %', e.position USING DETAIL = 'the detail', HINT = 'the hint';",
	before => "PERFORM nextval('attempt_no');");
register('poison', ", max_attempts => 4, backoff => '200 ms'");
# A session looks for the state between the attempts, because a psql could start too late.
my $watcher = PmTest::session($node);
$watcher->do('CREATE TABLE watched (state text, reason text, attempts int)');
$watcher->send(<<'SQL');
DO $$
BEGIN
	FOR i IN 1 .. 9000 LOOP
		INSERT INTO watched SELECT state, reason, attempts FROM pm.status WHERE process_manager = 'poison' AND state = 'retrying';
		EXIT WHEN FOUND;
		COMMIT;
		PERFORM pg_sleep(0.02);
	END LOOP;
END $$
SQL
append('poison', 1, 1);
$watcher->wait(timeout => 240);
$watcher->quit;
like($node->safe_psql('postgres', 'SELECT state, reason, attempts FROM watched'), qr/^retrying\|.*failed at position 1 of log "log_poison": poison at 1.*\|[1-4]$/, 'poison: retrying, with the error; attempts are counted');
ok(wait_state('poison', 'halted'), 'poison: halted');
is(status('poison', 'attempts, errors'), '4|4', 'poison: max_attempts attempts');
is($node->safe_psql('postgres', 'SELECT last_value FROM attempt_no'), '4', 'the handler was called that often');
like(status('poison'), qr/halted\|the handler failed at position 1 of log "log_poison": poison at 1\|.*pm\.resume\('poison'\)/, 'poison: reason and hint');
# the time between attempts: 0.2, 0.4, 0.8 s and up to 10 % more
my @times = PmTest::logged_at($node, qr/"poison" in database "postgres": the handler failed at position 1 /);
is(scalar @times, 4, "four failures in the server's log");
my @gaps = map { $times[$_ + 1] - $times[$_] } 0 .. $#times - 1;
diag('poison: between the attempts ' . join(', ', map { sprintf '%.2f s', $_ } @gaps));
ok($gaps[$_] > 0.18 * 2**$_ && $gaps[$_] < 0.23 * 2**$_ + 0.5, 'backoff doubles') for 0 .. 2;
others_ok('poison');
my $before = $node->safe_psql('postgres', 'SELECT last_value FROM attempt_no');
append('poison', 3);
others_ok('poison');
is($node->safe_psql('postgres', 'SELECT last_value FROM attempt_no'), $before, 'while it is halted the handler is not called');
# resumed without a correction it halts again; then pm.seek passes the event
$node->safe_psql('postgres', "SELECT pm.resume('poison')");
ok(PmTest::wait_until($node, "SELECT state || ' ' || errors FROM pm.status WHERE process_manager = 'poison'", 'halted 8'), 'resumed without a correction it halts again, after new attempts');
mended_ok('poison');

# ---- one failing event in a batch of a hundred

handler('middle', "RAISE EXCEPTION 'bad';");
register('middle', ", max_attempts => 2, backoff => '100 ms'");
$node->safe_psql('postgres', "SELECT pm.pause('middle')");
append('middle', 100, 57);
$node->safe_psql('postgres', "SELECT pm.resume('middle')");
ok(wait_state('middle', 'halted'), 'middle: halted');
is($node->safe_psql('postgres', "SELECT count(*), max(pos) FROM seen WHERE pm = 'middle'"), '56|56', 'the events before it took effect once');
is(status('middle', 'position'), '56', 'the cursor is before it');
others_ok('middle');
mended_ok('middle');

# the same for a handler of arrays
$node->safe_psql('postgres', <<'SQL', extra_params => [ '-U', 'app' ]);
CREATE FUNCTION public.batch(e pm.event[]) RETURNS void LANGUAGE plpgsql AS
$$BEGIN
	INSERT INTO public.seen (pm, log, pos) SELECT 'batch', x.log, x.position FROM unnest(e) WITH ORDINALITY x ORDER BY x.ordinality;
	IF EXISTS (SELECT FROM unnest(e) x JOIN orders_to_fail f ON f.pm = 'batch' AND f.pos = x.position) THEN RAISE EXCEPTION 'bad batch'; END IF;
END$$;
SQL
register('batch', ", max_attempts => 2, backoff => '100 ms'");
$node->safe_psql('postgres', "SELECT pm.pause('batch')");
append('batch', 100, 42);
$node->safe_psql('postgres', "SELECT pm.resume('batch')");
ok(wait_state('batch', 'halted'), 'batch: halted');
is($node->safe_psql('postgres', "SELECT count(*), max(pos) FROM seen WHERE pm = 'batch'"), '41|41', 'the events before it took effect once');
like(status('batch'), qr/failed at position 42 of log "log_batch": bad batch/, 'the failing event is found');
mended_ok('batch');

# ---- a slow handler is canceled; for one that ignores that, its dispatcher is killed

handler('slow', 'PERFORM pg_sleep(60);');
register('slow', ", max_attempts => 2, backoff => '100 ms', handler_timeout => '500 ms'");
append('slow', 5, 3);
ok(wait_state('slow', 'halted'), 'slow: halted');
my $appended = $node->safe_psql('postgres', 'SELECT extract(epoch FROM max(recorded_at)) FROM log_slow');
my $took = (PmTest::logged_at($node, qr/"slow" in database "postgres": the handler failed/))[-1] - $appended;
cmp_ok($took, '<', 8, sprintf('soon (%.1f s)', $took));
like(status('slow'), qr/position 3 .*did not return within handler_timeout/, 'slow: the reason');
is($node->safe_psql('postgres', "SELECT count(*) FROM seen WHERE pm = 'slow'"), 2, 'slow: the other events took effect');
others_ok('slow');
mended_ok('slow');

my $dispatcher = $node->safe_psql('postgres', "SELECT pid FROM pm.worker WHERE kind = 'dispatcher' AND role = 'app'");
handler('stubborn', "FOR i IN 1 .. 100 LOOP BEGIN PERFORM pg_sleep(60); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP;");
register('stubborn', ", max_attempts => 2, backoff => '100 ms', handler_timeout => '500 ms'");
append('stubborn', 5, 3);
$took = PmTest::seconds { ok(wait_state('stubborn', 'halted'), 'stubborn: halted'); };
diag(sprintf('a handler that catches its cancel: halted after %.1f s', $took));
is(status('stubborn', 'attempts'), 2, 'stubborn: after max_attempts');
like(status('stubborn'), qr/position 3 of log "log_stubborn".*did not return within handler_timeout/, 'stubborn: the reason');
isnt($node->safe_psql('postgres', "SELECT pid FROM pm.worker WHERE kind = 'dispatcher' AND role = 'app'"), $dispatcher, 'another dispatcher has taken over');
is($node->safe_psql('postgres', "SELECT count(*) FROM seen WHERE pm = 'stubborn'"), 2, 'stubborn: the other events took effect');
append('stubborn', 1);
others_ok('stubborn');
mended_ok('stubborn');

# ---- a deferred constraint fails at commit

$node->safe_psql('postgres', <<'SQL');
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (id int REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
GRANT ALL ON parent, child TO app;
SQL
handler('deferred', 'INSERT INTO child VALUES (e.position);');
register('deferred', ", max_attempts => 2, backoff => '100 ms'");
$node->safe_psql('postgres', "SELECT pm.pause('deferred')");
append('deferred', 30, 17);
$node->safe_psql('postgres', "SELECT pm.resume('deferred')");
ok(wait_state('deferred', 'halted'), 'deferred: halted');
like(status('deferred'), qr/position 17 .*foreign key constraint/, 'deferred: the event and the reason');
is($node->safe_psql('postgres', "SELECT count(*) FROM seen WHERE pm = 'deferred'"), 16, 'deferred: the events before it took effect');
$node->safe_psql('postgres', 'INSERT INTO parent VALUES (17); SELECT pm.resume(\'deferred\')');
ok(PmTest::wait_until($node, "SELECT state || lag FROM pm.status WHERE process_manager = 'deferred'", 'idle0'), 'deferred: with corrected data it continues');
PmTest::exactly_once_ok($node, 'deferred', 'log_deferred');

# ---- a deadlock with an application: the handler is the victim, is retried, and this is not counted

$node->safe_psql('postgres', 'CREATE TABLE account (id int PRIMARY KEY, n int); INSERT INTO account VALUES (1, 0), (2, 0); GRANT ALL ON account TO app');
PmTest::create_handler($node, 'locked', user => 'app', after =>
	'UPDATE account SET n = n + 1 WHERE id = 2; PERFORM pg_advisory_xact_lock(1); UPDATE account SET n = n + 1 WHERE id = 1;');
register('locked', ", max_attempts => 1, handler_timeout => '5 min'");
my ($session, $gate) = map { PmTest::session($node) } 1 .. 2;
for my $round (1 .. 2)
{
	$gate->do('SELECT pg_advisory_lock(1)');
	$session->do('BEGIN; UPDATE account SET n = n WHERE id = 1');
	append('locked', 1);
	ok(PmTest::wait_until($node, "SELECT count(*) FROM pg_locks l JOIN pm.worker w ON w.pid = l.pid WHERE w.process_manager = 'locked' AND l.locktype = 'advisory' AND NOT l.granted", 1), "deadlock, round $round: the handler is running");
	# The application waits first. A session checks only once, deadlock_timeout after it began to wait, and the
	# dispatcher's check comes sooner.
	$session->send('UPDATE account SET n = n WHERE id = 2');
	ok(PmTest::wait_until($node, "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid = " . $session->pid, 1), "deadlock, round $round: the application waits for the handler");
	$gate->do('SELECT pg_advisory_unlock(1)');
	my $answer = eval { $session->wait; 1 };
	ok($answer, "deadlock, round $round: the application is not the victim") or diag($@);
	$session->do('COMMIT', may_fail => 1);
}
$_->quit for $session, $gate;
ok(PmTest::wait_until($node, "SELECT state || lag FROM pm.status WHERE process_manager = 'locked'", 'idle0'), 'deadlock: the handler is retried')
  or diag(status('locked'));
ok(PmTest::wait_until($node, "SELECT deadlocks >= 2 FROM pg_stat_database WHERE datname = 'postgres'", 't'), 'there was a deadlock in each round');
is($node->safe_psql('postgres', 'SELECT sum(n), count(*) FROM account'), '4|2', 'its effects are there once');
PmTest::exactly_once_ok($node, 'locked', 'log_locked');

# ---- a handler that terminates its own session

handler('suicide', 'PERFORM pg_terminate_backend(pg_backend_pid());');
register('suicide', ", max_attempts => 2, backoff => '100 ms'");
append('suicide', 5, 3);
others_ok('suicide');
# every stop, wait or failure is visible, and nothing repeats forever without being counted
ok(wait_state('suicide', 'halted'), 'suicide: a handler that terminates its session is halted in the end')
  or diag(status('suicide', 'state, reason, attempts, errors'));
is($node->safe_psql('postgres', "SELECT count(*) FROM seen WHERE pm = 'suicide'"), 2, 'suicide: the other events took effect');
append('suicide', 1);
others_ok('suicide');
mended_ok('suicide');

# ---- calls that a handler must not make

my %call = (
	catch_up => "PERFORM pm.catch_up('calls');",
	catch_up_all => 'PERFORM pm.catch_up();',
	seek => "PERFORM pm.seek('calls', 'log_calls', 0);",
	unregister => "PERFORM pm.unregister('calls');",
	unfollow => "PERFORM pm.unfollow('calls', 'log_calls');",
	pause => "PERFORM pm.pause('calls');",
	resume => "PERFORM pm.resume('calls');",
	resume_all => 'PERFORM pm.resume();',
	register => "PERFORM pm.register('calls', 'calls', '{log_calls}');",
	wait_for => "PERFORM pm.wait_for('calls');",
	commit => 'COMMIT;',
	rollback => 'ROLLBACK;',
	drop_extension => 'DROP EXTENSION pm CASCADE;',
	prepare => "EXECUTE 'PREPARE TRANSACTION ''x''';",
);
handler('calls', '');
register('calls', ", max_attempts => 1");
my $n = 0;
for my $name (sort keys %call)
{
	handler('calls', $call{$name});
	append('calls', 1, ++$n);
	ok(wait_state('calls', 'halted'), "$name by a handler is an error") or diag(status('calls'));
	diag("$name: " . status('calls', 'reason'));
	is($node->safe_psql('postgres', "SELECT count(*) FROM seen WHERE pm = 'calls' AND pos = $n"), 0, "$name: no effect is left");
	$node->safe_psql('postgres', "DELETE FROM orders_to_fail WHERE pm = 'calls'; SELECT pm.resume('calls')");
	ok(wait_state('calls', 'idle'), "$name: then it continues");
}
PmTest::exactly_once_ok($node, 'calls', 'log_calls');
others_ok('calls');

# ---- what a failed attempt leaves in its session does not hide the reason of the failure

handler('leftover', "RAISE EXCEPTION 'the real reason';", before => "EXECUTE 'PREPARE leftover AS SELECT 1'; PERFORM pg_advisory_lock(42);");
register('leftover', ", max_attempts => 3, backoff => '50 ms', batch_size => 1");
append('leftover', 1, 1);
ok(wait_state('leftover', 'halted'), 'leftover: halted');
like(status('leftover'), qr/the real reason/, 'pm.status shows the failure, not what an earlier attempt left');
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"), 0, 'no session lock of a failed attempt is left');
mended_ok('leftover');

# ---- passing a failing event with a subquery

append('renumber', 5, 3);
handler('renumber', "RAISE EXCEPTION 'never';");
register('renumber', ", max_attempts => 1, start_at => 'beginning'");
ok(wait_state('renumber', 'halted'), 'renumber: halted');
my (undef, undef, $err) = $node->psql('postgres',
	"SELECT pm.seek('renumber', 'log_renumber', (SELECT min(position) FROM log_renumber WHERE position > 2))");
is($err, '', 'pm.seek to a position that the same statement looks up in the log');
ok(PmTest::wait_until($node, "SELECT state || lag FROM pm.status WHERE process_manager = 'renumber'", 'idle0'), 'it continues after the event that was passed');
is($node->safe_psql('postgres', "SELECT string_agg(pos::text, ',' ORDER BY seq) FROM seen WHERE pm = 'renumber'"), '1,2,4,5', 'it handles the others once');

# ---- no other process manager was disturbed at any time

PmTest::exactly_once_ok($node, $_->[0], $_->[1]) for map { my $pm = $_; map { [ $pm, "log_$_" ] } @cases } qw(bystander neighbor);
is($node->safe_psql('postgres', "SELECT sum(errors) FROM pm.status WHERE process_manager IN ('bystander', 'neighbor')"), 0, 'bystander and neighbor never failed');
PmTest::no_crash_ok($node);
$node->stop('fast');
done_testing();
