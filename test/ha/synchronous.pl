# Patroni in strict synchronous mode: the leader is killed again and again while eight writers append. Every event whose
# append was acknowledged is there and handled, all effects once.
use strict;
use warnings FATAL => 'all';

use PmHa;
use PmHaLoad;
use PmTest;
use Test::More;
use Time::HiRes qw(time);

my $rounds = $ENV{PM_HA_ROUNDS} || 20;
my $ha = PmHa->new('synchronous', synchronous => 1);
PmHaLoad::create($ha);

my $writers = $ha->writers(8, log => 'orders', pause => 0.02, type => sub { $_[0] % 20 == 7 ? 'bad' : 'placed' });
my $consumer = PmHaLoad::consumer($ha);
my (@without, @first);
for my $round (1 .. $rounds)
{
	my $before = $ha->ask($ha->leader, 'SELECT count(*) FROM seen');
	my $leader = $ha->leader;
	ok(PmHa::wait_for(120, sub { $ha->ask($leader, 'SELECT count(*) FROM seen') > $before + 300 }), "round $round: events are handled");
	my $killed = time;
	$ha->kill($leader);
	my $next = $ha->leader(not => $leader);
	push @without, time - $killed;
	my $promoted = $ha->promoted_at($next);
	ok(PmHa::wait_for(60, sub { $ha->ask($next, "SELECT min(extract(epoch FROM at)) FROM seen WHERE at > to_timestamp($promoted)") }), "round $round: node $next handles events after node $leader was killed");
	push @first, $ha->ask($next, "SELECT min(extract(epoch FROM at)) FROM seen WHERE at > to_timestamp($promoted)") - $promoted;
	$ha->start($leader);
	$ha->wait_streaming;
}
my @told = $writers->stop;
ok(PmHaLoad::wait_handled($ha), 'everything is handled after the last one');
my @given = $consumer->stop;
PmHaLoad::no_client_failed_ok(@told, @given);
PmTest::figure(sprintf('%d kills of the leader; without a leader: p50 %.1f s, max %.1f s; from the promotion to the first handled event: p50 %.2f s, max %.2f s; pg_rewind has run %d times', $rounds, PmHaLoad::median(@without), (sort { $a <=> $b } @without)[-1], PmHaLoad::median(@first), (sort { $a <=> $b } @first)[-1], $ha->rewinds));

my %position = map { $_->[1] => $_->[2] } grep { $_->[0] eq 'told' } @told;
my %there = map { split /\|/ } split /\n/, $ha->safe_psql('postgres', q{SELECT data ->> 'id', position FROM orders});
my @lost = grep { ($there{$_} // 0) != $position{$_} } keys %position;
PmTest::figure(sprintf('%d events acknowledged, %d in the log', scalar keys %position, scalar keys %there));
cmp_ok(scalar keys %position, '>', 100 * $rounds, 'the writers have written');
is(scalar(@lost), 0, 'every acknowledged event is there, at its position');
PmHaLoad::named_once_ok('no position has been given to two events', @told, @given);
PmHaLoad::agrees_ok($ha);
$ha->stop;
done_testing();
