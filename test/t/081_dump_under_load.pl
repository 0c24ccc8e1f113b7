# A database is dumped under load: by pg_dump in each of its formats, in parallel, and by a role that is not a
# superuser. Restored elsewhere and adopted, it continues from the snapshot of the dump. What the handlers
# had done by then and what they do in the copy add up to each event once and in order, with instances, timers,
# lanes and parked events. The original is not disturbed.
#
#   PM_SOAK=1     ten rounds of dumps
use strict;
use warnings FATAL => 'all';

use PmTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $rounds = $ENV{PM_SOAK} ? 10 : 1;
my $conf = "max_connections = 50\nmax_worker_processes = 20\nshared_buffers = 256MB\n";
my $from = PmTest::node('from', conf => $conf);
my $to = PmTest::node('to', extension => 0, conf => $conf);
my $dir = PostgreSQL::Test::Utils::tempdir;
my $roles = 'CREATE ROLE alice LOGIN; CREATE ROLE bob LOGIN;';

# Roles have other OIDs in the other cluster.
$to->safe_psql('postgres', "CREATE ROLE filler; $roles");
$from->safe_psql('postgres', $roles . <<'SQL');
CREATE ROLE dumper LOGIN;
GRANT pg_read_all_data TO dumper;
CREATE ROLE nobody LOGIN;
GRANT USAGE ON SCHEMA pm TO alice, bob;
GRANT CREATE ON SCHEMA public TO alice, bob;
SELECT pm.create_log('orders');
GRANT SELECT, INSERT ON orders TO alice, bob;
SQL
PmTest::create_seen($from);
# one that is always behind, one with lanes, one with a handler of arrays
PmTest::create_handler($from, 'slow', user => 'alice', after => 'PERFORM pg_sleep(0.003);');
PmTest::create_handler($from, 'laned', user => 'alice');
$from->safe_psql('postgres', <<'SQL', extra_params => [ '-U', 'alice' ]);
CREATE FUNCTION batch(e pm.event[]) RETURNS void LANGUAGE sql AS
$$ INSERT INTO public.seen (pm, log, pos, stream, key)
   SELECT 'batch', x.log, x.position, x.stream, x.stream FROM unnest(e) WITH ORDINALITY x ORDER BY x.ordinality $$;
SELECT pm.register('slow', 'slow', '{orders}', batch_size => 5), pm.register('laned', 'laned', '{orders}', lanes => 2),
	   pm.register('batch', 'batch', '{orders}', batch_size => 500);
SQL
# one with instances and timers, and with events that fail only in the original
$from->safe_psql('postgres', <<'SQL', extra_params => [ '-U', 'bob' ]);
CREATE FUNCTION inst(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $f$
BEGIN
	INSERT INTO public.seen (pm, log, pos, stream, key, type) VALUES ('inst', e.log, e.position, e.stream, e.stream, e.type);
	IF e.type = 'bad' AND current_database() = 'postgres' THEN RAISE EXCEPTION 'not here'; END IF;
	IF e.type = 'arm' THEN PERFORM pm.set_timer('ring ' || e.position, e.recorded_at + (e.data->>'after')::interval); END IF;
	RETURN jsonb_build_object('n', coalesce((state->>'n')::int, 0) + 1);
END $f$;
SELECT pm.register('inst', 'inst', '{orders}', max_attempts => 3, backoff => '1 h', park_limit => 100000);
SQL

# ---- the load

append_to_file("$dir/write.sql", <<'PGBENCH');
\set k random(1, 5)
\set s random(1, 60)
\set d random_exponential(0, 200000, 10)
\set a random(500, 6000)
\set r random(1, 100)
BEGIN;
INSERT INTO orders (stream, type) SELECT 's' || (:s + i) % 60, 'A' FROM generate_series(1, :k) i;
SAVEPOINT a;
INSERT INTO orders (stream, type, data) VALUES ('s' || :s, 'arm', jsonb_build_object('after', :a * interval '1 ms'));
\sleep :d us
\if :r <= 20
ROLLBACK TO a;
\endif
INSERT INTO orders (stream, type) VALUES ('bad' || :s % 5, CASE WHEN :r % 10 = 0 THEN 'bad' ELSE 'A' END);
\if :r <= 10
ROLLBACK;
\else
COMMIT;
\endif
PGBENCH

# The formats: the options of pg_dump, and those of pg_restore.
my %format = (
	plain => [ [ '-Fp' ], undef ],
	custom => [ [ '-Fc', '-Z', 1 ], [ '-j', 3 ] ],
	directory => [ [ '-Fd', '-j', 2 ], [ '-j', 2 ] ],
	one_transaction => [ [ '-Fc', '-Z', 1 ], ['-1'] ],
);
my @handlers = qw(slow laned batch inst);
my ($dumps, $behind, $parked, $timers, $apart, $during, $copied) = (0) x 7;

# Each event is handled once and in order by all of them, each instance counts its events and timers, and each timer fired once.
sub all_once_ok
{
	my ($node, $db, $name) = @_;
	my %opt = (dbname => $db);
	my $events = "SELECT 'orders' AS log, position AS pos, stream AS key FROM orders";

	PmTest::exactly_once_ok($node, $_, 'orders', "$name: $_: nothing missing, nothing twice, in order", %opt) for qw(slow batch);
	PmTest::once_in_key_order_ok($node, $_, $events, "$name: $_: each once and in order within its key", %opt) for qw(laned inst);
	is($node->safe_psql($db, <<'SQL'), '0|0|0', "$name: each timer has fired once, and the instances count what took effect");
SELECT (SELECT count(*) FROM (SELECT stream, 'ring ' || position FROM orders WHERE type = 'arm' EXCEPT ALL
							  SELECT key, type FROM seen WHERE pm = 'inst' AND log IS NULL) x),
	   (SELECT count(*) FROM (SELECT key, type FROM seen WHERE pm = 'inst' AND log IS NULL EXCEPT ALL
							  SELECT stream, 'ring ' || position FROM orders WHERE type = 'arm') x),
	   (SELECT count(*) FROM (SELECT key, count(*)::int AS n FROM seen WHERE pm = 'inst' GROUP BY 1) s
		FULL JOIN (SELECT key, (state->>'n')::int AS n FROM pm.instance WHERE process_manager = 'inst') i USING (key)
		WHERE s.n IS DISTINCT FROM i.n)
SQL
	return;
}

for my $round (1 .. $rounds)
{
	my $load = PmTest::start_program($from, 'pgbench', '-n', '-c', 6, '-R', 120, '-T', 600, '-f', "$dir/write.sql", $from->connstr('postgres'));
	my %restored;

	ok(PmTest::wait_until($from, "SELECT count(*) > 200 * $round AND count(*) FILTER (WHERE pm = 'inst' AND log IS NULL) > 20 FROM seen", 't'), "round $round: the load is running");
	for my $format (sort keys %format)
	{
		my ($dump, $restore) = @{ $format{$format} };
		my $file = "$dir/$round.$format";
		my $before = $from->safe_psql('postgres', 'SELECT max(position) FROM orders');

		# this role may read everything, which is all that a dump needs
		$from->command_ok([ 'pg_dump', '-U', 'dumper', @$dump, '-f', $file, $from->connstr('postgres') ], "$format: dumped by a role that is not a superuser");
		ok(PmTest::wait_until($from, "SELECT max(position) > $before FROM orders", 't'), "$format: events were written meanwhile");
		$restored{"${format}_$round"} = $file;
		$dumps++;
	}
	isnt($load->{h}->pumpable, 0, 'the load was running all the time');
	$load->{h}->signal('INT');
	eval { PmTest::finish_psql($load) };

	for my $db (sort keys %restored)
	{
		my ($format) = $db =~ /^(.*)_/;
		my $restore = $format{$format}[1];

		$to->safe_psql('postgres', "CREATE DATABASE $db TEMPLATE template0");
		if ($restore)
		{
			$to->command_ok([ 'pg_restore', '-e', @$restore, '-d', $to->connstr($db), $restored{$db} ], "$db: restored with pg_restore @$restore");
		}
		else
		{
			$to->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $to->connstr($db), '-f', $restored{$db} ], "$db: restored with psql");
		}

		# Effects and cursors agree, as of the snapshot, and nothing runs.
		is($to->safe_psql($db, <<'SQL'), '0|0|0|0', "$db: effects, cursors, timers and parked events are of one snapshot");
WITH held AS (SELECT position FROM pm.parked WHERE process_manager = 'inst' AND log = 'orders'),
cursors AS (SELECT process_manager, min(position) AS low, max(position) AS high FROM pm.cursor GROUP BY 1)
SELECT (SELECT count(*) FROM cursors c, orders o
		WHERE c.process_manager IN ('slow', 'batch') AND (o.position <= c.low) <> EXISTS (SELECT FROM seen s WHERE s.pm = c.process_manager AND s.pos = o.position)),
	   (SELECT count(*) FROM cursors c, orders o
		WHERE c.process_manager = 'laned' AND (o.position <= c.low AND NOT EXISTS (SELECT FROM seen s WHERE s.pm = 'laned' AND s.pos = o.position)
											   OR o.position > c.high AND EXISTS (SELECT FROM seen s WHERE s.pm = 'laned' AND s.pos = o.position))),
	   (SELECT count(*) FROM cursors c, orders o
		WHERE c.process_manager = 'inst'
		  AND (o.position <= c.low AND o.position NOT IN (TABLE held)) <> EXISTS (SELECT FROM seen s WHERE s.pm = 'inst' AND s.log = 'orders' AND s.pos = o.position)),
	   (SELECT count(*) FROM (SELECT stream, 'ring ' || pos FROM seen JOIN orders USING (stream) WHERE pm = 'inst' AND log = 'orders' AND position = pos AND orders.type = 'arm'
							  EXCEPT (SELECT key, type FROM seen WHERE pm = 'inst' AND log IS NULL UNION ALL SELECT key, type FROM pm.timer
									  UNION ALL SELECT key, (event).type FROM pm.parked WHERE log IS NULL)) x)
SQL
		is($to->safe_psql($db, "SELECT count(*), count(*) FILTER (WHERE state = 'waiting' AND reason = 'this database is a copy') FROM pm.status"), '5|5', "$db: it waits as a copy");
		my ($lag, $set_aside, $set, $between, $events) = split /\|/, $to->safe_psql($db, <<'SQL');
SELECT (SELECT count(*) FROM orders) - (SELECT count(*) FROM seen WHERE pm = 'slow'), (SELECT count(*) FROM pm.parked), (SELECT count(*) FROM pm.timer),
	   (SELECT (max(position) <> min(position))::int FROM pm.cursor WHERE process_manager = 'laned'), (SELECT count(*) FROM orders)
SQL
		$behind += $lag;
		$parked += $set_aside;
		$timers += $set;
		$apart += $between;
		$copied += $events;

		# Adopted by the owners and by a superuser.
		if ($format eq 'plain')
		{
			$to->safe_psql($db, 'SELECT pm.resume()', extra_params => [ '-U', $_ ]) for qw(alice bob);
			$to->safe_psql($db, 'SELECT pm.resume()');    # the superuser owns the log
		}
		else
		{
			$to->safe_psql($db, 'SELECT pm.resume()');
		}
		$to->safe_psql($db, "INSERT INTO orders (stream, type) SELECT 's' || i % 60, 'new' FROM generate_series(1, 100) i");
	}
	for my $db (sort keys %restored)
	{
		ok(PmTest::wait_until($to, "SELECT (SELECT count(*) FROM pm.status WHERE lag > 0 OR state <> 'idle'), (SELECT count(*) FROM pm.parked), (SELECT count(*) FROM pm.timer)", '0|0|0', dbname => $db), "$db: adopted, it handles everything")
		  or diag($to->safe_psql($db, 'SELECT * FROM pm.status') . "\n" . $to->safe_psql($db, 'SELECT process_manager, log, position, state, message FROM pm.parked LIMIT 5'));
		all_once_ok($to, $db, $db);
		$to->safe_psql('postgres', "DROP DATABASE $db WITH (FORCE)");
	}
}
cmp_ok($_->[0], '>', 0, $_->[1]) for [ $behind, 'there was something left to do in the dumps' ], [ $parked, 'something parked' ], [ $timers, 'and timers that were set' ];
PmTest::figure("$dumps dumps under load, $copied events in them, $behind of them not handled by the slowest, $parked parked, $timers timers set, in $apart the lanes apart: restored and adopted, each once and in order");

# A role without the right to read the tables of the extension gets an error, not an incomplete dump.
$from->command_fails_like([ 'pg_dump', '-U', 'nobody', '-f', "$dir/none", $from->connstr('postgres') ], qr/permission denied/, 'a role without the right to read cannot dump');

# ---- the original continues; when the handler no longer fails, everything is handled once

$from->safe_psql('postgres', "SELECT pm.pause('inst')");
my $source = $from->safe_psql('postgres', "SELECT pg_get_functiondef('inst'::regproc)");
$source =~ s/current_database\(\) = 'postgres'/false/ or die 'no such condition';
$from->safe_psql('postgres', $source, extra_params => [ '-U', 'bob' ]);
$from->safe_psql('postgres', "SELECT pm.resume('inst')");    # retries the dead events, too
ok(PmTest::wait_until($from, "SELECT (SELECT count(*) FROM pm.status WHERE lag > 0 OR state <> 'idle'), (SELECT count(*) FROM pm.parked), (SELECT count(*) FROM pm.timer)", '0|0|0'), 'the original handles everything')
  or diag($from->safe_psql('postgres', 'SELECT * FROM pm.status'));
all_once_ok($from, 'postgres', 'the original');

PmTest::no_crash_ok($_) for $from, $to;
$_->stop('fast') for $from, $to;
done_testing();
