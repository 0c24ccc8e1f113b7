# Changing instances by hand. pm.send, pm.set_state and pm.end_instance against a running dispatcher, 1,000 times each:
# serialized with events, nothing lost, nothing twice, and recorded with the role. What is sent is handled at once, also when
# a prepared transaction has sent it, when no dispatcher runs, after a restart and by several lanes. What need not be kept
# is removed by the workers. The history of an instance that was handled 10,000 times is read in a moment.
use strict;
use warnings FATAL => 'all';

use PmTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = PmTest::node('in_hand', conf => "max_connections = 60\nmax_prepared_transactions = 10\n");

sub answer { return $node->safe_psql('postgres', $_[0]); }
sub as { my ($role, $sql) = @_; return $node->safe_psql('postgres', $sql, extra_params => [ '-U', $role ]); }

answer(<<'SQL');
CREATE ROLE app LOGIN;
CREATE ROLE support LOGIN;
CREATE ROLE stranger LOGIN;
GRANT app TO support;
GRANT USAGE ON SCHEMA pm TO app, support, stranger;
CREATE SCHEMA app AUTHORIZATION app;
SQL
as('app', <<'SQL');
SELECT pm.create_log('app.steps');
-- What each call was for, without a unique key: twice would be seen.
CREATE TABLE app.seen (n bigserial, key text, log text, pos bigint, type text, i int, before jsonb);
GRANT USAGE ON SCHEMA app TO support;
-- The state is the sequence of what has happened: s(ent), e(vent), h(and).
CREATE FUNCTION app.trail(e pm.event, s jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO app.seen (key, log, pos, type, i, before) VALUES (e.stream, e.log, e.position, e.type, (e.data ->> 'i')::int, s);
	IF e.data ? 'timer' THEN PERFORM pm.set_timer('t' || (e.data ->> 'i'), '2100-01-01'); END IF;
	RETURN jsonb_build_object('n', coalesce((s ->> 'n')::int, 0) + 1, 'hand', coalesce((s ->> 'hand')::int, 0));
END $$;
SELECT pm.register('m', 'app.trail', '{app.steps}', journal => true, keep_ended => '1 day', lanes => 2);
SQL

# ---- 1,000 of each, against events

my $began = time;
my @writers = map {
	PmTest::start_psql($node, "DO \$\$ BEGIN FOR i IN 1..1000 LOOP PERFORM pm.append('app.steps', 'k' || i % 5, 'event', jsonb_build_object('i', i)); COMMIT; END LOOP; END \$\$", user => 'app'),
	  PmTest::start_psql($node, "DO \$\$ BEGIN FOR i IN 1..1000 LOOP PERFORM pm.send('m', 'k' || i % 5, 'sent', jsonb_build_object('i', i)); COMMIT; END LOOP; END \$\$", user => 'support'),
	  PmTest::start_psql($node, "DO \$\$ BEGIN FOR i IN 1..1000 LOOP PERFORM pm.set_state('m', 'h' || i % 5, jsonb_build_object('n', i, 'hand', i), 'number ' || i); COMMIT; END LOOP; END \$\$", user => 'support'),
	  PmTest::start_psql($node, "DO \$\$ BEGIN FOR i IN 1..1000 LOOP PERFORM pm.append('app.steps', 'h' || i % 5, 'event', '{\"i\": 0}'); COMMIT; END LOOP; END \$\$", user => 'app'),
	  # it begins when there is an instance that it can end
	  PmTest::start_psql($node, "DO \$\$ BEGIN WHILE NOT EXISTS (SELECT FROM pm.instance WHERE key LIKE 'd%') LOOP COMMIT; PERFORM pg_sleep(0.01); END LOOP; FOR i IN 1..1000 LOOP BEGIN PERFORM pm.end_instance('m', 'd' || i % 5, 'number ' || i); EXCEPTION WHEN undefined_object THEN NULL; END; COMMIT; END LOOP; END \$\$", user => 'support'),
	  PmTest::start_psql($node, "DO \$\$ BEGIN FOR i IN 1..1000 LOOP PERFORM pm.append('app.steps', 'd' || i % 5, 'event', '{\"i\": 0, \"timer\": 1}'); COMMIT; END LOOP; END \$\$", user => 'app'),
} 1;
is(join(' ', map { (PmTest::finish_psql($_))[0] } @writers), '0 0 0 0 0 0', 'the writers have ended well');
ok(PmTest::wait_until($node, q{SELECT count(*) FROM app.seen}, '4000'), 'all events and all that was sent are handled') or diag(answer('SELECT type, count(*) FROM app.seen GROUP BY 1'));
PmTest::figure(sprintf '1,000 each of pm.send, pm.set_state and pm.end_instance against 3,000 events: %.1f s', time - $began);
is(answer(q{SELECT count(*) FROM (SELECT log, pos FROM app.seen WHERE log IS NOT NULL GROUP BY 1, 2 HAVING count(*) > 1) x}), '0', 'no event twice');
is(answer(q{SELECT count(*) FROM (SELECT i FROM app.seen WHERE type = 'sent' GROUP BY i HAVING count(*) <> 1) x}), '0', 'nothing that was sent twice');
is(answer(q{SELECT count(*) FROM (SELECT i, lag(i) OVER (PARTITION BY key ORDER BY n) AS last FROM app.seen WHERE type = 'sent') x WHERE i <= last}), '0', 'what was sent is in order');
is(answer(q{SELECT count(*) FROM (SELECT pos, lag(pos) OVER (PARTITION BY key ORDER BY n) AS last FROM app.seen WHERE log IS NOT NULL) x WHERE pos <= last}), '0', 'events are in order');

# Each entry begins with the state that the one before it has left, no matter who has made either: nothing came between.
is(answer(q{SELECT count(*) FROM pm.journal WHERE process_manager = 'm' AND by IS NOT NULL AND reason LIKE 'number %' AND key LIKE 'h%'}), '1000', 'each change by hand is in the journal');
is(answer(q{SELECT string_agg(DISTINCT by, ' ') FROM pm.journal WHERE by IS NOT NULL}), 'support', 'with the role');
my $broken = q{SELECT count(*) FROM (
	SELECT state, type, by, lag(state) OVER w AS before, seq, row_number() OVER w AS number FROM pm_catalog.journal WHERE process_manager = 'm'
	WINDOW w AS (PARTITION BY key, started_at ORDER BY id)) x
	WHERE seq <> number OR (type IS NOT NULL AND (state ->> 'n')::int <> coalesce((before ->> 'n')::int, 0) + 1)};
is(answer($broken), '0', 'each entry continues from the one before');
is(answer(q{SELECT count(*) FROM pm.instance i WHERE state <> (SELECT state FROM pm_catalog.journal j WHERE j.key = i.key ORDER BY id DESC LIMIT 1)}), '0', 'the instances are as their journals say');
is(answer(q{SELECT count(*) FROM pm.journal WHERE type IS NOT NULL}), '4000', 'each call has an entry');
my $ends = answer(q{SELECT count(*) FROM pm.journal WHERE state IS NULL});
cmp_ok($ends, '>', 0, "instances were ended by hand: $ends");
is(answer(q{SELECT count(*) FROM pm.ended WHERE ended_by = 'support' AND reason LIKE 'number %' AND state IS NOT NULL}), $ends, 'and are kept');
is(answer(q{SELECT count(*) FROM pm.timer t WHERE NOT EXISTS (SELECT FROM pm.instance i WHERE i.key = t.key)}), '0', 'no timer without an instance');
like(slurp_file($node->logfile), qr/process manager "m" in database "postgres": the (?:state of key "h\d" was set|instance of key "d\d" was ended) by "support": number \d+/,
	'the server log says who has changed what');

# by a stranger
for my $call (q{pm.send('m', 'k1', 't')}, q{pm.set_state('m', 'k1', '{}', 'r')}, q{pm.end_instance('m', 'k1', 'r')}, q{pm.history('m', 'k1')})
{
	my (undef, undef, $error) = $node->psql('postgres', "SELECT $call", extra_params => [ '-U', 'stranger' ]);
	like($error, qr/must be owner of process manager "m"/, "a stranger is refused: $call");
}

# ---- what is sent is handled without another event

sub handled_ok
{
	my ($key, $expected, $name) = @_;
	return ok(PmTest::wait_until($node, "SELECT count(*) FROM app.seen WHERE key = '$key'", $expected), $name);
}
as('support', "SELECT pm.send('m', 'single', 'x')");
handled_ok('single', '1', 'in an idle process manager');
as('support', "BEGIN; SELECT pm.send('m', 'undone', 'x'); ROLLBACK");
as('support', "BEGIN; SELECT pm.send('m', 'prepared', 'x'); PREPARE TRANSACTION 'p1'");
as('support', "BEGIN; SELECT pm.send('m', 'prepared2', 'x'); PREPARE TRANSACTION 'p2'");
as('support', "SELECT pm.send('m', 'beside', 'x')");
handled_ok('beside', '1', 'beside prepared transactions');
as('support', "COMMIT PREPARED 'p1'");
handled_ok('prepared', '1', 'in a prepared transaction, when it is committed');
$node->restart;
as('support', "COMMIT PREPARED 'p2'");
handled_ok('prepared2', '1', 'also after a restart');
is(answer(q{SELECT count(*) FROM app.seen WHERE key = 'undone'}), '0', 'what was undone is not handled');
# while it is paused, and with other lanes afterwards
as('app', "SELECT pm.pause('m')");
as('support', "SELECT pm.send('m', 'paused' || i, 'x') FROM generate_series(1, 30) i");
as('app', "SELECT pm.alter('m', lanes => 5); SELECT pm.resume('m')");
ok(PmTest::wait_until($node, q{SELECT count(DISTINCT key) || '/' || count(*) FROM app.seen WHERE key LIKE 'paused%'}, '30/30'), 'sent while it was paused, handled by other lanes');
is(answer('SELECT count(*) FROM pm_catalog.sent'), '0', 'the queue is empty');

# ---- 10,000 entries

as('app', q{SELECT pm.register('many', 'app.trail', '{app.steps}', types => '{many}', start_at => 'end', journal => true, batch_size => 1000); INSERT INTO app.steps (stream, type) SELECT 'many', 'many' FROM generate_series(1, 10000)});
ok(PmTest::wait_until($node, q{SELECT max(seq) FROM pm.journal WHERE process_manager = 'many'}, '10000'), 'an instance is handled 10,000 times');
my $best = 1e9;
for (1 .. 5)
{
	my $ms = as('app', q{\timing on
SELECT count(*), max(seq) FROM pm.history('many', 'many')}) =~ /Time: ([\d.]+)/ ? $1 : 1e9;
	$best = $ms if $ms < $best;
}
PmTest::figure("pm.history with 10,000 entries: $best ms");
cmp_ok($best, '<', 1000, 'its history is read in a moment');

# ---- what need not be kept is removed by the workers

as('app', q{SELECT pm.register('brief', 'app.trail', '{app.steps}', types => '{brief}', journal => true, keep_ended => '1 s', start_at => 'end')});
as('app', q{SELECT pm.send('brief', 'b' || i, 'x') FROM generate_series(1, 2500) i});
ok(PmTest::wait_until($node, q{SELECT count(*) FROM pm.instance WHERE process_manager = 'brief'}, '2500'), '2,500 instances');
as('app', q{DO $$ BEGIN PERFORM pm.end_instance('brief', 'b' || i, 'over') FROM generate_series(1, 2500) i; END $$});
ok(PmTest::wait_until($node, q{SELECT (SELECT count(*) FROM pm.ended WHERE process_manager = 'brief') + (SELECT count(*) FROM pm.journal WHERE process_manager = 'brief')}, '0'), 'they and their journals are removed');
cmp_ok(answer(q{SELECT count(*) FROM pm.journal WHERE process_manager = 'm'}), '>', 4000, 'what is to be kept longer is kept');

# ---- the data of a stream is erased while its events are handled, and found nowhere in a dump

as('app', <<'SQL');
SELECT pm.create_log('app.people');
CREATE FUNCTION app.key_of(e pm.event) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT e.type $$;
CREATE FUNCTION app.keeps(e pm.event, s jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pg_sleep(0.001);
	IF e.version % 50 = 7 THEN RAISE EXCEPTION 'cannot handle %', e.data; END IF;
	IF s IS NULL THEN PERFORM pm.set_timer('later', '2100-01-01', e.data); RETURN e.data; END IF;
	RETURN pm.done(e.data);
END $$;
SQL
as('app', "SELECT pm.register('keeps' || i, 'app.keeps', '{app.people}', correlate => 'app.key_of', journal => true, keep_ended => '1 day', backoff => '1 h', batch_size => 20, start_at => 'beginning') FROM generate_series(1, 3) i");
for my $round (1 .. 4)
{
	as('app', "DO \$\$ BEGIN FOR i IN 1..500 LOOP PERFORM pm.append('app.people', 'ann', 'k' || i % 7, '{\"w\": \"secretword\"}'); END LOOP; END \$\$");
	ok(PmTest::wait_until($node, q{SELECT count(*) > 0 FROM pm.journal WHERE state::text LIKE '%secretword%' OR log = 'app.people'}, 't'), 'some are handled');
	# Live instances still have what they had. Their owner changes that in the same transaction: no batch runs until its end.
	like(as('app', q{SET client_min_messages = warning; BEGIN; SELECT pm.erase('app.people', 'ann');
		SELECT pm.set_state(process_manager, key, '{}', 'erased') FROM pm.instance WHERE state::text LIKE '%secretword%'; COMMIT}), qr/^@{[500 * $round]}$/m, 'and all are erased');
	my $dump = "$PostgreSQL::Test::Utils::tmp_check/erased.sql";
	$node->command_ok([ 'pg_dump', '-f', $dump, $node->connstr('postgres') ], 'a dump');
	is(join('', grep { /secretword/ } slurp_file($dump) =~ /^(.*\n)/mg), '', "round $round: the word is not in the dump");
}
is(answer(q{SELECT count(*) FROM (SELECT s::text FROM pm.status s UNION ALL SELECT p::text FROM pm.parked p UNION ALL SELECT t::text FROM pm.timer t) v(x) WHERE x LIKE '%secretword%'}), '0', 'nor in the views');

PmTest::no_crash_ok($node);
$node->stop('fast');
done_testing();
