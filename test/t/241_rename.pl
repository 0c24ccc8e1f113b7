# pm.rename_log: a log is renamed and moved, again and again, while clients append to it under its first name, a process manager
# parks and retries, and a consumer fetches. No event is lost, handled twice or out of order; a dump keeps
# all names.
use strict;
use warnings FATAL => 'all';

use PmTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $rounds = $ENV{PM_SOAK} ? 300 : 12;
my $node = PmTest::node('main', conf => "max_connections = 40\n");

$node->safe_psql('postgres', 'CREATE SCHEMA sales');
PmTest::create_seen($node);
$node->safe_psql('postgres', "SELECT pm.create_log('orders')");
# Some calls fail.
PmTest::create_handler($node, 'keep', before => "IF random() < 0.03 THEN RAISE EXCEPTION 'now and then'; END IF;");
$node->safe_psql('postgres', q{
SELECT pm.register('keep', 'keep', '{orders}', backoff => '50 ms', park_limit => 100000, journal => false);
SELECT pm.register('mail', NULL, '{orders}', lease => '1 min')});

my $script = $node->basedir . '/append.bench';
append_to_file($script, <<'SQL');
SELECT pm.append('orders', 's' || :client_id, 'A', id => gen_random_uuid()::text);
\sleep 4 ms
SQL
my $writers = PmTest::start_program($node, 'pgbench', '-n', '-c', 3, '-j', 1, '-T', $ENV{PM_SOAK} ? 60 : 2, '-f', $script, 'postgres');

my @names = ('sales.orders', 'invoices', 'sales.bills', 'orders');
my ($fetched, $last, $order, $wrong) = (0, 0, 0, 0);
my $began = time;
for my $round (1 .. $rounds)
{
	my $name = $names[ $round % @names ];

	$node->safe_psql('postgres', "SELECT pm.rename_log('orders', '$name')");
	$wrong++ if $node->safe_psql('postgres', "SELECT name || ' ' || \"table\"::text FROM pm.log") ne "$name $name";
	# The consumer advances under the name that pm.fetch returned.
	my @events = map { [ split /\|/ ] } split /\n/, $node->safe_psql('postgres', "SELECT log, position, lane FROM pm.fetch('mail', 'me', 20)");

	foreach (@events) { $order++ if $_->[1] <= $last; $last = $_->[1]; }
	$fetched += @events;
	$node->safe_psql('postgres', "SELECT pm.advance('mail', 'me', $events[0][2], '$events[0][0]', $events[-1][1])") if @events;
	sleep 0.05;
}
my $took = time - $began;
my ($rc, undef, $err) = PmTest::finish_psql($writers);
is($rc, 0, 'no writer has failed') or diag($err);
is($wrong, 0, 'the log and its table have each name');
is($order, 0, "the consumer has received $fetched events in order");
cmp_ok($fetched, '>', 20, 'across several names');
$node->safe_psql('postgres', "SELECT pm.rename_log('orders', 'orders')");
ok(PmTest::wait_until($node, 'SELECT count(*) FROM pm.parked', 0), 'what failed was retried');
ok(PmTest::wait_until($node, "SELECT lag FROM pm.status WHERE process_manager = 'keep'", 0), 'everything is handled');
my $count = $node->safe_psql('postgres', 'SELECT count(*) FROM orders');
PmTest::once_in_key_order_ok($node, 'keep', "SELECT s.log, o.position AS pos, o.stream AS key FROM orders o LEFT JOIN (SELECT DISTINCT log, pos FROM public.seen) s ON s.pos = o.position");
is($node->safe_psql('postgres', 'SELECT count(*) FROM pm_catalog.append_id'), $count, 'each id is known');
PmTest::figure(sprintf '%d renames in %.1f s, while %d events were appended', $rounds, $took, $count);

# ---- a dump

$node->safe_psql('postgres', "SELECT pm.rename_log('orders', 'sales.final')");
$node->safe_psql('postgres', 'CREATE DATABASE copy');
my $dump = $node->basedir . '/dump.sql';
$node->command_ok([ 'pg_dump', '-f', $dump, '-d', $node->connstr('postgres') ], 'dump');
$node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', $dump, '-d', $node->connstr('copy') ], 'restore');
is($node->safe_psql('copy', q{SELECT name, "table" FROM pm.log}), 'sales.final|sales.final', 'the copy has the new name');
is($node->safe_psql('copy', "SELECT pm.high_water_mark('invoices') >= $count"), 't', 'and the old ones');
is($node->safe_psql('copy', "SELECT log, position FROM pm.cursor WHERE process_manager = 'keep'"),
	$node->safe_psql('postgres', "SELECT log, position FROM pm.cursor WHERE process_manager = 'keep'"), 'and the cursors');

PmTest::no_crash_ok($node);
$node->stop('fast');
done_testing();
