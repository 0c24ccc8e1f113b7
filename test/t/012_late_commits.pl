# P1, P2, P3 with late commits: 32 clients whose transactions sleep between inserting and ending.
# So for each event there are others that are written earlier and committed later.
# Three process managers record the events that they get: missing 0, twice 0, out of order 0.
# A naive reader on the same log loses events, which shows that commits were late.
#
#   PM_SOAK=1                 ten minutes and at least a million events
#   PM_LATE_SECONDS=10        another duration
use strict;
use warnings FATAL => 'all';

use PmTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $seconds = $ENV{PM_LATE_SECONDS} || ($ENV{PM_SOAK} ? 600 : 10);
my $node = PmTest::node('late', conf => <<'CONF');
max_connections = 60
shared_buffers = 256MB
max_wal_size = 4GB
CONF

$node->safe_psql('postgres', <<'SQL');
CREATE ROLE alice LOGIN;
CREATE ROLE bob LOGIN;
GRANT USAGE ON SCHEMA pm TO alice, bob;
GRANT CREATE ON SCHEMA public TO alice, bob;
SELECT pm.create_log('orders');
GRANT SELECT ON orders TO alice, bob;

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
		PERFORM pg_sleep(0.02);
	END LOOP;
END$$;
SQL
PmTest::create_seen($node);
PmTest::create_handler($node, 'single', user => 'alice');
PmTest::create_handler($node, 'lanes', user => 'bob');
$node->safe_psql('postgres', <<'SQL', extra_params => [ '-U', 'alice' ]);
CREATE FUNCTION batch(e pm.event[]) RETURNS void LANGUAGE sql AS
$$ INSERT INTO public.seen (pm, log, pos, stream, key)
   SELECT 'batch', x.log, x.position, x.stream, x.stream FROM unnest(e) WITH ORDINALITY x ORDER BY x.ordinality $$;
SELECT pm.register('single', 'single', '{orders}', on_failure => 'halt'),
	   pm.register('batch', 'batch', '{orders}', on_failure => 'halt', batch_size => 1000);
SQL
$node->safe_psql('postgres', "SELECT pm.register('lanes', 'lanes', '{orders}', on_failure => 'halt', lanes => 2)",
	extra_params => [ '-U', 'bob' ]);

# ---- writers

# \sleep takes up to half a second, 50 ms on average.
my $nap = "\\set d random_exponential(0, 500000, 10)\n\\sleep :d us\n";
my $insert = "\\set k random(1, 10)\n\\set s random(1, 500)\n"
  . "INSERT INTO orders (stream, type) SELECT 's' || (:s + i) % 500, 'A' FROM generate_series(1, :k) i;\n";
my $end = "\\set r random(1, 100)\n\\if :r <= 5\nROLLBACK;\n\\else\nCOMMIT;\n\\endif\n";
my %script = (
	once => "BEGIN;\n$insert$nap$end",
	twice => "BEGIN;\n$insert$nap$insert$nap$end",
	# the transaction id is assigned long before the position
	xid_first => "BEGIN;\nSELECT pg_current_xact_id();\n$nap$insert$nap$end",
	savepoint => "BEGIN;\n$insert SAVEPOINT a;\n$insert$nap ROLLBACK TO a;\n$insert$nap$end",
	# commits before the others
	at_once => "$insert$nap",
);
my $dir = PostgreSQL::Test::Utils::tempdir;
my @files;
for my $name (sort keys %script)
{
	append_to_file("$dir/$name.sql", $script{$name});
	push @files, '-f', "$dir/$name.sql";
}
my $until = $node->safe_psql('postgres', "SELECT clock_timestamp() + interval '$seconds s'");
my $naive = PmTest::start_psql($node, "CALL naive('$until');");
my $pgbench = PmTest::start_program($node, 'pgbench', '-n', '-M', 'prepared', '-c', 32, '-j', 2, '-T', $seconds,
	@files, $node->connstr('postgres'));
my ($rc, $out, $err) = PmTest::finish_psql($pgbench);
is($rc, 0, 'the writers wrote without an error') or diag($err);
my ($transactions) = $out =~ /number of transactions actually processed: (\d+)/;
($rc, undef, $err) = PmTest::finish_psql($naive);
is($rc, 0, 'the naive reader ended well') or diag($err);

my $drained;
my $drain = PmTest::seconds { $drained = PmTest::wait_idle($node); };
ok($drained, 'everything was handled');

# ---- the check

my ($events, $gaps, $lost, $p50, $p95) = split /\|/, $node->safe_psql('postgres', <<'SQL');
SELECT (SELECT count(*) FROM orders),
	   (SELECT last_value FROM orders_position_seq) - (SELECT count(*) FROM orders),
	   (SELECT count(*) FROM (SELECT position FROM orders WHERE position <= (SELECT max(pos) FROM naive_seen)
							  EXCEPT SELECT pos FROM naive_seen) x), p[1], p[2]
FROM (SELECT percentile_cont('{0.5,0.95}'::float8[]) WITHIN GROUP (ORDER BY 1000 * extract(epoch FROM s.at - o.recorded_at)) AS p
	  FROM seen s JOIN orders o ON o.position = s.pos WHERE s.pm = 'single') x
SQL
my %found;
$found{single} = PmTest::exactly_once_ok($node, 'single', 'orders');
$found{batch} = PmTest::exactly_once_ok($node, 'batch', 'orders');
PmTest::once_in_key_order_ok($node, 'lanes', "SELECT 'orders' AS log, position AS pos, stream AS key FROM orders");
cmp_ok($lost, '>', $events / 100, 'the naive reader loses events');
cmp_ok($events, '>=', $ENV{PM_SOAK} ? 1_000_000 / 600 * $seconds : 500 * $seconds, 'there were enough events');
is($node->safe_psql('postgres', "SELECT coalesce(sum(errors), 0) FROM pm.status"), '0', 'no handler failed');
PmTest::figure(sprintf('32 clients, %d s, %d transactions: %d events, %d positions rolled back; a naive reader lost %d',
		$seconds, $transactions, $events, $gaps, $lost));
PmTest::figure("$_: $found{$_}") for sort keys %found;
PmTest::figure(sprintf('from insert to handled, late commits included: p50 %.0f ms, p95 %.0f ms; drained in %.1f s', $p50, $p95, $drain));
PmTest::no_crash_ok($node);
$node->stop('fast');
done_testing();
