# P7: code that a worker runs may wait on its latch and reset it, as a parallel query or a lock does. The
# worker still notices a wake-up that comes meanwhile before it sleeps. Workers do not poll for a minute or more here.
use strict;
use warnings FATAL => 'all';

use PmTest;
use Test::More;

my $node = PmTest::node('latch', conf => "pm.poll_interval = '1h'\nmax_worker_processes = 20\nmax_parallel_workers = 8\n");
my $forced = $node->safe_psql('postgres', "SELECT name FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query') ORDER BY name LIMIT 1");
my $slowest = 0;

# Each statement of the workers is a parallel query.
$node->safe_psql('postgres', "ALTER DATABASE postgres SET $forced = on");
PmTest::create_seen($node);
PmTest::create_handler($node, 'keep');
$node->safe_psql('postgres', "SELECT pm.create_log('orders'); SELECT pm.register('keep', 'keep', '{orders}')");

my $workers = "SELECT count(*) FROM pg_stat_activity WHERE backend_type IN ('pm scheduler', 'pm dispatcher')";
for my $round (1 .. 8)
{
	$node->safe_psql('postgres', "INSERT INTO orders (stream, type) VALUES ('s', 'T')");
	ok(PmTest::wait_seen($node, 'keep', $round, timeout => 40), "round $round: an event is handled");

	# Between these two commands the scheduler is busy.
	$node->safe_psql('postgres', "SELECT pm.pause('keep')");
	$node->safe_psql('postgres', "SELECT pm.resume('keep')");
	my @pids = split /\n/, $node->safe_psql('postgres', $workers =~ s/count\(\*\)/pid/r . "; ALTER SYSTEM SET pm.launcher = off");
	$node->reload;
	my $took = PmTest::wait_ended(@pids) // 'inf';
	$slowest = $took if $took > $slowest;
	ok(PmTest::wait_until($node, $workers, 0, timeout => 40), "round $round: the workers go at once") or last;
	$node->safe_psql('postgres', 'ALTER SYSTEM RESET pm.launcher');
	$node->reload;
	ok(PmTest::wait_until($node, $workers, 2, timeout => 40), "round $round: they come back") or last;
}
cmp_ok($slowest, '<', 5, sprintf('within 5 s (%.2f s)', $slowest));
PmTest::figure(sprintf('parallel queries in the workers: pm.launcher = off is heeded after %.2f s at the most', $slowest));

PmTest::no_crash_ok($node);
$node->stop('fast');
done_testing();
