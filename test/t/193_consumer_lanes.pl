# Four consumers and sixteen lanes: all lanes are served, the order of each key holds, and one that dies is replaced when its
# lease runs out. Consumers with effects inside and outside of the database are killed with SIGKILL at any point, and the
# server crashes and restarts: inside, each effect is there once; outside, none is missing, and each repetition has a
# higher attempt. A hundred sessions that wait write no WAL and take next to no CPU time.
use strict;
use warnings FATAL => 'all';

use PmTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = PmTest::node('lanes', conf => "max_connections = 130\nautovacuum = off\ncheckpoint_timeout = 1h\nwal_level = minimal\nmax_wal_senders = 0\nrestart_after_crash = on\n");
my $dir = PostgreSQL::Test::Utils::tempdir;
my @running;
my $named = 0;

$node->safe_psql('postgres', <<'SQL');
SELECT pm.create_log('outbox');
SELECT pm.register('wide', NULL, '{outbox}', lease => '2 s', lanes => 16, max_attempts => 1000);
CREATE TABLE effect (n serial, pos bigint, key text, lane int, consumer text, attempt int, at timestamptz DEFAULT clock_timestamp());
SQL

# A consumer, as psql: it fetches, writes a line for each event to a file, and then, in one transaction, writes rows and
# advances. Both sleeps are where it can be killed with an effect done and not advanced.
sub consumer
{
	my ($manager, $pause) = @_;
	my $name = 'c' . ++$named;
	my $round = <<SQL;
SELECT coalesce(array_agg("position" ORDER BY "position"), '{}') AS pos, coalesce(array_agg(key ORDER BY "position"), '{}') AS keys,
	coalesce(array_agg(attempt ORDER BY "position"), '{}') AS attempts, string_agg("position" || ' ' || attempt, E'\\n' ORDER BY "position") AS lines,
	coalesce(min(lane), -1) AS lane, count(*) > 0 AS some FROM pm.fetch('$manager', '$name', 10, '1 s') \\gset
\\if :some
SELECT pg_sleep($pause) \\g /dev/null
\\o | cat >> $dir/$manager.outside
\\qecho :lines
\\o
SELECT pg_sleep($pause) \\g /dev/null
BEGIN;
INSERT INTO effect (pos, key, lane, consumer, attempt)
SELECT p, k, :lane, '$name', a FROM unnest(:'pos'::bigint[], :'keys'::text[], :'attempts'::int[]) WITH ORDINALITY x(p, k, a, n) ORDER BY n;
SELECT FROM pm.advance('$manager', '$name', :lane);
COMMIT;
\\endif
SQL
	my $run = PmTest::start_psql($node, "\\set ON_ERROR_STOP off\n" . $round x 200);

	$run->{name} = $name;
	push @running, $run;
	return $run;
}

sub stop
{
	$_->{h}->kill_kill(grace => 0) foreach @_;
	my %stopped = map { $_->{name} => 1 } @_;
	@running = grep { !$stopped{ $_->{name} } } @running;
	return;
}

# ---- four consumers, sixteen lanes

$node->safe_psql('postgres', q{SELECT count(pm.append('outbox', 'k' || i % 100, 'T')) FROM generate_series(1, 400) i});
# A consumer that will die: it has fetched from a lane when the others come.
my $dying = PmTest::session($node);
my ($lane, $fetched, $until) = split /\|/, $dying->do(q{SELECT min(lane), count(*), extract(epoch FROM min(lease_until)) FROM pm.fetch('wide', 'dying', 5)});
$dying->{h}->kill_kill(grace => 0);
consumer('wide', 0) foreach 1 .. 4;
ok(PmTest::wait_until($node, q{SELECT sum(lag) FROM pm.status WHERE process_manager = 'wide'}, '0'), 'all is handled');
stop(@running);
is($node->safe_psql('postgres', 'SELECT count(*), count(DISTINCT pos), count(DISTINCT lane) FROM effect'), '400|400|16', 'each event once, in all sixteen lanes');
is($node->safe_psql('postgres', 'SELECT count(*) FROM (SELECT pos < lag(pos) OVER (PARTITION BY key ORDER BY n) AS bad FROM effect) x WHERE bad'), '0', 'in the order of each key');
is($node->safe_psql('postgres', 'SELECT count(*) FROM effect WHERE attempt = 2'), $fetched, 'what the dead one had fetched comes with its second attempt');
is($node->safe_psql('postgres', "SELECT count(*) FROM effect WHERE lane = $lane AND at < to_timestamp($until)"), '0', 'not before its lease has run out');
my $late = $node->safe_psql('postgres', "SELECT round(extract(epoch FROM min(at)) - $until, 3) FROM effect WHERE lane = $lane");
cmp_ok($late, '<', 10, 'and soon after that');
PmTest::figure("the lane of the dead consumer is served again $late s after its lease has run out");

# ---- kills, crashes and restarts, with effects inside and outside

$node->safe_psql('postgres', q{SELECT pm.unregister('wide'); SELECT pm.register('kill', NULL, '{outbox}', start_at => 'end', lease => '300 ms', lanes => 3, max_attempts => 100000); TRUNCATE effect});
my $first = $node->safe_psql('postgres', 'SELECT max("position") FROM outbox');
consumer('kill', 0.02) foreach 1 .. 3;
my ($kills, $restarts) = (0, 0);
while ($kills < 50)
{
	$node->safe_psql('postgres', q{SELECT count(pm.append('outbox', 'k' || i % 20, 'T')) FROM generate_series(1, 10) i});
	sleep(0.02 + rand(0.08));
	stop($running[ int(rand(@running)) ]);
	consumer('kill', 0.02);
	next unless ++$kills % 17 == 0;
	$restarts++;
	$restarts % 2 ? $node->stop('immediate') : $node->stop('fast');
	$node->start;
	stop(@running);
	consumer('kill', 0.02) foreach 1 .. 3;
}
ok(PmTest::wait_until($node, q{SELECT sum(lag) FROM pm.status WHERE process_manager = 'kill'}, '0'), "$kills kills, $restarts restarts of the server: all is advanced");
stop(@running);
is($node->safe_psql('postgres', "SELECT count(*) FROM outbox WHERE \"position\" > $first AND \"position\" NOT IN (SELECT pos FROM effect)"), '0', 'inside: no effect is missing');
is($node->safe_psql('postgres', 'SELECT count(*) - count(DISTINCT pos) FROM effect'), '0', 'none is there twice');
is($node->safe_psql('postgres', 'SELECT count(*) FROM (SELECT pos < lag(pos) OVER (PARTITION BY key ORDER BY n) AS bad FROM effect) x WHERE bad'), '0', 'none is out of the order of its key');
my (%attempts, $repeated, $wrong);
($repeated, $wrong) = (0, 0);
foreach my $line (split /\n/, slurp_file("$dir/kill.outside"))
{
	my ($pos, $attempt) = $line =~ /^(\d+) (\d+)$/ or next;

	$repeated++ if exists $attempts{$pos};
	$wrong++ if $attempt <= ($attempts{$pos} // 0);
	$attempts{$pos} = $attempt;
}
my @missing = grep { !exists $attempts{$_} } split /\n/, $node->safe_psql('postgres', "SELECT \"position\" FROM outbox WHERE \"position\" > $first");
is("@missing", '', 'outside: no effect is missing');
is($wrong, 0, 'each repetition has a higher attempt');
# The attempt with which it was handled in the end is that of its last effect outside.
my @different = grep { my ($pos, $attempt) = split /\|/; $attempts{$pos} != $attempt } split /\n/, $node->safe_psql('postgres', 'SELECT pos, attempt FROM effect');
is("@different", '', 'the last attempt is that of the advance');
is($node->safe_psql('postgres', 'SELECT count(*) FROM pm.parked'), '0', 'nothing is parked');
PmTest::figure(sprintf('%d events, %d kills, %d restarts, %d effects outside repeated, highest attempt %d', scalar keys %attempts, $kills, $restarts, $repeated, (sort { $b <=> $a } values %attempts)[0]));

# ---- a hundred that wait

my $script = "$dir/wait.sql";
# The first calls of a session load what later ones find in memory.
append_to_file($script, join('', map { "SELECT FROM pm.fetch('kill', 'w' || :client_id, wait => '$_ s');\n" } 1, 1, (60) x 10));
$node->safe_psql('postgres', q{SELECT pm.alter('kill', lease => '1 h')});
my $crowd = PmTest::start_program($node, 'pgbench', '-n', '-c', '100', '-j', '1', '-t', '1', '-f', $script, 'postgres');
my $waiting = q{SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pm.fetch%' AND state = 'active' AND pid <> pg_backend_pid()};
ok(PmTest::wait_until($node, "$waiting AND query LIKE '%60 s%'", 100), 'a hundred sessions wait');

# The time that each process of the server has been on a CPU, in seconds.
sub cpu
{
	my ($postmaster) = @_;
	my %time;

	foreach my $pid ($postmaster, split ' ', slurp_file("/proc/$postmaster/task/$postmaster/children"))
	{
		open my $f, '<', "/proc/$pid/schedstat" or next;
		$time{$pid} = (split ' ', <$f>)[0] / 1e9;
		close $f;
	}
	return \%time;
}
# The server's own snapshot of running transactions, 15 s after the last activity, may come at any time.
$node->safe_psql('postgres', 'CHECKPOINT');
my $postmaster = (split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[0];
my $seconds = $ENV{PM_SOAK} ? 60 : 6;
my $lsn = $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
my $countable = -r "/proc/$postmaster/schedstat" && -r "/proc/$postmaster/task/$postmaster/children";
my $before = $countable ? cpu($postmaster) : {};
my $began = time;
sleep($seconds);
my $now = $countable ? cpu($postmaster) : {};
my $used = 0;
$used += ($now->{$_} - ($before->{$_} // 0)) / (time - $began) * 60 foreach keys %$now;
my $after = $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
my ($dump) = run_command([ $node->installed_command('pg_waldump'), '-q', '-p', $node->data_dir . '/pg_wal', '-s', $lsn, '-e', $after ]);
my @records = grep { /^rmgr:/ && !/RUNNING_XACTS/ } split /\n/, $lsn eq $after ? '' : $dump;
is("@records", '', 'they write nothing');
SKIP:
{
	skip 'no /proc', 1 unless $countable;
	PmTest::figure(sprintf('a hundred sessions that wait: %.3f s of CPU time a minute in the server, %d bytes of WAL in %d s', $used, $node->safe_psql('postgres', "SELECT '$after'::pg_lsn - '$lsn'"), $seconds));
	# 0.1 s is promised; a slow or busy machine takes longer for the same.
	cmp_ok($used, '<', $ENV{PM_SOAK} ? 0.2 : 1, 'and take next to no CPU time');
}
$crowd->{h}->kill_kill(grace => 0);

# ---- a prepared transaction: it wakes the sessions that wait, so that they look for
# its end

$node->safe_psql('postgres', q{SELECT pm.create_log('calls'); SELECT pm.register('caller', NULL, '{calls}')});
my $waiter = PmTest::session($node);
$waiter->send(q{SELECT "position" FROM pm.fetch('caller', 'c', wait => '60 s')});
ok(PmTest::wait_until($node, 'SELECT wait_event_type FROM pg_stat_activity WHERE pid = ' . $waiter->pid, 'Extension'), 'a session waits');
$node->safe_psql('postgres', q{BEGIN; SELECT pm.append('calls', 's', 'T'); PREPARE TRANSACTION 'p'});
$began = time;
$node->safe_psql('postgres', q{COMMIT PREPARED 'p'});
is($waiter->wait, '1', 'it fetches what a prepared transaction has appended');
cmp_ok(time - $began, '<', 20, 'soon after it has committed');

PmTest::no_crash_ok($node);
done_testing();
