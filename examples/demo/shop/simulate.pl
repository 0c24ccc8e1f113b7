#!/usr/bin/perl
# The order simulator: prints the SQL script of one client session, for psql to run.
#
#   simulate.pl customer 0 6     session 0 of 6 that place orders     (log orders)
#   simulate.pl payer 2 3        session 2 of 3 that pay for them     (log payments)
#
# SEED, ORDERS and SPAN (seconds over which the orders are spread) come from the environment.
#
# Which orders are paid, and when, is a hash of (seed, order). The shape of every transaction is a hash
# of (seed, session, transaction). How the sessions interleave (which one commits first, whether a
# payment precedes its order) is left to chance. The expected end of an order is not computed here:
# check.sql derives it from the logs.
#
# The transactions are of the kinds that make a naive reader lose events: positions drawn long before
# the commit, an xid taken long before the position, rollbacks, savepoints rolled back between two
# inserts, prepared transactions committed later, COPY.

use strict;
use warnings;
use Digest::MD5 qw(md5);

my $SEED   = $ENV{SEED}   // 1;
my $ORDERS = $ENV{ORDERS} // 2000;
my $SPAN   = $ENV{SPAN}   // 10;

# ---- repeatable random numbers ----

# A number in [0, 1) that depends only on the seed and the arguments.
sub chance { return unpack('N', md5(join '/', $SEED, @_)) / 2**32 }
sub between { my ($low, $high, @what) = @_; return $low + ($high - $low) * chance(@what) }

# ---- the orders ----

# Four in five are paid in time, one in ten too late, the others never. One order has its quantity in a
# form that the process manager does not expect.
sub order
{
	my ($i) = @_;
	my $at       = $SPAN * $i / $ORDERS;
	my $poisoned = $i == 1 + int($ORDERS / 5);
	my $pays     = $poisoned ? 0 : chance('pays', $i);
	my $quantity = 1 + int(5 * chance('quantity', $i));
	return {
		id       => sprintf('order-%05d',   $i),
		payment  => sprintf('payment-%05d', $i),
		amount   => sprintf('%.2f', between(5, 500, 'amount', $i)),
		quantity => $poisoned ? qq("$quantity pcs") : $quantity,
		lost     => !$poisoned && chance('lost', $i) < 0.05,    # rolled back and not repeated
		discount => chance('discount', $i) < 0.10,
		declined => chance('declined', $i) < 0.10,              # the first payment fails
		paid     => $pays < 0.90,
		place_at => $at,
		# Sometimes before the order is placed.
		pay_at   => $at + ($poisoned ? 1 : $pays < 0.80 ? between(-0.3, 1.5, 'pay', $i) : between(4.5, 6, 'pay', $i)),
	};
}

# What one session has to write, in the order of time. An item is the first one or two events of a stream.
sub items
{
	my ($role, $session, $sessions) = @_;
	my @items;
	for my $i (grep { $_ % $sessions == $session } 1 .. $ORDERS)
	{
		my $o = order($i);
		if ($role eq 'customer')
		{
			my @placed = [ 'order placed', qq({"quantity": $o->{quantity}, "amount": $o->{amount}, "pay_within": "2 s"}) ];
			push @placed, [ 'discount granted', '{"percent": 5}' ] if $o->{discount};
			push @items, { at => $o->{place_at}, stream => $o->{id}, lost => $o->{lost}, events => \@placed };
		}
		elsif ($o->{paid} && !$o->{lost})
		{
			my $data = qq({"order": "$o->{id}", "amount": $o->{amount}, "valid_for": "3 s"});
			my @paid = [ 'payment received', $data ];
			unshift @paid, [ 'payment declined', $data ] if $o->{declined};
			push @items, { at => $o->{pay_at}, stream => $o->{payment}, events => \@paid };
		}
	}
	return sort { $a->{at} <=> $b->{at} or $a->{stream} cmp $b->{stream} } @items;
}

# ---- ways to write: each returns the SQL that writes the items ----

# Stream, version, type and data of each event. An item starts its stream, so versions begin at 1.
sub rows
{
	return map {
		my ($item, $version) = ($_, 0);
		map { [ $item->{stream}, ++$version, @$_ ] } @{ $item->{events} }
	} @_;
}

sub insert
{
	my ($log, @items) = @_;
	return "INSERT INTO $log (stream, version, type, data) VALUES\n  "
	  . join(",\n  ", map { "('$_->[0]', $_->[1], '$_->[2]', '$_->[3]')" } rows(@items)) . ";\n";
}

sub copy
{
	my ($log, @items) = @_;
	return "COPY $log (stream, version, type, data) FROM stdin;\n"
	  . join('', map { join("\t", @$_) . "\n" } rows(@items)) . "\\.\n";
}

sub append
{
	my ($log, $item) = @_;
	my $version = 0;
	return join '', map {
		"SELECT pm.append('$log', '$item->{stream}', '$_->[0]', '$_->[1]', expected_version => " . $version++ . ");\n"
	} @{ $item->{events} };
}

sub append_all
{
	my ($log, $item) = @_;
	my $events = join ', ', map { qq({"type": "$_->[0]", "data": $_->[1]}) } @{ $item->{events} };
	return "SELECT pm.append_all('$log', '$item->{stream}', '[$events]', expected_version => 0);\n";
}

# The same again, as after a double click: refused, because the stream already exists.
sub append_again
{
	my ($log, $item) = @_;
	return "DO \$\$ BEGIN PERFORM pm.append('$log', '$item->{stream}', '$item->{events}[0][0]', expected_version => 0);\n"
	  . "  RAISE EXCEPTION 'a second $item->{stream} was accepted';\n"
	  . "EXCEPTION WHEN SQLSTATE 'PM001' THEN NULL; END \$\$;\n";
}

my @kinds = (    # share, maximum of items in one transaction, how it writes
	[ 0.25, 1,  \&insert ],
	[ 0.45, 5,  \&insert ],
	[ 0.70, 1,  \&append ],
	[ 0.85, 1,  \&append_all ],
	[ 1.00, 10, \&copy ],
);

# ---- transactions ----

sub pause { return sprintf "SELECT pg_sleep(%.3f);\n", between(@_) }

# One transaction that writes the given items. Items that are to be lost are written, too, and rolled back:
# in a savepoint if other items of the transaction are kept.
sub transaction
{
	my ($log, $write, $name, @items) = @_;
	my @kept = grep { !$_->{lost} } @items;
	my @lost = grep { $_->{lost} } @items;

	my $begin = "BEGIN;\n";
	$begin .= "SELECT pg_current_xact_id();\n" . pause(0, 0.05, 'early xid', $name)
	  if chance('early', $name) < 0.3;

	return $begin . insert($log, @lost) . pause(0, 0.1, 'lost', $name) . "ROLLBACK;\n" if !@kept;

	my $body = '';
	$body .= "SAVEPOINT s;\n" . insert($log, @lost) . "ROLLBACK TO s;\n" if @lost;
	$body .= $write->($log, @kept);
	$body .= append_again($log, $kept[0])
	  if $write == \&append && chance('again', $name) < 0.2;
	$body .= pause(0, 0.15, 'late commit', $name) if chance('late', $name) < 0.7;

	my $gid = "$log $name";
	my $commit =
	  chance('prepared', $name) < 0.05
	  ? "PREPARE TRANSACTION '$gid';\n" . pause(0, 0.3, 'prepared', $name) . "COMMIT PREPARED '$gid';\n"
	  : "COMMIT;\n";

	# One in ten is first rolled back and then repeated.
	my $again = chance('rollback', $name) < 0.1 ? "$begin${body}ROLLBACK;\n" : '';
	return "$again$begin$body$commit";
}

sub session
{
	my ($role, $session, $sessions) = @_;
	my $log   = $role eq 'customer' ? 'orders' : 'payments';
	my @items = items($role, $session, $sessions);

	print "\\set ON_ERROR_STOP on\n\\o /dev/null\n";
	for (my $n = 0; @items; $n++)
	{
		my $name = "$role-$session-$n";
		my $pick = chance('kind', $name);
		my ($kind) = grep { $pick < $_->[0] } @kinds;
		my (undef, $most, $write) = @$kind;
		my $size = 1 + int($most * chance('size', $name));
		my @group = shift @items;
		push @group, shift @items while @group < $size && @items && $items[0]{at} - $group[0]{at} < 0.3;

		printf "SELECT pg_sleep_until(:'started'::timestamptz + '%.3f s');\n", $group[0]{at}
		  if $group[0]{at} > 0;
		print transaction($log, $write, $name, @group);
	}
}

# ---- main ----

my $what = shift // '';
if ($what =~ /^(customer|payer)$/ && @ARGV == 2)
{
	session($what, @ARGV);
}
else
{
	die "usage: simulate.pl customer SESSION SESSIONS | payer SESSION SESSIONS\n";
}
