# A database in use, for the tests of upgrades: each private table has rows, workers handle events, and at the end it is
# known what must have been handled.
#
#   PmUpgrade::fill($node, 'db');               # roles, logs, process managers, events; returns when all that can be is handled
#   PmUpgrade::append($node, 'db', 30);         # more events of each kind; handled when workers run
#   my $text = PmUpgrade::kept($node, 'db');    # what must be the same after an upgrade
#   PmUpgrade::finish_ok($node, 'db');          # what failed so far succeeds; tests that all is handled once and in order
package PmUpgrade;

use strict;
use warnings FATAL => 'all';

use PmTest;
use Test::More;

our @tables = qw(log process_manager cursor lane former_lane instance timer parked trimmed);

sub app { my ($node, $db, $sql) = @_; return $node->safe_psql($db, $sql, extra_params => [ '-U', 'app' ]); }

# One lane of it cannot pass an event, which is tried again and again, so the lanes are at different positions.
sub register_apart
{
	my ($node, $db, $lanes, $backoff) = @_;
	app($node, $db, "SELECT pm.register('apart', 'apart', '{flow}', lanes => $lanes, on_failure => 'halt', max_attempts => 1000, backoff => '$backoff')");
	return;
}

sub fill
{
	my ($node, $db) = @_;

	$node->safe_psql($db, <<'SQL');
DO $$ BEGIN CREATE ROLE app LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
GRANT USAGE ON SCHEMA pm TO app;
GRANT ALL ON SCHEMA public TO app;
SQL
	PmTest::create_seen($node, dbname => $db);
	app($node, $db, <<'SQL');
CREATE TABLE healed (yes boolean);
SELECT pm.create_log('flow');
SELECT pm.create_log('old');
SELECT pm.append('old', 'gone', 'A') FROM generate_series(1, 3);
SELECT pm.trim('old', 3);
CREATE FUNCTION inst(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF e.type = 'bad' AND NOT EXISTS (SELECT FROM public.healed) THEN RAISE EXCEPTION 'not this one'; END IF;
	IF e.type = 'later' THEN PERFORM pm.set_timer('ring ' || e.position, pm.now() + (e.data ->> 'in')::interval); END IF;
	INSERT INTO public.seen (pm, log, pos, stream, key, type) VALUES ('inst', e.log, e.position, e.stream, e.stream, e.type);
	RETURN coalesce(state, '{}') || jsonb_build_object('n', coalesce((state ->> 'n')::int, 0) + 1);
END $$;
SQL
	PmTest::create_handler($node, $_, dbname => $db, user => 'app') for 'plain', 'laned';
	PmTest::create_handler($node, 'apart', dbname => $db, user => 'app',
		before => "IF e.type = 'stuck' AND NOT EXISTS (SELECT FROM public.healed) THEN RAISE EXCEPTION 'stuck'; END IF;");
	app($node, $db, <<'SQL');
SELECT pm.register('plain', 'plain', '{flow}');
SELECT pm.register('laned', 'laned', '{flow}', lanes => 3);
SELECT pm.register('inst', 'inst', '{flow}', lanes => 2, max_attempts => 5, backoff => '1 h');
SQL
	register_apart($node, $db, 4, '1 h');
	app($node, $db, "INSERT INTO flow (stream, type) VALUES ('s1', 'stuck')");
	append($node, $db, 30);
	ok(handled($node, $db), "$db: events are handled");
	ok(PmTest::wait_until($node, "SELECT min(position) < max(position) FROM pm.cursor WHERE process_manager = 'apart'", 't', dbname => $db), 'lanes are apart');
	register_apart($node, $db, 3, '1 h');
	append($node, $db, 30);
	ok(handled($node, $db), "$db: more events are handled");
	rows_ok($node, $db, "$db: each private table has rows");
	return;
}

# More events: some fail, some set timers for soon or for later.
sub append
{
	my ($node, $db, $n) = @_;

	app($node, $db, <<"SQL");
INSERT INTO flow (stream, type, data)
SELECT 's' || i % 7, CASE WHEN i % 7 = 2 AND i % 3 = 0 THEN 'bad' WHEN i % 7 IN (3, 4) THEN 'later' ELSE 'A' END,
	   CASE i % 7 WHEN 3 THEN '{"in": "1 s"}' WHEN 4 THEN '{"in": "10 days"}' ELSE '{}' END::jsonb
FROM generate_series(1, $n) i;
SELECT pm.append('flow', 'appended', 'A');
SQL
	return;
}

# Waits until everything is handled, except what must fail. Returns true if that was in time.
sub handled
{
	my ($node, $db) = @_;

	return PmTest::wait_until($node, <<'SQL', '0|0|0', dbname => $db, timeout => 60);
SELECT coalesce(sum(lag) FILTER (WHERE process_manager <> 'apart'), 0),
	   (SELECT max(position) FROM flow) - (SELECT max(position) FROM pm.cursor WHERE process_manager = 'apart'),
	   (SELECT count(*) FROM pm.timer WHERE due < now() + interval '1 h')
FROM pm.status
SQL
}

sub rows_ok
{
	my ($node, $db, $name) = @_;
	is($node->safe_psql($db, "SELECT concat_ws(' '" . join('', map { ", CASE WHEN NOT EXISTS (SELECT FROM pm_catalog.$_) THEN '$_' END" } @tables) . ')'), '',
		$name);
	return;
}

# The contents of the private tables and what was handled. Columns that an upgrade may add are left out.
sub kept
{
	my ($node, $db, @columns) = @_;
	my $sql = '';

	for my $table (@tables, 'public.seen')
	{
		my $name = $table =~ /\./ ? $table : "pm_catalog.$table";
		$sql .= "SELECT '$name', t FROM (SELECT * FROM $name) t ORDER BY t::text COLLATE \"C\";\n";
	}
	return $node->safe_psql($db, $sql);
}

# Corrects what has failed, and tests that everything is handled once and in order, by all process managers, and that the
# instances and timers are right.
sub finish_ok
{
	my ($node, $db, $seconds) = @_;
	my $flow = "SELECT 'flow' AS log, position AS pos, stream AS key FROM flow";

	app($node, $db, "INSERT INTO healed VALUES (true)");
	register_apart($node, $db, 3, '100 ms');
	app($node, $db, "SELECT pm.retry('inst', log, position) FROM pm.parked WHERE process_manager = 'inst' AND state <> 'behind'");
	ok(PmTest::wait_until($node, 'SELECT sum(lag), sum(parked), (SELECT count(*) FROM pm.timer WHERE due < now() + interval \'1 h\') FROM pm.status', '0|0|0', dbname => $db),
		"$db: everything is handled, what had failed too")
	  or diag($node->safe_psql($db, 'SELECT process_manager, lane, state, reason, lag, parked FROM pm.status'));
	PmTest::exactly_once_ok($node, 'plain', 'flow', "$db, plain: once and in order", dbname => $db);
	PmTest::once_in_key_order_ok($node, $_, $flow, "$db, $_: once and in order within each key", dbname => $db) for qw(laned apart inst);
	is($node->safe_psql($db, <<'SQL'), '', "$db: the states of the instances are right");
SELECT key, state, n, rings FROM (
	SELECT stream AS key, count(*) AS n, count(*) FILTER (WHERE data ->> 'in' = '1 s') AS rings FROM flow GROUP BY 1) e
FULL JOIN pm.instance USING (key) WHERE (state ->> 'n')::int IS DISTINCT FROM n + rings
SQL
	is($node->safe_psql($db, <<'SQL'), 't|t', "$db: timers have fired once, or are still set");
SELECT (SELECT count(*) FROM seen WHERE pm = 'inst' AND log IS NULL) = count(*) FILTER (WHERE data ->> 'in' = '1 s'),
	   (SELECT count(*) FROM pm.timer) = count(*) FILTER (WHERE data ->> 'in' = '10 days')
FROM flow WHERE type = 'later'
SQL
	return;
}

1;
