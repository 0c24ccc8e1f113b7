# P1, P2, P3: lanes. While writers write, process managers are cut into other numbers of lanes, again and
# again, dispatchers are ended at random points and the server is stopped at once in between: nothing is
# missing, nothing is there twice, everything is in order within its key, instances and timers are right.
# The dispatchers of a role run beside each other, no more of them than there are lanes, and make room for
# other roles. What a handler does to its session in one lane is counted, and leaves the other lanes alone.
#
#   PM_LANES_SECONDS=10     for how long the writers write
#   PM_LANES_SEED           the numbers and the points of a run: it is printed
use strict;
use warnings FATAL => 'all';

use PmTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $seconds = $ENV{PM_LANES_SECONDS} || 10;
my $seed = $ENV{PM_LANES_SEED} || int(rand(1e6));
srand($seed);
note("PM_LANES_SEED=$seed, $seconds s");

my $node = PmTest::node('lanes', conf => "pm.max_workers = 6\nmax_connections = 40\nshared_buffers = 32MB\nmax_wal_size = 1GB\n");

$node->safe_psql('postgres', <<'SQL');
CREATE ROLE app LOGIN;
CREATE ROLE other LOGIN;
GRANT USAGE ON SCHEMA pm TO app, other;
GRANT CREATE ON SCHEMA public TO app, other;
SQL
PmTest::create_seen($node);

sub answer
{
	my ($sql, $role) = @_;
	return $node->safe_psql('postgres', $sql, extra_params => $role ? [ '-U', $role ] : []);
}

# How many dispatchers the role has.
sub wait_dispatchers
{
	my ($role, $count, $name) = @_;
	return ok(PmTest::wait_until($node, "SELECT count(*) FROM pm.worker WHERE kind = 'dispatcher' AND role = '$role' AND pid IS NOT NULL", $count, timeout => 20), $name)
	  || diag(answer('SELECT kind, role, state, since, process_manager, lane FROM pm.worker'));
}

# ---- they run at once

# A handler waits at the gate, but not for ever: who comes late may find its lane taken.
answer(<<'SQL', 'app');
SELECT pm.create_log('orders'), pm.create_log('payments'), pm.create_log('visits');
GRANT SELECT, INSERT ON orders, payments, visits TO other;
CREATE TABLE gate AS SELECT true AS closed;
GRANT SELECT ON gate TO other;
SQL
my $waits = 'FOR i IN 1 .. 50 LOOP EXIT WHEN NOT EXISTS (SELECT FROM gate); PERFORM pg_sleep(0.02); END LOOP;';
PmTest::create_handler($node, 'visitor', user => 'app', after => $waits);
answer("SELECT pm.register('visitor', 'visitor', '{visits}', lanes => 4, handler_timeout => '1 min')", 'app');
answer("INSERT INTO visits (stream, type) SELECT 'v' || i, 'V' FROM generate_series(1, 100) i", 'app');
my $at_the_gate = "FROM pm.worker WHERE kind = 'dispatcher' AND role = 'app' AND process_manager = 'visitor' AND state = 'handling'";
ok(PmTest::wait_until($node, "SELECT count(DISTINCT pid), string_agg(lane::text, ' ' ORDER BY lane) $at_the_gate", '4|0 1 2 3', timeout => 20), 'four lanes are handled at once, each by a dispatcher of its own')
  or diag(answer('SELECT * FROM pm.worker'));
is(answer("SELECT string_agg(DISTINCT state, ' ') FROM pm.status WHERE process_manager = 'visitor'"), 'running', 'pm.status says so');
answer('DELETE FROM gate');
ok(PmTest::wait_idle($node, timeout => 20), 'all visits are over');
PmTest::once_in_key_order_ok($node, 'visitor', "SELECT 'visits' AS log, position AS pos, stream AS key FROM visits");
is(answer("SELECT count(DISTINCT pid) FROM seen WHERE pm = 'visitor'"), 4, 'by four sessions');
# as many as there are lanes
answer("SELECT pm.register('visitor', 'visitor', '{visits}', lanes => 2)", 'app');
wait_dispatchers('app', 2, 'cut into two, two dispatchers are left');
answer("SELECT pm.register('visitor', 'visitor', '{visits}', lanes => 5)", 'app');
wait_dispatchers('app', 5, 'cut into five, there are five');
answer("SELECT pm.register('visitor', 'visitor', '{visits}')", 'app');
wait_dispatchers('app', 1, 'with one lane, there is one');

# ---- a handler that ends its session

# It says so where it is not undone.
$node->safe_psql('postgres', 'CREATE SEQUENCE ends; GRANT ALL ON ends TO app');
PmTest::create_handler($node, 'suicide', user => 'app', after => "IF e.type = 'bad' THEN PERFORM nextval('ends'), pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(10); END IF;");
answer("SELECT pm.register('suicide', 'suicide', '{visits}', lanes => 4, start_at => 'end', max_attempts => 3, backoff => '300 ms')", 'app');
wait_dispatchers('app', 4, 'a dispatcher for each lane');
# Until that is counted, its lane is nobody's, also when the others share out the lanes anew: the scheduler, which counts
# it, is stopped for a while, and another dispatcher goes.
my $scheduler = answer("SELECT pid FROM pm.worker WHERE kind = 'scheduler'");
kill('STOP', $scheduler) == 1 or die "no scheduler\n";
answer("INSERT INTO visits (stream, type) SELECT 's' || i % 20, CASE WHEN i = 25 THEN 'bad' ELSE 'good' END FROM generate_series(1, 60) i", 'app');
my $bad = answer("SELECT position FROM visits WHERE type = 'bad'");
my $bad_lane = answer("SELECT pm_catalog.lane_of('s5', 4)");
my $others_lag = "SELECT coalesce(sum(lag), 0) FROM pm.status WHERE process_manager = 'suicide' AND lane <> $bad_lane";
ok(PmTest::wait_until($node, "SELECT (SELECT is_called FROM ends), ($others_lag), (SELECT count(*) FROM pm.worker WHERE kind = 'dispatcher' AND state = 'idle')", 't|0|3', timeout => 20), 'a dispatcher is ended, and the other lanes go on')
  or diag(answer('SELECT * FROM pm.worker') . answer('SELECT * FROM pm.status'));
answer("SELECT pg_terminate_backend(pid) FROM pm.worker WHERE kind = 'dispatcher' AND state = 'idle' LIMIT 1");
ok(PmTest::wait_until($node, "SELECT count(*) FROM pm.worker WHERE kind = 'dispatcher' AND state = 'idle'", 2, timeout => 20), 'and another one');
answer("INSERT INTO visits (stream, type) SELECT 's' || i % 20, 'good' FROM generate_series(1, 60) i", 'app');
ok(PmTest::wait_until($node, "SELECT count(*) > 0 FROM pm.status WHERE process_manager = 'suicide' AND lag = 0 AND lane <> $bad_lane", 't', timeout => 20), 'those that are left go on')
  or diag(answer('SELECT * FROM pm.worker') . answer('SELECT * FROM pm.status'));
is(answer('SELECT last_value FROM ends'), 1, 'nobody has touched the lane of the first');
kill('CONT', $scheduler) == 1 or die "no scheduler\n";
ok(PmTest::wait_until($node, "SELECT state, attempts FROM pm.parked WHERE process_manager = 'suicide' AND position = $bad", 'dead|3', timeout => 30), 'a handler that ends its session is parked after max_attempts')
  or diag(answer('SELECT * FROM pm.status') . answer('SELECT * FROM pm.parked'));
is(answer('SELECT last_value FROM ends'), 3, 'and has ended so many: no other dispatcher has tried it in between');
ok(PmTest::wait_until($node, "SELECT sum(lag), sum(parked), sum(errors) FROM pm.status WHERE process_manager = 'suicide'", '0|5|3', timeout => 20), 'it is counted, and the others have gone on');
PmTest::once_in_key_order_ok($node, 'suicide', "SELECT 'visits' AS log, position AS pos, stream AS key FROM visits WHERE stream LIKE 's%' AND (stream <> 's5' OR position < $bad)", 'all other keys once and in order');
wait_dispatchers('app', 4, 'all dispatchers are there again');
answer("SELECT pm.unregister('suicide')", 'app');
wait_dispatchers('app', 1, 'unregistered, they leave');
answer("SELECT pm.unregister('visitor')", 'app');
wait_dispatchers('app', 0, 'and with the last, the last');

# ---- cut again and again under load

# Of each key: how many events of each log, and which timers have fired, how often. Some events set a timer of
# a name of their own that is due soon. One key cannot be handled as long as it is broken.
answer(<<'SQL', 'app');
CREATE TABLE broken AS SELECT true AS yes;
CREATE FUNCTION key_of(e pm.event) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT coalesce(e.data->>'key', e.stream) $$;
CREATE FUNCTION main(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $handler$
DECLARE
	s jsonb := coalesce(state, '{}');
BEGIN
	INSERT INTO public.seen (pm, log, pos, stream, key, type) VALUES ('main', e.log, e.position, e.stream, coalesce(e.data->>'key', e.stream), e.type);
	IF e.log IS NULL THEN
		RETURN s || jsonb_build_object('rung', coalesce((s->>'rung')::int, 0) + 1);
	END IF;
	IF (s#>>ARRAY[e.log, 'last'])::bigint >= e.position THEN RAISE EXCEPTION 'position % of % after %', e.position, e.log, s#>>ARRAY[e.log, 'last']; END IF;
	-- the lanes of these are behind; and a dispatcher that is ended may be ended in one of them
	PERFORM pg_sleep(0.1) WHERE e.data->>'key' IN ('key-7', 'key-17', 'key-27');
	IF e.type = 'poison' AND EXISTS (SELECT FROM public.broken) THEN RAISE EXCEPTION 'poison'; END IF;
	IF e.type = 'arm' THEN PERFORM pm.set_timer(e.log || ' ' || e.position, clock_timestamp() + e.position % 1000 * interval '1 ms'); END IF;
	RETURN s || jsonb_build_object(e.log, jsonb_build_object('n', coalesce((s#>>ARRAY[e.log, 'n'])::int, 0) + 1, 'last', e.position));
END
$handler$;
CREATE FUNCTION arrays(e pm.event[]) RETURNS void LANGUAGE sql AS $$ INSERT INTO public.seen (pm, log, pos, stream, key) SELECT 'arrays', x.log, x.position, x.stream, x.stream FROM unnest(e) WITH ORDINALITY x ORDER BY ordinality $$;
CREATE VIEW events AS
	SELECT 'orders' AS log, position AS pos, stream, data->>'key' AS key, type FROM orders
	UNION ALL SELECT 'payments', position, stream, data->>'key', type FROM payments;
GRANT SELECT ON events TO other;
-- Writes until it is stopped: some events a transaction, some of which commit late, or not at all.
CREATE PROCEDURE feed(w int, until timestamptz) LANGUAGE plpgsql AS
$$
DECLARE
	k int;
	kind text;
BEGIN
	WHILE clock_timestamp() < until LOOP
		FOR i IN 1 .. 1 + (random() * 5)::int LOOP
			k := 4 * (random() * 15)::int + w;	-- no two wait for each other
			kind := (ARRAY['plain', 'plain', 'plain', 'arm', CASE k WHEN 13 THEN 'poison' ELSE 'plain' END])[1 + floor(random() * 5)::int];
			IF random() < 0.5 THEN
				PERFORM pm.append('orders', 'order-' || k, kind, jsonb_build_object('key', 'key-' || k));
			ELSE
				INSERT INTO payments (stream, type, data) VALUES ('payment-' || k, kind, jsonb_build_object('key', 'key-' || k));
			END IF;
		END LOOP;
		PERFORM pg_sleep(power(random(), 10) * 0.5);
		IF random() < 0.1 THEN ROLLBACK; ELSE COMMIT; END IF;
		PERFORM pg_sleep(random() * 0.01);	-- the load
	END LOOP;
END
$$;
SQL
PmTest::create_handler($node, 'streams', user => 'app', before => q{PERFORM pg_sleep(0.1) WHERE e.data->>'key' IN ('key-7', 'key-17', 'key-27');});
PmTest::create_handler($node, 'neighbour', user => 'other');
answer("SELECT pm.register('neighbour', 'neighbour', '{orders,payments}', on_failure => 'halt')", 'other');
my %how = (
	main => "'main', '{orders,payments}', correlate => 'key_of', batch_size => 20, max_attempts => 3, backoff => '100 ms'",
	streams => "'streams', '{payments,orders}', batch_size => 50, max_attempts => 3, backoff => '100 ms'",
	arrays => "'arrays', '{orders,payments}', batch_size => 10, max_attempts => 3, backoff => '100 ms'");
answer("SELECT pm.register('$_', $how{$_})", 'app') for sort keys %how;

my @numbers = (4, 2, 3, 1);
my %at = map { $_ => 0 } keys %how;
my ($cuts, $ended, $with_notes, $nested, $most) = (0, 0, 0, 0, 0);
for my $half (1, 2)
{
	my $until = time + $seconds / 2;
	my @writers = map { PmTest::start_psql($node, "CALL feed($_, clock_timestamp() + interval '" . ($half == 1 ? 60 : $seconds / 2) . " s');", user => 'app') } 0 .. 3;

	answer("SELECT pm.append('orders', 'order-13', 'poison', '{\"key\": \"key-13\"}')", 'app');
	my $session = PmTest::session($node);
	while (time < $until)
	{
		my $pm = (sort keys %how)[ rand 3 ];
		# mostly in turn, so that each number comes after each other one
		my $lanes = $numbers[ $at{$pm}++ % @numbers ];
		my ($notes, $numbers, $dispatchers, $kill) = split /\|/, $session->do(sprintf <<'SQL', $pm, $how{$pm}, $lanes, rand() < 0.2 ? 1 : 0);
SET client_min_messages = error;
SET SESSION AUTHORIZATION app;
SELECT pm.register('%s', %s, lanes => %d) \g /dev/null
RESET SESSION AUTHORIZATION;
SELECT (SELECT count(*) FROM pm_catalog.former_lane r WHERE r.position > (SELECT min(position) FROM pm_catalog.cursor c WHERE c.process_manager = r.process_manager AND c.log = r.log)),
	(SELECT coalesce(max(n), 0) FROM (SELECT count(DISTINCT lanes) AS n FROM pm_catalog.former_lane GROUP BY process_manager) x),
	(SELECT count(*) FROM pm.worker WHERE kind = 'dispatcher' AND role = 'app'),
	(SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pm.worker WHERE kind = 'dispatcher' AND role = 'app' ORDER BY random() LIMIT %d) x);
SQL
		$cuts++;
		$with_notes++ if $notes > 0;
		$nested++ if $numbers > 1;
		$most = $dispatchers if $dispatchers > $most;
		$ended += $kill;
		sleep rand(0.1);
	}
	$session->quit;
	if ($half == 1)
	{
		$node->stop('immediate');
		$node->start;
	}
	for my $writer (@writers)
	{
		eval { $writer->{h}->finish; };
		# those of the first half have lost their server, and have seen no other error
		is(join(' ', grep { /ERROR/ } split /\n/, $writer->{err}), '', 'a writer wrote until then');
	}
}
note("$cuts cuts, $with_notes with lanes apart, $nested before all lanes had passed the one before; $ended dispatchers ended; up to $most at once");
cmp_ok($with_notes, '>', 3, 'lanes were cut while they were apart');
cmp_ok($nested, '>', 0, 'some before they had passed the cut before');
cmp_ok($ended, '>', 0, 'dispatchers were ended');
cmp_ok($most, '>=', 4, 'there were several');

ok(PmTest::wait_until($node, <<'SQL', '0|0|0', timeout => 60), 'everything drains')
SELECT (SELECT count(*) FROM pm.status WHERE lag > 0 OR state NOT IN ('idle', 'running')),
	(SELECT count(*) FROM pm.timer t WHERE due < now() AND NOT EXISTS (SELECT FROM pm.parked p WHERE p.process_manager = t.process_manager AND p.key = t.key)),
	(SELECT count(*) FROM pm.parked WHERE state = 'failing')
SQL
  or diag(answer('SELECT process_manager, log, lane, state, reason, lag, attempts FROM pm.status') . "\n" . answer('SELECT process_manager, log, position, key, state, attempts, message, retry_at FROM pm.parked WHERE state <> $$behind$$'));
is(answer("SELECT state, (event).type FROM pm.parked WHERE process_manager = 'main' AND key = 'key-13' AND state <> 'behind'"), 'dead|poison', 'the poisoned key is parked, dead');
is(answer("SELECT count(*) FROM pm_catalog.parked k JOIN pm_catalog.process_manager p ON p.name = k.process_manager WHERE k.lane <> pm_catalog.lane_of(k.key, p.lanes)"), 0, 'in its lane');
PmTest::once_in_key_order_ok($node, 'main', "SELECT log, pos, key FROM events WHERE key NOT IN (SELECT key FROM pm.parked WHERE process_manager = 'main') UNION ALL SELECT log, pos, key FROM seen WHERE pm = 'main' AND log IS NOT NULL AND key IN (SELECT key FROM pm.parked WHERE process_manager = 'main')",
	'main: all other keys once and in order');

# mended, in other lanes again
answer("DELETE FROM broken; SELECT pm.register('main', $how{main}, lanes => 3); SELECT count(pm.retry(process_manager, log, position)) FROM pm.parked WHERE state = 'dead'", 'app');
answer("SELECT pm.register('main', $how{main}, lanes => 4)", 'app');
ok(PmTest::wait_until($node, "SELECT (SELECT count(*) FROM pm.parked), (SELECT count(*) FROM pm.timer), (SELECT sum(lag) FROM pm.status)", '0|0|0', timeout => 60), 'mended and retried, nothing is parked, and all timers have fired')
  or diag(answer('SELECT process_manager, log, position, key, state, attempts, message, retry_at FROM pm.parked LIMIT 20') . answer('SELECT * FROM pm.timer LIMIT 20'));
PmTest::once_in_key_order_ok($node, 'main', 'SELECT log, pos, key FROM events');
PmTest::once_in_key_order_ok($node, $_, 'SELECT log, pos, stream AS key FROM events') for qw(streams arrays neighbour);
is(answer(<<'SQL'), '0|0|t', 'instances have counted each event of their key once');
CREATE TEMP TABLE expected AS SELECT key, log, count(*)::int AS n, max(pos) AS last FROM events GROUP BY key, log;
CREATE TEMP TABLE got AS SELECT key, log, (s->>'n')::int AS n, (s->>'last')::bigint AS last FROM pm.instance, jsonb_each(state - 'rung') e(log, s) WHERE process_manager = 'main';
SELECT (SELECT count(*) FROM (TABLE expected EXCEPT TABLE got) x), (SELECT count(*) FROM (TABLE got EXCEPT TABLE expected) x), (SELECT count(*) FROM got) > 60
SQL
is(answer(<<'SQL'), '0|0|0|t', 'each timer that was set fired once');
CREATE TEMP TABLE set_timers AS SELECT key, log || ' ' || pos AS type FROM events WHERE type = 'arm';
CREATE TEMP TABLE fired AS SELECT key, type FROM seen WHERE pm = 'main' AND log IS NULL;
SELECT (SELECT count(*) FROM (TABLE set_timers EXCEPT ALL TABLE fired) x), (SELECT count(*) FROM (TABLE fired EXCEPT ALL TABLE set_timers) x),
	(SELECT sum((state->>'rung')::int) FROM pm.instance) - (SELECT count(*) FROM fired), (SELECT count(*) FROM fired) > 50
SQL
is(answer("SELECT sum(handled) - (SELECT count(*) FROM seen WHERE pm = 'streams') FROM pm.status WHERE process_manager = 'streams'"), 0, 'pm.status has counted what was handled, across all cuts');
answer("SELECT pm.register('$_', $how{$_})", 'app') for sort keys %how;
wait_dispatchers('app', 1, 'with one lane each, one dispatcher is left');

# ---- other roles come first

# With two places, of which one role has both.
answer("SELECT pm.unregister(name) FROM pm.process_manager");
$node->append_conf('postgresql.conf', "pm.max_workers = 2\n");
$node->restart;
PmTest::create_handler($node, 'greedy', user => 'app', after => "PERFORM pg_sleep(0.02);");
PmTest::create_handler($node, 'modest', user => 'other');
answer("SELECT pm.register('greedy', 'greedy', '{visits}', lanes => 4, start_at => 'end', batch_size => 5)", 'app');
wait_dispatchers('app', 2, 'a role has all places');
answer("SELECT pm.register('modest', 'modest', '{payments}', start_at => 'end')", 'other');
# while that is idle, and while it has much to do
for my $busy (0, 1)
{
	if ($busy)
	{
		answer("SELECT pm.pause('modest')", 'other');
		answer("INSERT INTO visits (stream, type) SELECT 'g' || i, 'G' FROM generate_series(1, 1000) i", 'app');
		ok(PmTest::wait_until($node, "SELECT count(DISTINCT pid) FROM pm.worker WHERE role = 'app' AND process_manager = 'greedy' AND state = 'handling'", 2, timeout => 20), 'it has all places again, and much to do')
		  or diag(answer('SELECT * FROM pm.worker'));
	}
	answer("INSERT INTO payments (stream, type) VALUES ('m', 'M'); SELECT pm.resume('modest')", 'other');
	my $ok;
	my $took = PmTest::seconds { $ok = PmTest::wait_seen($node, 'modest', $busy + 1, timeout => 20); };
	ok($ok, sprintf('another role gets a dispatcher for its event (%s, %.1f s)', $busy ? 'busy' : 'idle', $took))
	  or diag(answer('SELECT * FROM pm.worker'));
	cmp_ok($took, '<', 10, 'within seconds');
}
cmp_ok(answer("SELECT sum(lag) FROM pm.status WHERE process_manager = 'greedy'"), '>', 0, 'it still had');
cmp_ok(answer("SELECT count(*) FROM pm.worker WHERE kind = 'dispatcher'"), '<=', 2, 'there are no more than pm.max_workers');
# four lanes in one or two dispatchers take turns
ok(PmTest::wait_until($node, "SELECT count(*) FROM (SELECT lane FROM pm.status s WHERE process_manager = 'greedy' AND handled > 0) x", 4, timeout => 20), 'fewer dispatchers than lanes take turns');
answer("SELECT pm.pause('greedy')", 'app');

PmTest::no_crash_ok($node);
$node->stop('fast');
done_testing();
