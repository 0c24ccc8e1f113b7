# P4: a failing event delays only its own key. There are ten thousand instances over three logs, fed
# by concurrent writers; one key in a hundred has an event for which the handler fails. A second
# process manager with the same logic but without the error follows the same logs: each healthy key
# ends with the same rows. The events of a poisoned key are parked in order, and only the owner sees
# them. When the handler is corrected, pm.retry has them handled once and in order, while writers
# continue to write.
#
#   PM_PARKING_KEYS=10000   the number of instances
use strict;
use warnings FATAL => 'all';

use PmTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $keys = $ENV{PM_PARKING_KEYS} || 10000;
my $writers = 4;
my $node = PmTest::node('parking', conf => <<'CONF');
max_connections = 40
shared_buffers = 64MB
max_wal_size = 2GB
CONF

$node->safe_psql('postgres', <<'SQL');
CREATE ROLE app LOGIN;
CREATE ROLE stranger LOGIN;
CREATE ROLE watcher LOGIN;
GRANT pg_monitor TO watcher;
GRANT USAGE ON SCHEMA pm TO app, stranger, watcher;
GRANT CREATE ON SCHEMA public TO app;
SQL
PmTest::create_seen($node);

# An event belongs to the order that its data names, or else to its stream. For 'noise' the key is NULL.
# The state: the number of events of each log, and a number that depends on their order in the log. So
# it does not depend on how events of different logs interleave, but it is different if an event is
# lost, handled twice or out of order.
my $logic = <<'SQL';
CREATE OR REPLACE FUNCTION public.%1$s(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $handler$
DECLARE
	k text := public.key_of(e);
	n bigint := coalesce((state #>> ARRAY[e.log, 'n'])::bigint, 0);
	h bigint := coalesce((state #>> ARRAY[e.log, 'h'])::bigint, 0);
BEGIN
	INSERT INTO public.seen (pm, log, pos, stream, key, type) VALUES ('%1$s', e.log, e.position, e.stream, k, e.type);
	INSERT INTO public.effect (pm, key, log, pos) VALUES ('%1$s', k, e.log, e.position);
	%2$s
	RETURN coalesce(state, '{}') || jsonb_build_object(e.log, jsonb_build_object('n', n + 1, 'h', public.roll_step(h, e.position)));
END
$handler$;
SQL
my $fault = "IF e.type = 'poison' THEN RAISE EXCEPTION 'poison of %', k USING DETAIL = 'what the handler says', ERRCODE = 'P0042'; END IF;";

$node->safe_psql('postgres', <<'SQL' . sprintf($logic, 'parker', $fault) . sprintf($logic, 'healthy', ''), extra_params => [ '-U', 'app' ]);
SELECT pm.create_log(l) FROM unnest('{orders,payments,shipping}'::text[]) l;
CREATE FUNCTION public.key_of(e pm.event) RETURNS text LANGUAGE sql IMMUTABLE AS
$$ SELECT CASE WHEN e.type <> 'noise' THEN coalesce(e.data->>'order', e.stream) END $$;
CREATE FUNCTION public.roll_step(h bigint, pos bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS
$$ SELECT (h * 31 + pos) % 1000000007 $$;
CREATE AGGREGATE public.roll(bigint) (SFUNC = public.roll_step, STYPE = bigint, INITCOND = '0');
CREATE TABLE public.effect (pm text, key text, log text, pos bigint);

-- The events to write: for each key an order, two payments and a shipment, and a second and a third event
-- of the order. In every hundredth key one of them fails: each log and each place has its turn.
CREATE TABLE public.script (k int, step int, log text, stream text, type text, data jsonb, at double precision);
GRANT SELECT, INSERT ON orders, payments, shipping TO PUBLIC;
SQL
$node->safe_psql('postgres', <<"SQL", extra_params => [ '-U', 'app' ]);
INSERT INTO public.script
SELECT k, s.step, s.log, s.prefix || k, CASE WHEN k % 100 = 0 AND s.step = 1 + (k / 100) % 6 THEN 'poison' ELSE s.type END,
	   CASE WHEN s.log = 'orders' THEN '{}' ELSE jsonb_build_object('order', 'order-' || k) END,
	   k / 150.0 + s.step * 4 + random() * 3
FROM generate_series(1, $keys) k,
	 (VALUES (1, 'orders', 'order-', 'placed'), (2, 'payments', 'payment-', 'paid'), (3, 'orders', 'order-', 'confirmed'),
			 (4, 'shipping', 'parcel-', 'sent'), (5, 'payments', 'payment-', 'booked'), (6, 'orders', 'order-', 'closed')) s(step, log, prefix, type);
INSERT INTO public.script SELECT k, 0, 'payments', 'noise', 'noise', '{}', k / 150.0 FROM generate_series(1, $keys, 20) k;
CREATE INDEX ON public.script ((k % $writers), at, k, step);
ANALYZE public.script;
-- Writes the part of one writer: a few events in each transaction; every tenth is rolled back and repeated.
CREATE PROCEDURE public.feed(w int) LANGUAGE plpgsql AS
\$\$
DECLARE
	todo public.script[] := ARRAY(SELECT s FROM public.script s WHERE s.k % $writers = w ORDER BY at, k, step);
	i int := 1;
	upto int;
BEGIN
	PERFORM setseed(w / 10.0);
	WHILE i <= cardinality(todo) LOOP
		upto := least(i + (random() * 30)::int, cardinality(todo));
		FOR j IN i .. upto LOOP
			IF todo[j].log = 'orders' THEN INSERT INTO orders (stream, type, data) VALUES (todo[j].stream, todo[j].type, todo[j].data);
			ELSIF todo[j].log = 'payments' THEN INSERT INTO payments (stream, type, data) VALUES (todo[j].stream, todo[j].type, todo[j].data);
			ELSE INSERT INTO shipping (stream, type, data) VALUES (todo[j].stream, todo[j].type, todo[j].data);
			END IF;
		END LOOP;
		PERFORM pg_sleep(random() * 0.01);	-- the load
		IF random() < 0.1 THEN
			ROLLBACK;
		ELSE
			COMMIT;
			i := upto + 1;
		END IF;
	END LOOP;
END
\$\$;
SELECT pm.register('parker', 'parker', '{orders,payments,shipping}', correlate => 'key_of', max_attempts => 3, backoff => '300 ms');
SELECT pm.register('healthy', 'healthy', '{orders,payments,shipping}', correlate => 'key_of');
SQL

my $expected = <<'SQL';
SELECT (x.e).log, (x.e).position AS pos, public.key_of(x.e) AS key
FROM (SELECT ROW('orders', position, stream, version, type, data, metadata, recorded_at)::pm.event FROM orders
	  UNION ALL SELECT ROW('payments', position, stream, version, type, data, metadata, recorded_at)::pm.event FROM payments
	  UNION ALL SELECT ROW('shipping', position, stream, version, type, data, metadata, recorded_at)::pm.event FROM shipping) x(e)
WHERE public.key_of(x.e) IS NOT NULL
SQL
# The state that each key should have, computed in SQL.
my $computed = <<"SQL";
SELECT key, jsonb_object_agg(log, jsonb_build_object('n', n, 'h', h)) AS state
FROM (SELECT key, log, count(*) AS n, public.roll(pos ORDER BY pos) AS h FROM ($expected) x GROUP BY key, log) y GROUP BY key
SQL
my $poisoned = "SELECT 'order-' || k AS key FROM public.script WHERE type = 'poison'";

sub answer
{
	my ($sql, $role) = @_;
	return $node->safe_psql('postgres', $sql, extra_params => $role ? [ '-U', $role ] : []);
}

sub feed_ok
{
	my ($what) = @_;
	my @runs = map { PmTest::start_psql($node, "CALL feed($_);", user => 'app') } 0 .. $writers - 1;
	for my $run (@runs)
	{
		my ($rc, undef, $err) = PmTest::finish_psql($run);
		is($rc, 0, "$what: a writer ended well") or diag($err);
	}
	return;
}

# ---- writers write; events of poisoned keys are parked, the others are handled

my $bad = answer("SELECT count(*) FROM ($poisoned) x");
my $feeding = PmTest::seconds { feed_ok('first part') };
my $events = answer("SELECT count(*) FROM ($expected) x");
# Parked events do not hold the cursors back.
my $drain = PmTest::seconds
{
	ok(PmTest::wait_until($node, "SELECT count(*) FROM pm.status WHERE lag > 0 OR state NOT IN ('idle', 'running')", 0),
		'the cursors are at the end, although events are parked')
	  or diag(answer('SELECT * FROM pm.status'));
};
note(sprintf('%d keys, %d poisoned: %d events written in %.1f s by %d sessions, handled twice %.1f s later', $keys, $bad, $events, $feeding, $writers, $drain));
cmp_ok($bad, '>=', 1, 'some keys are poisoned');
ok(PmTest::wait_until($node, "SELECT count(*) FROM pm.parked WHERE process_manager = 'parker' AND state = 'dead'", $bad),
	'each of them has one event for which the handler failed max_attempts times');

PmTest::once_in_key_order_ok($node, 'healthy', $expected, 'the process manager without the fault handled everything');
is(answer("SELECT count(*) FROM pm.parked WHERE process_manager = 'healthy'"), 0, 'the process manager without the error has nothing parked');
PmTest::once_in_key_order_ok($node, 'parker', "SELECT * FROM ($expected) x WHERE key NOT IN ($poisoned) UNION ALL "
	  . "SELECT log, pos, key FROM public.seen WHERE pm = 'parker' AND key IN ($poisoned)",
	'every event of every healthy key was handled');

sub same_states_ok
{
	my ($which, $name) = @_;
	my $mine = "SELECT key, state FROM pm.instance WHERE process_manager = 'parker' AND $which";
	is(answer(<<"SQL"), '0|0|0|0|t', $name);
CREATE TEMP TABLE computed AS $computed;
SELECT (SELECT count(*) FROM (SELECT key, state FROM computed WHERE $which EXCEPT $mine) x),
	   (SELECT count(*) FROM ($mine EXCEPT SELECT key, state FROM computed WHERE $which) x),
	   (SELECT count(*) FROM (($mine) EXCEPT SELECT key, state FROM pm.instance WHERE process_manager = 'healthy') x),
	   (SELECT count(*) FROM (SELECT key, log, pos FROM effect WHERE pm = 'healthy' AND $which EXCEPT ALL
							  SELECT key, log, pos FROM effect WHERE pm = 'parker' AND $which) x),
	   (SELECT count(*) FROM computed WHERE $which) > 0
SQL
	return;
}
same_states_ok("key NOT IN ($poisoned)", 'each healthy key has the rows that it has without poison, and that SQL computes');

# ---- what is parked

is(answer(<<"SQL"), "$bad|t|t|t", 'the first event of each poisoned key, with its attempts and error');
SELECT count(*), bool_and(attempts = 3), bool_and(message = 'poison of ' || key AND detail = 'what the handler says' AND sqlstate = 'P0042'),
	   bool_and((event).type = 'poison' AND (event).position = position AND (event).log = log AND public.key_of(event) = key)
FROM pm.parked WHERE process_manager = 'parker' AND state = 'dead' AND key IN ($poisoned)
SQL
is(answer("SELECT count(*) FROM pm.parked WHERE process_manager = 'parker' AND state <> 'dead' AND (state <> 'behind' OR attempts <> 0)"), 0,
	'all others are behind, and were not tried');
is(answer(<<"SQL"), '0|0|0|0', 'each event of a poisoned key is either handled or parked; the parked ones of a log come after the handled ones');
CREATE TEMP TABLE e AS SELECT * FROM ($expected) x WHERE key IN ($poisoned);
CREATE TEMP TABLE s AS SELECT log, pos, key FROM public.seen WHERE pm = 'parker' AND key IN ($poisoned);
CREATE TEMP TABLE p AS SELECT log, position AS pos, key FROM pm.parked WHERE process_manager = 'parker';
SELECT (SELECT count(*) FROM (TABLE e EXCEPT ALL (TABLE s UNION ALL TABLE p)) x), (SELECT count(*) FROM ((TABLE s UNION ALL TABLE p) EXCEPT ALL TABLE e) x),
	   (SELECT count(*) FROM s JOIN p USING (log, key) WHERE s.pos > p.pos),
	   (SELECT count(*) FROM p WHERE key NOT IN ($poisoned))
SQL
my $parked = answer("SELECT count(*) FROM pm.parked WHERE process_manager = 'parker'");
note("$parked events are parked, $bad of them are the first of their key");
cmp_ok($parked, '>', $bad, 'there are events parked behind others');
is(answer(<<'SQL'), "$parked|0|0", 'pm.status counts them for each log');
SELECT sum(parked) FILTER (WHERE process_manager = 'parker'), sum(parked) FILTER (WHERE process_manager = 'healthy'),
	   count(*) FILTER (WHERE parked <> (SELECT count(*) FROM pm.parked p WHERE p.process_manager = s.process_manager AND p.log = s.log))
FROM pm.status s
SQL
is(answer("SELECT count(*) FROM pm.status WHERE process_manager = 'parker' AND parked > 0 AND (state <> 'idle' OR reason IS NULL OR hint NOT LIKE '%pm.parked%')"), 0,
	'the hint names pm.parked');

# P7, P6: who sees them
is(answer('SELECT (SELECT count(*) FROM pm.parked), (SELECT count(*) FROM pm.instance) > 0, (SELECT sum(parked) FROM pm.status)', 'app'), "$parked|t|$parked", 'the owner sees all of them');
is(answer('SELECT (SELECT count(*) FROM pm.parked), (SELECT count(*) FROM pm.instance), (SELECT count(*) FROM pm.timer), (SELECT count(*) FROM pm.status)', 'stranger'),
	'0|0|0|0', 'a stranger nothing');
is(answer('SELECT (SELECT count(*) FROM pm.parked), (SELECT count(*) FROM pm.instance), (SELECT sum(parked) FROM pm.status)', 'watcher'),
	"0|0|$parked", 'pg_monitor the number, and no payload');
unlike(answer("SELECT string_agg(concat_ws(' ', reason, hint), ' ') FROM pm.status", 'watcher'), qr/what the handler says|poison of/, 'pg_monitor does not see the error messages');

# P4: no event is skipped unless somebody asks for it
my ($log, $pos) = split /\|/, answer("SELECT log, position FROM pm.parked WHERE process_manager = 'parker' AND state = 'behind' ORDER BY position LIMIT 1");
for my $call ("pm.retry('parker', '$log', $pos)", "pm.discard('parker', '$log', $pos)")
{
	my ($rc, undef, $err) = $node->psql('postgres', "SELECT $call", extra_params => [ '-U', 'stranger' ]);
	isnt($rc, 0, "another role may not call $call");
	like($err, qr/must be owner|does not exist|permission denied/, 'the error says why');
}
my ($rc, undef, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT pm.retry('parker', '$log', $pos)");
like($err, qr/ERROR:  55000/, 'an event that is behind another cannot be retried');
($rc, undef, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT pm.wait_for('parker')");
like($err, qr/ERROR:  55000/, 'pm.wait_for does not wait for parked events');
my ($oldest) = answer("SELECT min(position) FROM pm.parked WHERE process_manager = 'parker' AND log = 'orders'");
($rc, undef, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT pm.trim('orders', $oldest)", extra_params => [ '-U', 'app' ]);
like($err, qr/ERROR:  55000/, 'pm.trim does not delete parked events');
is(answer("SELECT count(*) FROM orders WHERE position = $oldest"), 1, 'not even for a role with rights on the table');
($rc, undef, $err) = $node->psql('postgres', "SELECT pm.unfollow('parker', 'shipping')");
isnt($rc, 0, 'a log with parked events cannot be unfollowed');

# ---- the handler is corrected while writers continue; pm.retry has the parked events handled

$node->safe_psql('postgres', <<"SQL" . sprintf($logic, 'parker', ''), extra_params => [ '-U', 'app' ]);
-- the second part: the poisoned keys and some others again
DELETE FROM script WHERE k % 100 <> 0 AND k % 7 <> 0;
UPDATE script SET type = 'again' WHERE type = 'poison';
SQL
my @runs = map { PmTest::start_psql($node, "CALL feed($_);", user => 'app') } 0 .. $writers - 1;
ok(PmTest::wait_until($node, 'SELECT count(*) > 10 FROM orders WHERE type = \'again\'', 't', every => 0.01), 'the writers continue');
my $retried = answer("SELECT count(pm.retry(process_manager, log, position)) FROM pm.parked WHERE process_manager = 'parker' AND state IN ('dead', 'failing')", 'app');
is($retried, $bad, 'pm.retry for the first event of each key');
for my $run (@runs)
{
	($rc, undef, $err) = PmTest::finish_psql($run);
	is($rc, 0, 'a writer ended well') or diag($err);
}
my $ok;
$drain = PmTest::seconds { $ok = PmTest::wait_until($node, "SELECT (SELECT count(*) FROM pm.parked) + (SELECT count(*) FROM pm.status WHERE lag > 0)", 0); };
ok($ok, sprintf('nothing is parked any more (%.1f s after the last write)', $drain))
  or diag(answer('SELECT process_manager, state, count(*), min(message) FROM pm.parked GROUP BY 1, 2') . answer('SELECT * FROM pm.status'));

PmTest::once_in_key_order_ok($node, $_, $expected) for qw(parker healthy);
same_states_ok('true', 'each key, the poisoned ones too, has the rows that it has without poison');
is(answer("SELECT sum(parked), bool_and(state = 'idle' AND reason IS NULL) FROM pm.status"), '0|t', 'pm.status shows no parked event');
is(answer("SELECT pm.wait_for('parker')"), 't', 'pm.wait_for returns true');
is(answer("SELECT bool_and(key_of(ROW('payments', position, stream, version, type, data, metadata, recorded_at)) IS NULL), count(*) > 0 FROM payments p WHERE type = 'noise'
	AND NOT EXISTS (SELECT FROM seen WHERE log = 'payments' AND pos = p.position)"), 't|t', 'what belongs to no key was passed over');
note('failures counted: ' . answer("SELECT max(errors) FROM pm.status WHERE process_manager = 'parker'"));
# ---- more parked events of a key than fit in a batch, with a second failing event among them

$node->safe_psql('postgres', <<'SQL', extra_params => [ '-U', 'app' ]);
CREATE TABLE refused (type text);
INSERT INTO refused VALUES ('first'), ('second');
CREATE FUNCTION public.queue(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $f$
BEGIN
	INSERT INTO public.seen (pm, log, pos, stream, key, type) VALUES ('queue', e.log, e.position, e.stream, e.stream, e.type);
	IF EXISTS (SELECT FROM refused r WHERE r.type = e.type) THEN RAISE EXCEPTION 'not %', e.type; END IF;
	RETURN jsonb_build_object('n', coalesce((state->>'n')::int, 0) + 1, 'h', public.roll_step(coalesce((state->>'h')::bigint, 0), e.position));
END $f$;
SELECT pm.create_log('lines');
SELECT pm.register('queue', 'queue', '{lines}', batch_size => 10, max_attempts => 1);
INSERT INTO lines (stream, type) SELECT k, CASE WHEN k = 'long' THEN CASE i WHEN 5 THEN 'first' WHEN 60 THEN 'second' ELSE 'plain' END ELSE 'plain' END
FROM generate_series(1, 120) i, unnest('{long,short}'::text[]) k ORDER BY i, k;
SQL
my $queue = "SELECT 'lines' AS log, position AS pos, stream AS key FROM lines";
my $dead = "SELECT (event).type FROM pm.parked WHERE process_manager = 'queue' AND state = 'dead'";
for my $step ([ 'first', 4, 116 ], [ 'second', 59, 61 ])
{
	my ($type, $handled, $left) = @$step;
	my ($at) = answer("SELECT position FROM lines WHERE type = '$type'");

	ok(PmTest::wait_until($node, $dead, $type), "many parked events: the first one is the $type event");
	ok(PmTest::wait_until($node, "SELECT lag FROM pm.status WHERE process_manager = 'queue'", 0), 'the cursor is at the end');
	is(answer("SELECT count(*), count(*) FILTER (WHERE state = 'behind' AND position > $at) FROM pm.parked WHERE process_manager = 'queue'"), $left . '|' . ($left - 1), 'the rest is behind it');
	PmTest::once_in_key_order_ok($node, 'queue', "$queue WHERE stream <> 'long' OR position < $at", "$handled of its events and all others are handled");
	answer("DELETE FROM refused WHERE type = '$type'; SELECT pm.retry('queue', 'lines', $at)", 'app');
}
answer("INSERT INTO lines (stream, type) SELECT k, 'more' FROM generate_series(1, 30) i, unnest('{long,short}'::text[]) k", 'app');
ok(PmTest::wait_until($node, "SELECT lag + parked FROM pm.status WHERE process_manager = 'queue'", 0), 'then nothing is parked any more')
  or diag(answer("SELECT process_manager, state, count(*), min(message) FROM pm.parked GROUP BY 1, 2"));
PmTest::once_in_key_order_ok($node, 'queue', $queue);
is(answer("SELECT count(*) FROM pm.instance i WHERE process_manager = 'queue' AND state = (SELECT jsonb_build_object('n', count(*), 'h', public.roll(position ORDER BY position)) FROM lines WHERE stream = i.key)"), 2, 'the state is that of all events in order');

PmTest::no_crash_ok($node);
$node->stop('fast');
done_testing();
