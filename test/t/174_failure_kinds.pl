# Failures that say what they are. An error with PM003 is permanent: the event is dead at once, in handlers of each kind,
# for timers, and in correlate, and does not count toward the 20 keys in a row that halt a process manager. pm.defer puts
# an event off: no failure, no attempt, and the later events of its key wait. Only pm.defer does: an error that looks like
# one does not.
use strict;
use warnings FATAL => 'all';

use PmTest;
use Test::More;

my $node = PmTest::node('failure_kinds', conf => "pm.max_workers = 6\n");

sub answer { return $node->safe_psql('postgres', $_[0]); }

sub seen_ok
{
	my ($pm, $expected, $name) = @_;
	return ok(PmTest::wait_until($node, "SELECT string_agg(key || ':' || type, ' ' ORDER BY n) FROM seen WHERE pm = '$pm'", $expected), $name);
}

sub parked_ok
{
	my ($pm, $columns, $expected, $name) = @_;
	return ok(PmTest::wait_until($node, "SELECT string_agg(concat_ws('/', $columns), ' ' ORDER BY log, position) FROM pm.parked WHERE process_manager = '$pm'", $expected), $name);
}

answer(<<'SQL');
CREATE TABLE seen (n bigserial, pm text, key text, type text);
CREATE TABLE rule (type text PRIMARY KEY, does text);
-- What the rule for a type says.
CREATE FUNCTION act(pm text, e pm.event) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	r text := (SELECT does FROM rule WHERE rule.type = e.type);
BEGIN
	IF r IS NOT NULL THEN EXECUTE r; END IF;
	INSERT INTO seen (pm, key, type) VALUES (pm, e.stream, e.type);
END $$;
CREATE FUNCTION one(e pm.event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM act('one', e); END $$;
CREATE FUNCTION many(e pm.event[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE x pm.event;
BEGIN
	FOREACH x IN ARRAY e LOOP PERFORM act('many', x); END LOOP;
END $$;
CREATE FUNCTION inst(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	PERFORM act('inst', e);
	IF e.type = 'set' THEN PERFORM pm.set_timer('ring', pm.now()); END IF;
	RETURN coalesce(state, '{"n": 0}') || jsonb_build_object('n', coalesce((state ->> 'n')::int, 0) + 1);
END $$;
INSERT INTO rule VALUES ('bad', $$ DO 'BEGIN RAISE ''never'' USING ERRCODE = ''PM003''; END' $$), ('fatal', $$ SELECT pm.fail_permanently('no such product') $$),
	('later', $$ SELECT pm.defer('1 hour', 'the partner is closed') $$);
SELECT pm.create_log('orders');
SELECT pm.register('one', 'one', '{orders}', backoff => '1 h');
SELECT pm.register('many', 'many', '{orders}', backoff => '1 h');
SELECT pm.register('inst', 'inst', '{orders}', backoff => '1 h');
SQL

# ---- permanent

answer(q{INSERT INTO orders (stream, type) VALUES ('a', 'x'), ('b', 'bad'), ('c', 'fatal'), ('b', 'x'), ('d', 'x')});
for my $pm (qw(one many inst))
{
	seen_ok($pm, 'a:x d:x', "$pm: the other events are handled");
	parked_ok($pm, 'key, state, attempts, sqlstate, message', 'b/dead/1/PM003/never c/dead/1/PM003/no such product b/behind/0', "$pm: PM003: dead at once");
}
is(answer(q{SELECT string_agg(concat_ws('/', process_manager, parked, dead, deferred, errors), ' ' ORDER BY process_manager) FROM pm.status}),
	'inst/3/2/0/2 many/3/2/0/2 one/3/2/0/2', 'pm.status counts them');
answer(q{DELETE FROM rule WHERE type = 'bad'; SELECT pm.retry('one', 'orders', 2)});
seen_ok('one', 'a:x d:x b:bad b:x', 'pm.retry retries one');
answer(q{SELECT pm.discard('many', 'orders', 2)});
seen_ok('many', 'a:x d:x b:x', 'pm.discard gives one up');
answer(q{INSERT INTO rule VALUES ('bad', $$ SELECT pm.fail_permanently(NULL) $$); TRUNCATE seen});
answer(q{SELECT pm.unregister(name) FROM pm.process_manager; SELECT pm.register(n, n, '{orders}', start_at => 'end', backoff => '1 h') FROM unnest('{one,many,inst}'::text[]) n});

# More than 20 in a row, nothing handled in between, and then good ones.
answer(q{INSERT INTO orders (stream, type) SELECT 'k' || i, 'bad' FROM generate_series(1, 30) i; INSERT INTO orders (stream, type) VALUES ('good', 'x')});
for my $pm (qw(one many inst))
{
	seen_ok($pm, 'good:x', "$pm: 30 permanent failures in a row halt nothing");
	is(answer("SELECT count(*), min(message), max(message), count(*) FILTER (WHERE state = 'dead') FROM pm.parked WHERE process_manager = '$pm'"),
		'30|the handler has failed permanently|the handler has failed permanently|30', "$pm: they are dead");
}
# The limit of parked keys holds.
answer(q{SELECT pm.register('few', 'one', '{orders}', start_at => 'beginning', park_limit => 5)});
ok(PmTest::wait_until($node, q{SELECT state || ': ' || reason FROM pm.status WHERE process_manager = 'few'}, 'halted: the handler failed for more keys than park_limit (5): the handler has failed permanently'), 'park_limit holds')
  or diag(answer('SELECT * FROM pm.status'));
answer(q{SELECT pm.unregister('few')});

# on_failure => 'halt'
answer(q{SELECT pm.register('stop', 'one', '{orders}', start_at => 'end', on_failure => 'halt', backoff => '1 h'); INSERT INTO orders (stream, type) VALUES ('s', 'bad')});
ok(PmTest::wait_until($node, q{SELECT state, errors FROM pm.status WHERE process_manager = 'stop'}, 'halted|1'), 'on_failure => halt: it halts at once');
answer(q{SELECT pm.unregister('stop')});

# A timer.
answer(q{INSERT INTO rule VALUES ('ring', $$ SELECT pm.fail_permanently('it does not ring') $$); INSERT INTO orders (stream, type) VALUES ('t', 'set'), ('t', 'x')});
ok(PmTest::wait_until($node, q{SELECT string_agg(concat_ws('/', log, key, state, attempts), ' ' ORDER BY state) FROM pm.parked WHERE key = 't'}, 't/dead/1'), 'a timer is dead at once')
  or diag(answer('SELECT * FROM pm.parked'));

# ---- deferred

answer(q{SELECT pm.unregister(name) FROM pm.process_manager; TRUNCATE seen; SELECT pm.register(n, n, '{orders}', start_at => 'end', backoff => '1 h') FROM unnest('{one,many,inst}'::text[]) n});
answer(q{INSERT INTO orders (stream, type) VALUES ('a', 'x'), ('b', 'later'), ('b', 'y'), ('c', 'x')});
for my $pm (qw(one many inst))
{
	seen_ok($pm, 'a:x c:x', "$pm: the other events are handled");
	parked_ok($pm, q{key, state, attempts, message, (retry_at - now() BETWEEN '50 min' AND '1 h')::text}, 'b/deferred/0/the partner is closed/true b/behind/0', "$pm: pm.defer: deferred, no attempt");
}
is(answer(q{SELECT string_agg(concat_ws('/', process_manager, state, parked, dead, deferred, errors), ' ' ORDER BY process_manager) FROM pm.status}),
	'inst/idle/2/0/1/0 many/idle/2/0/1/0 one/idle/2/0/1/0', 'pm.status counts them, and no error');
# Its handler defers it again, and again.
answer(q{UPDATE rule SET does = $$ SELECT pm.defer('50 ms', 'not yet ' || nextval('again')) $$ WHERE type = 'later'; CREATE SEQUENCE again; SELECT pm.retry(name, 'orders', (SELECT max(position) - 2 FROM orders)) FROM pm.process_manager});
ok(PmTest::wait_until($node, q{SELECT last_value > 20 FROM again}, 't'), 'deferred again and again');
is(answer(q{SELECT bool_and(attempts = 0), string_agg(DISTINCT state, ' ' ORDER BY state), bool_or(message LIKE 'not yet %') FROM pm.parked}), 't|behind deferred|t', 'that is no attempt, and the reason is shown');
answer(q{DELETE FROM rule WHERE type = 'later'});
seen_ok($_, 'a:x c:x b:later b:y', "$_: in the end it is handled, in its order") for qw(one many inst);
is(answer('SELECT count(*) FROM pm.parked'), 0, 'nothing is parked any more');
is(answer(q{SELECT state FROM pm.instance WHERE process_manager = 'inst' AND key = 'b'}), '{"n": 2}', 'the instance has what it handled');

# A long deferral is not taken for a clock that was set back.
answer(q{INSERT INTO rule VALUES ('month', $$ SELECT pm.defer('1 month') $$); INSERT INTO orders (stream, type) VALUES ('m', 'month')});
parked_ok('one', q{state, message, (retry_at > now() + '27 days')::text}, 'deferred/the handler has deferred the event/true', 'deferred for a month');
answer(q{INSERT INTO orders (stream, type) VALUES ('n', 'x')});
ok(PmTest::wait_until($node, q{SELECT count(*) FROM seen WHERE key = 'n'}, 3), 'others are handled');
is(answer(q{SELECT count(*) FROM pm.parked WHERE state = 'deferred'}), 3, 'it waits');
answer(q{SELECT pm.discard(name, 'orders', (SELECT position FROM orders WHERE type = 'month')) FROM pm.process_manager});

# Hostile arguments, and errors that only look like a deferral: ordinary failures.
my %hostile = (
	'null' => [ q{SELECT pm.defer(NULL)}, '22004' ],
	'zero' => [ q{SELECT pm.defer('0')}, '22023' ],
	'negative' => [ q{SELECT pm.defer('-1 day')}, '22023' ],
	'huge' => [ q{SELECT pm.defer('178000000 years')}, '22008' ],
	'forged' => [ q{DO 'BEGIN RAISE ''again in 1 hour'' USING ERRCODE = ''PM004'', DETAIL = ''until tomorrow''; END'}, 'PM004' ],
	'other' => [ q{DO 'BEGIN PERFORM pm.defer(''1 h''); EXCEPTION WHEN OTHERS THEN RAISE ''another''; END'}, 'P0001' ]);
for my $type (sort keys %hostile)
{
	answer("INSERT INTO rule VALUES ('$type', \$\$ $hostile{$type}[0] \$\$); INSERT INTO orders (stream, type) VALUES ('$type', '$type')");
}
ok(PmTest::wait_until($node, q{SELECT count(*) FROM pm.parked WHERE state = 'failing' AND attempts = 1}, 18), 'they are ordinary failures');
is(answer(q{SELECT string_agg(DISTINCT key || ' ' || sqlstate, ', ') FROM pm.parked}), join(', ', map { "$_ $hostile{$_}[1]" } sort keys %hostile), 'with their errors');
# A handler that catches the deferral has handled the event.
answer(q{SELECT pm.unregister(name) FROM pm.process_manager; TRUNCATE seen; SELECT pm.register(n, n, '{orders}', start_at => 'end', backoff => '1 h') FROM unnest('{one,many,inst}'::text[]) n;
	INSERT INTO rule VALUES ('caught', $$ DO 'BEGIN PERFORM pm.defer(''1 h''); EXCEPTION WHEN SQLSTATE ''PM004'' THEN NULL; END' $$); INSERT INTO orders (stream, type) VALUES ('q', 'caught'), ('f', 'forged'), ('q', 'x')});
for my $pm (qw(one many inst))
{
	seen_ok($pm, 'q:caught q:x', "$pm: a deferral that the handler catches is none");
	parked_ok($pm, 'key, state', 'f/failing', "$pm: nor is it that of the next event");
}

# A timer, and what pm.catch_up does.
answer(q{UPDATE rule SET does = $$ SELECT pm.defer('1 hour', 'no bell') $$ WHERE type = 'ring'; INSERT INTO orders (stream, type) VALUES ('u', 'set')});
ok(PmTest::wait_until($node, q{SELECT string_agg(concat_ws('/', log, state, attempts, message), ' ') FROM pm.parked WHERE key = 'u'}, 'deferred/0/no bell'), 'a timer is deferred');
is(answer(q{SELECT deferred FROM pm.status WHERE process_manager = 'inst'}), 1, 'and counted');
answer(q{DELETE FROM rule WHERE type = 'ring'; SELECT pm.pause('one'), pm.pause('many')});
is(answer(q{SELECT pm.catch_up('inst', as_of => now() + '30 min', on_failure => 'policy')}), 0, 'pm.catch_up leaves it until its time');
is(answer(q{SELECT pm.catch_up('inst', as_of => now() + '61 min', on_failure => 'policy'); SELECT count(*) FROM seen WHERE type = 'ring'}), "1\n1", 'and handles it then');

# on_failure => 'halt': the unit waits for the event.
answer(q{SELECT pm.unregister(name) FROM pm.process_manager; TRUNCATE seen; DELETE FROM rule; ALTER SEQUENCE again RESTART;
	INSERT INTO rule VALUES ('later', $$ SELECT CASE WHEN NOT EXISTS (SELECT FROM go) THEN pm.defer('400 ms', 'not yet') END $$); CREATE TABLE go ();
	SELECT pm.register('one', 'one', '{orders}', start_at => 'end', on_failure => 'halt', backoff => '1 h', max_attempts => 2); INSERT INTO orders (stream, type) VALUES ('a', 'x'), ('b', 'later'), ('c', 'x')});
ok(PmTest::wait_until($node, q{SELECT state, attempts, errors, reason LIKE 'the handler has deferred the event at position %: not yet' FROM pm.status}, 'retrying|0|0|t'), 'on_failure => halt: the unit waits')
  or diag(answer('SELECT * FROM pm.status'));
answer('INSERT INTO go DEFAULT VALUES');
seen_ok('one', 'a:x b:later c:x', 'and continues in its order');
is(answer('SELECT state, errors FROM pm.status'), 'idle|0', 'without any failure');
# An hour is not taken for a clock that was set back; pm.resume does not matter; the owner can skip it.
answer(q{UPDATE rule SET does = $$ SELECT pm.defer('1 day') $$; INSERT INTO orders (stream, type) VALUES ('b', 'later'), ('c', 'y')});
ok(PmTest::wait_until($node, q{SELECT state, retry_at > now() + '23 h' FROM pm.status}, 'retrying|t'), 'it waits for a day');
answer(q{SELECT pm.seek('one', 'orders', (SELECT max(position) - 1 FROM orders))});
seen_ok('one', 'a:x b:later c:x c:y', 'pm.seek skips it');

# ---- correlate

answer(<<'SQL');
SELECT pm.unregister(name) FROM pm.process_manager;
DELETE FROM rule;
TRUNCATE seen;
CREATE FUNCTION key_of(e pm.event) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	IF e.type = 'odd' THEN PERFORM pm.fail_permanently('whose is it?'); END IF;
	IF e.type = 'wait' THEN PERFORM pm.defer('1 h'); END IF;
	RETURN e.stream;
END $$;
SELECT pm.register('one', 'one', '{orders}', start_at => 'end', correlate => 'key_of');
SELECT pm.register('inst', 'inst', '{orders}', start_at => 'end', correlate => 'key_of', lanes => 4);
INSERT INTO orders (stream, type) SELECT CASE i % 3 WHEN 0 THEN 'o' ELSE 's' || i END, CASE i % 3 WHEN 0 THEN 'odd' ELSE 'x' END FROM generate_series(1, 90) i;
SQL
ok(PmTest::wait_until($node, q{SELECT string_agg(pm || ' ' || count, ', ' ORDER BY pm) FROM (SELECT pm, count(*) FROM seen GROUP BY pm) s}, 'inst 60, one 60'), 'PM003 in correlate: the other events are handled')
  or diag(answer('SELECT * FROM pm.status'));
ok(PmTest::wait_until($node, q{SELECT string_agg(x, ', ' ORDER BY x) FROM (SELECT concat_ws('/', process_manager, state, coalesce(key, 'no key'), attempts, message, count(*)) AS x FROM pm.parked GROUP BY process_manager, state, key, attempts, message) p},
		'inst/dead/no key/1/whose is it?/30, one/dead/no key/1/whose is it?/30'), 'they are dead, under no key, and once however many lanes there are')
  or diag(answer('SELECT process_manager, state, key, attempts, message, count(*) FROM pm.parked GROUP BY 1, 2, 3, 4, 5'));
is(answer(q{SELECT string_agg(DISTINCT state, ' ') FROM pm.status}), 'idle', 'nothing halts');
answer(q{INSERT INTO orders (stream, type) VALUES ('o', 'x')});
ok(PmTest::wait_until($node, q{SELECT count(*) FROM seen WHERE key = 'o'}, 2), 'nothing waits behind them');
answer(q{SELECT pm.retry(name) FROM pm.process_manager});
ok(PmTest::wait_until($node, q{SELECT count(*) FROM pm.parked WHERE state = 'dead' AND key IS NULL}, 60), 'retried while correlate is as it was, they are dead again');
# Fewer lanes: the events without a key move, too.
answer(q{SELECT pm.register('inst', 'inst', '{orders}', correlate => 'key_of', lanes => 2)});
answer(q{CREATE OR REPLACE FUNCTION key_of(e pm.event) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT CASE WHEN e.type <> 'odd' THEN e.stream WHEN e.position % 3 = 0 THEN e.position::text END $$;
	SELECT pm.discard('one', 'orders', min(position)) FROM orders WHERE type = 'odd'; SELECT pm.discard('inst', 'orders', min(position)) FROM orders WHERE type = 'odd'; SELECT pm.retry(name) FROM pm.process_manager});
my $odd = answer(q{SELECT count(*) FROM orders WHERE type = 'odd' AND position % 3 = 0 AND position > (SELECT min(position) FROM orders WHERE type = 'odd')});
ok(PmTest::wait_until($node, q{SELECT count(*), string_agg(DISTINCT reason, ' ') FROM pm.status WHERE state <> 'idle' OR parked > 0}, '0|'), 'when correlate is corrected, pm.retry has them handled') or diag(answer('SELECT * FROM pm.parked'));
is(answer(q{SELECT string_agg(pm || ' ' || count, ', ' ORDER BY pm) FROM (SELECT pm, count(*) FROM seen WHERE type = 'odd' GROUP BY pm) s}), "inst $odd, one $odd", 'once, those that have a key');
answer(q{CREATE OR REPLACE FUNCTION key_of(e pm.event) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM pm.defer('1 h'); RETURN NULL; END $$; SELECT pm.unregister('inst'); INSERT INTO orders (stream, type) VALUES ('w', 'wait')});
ok(PmTest::wait_until($node, q{SELECT (event).stream, state, coalesce(key, 'no key'), attempts FROM pm.parked WHERE process_manager = 'one'}, 'w|deferred|no key|0'), 'an event that correlate defers is deferred, under no key')
  or diag(answer('SELECT * FROM pm.status'));
answer(q{CREATE OR REPLACE FUNCTION key_of(e pm.event) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN IF e.type = 'wait' THEN PERFORM pm.defer('200 ms', 'not yet'); END IF; RETURN e.stream; END $$; SELECT pm.retry('one', 'orders', position) FROM pm.parked; INSERT INTO orders (stream, type) VALUES ('w', 'later')});
ok(PmTest::wait_until($node, q{SELECT count(*) FROM seen WHERE pm = 'one' AND type = 'later'}, 1), 'nothing waits behind it');
ok(PmTest::wait_until($node, q{SELECT state, attempts, message FROM pm.parked WHERE process_manager = 'one'}, 'deferred|0|not yet'), 'it is deferred again');
answer(q{CREATE OR REPLACE FUNCTION key_of(e pm.event) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT e.stream $$});
ok(PmTest::wait_until($node, q{SELECT (SELECT count(*) FROM pm.parked), (SELECT count(*) FROM seen WHERE pm = 'one' AND type = 'wait'), (SELECT min(state) FROM pm.status)}, '0|1|idle'), 'when its time has come and it has a key, it is handled');

# ---- outside of a handler

my ($rc, $out, $err) = $node->psql('postgres', q{SELECT pm.defer('1 h', 'closed')}, extra_params => [ '-v', 'VERBOSITY=verbose' ]);
like($err, qr/PM004: closed/, 'outside of a handler, pm.defer raises its error');
($rc, $out, $err) = $node->psql('postgres', q{SELECT pm.fail_permanently('gone')}, extra_params => [ '-v', 'VERBOSITY=verbose' ]);
like($err, qr/PM003: gone/, 'and so does pm.fail_permanently');

PmTest::no_crash_ok($node);
$node->stop;
done_testing();
