# P1, P2, P3: lanes. While writers write, the numbers of lanes change again and again, dispatchers are
# terminated at random points, and the server is stopped in immediate mode in between. Nothing is lost or
# handled twice, each key is handled in order, and instances and timers are right. A role has as many
# concurrent dispatchers as it can use lanes, and fewer when other roles need the places. If a handler
# terminates its session in one lane, this is counted for that lane and does not affect the others.
#
#   PM_LANES_SECONDS=10     how long the writers write
#   PM_LANES_SEED           the seed for the numbers and the points; it is printed
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

# Waits until the role has this number of dispatchers.
sub wait_dispatchers
{
	my ($role, $count, $name) = @_;
	return ok(PmTest::wait_until($node, "SELECT count(*) FROM pm.worker WHERE kind = 'dispatcher' AND role = '$role' AND pid IS NOT NULL", $count), $name)
	  || diag(answer('SELECT kind, role, state, since, process_manager, lane FROM pm.worker'));
}

# ---- lanes run concurrently

# The handler waits until all four are there, but not forever: a dispatcher that comes late may find its lane taken.
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
ok(PmTest::wait_until($node, "SELECT count(DISTINCT pid), string_agg(lane::text, ' ' ORDER BY lane) $at_the_gate", '4|0 1 2 3'), 'four lanes are handled concurrently, each by its own dispatcher')
  or diag(answer('SELECT * FROM pm.worker'));
is(answer("SELECT string_agg(DISTINCT state, ' ') FROM pm.status WHERE process_manager = 'visitor'"), 'running', 'pm.status shows them running');
answer('DELETE FROM gate');
ok(PmTest::wait_idle($node), 'all calls have ended');
PmTest::once_in_key_order_ok($node, 'visitor', "SELECT 'visits' AS log, position AS pos, stream AS key FROM visits");
is(answer("SELECT count(DISTINCT pid) FROM seen WHERE pm = 'visitor'"), 4, 'there were four sessions');
# as many dispatchers as lanes
answer("SELECT pm.register('visitor', 'visitor', '{visits}', lanes => 2)", 'app');
wait_dispatchers('app', 2, 'with two lanes there are two dispatchers');
answer("SELECT pm.register('visitor', 'visitor', '{visits}', lanes => 5)", 'app');
wait_dispatchers('app', 5, 'with five lanes there are five');
answer("SELECT pm.register('visitor', 'visitor', '{visits}')", 'app');
wait_dispatchers('app', 1, 'with one lane there is one');

# ---- a handler that terminates its session

# A sequence counts the calls, because a rollback does not undo it.
$node->safe_psql('postgres', 'CREATE SEQUENCE ends; GRANT ALL ON ends TO app');
PmTest::create_handler($node, 'suicide', user => 'app', after => "IF e.type = 'bad' THEN PERFORM nextval('ends'), pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(10); END IF;");
answer("SELECT pm.register('suicide', 'suicide', '{visits}', lanes => 4, start_at => 'end', max_attempts => 3, backoff => '300 ms')", 'app');
wait_dispatchers('app', 4, 'there is a dispatcher for each lane');
# Until the failure is counted, no other dispatcher takes the lane, not even when the lanes are distributed again. The scheduler
# counts it, so the scheduler is stopped for a while, and another dispatcher is terminated.
my $scheduler = answer("SELECT pid FROM pm.worker WHERE kind = 'scheduler'");
kill('STOP', $scheduler) == 1 or die "no scheduler\n";
answer("INSERT INTO visits (stream, type) SELECT 's' || i % 20, CASE WHEN i = 25 THEN 'bad' ELSE 'good' END FROM generate_series(1, 60) i", 'app');
my $bad = answer("SELECT position FROM visits WHERE type = 'bad'");
my $bad_lane = answer("SELECT pm_catalog.lane_of('s5', 4)");
my $others_lag = "SELECT coalesce(sum(lag), 0) FROM pm.status WHERE process_manager = 'suicide' AND lane <> $bad_lane";
ok(PmTest::wait_until($node, "SELECT (SELECT is_called FROM ends), ($others_lag), (SELECT count(*) FROM pm.worker WHERE kind = 'dispatcher' AND state = 'idle')", 't|0|3'), 'a dispatcher is terminated, and the other lanes continue')
  or diag(answer('SELECT * FROM pm.worker') . answer('SELECT * FROM pm.status'));
answer("SELECT pg_terminate_backend(pid) FROM pm.worker WHERE kind = 'dispatcher' AND state = 'idle' LIMIT 1");
ok(PmTest::wait_until($node, "SELECT count(*) FROM pm.worker WHERE kind = 'dispatcher' AND state = 'idle'", 2), 'another dispatcher is terminated');
answer("INSERT INTO visits (stream, type) SELECT 's' || i % 20, 'good' FROM generate_series(1, 60) i", 'app');
ok(PmTest::wait_until($node, "SELECT count(*) > 0 FROM pm.status WHERE process_manager = 'suicide' AND lag = 0 AND lane <> $bad_lane", 't'), 'the remaining lanes continue')
  or diag(answer('SELECT * FROM pm.worker') . answer('SELECT * FROM pm.status'));
is(answer('SELECT last_value FROM ends'), 1, 'no dispatcher has taken the lane of the first one');
kill('CONT', $scheduler) == 1 or die "no scheduler\n";
ok(PmTest::wait_until($node, "SELECT state, attempts FROM pm.parked WHERE process_manager = 'suicide' AND position = $bad", 'dead|3'), 'the event of a handler that terminates its session is parked after max_attempts')
  or diag(answer('SELECT * FROM pm.status') . answer('SELECT * FROM pm.parked'));
is(answer('SELECT last_value FROM ends'), 3, 'it has terminated as many sessions: no other dispatcher has tried it in between');
ok(PmTest::wait_until($node, "SELECT sum(lag), sum(parked), sum(errors) FROM pm.status WHERE process_manager = 'suicide'", '0|5|3'), 'it is counted, and the other lanes have gone on');
PmTest::once_in_key_order_ok($node, 'suicide', "SELECT 'visits' AS log, position AS pos, stream AS key FROM visits WHERE stream LIKE 's%' AND (stream <> 's5' OR position < $bad)", 'all other keys are handled once and in order');
wait_dispatchers('app', 4, 'all dispatchers are there again');
answer("SELECT pm.unregister('suicide')", 'app');
wait_dispatchers('app', 1, 'after pm.unregister the dispatchers end');
answer("SELECT pm.unregister('visitor')", 'app');
wait_dispatchers('app', 0, 'without any process manager the last one ends');

# ---- the number of lanes changes again and again under load

# The state of a key: the number of events of each log, and which timers have fired how often. Some events set a timer
# with a name of its own that is due soon. One key fails as long as it is in the table "broken".
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
	-- the lanes of these keys fall behind, and a dispatcher may be terminated during the wait
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
-- Writes until it is stopped: some events in each transaction, some of which commit late or roll back.
CREATE PROCEDURE feed(w int, until timestamptz) LANGUAGE plpgsql AS
$$
DECLARE
	k int;
	kind text;
BEGIN
	WHILE clock_timestamp() < until LOOP
		FOR i IN 1 .. 1 + (random() * 5)::int LOOP
			k := 4 * (random() * 15)::int + w;	-- no two writers wait for each other
			kind := (ARRAY['plain', 'plain', 'plain', 'arm', CASE k WHEN 13 THEN 'poison' ELSE 'plain' END])[1 + floor(random() * 5)::int];
			IF random() < 0.5 THEN
				PERFORM pm.append('orders', 'order-' || k, kind, jsonb_build_object('key', 'key-' || k));
			ELSE
				INSERT INTO payments (stream, type, data) VALUES ('payment-' || k, kind, jsonb_build_object('key', 'key-' || k));
			END IF;
		END LOOP;
		PERFORM pg_sleep(power(random(), 10) * 0.5);
		IF random() < 0.1 THEN ROLLBACK; ELSE COMMIT; END IF;
		PERFORM pg_sleep(random() * 0.01);	-- limits the load
	END LOOP;
END
$$;
SQL
PmTest::create_handler($node, 'streams', user => 'app', before => q{PERFORM pg_sleep(0.1) WHERE e.data->>'key' IN ('key-7', 'key-17', 'key-27');});
PmTest::create_handler($node, 'neighbor', user => 'other');
# Each event goes to its key and to that of a group, mostly in another lane.
answer(<<'SQL', 'app');
CREATE FUNCTION fan(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.seen (pm, log, pos, stream, key) VALUES ('fan', e.log, e.position, e.stream, pm.key());
	RETURN jsonb_build_object('n', coalesce((state ->> 'n')::int, 0) + 1);
END $$;
CREATE FUNCTION group_of(key text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'group-' || substr(key, 5)::int % 7 $$;
CREATE FUNCTION keys_of(e pm.event) RETURNS text[] LANGUAGE sql IMMUTABLE AS $$ SELECT ARRAY[e.data->>'key', group_of(e.data->>'key')] $$;
SQL
answer("SELECT pm.register('neighbor', 'neighbor', '{orders,payments}', on_failure => 'halt')", 'other');
my %how = (
	main => "'main', '{orders,payments}', correlate => 'key_of', batch_size => 20, max_attempts => 3, backoff => '100 ms'",
	streams => "'streams', '{payments,orders}', batch_size => 50, max_attempts => 3, backoff => '100 ms'",
	fan => "'fan', '{orders,payments}', correlate => 'keys_of', batch_size => 20",
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
		# mostly in turn, so that each number comes after every other one
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
		# the writers of the first half lost the connection to their server, and got no other error
		is(join(' ', grep { /ERROR/ } split /\n/, $writer->{err}), '', 'a writer wrote until the stop');
	}
}
note("$cuts changes, $with_notes with lanes apart, $nested before all lanes had passed the previous one; $ended dispatchers terminated; up to $most at once");
cmp_ok($with_notes, '>', 3, 'the number changed while lanes were apart');
cmp_ok($nested, '>', 0, 'and again before they had passed the previous change');
cmp_ok($ended, '>', 0, 'dispatchers were terminated');
cmp_ok($most, '>=', 4, 'there were several at once');

ok(PmTest::wait_until($node, <<'SQL', '0|0|0'), 'everything is handled')
SELECT (SELECT count(*) FROM pm.status WHERE lag > 0 OR state NOT IN ('idle', 'running')),
	(SELECT count(*) FROM pm.timer t WHERE due < now() AND NOT EXISTS (SELECT FROM pm.parked p WHERE p.process_manager = t.process_manager AND p.key = t.key)),
	(SELECT count(*) FROM pm.parked WHERE state = 'failing')
SQL
  or diag(answer('SELECT process_manager, log, lane, state, reason, lag, attempts FROM pm.status') . "\n" . answer('SELECT process_manager, log, position, key, state, attempts, message, retry_at FROM pm.parked WHERE state <> $$behind$$'));
is(answer("SELECT state, (event).type FROM pm.parked WHERE process_manager = 'main' AND key = 'key-13' AND state <> 'behind'"), 'dead|poison', 'the poisoned key is parked as dead');
is(answer("SELECT count(*) FROM pm_catalog.parked k JOIN pm_catalog.process_manager p ON p.name = k.process_manager WHERE k.lane <> pm_catalog.lane_of(k.key, p.lanes)"), 0, 'in its lane');
PmTest::once_in_key_order_ok($node, 'main', "SELECT log, pos, key FROM events WHERE key NOT IN (SELECT key FROM pm.parked WHERE process_manager = 'main') UNION ALL SELECT log, pos, key FROM seen WHERE pm = 'main' AND log IS NOT NULL AND key IN (SELECT key FROM pm.parked WHERE process_manager = 'main')",
	'main: all other keys are handled once and in order');

# corrected, with another number of lanes
answer("DELETE FROM broken; SELECT pm.register('main', $how{main}, lanes => 3); SELECT count(pm.retry(process_manager, log, position)) FROM pm.parked WHERE state = 'dead'", 'app');
answer("SELECT pm.register('main', $how{main}, lanes => 4)", 'app');
ok(PmTest::wait_until($node, "SELECT (SELECT count(*) FROM pm.parked), (SELECT count(*) FROM pm.timer), (SELECT sum(lag) FROM pm.status)", '0|0|0'), 'corrected and retried, nothing is parked, and all timers have fired')
  or diag(answer('SELECT process_manager, log, position, key, state, attempts, message, retry_at FROM pm.parked LIMIT 20') . answer('SELECT * FROM pm.timer LIMIT 20'));
PmTest::once_in_key_order_ok($node, 'main', 'SELECT log, pos, key FROM events');
PmTest::once_in_key_order_ok($node, $_, 'SELECT log, pos, stream AS key FROM events') for qw(streams arrays neighbor);
PmTest::once_in_key_order_ok($node, 'fan', 'SELECT log, pos, key FROM events UNION ALL SELECT log, pos, group_of(key) FROM events', 'fan: each event once for each of its keys, in order');
is(answer("SELECT sum((state ->> 'n')::int) - (SELECT 2 * count(*) FROM events), bool_and(key ~ '^(key|group)-') FROM pm.instance WHERE process_manager = 'fan'"), '0|t', 'and its instances have counted them');
is(answer(<<'SQL'), '0|0|t', 'the instances have counted each event of their key once');
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
is(answer("SELECT sum(handled) - (SELECT count(*) FROM seen WHERE pm = 'streams') FROM pm.status WHERE process_manager = 'streams'"), 0, 'pm.status counts what was handled, across all changes');
answer("SELECT pm.register('$_', $how{$_})", 'app') for sort keys %how;
wait_dispatchers('app', 1, 'with one lane each, one dispatcher is left');

# ---- other roles get places first

# with two places, both of which one role has
answer("SELECT pm.unregister(name) FROM pm.process_manager");
$node->append_conf('postgresql.conf', "pm.max_workers = 2\n");
$node->restart;
PmTest::create_handler($node, 'greedy', user => 'app', after => "PERFORM pg_sleep(0.02);");
PmTest::create_handler($node, 'modest', user => 'other');
answer("SELECT pm.register('greedy', 'greedy', '{visits}', lanes => 4, start_at => 'end', batch_size => 5)", 'app');
wait_dispatchers('app', 2, 'one role has all places');
answer("SELECT pm.register('modest', 'modest', '{payments}', start_at => 'end')", 'other');
# while that role is idle, and while it is busy
for my $busy (0, 1)
{
	if ($busy)
	{
		answer("SELECT pm.pause('modest')", 'other');
		answer("INSERT INTO visits (stream, type) SELECT 'g' || i, 'G' FROM generate_series(1, 1000) i", 'app');
		ok(PmTest::wait_until($node, "SELECT count(DISTINCT pid) FROM pm.worker WHERE role = 'app' AND process_manager = 'greedy' AND state = 'handling'", 2), 'it has all places again, and is busy')
		  or diag(answer('SELECT * FROM pm.worker'));
	}
	answer("INSERT INTO payments (stream, type) VALUES ('m', 'M'); SELECT pm.resume('modest')", 'other');
	my $since = time;
	my $ok = PmTest::wait_seen($node, 'modest', $busy + 1);
	my $took = PmTest::handled_at($node, "pm = 'modest'") - $since;
	ok($ok, sprintf('another role gets a dispatcher for its event (%s, %.1f s)', $busy ? 'busy' : 'idle', $took))
	  or diag(answer('SELECT * FROM pm.worker'));
	cmp_ok($took, '<', 10, 'the other role is served within seconds');
}
cmp_ok(answer("SELECT sum(lag) FROM pm.status WHERE process_manager = 'greedy'"), '>', 0, 'while the first role was still busy');
cmp_ok(answer("SELECT count(*) FROM pm.worker WHERE kind = 'dispatcher'"), '<=', 2, 'there are no more dispatchers than pm.max_workers');
# four lanes take turns in one or two dispatchers
ok(PmTest::wait_until($node, "SELECT count(*) FROM (SELECT lane FROM pm.status s WHERE process_manager = 'greedy' AND handled > 0) x", 4), 'the lanes take turns when there are fewer dispatchers');
answer("SELECT pm.pause('greedy')", 'app');

PmTest::no_crash_ok($node);
$node->stop('fast');
done_testing();
