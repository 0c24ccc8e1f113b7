# Two primaries for a time. First Patroni of the leader is stopped (SIGSTOP), while its server goes on: after the TTL another
# node is promoted, and until Patroni continues there are two primaries that both handle events. Then Patroni and the server
# are stopped together, like a virtual machine that is frozen, and continue after the promotion. The test measures what
# happens on both sides. No position is given to two events, and the history that survives is handled once.
use strict;
use warnings FATAL => 'all';

use PmHa;
use PmHaLoad;
use PmTest;
use Test::More;
use Time::HiRes qw(sleep time);

my $ha = PmHa->new('stopped_leader');
PmHaLoad::create($ha);

my @noted;

# Both sides write, each client to one node. $stop gets the leader; $continue follows a while after the promotion.
sub two_primaries
{
	my ($name, $stop, $continue) = @_;
	my $leader = $ha->leader;
	my @writers = map { $ha->writers(3, log => 'orders', pause => 0.01, node => $_) } 1 .. PmHa::NODES;
	my $consumer = PmHaLoad::consumer($ha);

	ok(PmHa::wait_for(60, sub { $ha->ask($leader, "SELECT count(*) FROM seen WHERE at > now() - interval '1 s'") > 20 }), "$name: events are handled");
	my $began = time;
	$stop->($leader);
	my $next = $ha->leader(not => $leader);
	my $promoted = $ha->promoted_at($next);
	ok(PmHa::wait_for(60, sub { $ha->ask($next, "SELECT count(*) FROM seen WHERE at > to_timestamp($promoted)") > 20 }), "$name: the new leader handles events");
	sleep 3;
	my $both = $ha->ask($next, "SELECT count(*) FROM seen WHERE at > to_timestamp($promoted)");
	my $continued = time;
	$continue->($leader);
	# Then one of the primaries gives up. It is not always the old one.
	my $primary = 0;
	my $given_way = PmHa::wait_for(90, sub {
		my @is = grep { (eval { $ha->ask($_, 'SELECT pg_is_in_recovery()') } // 1) eq '0' } $leader, $next;
		$primary = $is[0] if @is == 1;
		return @is == 1;
	});
	my $ended = time;
	ok($given_way, "$name: there is one primary again");
	$ha->wait_members(PmHa::NODES);
	push @noted, $consumer->stop, map { $_->stop } @writers;
	PmTest::figure(sprintf('%s stopped: another node is promoted after %.1f s, and has handled %d events when the old leader continues; %.1f s later one of them gives way, and the %s remains', $name, $promoted - $began, $both, $ended - $continued, $primary == $next ? 'new one' : 'old one'));
	return;
}

two_primaries('Patroni', sub { PmHa::signal('STOP', $ha->{nodes}[ $_[0] ]{patroni}) }, sub { PmHa::signal('CONT', $ha->{nodes}[ $_[0] ]{patroni}) });
my @frozen;
two_primaries('the machine', sub { @frozen = ($ha->{nodes}[ $_[0] ]{patroni}, $ha->processes($_[0])); PmHa::signal('STOP', @frozen) }, sub { PmHa::signal('CONT', @frozen) });

PmHaLoad::no_client_failed_ok(@noted);
my %position = map { $_->[1] => $_->[2] } grep { $_->[0] eq 'told' } @noted;
my %there = map { split /\|/ } split /\n/, $ha->safe_psql('postgres', q{SELECT data ->> 'id', position FROM orders});
PmTest::figure(sprintf('%d of %d acknowledged events are in no history that survives', scalar(grep { !exists $there{$_} } keys %position), scalar keys %position));
PmHaLoad::named_once_ok('no position has been given to two events', @noted);
my $consumer = PmHaLoad::consumer($ha);
PmHaLoad::agrees_ok($ha);
$consumer->stop;
$ha->stop;
done_testing();
