# An operator hands the leadership over, again and again, while eight writers append: no attempt is counted, no event is lost
# or handled twice, and a prepared transaction survives on the new leader.
use strict;
use warnings FATAL => 'all';

use PmHa;
use PmHaLoad;
use PmTest;
use Test::More;
use Time::HiRes qw(time);

my $rounds = $ENV{PM_HA_ROUNDS} || 20;
my $ha = PmHa->new('switch_over');
PmHaLoad::create($ha);

my $writers = $ha->writers(8, log => 'orders', pause => 0.02);
my $consumer = PmHaLoad::consumer($ha);
my (@pause, @first);
for my $round (1 .. $rounds)
{
	my $leader = $ha->leader;
	my $open = "BEGIN; INSERT INTO orders (stream, type) VALUES ('prepared', 'prepared'); PREPARE TRANSACTION 'round $round'";
	$ha->safe_psql('postgres', $open);
	my ($from, $to) = $ha->switch_over;
	my $promoted = $ha->promoted_at($to);
	my $last = $ha->ask($to, "SELECT max(extract(epoch FROM at)) FROM seen WHERE at < to_timestamp($promoted)");
	# Nothing behind the prepared transaction is handled before it ends.
	$ha->safe_psql('postgres', "COMMIT PREPARED 'round $round'");
	my $first = PmHa::wait_for(60, sub { $ha->ask($to, "SELECT min(extract(epoch FROM at)) FROM seen WHERE at > to_timestamp($promoted)") });
	ok($first, "round $round: from node $from to node $to, which handles events");
	push @first, $first - $promoted;
	push @pause, $first - $last;
	$ha->wait_streaming;
}
my @told = $writers->stop;
ok(PmHaLoad::wait_handled($ha), 'everything is handled after the last one');
my @given = $consumer->stop;
PmHaLoad::no_client_failed_ok(@told, @given);
PmTest::figure(sprintf('%d switch-overs with a prepared transaction; from the promotion to the first handled event: p50 %.2f s, max %.2f s; between the last and the first handled event: p50 %.1f s, max %.1f s', $rounds, PmHaLoad::median(@first), (sort { $a <=> $b } @first)[-1], PmHaLoad::median(@pause), (sort { $a <=> $b } @pause)[-1]));
is($ha->safe_psql('postgres', 'SELECT sum(errors) FROM pm.status'), 0, 'no attempt was counted');
is($ha->safe_psql('postgres', "SELECT count(*) FROM orders WHERE type = 'prepared'"), $rounds, 'the prepared transactions have gone along');
my %there = map { split /\|/ } split /\n/, $ha->safe_psql('postgres', q{SELECT data ->> 'id', position FROM orders WHERE data ? 'id'});
is(scalar(grep { $_->[0] eq 'told' && ($there{ $_->[1] } // 0) != $_->[2] } @told), 0, 'every acknowledged event is there, at its position');
PmHaLoad::named_once_ok('no position has been given to two events', @told, @given);
PmHaLoad::agrees_ok($ha);
$ha->stop;
done_testing();
