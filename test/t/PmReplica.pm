# Common functions of the tests of replica logs: several publishers, whose logs a subscriber brings into its database.
package PmReplica;

use strict;
use warnings FATAL => 'all';

use PmTest;
use Test::More;

# A script of pgbench that writes a log: several rows in a transaction, savepoints, some rolled back. pgbench replaces :client_id.
sub writer_script
{
	my ($log) = @_;

	return <<"SQL";
\\set n random(1, 4)
\\set undo random(1, 10)
\\set nap random(0, 3)
BEGIN;
SELECT pm.append('$log', 's' || :client_id, 'A');
SAVEPOINT x;
INSERT INTO $log (stream, type) SELECT 'other' || :client_id, 'B' FROM generate_series(1, :n);
\\if :undo = 1
ROLLBACK TO x;
\\endif
\\sleep :nap ms
\\if :undo = 2
ROLLBACK;
\\else
COMMIT;
\\endif
SQL
}

# Creates, on the subscriber, replica logs of these names, and the process manager "keep", whose handler records for each
# event its log, both of its positions, and its stream.
sub follow
{
	my ($node, @logs) = @_;
	my $list = join ', ', map { "'$_'" } @logs;

	$node->safe_psql('postgres', <<"SQL");
CREATE TABLE got (log text, pos bigint, origin bigint, stream text, version bigint, seq bigserial);
CREATE FUNCTION keep(e pm.event) RETURNS void LANGUAGE plpgsql AS \$\$
DECLARE o bigint;
BEGIN
	EXECUTE format('SELECT origin_position FROM %s WHERE position = \$1', e.log) INTO STRICT o USING e.position;
	INSERT INTO got VALUES (e.log, e.position, o, e.stream, e.version);
END \$\$;
SELECT pm.create_replica_log(l) FROM unnest(ARRAY[$list]) l;
SELECT pm.register('keep', 'keep', ARRAY[$list]);
SQL
	return;
}

# The SQL of a subscription to a database of another node.
sub subscription
{
	my ($name, $publisher, $database, %opt) = @_;
	my $connection = $publisher->connstr($database) =~ s/'/''/gr;

	return "CREATE SUBSCRIPTION $name CONNECTION '$connection' PUBLICATION events" . ($opt{with} ? " WITH ($opt{with})" : '');
}

# Waits until the subscriber has all events of the log, and has handled them.
sub wait_all
{
	my ($subscriber, $publisher, $database, $log, %opt) = @_;
	my $count = $publisher->safe_psql($database, "SELECT count(*) FROM $log");

	return PmTest::wait_until($subscriber,
		"SELECT count(*) FROM got WHERE log = '$log'", $count, timeout => $opt{timeout});
}

# Tests that each event of the publisher was handled once at the subscriber, with its stream, and in order within the stream.
# Options: invented: how many handled events the publisher does not have; order: how many were handled after a later one.
sub once_ok
{
	my ($subscriber, $publisher, $database, $log, $name, %opt) = @_;
	my %there = map { /^(\d+)\|(.*)$/s; ($1 => $2) } split /\n/, $publisher->safe_psql($database, "SELECT position, stream FROM $log");
	my ($twice, $invented, $order, $n) = (0, 0, 0, scalar keys %there);
	my (%seen, %last);

	foreach my $line (split /\n/, $subscriber->safe_psql('postgres', "SELECT origin, stream FROM got WHERE log = '$log' ORDER BY seq"))
	{
		my ($origin, $stream) = split /\|/, $line, 2;

		$twice++ if $seen{$origin}++;
		$invented++ if !defined $there{$origin} || $there{$origin} ne $stream;
		$order++ if ($last{$stream} // 0) >= $origin;
		$last{$stream} = $origin;
	}
	my $missing = grep { !$seen{$_} } keys %there;
	my $result = "missing $missing, twice $twice, out of order $order, invented $invented";

	PmTest::figure("$log: $n events, $result");
	is($result, sprintf('missing 0, twice 0, out of order %d, invented %d', $opt{order} // 0, $opt{invented} // 0), $name);
	return;
}

1;
