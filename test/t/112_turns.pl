# P6, P7: more databases than worker slots. With default settings there are six slots for schedulers and
# dispatchers. Twenty databases with a process manager each are all served within 10 s of an event, again
# and again, because idle workers give up their slots. The same is true for timers, retries, and events
# without a wake-up (prepared transactions) in databases whose scheduler does not run.
#
#   PM_SOAK=1        30 rounds instead of 3
use strict;
use warnings FATAL => 'all';

use PmTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my ($databases, $rounds) = (20, $ENV{PM_SOAK} ? 30 : 3);
my $node = PmTest::node('turns', extension => 0, conf => "max_worker_processes = 8\nmax_prepared_transactions = 4\nautovacuum = off\n");

sub answer
{
	my ($sql, $n, %opt) = @_;
	return $node->safe_psql($n ? "d$n" : 'postgres', $sql, extra_params => $opt{user} ? [ '-U', $opt{user} ] : []);
}

answer('CREATE ROLE app LOGIN');
answer('CREATE DATABASE d1');
answer('CREATE EXTENSION pm; GRANT USAGE ON SCHEMA pm TO app; GRANT CREATE ON SCHEMA public TO app', 1);
PmTest::create_seen($node, dbname => 'd1');
PmTest::create_handler($node, 'keep', dbname => 'd1', user => 'app');
answer(<<'SQL', 1, user => 'app');
CREATE FUNCTION timed(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF e.type = 'Set' THEN PERFORM pm.set_timer('later', now() + interval '2 s'); END IF;
	INSERT INTO public.seen (pm, log, pos, type) VALUES ('timed', e.log, e.position, e.type);
	RETURN '{}';
END $$;
SELECT pm.create_log('orders'), pm.create_log('times');
SQL
answer("CREATE DATABASE d$_ TEMPLATE d1") for 2 .. $databases;
for my $n (1 .. $databases)
{
	answer("SELECT pm.register('keep', 'keep', '{orders}'), pm.register('timed', 'timed', '{times}')", $n, user => 'app');
}
my $slots = answer("SELECT count(*) FROM pg_stat_activity WHERE backend_type IN ('pm scheduler', 'pm dispatcher', 'pm launcher', 'logical replication launcher')");
cmp_ok($slots, '<=', 8, "there are no more worker slots than that ($slots)");

# The time until each of the databases has handled this number of events, with a process manager.
sub all_handled
{
	my ($pm, $count) = @_;
	my $began = time;
	my @late;

	for my $n (1 .. $databases)
	{
		push @late, "d$n" unless PmTest::wait_until($node, "SELECT count(*) FROM seen WHERE pm = '$pm'", $count, dbname => "d$n");
	}
	is("@late", '', sprintf('%s: all %d databases have handled %d (%.2f s)', $pm, $databases, $count, time - $began));
	return;
}

# The longest time from an event to its effect.
sub slowest
{
	my ($log) = @_;
	my $slowest = 0;
	for my $n (1 .. $databases)
	{
		my $took = answer("SELECT max(extract(epoch FROM s.at - l.recorded_at)) FROM seen s JOIN $log l ON l.position = s.pos AND s.log = '$log' WHERE l.position = (SELECT max(position) FROM $log)", $n);
		$slowest = $took if $took > $slowest;
	}
	return $slowest;
}

my $worst = 0;
for my $round (1 .. $rounds)
{
	answer("INSERT INTO orders (stream, type) VALUES ('s', 'T')", $_, user => 'app') for 1 .. $databases;
	all_handled('keep', $round);
	my $slowest = slowest('orders');
	cmp_ok($slowest, '<', 10, sprintf('round %d: each within 10 s (%.2f s)', $round, $slowest));
	$worst = $slowest if $slowest > $worst;
}
PmTest::figure(sprintf('%d databases on 6 worker slots, an event in each, %d times: handled after %.2f s at the most', $databases, $rounds, $worst));

# one database at a time
my @took;
for my $n (1 .. $databases)
{
	my $position = answer("INSERT INTO orders (stream, type) VALUES ('s', 'T') RETURNING position", $n, user => 'app');
	PmTest::wait_until($node, "SELECT count(*) FROM seen WHERE log = 'orders' AND pos = $position", 1, dbname => "d$n", every => 0.01)
	  or fail("d$n: an event in this database alone is handled");
	push @took, answer("SELECT extract(epoch FROM s.at - l.recorded_at) FROM seen s JOIN orders l ON l.position = s.pos AND s.log = 'orders' WHERE s.pos = $position", $n) || 10;
}
@took = sort { $a <=> $b } @took;
cmp_ok($took[-1], '<', 2, sprintf('an event in one database alone: p50 %.3f s, at the most %.3f s', $took[ @took / 2 ], $took[-1]));
PmTest::figure(sprintf('an event in one of %d databases on 6 worker slots: handled after p50 %.0f ms, %.0f ms at the most', $databases, 1000 * $took[ @took / 2 ], 1000 * $took[-1]));

# timers in all databases
answer("INSERT INTO times (stream, type) VALUES ('s', 'Set')", $_, user => 'app') for 1 .. $databases;
all_handled('timed', 2);

# two prepared transactions that stay for a while, and end without a wake-up
answer("BEGIN; INSERT INTO orders (stream, type) VALUES ('p', 'P'); PREPARE TRANSACTION 'p$_'", $_, user => 'app') for 3, 17;
answer("INSERT INTO orders (stream, type) VALUES ('s', 'T')", $_, user => 'app') for 1 .. $databases;
for my $n (1 .. $databases)
{
	next if $n == 3 || $n == 17;
	ok(PmTest::wait_until($node, "SELECT count(*) FROM seen WHERE pm = 'keep'", $rounds + 2, dbname => "d$n"), "d$n is served while there are prepared transactions in others");
}
my %ended = map { $_ => answer("COMMIT PREPARED 'p$_';\nSELECT extract(epoch FROM clock_timestamp())", $_, user => 'app') } 3, 17;
for my $n (3, 17)
{
	ok(PmTest::wait_until($node, "SELECT count(*) FROM seen WHERE pm = 'keep'", $rounds + 3, dbname => "d$n"), "d$n: the prepared event is handled");
	my $took = PmTest::handled_at($node, "pm = 'keep' AND stream = 'p'", dbname => "d$n") - $ended{$n};
	cmp_ok($took, '<', 10, sprintf('d%d: within 10 s of COMMIT PREPARED (%.2f s)', $n, $took));
}

# a late commit
my $late = PmTest::session($node, dbname => 'd11', user => 'app');
$late->do("BEGIN; INSERT INTO orders (stream, type) VALUES ('l', 'L')");
answer("INSERT INTO orders (stream, type) VALUES ('s', 'T')", $_, user => 'app') for 1 .. 10;
PmTest::wait_until($node, "SELECT count(*) > $rounds + 2 FROM seen WHERE pm = 'keep'", 't', dbname => "d$_") for 1 .. 10;
$late->do('COMMIT');
ok(PmTest::wait_until($node, "SELECT count(*) FROM seen WHERE pm = 'keep' AND stream = 'l'", 1, dbname => 'd11'), 'a late commit is handled');
$late->quit;

PmTest::exactly_once_ok($node, 'keep', 'orders', "d$_: once and in order", dbname => "d$_") for 1 .. $databases;
unlike(slurp_file($node->logfile), qr/no free background worker slot/, 'no warning is logged about taking turns');

# when all are idle, workers do not keep replacing each other: they stay the same, and use almost no CPU
sub workers { return answer("SELECT string_agg(pid::text, ' ' ORDER BY pid) FROM pg_stat_activity WHERE backend_type IN ('pm scheduler', 'pm dispatcher')"); }
my ($before, $same) = ('', 0);
for (1 .. 30)
{
	my $now = workers();
	$same = $now eq $before ? $same + 1 : 0;
	last if $same == 6;
	$before = $now;
	sleep 0.5;
}
cmp_ok($same, '>=', 6, 'at rest, the workers stay for 3 s') or diag(workers());

PmTest::no_crash_ok($node);
$node->stop('fast');
done_testing();
