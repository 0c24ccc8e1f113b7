# Idle process managers cost nothing: with fifty of them registered and nothing to do, no WAL is written,
# no snapshot and no transaction id is held, and almost no CPU time is used.
use strict;
use warnings FATAL => 'all';

use PmTest;
use Test::More;
use Time::HiRes qw(sleep time);

my $seconds = $ENV{PM_IDLE_SECONDS} || 10;
my $node = PmTest::node('idle', conf => <<'CONF');
max_connections = 30
pm.max_workers = 8
autovacuum = off
checkpoint_timeout = 1h
wal_level = minimal
max_wal_senders = 0
bgwriter_lru_maxpages = 0
CONF

$node->safe_psql('postgres', join(' ', map { "CREATE ROLE app_$_ LOGIN; GRANT USAGE ON SCHEMA pm TO app_$_; GRANT CREATE ON SCHEMA public TO app_$_;" } 1 .. 5));
PmTest::create_seen($node);
$node->safe_psql('postgres', "SELECT pm.create_log('log_' || i) FROM generate_series(1, 10) i");
$node->safe_psql('postgres', join(' ', map { "GRANT SELECT ON log_$_ TO PUBLIC;" } 1 .. 10));
for my $role (1 .. 5)
{
	PmTest::create_handler($node, "keep_$role", user => "app_$role");
	$node->safe_psql('postgres', "SELECT pm.register('pm_${role}_' || i, 'keep_$role', ARRAY['log_' || i, 'log_' || (i % 10 + 1)]) FROM generate_series(1, 10) i",
		extra_params => [ '-U', "app_$role" ]);
}
is($node->safe_psql('postgres', 'SELECT count(*) FROM pm.process_manager'), 50, 'fifty process managers are registered');
$node->safe_psql('postgres', "INSERT INTO log_$_ (stream, type) SELECT 'a', 'A' FROM generate_series(1, 5)") for 1 .. 10;
ok(PmTest::wait_idle($node), 'all are idle');
is($node->safe_psql('postgres', 'SELECT count(*) FROM seen'), 500, 'they have handled all events');

# Waits until the last flush of the statistics and the standby snapshot that follows activity
# (LogStandbySnapshot, every 15 s while there is something new) are over.
$node->safe_psql('postgres', 'CHECKPOINT');
my $settled = time + 120;
my $lsn = '';
while (time < $settled)
{
	# five seconds without WAL: the server itself is idle
	my $now = $node->safe_psql('postgres', 'SELECT pg_current_wal_lsn()');
	last if $now eq $lsn;
	$lsn = $now;
	sleep 5;
}

my @pids = split /\n/, $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type LIKE 'pm %' ORDER BY pid");
is(scalar @pids, 7, 'a launcher, a scheduler, five dispatchers');
my %before = map { $_ => PmTest::cpu($_) } @pids;
my $began = time;
my ($held, $looks) = (0, 0);
$lsn = $node->safe_psql('postgres', 'SELECT pg_current_wal_lsn()');
my $xid = $node->safe_psql('postgres', 'SELECT pg_snapshot_xmax(pg_current_snapshot())');
my $session = PmTest::session($node);
while (time - $began < $seconds)
{
	$held += $session->do("SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'pm %' AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL OR xact_start IS NOT NULL)");
	$looks++;
	sleep 0.1;
}
my $lasted = time - $began;
is($node->safe_psql('postgres', 'SELECT pg_current_wal_lsn()'), $lsn, sprintf('no WAL in %.0f s', $lasted));
is($node->safe_psql('postgres', 'SELECT pg_snapshot_xmax(pg_current_snapshot())'), $xid, 'no worker has a transaction id');
# A worker may be seen in the middle of a poll, but must not hold anything for long.
cmp_ok($held, '<=', $looks / 20, "no worker holds a snapshot or transaction ($held sightings in $looks looks)");
is(join(' ', split /\n/, $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type LIKE 'pm %' ORDER BY pid")), "@pids", 'the workers are still the same');
SKIP:
{
	skip 'no /proc', 1 unless defined $before{ $pids[0] };
	my $cpu = 0;
	$cpu += PmTest::cpu($_) - $before{$_} for @pids;
	diag(sprintf('%d workers used %.2f s of CPU in %.0f s (%.2f %%)', scalar @pids, $cpu, $lasted, 100 * $cpu / $lasted));
	cmp_ok($cpu / $lasted, '<', 0.02, 'together they use less than 2 % of a CPU');
}

# they react at once
my $appended = $node->safe_psql('postgres', "INSERT INTO log_1 (stream, type) VALUES ('b', 'B') RETURNING extract(epoch FROM clock_timestamp())");
ok(PmTest::wait_until($node, "SELECT count(*) FROM seen WHERE stream = 'b'", 10), 'an event is handled by ten');
my $took = PmTest::handled_at($node, "stream = 'b'") - $appended;
cmp_ok($took, '<', 1, sprintf('an event is handled by ten at once (%.2f s)', $took));

# A scheduler that cannot start, because its tables are locked, is tried again after some time. The launcher sleeps until
# then. Afterwards work continues, also for a role that has no dispatcher yet.
sub pid_of { return $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = 'pm $_[0]'"); }
my ($launcher, $scheduler) = map { pid_of($_) } qw(launcher scheduler);
$node->safe_psql('postgres', 'CREATE ROLE late LOGIN; GRANT USAGE ON SCHEMA pm TO late; GRANT CREATE ON SCHEMA public TO late');
PmTest::create_handler($node, 'keep_late', user => 'late');
$session->do('BEGIN; LOCK pm_catalog.process_manager');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($scheduler)");
SKIP:
{
	my $before = PmTest::cpu($launcher) // skip 'no /proc', 1;
	sleep 6;
	my $used = PmTest::cpu($launcher) - $before;
	cmp_ok($used, '<', 0.3, sprintf('while no scheduler can start, the launcher sleeps (%.2f s of CPU in 6 s)', $used));
}
$session->do('COMMIT');
$node->safe_psql('postgres', "SELECT pm.register('late', 'keep_late', '{log_1}', start_at => 'beginning')", extra_params => [ '-U', 'late' ]);
ok(PmTest::wait_seen($node, 'keep_late', 6), 'then work continues');
is(pid_of('launcher'), $launcher, 'the launcher is the same');
$session->quit;
PmTest::no_crash_ok($node);
$node->stop('fast');
done_testing();
