# P4, P5: stored times at the limits of their type can be restored from a dump. A handler fails and sets
# timers at the first and the last possible moment. Each private table is dumped in a session with another
# time zone, and restored. The copy has the same contents, and continues when it is adopted.
use strict;
use warnings FATAL => 'all';

use PmTest;
use Test::More;

my $node = PmTest::node('ends', conf => "pm.launcher = off\ntimezone = 'America/New_York'\n");

$node->safe_psql('postgres', <<'SQL');
SET client_min_messages = error;
CREATE TABLE ill AS SELECT true AS yes;
CREATE TABLE fired (type text, due timestamptz);
CREATE FUNCTION fail(e pm.event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN IF EXISTS (SELECT FROM ill) THEN RAISE 'ill'; END IF; END $$;
CREATE FUNCTION timed(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF e.log IS NULL THEN
		INSERT INTO fired VALUES (e.type, e.recorded_at);
		IF e.type = 'fails' AND EXISTS (SELECT FROM ill) THEN RAISE 'ill'; END IF;
		RETURN state;
	END IF;
	PERFORM pm.set_timer(t::text, t) FROM unnest('{294276-12-31 23:59:59.999999+00,294276-12-31 23:59:59.999998+00,4714-11-24 00:00:00+00 BC,4714-11-24 00:00:00.000001+00 BC}'::timestamptz[]) t;
	PERFORM pm.set_timer('fails', '294276-12-31 23:00+00');
	RETURN '1';
END $$;
SELECT pm.create_log(l) FROM unnest('{a,b,c,d}'::text[]) l;
ALTER TABLE c ALTER recorded_at DROP NOT NULL;
SELECT pm.register('parks', 'fail', '{a}', backoff => '24:00'), pm.register('halts', 'fail', '{a,c}', backoff => '24:00', on_failure => 'halt'), pm.register('timed', 'timed', '{b}', backoff => '24:00'),
	pm.register('late', 'fail', '{d}', backoff => '24:00', on_failure => 'halt');
INSERT INTO d (stream, type, recorded_at) VALUES ('s', 't', '294276-12-31 23:59:59.999999+00');
INSERT INTO a (stream, type, recorded_at) VALUES ('s1', 't', '294276-12-31 23:59:59.999999+00'), ('s2', 't', '4714-11-24 00:00:00+00 BC'), ('s3', 't', 'infinity'), ('s4', 't', '-infinity');
INSERT INTO b (stream, type) VALUES ('s', 't');
INSERT INTO c (stream, type, recorded_at) VALUES ('s', 't', NULL), ('s', 't', 'infinity'), ('s', 't', '-infinity');
SQL
# At the first moment, and half an hour before the end of the last day, when a retry would be due after the end.
my @as_of = ('4714-11-24 00:00:00+00 BC', '294276-12-31 23:30:00+00');
for my $as_of (@as_of)
{
	$node->safe_psql('postgres', 'SET client_min_messages = error; SELECT pm.resume()');
	# The retries are made on the way, until a process manager halts.
	$node->safe_psql('postgres', <<"SQL");
SET client_min_messages = error;
DO \$\$ DECLARE m text; BEGIN
	FOR m IN SELECT x FROM unnest('{parks,halts,timed,late}'::text[]) x, generate_series(1, 3) LOOP
		BEGIN PERFORM pm.catch_up(m, '$as_of', on_failure => 'policy'); EXCEPTION WHEN object_not_in_prerequisite_state THEN NULL; END;
	END LOOP;
END \$\$;
SQL
}
is($node->safe_psql('postgres', "SELECT (SELECT count(*) > 0 FROM pm_catalog.parked WHERE retry_at > '290000-01-01'), (SELECT count(*) FROM pm_catalog.lane WHERE retry_at > '290000-01-01')"), 't|1', 'an event is to be retried at the end of time');

my $look = "SET timezone = 'UTC'; SET client_min_messages = error;"
  . join(';', map { "SELECT (t.*)::text FROM pm_catalog.$_ t ORDER BY 1" } qw(parked lane timer instance cursor));
my $before = $node->safe_psql('postgres', $look);
my $dump = $node->basedir . '/dump.sql';
$node->command_ok([ 'pg_dump', '-f', $dump, $node->connstr('postgres') ], 'dumped');
$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE template0');
$node->command_ok([ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', '-f', $dump, $node->connstr('copy') ], 'the dump is restored without an error');
is($node->safe_psql('copy', $look), $before, 'its contents are the same');

# It continues with what is due by now, and with all that is kept until the end of time.
$node->safe_psql('copy', 'SET client_min_messages = error; DELETE FROM ill; SELECT pm.resume(), (SELECT count(pm.retry(name)) FROM pm.process_manager)');
$node->safe_psql('copy', "SET client_min_messages = error; SELECT pm.catch_up(as_of => '294276-12-31 23:59:59.999999+00', on_failure => 'policy'), pm.catch_up(as_of => '294276-12-31 23:59:59.999999+00')");
is($node->safe_psql('copy', "SELECT (SELECT count(*) FROM pm.parked), (SELECT count(*) FROM pm.timer), (SELECT sum(lag) FROM pm.status), (SELECT count(DISTINCT type) FROM fired)"), '0|0|0|5', 'adopted, everything in it is handled');
PmTest::no_crash_ok($node);
$node->stop;
done_testing();
