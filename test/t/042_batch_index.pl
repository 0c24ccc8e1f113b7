# P3 and P4 within a batch: batches of a hundred events, with a failure at each index from 1 to 100.
# With on_failure => 'park' the failing event and the later ones of its key are parked, and all others
# take effect once. With 'halt' all events before it take effect once, and the rest after pm.resume.
# For handlers of one event, of arrays and with a state; in workers and in pm.catch_up.
use strict;
use warnings FATAL => 'all';

use PmTest;
use Test::More;
use Time::HiRes qw(sleep time);

my $size = 100;
my $node = PmTest::node('index', conf => "pm.batch_duration = '1 min'\nmax_connections = 30\n");

$node->safe_psql('postgres', 'CREATE ROLE app LOGIN; GRANT USAGE ON SCHEMA pm TO app; GRANT CREATE ON SCHEMA public TO app');
PmTest::create_seen($node);
# The test decides in a table which events fail. The key of an event is its stream.
$node->safe_psql('postgres', <<'SQL', extra_params => [ '-U', 'app' ]);
CREATE TABLE to_fail (pm text, pos bigint);
CREATE FUNCTION fails(p text, at bigint) RETURNS boolean LANGUAGE sql AS $$ SELECT EXISTS (SELECT FROM to_fail f WHERE f.pm = p AND f.pos = at) $$;
SQL

my %handler = (
	event => <<'SQL',
CREATE FUNCTION %1$s(e pm.event) RETURNS void LANGUAGE plpgsql AS $f$
BEGIN
	INSERT INTO seen (pm, log, pos, stream, key) VALUES ('%1$s', e.log, e.position, e.stream, e.stream);
	IF fails('%1$s', e.position) THEN RAISE EXCEPTION 'at %%', e.position; END IF;
END $f$;
SQL
	batch => <<'SQL',
CREATE FUNCTION %1$s(e pm.event[]) RETURNS void LANGUAGE plpgsql AS $f$
BEGIN
	INSERT INTO seen (pm, log, pos, stream, key) SELECT '%1$s', x.log, x.position, x.stream, x.stream FROM unnest(e) WITH ORDINALITY x ORDER BY x.ordinality;
	IF EXISTS (SELECT FROM unnest(e) x WHERE fails('%1$s', x.position)) THEN RAISE EXCEPTION 'in the batch'; END IF;
END $f$;
SQL
	instance => <<'SQL',
CREATE FUNCTION %1$s(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $f$
BEGIN
	INSERT INTO seen (pm, log, pos, stream, key) VALUES ('%1$s', e.log, e.position, e.stream, e.stream);
	IF fails('%1$s', e.position) THEN RAISE EXCEPTION 'at %%', e.position; END IF;
	RETURN jsonb_build_object('n', coalesce((state->>'n')::int, 0) + 1, 'h', (coalesce((state->>'h')::bigint, 0) * 31 + e.position) %% 1000000007);
END $f$;
SQL
);

# One hundred rounds: in round i the i-th event of the batch fails. There are ten keys of ten events each.
# Returns the number of rounds with a wrong result, and prints what was wrong.
my $app = PmTest::session($node, user => 'app');

sub rounds_ok
{
	my ($kind, $policy, $driver) = @_;
	my $pm = "${kind}_${policy}_$driver";
	my $log = "log_$pm";
	my $wrong = 0;
	my $began = time;

	$app->do(sprintf($handler{$kind}, $pm)
		  . "SELECT pm.create_log('$log'); SELECT pm.register('$pm', '$pm', '{$log}', on_failure => '$policy', max_attempts => 1 + ('$policy' = 'park')::int, backoff => '1 h', batch_size => $size);");
	# Waits until the condition on the process manager's row of pm.status holds: for a worker, or by calling pm.catch_up.
	my $until = sub {
		my ($condition) = @_;

		if ($driver eq 'catch_up')
		{
			$app->do("SELECT pm.catch_up(on_failure => 'policy');");
			return $app->do("SELECT $condition FROM pm.status WHERE process_manager = '$pm'") eq 't';
		}
		my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
		until ($app->do("SELECT $condition FROM pm.status WHERE process_manager = '$pm'") eq 't')
		{
			return 0 if time > $deadline;
			sleep 0.01;
		}
		return 1;
	};
	for my $index (1 .. $size)
	{
		my $first = 1 + ($index - 1) * $size;
		my $bad = $first + $index - 1;
		my $round = "pm = '$pm' AND pos >= $first";

		$app->do("BEGIN; INSERT INTO $log (stream, type) SELECT 'r$index-' || i % 10, 'A' FROM generate_series(1, $size) i; INSERT INTO to_fail VALUES ('$pm', $bad); COMMIT");
		if ($policy eq 'park')
		{
			my $done = $until->('lag = 0');
			# everything took effect once, except the failing event and the later ones of its key, which are parked
			my $answer = $app->do(<<"SQL");
SELECT (SELECT count(*) FROM $log o LEFT JOIN (SELECT pos, count(*) AS n FROM seen WHERE $round GROUP BY pos) s ON s.pos = o.position
			WHERE position >= $first AND NOT (position >= $bad AND stream = (SELECT stream FROM $log WHERE position = $bad)) AND n IS DISTINCT FROM 1),
	   (SELECT count(*) FROM seen WHERE $round) + (SELECT count(*) FROM pm.parked WHERE process_manager = '$pm' AND position >= $first),
	   (SELECT string_agg(position || state, ',' ORDER BY position) FROM pm.parked WHERE process_manager = '$pm' AND position >= $first)
SQL
			my $heads = join ',', map { $_ . ($_ == $bad ? 'failing' : 'behind') } grep { ($_ - $bad) % 10 == 0 } $bad .. $first + $size - 1;
			if (!$done || $answer ne "0|$size|$heads")
			{
				diag("$pm, failure at index $index: $answer, expected 0|$size|$heads; " . $app->do("SELECT * FROM pm.status WHERE process_manager = '$pm'"));
				last if ++$wrong > 3;
			}
		}
		else
		{
			my $done = $until->("state = 'halted'");
			my $answer = $app->do("SELECT count(*), count(DISTINCT pos), coalesce(max(pos), $bad - 1), (SELECT position FROM pm.cursor WHERE process_manager = '$pm') FROM seen WHERE $round");
			my $before = $index - 1;
			if (!$done || $answer ne "$before|$before|@{[$bad - 1]}|@{[$bad - 1]}")
			{
				diag("$pm, failure at index $index: $answer; " . $app->do("SELECT * FROM pm.status WHERE process_manager = '$pm'"));
				$wrong++;
			}
			$app->do("DELETE FROM to_fail; SELECT pm.resume('$pm')");
			if (!$until->("lag = 0 AND attempts = 0 AND state IN ('idle', 'waiting')"))
			{
				diag("$pm: does not continue after the failure at index $index; " . $app->do("SELECT * FROM pm.status WHERE process_manager = '$pm'"));
				last if ++$wrong > 3;
			}
		}
	}
	# In how many rounds the events before the failing one (the i-th in round i) took effect in one transaction.
	my $together = $app->do("SELECT count(*) FROM (SELECT FROM seen WHERE pm = '$pm' AND pos <= $size * $size AND (pos - 1) % $size < (pos - 1) / $size
		GROUP BY (pos - 1) / $size HAVING count(DISTINCT xid) = 1) x");
	if ($policy eq 'park' && $kind ne 'batch')
	{
		# several failures in one batch, also next to each other and at both ends
		my $first = 1 + $app->do("SELECT max(position) FROM $log");
		$app->do("BEGIN; INSERT INTO $log (stream, type) SELECT 'many-' || i, 'A' FROM generate_series(1, $size) i;
			INSERT INTO to_fail SELECT '$pm', $first - 1 + i FROM generate_series(1, $size) i WHERE i % 2 = 0 OR i IN (1, 3, 99); COMMIT");
		$until->('lag = 0');
		is($app->do("SELECT (SELECT count(*) FROM seen WHERE pm = '$pm' AND pos >= $first), (SELECT count(DISTINCT pos) FROM seen WHERE pm = '$pm' AND pos >= $first),
				(SELECT count(*) FROM pm.parked WHERE process_manager = '$pm' AND position >= $first AND state = 'failing')"),
			'47|47|53', "$pm: 53 failures in one batch");
	}
	my $took = time - $began;
	is($wrong, 0, "$pm: a failure at each index of a batch of $size");
	# This shows how large the batches were. Arrays that fail are handled one event at a time.
	cmp_ok($together, '>', 90, "$pm: the events before the failing one were one batch") if $kind ne 'batch' && $driver eq 'worker';

	if ($policy eq 'park')
	{
		is($app->do("SELECT count(*) FROM pm.parked WHERE process_manager = '$pm' AND state NOT IN ('failing', 'behind')"), 0, "$pm: no event is dead");
		$app->do("DELETE FROM to_fail; SELECT count(pm.retry(process_manager, log, position)) FROM pm.parked WHERE process_manager = '$pm' AND state = 'failing'");
		my $ok = 0;
		if ($driver eq 'catch_up')
		{
			$app->do("SELECT pm.catch_up(on_failure => 'policy')");
			$ok = $app->do("SELECT count(*) FROM pm.parked WHERE process_manager = '$pm'") eq '0';
		}
		else
		{
			$ok = PmTest::wait_until($node, "SELECT count(*) FROM pm.parked WHERE process_manager = '$pm'", 0);
		}
		ok($ok, "$pm: corrected and retried, nothing is parked");
		PmTest::once_in_key_order_ok($node, $pm, "SELECT '$log' AS log, position AS pos, stream AS key FROM $log");
	}
	else
	{
		PmTest::exactly_once_ok($node, $pm, $log);
	}
	if ($kind eq 'instance')
	{
		is($app->do(<<"SQL"), '0|0', "$pm: each instance has the state of its events, once and in order");
CREATE AGGREGATE pg_temp.roll_$policy$driver(bigint) (SFUNC = roll_step, STYPE = bigint, INITCOND = '0');
CREATE TEMP TABLE want_$policy$driver AS SELECT stream AS key, jsonb_build_object('n', count(*), 'h', pg_temp.roll_$policy$driver(position ORDER BY position)) AS state FROM $log GROUP BY stream;
SELECT (SELECT count(*) FROM (SELECT key, state FROM want_$policy$driver EXCEPT SELECT key, state FROM pm.instance WHERE process_manager = '$pm') x),
	   (SELECT count(*) FROM (SELECT key, state FROM pm.instance WHERE process_manager = '$pm' EXCEPT SELECT key, state FROM want_$policy$driver) x)
SQL
	}
	note(sprintf('%s: %d batches of %d in %.1f s', $pm, $size, $size, $took));
	# otherwise later calls of pm.catch_up would include it
	$app->do("SELECT pm.unregister('$pm')");
	$node->safe_psql('postgres', 'TRUNCATE seen');
	return;
}

$app->do('CREATE FUNCTION roll_step(h bigint, pos bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$ SELECT (h * 31 + pos) % 1000000007 $$');
for my $driver (qw(worker catch_up))
{
	if ($driver eq 'catch_up')
	{
		$node->safe_psql('postgres', 'ALTER SYSTEM SET pm.launcher = off');
		$node->reload;
		ok(PmTest::wait_until($node, "SELECT count(*) FROM pg_stat_activity WHERE backend_type IN ('pm scheduler', 'pm dispatcher')", 0), 'there are no workers');
	}
	for my $kind (qw(event batch instance))
	{
		rounds_ok($kind, $_, $driver) for qw(park halt);
	}
}
$app->quit;

PmTest::no_crash_ok($node);
$node->stop('fast');
done_testing();
