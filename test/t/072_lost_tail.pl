# Asynchronous failovers that lose acknowledged commits, over four servers one after the other: in all that the clients were
# told, no position identifies two events. The second server is lost before another one has received anything from it, so
# the third server has the same timeline.
use strict;
use warnings FATAL => 'all';

use IPC::Run;
use PmTest;
use Test::More;
use Time::HiRes qw(sleep time);

my $rounds = $ENV{PM_SOAK} ? 5 : 1;
my $writers = $ENV{PM_SOAK} ? 8 : 4;
my (%named, %lost, $twice, $acknowledged);

# Clients that append until their server is gone. They stand for other systems, which remember what they were told.
sub begin_writers
{
	my ($node, $life) = @_;
	my @running;

	for my $w (1 .. $writers)
	{
		my $file = "$PostgreSQL::Test::Utils::tmp_check/writer_$w.sql";
		my $out = "$PostgreSQL::Test::Utils::tmp_check/writer_$w.out";
		PostgreSQL::Test::Utils::append_to_file($file, '') unless -e $file;
		open(my $f, '>', $file) or die $!;
		my $id = "SELECT '$life-$w-' || gen_random_uuid() AS id OFFSET 0";
		print $f $w % 2 ? "INSERT INTO orders (stream, type, data) SELECT 's$w', 'T', jsonb_build_object('id', id) FROM ($id) x RETURNING position, data->>'id';\n"
			: "SELECT pm.append('orders', 's$w', 'T', jsonb_build_object('id', id)), id FROM ($id) x;\n" for 1 .. 2000;
		# The file includes itself, so it ends when the server is gone.
		print $f "\\i $file\n";
		close($f);
		push @running, { out => $out, run => IPC::Run::start(
				[ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-f', $file, $node->connstr('postgres') ], '<', '/dev/null', '>', $out, '2>', \my $err) };
	}
	return \@running;
}

sub count_told
{
	my ($running) = @_;
	return 0 + grep { /\|/ } map { split /\n/, PostgreSQL::Test::Utils::slurp_file($_->{out}) } grep { -e $_->{out} } @$running;
}

sub end_writers
{
	my ($running) = @_;

	for my $writer (@$running)
	{
		$writer->{run}->finish;
		for my $line (split /\n/, PostgreSQL::Test::Utils::slurp_file($writer->{out}))
		{
			my ($position, $id) = $line =~ /^(\d+)\|([\w-]+)$/ or next;
			$acknowledged++;
			$twice .= " $position: $named{$position}, $id" if exists $named{$position} && $named{$position} ne $id;
			$named{$position} = $id;
		}
	}
}

sub wait_told
{
	my ($running, $count) = @_;
	my $until = time + $PostgreSQL::Test::Utils::timeout_default;
	sleep 0.05 while time < $until && count_told($running) < $count;
	cmp_ok(count_told($running), '>=', $count, 'clients were told positions');
}

# Stops replication to a standby.
sub cut_off
{
	my ($node) = @_;
	$node->safe_psql('postgres', "ALTER SYSTEM SET primary_conninfo = ''");
	$node->safe_psql('postgres', 'SELECT pg_reload_conf()');
	ok(PmTest::wait_until($node, 'SELECT count(*) FROM pg_stat_wal_receiver', 0), $node->name . ' is cut off');
}

sub follow
{
	my ($node, $primary) = @_;
	$node->safe_psql('postgres', sprintf(q{ALTER SYSTEM SET primary_conninfo = 'host=%s port=%d application_name=%s'}, $primary->host, $primary->port, $node->name));
	$node->safe_psql('postgres', 'SELECT pg_reload_conf()');
	ok(PmTest::wait_until($primary, sprintf(q{SELECT count(*) FROM pg_stat_replication WHERE application_name = '%s' AND state = 'streaming'}, $node->name), 1),
		$node->name . ' follows ' . $primary->name);
}

# Compares the events of a server with what clients were told. An event that they were told of and it does not have is lost.
sub compare
{
	my ($node) = @_;
	my %here = map { split /\|/ } split /\n/, $node->safe_psql('postgres', q{SELECT position, data->>'id' FROM orders WHERE data ? 'id'});
	my @wrong = grep { exists $named{$_} && $named{$_} ne $here{$_} } keys %here;
	is(scalar(@wrong), 0, $node->name . ': no event has a position that was told for another one') or diag("@wrong[0 .. ($#wrong < 5 ? $#wrong : 5)]");
	return 0 + grep { !exists $here{$_} } keys %named;
}

my $lost = 0;
for my $round (1 .. $rounds)
{
	%named = ();
	my $first = PmTest::node("first$round", init => [ allows_streaming => 1 ], conf => "max_connections = 40\nwal_retrieve_retry_interval = 100ms\n");
	PmTest::create_seen($first);
	PmTest::create_handler($first, 'keep');
	$first->safe_psql('postgres', "SELECT pm.create_log('orders'); SELECT pm.register('keep', 'keep', '{orders}', start_at => 'beginning')");
	$first->backup('backup');
	my @nodes;
	for my $name (map { "$_$round" } qw(second third fourth))
	{
		my $node = PostgreSQL::Test::Cluster->new($name);
		$node->init_from_backup($first, 'backup', has_streaming => 1);
		$node->start;
		push @nodes, $node;
	}
	my ($second, $third, $fourth) = @nodes;

	# A standby that is to follow another one later must not be ahead of it.
	my $running = begin_writers($first, 'a');
	wait_told($running, 100);
	cut_off($_) for $fourth, $third, $second;
	wait_told($running, count_told($running) + 300);
	$first->stop('immediate');
	end_writers($running);

	$second->promote;
	$running = begin_writers($second, 'b');
	wait_told($running, 300);
	$second->stop('immediate');
	end_writers($running);

	$third->promote;
	is($third->safe_psql('postgres', 'SELECT pm.timeline()'), 2, 'the third server has the timeline of the second one');
	follow($fourth, $third);
	$running = begin_writers($third, 'c');
	wait_told($running, 200);
	$lost = compare($third);
	cmp_ok($lost, '>=', 600, "acknowledged commits were lost ($lost)");
	cut_off($fourth);
	wait_told($running, count_told($running) + 300);
	$third->stop('immediate');
	end_writers($running);

	$fourth->promote;
	is($fourth->safe_psql('postgres', 'SELECT pm.timeline()'), 3, 'the fourth server has the next timeline');
	$running = begin_writers($fourth, 'd');
	wait_told($running, 300);
	# Ends the clients.
	$fourth->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()");
	end_writers($running);
	$lost = compare($fourth);
	is($twice // '', '', 'no position was told for two events');
	is($fourth->safe_psql('postgres', 'SELECT string_agg(timeline::text, $$,$$ ORDER BY timeline), count(*) = count(DISTINCT timeline) FROM pm.promotion'), '2,3|t', 'each promotion skipped once');
	is($fourth->safe_psql('postgres', q{SELECT count(*) FROM pm.promotion p JOIN orders o ON o.position BETWEEN p.skipped_from AND p.skipped_to}), 0, 'no event has a skipped position');
	ok(PmTest::wait_idle($fourth), 'everything is handled');
	PmTest::exactly_once_ok($fourth, 'keep', 'orders', 'what has survived was handled once, in order');
	is($fourth->safe_psql('postgres', 'SELECT sum(errors), sum(lag_events) FROM pm.status'), '0|0', 'no error, no lag');
	PmTest::no_crash_ok($fourth);
	PmTest::figure("$acknowledged acknowledged events in four lives of a log with $writers writers, $lost of them lost: no position told twice");
	$fourth->stop('fast');
}
done_testing();
