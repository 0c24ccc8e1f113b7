# The stress test. Twelve writers do everything that makes a transaction commit late, roll back
# or write in an unusual way. Process managers of two roles record the events that they get, in
# tables without any unique key. In the end the logs show what should be there: missing 0, twice 0,
# out of order 0. A naive reader on the same logs loses events, which shows that the test can detect losses.
#
#   PM_STRESS_SECONDS=60   how long the writers write (600 with PM_SOAK=1)
use strict;
use warnings FATAL => 'all';

use PmTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $seconds = $ENV{PM_STRESS_SECONDS} || ($ENV{PM_SOAK} ? 600 : 60);
my $node = PmTest::node('stress', conf => <<'CONF');
max_connections = 60
max_prepared_transactions = 300
synchronous_commit = on
wal_level = replica
shared_buffers = 64MB
max_wal_size = 2GB
CONF

# ---- logs, handlers, readers

$node->safe_psql('postgres', <<'SQL');
CREATE ROLE alice LOGIN;
CREATE ROLE bob LOGIN;
GRANT USAGE ON SCHEMA pm TO alice, bob;
SELECT pm.create_log(l) FROM unnest('{orders,payments,shipping}'::text[]) l;
GRANT SELECT, INSERT ON orders, payments, shipping TO alice, bob;

-- What each process manager has received, in the order of seq. There is no unique key, so that an
-- event that is handled twice is found.
CREATE TABLE seen (pm text NOT NULL, log text NOT NULL, pos bigint NOT NULL, seq bigserial, at timestamptz DEFAULT clock_timestamp());
GRANT INSERT ON seen TO alice, bob;
GRANT USAGE ON SEQUENCE seen_seq_seq TO alice, bob;

-- Handlers for one event at a time, and for a batch at a time.
CREATE SCHEMA handlers;
GRANT USAGE ON SCHEMA handlers TO alice, bob;
DO $$
DECLARE name text;
BEGIN
	FOREACH name IN ARRAY '{single,small,middle,ending,followed,restarted}'::text[] LOOP
		EXECUTE format('CREATE FUNCTION handlers.%1$s(e pm.event) RETURNS void LANGUAGE plpgsql AS
			$f$BEGIN INSERT INTO public.seen (pm, log, pos) VALUES (%1$L, e.log, e.position); END$f$', name);
	END LOOP;
END $$;
CREATE FUNCTION handlers.batch(e pm.event[]) RETURNS void LANGUAGE sql AS
$$ INSERT INTO public.seen (pm, log, pos) SELECT 'batch', x.log, x.position FROM unnest(e) WITH ORDINALITY x ORDER BY x.ordinality $$;
CREATE FUNCTION handlers.shipper(e pm.event) RETURNS void LANGUAGE plpgsql AS
$$BEGIN
	INSERT INTO public.seen (pm, log, pos) VALUES ('shipper', e.log, e.position);
	PERFORM pm.append('shipping', 'ship-' || e.position % 40, 'Shipped', jsonb_build_object('order', e.position));
END$$;

-- A naive reader: it reads everything up to the largest visible position, and continues from there.
CREATE TABLE naive_seen (pos bigint NOT NULL);
CREATE PROCEDURE naive(until timestamptz) LANGUAGE plpgsql AS
$$DECLARE
	c bigint := 0;
	m bigint;
BEGIN
	LOOP
		SELECT max(position) INTO m FROM orders;
		INSERT INTO naive_seen SELECT position FROM orders WHERE position > c AND position <= m;
		c := coalesce(m, c);
		COMMIT;
		EXIT WHEN clock_timestamp() > until;
		PERFORM pg_sleep(0.005);
	END LOOP;
END$$;

-- An application that reads with pm.read.
CREATE TABLE read_seen (pos bigint NOT NULL, seq bigserial);
CREATE PROCEDURE reader(until timestamptz) LANGUAGE plpgsql AS
$$DECLARE
	c bigint := 0;
	m bigint;
BEGIN
	LOOP
		WITH r AS (SELECT position FROM pm.read('orders', c, 500)),
			 i AS (INSERT INTO read_seen (pos) SELECT position FROM r)
		SELECT max(position) INTO m FROM r;
		COMMIT;
		c := coalesce(m, c);
		EXIT WHEN m IS NULL AND clock_timestamp() > until;
		PERFORM pg_sleep(0.005) WHERE m IS NULL;
	END LOOP;
END$$;
SQL

sub register
{
	my ($role, $name, $logs, $more) = @_;
	$node->safe_psql('postgres',
		"SELECT pm.register('$name', 'handlers.$name', '{$logs}', on_failure => 'halt'" . ($more // '') . ')',
		extra_params => [ '-U', $role ]);
	return;
}

register('alice', 'single', 'orders,payments');
register('alice', 'batch', 'orders,payments', ', batch_size => 1000');
register('bob', 'small', 'payments,orders', ', batch_size => 3');
register('bob', 'shipper', 'orders', ", types => '{Placed}'");
register('alice', 'followed', 'shipping');

# ---- writers

my $dir = PostgreSQL::Test::Utils::tempdir;
append_to_file("$dir/copy.csv", join('', map { "copied,Copied,\"{\"\"n\"\": $_}\"\n" } 1 .. 20));
chmod 0755, $dir;

# \sleep takes up to 300 ms, but usually far less.
my $nap = "\\set d random_exponential(0, 300000, 14)\n\\sleep :d us\n";
my $end = "\\set r random(1, 100)\n\\if :r <= 10\nROLLBACK;\n\\else\nCOMMIT;\n\\endif\n";
my $one = "INSERT INTO orders (stream, type, data) VALUES ('o' || :s, CASE WHEN :s % 3 = 0 THEN 'Placed' ELSE 'Changed' END, '{\"n\": 1}');\n";
my $pay = "INSERT INTO payments (stream, type) VALUES ('p' || :s, 'Paid');\n";
my $stream = "\\set s random(1, 1000000000000)\n";
my %script = (
	single => "$stream BEGIN;\n$one$nap$end",
	autocommit => "$stream$one$pay$nap",
	# orders, payments and orders again, in one transaction
	two_logs => "$stream BEGIN;\n$one$nap$pay$nap$one$pay$end",
	savepoint => "$stream BEGIN;\nSAVEPOINT a;\n$one$nap ROLLBACK TO a;\n$nap$one SAVEPOINT b;\n$one$nap RELEASE b;\n"
	  . "SAVEPOINT c;\n$pay$one ROLLBACK TO c;\n$nap$pay$end",
	exception => "$stream BEGIN;\nDO \$\$BEGIN BEGIN $one RAISE division_by_zero; EXCEPTION WHEN division_by_zero THEN NULL; END; $one END\$\$;\n$nap$end",
	multi => "$stream\\set k random(2, 30)\nBEGIN;\nINSERT INTO orders (stream, type) SELECT 'm' || :s, CASE WHEN i % 3 = 0 THEN 'Placed' ELSE 'Many' END FROM generate_series(1, :k) i;\n$nap$end",
	copy => "$stream BEGIN;\nCOPY orders (stream, type, data) FROM '$dir/copy.csv' (FORMAT csv);\n$nap$end",
	# the transaction id is assigned long before the position
	xid_first => "$stream BEGIN;\nSELECT pg_current_xact_id();\n$nap$one$nap$end",
	# the table is locked long before the insert
	lock_first => "$stream BEGIN;\nLOCK orders IN ROW EXCLUSIVE MODE;\n$nap$one$nap$end",
	append => "$stream BEGIN;\nSELECT pm.append('orders', 'v' || :s % 50, 'Placed', '{\"by\": \"append\"}');\n"
	  . "SELECT pm.append_all('payments', 'w' || :s, '[{\"type\": \"Paid\"}, {\"type\": \"Checked\"}]', 0);\n\\sleep 3 ms\n$end",
	prepared => "$stream\\set n random(1, 1000000000000)\nBEGIN;\n$one$nap$pay$one PREPARE TRANSACTION 'g-:client_id-:n';\n$nap",
);
my @files;
for my $name (sort keys %script)
{
	append_to_file("$dir/$name.sql", $script{$name});
	push @files, '-f', "$dir/$name.sql@" . ($name eq 'prepared' || $name eq 'single' ? 2 : 1);
}

my $until = $node->safe_psql('postgres', "SELECT clock_timestamp() + interval '$seconds s'");
my $pgbench = PmTest::start_program($node, 'pgbench', '-n', '-M', 'simple', '-c', 12, '-j', 2, '-T', $seconds,
	@files, $node->connstr('postgres'));
my $naive = PmTest::start_psql($node, "CALL naive('$until');");
my $reader = PmTest::start_psql($node, "CALL reader('$until'::timestamptz + '1 s');");

# Another session ends prepared transactions after a random time, and rolls back every fifth. One that its session is still
# preparing is visible, but busy: it is ended by a later pass.
my $pass = <<'SQL';
\set ON_ERROR_STOP off
SELECT format(CASE WHEN hashtext(gid) % 5 = 0 THEN 'ROLLBACK PREPARED %L' ELSE 'COMMIT PREPARED %L' END, gid)
FROM pg_prepared_xacts WHERE prepared < clock_timestamp() - random() * interval '600 ms' \gexec
\set ON_ERROR_STOP on
SELECT pg_sleep(0.05 * random());
SELECT clock_timestamp() > :'until' AS over \gset
\if :over
\q
\endif
SQL
my $committer = PmTest::start_psql($node, "\\set until '$until'\n" . $pass x int($seconds * 50));
my $vacuum = PmTest::start_psql($node,
	"\\set until '$until'\n" . <<'SQL' x int($seconds * 3));
VACUUM orders;
ANALYZE orders;
VACUUM ANALYZE payments;
SELECT pg_sleep(0.4);
SELECT clock_timestamp() > :'until' AS over \gset
\if :over
\q
\endif
SQL

# ---- while the writers run

my $began = time;
sleep $seconds * 0.3;
register('bob', 'middle', 'orders,payments', ", start_at => 'beginning', batch_size => 50");
my $ending_from = $node->safe_psql('postgres', <<'SQL', extra_params => [ '-U', 'alice' ]);
BEGIN;
SELECT FROM pm.register('ending', 'handlers.ending', '{orders}', start_at => 'end', on_failure => 'halt');
SELECT position FROM pm.cursor WHERE process_manager = 'ending';
COMMIT;
SQL

sleep 0.2 while time - $began < $seconds * 0.6;
# One is paused and resumed without moving its cursor, another is registered again.
$node->safe_psql('postgres', "SELECT pm.pause('single')");
sleep 0.5;
$node->safe_psql('postgres', "SELECT pm.resume('single')");
register('alice', 'batch', 'orders,payments', ', batch_size => 700');

my ($rc, $out, $err) = PmTest::finish_psql($pgbench);
is($rc, 0, 'the writers wrote without an error') or diag($err);
my ($transactions) = $out =~ /number of transactions actually processed: (\d+)/;
for my $run ([ 'naive reader', $naive ], [ 'reader', $reader ], [ 'committer', $committer ], [ 'vacuum', $vacuum ])
{
	($rc, undef, $err) = PmTest::finish_psql($run->[1]);
	is($rc, 0, "the $run->[0] ended well") or diag($err);
}

# The prepared transactions that are left are ended now.
$node->safe_psql('postgres', "SELECT format('COMMIT PREPARED %L', gid) FROM pg_prepared_xacts \\gexec");
my $drained;
my $drain = PmTest::seconds { $drained = PmTest::wait_idle($node); };
ok($drained, 'everything was handled');

# ---- the check

my $expected = <<'SQL';
CREATE TEMP VIEW expected AS
	SELECT p.pm, l.log, l.pos
	FROM (SELECT 'orders' AS log, position AS pos, type FROM orders
		  UNION ALL SELECT 'payments', position, type FROM payments
		  UNION ALL SELECT 'shipping', position, type FROM shipping) l
	JOIN (VALUES ('single', 'orders'), ('single', 'payments'), ('batch', 'orders'), ('batch', 'payments'),
				 ('small', 'orders'), ('small', 'payments'), ('middle', 'orders'), ('middle', 'payments'),
				 ('shipper', 'orders'), ('followed', 'shipping')) p(pm, log) USING (log)
	WHERE p.pm <> 'shipper' OR l.type = 'Placed';
SQL
my $figures = $node->safe_psql('postgres', $expected . <<'SQL');
SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM payments), (SELECT count(*) FROM shipping),
	   (SELECT last_value FROM orders_position_seq) - (SELECT count(*) FROM orders);
SQL
my ($orders, $payments, $shipping, $gaps) = split /\|/, $figures;
my $verdict = $node->safe_psql('postgres', $expected . <<'SQL');
SELECT pm,
	   (SELECT count(*) FROM (SELECT log, pos FROM expected e WHERE e.pm = p.pm EXCEPT SELECT log, pos FROM seen s WHERE s.pm = p.pm) x),
	   (SELECT coalesce(sum(n - 1), 0) FROM (SELECT count(*) AS n FROM seen s WHERE s.pm = p.pm GROUP BY log, pos) x),
	   (SELECT count(*) FROM (SELECT pos < lag(pos) OVER (PARTITION BY log ORDER BY seq) AS bad FROM seen s WHERE s.pm = p.pm) x WHERE bad),
	   (SELECT count(*) FROM (SELECT log, pos FROM seen s WHERE s.pm = p.pm EXCEPT SELECT log, pos FROM expected e WHERE e.pm = p.pm) x),
	   (SELECT count(*) FROM seen s WHERE s.pm = p.pm)
FROM (SELECT DISTINCT pm FROM expected) p ORDER BY pm;
SQL
my $latency = $node->safe_psql('postgres', <<'SQL');
SELECT round(1000 * percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM s.at - o.recorded_at))::numeric, 1) || ' / ' ||
	   round(1000 * percentile_cont(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM s.at - o.recorded_at))::numeric, 1)
FROM seen s JOIN orders o ON o.position = s.pos WHERE s.pm = 'single' AND s.log = 'orders'
SQL

PmTest::figure("$seconds s, 12 writers: $transactions transactions; $orders orders ($gaps positions of rollbacks), $payments payments, $shipping shipping");
PmTest::figure(sprintf('drained in %.1f s; from insert to handled p50 / p95: %s ms (late commits included)', $drain, $latency));
for my $line (split /\n/, $verdict)
{
	my ($pm, $missing, $twice, $order, $invented, $n) = split /\|/, $line;

	PmTest::figure("$pm: $n handled, missing $missing, twice $twice, out of order $order, rolled back $invented");
	is("missing $missing, twice $twice, out of order $order, rolled back $invented",
		'missing 0, twice 0, out of order 0, rolled back 0', "$pm: everything once and in order");
	cmp_ok($n, '>', 0, "$pm handled events");
}
cmp_ok($orders, '>', 100 * $seconds, 'there were enough events');
cmp_ok($gaps, '>', $seconds, 'there were rollbacks among them');

# start_at => 'end': every event that was not yet below the mark at registration, and none before it.
is( $node->safe_psql('postgres', <<"SQL"), 't|0|0|0', "start_at => 'end': no earlier event, none missing, none twice");
SELECT $ending_from > 0,
	   (SELECT count(*) FROM (SELECT position FROM orders WHERE position > $ending_from
							  EXCEPT SELECT pos FROM seen WHERE pm = 'ending') x),
	   (SELECT count(*) FROM seen WHERE pm = 'ending' AND pos <= $ending_from),
	   count(*) - count(DISTINCT pos)
FROM seen WHERE pm = 'ending'
SQL

# A handler that appends: one event for each cause.
is( $node->safe_psql('postgres', <<'SQL'), '0|0', 'each event has one event that its handler appended');
SELECT count(*) - count(DISTINCT data->>'order'),
	   (SELECT count(*) FROM orders WHERE type = 'Placed') - count(*)
FROM shipping
SQL

# reading with pm.read
is( $node->safe_psql('postgres', <<'SQL'), '0|0|0', 'a loop over pm.read misses no event, reads none twice and keeps the order');
SELECT (SELECT count(*) FROM (SELECT position FROM orders WHERE position <= (SELECT max(pos) FROM read_seen) EXCEPT SELECT pos FROM read_seen) x),
	   (SELECT count(*) - count(DISTINCT pos) FROM read_seen),
	   (SELECT count(*) FROM (SELECT pos < lag(pos) OVER (ORDER BY seq) AS bad FROM read_seen) x WHERE bad)
SQL

# versions of streams
is( $node->safe_psql('postgres', <<'SQL'), '0', 'pm.append assigns the versions 1, 2, 3 in every stream');
SELECT count(*) FROM (SELECT stream FROM orders WHERE version IS NOT NULL GROUP BY stream
					  HAVING max(version) <> count(*) OR count(DISTINCT version) <> count(*)) x
SQL

# The naive reader loses events, so the test can detect losses.
my $lost = $node->safe_psql('postgres', <<'SQL');
SELECT count(*) FROM (SELECT position FROM orders WHERE position <= (SELECT max(pos) FROM naive_seen) EXCEPT SELECT pos FROM naive_seen) x
SQL
PmTest::figure("the naive reader lost $lost of $orders orders");
cmp_ok($lost, '>', 0, 'the naive reader loses events');

is($node->safe_psql('postgres', "SELECT coalesce(sum(errors), 0) FROM pm.status"), '0', 'no handler failed');
PmTest::no_crash_ok($node);
$node->stop('fast');
done_testing();
