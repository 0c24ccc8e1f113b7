# Real events: eight sessions append two event logs of other systems, in the order of the file within
# each stream, with late commits and rollbacks. The handlers get all events once, in the order of the
# positions. Known facts about the data are computed from what the handlers have written.
use strict;
use warnings FATAL => 'all';

use IO::Uncompress::Gunzip qw(gunzip $GunzipError);
use PmTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $orders = PmTest::data_file('order-management.csv.gz');
my $permit = PmTest::data_file('permit-receipt.csv.gz');
plan skip_all => 'it needs two event logs of real systems that are not part of pm; doc/testing.md says which. With them: PM_TEST_DATA=DIRECTORY make check'
  unless defined $orders && defined $permit;

my $feeders = 8;
my $node = PmTest::node('real', conf => <<'CONF');
max_connections = 40
shared_buffers = 64MB
max_wal_size = 2GB
timezone = 'UTC'
CONF

sub is_answer
{
	my ($sql, $expected, $name) = @_;
	is($node->safe_psql('postgres', $sql), $expected, $name);
	return;
}

# ---- the source, in the order of its rows

my $dir = PostgreSQL::Test::Utils::tempdir;
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE source (n bigserial PRIMARY KEY, log text, stream text, type text, occurred_at timestamptz, data jsonb);
SQL
for my $file ($permit, $orders)
{
	my $csv = "$dir/" . ($file eq $permit ? 'permit' : 'orders') . '.csv';

	gunzip($file => $csv) or die "$file: $GunzipError";
	$node->safe_psql('postgres',
		"\\copy source (log, stream, type, occurred_at, data) FROM '$csv' (FORMAT csv, HEADER)");
}
is_answer('SELECT count(*) FROM source', 8577 + 22367, 'the files were read');

# ---- logs and handlers

$node->safe_psql('postgres', <<'SQL');
CREATE ROLE clerk LOGIN;
GRANT USAGE ON SCHEMA pm TO clerk;
SELECT pm.create_log(l) FROM unnest('{permit,orders,items,packages}'::text[]) l;
GRANT SELECT ON permit, orders, items, packages TO clerk;
ALTER TABLE source ADD v bigint;
UPDATE source s SET v = x.v
FROM (SELECT n, row_number() OVER (PARTITION BY log, stream ORDER BY n) AS v FROM source) x WHERE x.n = s.n;
CREATE INDEX ON source (log, stream, v);
VACUUM ANALYZE source;

-- what was handled; there is no unique key
CREATE SCHEMA work AUTHORIZATION clerk;
SET ROLE clerk;
CREATE TABLE work.seen (pm text, seq bigserial, log text, pos bigint, stream text, version bigint, type text,
	data jsonb, occurred_at timestamptz);
CREATE FUNCTION work.keep(e pm.event, pm text) RETURNS void LANGUAGE sql AS
$$INSERT INTO work.seen (pm, log, pos, stream, version, type, data, occurred_at)
  VALUES (pm, e.log, e.position, e.stream, e.version, e.type, e.data, (e.metadata->>'occurred_at')::timestamptz)$$;
CREATE FUNCTION work.record(e pm.event) RETURNS void LANGUAGE plpgsql AS
$$BEGIN PERFORM work.keep(e, 'record'); END$$;
CREATE FUNCTION work.permits(e pm.event) RETURNS void LANGUAGE plpgsql AS
$$BEGIN PERFORM work.keep(e, 'permits'); END$$;
CREATE FUNCTION work.later(e pm.event[]) RETURNS void LANGUAGE sql AS
$$INSERT INTO work.seen (pm, log, pos, stream, version, type, data, occurred_at)
  SELECT 'later', x.log, x.position, x.stream, x.version, x.type, x.data, (x.metadata->>'occurred_at')::timestamptz
  FROM unnest(e) WITH ORDINALITY x ORDER BY x.ordinality$$;
CREATE FUNCTION work.deliveries(e pm.event) RETURNS void LANGUAGE plpgsql AS
$$BEGIN PERFORM work.keep(e, 'deliveries'); END$$;

-- A process manager with tables of its own. Events of different logs can come in any order, so the
-- handler stores each fact as it comes. occ is the time in the source.
CREATE TABLE work.orders (id text PRIMARY KEY, placed timestamptz, confirmed bigint, confirmed_at timestamptz, paid bigint,
	reminders int NOT NULL DEFAULT 0);
CREATE TABLE work.items (id text PRIMARY KEY, order_id text, package_id text, picked bigint, out_of_stock int NOT NULL DEFAULT 0,
	reordered int NOT NULL DEFAULT 0, out_of_stock_at bigint, reordered_at bigint);
CREATE TABLE work.packages (id text PRIMARY KEY, created bigint, delivered bigint, delivered_at timestamptz,
	failed int NOT NULL DEFAULT 0, sent int NOT NULL DEFAULT 0);
CREATE FUNCTION work.fulfil(e pm.event) RETURNS void LANGUAGE plpgsql AS
$$
DECLARE
	eid bigint := (e.data->>'eid')::bigint;
	occ timestamptz := (e.metadata->>'occurred_at')::timestamptz;
BEGIN
	CASE e.type
	WHEN 'place order' THEN
		INSERT INTO work.orders (id, placed) VALUES (e.stream, occ);
		INSERT INTO work.items (id, order_id) SELECT i, e.stream FROM jsonb_array_elements_text(e.data->'items') i
			ON CONFLICT (id) DO UPDATE SET order_id = EXCLUDED.order_id;
	WHEN 'confirm order' THEN UPDATE work.orders SET confirmed = eid, confirmed_at = occ WHERE id = e.stream;
	WHEN 'pay order' THEN UPDATE work.orders SET paid = eid WHERE id = e.stream;
	WHEN 'payment reminder' THEN UPDATE work.orders SET reminders = reminders + 1 WHERE id = e.stream;
	WHEN 'pick item' THEN
		INSERT INTO work.items (id, picked) VALUES (e.stream, eid) ON CONFLICT (id) DO UPDATE SET picked = EXCLUDED.picked;
	WHEN 'item out of stock' THEN
		INSERT INTO work.items AS i (id, out_of_stock, out_of_stock_at) VALUES (e.stream, 1, eid)
			ON CONFLICT (id) DO UPDATE SET out_of_stock = i.out_of_stock + 1, out_of_stock_at = EXCLUDED.out_of_stock_at;
	WHEN 'reorder item' THEN
		INSERT INTO work.items AS i (id, reordered, reordered_at) VALUES (e.stream, 1, eid)
			ON CONFLICT (id) DO UPDATE SET reordered = i.reordered + 1, reordered_at = EXCLUDED.reordered_at;
	WHEN 'create package' THEN
		INSERT INTO work.packages (id, created) VALUES (e.stream, eid);
		INSERT INTO work.items (id, package_id) SELECT i, e.stream FROM jsonb_array_elements_text(e.data->'items') i
			ON CONFLICT (id) DO UPDATE SET package_id = EXCLUDED.package_id;
	WHEN 'send package' THEN UPDATE work.packages SET sent = sent + 1 WHERE id = e.stream;
	WHEN 'failed delivery' THEN UPDATE work.packages SET failed = failed + 1 WHERE id = e.stream;
	WHEN 'package delivered' THEN UPDATE work.packages SET delivered = eid, delivered_at = occ WHERE id = e.stream;
	END CASE;
END
$$;
RESET ROLE;

-- Appends the events of session k in the order of the file: a random number of events in each transaction,
-- and a random time before the commit. One transaction in ten rolls back and is repeated.
CREATE PROCEDURE feed(k int, feeders int) LANGUAGE plpgsql AS
$$
DECLARE
	todo bigint[] := ARRAY(SELECT n FROM source WHERE abs(hashtext(log || stream)) % feeders = k ORDER BY n);
	i int := 1;
	upto int;
	s source;
BEGIN
	PERFORM setseed(k / 100.0);
	WHILE i <= cardinality(todo) LOOP
		upto := least(i + (random() * 24)::int, cardinality(todo));
		FOR j IN i .. upto LOOP
			SELECT * INTO s FROM source WHERE n = todo[j];
			CASE abs(hashtext(s.stream)) % 3
			WHEN 0 THEN
				PERFORM pm.append(s.log, s.stream, s.type, s.data, jsonb_build_object('occurred_at', s.occurred_at), s.v - 1);
			WHEN 1 THEN
				PERFORM pm.append_all(s.log, s.stream, jsonb_build_array(jsonb_build_object('type', s.type, 'data', s.data,
					'metadata', jsonb_build_object('occurred_at', s.occurred_at))));
			ELSE
				EXECUTE format('INSERT INTO %I (stream, type, data, metadata) VALUES ($1, $2, $3, $4)', s.log)
					USING s.stream, s.type, s.data, jsonb_build_object('occurred_at', s.occurred_at);
			END CASE;
		END LOOP;
		PERFORM pg_sleep(random() * 0.02);
		IF random() < 0.1 THEN
			ROLLBACK;
		ELSE
			COMMIT;
			i := upto + 1;
		END IF;
	END LOOP;
END
$$;
SQL

$node->safe_psql('postgres', <<'SQL', extra_params => [ '-U', 'clerk' ]);
SELECT pm.register('record', 'work.record', '{permit,orders,items,packages}', on_failure => 'halt');
SELECT pm.register('permits', 'work.permits', '{permit}', on_failure => 'halt', batch_size => 7);
SELECT pm.register('deliveries', 'work.deliveries', '{packages}', types => '{package delivered,failed delivery}', on_failure => 'halt');
SELECT pm.register('fulfil', 'work.fulfil', '{orders,items,packages}', on_failure => 'halt');
SQL

# ---- appending the events

my $lasted = PmTest::seconds
{
	my @runs = map { PmTest::start_psql($node, "CALL feed($_, $feeders);") } 0 .. $feeders - 1;
	for my $k (0 .. $feeders - 1)
	{
		my ($rc, undef, $err) = PmTest::finish_psql($runs[$k]);
		is($rc, 0, "feeder $k ended well") or diag($err);
	}
};
my $drain = PmTest::seconds { ok(PmTest::wait_idle($node), 'everything was handled'); };
$node->safe_psql('postgres',
	"SELECT pm.register('later', 'work.later', '{permit,orders,items,packages}', start_at => 'beginning', on_failure => 'halt', batch_size => 1000)",
	extra_params => [ '-U', 'clerk' ]);
my $later = PmTest::seconds { ok(PmTest::wait_idle($node), 'process managers that are registered later handle everything, too'); };
diag(sprintf('30944 events, fed in %.1f s by %d sessions, drained in %.1f s; again in %.1f s', $lasted, $feeders, $drain, $later));

# ---- all events, once, in order

for my $case (
	[ 'record', "('permit','orders','items','packages')", 'true', 30944 ],
	[ 'later', "('permit','orders','items','packages')", 'true', 30944 ],
	[ 'permits', "('permit')", 'true', 8577 ],
	[ 'deliveries', "('packages')", "type IN ('package delivered', 'failed delivery')", 1716 ])
{
	my ($pm, $logs, $filter, $n) = @$case;

	is_answer("SELECT count(*) FROM work.seen WHERE pm = '$pm'", $n, "$pm: $n events");
	is_answer(<<"SQL", '0|0', "$pm: the events of the files, all of them, no other");
WITH got AS (SELECT log, stream, type, data, occurred_at FROM work.seen WHERE pm = '$pm'),
	 want AS (SELECT log, stream, type, data, occurred_at FROM source WHERE log IN $logs AND $filter)
SELECT (SELECT count(*) FROM (TABLE want EXCEPT ALL TABLE got) x), (SELECT count(*) FROM (TABLE got EXCEPT ALL TABLE want) x)
SQL
	is_answer(<<"SQL", 0, "$pm: in position order");
SELECT count(*) FROM (SELECT pos <= lag(pos) OVER (PARTITION BY log ORDER BY seq) AS bad FROM work.seen WHERE pm = '$pm') x WHERE bad
SQL
	is_answer(<<"SQL", 0, "$pm: every stream in the order of the file");
WITH got AS (SELECT log, stream, row_number() OVER (PARTITION BY log, stream ORDER BY seq) AS v, type, data, occurred_at
			 FROM work.seen WHERE pm = '$pm'),
	 want AS (SELECT log, stream, row_number() OVER (PARTITION BY log, stream ORDER BY n) AS v, type, data, occurred_at
			  FROM source WHERE log IN $logs AND $filter)
SELECT count(*) FROM want FULL JOIN got USING (log, stream, v)
WHERE (want.type, want.data, want.occurred_at) IS DISTINCT FROM (got.type, got.data, got.occurred_at)
SQL
}
is_answer(<<'SQL', '0|0', 'versions are those of the file where the stream has versions');
SELECT count(*) FILTER (WHERE s.version <> f.v), count(*) FILTER (WHERE abs(hashtext(s.stream)) % 3 < 2 AND s.version IS NULL)
FROM work.seen s JOIN source f ON (f.log, f.stream, f.type, f.data, f.occurred_at) = (s.log, s.stream, s.type, s.data, s.occurred_at)
WHERE s.pm = 'record'
SQL
is_answer("SELECT bool_and(pm.high_water_mark(name) >= 0) FROM pm.log", 't', 'marks can be read');

# ---- facts: permit

is_answer("SELECT count(*), count(DISTINCT stream), count(DISTINCT type) FROM work.seen WHERE pm = 'permits'",
	'8577|1434|27', 'permit: events, cases, activities');
is_answer(
	"SELECT min(occurred_at) = '2010-10-02T07:20:39.266Z', max(occurred_at) = '2012-01-23T14:42:54.644Z' FROM work.seen WHERE pm = 'permits'",
	't|t', 'permit: first and last');
is_answer("SELECT min(n), max(n) FROM (SELECT count(*) AS n FROM work.seen WHERE pm = 'permits' GROUP BY stream) x",
	'1|25', 'permit: events in a case');
is_answer(<<'SQL',
SELECT string_agg(t || ' ' || n, '; ' ORDER BY n DESC, t)
FROM (SELECT CASE WHEN type LIKE 'T%' THEN split_part(type, ' ', 1) ELSE type END AS t, count(*) AS n
	  FROM work.seen WHERE pm = 'permits' GROUP BY 1) x WHERE n >= 32
SQL
	'Confirmation of receipt 1434; T06 1416; T02 1368; T04 1307; T05 1300; T10 1283; T03 55; T07-1 45; T11 44; T12 41; T14 39; T15 39; T07-2 32',
	'permit: counts of the types');

$node->safe_psql('postgres', <<'SQL');
CREATE VIEW cases AS
SELECT stream, count(*) AS events, (array_agg(type ORDER BY seq))[1] AS first,
	   count(*) FILTER (WHERE type = 'Confirmation of receipt') AS receipts,
	   count(*) FILTER (WHERE type LIKE 'T02 %') AS t02, count(*) FILTER (WHERE type LIKE 'T06 %') AS t06,
	   count(*) FILTER (WHERE type LIKE 'T10 %') AS t10,
	   min(occurred_at) FILTER (WHERE type = 'Confirmation of receipt') AS received,
	   min(occurred_at) FILTER (WHERE type LIKE 'T05 %') AS t05_at,
	   min(occurred_at) FILTER (WHERE type LIKE 'T10 %') AS t10_at
FROM work.seen WHERE pm = 'permits' GROUP BY stream;
SQL
is_answer("SELECT count(*) FILTER (WHERE first = 'Confirmation of receipt' AND receipts = 1), count(*) FILTER (WHERE events = 1) FROM cases",
	'1434|116', 'permit: every case starts with a receipt, 116 have nothing else');
is_answer('SELECT count(*) FILTER (WHERE t10 = 0), count(*) FILTER (WHERE t06 > 0 AND t10 = 0) FROM cases', '151|26',
	'permit: cases that never see T10, T06 without T10');
is_answer('SELECT count(*) FILTER (WHERE t02 > 1), max(t02) FROM cases', '35|6', 'permit: T02 more than once');
is_answer('SELECT round(extract(epoch FROM t05_at - received), 3), stream, (SELECT count(t05_at) FROM cases) FROM cases WHERE t05_at IS NOT NULL ORDER BY 1 DESC LIMIT 1',
	'10350257.405|case-8141|1300', 'permit: the longest gap from receipt to T05');
is_answer("SELECT count(*) FROM cases WHERE t05_at IS NULL OR t05_at > received + interval '7 days'", 293,
	'permit: T05 late or never');
is_answer(<<'SQL', '36|221|1351', 'permit: cases open just before 2011');
SELECT count(*) FILTER (WHERE received < t AND coalesce(t10_at >= t, true)), count(*) FILTER (WHERE received < t),
	   (SELECT count(*) FROM work.seen WHERE pm = 'permits' AND occurred_at < '2011-01-01T00:00Z')
FROM cases, (VALUES ('2011-01-01T00:00Z'::timestamptz)) v(t)
SQL
is_answer(<<'SQL', 105, "permit: cases whose end is not known");
SELECT count(DISTINCT stream) FROM work.seen WHERE pm = 'permits' AND data->>'case_end' IS NULL
SQL

# ---- facts: orders, items, packages

is_answer(<<'SQL', 'items|8159|11487,orders|2000|6514,packages|1325|4366', 'orders: streams and events');
SELECT string_agg(concat_ws('|', log, s, n), ',' ORDER BY log)
FROM (SELECT log, count(DISTINCT stream) AS s, count(*) AS n FROM work.seen WHERE pm = 'record' AND log <> 'permit' GROUP BY log) x
SQL
is_answer(<<'SQL',
SELECT string_agg(type || ' ' || n, '; ' ORDER BY n DESC, type COLLATE "C")
FROM (SELECT type, count(*) AS n FROM work.seen WHERE pm = 'record' AND log <> 'permit' GROUP BY type) x
SQL
	'pick item 8159; confirm order 2000; pay order 2000; place order 2000; item out of stock 1664; reorder item 1664; '
	  . 'create package 1325; package delivered 1325; send package 1325; payment reminder 514; failed delivery 391',
	'orders: counts of the types');
is_answer(<<'SQL', '22367|22367|1|22367|1246', 'orders: the numbers of the source, instants shared between logs');
SELECT count(*), count(DISTINCT data->>'eid'), min((data->>'eid')::int), max((data->>'eid')::int),
	   (SELECT count(*) FROM (SELECT occurred_at FROM work.seen WHERE pm = 'record' AND log <> 'permit'
							  GROUP BY occurred_at HAVING count(DISTINCT log) > 1) x)
FROM work.seen WHERE pm = 'record' AND log <> 'permit'
SQL
$node->safe_psql('postgres', <<'SQL');
CREATE VIEW full_delivery AS
SELECT o.id, o.placed, o.confirmed, o.paid, count(DISTINCT i.package_id) AS packages, max(p.delivered) AS delivered,
	   max(p.delivered_at) AS delivered_at, bool_and(p.delivered IS NOT NULL) AS fully
FROM work.orders o JOIN work.items i ON i.order_id = o.id LEFT JOIN work.packages p ON p.id = i.package_id
GROUP BY o.id;
SQL
is_answer('SELECT count(*), count(*) FILTER (WHERE fully), count(paid), count(confirmed) FROM full_delivery', '2000|2000|2000|2000',
	'orders: all are confirmed, fully delivered and paid in the end');
is_answer('SELECT count(*), count(DISTINCT order_id), count(DISTINCT package_id), count(picked) FROM work.items', '8159|2000|1325|8159',
	'orders: every item is in one order and one package, and picked');
is_answer("SELECT string_agg(packages || ': ' || n, ', ' ORDER BY packages), sum(packages * n) FROM (SELECT packages, count(*) AS n FROM full_delivery GROUP BY 1) x",
	'1: 471, 2: 869, 3: 482, 4: 150, 5: 27, 6: 1|4396', 'orders: packages of an order');
is_answer('SELECT count(*) FROM full_delivery WHERE paid < delivered', 1291, 'orders: paid before fully delivered');
is_answer('SELECT count(*), count(DISTINCT o.id) FROM work.items i JOIN work.orders o ON o.id = i.order_id WHERE i.picked < o.confirmed',
	'2176|1140', 'orders: items picked before the order is confirmed');
is_answer('SELECT count(DISTINCT order_id), count(*), bool_and(out_of_stock = 1 AND reordered = 1 AND out_of_stock_at < reordered_at AND reordered_at < picked) FROM work.items WHERE out_of_stock > 0',
	'1133|1664|t', 'orders: out of stock once, reordered once, then picked');
is_answer("SELECT id, extract(epoch FROM delivered_at - placed)::int FROM full_delivery ORDER BY 2 DESC LIMIT 1", '991886|8974244',
	'orders: the longest time from place to full delivery');
is_answer('SELECT sum(reminders), (SELECT sum(failed) FROM work.packages), (SELECT bool_and(sent = 1) FROM work.packages) FROM work.orders', '514|391|t',
	'orders: reminders and failed deliveries');
is_answer(<<'SQL', '494|482|385|370|338', 'orders: after the first 5,000 events');
SELECT (SELECT count(*) FROM work.seen WHERE pm = 'record' AND type = 'place order' AND (data->>'eid')::int <= 5000),
	   count(*) FILTER (WHERE confirmed <= 5000), count(*) FILTER (WHERE paid <= 5000), count(*) FILTER (WHERE delivered <= 5000),
	   count(*) FILTER (WHERE paid <= 5000 AND delivered <= 5000)
FROM full_delivery
SQL

is($node->safe_psql('postgres', 'SELECT sum(errors) FROM pm.status'), '0', 'no handler failed');
PmTest::no_crash_ok($node);
$node->stop('fast');
done_testing();
