# P4: nothing that a user writes can be taken for one of pm's own values, or make the code that reads it fail.
# A role that can only create its own logs writes metadata of every form, without data, into a log whose
# handler fails. The server does not crash, each of these events is parked with the handler's own error,
# and a process manager of another role that follows this log among others continues.
use strict;
use warnings FATAL => 'all';

use PmTest;
use Test::More;

my $node = PmTest::node('marks', conf => "restart_after_crash = on\n");
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE mallory LOGIN;
CREATE ROLE bob LOGIN;
CREATE SCHEMA mallory AUTHORIZATION mallory;
GRANT USAGE ON SCHEMA mallory TO bob;
GRANT CREATE ON SCHEMA public TO bob;
GRANT USAGE ON SCHEMA pm TO mallory, bob;
SQL
PmTest::create_seen($node);
$node->safe_psql('postgres', <<'SQL', extra_params => [ '-U', 'mallory' ]);
SELECT pm.create_log('mallory.l1');
ALTER TABLE mallory.l1 ALTER data DROP NOT NULL, ALTER metadata DROP NOT NULL, ALTER recorded_at DROP NOT NULL;
GRANT SELECT ON mallory.l1 TO bob;
CREATE FUNCTION mallory.fail(e pm.event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;
SELECT pm.register('m1', 'mallory.fail', '{mallory.l1}', backoff => '100 ms', max_attempts => 3);
SQL
$node->safe_psql('postgres', "SELECT pm.create_log('mine')", extra_params => [ '-U', 'bob' ]);
PmTest::create_handler($node, 'follows', user => 'bob', before => q{IF e.log = 'mallory.l1' AND random() < 2 THEN RAISE 'not that'; END IF;});
$node->safe_psql('postgres', "SELECT pm.register('follows', 'follows', '{mallory.l1,mine}', backoff => '100 ms', max_attempts => 2)", extra_params => [ '-U', 'bob' ]);

# A few at a time, with successful events in between: too many failures in a row would halt it.
my @metadata = (
	'["zzz\u000faaa\u0010","bbbbbbbbbbbb","pm.too_large"]', '{"pm.too_large":1e30}', '{"pm.too_large":1}', '1e30', '"pm.too_large"', 'null', '[]',
	'{"pm.too_large":-9223372036854775809}', '{"correlation":["zzz\u000faaa\u0010"],"causation":1e30}');
for my $metadata (@metadata)
{
	my $literal = $metadata =~ s/'/''/gr;
	$node->safe_psql('postgres', "INSERT INTO mallory.l1 (stream, type, data, metadata, recorded_at) SELECT 's' || count(*), 't', NULL, '$literal', NULL FROM mallory.l1", extra_params => [ '-U', 'mallory' ]);
}
$node->safe_psql('postgres', "INSERT INTO mallory.l1 (stream, type, data, metadata) VALUES ('none', 't', NULL, NULL)", extra_params => [ '-U', 'mallory' ]);
my $n = @metadata + 1;

ok(PmTest::wait_until($node, "SELECT process_manager, count(*), count(*) FILTER (WHERE state = 'dead'), min(attempts), string_agg(DISTINCT message, ',') FROM pm.parked GROUP BY 1 ORDER BY 1", "follows|$n|$n|2|not that\nm1|$n|$n|3|no"),
	'each is dead with the error of its handler');
is(PmTest::restarts_in_log($node), 0, 'the server has not crashed');
is($node->safe_psql('postgres', 'SELECT count(*) FROM pm.parked k JOIN mallory.l1 l USING (position) WHERE (k.event).metadata IS DISTINCT FROM l.metadata'), 0, 'the parked copies are what was written');
$node->safe_psql('postgres', "SELECT count(pm.append('mine', 's', 't')) FROM generate_series(1, 5)", extra_params => [ '-U', 'bob' ]);
ok(PmTest::wait_seen($node, 'follows', 5), 'a follower of that log continues with its other logs');
is($node->safe_psql('postgres', "SELECT string_agg(DISTINCT state, ',') FROM pm.status WHERE lag > 0 OR state NOT IN ('idle')"), '', 'all are idle');

# Parked events are tried again unchanged, also from a dump.
$node->safe_psql('postgres', 'CREATE OR REPLACE FUNCTION mallory.fail(e pm.event) RETURNS void LANGUAGE sql AS $$ SELECT $$', extra_params => [ '-U', 'mallory' ]);
$node->safe_psql('postgres', "SELECT pm.retry(process_manager, log, position) FROM pm.parked WHERE process_manager = 'm1'");
ok(PmTest::wait_until($node, "SELECT count(*) FROM pm.parked WHERE process_manager = 'm1'", 0), 'after pm.retry each is handled');
is(PmTest::restarts_in_log($node), 0, 'the server has not crashed');

# A key with bytes that have no character in UTF-8 is a key like any other. Other keys and other logs are handled.
$node->safe_psql('postgres', q{CREATE DATABASE win ENCODING 'WIN1252' LOCALE 'C' TEMPLATE template0});
$node->safe_psql('win', "CREATE EXTENSION pm; SELECT pm.create_log('l'), pm.create_log('other')");
PmTest::create_seen($node, dbname => 'win');
PmTest::create_handler($node, $_, dbname => 'win') for qw(byte lanes);
$node->safe_psql('win', <<'SQL');
CREATE FUNCTION count_up(e pm.event, state jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT to_jsonb(coalesce(state::int, 0) + 1) $$;
SELECT pm.register('byte', 'byte', '{l,other}'), pm.register('lanes', 'lanes', '{l,other}', lanes => 3), pm.register('state', 'count_up', '{l,other}', lanes => 2);
INSERT INTO l (stream, type) SELECT s, 't' FROM unnest(ARRAY[E'\x81', 'a', E'x\x8d', E'\x81', 'sha256:' || E'\x81', repeat(E'\x81', 1001)]) s;
INSERT INTO other (stream, type) VALUES ('s', 't');
SQL
ok(PmTest::wait_until($node, "SELECT string_agg(DISTINCT process_manager || ' ' || state || coalesce(': ' || reason, ''), ',') FROM pm.status WHERE lag > 0 OR state <> 'idle'", '', dbname => 'win'), 'bytes without a character delay no other key');
is($node->safe_psql('win', 'SELECT pm, count(*) FROM seen GROUP BY 1 ORDER BY 1'), "byte|7\nlanes|7", 'all is handled');
is($node->safe_psql('win', "SELECT string_agg(state::text, ',' ORDER BY state DESC) FROM pm.instance"), '2,1,1,1,1,1', 'each under its own key');

PmTest::no_crash_ok($node);
$node->stop;
done_testing();
