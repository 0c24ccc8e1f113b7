# P1, P2, P3, P4 across crashes. While writers write, dispatchers are killed, the postmaster is killed
# and the server is stopped in immediate mode, in random order at random points. At the end everything
# is handled, and instances, cursors, parked events, timers and effects agree with what one session
# computes with pm.catch_up from the same logs. Events that only shared a crash are not left parked.
#
#   PM_CRASHES=12           the number of crashes (50 with PM_SOAK=1)
#   PM_CRASH_SEED           the seed for the order and the points of the crashes; it is printed
use strict;
use warnings FATAL => 'all';

use PmTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $crashes = $ENV{PM_CRASHES} || ($ENV{PM_SOAK} ? 50 : 12);
my $seed = $ENV{PM_CRASH_SEED} || int(rand(1e6));
srand($seed);
note("PM_CRASH_SEED=$seed, $crashes crashes");

my $keys = 40 * $crashes;
my $node = PmTest::node('crash', conf => <<'CONF');
restart_after_crash = on
max_connections = 40
shared_buffers = 32MB
max_wal_size = 1GB
checkpoint_timeout = 30s
CONF

$node->safe_psql('postgres', <<'SQL');
CREATE ROLE app LOGIN;
CREATE ROLE other LOGIN;
GRANT USAGE ON SCHEMA pm TO app, other;
GRANT CREATE ON SCHEMA public TO app, other;
SQL
PmTest::create_seen($node);

# The state does not depend on the order of events of different logs, nor on when a timer fires. It
# does depend on each event and timer of the key, on how often it was handled, and on the order in a log:
#   n and h of each log    the number of events, and a number that depends on their order
#   rung                   which of its timers have fired, and how often
# 'arm' sets a timer with a name of its own that is due soon. 'remind' sets one that is due long after the
# test; 'settle', later in the same log, replaces or cancels it. So pm.timer has to agree, too.
my $logic = <<'SQL';
CREATE OR REPLACE FUNCTION public.%1$s(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $handler$
DECLARE
	s jsonb := coalesce(state, '{}');
BEGIN
	INSERT INTO public.seen (pm, log, pos, stream, key, type) VALUES ('%1$s', e.log, e.position, e.stream, coalesce(e.data->>'key', e.stream), e.type);
	IF e.log IS NULL THEN
		RETURN jsonb_set(s, '{rung}', coalesce(s->'rung', '{}') || jsonb_build_object(e.type, coalesce((s#>>ARRAY['rung', e.type])::int, 0) + 1));
	END IF;
	-- dispatchers are killed during one of these
	PERFORM pg_sleep(0.1) WHERE '%1$s' = 'main' AND e.position %% 200 = 7;
	IF e.type = 'poison' AND EXISTS (SELECT FROM public.broken) THEN RAISE EXCEPTION 'poison'; END IF;
	IF e.type = 'arm' THEN
		PERFORM pm.set_timer(e.log || ' ' || e.position, e.recorded_at + e.position %% 1500 * interval '1 ms');
	ELSIF e.type = 'remind' THEN
		PERFORM pm.set_timer('remind ' || e.log, e.recorded_at + interval '1 day', jsonb_build_object('by', e.position));
	ELSIF e.type = 'settle' AND e.position %% 2 = 0 THEN
		PERFORM pm.cancel_timer('remind ' || e.log);
	ELSIF e.type = 'settle' THEN
		PERFORM pm.set_timer('remind ' || e.log, e.recorded_at + interval '2 days', jsonb_build_object('by', e.position));
	END IF;
	RETURN s || jsonb_build_object(e.log, jsonb_build_object('n', coalesce((s#>>ARRAY[e.log, 'n'])::int, 0) + 1,
		'h', (coalesce((s#>>ARRAY[e.log, 'h'])::bigint, 0) * 31 + e.position) %% 1000000007));
END
$handler$;
SQL
$node->safe_psql('postgres', <<"SQL", extra_params => [ '-U', 'app' ]);
SELECT pm.create_log(l) FROM unnest('{orders,payments,shipping,answers}'::text[]) l;
GRANT SELECT, INSERT ON orders, payments, shipping TO other;
CREATE TABLE broken AS SELECT true AS yes;
CREATE FUNCTION key_of(e pm.event) RETURNS text LANGUAGE sql IMMUTABLE AS \$\$ SELECT coalesce(e.data->>'key', e.stream) \$\$;
CREATE VIEW events AS
	SELECT 'orders' AS log, position AS pos, coalesce(data->>'key', stream) AS key, type, recorded_at FROM orders
	UNION ALL SELECT 'payments', position, coalesce(data->>'key', stream), type, recorded_at FROM payments
	UNION ALL SELECT 'shipping', position, coalesce(data->>'key', stream), type, recorded_at FROM shipping;
GRANT SELECT ON events TO other;
-- A dispatcher that is running a handler, or after some time any dispatcher.
CREATE FUNCTION busy() RETURNS int LANGUAGE plpgsql AS
\$\$
DECLARE
	found int;
BEGIN
	FOR i IN 1 .. 5000 LOOP
		SELECT pid INTO found FROM pg_stat_activity WHERE backend_type = 'pm dispatcher' AND wait_event = 'PgSleep';
		EXIT WHEN found IS NOT NULL;
		PERFORM pg_sleep(0.001);
		PERFORM pg_stat_clear_snapshot();
	END LOOP;
	RETURN coalesce(found, (SELECT pid FROM pg_stat_activity WHERE backend_type = 'pm dispatcher' LIMIT 1));
END
\$\$;
-- Writes until it is stopped: some events of random keys in each transaction. Every fiftieth key is
-- poisoned: one of its orders fails.
CREATE TABLE poison (key text PRIMARY KEY);
CREATE PROCEDURE feed(w int, until timestamptz) LANGUAGE plpgsql AS
\$\$
DECLARE
	k int;
	mine text;
	kind text;
BEGIN
	-- On a slow machine, there must not be more to handle.
	FOR n IN 1 .. 200 LOOP
		EXIT WHEN clock_timestamp() >= until;
		FOR i IN 1 .. (random() * 8)::int LOOP
			k := 4 * (random() * $keys / 4)::int + w;
			mine := 'key-' || k;
			kind := (ARRAY['plain', 'plain', 'arm', 'remind', 'settle'])[1 + floor(random() * 5)::int];
			CASE floor(random() * 3)::int
			WHEN 0 THEN
				IF k % 50 = 0 AND NOT EXISTS (SELECT FROM poison p WHERE p.key = mine) THEN
					INSERT INTO poison VALUES (mine);
					kind := 'poison';
				END IF;
				PERFORM pm.append('orders', mine, kind);
			WHEN 1 THEN INSERT INTO payments (stream, type, data) VALUES ('pay-' || k, kind, jsonb_build_object('key', mine));
			ELSE INSERT INTO shipping (stream, type, data) VALUES ('ship-' || k, kind, jsonb_build_object('key', mine));
			END CASE;
		END LOOP;
		IF random() < 0.1 THEN ROLLBACK; ELSE COMMIT; END IF;
		PERFORM pg_sleep(random() * 0.01);	-- the load
	END LOOP;
END
\$\$;
SQL
$node->safe_psql('postgres', sprintf($logic, 'main') . sprintf($logic, 'control') . <<'SQL', extra_params => [ '-U', 'app' ]);
SELECT pm.register('main', 'main', '{orders,payments,shipping}', correlate => 'key_of', max_attempts => 3, backoff => '200 ms', batch_size => 50, journal => true, keep_ended => '1 day');
SQL
# Two process managers whose events have several keys, and two that compute the same again. "fan": each event goes to its key
# and to a group of keys, and fails only for its key. "wide": after an event of type arm, its instance is found by its group,
# and an event of type settle goes to all instances that are found. The result depends on the order of the events in the log,
# so "wide" does not park.
my $several = <<'SQL';
CREATE OR REPLACE FUNCTION public.%1$s(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $handler$
BEGIN
	INSERT INTO public.seen (pm, log, pos, stream, key, type) VALUES ('%1$s', e.log, e.position, e.stream, pm.key(), e.type);
	IF e.type = 'poison' AND pm.key() = e.stream AND '%1$s' LIKE 'fan%%' AND EXISTS (SELECT FROM public.broken) THEN RAISE EXCEPTION 'poison'; END IF;
	IF e.type = 'arm' AND '%1$s' LIKE 'wide%%' THEN PERFORM pm.associate('group', group_of(e)); END IF;
	RETURN coalesce(state, '{}') || jsonb_build_object(e.log, jsonb_build_object('n', coalesce((state#>>ARRAY[e.log, 'n'])::int, 0) + 1,
		'h', (coalesce((state#>>ARRAY[e.log, 'h'])::bigint, 0) * 31 + e.position) %% 1000000007));
END
$handler$;
SQL
# "ends": an instance of it ends at every third of its events, and begins again at the next. It appends an event with an id
# that it derives from the event that is being handled, and sends one to the instance of a group, which counts what it gets.
my $ending = <<'SQL';
CREATE OR REPLACE FUNCTION public.%1$s(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $handler$
DECLARE
	n int := coalesce((state ->> 'n')::int, 0) + 1;
BEGIN
	INSERT INTO public.seen (pm, log, pos, stream, key, type) VALUES ('%1$s', e.log, e.position, e.stream, pm.key(), concat_ws(' ', e.type, e.data ->> 'from'));
	IF e.type = 'confirmed' THEN RETURN state; END IF;
	IF e.log IS NOT NULL THEN
		PERFORM pm.append('answers', '%1$s', 'answered', jsonb_build_object('to', e.position), id => '%1$s ' || e.position);
		PERFORM pm.append('answers', '%1$s', 'answered again', jsonb_build_object('to', e.position), id => '%1$s ' || e.position);
		PERFORM pm.send('%1$s', group_of(e), 'told', jsonb_build_object('from', e.position));
		IF n = 3 THEN RETURN pm.done(jsonb_build_object('last', e.position)); END IF;
	END IF;
	RETURN jsonb_build_object('n', n);
END
$handler$;
SQL
$node->safe_psql('postgres', <<'SQL' . join('', (map { sprintf($several, $_) } qw(fan fan_control wide wide_control)), (map { sprintf($ending, $_) } qw(ends ends_control))) . <<'SQL', extra_params => [ '-U', 'app' ]);
CREATE FUNCTION group_of(e pm.event) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'group-' || substr(key_of(e), 5)::int % 7 $$;
CREATE FUNCTION fan_keys(e pm.event) RETURNS text[] LANGUAGE sql IMMUTABLE AS $$ SELECT ARRAY[key_of(e), group_of(e), key_of(e)] $$;
CREATE FUNCTION wide_keys(e pm.event) RETURNS text[] LANGUAGE sql STABLE AS $$ SELECT CASE e.type WHEN 'settle' THEN pm.associated('group', group_of(e)) ELSE ARRAY[key_of(e)] END $$;
SQL
SELECT pm.register('fan', 'fan', '{orders,payments,shipping}', correlate => 'fan_keys', lanes => 2, max_attempts => 3, backoff => '200 ms', batch_size => 50);
SELECT pm.register('wide', 'wide', '{orders}', correlate => 'wide_keys', on_failure => 'halt', max_attempts => 20, backoff => '10 ms', batch_size => 50);
SELECT pm.register('ends', 'ends', '{payments}', correlate => 'key_of', types => '{settle}', lanes => 2, backoff => '200 ms', batch_size => 50, keep_ended => '1 day');
SQL
# "outside": a consumer handles what "ends" has appended, keeps a state, and answers the instance that has appended it. It is
# registered before the others begin, so that each event can be answered.
$node->safe_psql('postgres', <<'SQL', extra_params => [ '-U', 'app' ]);
CREATE FUNCTION outside_key(e pm.event) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'to-' || (e.data ->> 'to')::int % 11 $$;
SELECT pm.register('outside', NULL, '{answers}', correlate => 'outside_key', lanes => 2, lease => '30 s', journal => true);
CREATE PROCEDURE consume(me text, until timestamptz) LANGUAGE plpgsql AS
$$
DECLARE
	batch jsonb;
	one record;
BEGIN
	WHILE clock_timestamp() < until LOOP
		SELECT jsonb_agg(f) INTO batch FROM pm.fetch('outside', me, 10) f;
		COMMIT;
		CONTINUE WHEN batch IS NULL AND pg_sleep(0.03) IS NOT NULL;
		FOR one IN SELECT (f ->> 'lane')::int AS lane, (f ->> 'position')::bigint AS pos, f ->> 'key' AS key
			FROM jsonb_array_elements(batch) WITH ORDINALITY x(f, n) ORDER BY n LOOP
			INSERT INTO seen (pm, log, pos, key) VALUES ('outside', 'answers', one.pos, one.key);
			PERFORM pm.reply('answers', one.pos, 'confirmed', jsonb_build_object('from', one.pos));
		END LOOP;
		PERFORM pm.save('outside', me, k, jsonb_build_object('n', coalesce((s ->> 'n')::int, 0) + count, 'last', last))
			FROM (SELECT f ->> 'key' AS k, f -> 'state' AS s, count(*), max((f ->> 'position')::bigint) AS last FROM jsonb_array_elements(batch) f GROUP BY 1, 2) x;
		PERFORM pm.advance('outside', me, one.lane);
		COMMIT;
	END LOOP;
END
$$;
SQL
# Other process managers: one of the same role, and one of another role, which would halt if it were blamed.
PmTest::create_handler($node, 'beside', user => 'app');
PmTest::create_handler($node, 'neighbor', user => 'other');
$node->safe_psql('postgres', "SELECT pm.register('beside', 'beside', '{orders}')", extra_params => [ '-U', 'app' ]);
$node->safe_psql('postgres', "SELECT pm.register('neighbor', 'neighbor', '{orders,payments,shipping}', on_failure => 'halt')", extra_params => [ '-U', 'other' ]);

my $expected = 'SELECT log, pos, key FROM events';

sub answer
{
	my ($sql, $role) = @_;
	return $node->safe_psql('postgres', $sql, extra_params => $role ? [ '-U', $role ] : []);
}

# ---- crashes

my %done;
my @kinds = map { (qw(dispatcher postmaster immediate))[ $_ % 3 ] } 0 .. $crashes - 1;
# in random order
for my $i (reverse 1 .. $#kinds)
{
	my $j = int(rand($i + 1));
	@kinds[ $i, $j ] = @kinds[ $j, $i ];
}
my $began = time;
my $slowest = 0;
for my $kind (@kinds)
{
	my @runs = map { PmTest::start_psql($node, "CALL feed($_, clock_timestamp() + interval '20 s');", user => 'app') } 0 .. 3;
	my $consumer = PmTest::start_psql($node, "CALL consume('c', clock_timestamp() + interval '20 s');", user => 'app');

	# The point: after this many more events and timers, and a moment later.
	my $target = answer("SELECT count(*) FROM seen WHERE pm = 'main'") + 50 + int(rand(400));
	ok(PmTest::wait_until($node, "SELECT count(*) >= $target FROM seen WHERE pm = 'main'", 't', every => 0.02), "$kind: there is progress before it")
	  or do { diag(answer('SELECT * FROM pm.status')); last };
	sleep rand(0.03);
	if ($kind eq 'dispatcher')
	{
		ok(PmTest::crash($node, answer('SELECT busy()')), 'the server is up again');
	}
	elsif ($kind eq 'postmaster')
	{
		my $down = PmTest::seconds { PmTest::kill_postmaster($node); };
		$slowest = $down if $down > $slowest;
	}
	else
	{
		$node->stop('immediate');
		$node->start;
	}
	$done{$kind}++;
	# The writers lost the connection to their server, and got no other error.
	for my $run (@runs, $consumer)
	{
		eval { $run->{h}->finish; };
		my @errors = grep { /ERROR/ } split /\n/, $run->{err};
		is("@errors", '', 'a writer wrote until the crash');
	}
}
PmTest::figure(sprintf('%s, in %.0f s; slowest start after a killed postmaster: %.1f s', join(', ', map { "$_ $done{$_}" } sort keys %done), time - $began, $slowest));

my $suspects = () = PostgreSQL::Test::Utils::slurp_file($node->logfile) =~ /"(?:main|beside)" in database "postgres": the handler failed .*the server crashed while the handler ran/g;
PmTest::figure("$suspects events were being handled by those that were killed");
cmp_ok($suspects, '>', 0, 'dispatchers were killed while they ran a handler');

my $consumer = PmTest::start_psql($node, "CALL consume('c', clock_timestamp() + interval '600 s');", user => 'app');

# ---- what must hold while some events still fail

my $events = answer('SELECT count(*) FROM events');
my $bad = answer("SELECT count(*) FROM poison p WHERE EXISTS (SELECT FROM events e WHERE e.key = p.key AND e.type = 'poison')");
my $all_due = "(SELECT count(*) FROM pm.timer WHERE due < now() AND key NOT IN (SELECT key FROM poison))";
my $drained;
my $drain = PmTest::seconds { $drained = PmTest::wait_until($node,
	"SELECT (SELECT count(*) FROM pm.status WHERE lag > 0 OR state NOT IN ('idle', 'running') AND process_manager <> 'outside'), $all_due, (SELECT count(*) FROM pm.parked WHERE state = 'failing')", '0|0|0', timeout => 240); };
ok($drained, sprintf('everything drains (%.1f s)', $drain))
  or diag(answer('SELECT process_manager, log, state, reason, lag, attempts FROM pm.status') . "\n" . answer('SELECT process_manager, log, position, key, state, attempts, message, retry_at FROM pm.parked WHERE state <> $$behind$$'));
PmTest::figure("$events events, $bad poisoned keys, " . answer("SELECT count(*) FROM seen WHERE pm = 'main' AND log IS NULL") . ' timers fired');
cmp_ok($bad, '>', 0, 'there are failing events');
is(answer("SELECT process_manager, count(*) FROM pm.parked WHERE state <> 'behind' AND key NOT IN (SELECT key FROM poison) GROUP BY 1"), '', 'no event of a healthy key is left parked');
is(answer("SELECT log, pos, key FROM events WHERE type = 'poison' ORDER BY 1, 2"), answer("SELECT log, position, key FROM pm.parked WHERE process_manager = '$_' AND state <> 'behind' ORDER BY 1, 2"),
	"$_: the first parked event of each key is the one that fails") for qw(main fan);
is(answer("SELECT DISTINCT state FROM pm.parked WHERE process_manager = 'main' AND state <> 'behind'"), 'dead', 'they have failed max_attempts times');
PmTest::once_in_key_order_ok($node, 'main', "$expected WHERE key NOT IN (SELECT key FROM poison) UNION ALL SELECT log, pos, key FROM seen WHERE pm = 'main' AND key IN (SELECT key FROM poison) AND log IS NOT NULL",
	'main: every event of a healthy key is handled once and in order');
is(answer(<<'SQL'), '0|0|0', 'main: each event of a poisoned key is either handled or parked, in order');
CREATE TEMP TABLE e AS SELECT log, pos, key FROM events WHERE key IN (SELECT key FROM poison);
CREATE TEMP TABLE s AS SELECT log, pos, key FROM seen WHERE pm = 'main' AND log IS NOT NULL AND key IN (SELECT key FROM poison);
CREATE TEMP TABLE p AS SELECT log, position AS pos, key FROM pm.parked WHERE process_manager = 'main' AND log IS NOT NULL;
SELECT (SELECT count(*) FROM (TABLE e EXCEPT ALL (TABLE s UNION ALL TABLE p)) x), (SELECT count(*) FROM ((TABLE s UNION ALL TABLE p) EXCEPT ALL TABLE e) x),
	   (SELECT count(*) FROM s JOIN p USING (log, key) WHERE s.pos > p.pos)
SQL
PmTest::exactly_once_ok($node, $_->[0], $_->[1], "$_->[0]: everything in $_->[1] once")
  for [ 'neighbor', 'orders' ], [ 'neighbor', 'payments' ], [ 'neighbor', 'shipping' ];
PmTest::once_in_key_order_ok($node, 'beside', "SELECT 'orders' AS log, position AS pos, stream AS key FROM orders", 'beside: everything in orders once');

# ---- after the correction everything agrees with one session that computes it from the logs

answer("DELETE FROM broken; SELECT count(pm.retry(process_manager, log, position)) FROM pm.parked WHERE state = 'dead'");
ok(PmTest::wait_until($node, "SELECT (SELECT count(*) FROM pm.parked), (SELECT count(*) FROM pm.timer WHERE due < now())", '0|0'), 'corrected and retried, nothing is parked')
  or diag(answer('SELECT process_manager, log, position, key, state, attempts, message FROM pm.parked WHERE state <> $$behind$$ LIMIT 20'));
ok(PmTest::wait_until($node, "SELECT sum(lag) FROM pm.status WHERE process_manager = 'outside'", '0'), 'outside: everything is advanced');
$consumer->{h}->kill_kill(grace => 0);
ok(PmTest::wait_until($node, 'SELECT (SELECT count(*) FROM pm_catalog.sent), (SELECT count(*) FROM pm_catalog.timer WHERE sent)', '0|0'), 'what was sent is handled');
PmTest::once_in_key_order_ok($node, 'main', $expected, 'main: every event once and in order');
# What consumers keep, computed again from the log.
my $answers = "(SELECT *, 'to-' || (data ->> 'to')::int % 11 AS key FROM answers WHERE stream = 'ends')";
sub same_ok
{
	my ($name, $one, $other) = @_;
	is(answer("SELECT (SELECT count(*) FROM ($one EXCEPT ALL $other) x), (SELECT count(*) FROM ($other EXCEPT ALL $one) x), (SELECT count(*) FROM ($one) x) > 0"), '0|0|t', $name)
	  or diag(answer("($one EXCEPT ALL $other) LIMIT 5") . "\n-- and:\n" . answer("($other EXCEPT ALL $one) LIMIT 5"));
	return;
}
same_ok('each event of ends has a row with which it can be answered',
	"SELECT a.position, p.data ->> 'key' AS key, 'answered' AS type FROM answers a JOIN payments p ON p.position = (a.data ->> 'to')::bigint WHERE a.stream = 'ends'",
	"SELECT position, key, type FROM pm_catalog.reply_to WHERE log = 'answers'");
same_ok('each answer has come to its instance, once',
	"SELECT p.data ->> 'key' AS key, 'confirmed ' || a.position AS type FROM answers a JOIN payments p ON p.position = (a.data ->> 'to')::bigint WHERE a.stream = 'ends'",
	"SELECT key, type FROM seen WHERE pm = 'ends' AND type LIKE 'confirmed %'");
same_ok('outside: the instances are those that the log makes',
	"SELECT key, jsonb_build_object('n', count(*), 'last', max(position)) AS state FROM $answers a GROUP BY key",
	"SELECT key, state FROM pm.instance WHERE process_manager = 'outside'");
same_ok('outside: the journal has each event once, in its order',
	"SELECT key, position, row_number() OVER (PARTITION BY key ORDER BY position) AS seq FROM $answers a",
	"SELECT key, position, seq FROM pm.journal WHERE process_manager = 'outside' AND log = 'answers' AND type = 'answered'");
is(answer("SELECT count(*) FROM pm_catalog.instance i JOIN LATERAL (SELECT state, seq FROM pm_catalog.journal j WHERE j.process_manager = i.process_manager AND j.key = i.key ORDER BY id DESC LIMIT 1) j ON true WHERE process_manager = 'outside' AND (j.state <> i.state OR j.seq <> i.entries)"), 0, 'outside: the last entry has the state of the instance');
PmTest::once_in_key_order_ok($node, 'outside', "SELECT 'answers' AS log, position AS pos, key FROM $answers a", 'outside: every event once and in order');
$node->safe_psql('postgres', 'ALTER SYSTEM SET pm.launcher = off');
$node->reload;
ok(PmTest::wait_until($node, "SELECT count(*) FROM pg_stat_activity WHERE backend_type IN ('pm scheduler', 'pm dispatcher')", 0), 'there are no workers');
my $counted;
my $again = PmTest::seconds { $counted = answer("SET client_min_messages = error; SELECT pm.register('control', 'control', '{orders,payments,shipping}', correlate => 'key_of', start_at => 'beginning', journal => true, keep_ended => '1 day'); SELECT pm.catch_up('control')", 'app'); };
answer("SET client_min_messages = error; SELECT pm.register('fan_control', 'fan_control', '{orders,payments,shipping}', correlate => 'fan_keys', start_at => 'beginning'); SELECT pm.catch_up('fan_control')", 'app');
answer("SET client_min_messages = error; SELECT pm.register('wide_control', 'wide_control', '{orders}', correlate => 'wide_keys', start_at => 'beginning'); SELECT pm.catch_up('wide_control')", 'app');
answer("SET client_min_messages = error; SELECT pm.register('ends_control', 'ends_control', '{payments}', correlate => 'key_of', types => '{settle}', start_at => 'beginning', keep_ended => '1 day'); SELECT pm.catch_up('ends_control')", 'app');
$counted =~ s/\s//g;
PmTest::figure(sprintf('pm.catch_up: %d events and timers in %.1f s', $counted, $again));
PmTest::once_in_key_order_ok($node, 'control', $expected, 'control: pm.catch_up handles all of them');

sub agree_ok
{
	my ($sql, $name, @pms) = @_;
	my ($main, $control) = map { sprintf($sql, $_) } @pms ? @pms : qw(main control);
	my $answer = answer("SELECT (SELECT count(*) FROM ($main EXCEPT ALL $control) x), (SELECT count(*) FROM ($control EXCEPT ALL $main) x), (SELECT count(*) FROM ($main) x) > 0");
	is($answer, '0|0|t', "$name agree")
	  or diag(answer("($main EXCEPT ALL $control) LIMIT 5") . "\n-- control:\n" . answer("($control EXCEPT ALL $main) LIMIT 5"));
	return;
}
agree_ok("SELECT key, state FROM pm.instance WHERE process_manager = '%s'", 'instances');
agree_ok("SELECT log, position, lane FROM pm.cursor WHERE process_manager = '%s'", 'cursors');
agree_ok("SELECT key, type, due, data FROM pm.timer WHERE process_manager = '%s'", 'timers to come');
agree_ok("SELECT key, type FROM seen WHERE pm = '%s' AND log IS NULL", 'timers fired');
agree_ok("SELECT log, pos, key, type FROM seen WHERE pm = '%s' AND log IS NOT NULL", 'effects');
agree_ok("SELECT key, log, position, type FROM pm.journal WHERE process_manager = '%s'", 'journals');
for my $pm (qw(main control))
{
	is(answer("SELECT count(*) FROM (SELECT key, log, pos, type FROM seen WHERE pm = '$pm' EXCEPT ALL SELECT key, log, position, type FROM pm.journal WHERE process_manager = '$pm') x"), 0, "$pm: each call has an entry");
	is(answer("SELECT count(*) FROM (SELECT seq, row_number() OVER (PARTITION BY key ORDER BY id) AS n FROM pm_catalog.journal WHERE process_manager = '$pm') x WHERE seq <> n"), 0, "$pm: the entries of each key are numbered");
	is(answer("SELECT count(*) FROM pm_catalog.instance i JOIN LATERAL (SELECT state, seq FROM pm_catalog.journal j WHERE j.process_manager = i.process_manager AND j.key = i.key ORDER BY id DESC LIMIT 1) j ON true WHERE process_manager = '$pm' AND (j.state <> i.state OR j.seq <> i.entries)"), 0, "$pm: the last entry has the state of the instance");
}
for my $pm (qw(fan wide))
{
	agree_ok("SELECT key, state FROM pm.instance WHERE process_manager = '%s'", "$pm: instances", $pm, "${pm}_control");
	agree_ok("SELECT log, pos, key, type FROM seen WHERE pm = '%s'", "$pm: effects", $pm, "${pm}_control");
	agree_ok("SELECT kind, value, key FROM pm_catalog.association WHERE process_manager = '%s'", "$pm: associations", $pm, "${pm}_control") if $pm eq 'wide';
	is(answer("SELECT count(*) FROM (SELECT pos <= lag(pos) OVER (PARTITION BY log, key ORDER BY seq) AS bad FROM seen WHERE pm = '$pm') x WHERE bad"), 0, "$pm: each key in the order of each log");
}
agree_ok("SELECT key, state FROM pm.instance WHERE process_manager = '%s'", 'ends: instances', qw(ends ends_control));
agree_ok("SELECT key, state, result FROM pm.ended WHERE process_manager = '%s'", 'ends: ended instances', qw(ends ends_control));
agree_ok("SELECT log, pos, key, type FROM seen WHERE pm = '%s' AND type NOT LIKE 'confirmed %%'", 'ends: effects of events and of what was sent', qw(ends ends_control));
agree_ok("SELECT type, data FROM answers WHERE stream = '%s'", 'ends: appended events', qw(ends ends_control));
is(answer("SELECT count(*), count(DISTINCT data), min(type) = max(type) FROM answers WHERE stream = 'ends'"), answer(q{SELECT count(*), count(*), true FROM payments WHERE type = 'settle'}), 'ends: each id is appended once');
is(answer("SELECT count(*) FROM seen WHERE pm = 'ends' AND type LIKE 'told %'"), answer(q{SELECT count(*) FROM payments WHERE type = 'settle'}), 'ends: what was sent has come once');
is(answer("SELECT count(*) FROM (SELECT log, pos, key FROM events UNION ALL SELECT log, pos, 'group-' || substr(key, 5)::int % 7 FROM events EXCEPT ALL SELECT log, pos, key FROM seen WHERE pm = 'fan') x"), 0, 'fan: each event for each of its keys');
is(answer("SELECT count(*) FROM (SELECT key, type FROM seen WHERE pm = 'main' AND log IS NULL EXCEPT ALL SELECT key, log || ' ' || pos FROM events WHERE type = 'arm') x"), 0, 'each timer that was set fired once');
is(answer("SELECT count(*) FROM (SELECT key, log || ' ' || pos FROM events WHERE type = 'arm' EXCEPT ALL SELECT key, type FROM seen WHERE pm = 'main' AND log IS NULL) x"), 0, 'none is missing');
is(answer("SELECT count(*) FROM pm.parked"), 0, 'nothing is parked');

PmTest::no_crash_ok($node);
$node->stop('fast');
done_testing();
