# Associations, with the events of an order management system: 22,367 events in three logs, of orders, items and packages.
# Three process managers, without any log of their own, find out what belongs together: an order is found by its items
# and its packages, and an item by its package. Eight sessions write the events, some of which commit late, so that
# an event can come before the one that it refers to; then correlate defers it. One event in a hundred fails at
# first. At the end, the known facts are computed from the states of the instances that have ended.
use strict;
use warnings FATAL => 'all';

use IO::Uncompress::Gunzip qw(gunzip $GunzipError);
use PmTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $file = PmTest::data_file('order-management.csv.gz');
plan skip_all => 'it needs an event log of a real system that is not part of pm; doc/testing.md says which. With it: PM_TEST_DATA=DIRECTORY make check'
  unless defined $file;

my $feeders = 8;
my $node = PmTest::node('orders', conf => "max_connections = 40\nshared_buffers = 64MB\nmax_wal_size = 2GB\ntimezone = 'UTC'\n");

sub answer
{
	my ($sql, $role) = @_;
	return $node->safe_psql('postgres', $sql, extra_params => $role ? [ '-U', $role ] : []);
}
sub is_answer { my ($sql, $expected, $name) = @_; return is(answer($sql), $expected, $name); }

# ---- the source, in the order of its rows

my $csv = PostgreSQL::Test::Utils::tempdir . '/orders.csv';
gunzip($file => $csv) or die "$file: $GunzipError";
answer('CREATE TABLE source (n bigserial PRIMARY KEY, log text, stream text, type text, occurred_at timestamptz, data jsonb)');
answer("\\copy source (log, stream, type, occurred_at, data) FROM '$csv' (FORMAT csv, HEADER)");
is_answer('SELECT count(*) FROM source', 22367, 'the file was read');

# ---- logs and process managers

answer(<<'SQL');
CREATE ROLE clerk LOGIN;
GRANT USAGE ON SCHEMA pm TO clerk;
GRANT CREATE ON SCHEMA public TO clerk;
SELECT pm.create_log(l) FROM unnest('{orders,items,packages}'::text[]) l;
GRANT SELECT ON orders, items, packages TO clerk;
CREATE SCHEMA work AUTHORIZATION clerk;
-- Session k writes the events of its streams, in the order of the source. A transaction writes those among 160 events, and
-- may commit late, but no session is more than 480 of them ahead of another.
DO $$ BEGIN FOR k IN 0 .. 7 LOOP EXECUTE format('CREATE SEQUENCE progress_%s', k); END LOOP; END $$;
CREATE FUNCTION slowest() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	at bigint;
	found bigint := 1000000;
BEGIN
	FOR k IN 0 .. 7 LOOP
		EXECUTE format('SELECT last_value FROM progress_%s', k) INTO at;
		found := least(found, at);
	END LOOP;
	RETURN found;
END $$;
CREATE PROCEDURE feed(k int) LANGUAGE plpgsql AS $$
DECLARE
	s source;
BEGIN
	PERFORM setseed(k / 100.0);
	FOR c IN 1 .. 22367 / 160 + 1 LOOP
		WHILE c > slowest() + 3 LOOP PERFORM pg_sleep(0.005); END LOOP;
		FOR s IN SELECT * FROM source WHERE n > (c - 1) * 160 AND n <= c * 160 AND abs(hashtext(log || stream)) % 8 = k ORDER BY n LOOP
			PERFORM pm.append(s.log, s.stream, s.type, s.data, jsonb_build_object('occurred_at', s.occurred_at));
		END LOOP;
		PERFORM pg_sleep(power(random(), 8) * 0.2);
		COMMIT;
		PERFORM setval(format('progress_%s', k), c);
	END LOOP;
END $$;
SQL
answer(<<'SQL', 'clerk');
-- One event in a hundred fails for the first key that is tried, until it has failed twice.
CREATE PROCEDURE work.poison(pm text, e pm.event) LANGUAGE plpgsql AS $$
DECLARE
	eid int := (e.data ->> 'eid')::int;
BEGIN
	IF e.type <> 'archive' AND eid % 100 = 7 AND nextval(format('work.%s_%s', pm, eid)) <= 2 THEN RAISE EXCEPTION 'poison %', eid; END IF;
END $$;
DO $$ BEGIN FOR eid IN 1 .. 22367 LOOP IF eid % 100 = 7 THEN EXECUTE format('CREATE SEQUENCE work.orders_%1$s; CREATE SEQUENCE work.items_%1$s; CREATE SEQUENCE work.packages_%1$s', eid); END IF; IF eid % 5000 = 0 THEN COMMIT; END IF; END LOOP; END $$;
CREATE TABLE work.calls (pm text, key text, log text, pos bigint, type text, seq bigserial);

-- The items of a package. The event that has them may have failed for some keys so far: then these do not know of it yet.
CREATE FUNCTION work.items_in(package text) RETURNS text[] LANGUAGE sql STABLE AS
$$ SELECT ARRAY(SELECT jsonb_array_elements_text(data -> 'items') FROM packages WHERE stream = package AND type = 'create package') $$;

-- An event of an item, or of a package, goes to the orders that it is found by. If these are not known yet, it comes again.
CREATE FUNCTION work.orders_of(e pm.event) RETURNS text[] LANGUAGE plpgsql STABLE AS $$
DECLARE
	found text[];
	item text;
	keys text[] := '{}';
BEGIN
	IF e.log = 'orders' THEN RETURN ARRAY[e.stream]; END IF;
	IF e.type = 'archive' THEN RETURN NULL; END IF;
	IF e.log = 'packages' AND e.type <> 'create package' THEN
		keys := ARRAY(SELECT DISTINCT o FROM unnest(work.items_in(e.stream)) i, unnest(pm.associated('item', i)) o);
		found := pm.associated('package', e.stream);
		IF found = '{}' OR cardinality(found) < cardinality(keys) THEN PERFORM pm.defer('100 ms', 'not all orders know of the package'); END IF;
		RETURN found;
	END IF;
	FOR item IN SELECT coalesce(i, e.stream) FROM (SELECT) x LEFT JOIN jsonb_array_elements_text(e.data -> 'items') i ON true LOOP
		found := pm.associated('item', item);
		IF found = '{}' THEN PERFORM pm.defer('100 ms', 'order not placed'); END IF;
		keys := keys || found;
	END LOOP;
	RETURN keys;
END $$;
CREATE FUNCTION work.orders(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	s jsonb := coalesce(state, '{"items": {}, "packages": {}, "reminders": 0}');
	eid jsonb := e.data -> 'eid';
	item text;
BEGIN
	INSERT INTO work.calls (pm, key, log, pos, type) VALUES ('orders', pm.key(), e.log, e.position, e.type);
	CALL work.poison('orders', e);
	CASE e.type
	WHEN 'place order' THEN
		s := s || jsonb_build_object('placed', eid, 'placed_at', e.metadata -> 'occurred_at');
		FOR item IN SELECT jsonb_array_elements_text(e.data -> 'items') LOOP
			PERFORM pm.associate('item', item);
			s := jsonb_set(s, ARRAY['items', item], '{}');
		END LOOP;
	WHEN 'confirm order' THEN s := s || jsonb_build_object('confirmed', eid);
	WHEN 'pay order' THEN s := s || jsonb_build_object('paid', eid);
	WHEN 'payment reminder' THEN s := s || jsonb_build_object('reminders', (s ->> 'reminders')::int + 1);
	WHEN 'create package' THEN
		PERFORM pm.associate('package', e.stream);
		s := jsonb_set(s, ARRAY['packages', e.stream], '{}');
		FOR item IN SELECT i FROM jsonb_array_elements_text(e.data -> 'items') i WHERE s -> 'items' ? i LOOP
			s := jsonb_set(s, ARRAY['items', item, 'package'], to_jsonb(e.stream));
		END LOOP;
	WHEN 'package delivered' THEN
		s := jsonb_set(s, ARRAY['packages', e.stream], jsonb_build_object('eid', eid, 'at', e.metadata -> 'occurred_at'));
	WHEN 'send package', 'failed delivery' THEN NULL;
	WHEN 'archive' THEN RETURN pm.done(s);
	-- pick item, item out of stock, reorder item
	ELSE s := jsonb_set(s, ARRAY['items', e.stream, e.type], eid);
	END CASE;
	RETURN s;
END $$;

-- An order or a package goes to each of its items, and what happens to the package goes to the items that are in it.
CREATE FUNCTION work.items_of(e pm.event) RETURNS text[] LANGUAGE plpgsql STABLE AS $$
DECLARE
	found text[];
BEGIN
	IF e.log = 'items' THEN RETURN ARRAY[e.stream]; END IF;
	IF e.type IN ('place order', 'create package') THEN RETURN ARRAY(SELECT jsonb_array_elements_text(e.data -> 'items')); END IF;
	IF e.log = 'orders' THEN RETURN NULL; END IF;
	found := pm.associated('package', e.stream);
	IF found = '{}' OR cardinality(found) < cardinality(work.items_in(e.stream)) THEN PERFORM pm.defer('100 ms', 'not all items know of the package'); END IF;
	RETURN found;
END $$;
CREATE FUNCTION work.items(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	s jsonb := coalesce(state, '{}');
BEGIN
	INSERT INTO work.calls (pm, key, log, pos, type) VALUES ('items', pm.key(), e.log, e.position, e.type);
	CALL work.poison('items', e);
	IF e.type = 'place order' THEN RETURN s || jsonb_build_object('order', e.stream); END IF;
	IF e.type = 'create package' THEN
		PERFORM pm.associate('package', e.stream);
		RETURN s || jsonb_build_object('package', e.stream);
	END IF;
	IF e.type = 'archive' THEN RETURN pm.done(s); END IF;
	RETURN s || jsonb_build_object(e.type, e.data -> 'eid', e.type || ' n', coalesce((s ->> (e.type || ' n'))::int, 0) + 1);
END $$;

CREATE FUNCTION work.packages(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	s jsonb := coalesce(state, '{}');
BEGIN
	INSERT INTO work.calls (pm, key, log, pos, type) VALUES ('packages', pm.key(), e.log, e.position, e.type);
	CALL work.poison('packages', e);
	IF e.type = 'create package' THEN RETURN s || jsonb_build_object('items', jsonb_array_length(e.data -> 'items')); END IF;
	s := s || jsonb_build_object(e.type, coalesce((s ->> e.type)::int, 0) + 1);
	RETURN CASE WHEN e.type = 'package delivered' THEN pm.done(s) ELSE s END;
END $$;
SELECT pm.register('orders', 'work.orders', '{orders,items,packages}', correlate => 'work.orders_of', backoff => '50 ms', keep_ended => '1 day');
SELECT pm.register('items', 'work.items', '{orders,items,packages}', correlate => 'work.items_of', backoff => '50 ms', keep_ended => '1 day');
SELECT pm.register('packages', 'work.packages', '{packages}', backoff => '50 ms', keep_ended => '1 day');
SQL

# ---- the events are written, and handled

my $fed = PmTest::seconds {
	my @runs = map { PmTest::start_psql($node, "CALL feed($_);") } 0 .. $feeders - 1;
	for my $run (@runs)
	{
		my ($rc, undef, $err) = PmTest::finish_psql($run);
		is($rc, 0, 'a session has written its events') or die $err;
	}
};
sub drained_ok
{
	my ($name) = @_;
	return ok(PmTest::wait_until($node, q{SELECT (SELECT count(*) FROM pm.status WHERE lag > 0 OR state <> 'idle'), (SELECT count(*) FROM pm.parked)}, '0|0', timeout => 240), $name)
	  || diag(answer('SELECT process_manager, log, state, reason, lag FROM pm.status') . "\n" . answer('SELECT process_manager, state, key, message, count(*) FROM pm.parked GROUP BY 1, 2, 3, 4 LIMIT 20'));
}
my $drained = PmTest::seconds { drained_ok('everything is handled'); };
my $failed = answer('SELECT sum(errors) FROM (SELECT DISTINCT process_manager, lane, errors FROM pm.status) s');
PmTest::figure(sprintf '22367 events written in %.1f s, handled %.1f s later; %d failures', $fed, $drained, $failed);
cmp_ok($failed, '>', 400, 'events have failed at first');
is_answer('SELECT count(*) FROM pm.status WHERE dead > 0', 0, 'none is dead');
is_answer(q{SELECT count(*) FROM (SELECT FROM work.calls GROUP BY pm, key, log, pos HAVING count(*) > 1) x}, 0, 'no event was handled twice for a key');
is_answer(q{SELECT count(*) FROM (SELECT pos < lag(pos) OVER (PARTITION BY pm, key, log ORDER BY seq) AS bad FROM work.calls WHERE log = 'orders' OR pm = 'packages') x WHERE bad}, 0,
	'events of which the key is always known are handled in their order');
is_answer(q{SELECT string_agg(concat_ws(' ', pm, n), ', ' ORDER BY pm) FROM (SELECT pm, count(*) AS n FROM work.calls GROUP BY pm) x},
	'items ' . (2 * 8159 + 11487 + answer(q{SELECT sum(jsonb_array_length(c.data -> 'items')) FROM source c JOIN source p USING (stream) WHERE c.type = 'create package' AND p.log = 'packages' AND p.type <> 'create package'}))
	  . ', orders ' . (6514 + 11487 + answer(q{SELECT count(*) FROM (SELECT DISTINCT p.n, o.stream FROM source c JOIN source p USING (stream) CROSS JOIN jsonb_array_elements_text(c.data -> 'items') i JOIN (SELECT stream, i FROM source, jsonb_array_elements_text(data -> 'items') i WHERE type = 'place order') o(stream, item) ON o.item = i WHERE c.type = 'create package' AND p.log = 'packages') x}))
	  . ', packages 4366', 'each event reached each instance that it concerns');

# ---- the instances end

answer("INSERT INTO orders (stream, type) SELECT DISTINCT stream, 'archive' FROM source WHERE log = 'orders'; INSERT INTO items (stream, type) SELECT DISTINCT stream, 'archive' FROM source WHERE log = 'items'");
drained_ok('all instances are told to end');
is_answer('SELECT count(*), (SELECT count(*) FROM pm_catalog.association) FROM pm.instance', '0|0', 'no instance is left, and no association');
is_answer(q{SELECT string_agg(concat_ws(' ', process_manager, n), ', ' ORDER BY process_manager) FROM (SELECT process_manager, count(*) AS n FROM pm.ended GROUP BY 1) x}, 'items 8159, orders 2000, packages 1325', 'all have ended');

# ---- facts

answer(<<'SQL');
CREATE TABLE o AS SELECT key AS id, result AS s, (result ->> 'confirmed')::int AS confirmed, (result ->> 'paid')::int AS paid, (result ->> 'placed')::int AS placed, (result ->> 'placed_at')::timestamptz AS placed_at
FROM pm.ended WHERE process_manager = 'orders';
CREATE TABLE d AS SELECT id, count(*) AS packages, max((p.value ->> 'eid')::int) AS delivered, max((p.value ->> 'at')::timestamptz) AS delivered_at, bool_and(p.value ? 'eid') AS fully FROM o, jsonb_each(s -> 'packages') p GROUP BY id;
CREATE TABLE it AS SELECT o.id, i.key AS item, i.value AS s, (i.value ->> 'pick item')::int AS picked FROM o, jsonb_each(o.s -> 'items') i;
SQL
is_answer('SELECT count(*), count(*) FILTER (WHERE fully), count(paid), count(confirmed) FROM o JOIN d USING (id)', '2000|2000|2000|2000', 'all are confirmed, fully delivered and paid in the end');
is_answer(q{SELECT count(*), count(DISTINCT item), count(picked), count(DISTINCT s ->> 'package') FROM it}, '8159|8159|8159|1325', 'every item is in one order and one package, and picked');
is_answer(q{SELECT string_agg(packages || ': ' || n, ', ' ORDER BY packages), sum(packages * n) FROM (SELECT packages, count(*) AS n FROM d GROUP BY 1) x}, '1: 471, 2: 869, 3: 482, 4: 150, 5: 27, 6: 1|4396', 'packages of an order');
is_answer('SELECT count(*) FROM o JOIN d USING (id) WHERE paid < delivered', 1291, 'paid before fully delivered');
is_answer('SELECT count(*), count(DISTINCT id) FROM it JOIN o USING (id) WHERE picked < confirmed', '2176|1140', 'items picked before the order is confirmed');
is_answer(q{SELECT count(DISTINCT id), count(*), bool_and(s ? 'reorder item' AND (s ->> 'item out of stock')::int < (s ->> 'reorder item')::int AND (s ->> 'reorder item')::int < picked) FROM it WHERE s ? 'item out of stock'}, '1133|1664|t', 'out of stock, reordered, then picked');
is_answer('SELECT id, extract(epoch FROM delivered_at - placed_at)::int FROM o JOIN d USING (id) ORDER BY 2 DESC LIMIT 1', '991886|8974244', 'the longest time from place to full delivery');
is_answer(q{SELECT sum((s ->> 'reminders')::int) FROM o}, 514, 'reminders');
is_answer(q{SELECT count(*) FILTER (WHERE placed <= 5000), count(*) FILTER (WHERE confirmed <= 5000), count(*) FILTER (WHERE paid <= 5000), count(*) FILTER (WHERE delivered <= 5000), count(*) FILTER (WHERE paid <= 5000 AND delivered <= 5000) FROM o JOIN d USING (id)},
	'494|482|385|370|338', 'after the first 5,000 events');
is_answer(q{SELECT sum((result ->> 'items')::int), sum((result ->> 'send package')::int), sum((result ->> 'package delivered')::int), sum((result ->> 'failed delivery')::int) FROM pm.ended WHERE process_manager = 'packages'}, '8159|1325|1325|391', 'packages, by themselves');
is_answer(q{SELECT count(*), count(*) FILTER (WHERE e.result ->> 'order' = it.id AND e.result ->> 'package' = it.s ->> 'package'), sum((e.result ->> 'package delivered n')::int), sum((e.result ->> 'failed delivery n')::int) = (SELECT sum((result ->> 'failed delivery')::int * (result ->> 'items')::int) FROM pm.ended WHERE process_manager = 'packages')
	FROM pm.ended e JOIN it ON it.item = e.key WHERE e.process_manager = 'items'}, '8159|8159|8159|t', 'items and orders agree, and each item knows what became of its package');

PmTest::no_crash_ok($node);
$node->stop('fast');
done_testing();
