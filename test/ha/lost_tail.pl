# Patroni without synchronous replication: the leader sends nothing for a while, then it is killed, so that the
# events that it has written meanwhile are lost. No position is given to two events, over all histories that a writer or a
# consumer has seen; cursors, effects and instances agree with the history that survives.
use strict;
use warnings FATAL => 'all';

use PmHa;
use PmHaLoad;
use PmTest;
use Test::More;

my $rounds = $ENV{PM_HA_ROUNDS} || 20;
my $ha = PmHa->new('lost_tail');
PmHaLoad::create($ha);

my $writers = $ha->writers(8, log => 'orders', pause => 0.02, type => sub { $_[0] % 20 == 7 ? 'bad' : 'placed' });
my $consumer = PmHaLoad::consumer($ha);
my (@lost, @first);
for my $round (1 .. $rounds)
{
	my $leader = $ha->leader;
	ok(PmHa::wait_for(60, sub { $ha->ask($leader, "SELECT count(*) FROM seen WHERE at > now() - interval '1 s'") > 20 }), "round $round: events are handled");
	# WAL that these processes have not sent is lost with the leader.
	PmHa::signal('STOP', split /\n/, $ha->ask($leader, 'SELECT pid FROM pg_stat_replication'));
	my $seen = $ha->ask($leader, 'SELECT max(pos) FROM seen');
	my $ahead = PmHa::wait_for(60, sub { my $now = $ha->ask($leader, "SELECT max(pos) FROM seen WHERE log = 'orders'"); $now > $seen + 100 && $now });
	ok($ahead, "round $round: events are handled that no follower has");
	$ha->kill($leader);
	my $next = $ha->leader(not => $leader);
	my $promoted = $ha->promoted_at($next);
	my $first = PmHa::wait_for(60, sub { $ha->ask($next, "SELECT min(extract(epoch FROM at)) FROM seen WHERE at > to_timestamp($promoted)") });
	ok($first, "round $round: node $next handles events after node $leader was killed");
	push @first, $first - $promoted;
	push @lost, $ha->ask($next, "SELECT $ahead - coalesce(max(position), 0) FROM orders WHERE position <= $ahead");
	$ha->start($leader);
	$ha->wait_streaming;
}
my @told = $writers->stop;
# Such calls are frequent here: the stopped process had sent the note, and the call waits for the answer of the standby.
ok($ha->wait_answer('SELECT count(*) FROM pm.status WHERE lag > 0', '0', 180), 'all cursors reach the end');
my $dead = PmHaLoad::retry_dead($ha);
ok(PmHaLoad::wait_handled($ha), 'everything is handled after the last one');
my @given = $consumer->stop;
PmHaLoad::no_client_failed_ok(@told, @given);

my %position = map { $_->[1] => $_->[2] } grep { $_->[0] eq 'told' } @told;
my %there = map { split /\|/ } split /\n/, $ha->safe_psql('postgres', q{SELECT data ->> 'id', position FROM orders});
my @gone = grep { !exists $there{$_} } keys %position;
my %outside = map { $_->[1] => 1 } grep { $_->[0] eq 'given' } @given;
PmTest::figure(sprintf('%d failovers; %d of %d acknowledged events were lost, %d of these had been given to the consumer; %d were taken for the cause and retried; positions lost at the end of a history: %s', $rounds, scalar @gone, scalar keys %position, scalar(grep { $outside{$_} } @gone), $dead, join(' ', @lost)));
PmTest::figure(sprintf('from the promotion to the first handled event: p50 %.2f s, max %.2f s; %d times pg_rewind has brought the old leader back', PmHaLoad::median(@first), (sort { $a <=> $b } @first)[-1], $ha->rewinds));
cmp_ok(scalar @gone, '>', 0, 'events were lost, as the test needs');
cmp_ok(scalar(grep { $outside{$_} } @gone), '>', 0, 'some of them after the consumer had seen them');
PmHaLoad::named_once_ok('no position has been given to two events', @told, @given);
PmHaLoad::agrees_ok($ha);
$ha->stop;
done_testing();
