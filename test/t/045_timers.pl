# Timers: each fires once, also when the server is stopped in immediate mode in the middle, and never
# after its instance has ended (P3). Timers and events of a key are handled in the order of time, whatever
# the batch size. The clock may jump: after a jump of an hour forward, what has become due fires; after a
# jump of a year back, nothing fires twice, and retries are still made.
use strict;
use warnings FATAL => 'all';

use PmTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $timers = $ENV{PM_TIMERS} || 10000;
my $others = int($timers / 10);
my $node = PmTest::node('timers', conf => "max_connections = 30\nshared_buffers = 64MB\nmax_wal_size = 1GB\n");

$node->safe_psql('postgres', 'CREATE ROLE app LOGIN; GRANT USAGE ON SCHEMA pm TO app; GRANT CREATE ON SCHEMA public TO app');
PmTest::create_seen($node);

sub answer
{
	my ($sql, $n) = @_;
	return ($n // $node)->safe_psql('postgres', $sql);
}

# Instances that do what an event says, and record what they get; timers with the key as their stream.
my $handler = <<'SQL';
CREATE FUNCTION %1$s(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $f$
BEGIN
	INSERT INTO public.seen (pm, log, pos, stream, key, type) VALUES ('%1$s', e.log, e.position, e.stream, e.stream, e.type);
	CASE e.type
	WHEN 'arm' THEN PERFORM pm.set_timer(e.data->>'type', (e.data->>'due')::timestamptz, coalesce(e.data->'data', '{}'));
	WHEN 'disarm' THEN
		IF pm.cancel_timer(e.data->>'type') IS NOT TRUE OR pm.cancel_timer('never set') IS NOT FALSE THEN
			RAISE EXCEPTION 'cancel_timer says something else';
		END IF;
	WHEN 'end' THEN RETURN pm.done();
	WHEN 'ring' THEN
		IF e.log IS NOT NULL OR e.position IS NOT NULL OR e.version IS NOT NULL OR e.data->>'key' <> e.stream OR e.recorded_at <> (e.data->>'due')::timestamptz THEN
			RAISE EXCEPTION 'not the timer that was set: %%', e;
		END IF;
		INSERT INTO public.rung VALUES ('%1$s', e.stream, e.recorded_at, pm.now());
	ELSE NULL;
	END CASE;
	RETURN jsonb_build_object('n', coalesce((state->>'n')::int, 0) + 1);
END $f$;
SQL
my $rung = 'CREATE TABLE rung (pm text, key text, due timestamptz, "now" timestamptz, at timestamptz DEFAULT clock_timestamp());';

# ---- ten thousand timers, and a restart in the middle

$node->safe_psql('postgres', $rung . sprintf($handler, 'many') . <<'SQL', extra_params => [ '-U', 'app' ]);
SELECT pm.create_log('orders');
SELECT pm.register('many', 'many', '{orders}', batch_size => 500);
SQL
my $all = $timers + 3 * $others;
# All are due within one second. Some keys have more events: some instances end, some timers are canceled, some are set again.
my $arm = <<'SQL';
INSERT INTO orders (stream, type, data)
SELECT 'k' || i, 'arm', jsonb_build_object('type', 'ring', 'due', due, 'data', jsonb_build_object('key', 'k' || i, 'due', due))
FROM (SELECT i, '%s'::timestamptz + %s + i %% 1000 * interval '1 ms' AS due FROM generate_series(%d, %d) i) x;
SQL
my $start = answer("SELECT now() + interval '1 day'");
answer(sprintf($arm, $start, "interval '0'", 1, $all));
ok(PmTest::wait_idle($node), 'all timers are set');
is(answer('SELECT count(*), min(due) >= now(), count(*) FILTER (WHERE type = $$ring$$ AND data->>$$key$$ = key AND due = (data->>$$due$$)::timestamptz) FROM pm.timer'), "$all|t|$all", 'pm.timer shows them, with their due times');
is(answer('SELECT count(*) FROM rung'), 0, 'none has fired yet');
# Now they become due soon: setting a timer of the same name replaces it. In the middle a handler waits for a lock that this
# session holds, so that the server is stopped there.
answer('CREATE SEQUENCE rings; GRANT ALL ON rings TO app');
answer(sprintf(<<'SQL', int(($timers + $others) / 2)));
CREATE FUNCTION wait_in_the_middle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF nextval('rings') = %d THEN PERFORM pg_advisory_xact_lock(1); END IF;
	RETURN NULL;
END $$;
CREATE TRIGGER wait_in_the_middle AFTER INSERT ON rung FOR EACH ROW EXECUTE FUNCTION wait_in_the_middle();
SELECT pm.alter('many', handler_timeout => '10 min');
SQL
my $gate = PmTest::session($node);
$gate->do('SELECT pg_advisory_lock(1)');
$start = answer("SELECT clock_timestamp() + interval '3 s'");
answer(sprintf($arm, $start, "interval '0'", 1, $all));
answer(sprintf(<<'SQL', $timers + 1, $timers + $others, $timers + $others + 1, $timers + 2 * $others));
INSERT INTO orders (stream, type) SELECT 'k' || i, 'end' FROM generate_series(%d, %d) i;
INSERT INTO orders (stream, type, data) SELECT 'k' || i, 'disarm', '{"type": "ring"}' FROM generate_series(%d, %d) i;
SQL
answer(sprintf($arm, $start, "interval '500 ms'", $timers + 2 * $others + 1, $all));
my $should = $timers + $others;
ok(PmTest::wait_until($node, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted", 1), 'timers begin to fire');
my $before = answer("SELECT count(*) FROM rung");
$node->stop('immediate');
$gate->quit;
$node->start;
my $at_start = answer('SELECT count(*) FROM rung');
answer('DROP TRIGGER wait_in_the_middle ON rung');
my $ok;
my $took = PmTest::seconds { $ok = PmTest::wait_until($node, 'SELECT (SELECT count(*) FROM rung) || $$ $$ || (SELECT count(*) FROM pm.timer)', "$should 0", every => 0.02); };
ok($ok, 'all timers have fired')
  or diag(answer('SELECT * FROM pm.status') . answer('SELECT count(*), min(due), max(due), now() FROM pm.timer'));
note(sprintf('%d timers due within one second: %d fired before the restart, %d when the server was back, all %.1f s after the restart', $should, $before, $at_start, $took));
cmp_ok($before, '>', 0, 'the restart was in the middle: some had fired') if $should > 2000;
cmp_ok($before, '<', $should, 'and some had not');
is(answer('SELECT count(*), count(DISTINCT key) FROM rung'), "$should|$should", 'each fired once');
is(answer("SELECT count(*) FROM (SELECT 'k' || i FROM generate_series(1, $timers) i UNION SELECT 'k' || i FROM generate_series($all - $others + 1, $all) i EXCEPT SELECT key FROM rung) x"), 0, 'none is missing');
is(answer("SELECT count(*) FROM seen WHERE type = 'ring' AND key IN (SELECT 'k' || i FROM generate_series($timers + 1, $timers + $others) i)"), 0, 'timers of ended instances do not fire');
is(answer("SELECT count(*) FROM seen WHERE type = 'ring' AND key IN (SELECT 'k' || i FROM generate_series($timers + $others + 1, $timers + 2 * $others) i)"), 0, 'canceled timers do not fire');
is(answer("SELECT count(*) FROM rung WHERE at < due"), 0, 'none fired early');
is(answer("SELECT count(*) FROM rung WHERE key IN (SELECT 'k' || i FROM generate_series($all - $others + 1, $all) i) AND due < '$start'::timestamptz + interval '500 ms'"), 0, 'of a timer that was set again, only the last one fired');
is(answer("SELECT count(*), count(*) FILTER (WHERE state->>'n' = '4') FROM pm.instance"), ($all - $others) . "|$others", 'ended instances are gone');
PmTest::once_in_key_order_ok($node, 'many', "SELECT 'orders' AS log, position AS pos, stream AS key FROM orders");
# How late does a single timer fire?
my @late;
for my $i (1 .. 10)
{
	answer("INSERT INTO orders (stream, type, data) SELECT 'alone-$i', 'arm', jsonb_build_object('type', 'ring', 'due', due, 'data', jsonb_build_object('key', 'alone-$i', 'due', due)) FROM (SELECT clock_timestamp() + interval '300 ms' OFFSET 0) x(due)");
	ok(PmTest::wait_until($node, "SELECT count(*) FROM rung WHERE key = 'alone-$i'", 1), 'a single timer fires');
	push @late, answer("SELECT round(1000 * extract(epoch FROM at - due), 1) FROM rung WHERE key = 'alone-$i'");
}
@late = sort { $a <=> $b } @late;
note("single timers fire this long after their due time (ms): @late");
cmp_ok($late[4], '<', 500, 'well before the next poll');
# A timer that is already due when it is set.
answer("INSERT INTO orders (stream, type, data) VALUES ('past', 'arm', jsonb_build_object('type', 'ring', 'due', now() - interval '10 years', 'data', jsonb_build_object('key', 'past', 'due', now() - interval '10 years')))");
ok(PmTest::wait_until($node, "SELECT count(*) FROM rung WHERE key = 'past'", 1), 'a timer that is due in the past fires');

# ---- pm.catch_up(as_of)

answer("INSERT INTO orders (stream, type, data) SELECT 'later-' || i, 'arm', jsonb_build_object('type', 'ring', 'due', now() + i * interval '1 hour', 'data', jsonb_build_object('key', 'later-' || i, 'due', now() + i * interval '1 hour')) FROM generate_series(1, 5) i");
ok(PmTest::wait_idle($node), 'the later timers are set');
answer("INSERT INTO orders (stream, type, data) VALUES ('over', 'arm', jsonb_build_object('type', 'ring', 'due', now() + interval '1 hour')), ('over', 'end', '{}')");
ok(PmTest::wait_idle($node), 'a timer whose instance ends');
is(answer("SELECT count(*) FROM pm.timer WHERE key = 'over'"), 0, 'it is removed with the instance');
is($node->safe_psql('postgres', <<'SQL', extra_params => [ '-U', 'app' ]), "0\n2\n2|t\n0\n1\n5", 'pm.catch_up(as_of) fires what is due then, and a ROLLBACK undoes it');
BEGIN;
SELECT pm.catch_up('many');
SELECT pm.catch_up('many', as_of => now() + interval '150 minutes');
SELECT count(*), bool_and("now" = due) FROM rung WHERE key LIKE 'later-%';
SELECT pm.catch_up('many', as_of => now() + interval '150 minutes');
SELECT pm.catch_up('many', as_of => now() + interval '181 minutes');
ROLLBACK;
SELECT count(*) FROM pm.timer WHERE key LIKE 'later-%';
SQL
is($node->safe_psql('postgres', "SELECT pm.catch_up('many', as_of => now() + interval '150 minutes'); SELECT pm.catch_up('many', as_of => now() + interval '1 year'); SELECT pm.catch_up('many', as_of => now() + interval '1 year')", extra_params => [ '-U', 'app' ]), "2\n3\n0", 'after the commit they have fired');
is(answer("SELECT count(*), count(DISTINCT key) FROM rung WHERE key LIKE 'later-%'"), '5|5', 'each fired once');

# ---- in order with the events of the key, whatever the batch size

answer("SELECT pm.create_log('mixed'); GRANT SELECT ON mixed TO app");
answer(<<'SQL');
INSERT INTO mixed (stream, type, data, recorded_at)
SELECT s, t, CASE t WHEN 'arm' THEN jsonb_build_object('type', 'ring', 'due', '2020-01-01 00:10Z'::timestamptz, 'data', jsonb_build_object('key', s, 'due', '2020-01-01 00:10Z'::timestamptz)) ELSE '{}' END, at
FROM generate_series(1, 9) k, LATERAL (SELECT 's' || k AS s) x,
	 (VALUES (1, 'arm', '2020-01-01 00:00Z'::timestamptz), (2, 'before', '2020-01-01 00:05Z'), (3, 'tie', '2020-01-01 00:10Z'), (4, 'after', '2020-01-01 00:10:00.000001Z'), (5, 'long after', '2020-01-01 00:20Z')) v(n, t, at)
ORDER BY n, k;
-- one ends before its timer is due; in one the timer is due first; one ends and begins anew before the timer of its first instance is due
INSERT INTO mixed (stream, type, data, recorded_at) VALUES
	('ended', 'arm', jsonb_build_object('type', 'ring', 'due', '2020-01-01 00:40Z'::timestamptz, 'data', jsonb_build_object('key', 'ended', 'due', '2020-01-01 00:40Z'::timestamptz)), '2020-01-01 00:30Z'),
	('fired', 'arm', jsonb_build_object('type', 'ring', 'due', '2020-01-01 00:40Z'::timestamptz, 'data', jsonb_build_object('key', 'fired', 'due', '2020-01-01 00:40Z'::timestamptz)), '2020-01-01 00:30Z'),
	('reborn', 'arm', jsonb_build_object('type', 'ring', 'due', '2020-01-01 00:40Z'::timestamptz, 'data', jsonb_build_object('key', 'reborn', 'due', '2020-01-01 00:40Z'::timestamptz)), '2020-01-01 00:30Z'),
	('ended', 'end', '{}', '2020-01-01 00:39Z'), ('reborn', 'end', '{}', '2020-01-01 00:39Z'), ('reborn', 'plain', '{}', '2020-01-01 00:39:30Z'),
	('fired', 'end', '{}', '2020-01-01 00:41Z'), ('reborn', 'plain', '{}', '2020-01-01 00:42Z');
SQL
for my $size (1, 2, 3, 7, 100)
{
	for my $driver ('worker', 'catch_up')
	{
		my $pm = "mixed_${size}_$driver";
		my $sql = sprintf($handler, $pm) . "SELECT pm.register('$pm', '$pm', '{mixed}', start_at => 'beginning', batch_size => $size);";

		# in one transaction, so that no worker handles it first
		$sql = "BEGIN;\n$sql\nSELECT pm.catch_up('$pm');\nCOMMIT;" if $driver eq 'catch_up';
		$node->safe_psql('postgres', $sql, extra_params => [ '-U', 'app' ]);
		ok(PmTest::wait_until($node, "SELECT (SELECT lag FROM pm.status WHERE process_manager = '$pm') + (SELECT count(*) FROM pm.timer WHERE process_manager = '$pm')", 0), "$pm: all events are handled");
		is(answer("SELECT string_agg(DISTINCT what, '; ') FROM (SELECT string_agg(type, ', ' ORDER BY seq) AS what FROM seen WHERE pm = '$pm' AND key LIKE 's%' GROUP BY key) x"),
			'arm, before, tie, ring, after, long after', "$pm: a timer fires between the events before and after it, and after an event of the same time");
		is(answer("SELECT key || ': ' || string_agg(type, ', ' ORDER BY seq) FROM seen WHERE pm = '$pm' AND key IN ('ended', 'fired', 'reborn') GROUP BY key ORDER BY key"),
			"ended: arm, end\nfired: arm, ring, end\nreborn: arm, end, plain, plain", "$pm: no timer fires after the end of its instance");
	}
}
PmTest::no_crash_ok($node);
$node->stop('fast');

# ---- the clock jumps

# The clock of the server, wherever it asks the C library: the real time plus the offset in a file.
my $shim = PmTest::build_library('clock', <<'C');
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *seconds;	/* shared with the test */

static void __attribute__((constructor))
start(void)
{
	const char *path = getenv("PM_TEST_CLOCK");
	int			fd = path ? open(path, O_RDONLY) : -1;

	if (fd >= 0)
	{
		void	   *p = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, fd, 0);

		if (p != MAP_FAILED)
			seconds = p;
		close(fd);
	}
}

int
clock_gettime(clockid_t id, struct timespec *t)
{
	int			rc = syscall(SYS_clock_gettime, id, t);

	if (rc == 0 && seconds && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
		t->tv_sec += *seconds;
	return rc;
}

int
gettimeofday(struct timeval *restrict t, void *restrict zone)
{
	struct timespec now;

	(void) zone;
	clock_gettime(CLOCK_REALTIME, &now);
	t->tv_sec = now.tv_sec;
	t->tv_usec = now.tv_nsec / 1000;
	return 0;
}

time_t
time(time_t *t)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (t)
		*t = now.tv_sec;
	return now.tv_sec;
}
C
my $clock_file = PostgreSQL::Test::Utils::tempdir . '/clock';
append_to_file($clock_file, pack('q', 0));

sub set_clock
{
	my ($seconds) = @_;
	open(my $file, '+<', $clock_file) or die "$clock_file: $!";
	syswrite($file, pack('q', $seconds)) == 8 or die "$clock_file: $!";
	close $file;
	return;
}

my $clock = PmTest::node('clock', start => 0);
{
	local $ENV{LD_PRELOAD} = "$shim.so";
	local $ENV{PM_TEST_CLOCK} = $clock_file;
	$clock->start;
}
answer('CREATE EXTENSION pm; CREATE ROLE app LOGIN; GRANT USAGE ON SCHEMA pm TO app; GRANT CREATE ON SCHEMA public TO app', $clock);
PmTest::create_seen($clock);

SKIP:
{
	my $year = 365 * 86400;
	set_clock($year);
	my $away = answer('SELECT extract(epoch FROM clock_timestamp())', $clock) - time;
	set_clock(0);
	skip 'the clock of this server cannot be set', 1 if abs($away - $year) > 60;

	$clock->safe_psql('postgres', $rung . sprintf($handler, 'timed') . <<'SQL', extra_params => [ '-U', 'app' ]);
SELECT pm.create_log('orders');
SELECT pm.register('timed', 'timed', '{orders}');
CREATE TABLE broken AS SELECT true AS yes;
SELECT pm.create_log('bad');
SQL
	PmTest::create_handler($clock, $_, user => 'app', after => "IF e.type = 'bad' AND EXISTS (SELECT FROM broken) THEN RAISE EXCEPTION 'not yet'; END IF;") for qw(parks halts);
	$clock->safe_psql('postgres', "SELECT pm.register('parks', 'parks', '{bad}', backoff => '2 s', max_attempts => 1000); SELECT pm.register('halts', 'halts', '{bad}', backoff => '2 s', max_attempts => 1000, on_failure => 'halt')",
		extra_params => [ '-U', 'app' ]);

	# an hour forward
	my $arm_at = sub {
		my ($key, $interval) = @_;
		answer("INSERT INTO orders (stream, type, data) SELECT '$key', 'arm', jsonb_build_object('type', 'ring', 'due', due, 'data', jsonb_build_object('key', '$key', 'due', due)) FROM (SELECT now() + interval '$interval') x(due)", $clock);
		return;
	};
	$arm_at->('half an hour', '30 minutes');
	$arm_at->('half a day', '12 hours');
	ok(PmTest::wait_idle($clock), 'the timers are set');
	is(answer('SELECT count(*) FROM pm.timer', $clock), 2, 'later timers are set, too');
	is(answer('SELECT count(*) FROM rung', $clock), 0, 'they have not fired');
	set_clock(3600);
	my $jumped = time + 3600;
	ok(PmTest::wait_until($clock, "SELECT string_agg(key, ',') FROM rung", 'half an hour'), 'the clock jumps an hour forward: the timers of the next half hour have fired');
	my $took = answer('SELECT extract(epoch FROM min(at)) FROM rung', $clock) - $jumped;
	PmTest::figure(sprintf('the clock jumps an hour forward: what has become due fires %.1f s after', $took));
	cmp_ok($took, '<', 8, 'within seconds');
	is(answer("SELECT string_agg(key, ',') FROM pm.timer", $clock), 'half a day', 'no later timer has fired');

	# a year back, while retries are pending
	answer("INSERT INTO bad (stream, type) VALUES ('s', 'bad'), ('s', 'next'), ('t', 'good')", $clock);
	ok(PmTest::wait_until($clock, "SELECT (SELECT state FROM pm.parked WHERE state = 'failing'), (SELECT state FROM pm.status WHERE process_manager = 'halts')", 'failing|retrying'), 'one event is parked, another one is retried');
	# Looked up before, since workers may have tried again by the time a query could do so after it.
	my $retry_at = answer("SELECT least((SELECT retry_at FROM pm.parked WHERE state = 'failing'), (SELECT retry_at FROM pm.status WHERE process_manager = 'halts'))", $clock);
	set_clock(3600 - $year);
	is(answer("SELECT timestamptz '$retry_at' > now() + interval '300 days'", $clock), 't', 'the clock jumps a year back: the next attempts are far in the future');
	answer('DELETE FROM broken', $clock);
	$arm_at->('soon', '1 second');
	$took = PmTest::seconds
	{
		ok(PmTest::wait_until($clock, "SELECT (SELECT count(*) FROM pm.parked), (SELECT state || lag FROM pm.status WHERE process_manager = 'halts')", '0|idle0'), 'they are tried nevertheless')
		  or diag(answer('SELECT * FROM pm.status', $clock) . answer('SELECT * FROM pm.parked', $clock) . answer('SELECT now()', $clock));
	};
	PmTest::figure(sprintf('the clock jumps a year back: what had failed is tried %.1f s after', $took));
	is(answer("SELECT string_agg(stream || pos, ',' ORDER BY stream, seq) FROM seen WHERE pm = 'parks'", $clock), answer("SELECT string_agg(stream || position, ',' ORDER BY stream, position) FROM bad", $clock), 'parks: handled once, and in order within a key');
	PmTest::exactly_once_ok($clock, 'halts', 'bad');
	ok(PmTest::wait_until($clock, "SELECT count(*) FROM rung WHERE key = 'soon'", 1), 'a timer that is set now fires');
	# new events and timers are handled, and nothing has fired twice
	answer("INSERT INTO orders (stream, type) SELECT 'n' || i, 'plain' FROM generate_series(1, 20) i", $clock);
	ok(PmTest::wait_until($clock, "SELECT count(*) FROM pm.status WHERE lag > 0", 0), 'new events are handled');
	# back to the real time
	set_clock(0);
	ok(PmTest::wait_until($clock, "SELECT count(*) FROM pm.status WHERE state <> 'idle' OR lag > 0", 0), 'the clock is set to the real time');
	set_clock(13 * 3600);
	ok(PmTest::wait_until($clock, "SELECT string_agg(key, ', ' ORDER BY key) FROM rung", 'half a day, half an hour, soon'), 'each timer has fired once');
	PmTest::once_in_key_order_ok($clock, 'timed', "SELECT 'orders' AS log, position AS pos, stream AS key FROM orders");
	is(answer("SELECT count(*) FROM pm.timer", $clock), 0, 'no timer is left');
}
PmTest::no_crash_ok($clock);
$clock->stop('fast');
done_testing();
