# Three clusters publish a log each to a fourth cluster; eight clients write each log. Each cluster is killed twice, and a
# subscription is dropped and created again. Every event is handled once, and in order within its stream. Only with PM_SOAK;
# 240_replica is the short form.
use strict;
use warnings FATAL => 'all';

use PmReplica;
use PmTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

plan skip_all => 'a long test: set PM_SOAK' unless $ENV{PM_SOAK};

my $events = $ENV{PM_FAN_IN} // 300_000;
my $sub = PmTest::node('sub', conf => "max_connections = 40\nmax_worker_processes = 30\nwal_retrieve_retry_interval = 500ms\n");
my @logs = map { "log$_" } 1 .. 3;
my %pub;

foreach my $log (@logs)
{
	$pub{$log} = PmTest::node($log, init => [ allows_streaming => 'logical' ], conf => "max_connections = 40\nwal_sender_timeout = 20s\n");
	$pub{$log}->safe_psql('postgres', "SELECT pm.create_log('$log'); CREATE PUBLICATION events FOR TABLE $log WITH (publish = 'insert')");
	append_to_file($pub{$log}->basedir . '/write.bench', PmReplica::writer_script($log));
}
PmReplica::follow($sub, @logs);
$sub->safe_psql('postgres', PmReplica::subscription("${_}_sub", $pub{$_}, 'postgres')) foreach @logs;

sub write_log
{
	my ($log) = @_;

	# A transaction writes 3.5 events, less what is rolled back.
	return PmTest::start_program($pub{$log}, 'pgbench', '-n', '-c', 8, '-j', 1, '-t', int($events / 3 / 3 / 8 / 2.8), '-f', $pub{$log}->basedir . '/write.bench', 'postgres');
}
sub handled { return $sub->safe_psql('postgres', 'SELECT count(*) FROM got'); }

my $began = time;
for my $round (1 .. 3)
{
	my %run = map { $_ => write_log($_) } @logs;
	my $start = handled();
	my $lag = 0;

	if ($round < 3)
	{
		foreach my $log (@logs)
		{
			PmTest::wait_until($sub, 'SELECT count(*) > ' . ($start + 2000) . ' FROM got', 't', every => 0.2);
			$start = handled();
			PmTest::kill_postmaster($pub{$log});
			PmTest::finish_psql($run{$log});
			$run{$log} = write_log($log);
		}
		PmTest::kill_postmaster($sub);
		if ($round == 1)
		{
			$sub->safe_psql('postgres', 'DROP SUBSCRIPTION log2_sub');
			sleep 2;
			$sub->safe_psql('postgres', PmReplica::subscription('log2_sub', $pub{log2}, 'postgres'));
		}
	}
	PmTest::finish_psql($run{$_}) foreach @logs;
}
my $written = time - $began;
ok(PmReplica::wait_all($sub, $pub{$_}, 'postgres', $_, timeout => 600), "$_: all has arrived, and is handled") foreach @logs;
PmTest::figure(sprintf '%d events of three publishers in %.0f s; %.1f s after the last one was written, all were handled', handled(), time - $began, time - $began - $written);
PmReplica::once_ok($sub, $pub{$_}, 'postgres', $_, "$_: once each, in order within streams") foreach @logs;
PmTest::no_crash_ok($sub);
$_->stop('fast') foreach $sub, values %pub;
done_testing();
