# CREATE EXTENSION, handling, DROP EXTENSION, twenty times in one database. The tables of the logs
# stay and accept inserts, the workers end, and the next round starts from nothing.
use strict;
use warnings FATAL => 'all';

use PmTest;
use Test::More;
use Time::HiRes qw(time);

my $node = PmTest::node('extension', extension => 0);

$node->safe_psql('postgres', 'CREATE ROLE app LOGIN; GRANT CREATE ON SCHEMA public TO app');
PmTest::create_seen($node);

my $workers = "SELECT count(*) FROM pg_stat_activity WHERE backend_type IN ('pm scheduler', 'pm dispatcher')";
my ($slowest_start, $slowest_drop, $slowest_leave, $good) = (0, 0, 0, 0);
for my $round (1 .. 20)
{
	my $log = "log_$round";
	my $ok = 1;

	$node->safe_psql('postgres', 'TRUNCATE seen; CREATE EXTENSION pm; GRANT USAGE ON SCHEMA pm TO app');
	PmTest::create_handler($node, 'keep', user => 'app',
		# in every other round a batch is running when the extension is dropped
		after => $round % 2 ? '' : "PERFORM pg_sleep(0.2) WHERE e.position > 3;");
	my $appended = (split /\n/, $node->safe_psql('postgres', <<"SQL", extra_params => [ '-U', 'app' ]))[-1];
SELECT pm.create_log('$log');
SELECT pm.register('keep', 'keep', '{$log}', batch_size => 1);
INSERT INTO $log (stream, type) SELECT 'a', 'A' FROM generate_series(1, 2);
SELECT pm.append('$log', 'b', 'B');
SELECT extract(epoch FROM clock_timestamp());
SQL
	$ok &&= PmTest::wait_seen($node, 'keep', 3);
	my $start = PmTest::handled_at($node, 'true') - $appended;
	my @workers = split /\n/, $node->safe_psql('postgres', $workers =~ s/count\(\*\)/pid/r);
	$node->safe_psql('postgres', "INSERT INTO $log (stream, type) SELECT 'c', 'C' FROM generate_series(1, 4)",
		extra_params => [ '-U', 'app' ]);
	my ($drop, $rc, undef, $err) = PmTest::timed_psql($node, 'SET client_min_messages = warning; DROP EXTENSION pm CASCADE');
	my $leave = PmTest::wait_ended(@workers) // 'inf';
	diag("round $round: $err") if $rc;
	# The table is still there with all its events, as a plain table.
	$node->safe_psql('postgres', "INSERT INTO $log (stream, type) VALUES ('d', 'D')", extra_params => [ '-U', 'app' ]);
	my $answer = $node->safe_psql('postgres', <<"SQL");
SELECT (SELECT count(*) FROM $log), (SELECT count(*) FROM pg_trigger WHERE tgrelid = '$log'::regclass),
	   (SELECT count(*) FROM pg_constraint WHERE conrelid = '$log'::regclass AND contype = 'c'),
	   (SELECT count(*) - count(DISTINCT pos) FROM seen)
SQL
	diag("round $round: $answer") if $answer ne '8|0|0|0';
	$ok &&= $answer eq '8|0|0|0';
	$ok &&= $rc == 0 && PmTest::wait_until($node, $workers, '0');
	$good++ if $ok;
	($slowest_start, $slowest_drop, $slowest_leave) =
	  map { $_->[0] > $_->[1] ? $_->[0] : $_->[1] } [ $slowest_start, $start ], [ $slowest_drop, $drop ], [ $slowest_leave, $leave ];
}
is($good, 20, '20 rounds of CREATE EXTENSION, register, append, handle, DROP EXTENSION');
diag(sprintf('slowest: first events handled after %.2f s, DROP EXTENSION %.2f s, workers gone %.2f s later',
	$slowest_start, $slowest_drop, $slowest_leave));
cmp_ok($slowest_start, '<', 5, 'events are handled within 5 s of each CREATE EXTENSION');
cmp_ok($slowest_drop, '<', 5, 'DROP EXTENSION does not wait long');
cmp_ok($slowest_leave, '<', 5, 'the workers end at once');

# in one transaction, and rolled back
$node->safe_psql('postgres', 'TRUNCATE seen; CREATE EXTENSION pm');
PmTest::create_handler($node, 'keep');
$node->safe_psql('postgres', "SELECT pm.create_log('orders'); SELECT pm.register('keep', 'keep', '{orders}')");
$node->safe_psql('postgres', "SET client_min_messages = warning; BEGIN; DROP EXTENSION pm CASCADE; ROLLBACK");
$node->safe_psql('postgres', "INSERT INTO orders (stream, type) VALUES ('x', 'X')");
ok(PmTest::wait_seen($node, 'keep', 1), 'a DROP EXTENSION that is rolled back changes nothing');
# Workers wait for the extension, and lock no table before that: otherwise each could wait for the other.
{
	my $session = PmTest::session($node);

	$session->do('SET client_min_messages = warning; BEGIN; DROP EXTENSION pm CASCADE');
	$node->reload;
	ok(PmTest::wait_until($node, q{SELECT count(*) > 0 FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE backend_type LIKE 'pm %' AND locktype = 'object' AND NOT granted}, 't'),
		'a worker waits for the extension');
	is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE backend_type LIKE 'pm %' AND locktype = 'relation' AND relation >= 16384}),
		'0', 'without a lock on a table');
	$session->do('ROLLBACK');
	$session->quit;
}
$node->safe_psql('postgres', <<'SQL');
SET client_min_messages = warning;
BEGIN;
DROP EXTENSION pm CASCADE;
CREATE EXTENSION pm;
COMMIT;
SQL
PmTest::create_handler($node, 'keep');
$node->safe_psql('postgres', "SELECT pm.create_log('again'); SELECT pm.register('keep', 'keep', '{again}'); INSERT INTO again (stream, type) VALUES ('x', 'X')");
ok(PmTest::wait_seen($node, 'keep', 2), 'dropped and created in one transaction: the new extension works');
$node->safe_psql('postgres', "INSERT INTO orders (stream, type) VALUES ('y', 'Y')");
is($node->safe_psql('postgres', 'SELECT count(*) FROM orders'), '2', 'the old table accepts inserts');

# A CREATE EXTENSION that is rolled back leaves nothing.
$node->safe_psql('postgres', "CREATE DATABASE other");
$node->safe_psql('other', 'BEGIN; CREATE EXTENSION pm; ROLLBACK');
is($node->safe_psql('other', "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'pm%'"), '0', 'CREATE EXTENSION rolled back');
is($node->safe_psql('other', 'CREATE EXTENSION pm; SELECT count(*) FROM pm.status'), '0', 'CREATE EXTENSION committed');

PmTest::no_crash_ok($node);
$node->stop('fast');
done_testing();
