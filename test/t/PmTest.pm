# Common functions of the TAP tests, based on PostgreSQL::Test::Cluster. TEMP_CONFIG, which the
# harness sets, tells every node where to find pm.
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
use Time::Local ();

# A test that times out gets SIGTERM: it must die, so that its nodes are stopped.
$SIG{TERM} = sub { die "terminated\n" };
# A client that has exited is noticed because it does not answer.
$SIG{PIPE} = 'IGNORE';

my $scripts = 0;

# Creates a new node. See above.
sub node
{
	my ($name, %opt) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init(@{ $opt{init} || [] });
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pm'\n")
	  if $opt{preload} // 1;
	# Test::Cluster makes nodes log every statement, which is slow under load.
	$node->append_conf('postgresql.conf', "log_statement = none\nlog_timezone = 'UTC'\n");
	$node->append_conf('postgresql.conf', $opt{conf}) if defined $opt{conf};
	if ($opt{start} // 1)
	{
		$node->start;
		$node->safe_psql('postgres', 'CREATE EXTENSION pm') if $opt{extension} // 1;
	}
	return $node;
}

# Repeats a query until it returns the expected text, less and less often. Returns true if it did so in time; otherwise
# prints the last answer. If the first answer is another one, the query is repeated in an open session, because starting a
# psql for each of them takes much longer than the query, and slows down other tests.
sub wait_until
{
	my ($node, $sql, $expected, %opt) = @_;
	my $deadline = time + ($opt{timeout} // $PostgreSQL::Test::Utils::timeout_default);
	my $nap = $opt{every} // 0.02;
	my $session;
	my ($rc, $stdout, $stderr);

	$expected = 't' unless defined $expected;
	for (my $first = 1;; $first = 0)
	{
		# If psql finds no server, it exits before it has read the query, and then IPC::Run dies.
		eval {
			if ($first)
			{
				($rc, $stdout, $stderr) = $node->psql($opt{dbname} // 'postgres', $sql);
			}
			else
			{
				$session //= session($node, dbname => $opt{dbname});
				$stdout = $session->do($sql, may_fail => 1);
				$stderr = $session->error;
				$rc = $session->ended || $stderr =~ /(?:ERROR|FATAL|PANIC):  / ? 1 : 0;
				undef $session if $session->ended;
			}
			1;
		} or do { ($rc, $stdout, $stderr) = (2, '', $@); undef $session; };
		if ($rc == 0 && $stdout eq $expected)
		{
			$session->quit if $session;
			return 1;
		}
		last if time > $deadline;
		sleep $nap;
		$nap *= 1.2 if !$opt{every} && $nap < 0.15;
	}
	$session->quit if $session;
	diag("waited for: $sql\nexpected: $expected\nlast answer: $stdout\n$stderr");
	return 0;
}

# Waits until the server's log contains something. Returns true if it did so in time.
sub wait_in_log
{
	my ($node, $pattern, %opt) = @_;
	my $deadline = time + ($opt{timeout} // $PostgreSQL::Test::Utils::timeout_default);

	while (slurp_file($node->logfile) !~ $pattern)
	{
		if (time > $deadline)
		{
			diag("waited for $pattern in the server's log");
			return 0;
		}
		sleep 0.05;
	}
	return 1;
}

# Starts a psql that runs a script, concurrently with the test; finish it with finish_psql.
# The script may end early with \q.
sub start_psql
{
	my ($node, $sql, %opt) = @_;
	my $run = { in => '', out => '', err => '' };
	my $file = $node->basedir . '/script-' . ++$scripts . '.sql';
	my @cmd = (
		$node->installed_command('psql'), '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d',
		$node->connstr($opt{dbname} // 'postgres'), '-f', $file);

	append_to_file($file, $sql);
	push @cmd, '-U', $opt{user} if defined $opt{user};
	$run->{h} = IPC::Run::start(\@cmd, '<', \$run->{in}, '>', \$run->{out}, '2>', \$run->{err});
	return $run;
}

# Waits for its end. Returns (exit status, output, error output).
sub finish_psql
{
	my ($run) = @_;
	$run->{h}->finish;
	chomp($run->{out}, $run->{err});
	return ($run->{h}->result(0), $run->{out}, $run->{err});
}

# A psql session concurrent with the test, for transactions that stay open:
#
#   my $s = PmTest::session($node, user => 'alice', dbname => 'postgres');
#   my $answer = $s->do('SELECT 1');     # waits; dies on an error unless may_fail => 1
#   $s->send('SELECT pg_sleep(1)');      # does not wait; $s->wait does
#   $s->quit;
sub session
{
	my ($node, %opt) = @_;
	return PmTest::Session->new($node, %opt);
}

# Starts any client program of the server concurrently with the test (for example pgbench).
sub start_program
{
	my ($node, @cmd) = @_;
	my $run = { in => '', out => '', err => '' };

	local %ENV = $node->_get_env();
	$cmd[0] = $node->installed_command($cmd[0]);
	$run->{h} = IPC::Run::start(\@cmd, '<', \$run->{in}, '>', \$run->{out}, '2>', \$run->{err});
	return $run;
}

# Waits until all process managers are idle and have handled everything. See wait_until.
sub wait_idle
{
	my ($node, %opt) = @_;
	return wait_until($node,
		q{SELECT coalesce(string_agg(format('%s/%s: %s, lag %s: %s', process_manager, log, state, lag, reason), '; '), 'all idle')
		  FROM pm.status WHERE state <> 'idle' OR lag > 0}, 'all idle', %opt);
}

# Handlers of tests record their events in public.seen, which has no unique key, so that an
# event that is handled twice is found.
sub create_seen
{
	my ($node, %opt) = @_;

	$node->safe_psql($opt{dbname} // 'postgres', <<'SQL');
CREATE TABLE public.seen (pm text NOT NULL, log text, pos bigint, stream text, key text, type text, seq bigserial,
	pid int DEFAULT pg_backend_pid(), xid xid8 DEFAULT pg_current_xact_id(), at timestamptz DEFAULT clock_timestamp());
GRANT INSERT, SELECT ON public.seen TO PUBLIC;
GRANT USAGE ON SEQUENCE public.seen_seq_seq TO PUBLIC;
SQL
	return;
}

# Creates a handler public.NAME(pm.event) that records its events, as those of process manager NAME. Options:
# before, after: PL/pgSQL statements, in which e is the event; declare; dbname; user: the role that creates it.
sub create_handler
{
	my ($node, $name, %opt) = @_;
	my ($declare, $before, $after) = map { $_ // '' } @opt{qw(declare before after)};

	$node->safe_psql($opt{dbname} // 'postgres', <<"SQL", extra_params => $opt{user} ? [ '-U', $opt{user} ] : []);
CREATE OR REPLACE FUNCTION public.$name(e pm.event) RETURNS void LANGUAGE plpgsql AS \$handler\$
DECLARE
	$declare
BEGIN
	$before
	INSERT INTO public.seen (pm, log, pos, stream, key) VALUES ('$name', e.log, e.position, e.stream, e.stream);
	$after
END
\$handler\$;
SQL
	return;
}

# Tests that the process manager has recorded every event of the log (whose table has the same name, unless option table names
# another one, with a column position), once and in order, and nothing else. Returns the counts, for a figure.
sub exactly_once_ok
{
	my ($node, $pm, $log, $name, %opt) = @_;
	my $where = $opt{where} // 'true';
	my $table = ($opt{table} // $log) . ' log';

	my $answer = $node->safe_psql($opt{dbname} // 'postgres', <<"SQL");
SELECT (SELECT count(*) FROM (SELECT position FROM $table WHERE $where EXCEPT SELECT pos FROM public.seen WHERE pm = '$pm' AND log = '$log') missing),
	   (SELECT count(*) - count(DISTINCT pos) FROM public.seen WHERE pm = '$pm' AND log = '$log') AS twice,
	   (SELECT count(*) FROM (SELECT pos < lag(pos) OVER (ORDER BY seq) AS bad FROM public.seen WHERE pm = '$pm' AND log = '$log') x
		WHERE bad) AS out_of_order,
	   (SELECT count(*) FROM (SELECT pos FROM public.seen WHERE pm = '$pm' AND log = '$log' EXCEPT SELECT position FROM $table WHERE $where) x) AS invented
SQL
	is($answer, '0|0|0|0', $name // "$pm: everything in $log once and in order");
	return sprintf('missing %d, twice %d, out of order %d, invented %d', split /\|/, $answer);
}

# Tests that the process manager has recorded what a query returns as (log, pos, key): nothing is missing,
# nothing is there twice, nothing is out of order within a key of a log, and there is nothing else.
# Timers are recorded with log NULL, and are ignored here.
sub once_in_key_order_ok
{
	my ($node, $pm, $expected, $name, %opt) = @_;
	my $answer = $node->safe_psql($opt{dbname} // 'postgres', <<"SQL");
CREATE TEMP TABLE expected AS $expected;
CREATE TEMP TABLE got AS SELECT log, pos, key, seq FROM public.seen WHERE pm = '$pm' AND log IS NOT NULL;
SELECT (SELECT count(*) FROM (SELECT log, pos, key FROM expected EXCEPT SELECT log, pos, key FROM got) x),
	   (SELECT count(*) FROM got) - (SELECT count(*) FROM (SELECT DISTINCT log, pos, key FROM got) x),
	   (SELECT count(*) FROM (SELECT pos <= lag(pos) OVER (PARTITION BY log, key ORDER BY seq) AS bad FROM got) x WHERE bad),
	   (SELECT count(*) FROM (SELECT log, pos, key FROM got EXCEPT SELECT log, pos, key FROM expected) x),
	   (SELECT count(*) FROM expected)
SQL
	my ($missing, $twice, $order, $invented, $n) = split /\|/, $answer;

	figure("$pm: $n expected, missing $missing, twice $twice, out of order $order, invented $invented");
	is("missing $missing, twice $twice, out of order $order, invented $invented",
		'missing 0, twice 0, out of order 0, invented 0', $name // "$pm: everything once and in order within each key");
	cmp_ok($n, '>', 0, "$pm has handled events");
	return "missing $missing, twice $twice, out of order $order, invented $invented";
}

# Waits until a process manager has recorded this number of events.
sub wait_seen
{
	my ($node, $pm, $count, %opt) = @_;

	return wait_until($node, "SELECT count(*) FROM public.seen WHERE pm = '$pm'", $count, %opt);
}

# Kills the postmaster, and starts the server again as soon as its processes have ended.
sub kill_postmaster
{
	my ($node, %opt) = @_;
	my $deadline = time + ($opt{timeout} // 60);
	my $pid = $node->{_pid};

	$node->kill9;
	sleep 0.01 while kill(0, $pid) && time < $deadline;
	until ($node->start(fail_ok => 1))
	{
		die "the server does not start again\n" if time > $deadline;
		$node->stop('fast', fail_ok => 1);
		sleep 0.1;
	}
	return;
}

# How often the server has restarted after a crash.
sub restarts_in_log
{
	my ($node) = @_;
	return scalar(() = slurp_file($node->logfile) =~ /all server processes terminated; reinitializing/g);
}

# Kills a process of a server with restart_after_crash on, and waits until the server has restarted
# and accepts connections. Returns true if it did so in time.
sub crash
{
	my ($node, $pid, %opt) = @_;
	my $deadline = time + ($opt{timeout} // 60);
	my $before = restarts_in_log($node);

	kill('KILL', $pid) == 1 or return 0;
	while (restarts_in_log($node) == $before)
	{
		return 0 if time > $deadline;
		sleep 0.02;
	}
	return wait_until($node, 'SELECT NOT pg_is_in_recovery()', 't', timeout => $opt{timeout} // 60);
}

# How many of the server's processes have been terminated by a signal so far.
sub signals_in_log
{
	my ($node, $signal) = @_;
	return scalar(() = slurp_file($node->logfile) =~ /was terminated by signal $signal\b/g);
}

# Builds a library from C source code of a test. Returns its path without the suffix, as
# CREATE FUNCTION ... AS and dynamic loading expect it.
sub build_library
{
	my ($name, $source) = @_;
	my $dir = PostgreSQL::Test::Utils::tempdir;

	append_to_file("$dir/$name.c", $source);
	append_to_file("$dir/Makefile", <<"MAKE");
MODULES = $name
PG_CONFIG ?= pg_config
PGXS := \$(shell \$(PG_CONFIG) --pgxs)
override with_llvm = no
PG_CFLAGS = -Wall -Werror
include \$(PGXS)
MAKE
	PostgreSQL::Test::Utils::system_or_bail('make', '-s', '-C', $dir, 'all');
	chmod 0755, $dir;
	return "$dir/$name";
}

# The beginning of such a library: crash() ends the server, without a core file, when SQL calls it, and crash_at_once() when C
# does.
sub crash_source
{
	return <<'C';
#include "postgres.h"
#include <sys/resource.h>
#include "fmgr.h"
PG_MODULE_MAGIC;
PG_FUNCTION_INFO_V1(crash);
static void
crash_at_once(void)
{
	struct rlimit none = {0, 0};

	setrlimit(RLIMIT_CORE, &none);
	abort();
}
Datum
crash(PG_FUNCTION_ARGS)
{
	crash_at_once();
	PG_RETURN_VOID();
}
C
}

# Reports a figure, which the summary of the run shows if the test passes.
sub figure
{
	my ($text) = @_;

	note("figure: $text");
	return;
}

# The CPU time of a process so far, in seconds; undef where there is no /proc.
sub cpu
{
	my ($pid) = @_;

	open my $f, '<', "/proc/$pid/stat" or return undef;
	my @fields = split ' ', (<$f> =~ s/^.*\) //r);
	close $f;
	return ($fields[11] + $fields[12]) / 100;
}

# How many seconds the code took.
sub seconds(&)
{
	my ($code) = @_;
	my $began = time;

	$code->();
	return time - $began;
}

# When the last event that meets the condition was handled, in seconds since 1970, by what is recorded in public.seen.
sub handled_at
{
	my ($node, $where, %opt) = @_;
	return $node->safe_psql($opt{dbname} // 'postgres', "SELECT extract(epoch FROM max(at)) FROM public.seen WHERE $where") || 'inf';
}

# Waits until these processes have ended. Returns how many seconds that took, or undef if they have not ended in time.
sub wait_ended
{
	my (@pids) = @_;
	my $began = time;

	while (grep { kill(0, $_) } @pids)
	{
		return undef if time - $began > $PostgreSQL::Test::Utils::timeout_default;
		sleep 0.01;
	}
	return time - $began;
}

# Runs statements with psql, as the option user. Returns (seconds, exit status, output, error output). The seconds are those
# that psql measured for the statements: its own start and the connection, which take long under load, are not among them.
sub timed_psql
{
	my ($node, $sql, %opt) = @_;
	my ($rc, $out, $err) = $node->psql($opt{dbname} // 'postgres', "\\timing on\n$sql",
		extra_params => defined $opt{user} ? [ '-U', $opt{user} ] : []);
	my $ms = 0;

	$out =~ s/^Time: ([\d.]+) ms.*\n?/$ms += $1; ''/gme;
	chomp $out;
	return ($ms / 1000, $rc, $out, $err);
}

# When the server wrote those lines of its log that match, in seconds since 1970, as extract(epoch FROM ...) returns them.
sub logged_at
{
	my ($node, $pattern) = @_;
	my @times;

	for my $line (grep { $_ =~ $pattern } split /\n/, slurp_file($node->logfile))
	{
		my ($y, $mon, $d, $h, $min, $s, $ms) = $line =~ /^(\d+)-(\d+)-(\d+) (\d+):(\d+):(\d+)(\.\d+) / or next;
		push @times, Time::Local::timegm($s, $min, $h, $d, $mon - 1, $y) + $ms;
	}
	return @times;
}

# The median of numbers.
sub median
{
	my @sorted = sort { $a <=> $b } @_;
	return $sorted[ $#sorted / 2 ];
}

# The path of a file of real events, or undef if it does not exist.
sub data_file
{
	my ($name) = @_;
	return undef unless defined $ENV{PM_TEST_DATA};
	my $path = "$ENV{PM_TEST_DATA}/$name";
	return -r $path ? $path : undef;
}

# Tests that the server's log shows no crash and no failed assertion.
sub no_crash_ok
{
	my ($node, $name) = @_;
	my $log = slurp_file($node->logfile);
	my @bad = grep { /TRAP: |PANIC: |was terminated by signal (?:6|7|8|11)\b/ } split /\n/, $log;

	is(join("\n", @bad), '', $name // 'no crash in the log');
	return;
}

package PmTest::Session;

use strict;
use warnings FATAL => 'all';

use Time::HiRes qw(sleep time);

sub new
{
	my ($class, $node, %opt) = @_;
	my $self = { in => '', out => '', err => '', n => 0 };
	my @cmd = (
		$node->installed_command('psql'), '-XAtq', '-d', $node->connstr($opt{dbname} // 'postgres'),
		'-f', '-');

	push @cmd, '-U', $opt{user} if defined $opt{user};
	$self->{h} = IPC::Run::start(\@cmd, '<', \$self->{in}, '>', \$self->{out}, '2>', \$self->{err});
	bless $self, $class;
	$self->{pid} = $self->do('SELECT pg_backend_pid()');
	return $self;
}

sub pid { return $_[0]{pid}; }

sub send
{
	my ($self, $sql) = @_;

	$sql =~ s/[;\s]*\z/;/ unless $sql =~ /^\s*\\/m;
	$self->{n}++;
	$self->{in} .= "$sql\n\\echo \n\\echo done-$self->{n}\n";
	$self->{h}->pump_nb;
	return;
}

# Whether the last command has been answered.
sub over
{
	my ($self) = @_;

	$self->{h}->pump_nb if $self->{h}->pumpable;
	return $self->{out} =~ /^done-$self->{n}$/m || !$self->{h}->pumpable;
}

# Whether psql has ended.
sub ended { return !$_[0]{h}->pumpable; }

sub wait
{
	my ($self, %opt) = @_;
	my $deadline = time + ($opt{timeout} // $PostgreSQL::Test::Utils::timeout_default);
	my $nap = 0.001;
	my ($out, $err);

	until ($self->over)
	{
		die "a session did not answer: $self->{out}\n$self->{err}" if time > $deadline;
		sleep $nap;
		$nap *= 1.1 if $nap < 0.02;
	}
	$self->{h}->pump_nb if $self->{h}->pumpable;
	($out, $err) = ($self->{out}, $self->{err});
	$self->{out} = $self->{err} = '';
	$self->{last_error} = $err;
	die "a session failed: $err" if $err =~ /(?:ERROR|FATAL|PANIC|could not|server closed)/ && !$opt{may_fail};
	$out =~ s/\n?^done-\d+\n?//mg;
	$out =~ s/\n\z//;
	return $out;
}

sub do
{
	my ($self, $sql, %opt) = @_;

	$self->send($sql);
	return $self->wait(%opt);
}

# The last output to standard error: errors, warnings, notices.
sub error { return $_[0]{last_error}; }

sub quit
{
	my ($self) = @_;

	$self->{in} .= "\\q\n";
	eval { $self->{h}->finish; };
	return;
}

1;
