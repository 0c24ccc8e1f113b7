# What the TAP tests share. PostgreSQL::Test::Cluster does the work; TEMP_CONFIG, which
# the harness sets, tells every node where pm is.
#
#   use PmTest;
#   my $node = PmTest::node('main');                    # running, pm preloaded and created
#   my $node = PmTest::node('bare', preload => 0);      # library not preloaded
#   my $node = PmTest::node('x', conf => "work_mem = '1MB'\n", extension => 0, start => 0,
#                           init => [ allows_streaming => 'logical' ]);
package PmTest;

use strict;
use warnings FATAL => 'all';

use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

# A timeout ends a test with SIGTERM: die, so that its nodes are stopped.
$SIG{TERM} = sub { die "terminated\n" };

# A new node. See above.
sub node
{
	my ($name, %opt) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init(@{ $opt{init} || [] });
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pm'\n")
	  if $opt{preload} // 1;
	# The nodes of Test::Cluster log every statement, which is slow under load.
	$node->append_conf('postgresql.conf', "log_statement = none\n");
	$node->append_conf('postgresql.conf', $opt{conf}) if defined $opt{conf};
	if ($opt{start} // 1)
	{
		$node->start;
		$node->safe_psql('postgres', 'CREATE EXTENSION pm') if $opt{extension} // 1;
	}
	return $node;
}

# Asks until the query answers with the expected text. True if it did in time; if
# not, says what the last answer was.
sub wait_until
{
	my ($node, $sql, $expected, %opt) = @_;
	my $deadline = time + ($opt{timeout} // $PostgreSQL::Test::Utils::timeout_default);
	my ($rc, $stdout, $stderr);

	$expected = 't' unless defined $expected;
	while (1)
	{
		($rc, $stdout, $stderr) = $node->psql($opt{dbname} // 'postgres', $sql);
		return 1 if $rc == 0 && $stdout eq $expected;
		last if time > $deadline;
		sleep($opt{every} // 0.05);
	}
	diag("waited for: $sql\nexpected: $expected\nlast answer: $stdout\n$stderr");
	return 0;
}

# Starts a psql that runs a script, beside the test; finish it with finish_psql.
sub start_psql
{
	my ($node, $sql, %opt) = @_;
	my $run = { in => $sql, out => '', err => '' };
	my @cmd = (
		$node->installed_command('psql'), '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d',
		$node->connstr($opt{dbname} // 'postgres'), '-f', '-');

	push @cmd, '-U', $opt{user} if defined $opt{user};
	$run->{h} = IPC::Run::start(\@cmd, '<', \$run->{in}, '>', \$run->{out}, '2>', \$run->{err});
	return $run;
}

# Waits for it: (exit status, output, error output).
sub finish_psql
{
	my ($run) = @_;
	$run->{h}->finish;
	chomp($run->{out}, $run->{err});
	return ($run->{h}->result(0), $run->{out}, $run->{err});
}

# The path of a file of real events, or undef where there is none.
sub data_file
{
	my ($name) = @_;
	return undef unless defined $ENV{PM_TEST_DATA};
	my $path = "$ENV{PM_TEST_DATA}/$name";
	return -r $path ? $path : undef;
}

# The server's log shows no crash and no failed assertion.
sub no_crash_ok
{
	my ($node, $name) = @_;
	my $log = slurp_file($node->logfile);
	my @bad = grep { /TRAP: |PANIC: |was terminated by signal (?:6|7|8|11)\b/ } split /\n/, $log;

	is(join("\n", @bad), '', $name // 'no crash in the log');
	return;
}

1;
