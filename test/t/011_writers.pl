# P1, P2, P3: writers at each isolation level, half of whose transactions roll back; ten thousand
# savepoints that are rolled back; positions that a crash skips, because a sequence logs 32 in advance.
# Each event that is committed was handled once and in order, and no other event was.
use strict;
use warnings FATAL => 'all';

use PmTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $transactions = 400;			# for each of nine clients
my $savepoints = 10_000;
my $crashes = $ENV{PM_SOAK} ? 20 : 3;
my @levels = ('READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE');
my $node = PmTest::node('writers', conf => "max_connections = 40\nsynchronous_commit = off\n");

PmTest::create_seen($node);
PmTest::create_handler($node, 'keep');
$node->safe_psql('postgres', <<'SQL');
SELECT pm.create_log('orders');
SELECT pm.register('keep', 'keep', '{orders}', on_failure => 'halt', batch_size => 100);
SQL

# The number of positions drawn and the number of events.
sub drawn
{
	return split /\|/, $node->safe_psql('postgres', 'SELECT s.last_value, (SELECT count(*) FROM orders) FROM orders_position_seq s');
}

# ---- isolation levels, half rolled back

my $dir = PostgreSQL::Test::Utils::tempdir;
my @files;
for my $i (0 .. $#levels)
{
	append_to_file("$dir/$i.sql", <<"PGBENCH");
\\set s random(1, 1000)
\\set end random(0, 1)
BEGIN ISOLATION LEVEL $levels[$i];
SELECT count(*) FROM pg_catalog.pg_am;
INSERT INTO orders (stream, type) VALUES ('s' || :s, '$levels[$i]');
\\set us random(0, 3000)
\\sleep :us us
INSERT INTO orders (stream, type) VALUES ('s' || :s, '$levels[$i]');
\\if :end
COMMIT;
\\else
ROLLBACK;
\\endif
PGBENCH
	push @files, '-f', "$dir/$i.sql";
}
my $pgbench = PmTest::start_program($node, 'pgbench', '-n', '-c', 9, '-j', 2, '-t', $transactions, '--max-tries=100', @files,
	$node->connstr('postgres'));
my ($rc, undef, $err) = PmTest::finish_psql($pgbench);
is($rc, 0, 'the writers wrote') or diag($err);
my ($last, $there) = drawn();
my $rolled_back = 1 - $there / $last;
PmTest::figure(sprintf('%d events, %.0f %% of the positions rolled back', $there, 100 * $rolled_back));
ok($rolled_back > 0.4 && $rolled_back < 0.6, 'half of the transactions were rolled back');
is($node->safe_psql('postgres', 'SELECT count(DISTINCT type) FROM orders'), scalar(@levels), 'there are events of each isolation level');
ok(PmTest::wait_idle($node), 'all events are handled');
PmTest::exactly_once_ok($node, 'keep', 'orders', 'isolation levels and rollbacks: everything once and in order');

# ---- savepoints

$node->safe_psql('postgres', <<"SQL");
DO \$\$
BEGIN
	FOR i IN 1 .. $savepoints LOOP
		BEGIN
			INSERT INTO orders (stream, type) VALUES ('undone', 'Undone');
			RAISE division_by_zero;
		EXCEPTION WHEN division_by_zero THEN
			NULL;
		END;
		IF i % 100 = 0 THEN
			INSERT INTO orders (stream, type) VALUES ('kept', 'Kept');
		END IF;
	END LOOP;
END \$\$;
SQL
my ($after) = drawn();
is($after - $last, $savepoints + $savepoints / 100, "$savepoints positions of savepoints were rolled back");
is($node->safe_psql('postgres', "SELECT count(*) FILTER (WHERE type = 'Undone') || '|' || count(*) FILTER (WHERE type = 'Kept') FROM orders"),
	'0|' . $savepoints / 100, 'the inserts between the savepoints are kept');
ok(PmTest::wait_idle($node), 'all events are handled');
PmTest::exactly_once_ok($node, 'keep', 'orders', 'savepoints: everything once and in order');

# ---- positions that a crash skips

my $skipped = 0;
for my $round (1 .. $crashes)
{
	my ($before, $was) = drawn();

	# After the crash the sequence continues behind the positions that were logged in advance.
	$node->safe_psql('postgres', "SET synchronous_commit = on; INSERT INTO orders (stream, type) VALUES ('s', 'Last')");
	$node->stop('immediate');
	$node->start;
	$node->safe_psql('postgres', "INSERT INTO orders (stream, type) VALUES ('s', 'First')");
	my ($now, $is) = drawn();
	$skipped += $now - $before - ($is - $was);
}
PmTest::figure("$crashes crashes skipped $skipped positions");
cmp_ok($skipped, '>=', 16 * $crashes, 'the crashes skipped positions');
ok(PmTest::wait_idle($node), 'all events are handled');
PmTest::exactly_once_ok($node, 'keep', 'orders', 'crashes: everything once and in order');

done_testing();
