# P7, P8: a commit wakes the dispatcher that follows the log. Workers poll only once an hour here, so each
# event, and not only the first, is handled at once because of its wake-up alone.
use strict;
use warnings FATAL => 'all';

use PmTest;
use Test::More;

my $node = PmTest::node('wakeup', conf => "pm.poll_interval = '1h'\n");

PmTest::create_seen($node);
PmTest::create_handler($node, 'keep');
$node->safe_psql('postgres', <<'SQL');
SELECT pm.create_log('orders'), pm.create_log('payments');
SELECT pm.register('keep', 'keep', '{orders,payments}');
SQL
for my $round (1 .. 5)
{
	for my $log (qw(orders payments))
	{
		$node->safe_psql('postgres', "INSERT INTO $log (stream, type) VALUES ('s', 'T')");
		ok(PmTest::wait_until($node, "SELECT count(*) FROM seen WHERE log = '$log'", $round, timeout => 40),
			"$log, event $round: handled without polling")
		  or last;
	}
}

done_testing();
