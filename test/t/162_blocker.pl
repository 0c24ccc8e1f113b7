# pm.blocker shows which session must end, with advice that helps: behind a queued ALTER TABLE, at the end
# of a chain, for a locked sequence. It never advises to terminate a worker of pm, or the session that asks.
use strict;
use warnings FATAL => 'all';

use PmTest;
use Test::More;

my $node = PmTest::node('blocker', conf => <<'CONF');
max_connections = 40
max_prepared_transactions = 10
pm.max_workers = 8
max_worker_processes = 20
CONF

sub answer { my ($sql, $user) = @_; return $node->safe_psql('postgres', $sql, extra_params => $user ? [ '-U', $user ] : []); }

sub wait_for
{
	my ($sql, $expected, $name) = @_;
	return ok(PmTest::wait_until($node, $sql, $expected), $name)
	  || diag(answer('SELECT * FROM pm.status') . "\n" . answer('SELECT * FROM pm.worker') . "\n" . answer('SELECT * FROM pm.blocker'));
}

sub wait_idle { my ($name) = @_; return wait_for("SELECT state || lag || coalesce(reason, '') FROM pm.status WHERE process_manager = '$name'", 'idle0', "$name continues"); }

answer('CREATE TABLE gate (name text PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO gate VALUES (1), (2);
	CREATE ROLE app LOGIN; GRANT USAGE ON SCHEMA pm TO app; GRANT CREATE ON SCHEMA public TO app; GRANT ALL ON gate TO app;
	CREATE ROLE stranger LOGIN; GRANT USAGE ON SCHEMA pm TO stranger');
answer("CREATE FUNCTION counts(e pm.event) RETURNS void LANGUAGE plpgsql AS \$\$ BEGIN UPDATE gate SET n = n + 1 WHERE name = '1'; END \$\$;
	SELECT pm.create_log('orders'); SELECT pm.register('counts', 'counts', '{orders}')", 'app');
answer("INSERT INTO orders (stream, type) VALUES ('a', 'A')");
wait_idle('counts');

# ---- an ALTER TABLE that waits for a reader

my $reader = PmTest::session($node);
$reader->do('BEGIN; SELECT count(*) FROM orders');
my $alter = PmTest::session($node);
$alter->send('ALTER TABLE orders ADD COLUMN more int');
my ($reads, $alters) = ($reader->pid, $alter->pid);
wait_for("SELECT count(*) FROM pg_locks WHERE relation = 'orders'::regclass AND NOT granted", 1, 'an ALTER TABLE is queued behind a reader');
wait_for("SELECT state, reason, hint FROM pm.status WHERE process_manager = 'counts'", q{waiting|the log's table is locked|SELECT * FROM pm.blocker shows which session holds the lock.}, 'pm.status says that the table is locked');
is(answer("SELECT blocks, log, pid, state, hint FROM pm.blocker ORDER BY pid <> $reads"),
	"log|orders|$reads|idle in transaction|SELECT pg_terminate_backend($reads);\nlog|orders|$alters|active|It waits for another session, which has a row here, too.", 'the session that must end, and the one that waits for it');
is(answer("SELECT wait_event_type, wait_event FROM pm.blocker WHERE pid = $alters"), 'Lock|relation', 'with its wait event');
is(answer("SELECT hint FROM pm.blocker WHERE pid = $reads", 'app'), "Have role \"postgres\" end its transaction, or have a superuser run SELECT pg_terminate_backend($reads).", 'a role that may not terminate it is told who may');
is(answer("SELECT wait_event_type, wait_event FROM pm.blocker WHERE pid = $alters", 'app') . answer("SELECT wait_event_type, wait_event, query FROM pm.blocker WHERE pid = $reads", 'app'),
	'Lock|relation||<insufficient privilege>', 'and does not see the queries of others');
is(answer('SELECT count(*) FROM pm.blocker', 'stranger'), 0, 'another role sees nothing');
answer(answer("SELECT hint FROM pm.blocker WHERE hint LIKE 'SELECT pg_terminate%'"));
$alter->wait;
$reader->quit;
wait_idle('counts');

# ---- a chain: a dispatcher waits for a session, which waits for another one

my $last = PmTest::session($node);
$last->do("BEGIN; UPDATE gate SET n = 0 WHERE name = '2'");
my $middle = PmTest::session($node);
$middle->do("BEGIN; UPDATE gate SET n = 0 WHERE name = '1'");
$middle->send("UPDATE gate SET n = 0 WHERE name = '2'; COMMIT");
answer("INSERT INTO orders (stream, type) VALUES ('a', 'A')");
wait_for("SELECT string_agg(blocks || ' ' || (pid = @{[ $last->pid ]}) || ' ' || hint, ', ' ORDER BY hint) FROM pm.blocker WHERE process_manager = 'counts'",
	"dispatcher false It waits for another session, which has a row here, too., dispatcher true SELECT pg_terminate_backend(@{[ $last->pid ]});", 'both are shown, and which one must end');
answer(answer("SELECT hint FROM pm.blocker WHERE hint LIKE 'SELECT pg_terminate%'"));
$last->quit;
$middle->wait;
wait_idle('counts');

# ---- a handler that writes another log holds the mark of that log: no advice to terminate it

answer("CREATE FUNCTION writes(e pm.event) RETURNS void LANGUAGE plpgsql AS \$\$ BEGIN PERFORM pm.append('effects', 's', 'T'); UPDATE gate SET n = n + 1 WHERE name = '2'; END \$\$;
	SELECT pm.create_log('effects'); SELECT pm.register('writes', 'writes', '{orders}', start_at => 'end')", 'app');
answer("CREATE ROLE other LOGIN; GRANT USAGE ON SCHEMA pm TO other; GRANT CREATE ON SCHEMA public TO other; GRANT SELECT ON effects TO other; GRANT ALL ON gate TO other");
answer("CREATE FUNCTION follows(e pm.event) RETURNS void LANGUAGE plpgsql AS \$\$ BEGIN END \$\$; SELECT pm.register('follows', 'follows', '{effects}')", 'other');
$last = PmTest::session($node);
$last->do("BEGIN; UPDATE gate SET n = 0 WHERE name = '2'");
answer("INSERT INTO orders (stream, type) VALUES ('a', 'A')");
wait_for("SELECT hint FROM pm.blocker WHERE blocks = 'high-water mark' AND log = 'effects' AND pid IN (SELECT pid FROM pm.worker)",
	'It is a worker of pm that waits for another session, which has a row here, too. Do not terminate the worker: that would count as a failure of its event.', 'a worker that blocks is not to be terminated');
answer(answer("SELECT hint FROM pm.blocker WHERE blocks = 'high-water mark' AND log = 'effects' AND pid NOT IN (SELECT pid FROM pm.worker)"));
$last->quit;
wait_idle('writes');
wait_idle('follows');
is(answer('SELECT sum(errors) FROM pm.status'), 0, 'no failure is counted for an event');

# ---- the log's sequence

my $renames = PmTest::session($node);
my $sequence = answer("SELECT pg_get_serial_sequence('orders', 'position')");
$renames->do("BEGIN; ALTER SEQUENCE $sequence RENAME TO renamed");
answer('SELECT 1');
wait_for("SELECT reason FROM pm.status WHERE process_manager = 'counts'", 'the sequence of log "orders" is locked', 'a locked sequence is reported');
answer(answer("SELECT hint FROM pm.blocker WHERE log = 'orders' AND blocks = 'log'"));
$renames->quit;
answer("INSERT INTO orders (stream, type) VALUES ('a', 'A')");
wait_idle('counts');

# ---- the transaction that asks, and the session that holds a process manager

my $own = PmTest::session($node);
$own->do("BEGIN; INSERT INTO orders (stream, type) VALUES ('a', 'A')");
is($own->do('SELECT blocks, hint FROM pm.blocker'), 'high-water mark|It is this session. COMMIT or ROLLBACK its transaction.', 'it is not advised to terminate itself');
$own->do("COMMIT; BEGIN; SELECT pm.pause('counts'); SELECT pm.resume('counts')");
answer("INSERT INTO orders (stream, type) VALUES ('a', 'A')");
is($own->do("SELECT reason FROM pm.status WHERE process_manager = 'counts'"), 'this session has locked it', 'the reason does not speak of another session');
is($own->do("SELECT hint FROM pm.blocker WHERE process_manager = 'counts'"), 'It is this session. COMMIT or ROLLBACK its transaction.', 'pm.blocker shows that it is this session');
is(answer("SELECT reason FROM pm.status WHERE process_manager = 'counts'"), 'another session has locked it', 'for other roles the reason is another session');
$own->do('COMMIT');
wait_idle('counts');
is(answer('SELECT count(*) FROM pm.blocker'), 0, 'pm.blocker is empty');

PmTest::no_crash_ok($node);
$node->stop('immediate');
done_testing();
