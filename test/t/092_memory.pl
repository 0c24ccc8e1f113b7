# The workers do not grow. Handlers of every kind get events by the million, in lanes, with timers,
# with failures that are parked and retried, with registrations and functions that are replaced. The
# memory of each worker stays within 2 MB of what it was after the first fifth.
#
# Only the private memory of a process (RssAnon) counts, not the shared buffers that it has touched.
# The peak of the first fifth is compared with that of the last.
#
#   PM_SOAK=1                 five million events
#   PM_MEMORY_EVENTS=100000   another number
use strict;
use warnings FATAL => 'all';

use PmTest;
use Test::More;
use Time::HiRes qw(sleep time);

my $events = $ENV{PM_MEMORY_EVENTS} || ($ENV{PM_SOAK} ? 5_000_000 : 100_000);
my $rounds = $ENV{PM_SOAK} ? 50 : 10;
my $bound = 2048;
my $node = PmTest::node('memory', conf => <<'CONF');
max_connections = 40
shared_buffers = 256MB
max_wal_size = 4GB
pm.max_workers = 8
max_worker_processes = 20
log_min_messages = fatal
CONF

plan skip_all => 'no /proc/PID/status here' unless -r "/proc/$$/status";

my $library = PmTest::build_library('nothing', <<'C');
#include "postgres.h"
#include "fmgr.h"

PG_MODULE_MAGIC;
PG_FUNCTION_INFO_V1(nothing);

Datum
nothing(PG_FUNCTION_ARGS)
{
	PG_RETURN_VOID();
}
C

$node->safe_psql('postgres', <<"SQL");
DO \$\$
DECLARE r text;
BEGIN
	FOREACH r IN ARRAY '{alice,bob,carol,dave,erin}'::text[] LOOP
		EXECUTE format('CREATE ROLE %I LOGIN; GRANT USAGE ON SCHEMA pm TO %1\$I; GRANT CREATE ON SCHEMA public TO %1\$I', r);
	END LOOP;
END\$\$;
SELECT pm.create_log('orders'), pm.create_log('shipping');
GRANT SELECT, INSERT ON orders, shipping TO alice, bob, carol, dave, erin;
CREATE TABLE effect (pm text, pos bigint);
CREATE SEQUENCE rung;
GRANT INSERT ON effect TO PUBLIC;
GRANT USAGE ON SEQUENCE rung TO PUBLIC;
CREATE FUNCTION nothing(e pm.event) RETURNS void LANGUAGE C AS '$library', 'nothing';
SQL

# Creates all handlers, or replaces them.
sub handlers
{
	$node->safe_psql('postgres', <<'SQL');
SET ROLE alice;
CREATE OR REPLACE FUNCTION plain(e pm.event) RETURNS void LANGUAGE plpgsql AS
$$BEGIN INSERT INTO public.effect VALUES ('plain', e.position); END$$;
-- An event that fails twice in a row, in its batch and alone, is parked and retried.
CREATE OR REPLACE FUNCTION faulty(e pm.event) RETURNS void LANGUAGE plpgsql AS
$$BEGIN
	INSERT INTO public.effect VALUES ('faulty', e.position);
	IF random() < 0.4 THEN
		RAISE EXCEPTION 'not now: %', repeat('x', 1000);
	END IF;
END$$;
SET ROLE bob;
CREATE OR REPLACE FUNCTION instance(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS
$$BEGIN
	IF e.log IS NULL THEN
		PERFORM nextval('public.rung');
		RETURN pm.done();
	END IF;
	IF e.type = 'Timed' THEN
		PERFORM pm.set_timer('ring', pm.now(), jsonb_build_object('by', e.position));
		PERFORM pm.set_timer('never', pm.now() + interval '1 day');
	END IF;
	RETURN coalesce(state, '{}') || jsonb_build_object('n', coalesce((state->>'n')::int, 0) + 1, e.type, e.position);
END$$;
SET ROLE carol;
CREATE OR REPLACE FUNCTION batch(e pm.event[]) RETURNS void LANGUAGE sql AS
$$ INSERT INTO public.effect SELECT 'batch', count(*) FROM unnest(e) $$;
CREATE OR REPLACE FUNCTION forward(e pm.event) RETURNS void LANGUAGE plpgsql AS
$$BEGIN PERFORM pm.append('shipping', 'ship-' || e.stream, 'Shipped', jsonb_build_object('order', e.position)); END$$;
SET ROLE dave;
CREATE OR REPLACE FUNCTION customer(e pm.event) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT e.data->>'customer' $$;
CREATE OR REPLACE FUNCTION lanes(e pm.event) RETURNS void LANGUAGE plpgsql AS
$$BEGIN
	PERFORM 1 / (e.position % 100);
EXCEPTION WHEN division_by_zero THEN NULL;
END$$;
SET ROLE erin;
CREATE OR REPLACE FUNCTION passing(e pm.event) RETURNS void LANGUAGE sql AS $$ SELECT $$;
SQL
	return;
}

# Registers all of them, in round n.
sub register
{
	my ($n) = @_;
	my $size = $n % 2 ? 100 : 90;

	$node->safe_psql('postgres', $_->[1], extra_params => [ '-U', $_->[0] ]) for
	  [ alice => "SELECT pm.register('plain', 'plain', '{orders}', batch_size => $size), "
		  . "pm.register('faulty', 'faulty', '{orders}', types => '{Faulty}', backoff => '10 ms', max_attempts => 1000, batch_size => $size)" ],
	  [ bob => "SELECT pm.register('instance', 'instance', '{orders}', batch_size => $size)" ],
	  [ carol => "SELECT pm.register('batch', 'batch', '{orders,shipping}', batch_size => 10 * $size, start_at => 'beginning'), "
		  . "pm.register('forward', 'forward', '{orders}', types => '{Forward}')" ],
	  [ dave => "SELECT pm.register('lanes', 'lanes', '{orders}', lanes => 2, correlate => 'customer', batch_size => $size)" ],
	  [ erin => "SELECT pm.register('nothing', 'nothing', '{orders,shipping}', batch_size => 10 * $size, start_at => 'beginning'); "
		  . "SELECT pm.unregister(name) FROM pm.process_manager WHERE name LIKE 'passing\\_%'; "
		  . "SELECT pm.register('passing_$n', 'passing', '{shipping}', start_at => 'end')" ];
	return;
}

# ---- memory

my $session = PmTest::session($node);

# The workers: pid => description.
sub workers
{
	my %found = map { split /\|/ } split /\n/,
	  $session->do(q{SELECT pid, concat_ws(' ', backend_type, CASE backend_type WHEN 'pm dispatcher' THEN usename END) FROM pg_stat_activity WHERE backend_type LIKE 'pm %'});
	return %found;
}

sub own_memory
{
	my ($pid) = @_;
	open my $f, '<', "/proc/$pid/status" or return 0;
	my ($kb) = map { /^RssAnon:\s+(\d+) kB/ } <$f>;
	close $f;
	return $kb // 0;
}

my %peak;    # pid => largest value since the last reset

sub sample
{
	for my $pid (@_)
	{
		my $now = own_memory($pid);
		$peak{$pid} = $now if $now > ($peak{$pid} // 0);
	}
	return;
}

# ---- events, round by round

handlers();
register(0);
my $each = int($events / $rounds);
my (%before, %first, $began, @pids, %worker);
my $warm = int($rounds / 5);
my $last = $rounds - $warm;
my $stuck = 0;

for my $round (1 .. $rounds)
{
	if ($round > 1)
	{
		handlers();
		register($round);
	}
	%peak = () if $round == $last + 1;
	my $insert = PmTest::session($node);
	$insert->send(<<"SQL");
INSERT INTO orders (stream, type, data)
SELECT 'order-' || i % 5000, CASE WHEN i % 500 = 250 THEN 'Faulty' WHEN i % 50 = 7 THEN 'Timed' WHEN i % 20 = 3 THEN 'Forward' ELSE 'Plain' END,
	   jsonb_build_object('customer', 'c' || i % 700, 'text', repeat('x', (i % 90)::int))
FROM generate_series(($round - 1) * $each + 1, $round * $each) i
SQL
	my $deadline = time + 300;
	my $all_done = 0;
	until ($all_done)
	{
		sample(@pids) if @pids;
		sleep 0.2;
		$all_done = $insert->over && $session->do(
			"SELECT NOT EXISTS (SELECT FROM pm.status WHERE lag > 0 OR state <> 'idle') AND NOT EXISTS (SELECT FROM pm.parked)") eq 't';
		if (time > $deadline)
		{
			$stuck++;
			diag($session->do("SELECT process_manager, log, state, lag, parked, reason FROM pm.status WHERE lag > 0 OR state <> 'idle'"));
			last;
		}
	}
	last if $stuck;
	$insert->wait;
	$insert->quit;
	if (!@pids)
	{
		# all have started
		%worker = workers();
		@pids = sort { $a <=> $b } keys %worker;
		$began = time;
	}
	sample(@pids);
	%first = %peak if $round == $warm;
	note("round $round: " . join(', ', map { "$worker{$_} $peak{$_}" } @pids));
}
is($stuck, 0, 'each round was handled completely');

my %now = workers();
is(join(' ', sort { $a <=> $b } keys %now), "@pids", 'the workers were the same all the time');
is(join(', ', sort values %now),
	'pm dispatcher alice, pm dispatcher bob, pm dispatcher carol, pm dispatcher dave, pm dispatcher dave, pm dispatcher erin, pm launcher, pm scheduler',
	'a launcher, a scheduler, six dispatchers');
for my $pid (@pids)
{
	my $growth = ($peak{$pid} // 0) - ($first{$pid} // 0);

	cmp_ok($first{$pid} // 0, '>', 0, "$worker{$pid}: its memory is known");
	if (!cmp_ok($growth, '<', $bound, "$worker{$pid}: grows by less than 2 MB"))
	{
		# Its memory contexts are then in the server's log.
		$session->do("SET log_min_messages = log; SELECT pg_log_backend_memory_contexts($pid)");
		sleep 1;
	}
	PmTest::figure("$worker{$pid}: $first{$pid} kB in the first fifth, $peak{$pid} kB in the last ($growth kB more)");
}

# The events were handled, not skipped.
my $total = $each * $rounds;
my $count = $session->do("SELECT count(*) FROM orders");
is($count, $total, 'number of events');
is($session->do("SELECT count(*) - count(DISTINCT pos), count(*) FROM effect WHERE pm = 'plain'"), "0|$total", 'the plain handler got each event once');
is($session->do("SELECT count(*) - count(DISTINCT pos), count(*) FROM effect WHERE pm = 'faulty'"), '0|' . int(($total + 250) / 500), 'the faulty one got each of its events once');
is($session->do("SELECT sum(pos) FROM effect WHERE pm = 'batch'"), $session->do('SELECT (SELECT count(*) FROM orders) + (SELECT count(*) FROM shipping)'), 'the handler of arrays got all events');
cmp_ok($session->do("SELECT errors FROM pm.status WHERE process_manager = 'faulty'"), '>', $total / 20000, 'there were failures');
cmp_ok($session->do("SELECT last_value FROM rung"), '>=', 100 * $rounds, 'there were timers, at least one for each key and round');
my $handled = $session->do('SELECT sum(handled) FROM pm.status');
PmTest::figure("$total events, $handled handled by eight process managers");
$session->quit;
$node->stop('fast');
done_testing();
