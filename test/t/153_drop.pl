# The table of a followed log cannot be dropped without CASCADE. CASCADE ends the following and nothing
# else, whatever the command and the role. The log is dropped with its table. If the table was dropped
# with the event trigger disabled, the hints help. And DROP EXTENSION names what it drops.
use strict;
use warnings FATAL => 'all';

use PmTest;
use Test::More;

my $node = PmTest::node('drop', conf => "pm.poll_interval = '200ms'\n");

$node->safe_psql('postgres', <<'SQL');
CREATE ROLE seller LOGIN;
CREATE ROLE follower LOGIN;
GRANT USAGE ON SCHEMA pm TO seller, follower;
GRANT CREATE ON SCHEMA public TO follower;
GRANT CREATE ON DATABASE postgres TO seller;
SQL
PmTest::create_seen($node);
PmTest::create_handler($node, 'f', user => 'follower', before => "IF e.type = 'bad' THEN RAISE 'no'; END IF;");

sub answer
{
	my ($sql, $role) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', $sql, on_error_stop => 1, extra_params => [ '-v', 'VERBOSITY=verbose', '-U', $role // 'postgres' ]);
	return $rc == 0 ? "$out$err" : $err;
}

my $state = "SELECT (SELECT string_agg(name, ',' ORDER BY name) FROM pm.log), (SELECT string_agg(log, ',' ORDER BY log) FROM pm.cursor), (SELECT count(*) FROM pm.parked), (SELECT string_agg(name, ',') FROM pm.process_manager)";

my @ways = (
	[ 'DROP TABLE', 'DROP TABLE sales.orders', 'DROP TABLE sales.orders CASCADE', 'seller' ],
	[ 'DROP TABLE, two', 'DROP TABLE sales.orders, sales.plain', 'DROP TABLE sales.plain, sales.orders CASCADE', 'seller' ],
	[ 'DROP SCHEMA', undef, 'DROP SCHEMA sales CASCADE', 'seller' ],
	[ 'DROP OWNED', 'DROP OWNED BY seller', 'DROP OWNED BY seller CASCADE', 'seller' ],
	[ 'DROP TYPE', undef, 'ALTER TABLE sales.orders OF sales.row; DROP TYPE sales.row CASCADE', 'seller' ],
	[ 'in replica mode', undef, 'SET session_replication_role = replica; DROP TABLE sales.orders CASCADE', 'postgres' ]);
for my $way (@ways)
{
	my ($name, $plain, $cascade, $role) = @$way;

	answer(<<'SQL', 'seller');
CREATE SCHEMA sales;
GRANT USAGE ON SCHEMA sales TO follower;
SELECT pm.create_log('sales.orders'), pm.create_log('sales.unfollowed');
CREATE TABLE sales.plain (i int);
CREATE TYPE sales.row AS ("position" bigint, stream text, version bigint, type text, data jsonb, metadata jsonb, recorded_at timestamptz);
GRANT SELECT, INSERT ON sales.orders TO follower;
SQL
	answer('SELECT pm.create_log(\'own\'); GRANT SELECT, INSERT ON own TO PUBLIC');
	answer(<<'SQL', 'follower');
SELECT pm.register('f', 'f', '{sales.orders,own}', max_attempts => 1);
INSERT INTO own (stream, type) VALUES ('s', 'good');
INSERT INTO sales.orders (stream, type) VALUES ('s', 'good'), ('t', 'bad'), ('t', 'good');
SQL
	ok(PmTest::wait_until($node, 'SELECT sum(lag), (SELECT count(*) FROM pm.parked) FROM pm.status', '0|2'), "$name: it is followed, and events are parked");
	like(answer($plain, $role), qr/2BP01.*type pm_process_manager\.f depends on table sales\.orders/s, "$name: refused without CASCADE, as in PostgreSQL") if $plain;
	like(answer($cascade, $role), qr/process manager "f" no longer follows log "sales\.orders".*discarded: 2/s, "$name: CASCADE unfollows the log, with a NOTICE");
	like(answer($state), qr/^own(?:,sales\.unfollowed)?\|own\|0\|f$/, "$name: it drops nothing else");
	answer("INSERT INTO own (stream, type) VALUES ('s', 'good')", 'follower');
	ok(PmTest::wait_until($node, "SELECT count(*) FROM seen WHERE log = 'own'", 2), "$name: the process manager continues with its other log");
	like(answer('DROP TABLE own'), qr/2BP01.*type pm_process_manager\.f depends on table own/s, "$name: it still depends on that");
	# without any log the process manager still exists, and can follow one
	like(answer('DROP TABLE own CASCADE'), qr/no longer follows log "own"/, "$name: the last log is dropped");
	is(answer("SELECT logs IS NULL FROM pm.process_manager WHERE name = 'f'", 'follower'), 't', "$name: it has no log");
	answer("SELECT pm.create_log('own'); GRANT SELECT, INSERT ON own TO PUBLIC");
	is(answer("SELECT pm.register('f', 'f', '{own}')", 'follower'), '', "$name: it can follow one again");
	answer('TRUNCATE seen');
	answer("INSERT INTO own (stream, type) VALUES ('s', 'good')", 'follower');
	ok(PmTest::wait_until($node, "SELECT string_agg(pos::text, ',') FROM seen WHERE log = 'own'", 1), "$name: from the beginning");
	answer("SELECT pm.unregister('f')", 'follower');
	answer('DROP TABLE own; TRUNCATE seen; DROP SCHEMA IF EXISTS sales CASCADE');
	is(answer($state), '||0|', "$name: nothing is left");
}

# ---- a follower that is dropped together with its log, and a log without followers

answer("CREATE SCHEMA mine AUTHORIZATION follower");
answer(<<'SQL', 'follower');
SELECT pm.create_log('mine.orders');
SELECT pm.register('f', 'f', '{mine.orders}');
SELECT pm.append('mine.orders', 's', 'good');
SQL
ok(PmTest::wait_seen($node, 'f', 1), 'one role owns the log and the process manager');
like(answer('DROP OWNED BY follower'), qr/process manager "f" is unregistered/, 'DROP OWNED drops both, without CASCADE');
is(answer($state), '||0|', 'nothing of them is left');

# ---- renamed and moved, the log keeps its name and its triggers

answer("GRANT CREATE ON SCHEMA public TO follower; GRANT USAGE ON SCHEMA pm TO follower; CREATE SCHEMA there; SELECT pm.create_log('moving'); GRANT SELECT, INSERT ON moving TO follower; GRANT USAGE ON SCHEMA there TO follower");
PmTest::create_handler($node, 'f', user => 'follower');
answer("TRUNCATE seen");
answer("GRANT ALL ON seen TO PUBLIC; GRANT USAGE ON SEQUENCE seen_seq_seq TO PUBLIC");
answer("SELECT pm.register('f', 'f', '{moving}')", 'follower');
answer('ALTER TABLE moving RENAME TO moved; ALTER TABLE moved SET SCHEMA there; ALTER SCHEMA there RENAME TO elsewhere');
is(answer("SELECT pm.append('moving', 's', 'good')"), 1, 'a log whose table was renamed and moved accepts events');
ok(PmTest::wait_seen($node, 'f', 1), 'they are handled');
like(answer('DROP TABLE elsewhere.moved'), qr/2BP01/, 'it cannot be dropped without CASCADE');

# ---- dropped while the event trigger is disabled

answer('ALTER EVENT TRIGGER pm_after_drop DISABLE; DROP TABLE elsewhere.moved CASCADE; ALTER EVENT TRIGGER pm_after_drop ENABLE ALWAYS');
like(answer("SELECT reason, hint FROM pm.status"), qr/table of log "moving" does not exist.*pm\.unfollow.*pm\.drop_log\('moving'\)/s, 'pm.status says what happened');
like(answer("SELECT pm.unregister('f')", 'follower'), qr/^$/, 'the follower unfollows the log');
is(answer("SELECT pm.drop_log('moving'); $state"), "\n||0|", 'a superuser drops the log');

# ---- DROP EXTENSION names what it drops

answer("SELECT pm.create_log('orders'); CREATE TABLE defaults (j jsonb DEFAULT pm.done(), i int)");
answer("SELECT pm.append('orders', 's', 't')");
like(answer('DROP EXTENSION pm'), qr/2BP01.*default value for column j of table defaults/s, 'DROP EXTENSION without CASCADE names what depends on it');
like(answer('DROP EXTENSION pm CASCADE'), qr/drop cascades to.*default value for column j of table defaults/s, 'with CASCADE it names what it drops');
is(answer('SELECT count(*) FROM orders'), 1, 'the log is a plain table');
is(answer("DROP TABLE orders, defaults; CREATE EXTENSION pm; $state"), '||0|', 'CREATE EXTENSION starts again');

PmTest::no_crash_ok($node);
$node->stop('fast');
done_testing();
