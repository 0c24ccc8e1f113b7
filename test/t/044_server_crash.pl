# P4: a handler in C crashes the server, by calling abort() for some events. After at most two restarts
# of the server the event is parked (park) or its process manager is halted (halt). Process managers of
# the same role and of another one that only shared the crash continue and are not blamed.
use strict;
use warnings FATAL => 'all';

use PmTest;
use Test::More;
use Time::HiRes qw(sleep time);

my $module = PmTest::build_library('crash_handler', PmTest::crash_source() . <<'C');
#include "executor/executor.h"
#include "executor/spi.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

PG_FUNCTION_INFO_V1(crash_event);

/* A handler: records the event, and then ends the server if its type is 'abort' and public.armed has a row. */
Datum
crash_event(PG_FUNCTION_ARGS)
{
	HeapTupleHeader event = PG_GETARG_HEAPTUPLEHEADER(0);
	Oid			types[4] = {TEXTOID, TEXTOID, INT8OID, TEXTOID};
	Datum		values[4];
	bool		isnull;
	char	   *type = TextDatumGetCString(GetAttributeByName(event, "type", &isnull));

	values[0] = CStringGetTextDatum(get_func_name(fcinfo->flinfo->fn_oid));
	values[1] = GetAttributeByName(event, "log", &isnull);
	values[2] = GetAttributeByName(event, "position", &isnull);
	values[3] = GetAttributeByName(event, "stream", &isnull);
	if (SPI_connect() != SPI_OK_CONNECT ||
		SPI_execute_with_args("INSERT INTO public.seen (pm, log, pos, stream, key) VALUES ($1, $2, $3, $4, $4)",
							  4, types, values, NULL, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not record the event");
	if (strcmp(type, "abort") == 0)
	{
		if (SPI_execute("SELECT FROM public.armed", false, 1) != SPI_OK_SELECT)
			elog(ERROR, "could not look");
		if (SPI_processed > 0)
			crash_at_once();
	}
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "could not finish");
	PG_RETURN_VOID();
}
C

my $node = PmTest::node('abort', conf => "restart_after_crash = on\nmax_connections = 40\n");
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE app LOGIN;
CREATE ROLE other LOGIN;
GRANT USAGE ON SCHEMA pm TO app, other;
GRANT CREATE ON SCHEMA public TO app, other;
CREATE TABLE armed AS SELECT true AS yes;
GRANT SELECT ON armed TO app, other;
SELECT pm.create_log(l) FROM unnest('{orders,timed}'::text[]) l;
GRANT SELECT, INSERT ON orders, timed TO app, other;
SQL
PmTest::create_seen($node);
$node->safe_psql('postgres', "CREATE FUNCTION $_(pm.event) RETURNS void LANGUAGE C AS '$module', 'crash_event'") for qw(parks halts);
$node->safe_psql('postgres', "CREATE FUNCTION crash() RETURNS void LANGUAGE C AS '$module', 'crash'");
# The handlers of the others are slow, so that they are in the middle of an event whenever the server crashes.
for my $pm ([ 'same_park', 'app' ], [ 'same_halt', 'app' ], [ 'other_park', 'other' ], [ 'other_halt', 'other' ])
{
	PmTest::create_handler($node, $pm->[0], user => $pm->[1], after => 'PERFORM pg_sleep(0.005);');
	my ($policy) = $pm->[0] =~ /_(.*)/;
	$node->safe_psql('postgres', "SELECT pm.register('$pm->[0]', '$pm->[0]', '{orders}', on_failure => '$policy', batch_size => 20, max_attempts => 2)", extra_params => [ '-U', $pm->[1] ]);
}

sub answer
{
	my ($sql) = @_;
	return $node->safe_psql('postgres', $sql);
}

# The others have handled everything once, and are not blamed.
sub others_ok
{
	my ($name) = @_;

	ok(PmTest::wait_until($node, "SELECT count(*) FROM pm.status WHERE process_manager ~ '^(same|other)_' AND (lag > 0 OR state <> 'idle' OR parked > 0)", 0), "$name: the others continue")
	  or diag(answer('SELECT process_manager, state, reason, lag, attempts, parked FROM pm.status') . "\n" . answer('SELECT process_manager, position, key, state, attempts, message FROM pm.parked'));
	PmTest::once_in_key_order_ok($node, $_, "SELECT 'orders' AS log, position AS pos, stream AS key FROM orders", "$name: $_ handled everything once") for qw(same_park other_park);
	PmTest::exactly_once_ok($node, $_, 'orders', "$name: $_ handled everything once") for qw(same_halt other_halt);
	is(answer("SELECT count(*) FROM pm.parked WHERE process_manager ~ '^(same|other)_'"), 0, "$name: no event of the others is parked");
	is(answer("SELECT sum(errors) FROM pm.status WHERE process_manager ~ '^(same|other)_'"), 0, "$name: no failure of the others is counted");
	return;
}

# Appends some events, the one that crashes, and some more of its key and of others.
sub append
{
	return crashing(<<'SQL', "SELECT max(position) FROM orders WHERE type = 'abort'");
BEGIN;
INSERT INTO orders (stream, type) SELECT 's' || i % 7, 'A' FROM generate_series(1, 40) i;
INSERT INTO orders (stream, type) VALUES ('s3', 'abort');
INSERT INTO orders (stream, type) SELECT 's' || i % 7, 'A' FROM generate_series(1, 40) i;
COMMIT;
SQL
}

# Inserts the event that crashes the server, possibly before this session has ended. Then repeats a query until it is answered.
sub crashing
{
	my ($sql, $question) = @_;
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
	my $answer;

	eval { answer($sql); 1 } or $@ =~ /connection error/ or die $@;
	return unless defined $question;
	until (eval { $answer = answer($question); 1 })
	{
		die $@ if time > $deadline;
		sleep 0.05;
	}
	return $answer;
}

# ---- park

answer("SELECT pm.register('parks', 'parks', '{orders}', max_attempts => 3, backoff => '100 ms')");
my ($restarts, $bad_keys) = (0);
for my $round (1 .. 2)
{
	my $bad = append();
	my $began = time;
	if ($round == 1)
	{
		ok(PmTest::wait_until($node, "SELECT count(*) FROM pm.parked WHERE process_manager = 'parks' AND position = $bad AND state = 'dead'", 1), 'park: the event is set aside')
		  or diag(answer('SELECT * FROM pm.status') . answer('SELECT * FROM pm.parked'));
		like(answer("SELECT message || ' ' || coalesce(detail, '') FROM pm.parked WHERE process_manager = 'parks' AND position = $bad"), qr/crash|terminated|ended/i,
			'pm.parked says that it was a crash');
	}
	ok(PmTest::wait_until($node, "SELECT state || lag FROM pm.status WHERE process_manager = 'parks'", 'idle0'), "park, round $round: its process manager continues");
	my $took = time - $began;
	PmTest::once_in_key_order_ok($node, 'parks', "SELECT 'orders' AS log, position AS pos, stream AS key FROM orders WHERE stream <> 's3' OR position < (SELECT min(position) FROM orders WHERE type = 'abort')",
		"park, round $round: all events of other keys are handled");
	others_ok("park, round $round");
	my $crashes = PmTest::restarts_in_log($node) - $restarts;
	$restarts += $crashes;
	note(sprintf('park, round %d: %d restarts of the server, %.1f s', $round, $crashes, $took));
	if ($round == 1)
	{
		cmp_ok($crashes, '>=', 1, 'the handler crashed the server');
		cmp_ok($crashes, '<=', 2, 'at most twice');
	}
	else
	{
		is($crashes, 0, 'another such event of a parked key does not crash the server');
	}
}
is(answer("SELECT string_agg(DISTINCT key, ','), count(*) FILTER (WHERE state <> 'behind') FROM pm.parked WHERE process_manager = 'parks'"), 's3|1', 'one key is parked');
# the handler is corrected
answer("DELETE FROM armed; SELECT pm.retry(process_manager, log, position) FROM pm.parked WHERE state = 'dead'");
ok(PmTest::wait_until($node, 'SELECT count(*) FROM pm.parked', 0), 'corrected and retried, nothing is parked');
PmTest::once_in_key_order_ok($node, 'parks', "SELECT 'orders' AS log, position AS pos, stream AS key FROM orders");
answer("SELECT pm.unregister('parks'); INSERT INTO armed VALUES (true)");

# ---- several keys: at most two crashes for each, and other keys are not blamed

$bad_keys = 3;
answer("SELECT pm.register('parks', 'parks', '{orders}', start_at => 'end', max_attempts => 3, backoff => '100 ms')");
my $from = 1 + answer('SELECT max(position) FROM orders');
crashing(<<"SQL");
INSERT INTO orders (stream, type) SELECT 's' || i % 7, CASE WHEN i IN (40, 41, 60) THEN 'abort' ELSE 'A' END FROM generate_series(1, 100) i;
SQL
ok(PmTest::wait_until($node, "SELECT (SELECT count(*) FROM pm.parked WHERE process_manager = 'parks' AND state = 'dead'), (SELECT state || lag FROM pm.status WHERE process_manager = 'parks')", "$bad_keys|idle0"), 'several keys: each is set aside')
  or diag(answer('SELECT * FROM pm.status') . answer('SELECT * FROM pm.parked'));
others_ok('several keys');
my $several = PmTest::restarts_in_log($node) - $restarts;
$restarts += $several;
note("several keys: $several restarts of the server");
cmp_ok($several, '<=', 2 * $bad_keys, 'at most two crashes for each key');
is(answer("SELECT count(*) FROM pm.parked WHERE process_manager = 'parks' AND state <> 'behind' AND (event).type <> 'abort'"), 0, 'no other event of the process manager is blamed');
answer("DELETE FROM armed; SELECT pm.retry(process_manager, log, position) FROM pm.parked WHERE state = 'dead'");
ok(PmTest::wait_until($node, 'SELECT count(*) FROM pm.parked', 0), 'corrected and retried, nothing is parked');
is(answer("SELECT count(*), count(DISTINCT pos) FROM seen WHERE pm = 'parks' AND pos >= $from"), '100|100', 'each event is handled once');
answer("SELECT pm.unregister('parks'); INSERT INTO armed VALUES (true)");

# ---- halt

answer("SELECT pm.register('halts', 'halts', '{orders}', start_at => 'end', on_failure => 'halt', max_attempts => 2, backoff => '100 ms')");
my $bad = append();
my $began = time;
ok(PmTest::wait_until($node, "SELECT state FROM pm.status WHERE process_manager = 'halts'", 'halted'), 'halt: halted')
  or diag(answer('SELECT * FROM pm.status'));
my $crashes = PmTest::restarts_in_log($node) - $restarts;
$restarts += $crashes;
note(sprintf('halt: %d restarts of the server, %.1f s', $crashes, time - $began));
cmp_ok($crashes, '>=', 1, 'the handler crashed the server');
cmp_ok($crashes, '<=', 2, 'at most twice');
like(answer("SELECT reason FROM pm.status WHERE process_manager = 'halts'"), qr/position $bad of log "orders"/, 'pm.status names the event');
is(answer("SELECT position FROM pm.cursor WHERE process_manager = 'halts'"), $bad - 1, 'the cursor is before the event');
is(answer("SELECT count(*), max(pos) FROM seen WHERE pm = 'halts'"), '40|' . ($bad - 1), 'the events before it took effect once');
others_ok('halt');
is(PmTest::restarts_in_log($node), $restarts, 'it does not crash the server again');
answer("DELETE FROM armed; SELECT pm.resume('halts')");
ok(PmTest::wait_until($node, "SELECT state || lag FROM pm.status WHERE process_manager = 'halts'", 'idle0'), 'corrected and resumed, it continues');
PmTest::once_in_key_order_ok($node, 'halts', "SELECT 'orders' AS log, position AS pos, stream AS key FROM orders WHERE position >= $bad - 40");
answer("SELECT pm.unregister('halts'); INSERT INTO armed VALUES (true)");

# ---- a timer whose handler crashes the server, with a state

$node->safe_psql('postgres', <<'SQL', extra_params => [ '-U', 'app' ]);
CREATE FUNCTION timed(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $f$
BEGIN
	INSERT INTO seen (pm, log, pos, stream, key, type) VALUES ('timed', e.log, e.position, e.stream, e.stream, e.type);
	IF e.type = 'arm' THEN PERFORM pm.set_timer('ring', pm.now());
	ELSIF e.type = 'ring' AND e.stream = 'bad' AND EXISTS (SELECT FROM armed) THEN PERFORM crash();
	END IF;
	RETURN jsonb_build_object('n', coalesce((state->>'n')::int, 0) + 1);
END $f$;
SELECT pm.register('timed', 'timed', '{timed}', max_attempts => 2, backoff => '100 ms');
SQL
crashing("INSERT INTO orders (stream, type) SELECT 's' || i % 7, 'A' FROM generate_series(1, 40) i; INSERT INTO timed (stream, type) SELECT CASE i WHEN 5 THEN 'bad' ELSE 'k' || i END, 'arm' FROM generate_series(1, 20) i");
ok(PmTest::wait_until($node, "SELECT count(*) FROM pm.parked WHERE process_manager = 'timed' AND key = 'bad' AND log IS NULL AND state = 'dead'", 1), 'a timer whose handler crashes is parked')
  or diag(answer('SELECT * FROM pm.status') . answer('SELECT * FROM pm.parked'));
$crashes = PmTest::restarts_in_log($node) - $restarts;
$restarts += $crashes;
note("timer: $crashes restarts of the server");
# The first crash undoes the timer together with the batch that has set it. Then the event is tried alone, and sets the timer again.
cmp_ok($crashes, '<=', 3, 'at most three crashes');
ok(PmTest::wait_until($node, "SELECT count(*), count(DISTINCT key) FROM seen WHERE pm = 'timed' AND log IS NULL", '19|19'), 'the timers of other keys fire once');
others_ok('timer');
is(answer("SELECT count(*) FROM pm.timer"), 0, 'no timer is left over');
answer("DELETE FROM armed; SELECT pm.retry(process_manager, log, position) FROM pm.parked WHERE state = 'dead'");
ok(PmTest::wait_until($node, "SELECT (SELECT count(*) FROM pm.parked), (SELECT count(*) FROM seen WHERE pm = 'timed' AND log IS NULL)", '0|20'), 'corrected and retried, it fires, too');
is(answer("SELECT count(*), count(DISTINCT key), bool_and(state = '{\"n\": 2}') FROM pm.instance"), '20|20|t', 'each instance has had its two events');

note("$restarts restarts of the server in all");
is(PmTest::signals_in_log($node, 6), $restarts, 'each of them was one of these crashes');
unlike(PostgreSQL::Test::Utils::slurp_file($node->logfile), qr/TRAP: |PANIC: |was terminated by signal (?:7|8|11)\b/, 'there was no other restart');
$node->stop('fast');
done_testing();
