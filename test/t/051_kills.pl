# P1, P3, and how soon work continues: while writers write, dispatchers, backends in the middle of an append and the
# postmaster are killed, and the server is stopped in immediate mode and started again, at random moments, again and
# again. Each event is handled once and in order, work continues within five seconds each time, and no process is left.
#
#   PM_KILLS=8,5,3,5        the numbers of dispatchers, backends, postmasters, immediate stops (100,50,50,100 with PM_SOAK=1)
#   PM_CRASH_SEED           the seed for the order and the moments; it is printed
use strict;
use warnings FATAL => 'all';

use PmTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my @kinds = qw(dispatcher backend postmaster immediate);
my %count;
@count{@kinds} = split /,/, $ENV{PM_KILLS} || ($ENV{PM_SOAK} ? '100,50,50,100' : '8,5,3,5');
my $seed = $ENV{PM_CRASH_SEED} || int(rand(1e6));
srand($seed);
note("PM_CRASH_SEED=$seed");

my $node = PmTest::node('kills', conf => <<'CONF');
restart_after_crash = on
max_connections = 40
shared_buffers = 32MB
max_wal_size = 1GB
checkpoint_timeout = 30s
CONF

sub answer
{
	my ($sql, $role) = @_;
	return $node->safe_psql('postgres', $sql, extra_params => $role ? [ '-U', $role ] : []);
}

answer(<<'SQL');
CREATE ROLE app LOGIN;
CREATE ROLE other LOGIN;
GRANT USAGE ON SCHEMA pm TO app, other;
GRANT CREATE ON SCHEMA public TO app, other;
SQL
PmTest::create_seen($node);
PmTest::create_handler($node, 'strict', user => 'app');
PmTest::create_handler($node, 'wide', user => 'other');
answer(<<'SQL', 'app');
SELECT pm.create_log('orders');
GRANT SELECT, INSERT ON orders TO other;
-- Half of the time it is in the middle of an append.
CREATE PROCEDURE feed(w int) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. 1000000 LOOP
		PERFORM pm.append('orders', 'o-' || w || '-' || i % 7, 'Placed');
		PERFORM pg_sleep(random() * 0.004);
		INSERT INTO orders (stream, type) SELECT 'p-' || w || '-' || j, 'Paid' FROM generate_series(1, (random() * 4)::int) j;
		IF random() < 0.2 THEN ROLLBACK; ELSE COMMIT; END IF;
		PERFORM pg_sleep(random() * 0.004);
	END LOOP;
END $$;
SELECT pm.register('strict', 'strict', '{orders}', on_failure => 'halt', max_attempts => 5);
SQL
answer("SELECT pm.register('wide', 'wide', '{orders}', lanes => 2, backoff => '100 ms')", 'other');

# The processes of the server, each with its start time, because a pid can be reused.
sub born
{
	my ($pid) = @_;
	open(my $f, '<', "/proc/$pid/stat") or return undef;
	my $stat = <$f> // return undef;
	my @fields = split ' ', $stat =~ s/.*\) //sr;
	return { ppid => $fields[1], state => $fields[0], at => $fields[19] };
}
sub processes
{
	my $postmaster = $node->{_pid};
	my %born;

	for my $pid (map { m{/proc/(\d+)$} } glob('/proc/[0-9]*'))
	{
		my $b = born($pid) or next;
		$born{$pid} = $b->{at} if $b->{ppid} == $postmaster || $pid == $postmaster;
	}
	return %born;
}
sub left_over
{
	my (%born) = @_;
	return grep { my $b = born($_); $b && $b->{at} == $born{$_} && $b->{state} ne 'Z' } keys %born;
}

my @todo = map { ($_) x $count{$_} } @kinds;
for my $i (reverse 1 .. $#todo)
{
	my $j = int(rand($i + 1));
	@todo[ $i, $j ] = @todo[ $j, $i ];
}
my (%took, %orphans, %in_midst);
for my $kind (@todo)
{
	my @runs = map { PmTest::start_psql($node, "CALL feed($_);", user => 'app') } 1 .. 3;
	my $had = answer("SELECT count(*) FROM seen WHERE pm = 'strict'");

	PmTest::wait_until($node, "SELECT count(*) > $had FROM seen WHERE pm = 'strict'", 't', every => 0.02)
	  or do { fail("$kind: no progress before the kill"); diag(answer('TABLE pm.status')); last };
	sleep 0.05 + rand($kind eq 'immediate' ? 1.95 : 0.3);

	# How long psql takes now: that does not count.
	my $psql = PmTest::seconds { answer('SELECT 1') };
	my %before = processes();
	my $since;
	if ($kind eq 'dispatcher' || $kind eq 'backend')
	{
		# a backend that sleeps between an append and the commit, if there is one within a moment
		my $victims = $kind eq 'dispatcher' ? "SELECT pid, true FROM pm.worker WHERE kind = 'dispatcher' ORDER BY random() LIMIT 1"
		  : "SELECT pid, backend_xid IS NOT NULL AND wait_event = 'PgSleep' AS ready FROM pg_stat_activity WHERE query LIKE 'CALL feed%' AND backend_type = 'client backend' ORDER BY 2 DESC, random() LIMIT 1";
		my ($pid, $ready);
		for (1 .. 20)
		{
			($pid, $ready) = split /\|/, answer($victims);
			last if $ready eq 't';
		}
		$in_midst{$kind}++ if $ready eq 't';
		$since = time + $psql;   # crash() has to ask once, too
		PmTest::crash($node, $pid) or fail("$kind: the server is not up again after the kill");
		delete $before{ $node->{_pid} };
	}
	elsif ($kind eq 'postmaster')
	{
		PmTest::kill_postmaster($node);
		$since = time;
	}
	else
	{
		$node->stop('immediate');
		$node->start;
		$since = time;
	}
	my $ping = answer("INSERT INTO orders (stream, type) VALUES ('ping', 'Ping') RETURNING position", 'app');
	PmTest::wait_until($node, "SELECT count(DISTINCT pm) FROM seen WHERE pos = $ping", 2)
	  or do { fail("$kind: work continues"); diag(answer('SELECT process_manager, state, reason, lag FROM pm.status')); last };
	push @{ $took{$kind} }, PmTest::handled_at($node, "pos = $ping") - $since - $psql;
	# A process that has lost its postmaster may be busy for a moment.
	my @left;
	for (1 .. 1200)
	{
		@left = left_over(%before) or last;
		sleep 0.05;
	}
	push @{ $orphans{$kind} }, @left;
	eval { $_->{h}->finish } for @runs;
	my @errors = grep { /ERROR/ } map { split /\n/, $_->{err} } @runs;
	is("@errors", '', "$kind: the writers lost the connection to their server, and got no other error") if @errors;
}
for my $kind (@kinds)
{
	my @sorted = sort { $a <=> $b } @{ $took{$kind} || [] };

	is(scalar @sorted, $count{$kind}, "$kind: killed or stopped $count{$kind} times, and work continued") or next;
	cmp_ok($sorted[-1], '<=', 5, sprintf('%s, %d times: events are handled again after %.1f s, at the most %.1f s', $kind, $count{$kind}, $sorted[ $#sorted / 2 ], $sorted[-1]));
	note(sprintf('figure: %s, %d times: continues after %.2f s (median), %.2f s (most)', $kind, $count{$kind}, $sorted[ $#sorted / 2 ], $sorted[-1]));
	is(scalar @{ $orphans{$kind} || [] }, 0, "$kind: no process of the old server is left");
}
cmp_ok($in_midst{backend} // 0, '>', $count{backend} / 4, sprintf('%d backends were in the midst of a transaction', $in_midst{backend} // 0));

ok(PmTest::wait_idle($node), 'all is handled')
  or diag(answer('SELECT process_manager, log, position, key, state, message FROM pm.parked'));
PmTest::exactly_once_ok($node, 'strict', 'orders');
PmTest::once_in_key_order_ok($node, 'wide', "SELECT 'orders' AS log, position AS pos, stream AS key FROM orders");
my $once = Test::More->builder->is_passing;
note('figure: ' . answer("SELECT format('%s events, %s positions skipped, two process managers: ', count(*), max(position) - count(*)) FROM orders") . ($once ? 'missing 0, twice 0, out of order 0' : 'NOT once'));
is(answer('SELECT count(*) FROM pm.parked'), 0, 'nothing is parked');

my %end = processes();
$node->stop('fast');
for (1 .. 1200)
{
	last unless left_over(%end);
	sleep 0.05;
}
is(scalar(my @still = left_over(%end)), 0, 'a fast shutdown leaves no process');
done_testing();
