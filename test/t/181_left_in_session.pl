# P7: what a handler leaves in its session (prepared statements, session-level advisory locks) does not pile
# up while its dispatcher is busy, and does not stay when it is idle, even if its role has no other process manager.
use strict;
use warnings FATAL => 'all';

use PmTest;
use Test::More;

my $node = PmTest::node('left');
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE app LOGIN;
GRANT USAGE ON SCHEMA pm TO app;
GRANT CREATE ON SCHEMA public TO app;
SQL

sub answer
{
	my ($sql) = @_;
	return $node->safe_psql('postgres', $sql, extra_params => [ '-U', 'app' ]);
}

answer(<<'SQL');
CREATE TABLE found (pos bigint, pid int, statements bigint);
CREATE FUNCTION leaves(e pm.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO found SELECT e.position, pg_backend_pid(), count(*) FROM pg_prepared_statements;
	EXECUTE 'PREPARE p' || e.position || ' AS SELECT 1';
	PERFORM pg_advisory_lock(e.position);
END $$;
SELECT pm.create_log('orders');
SELECT pm.register('leaves', 'leaves', '{orders}', batch_size => 50);
SQL

my $held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'";
for my $round (1, 2)
{
	answer("INSERT INTO orders (stream, type) SELECT 's', 't' FROM generate_series(1, 5)");
	ok(PmTest::wait_until($node, 'SELECT count(*) FROM found', 5 * $round), "round $round: the events are handled");
	ok(PmTest::wait_until($node, $held, 0), "round $round: an idle dispatcher holds no advisory lock");
}
is(answer('SELECT count(DISTINCT pid), max(statements) FROM found'), '1|4', 'in the same session there are only the statements of its last events');

answer("INSERT INTO orders (stream, type) SELECT 's', 't' FROM generate_series(1, 4000)");
ok(PmTest::wait_until($node, 'SELECT count(*) FROM found', 4010), 'many events are handled');
cmp_ok(answer('SELECT max(statements) FROM found'), '<', 1100, 'meanwhile what handlers leave does not pile up');
is(answer('SELECT count(DISTINCT pid) FROM found'), 1, 'all were in one session');
ok(PmTest::wait_until($node, $held, 0), 'the idle dispatcher holds no lock');

PmTest::no_crash_ok($node);
$node->stop('fast');
done_testing();
