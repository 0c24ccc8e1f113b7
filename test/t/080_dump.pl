# Dump and restore, into another cluster and into another database of the same one: the triggers of
# the logs work, and the process managers wait as copies, with their instances, timers and parked events,
# and with lanes at different positions. pm.resume() adopts them, and they continue from the state in the dump.
use strict;
use warnings FATAL => 'all';

use PmTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $from = PmTest::node('from', conf => "max_connections = 30\n");
my $to = PmTest::node('to', extension => 0, conf => "max_connections = 30\n");
my $dir = PostgreSQL::Test::Utils::tempdir;

# Roles have other OIDs in the other cluster.
$to->safe_psql('postgres', 'CREATE ROLE filler; CREATE ROLE other LOGIN');
for my $node ($from, $to)
{
	$node->safe_psql('postgres', 'CREATE ROLE app LOGIN; CREATE ROLE clerk LOGIN');
}

# ---- the original

$from->safe_psql('postgres', <<'SQL');
GRANT USAGE ON SCHEMA pm TO app, clerk;
GRANT CREATE ON SCHEMA public TO app, clerk;
CREATE SCHEMA sales AUTHORIZATION app;
SQL
PmTest::create_seen($from);
PmTest::create_handler($from, 'keep', user => 'app');
PmTest::create_handler($from, 'halting', user => 'clerk', after => "IF e.position = 2 AND current_database() = 'postgres' THEN RAISE EXCEPTION 'only here'; END IF;");
PmTest::create_handler($from, 'paused', user => 'app');
$from->safe_psql('postgres', <<'SQL', extra_params => [ '-U', 'app' ]);
SELECT pm.create_log('orders');
SELECT pm.create_log('sales."Odd Name"');
GRANT SELECT, INSERT ON orders TO clerk;
SELECT pm.register('keep', 'keep', '{orders,"sales.\"Odd Name\""}', batch_size => 7, types => NULL, backoff => '2 s');
SELECT pm.register('paused', 'paused', '{orders}', types => '{A,B}');
SELECT pm.pause('paused');
INSERT INTO orders (stream, type) SELECT 'a', 'A' FROM generate_series(1, 20);
SELECT pm.append('orders', 'v', 'B', '{"n": 1}');
SELECT pm.append('orders', 'v', 'B', '{"n": 2}');
INSERT INTO sales."Odd Name" (stream, type) VALUES ('odd', 'O');
SQL
$from->safe_psql('postgres', "SELECT pm.register('halting', 'halting', '{orders}', start_at => 'beginning', max_attempts => 1, on_failure => 'halt')", extra_params => [ '-U', 'clerk' ]);
# Instances, timers and parked events. The process manager is paused as soon as they exist: one of the timers
# is due and has not fired.
$from->safe_psql('postgres', <<'SQL', extra_params => [ '-U', 'app' ]);
CREATE FUNCTION public.inst(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $f$
BEGIN
	INSERT INTO public.seen (pm, log, pos, stream, key, type) VALUES ('inst', e.log, e.position, e.stream, e.stream, e.type);
	IF e.type = 'bad' AND current_database() = 'postgres' OR e.type = 'always bad' THEN RAISE EXCEPTION 'not here'; END IF;
	IF e.type = 'over' THEN RETURN pm.done('{"ended": "before the dump"}'); END IF;
	IF e.type = 'arm' THEN PERFORM pm.set_timer('ring', (e.data->>'due')::timestamptz, '{"from": "the dump"}'); END IF;
	RETURN coalesce(state, '{}') || jsonb_build_object(e.type, coalesce((state->>e.type)::int, 0) + 1);
END $f$;
SELECT pm.create_log('cases');
BEGIN;
SELECT pm.register('inst', 'inst', '{cases}', max_attempts => 3, backoff => '1 h', journal => true, keep_ended => '10 years');
INSERT INTO cases (stream, type, data) VALUES ('bad', 'plain', '{}'), ('bad', 'bad', '{}'), ('bad', 'plain', '{}'), ('bad', 'plain', '{}'), ('good', 'plain', '{}'),
	('far', 'arm', '{"due": "2999-01-01 12:00Z"}'), ('due', 'arm', '{"due": "2020-01-01 12:00Z"}'), ('past', 'plain', '{}'), ('past', 'over', '{}');
SELECT pm.catch_up('inst', as_of => '2019-01-01', on_failure => 'policy');
SELECT pm.send('inst', 'told', 'told', '{"sent": 1}');
SELECT pm.pause('inst');
COMMIT;
SQL
is($from->safe_psql('postgres', "SELECT (SELECT count(*) FROM pm.instance), (SELECT count(*) FROM pm.timer), (SELECT string_agg(state, ' ' ORDER BY position) FROM pm.parked)"),
	'4|2|failing behind behind', 'there are instances, timers and parked events');
# An event that goes to two keys and has failed for one of them, which waits; and what an instance is found by. Where the
# dump is restored, the event is corrected in the log.
$from->safe_psql('postgres', <<'SQL', extra_params => [ '-U', 'app' ]);
CREATE FUNCTION public.wide(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $f$
BEGIN
	INSERT INTO public.seen (pm, log, pos, stream, key, type) VALUES ('wide', e.log, e.position, e.stream, pm.key(), e.type);
	IF e.type = 'bad' AND pm.key() = 'k2' THEN RAISE EXCEPTION 'not for this key'; END IF;
	PERFORM pm.associate('stream', e.stream);
	RETURN coalesce(state, '[]') || to_jsonb(e.type);
END $f$;
CREATE FUNCTION public.wide_keys(e pm.event) RETURNS text[] LANGUAGE sql STABLE AS $f$ SELECT CASE WHEN e.data ? 'keys' THEN ARRAY(SELECT jsonb_array_elements_text(e.data -> 'keys')) ELSE pm.associated('stream', e.stream) END $f$;
SELECT pm.create_log('wides'), pm.create_log('dropped');
BEGIN;
SELECT pm.register('wide', 'wide', '{wides,dropped}', correlate => 'wide_keys', max_attempts => 1);
INSERT INTO wides (stream, type, data) VALUES ('w', 'good', '{"keys": ["k1", "k2"]}'), ('w', 'bad', '{"keys": ["k1", "k2"]}'), ('w', 'after', '{"keys": ["k2"]}');
SELECT pm.catch_up('wide', on_failure => 'policy');
SELECT pm.pause('wide');
COMMIT;
SET client_min_messages = warning;
DROP TABLE dropped CASCADE;
INSERT INTO wides (stream, type) VALUES ('w', 'found');
SQL
# Lanes at different positions, whose number then changes: the positions of the former lanes are stored.
PmTest::create_handler($from, 'laned', user => 'app');
$from->safe_psql('postgres', <<'SQL', extra_params => [ '-U', 'app' ]);
SELECT pm.create_log('moves');
BEGIN;
SELECT pm.register('laned', 'laned', '{moves}', lanes => 4, batch_size => 5);
INSERT INTO moves (stream, type) SELECT 'm' || i % 12, 'M' FROM generate_series(1, 60) i;
SELECT pm.catch_up('laned', max_count => 20);
SELECT pm.register('laned', 'laned', '{moves}', lanes => 3, batch_size => 5);
SELECT pm.catch_up('laned', max_count => 4);
SELECT pm.register('laned', 'laned', '{moves}', lanes => 2, batch_size => 5);
SELECT pm.catch_up('laned', max_count => 1);
SELECT pm.pause('laned');
COMMIT;
SQL
is($from->safe_psql('postgres', "SELECT count(DISTINCT lanes), bool_or(r.position > (SELECT min(position) FROM pm_catalog.cursor c WHERE c.process_manager = 'laned')), (SELECT count(*) FROM seen WHERE pm = 'laned') FROM pm_catalog.former_lane r"),
	'2|t|25', 'lanes are apart, and former lanes of two changes are stored');
is($from->safe_psql('postgres', "SELECT o.name, owner_name, process_manager FROM pm_catalog.name_owner o JOIN pm_catalog.name_use USING (name)"),
	'dropped|app|wide', 'it is known who has used the name of a dropped log');
# gaps in the positions, also at the end
$from->safe_psql('postgres', "BEGIN; INSERT INTO orders (stream, type) SELECT 'gap', 'G' FROM generate_series(1, 5); ROLLBACK");
ok(PmTest::wait_until($from, "SELECT state FROM pm.status WHERE process_manager = 'halting'", 'halted'), 'one is halted');
ok(PmTest::wait_until($from, "SELECT count(*) FROM pm.status WHERE process_manager = 'keep' AND (state <> 'idle' OR lag > 0)", 0), 'one is idle');
# events that are not handled when the dump is made
$from->safe_psql('postgres', "SELECT pm.pause('keep')");
$from->safe_psql('postgres', "INSERT INTO orders (stream, type) SELECT 'later', 'L' FROM generate_series(1, 10)");

my $look = <<'SQL';
SELECT name, owner, handler, logs, types, on_failure, max_attempts, backoff, handler_timeout, batch_size, lanes, park_limit, paused
FROM pm.process_manager ORDER BY name;
SELECT process_manager, log, lane, position FROM pm.cursor ORDER BY 1, 2, 3;
SELECT process_manager, log, lanes, lane, position FROM pm_catalog.former_lane ORDER BY 1, 2, 3, 4;
SELECT name, "table", pos, stream, version, type, data, metadata, recorded_at FROM pm.log ORDER BY 1;
SELECT position, stream, version, type, data, metadata, recorded_at FROM orders ORDER BY 1;
SELECT process_manager, key, state, started_at, updated_at FROM pm.instance ORDER BY 1, 2;
SELECT process_manager, key, type, due, data FROM pm.timer ORDER BY 1, 2, 3;
SELECT process_manager, log, position, key, state, event, attempts, message, detail, sqlstate, retry_at FROM pm.parked ORDER BY 1, 2, 3;
SELECT process_manager, log, parked FROM pm.status ORDER BY 1, 2;
SELECT process_manager, kind, value, key FROM pm_catalog.association ORDER BY 1, 2, 3, 4;
SELECT * FROM pm_catalog.name_use ORDER BY 1, 2;
SELECT * FROM pm_catalog.name_owner;

SELECT name, keep_ended, journal FROM pm.process_manager ORDER BY 1;
SELECT * FROM pm.ended ORDER BY 1, 2;
SELECT * FROM pm_catalog.journal ORDER BY id;
SELECT * FROM pm_catalog.sent ORDER BY id;
SELECT process_manager, key, entries FROM pm_catalog.instance ORDER BY 1, 2;
SELECT last_value FROM orders_position_seq;
SELECT tgname, tgenabled, pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = 'orders'::regclass ORDER BY 1;
SELECT conname, convalidated, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'orders'::regclass ORDER BY 1;
SQL
my $original = $from->safe_psql('postgres', $look);
my $stood = $from->safe_psql('postgres', "SELECT position FROM pm.cursor WHERE process_manager = 'keep' AND log = 'orders'");

$from->safe_psql('postgres', "SELECT pm.resume('keep')");
ok(PmTest::wait_until($from, "SELECT count(*) FROM seen WHERE pm = 'keep' AND stream = 'later'", 10), 'the original continues');
my $handled = $from->safe_psql('postgres', "SELECT count(*) FROM seen WHERE pm = 'keep'");

# ---- dumps of the state before those ten events were handled

$from->safe_psql('postgres', "SELECT pm.pause('keep'); SELECT pm.seek('keep', 'orders', $stood); DELETE FROM seen WHERE pm = 'keep' AND stream = 'later'");
$from->command_ok([ 'pg_dump', '-Fp', '-f', "$dir/plain.sql", $from->connstr('postgres') ], 'pg_dump, plain');
$from->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/custom", $from->connstr('postgres') ], 'pg_dump, custom');
unlike(slurp_file("$dir/plain.sql"), qr/CREATE FUNCTION pm/, 'the extension is dumped as one command');
$from->safe_psql('postgres', "SELECT pm.resume('keep')");
ok(PmTest::wait_until($from, "SELECT count(*) FROM seen WHERE pm = 'keep' AND stream = 'later'", 10), 'the original continues');

# ---- restored into another cluster, and into another database of the same one

$to->safe_psql('postgres', 'CREATE DATABASE plain TEMPLATE template0');
$to->safe_psql('postgres', 'CREATE DATABASE custom TEMPLATE template0');
$from->safe_psql('postgres', 'CREATE DATABASE beside TEMPLATE template0');
$to->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $to->connstr('plain'), '-f', "$dir/plain.sql" ], 'restored with psql');
my $parallel = run_log([ 'pg_restore', '-e', '-j', '2', '-d', $to->connstr('custom'), "$dir/custom" ]);
ok($parallel, 'restored with pg_restore -j 2');
$from->command_ok([ 'pg_restore', '-e', '-1', '-d', $from->connstr('beside'), "$dir/custom" ], 'restored with pg_restore -1');

for my $copy ([ $to, 'plain' ], [ $to, 'custom' ], [ $from, 'beside' ])
{
	my ($node, $db) = @$copy;
	next if $db eq 'custom' && !$parallel;
	# the answer, or the error
	my $sql = sub {
		my ($statements, $role) = @_;
		my ($rc, $out, $err) = $node->psql($db, $statements, on_error_stop => 1, extra_params => $role ? [ '-U', $role ] : []);
		return $rc == 0 ? $out : $err;
	};

	# ---- everything is there
	is($sql->($look), $original, "$db: logs, registrations and cursors are those of the dump");
	is($sql->("SELECT count(*) FROM seen WHERE pm = 'keep'"), $handled - 10, "$db: so is what was handled");

	# ---- everything waits
	is($sql->("SELECT count(*) FROM pm.status WHERE reason = 'this database is a copy' AND state = 'waiting'"), 8, "$db: everything waits as a copy");
	is($sql->("SELECT count(*) FROM pm_catalog.process_manager"), 6, "$db: there are six process managers");
	ok(PmTest::wait_in_log($node, qr/pm waits for pm\.resume\(\) in database "$db", which is a copy\n.*another database or cluster: 6\./), "$db: the server's log says so");

	# ---- the triggers work
	my (undef, undef, $err) = $node->psql($db, "INSERT INTO orders (position, stream, type) OVERRIDING SYSTEM VALUE VALUES (3, 'x', 'X')");
	like($err, qr/cannot write position 3 into log "orders"|duplicate key/, "$db: the trigger refuses a used position");
	(undef, undef, $err) = $node->psql($db, "INSERT INTO orders (position, stream, type) OVERRIDING SYSTEM VALUE VALUES (24, 'x', 'X')");
	like($err, qr/cannot write position 24 into log "orders"/, "$db: the trigger refuses a gap");
	(undef, undef, $err) = $node->psql($db, 'TRUNCATE orders');
	like($err, qr/cannot truncate event log/, "$db: the trigger refuses TRUNCATE");
	(undef, undef, $err) = $node->psql($db, 'UPDATE orders SET position = DEFAULT');
	like($err, qr/cannot change the position/, "$db: the trigger refuses UPDATE");
	$sql->("INSERT INTO orders (stream, type) VALUES ('new', 'N')", 'app');
	is($sql->("SELECT position > (SELECT max(position) FROM orders WHERE stream = 'later') FROM orders WHERE stream = 'new'"), 't', "$db: positions continue");
	is($sql->("SELECT pm.append('orders', 'v', 'B', '{\"n\": 3}', expected_version => 2) > 0", 'app'), 't', "$db: versions continue");
	my $copies = "SELECT count(*) FROM seen WHERE stream IN ('later', 'new')";

	# ---- copied process managers run nothing, and one that is registered here does
	is($sql->("SELECT count(*) > 0 FROM pm.read('orders')", 'app'), 't', "$db: pm.read returns events");
	is($sql->("SELECT pm.register('fresh', 'keep', '{orders}', start_at => 'end')", 'app'), '', "$db: a new process manager can be registered");
	$sql->("INSERT INTO orders (stream, type) VALUES ('fresh', 'N')", 'app');
	ok(PmTest::wait_until($node, "SELECT count(*) FROM seen WHERE stream = 'fresh'", 1, dbname => $db), "$db: the new one runs");
	is($sql->($copies), 0, "$db: the copied ones do not");
	is($sql->("SELECT count(*) FROM seen WHERE pm = 'inst' AND (log IS NULL OR type = 'bad')"), 0, "$db: no timer fires, and no parked event is tried");
	$sql->("SELECT pm.unregister('fresh'); DELETE FROM seen WHERE stream = 'fresh'");

	$sql->("UPDATE wides SET type = 'corrected' WHERE type = 'bad'", 'app');

	# ---- after pm.resume()
	if ($db eq 'plain')
	{
		my ($rc) = $node->psql($db, "SELECT pm.resume('keep')", extra_params => [ '-U', 'other' ]);
		isnt($rc, 0, "$db: another role may not adopt them");
		$sql->('SELECT pm.resume()', 'app');
		is($sql->("SELECT state FROM pm.status WHERE process_manager = 'halting'"), 'waiting', "$db: pm.resume() adopts only the caller's own");
		$sql->("SELECT pm.resume('halting')", 'clerk');
	}
	else
	{
		$sql->('SELECT pm.resume()');
	}
	ok(PmTest::wait_idle($node, dbname => $db), "$db: adopted, they continue")
	  or diag($sql->('SELECT * FROM pm.status'));
	$sql->("SELECT pm.retry('wide')", 'app');
	ok(PmTest::wait_until($node, q{SELECT string_agg(key || ' ' || state, ', ' ORDER BY key), (SELECT count(*) FROM pm.parked WHERE process_manager = 'wide') FROM pm.instance WHERE process_manager = 'wide'},
		'k1 ["good", "bad", "found"], k2 ["good", "corrected", "after", "found"]|0', dbname => $db), "$db: an event is parked for one key and read from the log again, and associations are found");
	is($sql->("SELECT string_agg(DISTINCT owner, ',' ORDER BY owner) FROM pm.process_manager"), 'app,clerk', "$db: the owners are the roles with these names");
	PmTest::exactly_once_ok($node, 'keep', 'orders', "$db: where the dump stood, nothing lost, nothing twice", dbname => $db);
	PmTest::exactly_once_ok($node, 'halting', 'orders', "$db: so did the one that had halted", dbname => $db);
	is($sql->("SELECT count(*) FROM seen WHERE pm = 'paused'"), $sql->("SELECT count(*) FROM orders WHERE type IN ('A', 'B')"), "$db: the paused one continues, too");
	# lanes skip what former lanes have handled, also after another change of their number
	PmTest::once_in_key_order_ok($node, 'laned', "SELECT 'moves' AS log, position AS pos, stream AS key FROM moves", "$db: lanes that were apart: each once and in order", dbname => $db);
	$sql->("INSERT INTO moves (stream, type) SELECT 'm' || i % 12, 'N' FROM generate_series(1, 30) i; SELECT pm.register('laned', 'laned', '{moves}', lanes => 4)", 'app');
	ok(PmTest::wait_until($node, "SELECT sum(lag), count(*) FROM pm.status WHERE process_manager = 'laned'", '0|4', dbname => $db), "$db: with another number of lanes they continue");
	PmTest::once_in_key_order_ok($node, 'laned', "SELECT 'moves' AS log, position AS pos, stream AS key FROM moves", "$db: each once and in order still", dbname => $db);
	# parked events are tried, as after any pm.resume, and the due timer fires
	ok(PmTest::wait_until($node, "SELECT (SELECT count(*) FROM pm.parked), (SELECT count(*) FROM seen WHERE pm = 'inst' AND log IS NULL)", '0|2', dbname => $db), "$db: parked events and timers are handled")
	  or diag($sql->('SELECT * FROM pm.parked') . $sql->('SELECT * FROM pm.timer'));
	PmTest::once_in_key_order_ok($node, 'inst', "SELECT 'cases' AS log, position AS pos, stream AS key FROM cases", "$db: each once and in order", dbname => $db);
	is($sql->("SELECT string_agg(key || ' ' || state, ', ' ORDER BY key) FROM pm.instance WHERE process_manager = 'inst'"),
		'bad {"bad": 1, "plain": 3}, due {"arm": 1, "ring": 1}, far {"arm": 1}, good {"plain": 1}, told {"told": 1}', "$db: so are their instances, and what was sent");
	is($sql->("SELECT string_agg(concat_ws(' ', key, seq, type), ', ' ORDER BY key, seq) FROM pm.journal"),
		'bad 1 plain, bad 2 bad, bad 3 plain, bad 4 plain, due 1 arm, due 2 ring, far 1 arm, good 1 plain, past 1 plain, past 2 over, told 1 told', "$db: the journals continue");
	is($sql->("SELECT key || ' ' || state || ' ' || result FROM pm.ended"), 'past {"plain": 1} {"ended": "before the dump"}', "$db: the ended instance is kept");
	is($sql->("SELECT string_agg(key || ' ' || data, ', ') FROM pm.timer"), 'far {"from": "the dump"}', "$db: the other timer is not due yet");
	# new parked events and timers do not collide with restored ones
	$sql->("INSERT INTO cases (stream, type, data) SELECT 'new ' || i % 5, t, '{\"due\": \"2999-01-01 12:00Z\"}' FROM generate_series(1, 10) i, unnest('{arm,always bad}'::text[]) t ORDER BY i, t DESC", 'app');
	ok(PmTest::wait_until($node, "SELECT (SELECT count(*) FROM pm.parked WHERE key LIKE 'new%'), (SELECT count(*) FROM pm.timer WHERE key LIKE 'new%')", '15|5', dbname => $db), "$db: new events are parked, and new timers are set")
	  or diag($sql->('SELECT * FROM pm.status') . $sql->('SELECT * FROM pm.parked'));
	is($sql->("SELECT count(*) FROM seen WHERE pm = 'keep' AND log LIKE 'sales%'"), 1, "$db: the log with the unusual name");
	$sql->("INSERT INTO sales.\"Odd Name\" (stream, type) VALUES ('odd', 'P')", 'app');
	ok(PmTest::wait_until($node, "SELECT count(*) FROM seen WHERE pm = 'keep' AND log LIKE 'sales%'", 2, dbname => $db), "$db: it continues");
}

# The original was not disturbed.
is($from->safe_psql('postgres', "SELECT (SELECT count(*) FROM pm.timer), (SELECT string_agg(state, ' ' ORDER BY position) FROM pm.parked WHERE process_manager = 'inst'), (SELECT count(*) FROM seen WHERE pm = 'inst' AND log IS NULL)"),
	'2|failing behind behind|0', 'the paused process manager of the original has not gone on');
is($from->safe_psql('postgres', "SELECT count(*) FROM seen WHERE pm = 'laned'"), 25, 'nor have its lanes');
PmTest::wait_until($from, "SELECT count(*) FROM pm.status WHERE process_manager = 'keep' AND lag > 0", 0);
PmTest::exactly_once_ok($from, 'keep', 'orders', 'the original handled everything once');
is($from->safe_psql('postgres', "SELECT state FROM pm.status WHERE process_manager = 'halting'"), 'halted', 'the halted one is still halted');

# ---- partial dumps: schema only, data only, one table

$to->safe_psql('postgres', 'CREATE DATABASE parts TEMPLATE template0');
$from->command_ok([ 'pg_dump', '-s', '-f', "$dir/schema.sql", $from->connstr('postgres') ], 'pg_dump -s');
$from->command_ok([ 'pg_dump', '-a', '-t', 'orders', '-f', "$dir/data.sql", $from->connstr('postgres') ], 'pg_dump -a -t orders');
$to->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $to->connstr('parts'), '-f', "$dir/schema.sql" ], 'the schema is restored');
is($to->safe_psql('parts', "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'orders'::regclass"), 3, 'with the triggers');
# Given positions are refused with the reason, because a reader may have passed them.
my ($rc, undef, $err) = $to->psql('parts', slurp_file("$dir/data.sql"));
isnt($rc, 0, 'restoring data alone into an existing log is refused');
like($err, qr/cannot write position|trigger/, 'the error gives the reason');
is($to->safe_psql('parts', 'SELECT count(*) FROM orders'), 0, 'the log stays empty');

# ---- a dump after DROP EXTENSION

$to->safe_psql('plain', 'SET client_min_messages = warning; DROP EXTENSION pm CASCADE');
$to->command_ok([ 'pg_dump', '-f', "$dir/left.sql", $to->connstr('plain') ], 'pg_dump after DROP EXTENSION');
unlike(slurp_file("$dir/left.sql"), qr/pm_/, 'the dump contains nothing of pm');

PmTest::no_crash_ok($_) for $from, $to;
$_->stop('fast') for $from, $to;
done_testing();
