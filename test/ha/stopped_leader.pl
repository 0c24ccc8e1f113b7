# Two primaries for a time, without and with strict synchronous replication:
#
# - Patroni of the leader is stopped (SIGSTOP), while its server goes on. After the TTL another node is promoted.
# - Patroni and the server are stopped together, like a virtual machine that is frozen, and continue after the promotion.
# - Patroni of the leader does not reach etcd any more.
#
# The test measures what happens on both sides, and what an outside system that remembers the
# highest timeline would refuse. No position is given to two events, and the history that survives
# is handled once.
use strict;
use warnings FATAL => 'all';

use PmHa;
use PmHaLoad;
use PmTest;
use Test::More;
use Time::HiRes qw(sleep time);

my ($ha, $mode, @noted);

# Notes again and again what a node has handled, as long as it is a primary: "handled NOW EVENTS LAST".
sub watcher
{
	my ($node) = @_;

	return $ha->clients(1, sub {
		my ($i, $note, $stop) = @_;
		my $dbh;

		until ($stop->())
		{
			$dbh //= eval { $ha->connect_to($node) } // do { sleep 0.05; next };
			my $rows = PmHa::query_within($dbh, 1, 'SELECT extract(epoch FROM clock_timestamp()), count(*), coalesce(extract(epoch FROM max(at)), 0) FROM seen WHERE NOT pg_is_in_recovery()');
			if (!$rows) { PmHa::abandon($dbh); $dbh = undef; }
			elsif ($rows->[0][1] > 0) { $note->('handled', @{ $rows->[0] }); }
			sleep 0.03;
		}
	});
}

# Both sides write, each client to one node. $stop gets the leader; $continue follows a while after the promotion.
sub two_primaries
{
	my ($name, $stop, $continue) = @_;
	my $leader = $ha->leader;
	my @writers = map { $ha->writers(3, log => 'orders', pause => 0.01, node => $_) } 1 .. PmHa::NODES;
	# One consumer stays at the old leader, and one that has noticed the promotion begins at the new one.
	my @consumers = (PmHaLoad::consumer($ha, node => $leader));
	my $watcher = watcher($leader);

	ok(PmHa::wait_for(60, sub { $watcher->noted && $ha->ask($leader, "SELECT count(*) FROM seen WHERE at > now() - interval '1 s'") > 20 }), "$mode, $name: events are handled");
	my $began = time;
	$stop->($leader);
	my $next = $ha->leader(not => $leader);
	my $promoted = $ha->promoted_at($next);
	push @consumers, PmHaLoad::consumer($ha, node => $next);
	ok(PmHa::wait_for(60, sub { $ha->ask($next, "SELECT count(*) FROM seen WHERE at > to_timestamp($promoted)") > 20 }), "$mode, $name: the new leader handles events");
	sleep 3;
	my $new = $ha->ask($next, "SELECT count(*) FROM seen WHERE at > to_timestamp($promoted)");
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
	ok($given_way, "$mode, $name: there is one primary again");
	my @handled = map { [ @$_[ 1 .. 3 ] ] } $watcher->stop;
	push @noted, map { $_->stop } @consumers, @writers;
	my $made = $ha->wait_streaming;

	# What the old leader has handled after the promotion, until it gave way or was the only one again.
	my ($before) = grep { $_->[0] <= $promoted } reverse @handled;
	my ($last) = grep { $_->[0] < $ended } reverse @handled;
	my $old = $last && $last->[2] > $promoted ? $last->[1] - ($before ? $before->[1] : 0) : 0;
	my $silent = $last ? $promoted - $last->[2] : 0;
	PmTest::figure(sprintf('%s, %s: another node is promoted after %.1f s, and has handled %d events when the old leader continues; the old leader %s; %.1f s after it continues there is one primary, the %s%s',
		$mode, $name, $promoted - $began, $new, $old > 0 ? "has handled $old events since the promotion" : sprintf('has handled none since the promotion, its last one %.1f s before', $silent),
		$ended - $continued, $primary == $next ? 'new one' : 'old one', $made ? "; standbys that had to be made again: $made" : ''));
	return $old;
}

for my $synchronous (0, 1)
{
	$mode = $synchronous ? 'synchronous' : 'asynchronous';
	@noted = ();
	$ha = PmHa->new("stopped_$mode", synchronous => $synchronous);
	PmHaLoad::create($ha);
	my @frozen;
	my $old = 0;
	$old += two_primaries('Patroni stopped', sub { PmHa::signal('STOP', $ha->{nodes}[ $_[0] ]{patroni}) }, sub { PmHa::signal('CONT', $ha->{nodes}[ $_[0] ]{patroni}) });
	$old += two_primaries('machine stopped', sub { @frozen = ($ha->{nodes}[ $_[0] ]{patroni}, $ha->processes($_[0])); PmHa::signal('STOP', @frozen) }, sub { PmHa::signal('CONT', @frozen) });
	$old += two_primaries('cut off from etcd', sub { $ha->cut_off($_[0]) }, sub { $ha->reconnect($_[0]) });
	is($old, 0, 'an old leader that cannot commit handles nothing') if $synchronous;

	PmHaLoad::no_client_failed_ok(@noted);
	my %position = map { $_->[1] => $_->[2] } grep { $_->[0] eq 'told' } @noted;
	my %there = map { split /\|/ } split /\n/, $ha->safe_psql('postgres', q{SELECT data ->> 'id', position FROM orders});
	my ($refused, $accepted) = PmHaLoad::fenced(@noted);
	my ($highest) = sort { $b <=> $a } map { $_->[3] } grep { $_->[0] eq 'given' } @noted;
	PmTest::figure(sprintf('%s: %d of %d acknowledged events are in no history that survives; of %d events that consumers were given, %d came with a lower timeline than an earlier one, and would be refused; the highest timeline was %d, that of the primary at the end is %s',
		$mode, scalar(grep { !exists $there{$_} } keys %position), scalar keys %position, $refused + $accepted, $refused, $highest, $ha->safe_psql('postgres', 'SELECT pm.timeline()')));
	PmHaLoad::named_once_ok("$mode: no position has been given to two events", @noted);
	my $consumer = PmHaLoad::consumer($ha);
	PmHaLoad::agrees_ok($ha);
	$consumer->stop;
	$ha->stop;
}
done_testing();
