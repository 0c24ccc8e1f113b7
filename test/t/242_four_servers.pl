# examples/four-servers: orders, payments and shipping have a server each, and the process that
# fulfills an order a fourth one. Meanwhile two servers are killed and one is stopped. At the end
# each order has one outcome, and the sums of money agree.
use strict;
use warnings FATAL => 'all';

use File::Basename qw(dirname);
use PmTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $orders = $ENV{PM_SOAK} ? 3000 : 30;
my $root = $ENV{PM_TEST_ROOT} // '.';
my @names = qw(orders payments shipping fulfilment);
my %node;

foreach my $name (@names)
{
	$node{$name} = PmTest::node($name, init => [ allows_streaming => 'logical' ], conf => <<'CONF');
max_connections = 20
max_worker_processes = 14
shared_buffers = 8MB
wal_retrieve_retry_interval = 200ms
CONF
	$node{$name}->safe_psql('postgres', 'SELECT 1');
	my ($rc, undef, $err) = $node{$name}->psql('postgres', slurp_file("$root/examples/four-servers/$name.sql"), on_error_stop => 1);
	is($rc, 0, "$name.sql runs") or diag($err);
}
sub at { my ($name, $sql) = @_; return $node{$name}->safe_psql('postgres', $sql); }

{
	local $ENV{PATH} = dirname($node{orders}->installed_command('psql')) . ":$ENV{PATH}" if $node{orders}->installed_command('psql') =~ m{/};
	PostgreSQL::Test::Utils::command_ok([ "$root/examples/four-servers/subscribe.sh", map { $node{$_}->connstr('postgres') } @names ], 'subscribe.sh connects them');
}

# One in seven costs too much, one in five goes to the moon.
my $place = "SELECT count(orders.place('o-' || i, CASE WHEN i %% 7 = 0 THEN 5000 ELSE i END, CASE WHEN i %% 5 = 0 THEN 'moon' ELSE 'here' END)) FROM generate_series(%d, %d) i";
my $began = time;
at('orders', sprintf $place, 1, $orders / 3);
PmTest::kill_postmaster($node{payments});
at('orders', sprintf $place, $orders / 3 + 1, 2 * $orders / 3);
PmTest::kill_postmaster($node{fulfilment});
$node{shipping}->stop('fast');
at('orders', sprintf $place, 2 * $orders / 3 + 1, $orders);
at('orders', sprintf $place, 1, 5);		# a client repeats its calls
ok(PmTest::wait_until($node{fulfilment}, "SELECT count(*) > 0 FROM pm.status WHERE log = 'shipping.events' AND state = 'waiting' AND reason LIKE '%subscription \"shipping\" has no worker%'", 't'),
	'pm.status says that shipping cannot be reached');
$node{shipping}->start;
ok(PmTest::wait_until($node{orders}, "SELECT count(*) FROM orders.events WHERE type IN ('confirmed', 'cancelled')", $orders), "each of $orders orders has an outcome");
PmTest::figure(sprintf '%d orders fulfilled on four servers in %.1f s, of which two were killed and one was down', $orders, time - $began);

my $expected = at('orders', "SELECT stream || ' ' || CASE WHEN (data ->> 'amount')::int > 1000 OR data ->> 'address' = 'moon' THEN 'cancelled' ELSE 'confirmed' END FROM orders.events WHERE type = 'placed' ORDER BY 1");
is(at('orders', "SELECT stream || ' ' || type FROM orders.events WHERE type <> 'placed' ORDER BY 1"), $expected, 'the right one, and once');
# Finally, payments that were paid back arrive.
my $returned = at('orders', "SELECT count(*) FROM orders.events WHERE type = 'placed' AND (data ->> 'amount')::int <= 1000 AND data ->> 'address' = 'moon'");
ok(PmTest::wait_until($node{payments}, "SELECT count(*) FROM payments.events WHERE type = 'payment_returned'", $returned), "$returned payments came back");
is(at('payments', "SELECT count(*) FILTER (WHERE type = 'payment_taken') - count(*) FILTER (WHERE type = 'payment_returned') FROM payments.events"),
	at('shipping', "SELECT count(*) FROM shipping.events WHERE type = 'parcel_sent'"), 'as many payments were kept as parcels were sent');
is(at('fulfilment', "SELECT count(*), count(DISTINCT key) FROM pm.ended WHERE process_manager = 'fulfilment'"), "$orders|$orders", 'each order was fulfilled once');
is(at('fulfilment', 'SELECT count(*) FROM pm.instance') . at('fulfilment', 'SELECT count(*) FROM pm.parked'), '00', 'nothing is left');

foreach (@names)
{
	PmTest::no_crash_ok($node{$_}, "$_: no crash in the log");
	$node{$_}->stop('immediate');
}
done_testing();
