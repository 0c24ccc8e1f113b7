# The cost of many logs depends on what happens in them. A process manager that follows more than a
# thousand logs is idle when they are, is woken by each of them, handles all that have new events in one
# pass, and does not keep a lock on each. With PM_SOAK=1 there are five thousand.
use strict;
use warnings FATAL => 'all';

use PmTest;
use Test::More;
use Time::HiRes qw(sleep time);

my $n = $ENV{PM_SOAK} ? 5000 : 1200;
my $moved = 100;
my $node = PmTest::node('many', conf => <<CONF);
autovacuum = off
max_locks_per_transaction = 256
CONF

PmTest::create_seen($node);
$node->safe_psql('postgres', 'CREATE TABLE locks (n int)');
PmTest::create_handler($node, 'keep', after => 'INSERT INTO locks SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid();');
# In two sessions, a few in each transaction, because each log consists of a dozen objects.
my @halves = map
{
	my $half = $_;
	PmTest::start_psql($node, join '', map { my $from = $_; "SELECT count(pm.create_log('l' || i)) FROM generate_series($from, $from + 49) i;\n" }
		  grep { ($_ - 1) / 50 % 2 == $half } map { $_ * 50 + 1 } 0 .. $n / 50 - 1)
} 0, 1;
is((PmTest::finish_psql($_))[0], 0, 'logs are created') for @halves;
is($node->safe_psql('postgres', 'SELECT count(*) FROM pm.log'), $n, "there are $n logs");
$node->safe_psql('postgres', "SELECT pm.register('keep', 'keep', (SELECT array_agg(name ORDER BY name) FROM pm.log))");
ok(PmTest::wait_until($node, "SELECT state FROM pm.worker WHERE kind = 'dispatcher'", 'idle'), 'the dispatcher is idle');

my ($began) = split /\n/, $node->safe_psql('postgres', "SELECT extract(epoch FROM clock_timestamp());\nSELECT count(pm.append('l' || i, 's', 't')) FROM generate_series(1, $n, $n / $moved) i");
ok(PmTest::wait_seen($node, 'keep', $moved), "an event in each of $moved logs: handled");
my $took = PmTest::handled_at($node, 'true') - $began;
cmp_ok($took, '<', 5, 'soon');
my $locks = $node->safe_psql('postgres', 'SELECT max(n) FROM locks');
cmp_ok($locks, '<', 150, "it leaves the lock table to others: at most $locks locks");

my $pid = $node->safe_psql('postgres', "SELECT pid FROM pm.worker WHERE kind = 'dispatcher'");
SKIP:
{
	skip 'no /proc', 1 unless defined PmTest::cpu($pid);
	sleep 1;
	my $before = PmTest::cpu($pid);
	my $seconds = 4;
	sleep $seconds;
	my $share = (PmTest::cpu($pid) - $before) / $seconds;
	cmp_ok($share, '<', 0.04 * $n / 1200, 'it is idle again at once');
	PmTest::figure(sprintf('%d logs, an event in each of %d: handled in %.2f s; %.1f %% of a core when idle', $n, $moved, $took, 100 * $share));
}

# Without polling, a wake-up finds every log, also from a session that has written to many.
$node->safe_psql('postgres', "ALTER SYSTEM SET pm.poll_interval = '1h'; SELECT pg_reload_conf()");
ok(PmTest::wait_until($node, "SELECT setting FROM pg_settings WHERE name = 'pm.poll_interval'", '3600000'), 'polling is off');
sleep 1.5;
my $session = PmTest::session($node);
my $seen = $moved;
my $slowest = 0;
$session->do("SELECT count(pm.append('l' || i, 's', 'u')) FROM generate_series(1, 100) i");
ok(PmTest::wait_seen($node, 'keep', $seen += 100, timeout => 40), 'a hundred logs in one transaction: handled without polling');
for my $log (map { int($n * $_ / 10) } 1 .. 10)
{
	$began = time;
	$session->do("INSERT INTO l$log (stream, type) VALUES ('s', 'v')");
	ok(PmTest::wait_seen($node, 'keep', ++$seen, timeout => 40), "log $log: handled, though nobody polls") or last;
	$slowest = time - $began if time - $began > $slowest;
}
$session->quit;
PmTest::figure(sprintf('%d logs, an event in one: the slowest of ten after %.0f ms', $n, 1000 * $slowest));
is($node->safe_psql('postgres', 'SELECT count(*) - count(DISTINCT (log, pos)) FROM seen'), 0, 'no event is handled twice');
PmTest::no_crash_ok($node);

done_testing();
