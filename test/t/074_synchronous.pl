# Synchronous replication whose standby is gone: the dispatchers that wait for it say so, and so do commands that wait for
# these dispatchers. A wait that is canceled is a commit: nothing is handled twice, nothing counts as failed. Roles that
# do not wait for the standby go on. The server can be stopped, and the standby promoted.
use strict;
use warnings FATAL => 'all';

use PmTest;
use Test::More;
use Time::HiRes qw(sleep time);

# Only the workers wait for the standby, and the sessions that are to wait.
$ENV{PGOPTIONS} = '-c synchronous_commit=local';

my $primary = PmTest::node('primary', init => [ allows_streaming => 1 ], conf => "max_connections = 30\npm.max_workers = 3\nrestart_after_crash = on\n");

sub answer { my ($sql, $user) = @_; return $primary->safe_psql('postgres', $sql, extra_params => $user ? [ '-U', $user ] : []); }
sub waits { my ($sql, $expected, $name) = @_; return ok(PmTest::wait_until($primary, $sql, $expected), $name) || diag(answer('SELECT * FROM pm.status') . "\n" . answer('SELECT * FROM pm.worker') . "\n" . answer('SELECT * FROM pm.blocker')); }
# Cancels the wait of role app's dispatcher, and those of the batches that follow, until the query has the answer. Each wait is
# canceled once, because a later cancel could hit a handler.
my %canceled;
sub release
{
	my ($sql, $expected, $name) = @_;
	my $until = time + $PostgreSQL::Test::Utils::timeout_default;
	my $last = '';

	while (time < $until)
	{
		my $wait = answer("SELECT pid, since FROM pm.worker WHERE role = 'app' AND wait_event = 'SyncRep'");
		answer("SELECT pg_cancel_backend($1)") if $wait =~ /^(\d+)/ && !$canceled{$wait}++;
		last if ($last = answer($sql)) eq $expected;
		sleep 0.05;
	}
	return is($last, $expected, $name);
}
sub append { my ($log, $type) = @_; $type //= 'T'; answer("INSERT INTO $log (stream, type) VALUES ('of $type', '$type')", 'app'); return; }

answer('CREATE ROLE app LOGIN; CREATE ROLE local LOGIN; ALTER ROLE local SET synchronous_commit = local; CREATE ROLE watcher LOGIN IN ROLE pg_monitor; CREATE ROLE stranger LOGIN;
	GRANT USAGE ON SCHEMA pm TO app, local, watcher, stranger; GRANT CREATE ON SCHEMA public TO app, local');
PmTest::create_seen($primary);
for my $name (qw(keep beside))
{
	PmTest::create_handler($primary, $name, user => 'app', before => "IF e.type = 'bad' THEN RAISE 'no'; END IF;");
}
answer("SELECT pm.create_log('orders'), pm.create_log('other'), pm.create_log('outbox'); SELECT pm.register('keep', 'keep', '{orders}', max_attempts => 1);
	SELECT pm.register('beside', 'beside', '{other}'); SELECT pm.register('mailer', NULL, '{outbox}', lease => '1 min')", 'app');
$primary->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
$standby->start;
answer("ALTER SYSTEM SET synchronous_standby_names = 'standby'");
answer('SELECT pg_reload_conf()');
waits('SELECT sync_state FROM pg_stat_replication', 'sync', 'the standby is synchronous');
append('orders');
waits("SELECT state, lag FROM pm.status WHERE process_manager = 'keep'", 'idle|0', 'with the standby, events are handled');

# ---- the views and the commands that wait name the cause

$standby->stop('fast');
append('orders');
my $hint = 'SELECT application_name, state, sync_state FROM pg_stat_replication shows the standbys that are connected. Start the missing one, or take it out of synchronous_standby_names, which is "standby", and reload the configuration.';
my $waiting = "SELECT state, regexp_replace(reason, '[0-9]+ s', 'N s'), hint FROM pm.status WHERE process_manager = 'keep'";
my $commit = "running|its commit has waited for a synchronous standby for N s|$hint";
my $began = time;
waits($waiting, $commit, 'pm.status: the dispatcher waits for the standby');
PmTest::figure(sprintf('pm.status says that a dispatcher waits for a synchronous standby %.1f s after the event', time - $began));
is(answer($waiting, $_), $commit, "$_ sees it") for qw(app watcher);
is(answer('SELECT count(*) FROM pm.status', 'stranger'), 0, 'another role does not');
my $blocker = "SELECT blocks, process_manager, wait_event, pid = (SELECT min(pid) FROM pm.worker WHERE role = 'app'), hint FROM pm.blocker WHERE wait_event = 'SyncRep'";
my $blocks = "dispatcher|keep|SyncRep|t|Its transaction is committed and waits for a synchronous standby. $hint";
is(answer($blocker, $_), $blocks, "pm.blocker shows it to $_") for qw(app watcher);
is(answer($blocker, 'stranger'), '', 'but not to another role');
append('other');
waits("SELECT state, regexp_replace(reason, '[0-9]+ s', 'N s'), hint FROM pm.status WHERE process_manager = 'beside'", "waiting|the commit of its dispatcher has waited for a synchronous standby for N s|$hint", 'so does another process manager of the role');

# Commands that wait for the dispatcher. Those behind them wait for the same.
my %command = (
	"SELECT pm.pause('keep')" => 'pm.pause', "SELECT pm.unregister('keep')" => 'pm.unregister', "SELECT pm.alter('keep', batch_size => 7)" => 'pm.alter',
	"SELECT pm.retry('keep', 'orders', 1)" => 'pm.retry', "SELECT pm.seek('keep', 'orders', 0)" => 'pm.seek');
my @sessions;
for my $sql (sort keys %command)
{
	my $session = PmTest::session($primary, user => 'app');
	$session->send("BEGIN; $sql; ROLLBACK");
	push @sessions, [ $command{$sql}, $session ];
}
my $drop = PmTest::session($primary);
$drop->send('BEGIN; DROP EXTENSION pm CASCADE; ROLLBACK');
push @sessions, [ 'DROP EXTENSION', $drop ];
for (@sessions)
{
	my ($name, $session) = @$_;
	my $until = time + $PostgreSQL::Test::Utils::timeout_default;
	until ($session->{err} =~ /NOTICE/ || time > $until) { $session->over; sleep 0.05; }
	like($session->{err}, qr/NOTICE:  process \d+, for whose lock this command waits, has committed its transaction and waits for a synchronous standby\nHINT:  \Q$hint\E/, "$name says what it waits for");
	ok(!$session->over, 'and waits');
}
is(answer("SELECT state FROM pm.status WHERE process_manager = 'keep'"), 'running', 'pm.status answers meanwhile');

# ---- a wait that is canceled is a commit

my $counts = "SELECT (SELECT errors || ' ' || coalesce(attempts, 0) FROM pm.status WHERE process_manager = 'keep'), (SELECT failures || ' ' || events FROM pm.stat WHERE process_manager = 'keep'), (SELECT count(*) FROM pm.parked), (SELECT position FROM pm.cursor WHERE process_manager = 'keep'), (SELECT string_agg(pos::text, ' ' ORDER BY seq) FROM seen WHERE pm = 'keep')";
my $pid = answer("SELECT pid FROM pm.worker WHERE role = 'app'");
answer("SELECT pg_cancel_backend($pid)");
ok(eval { $_->[1]->wait(may_fail => 1); 1 }, "$_->[0] goes on") for @sessions;
$_->[1]->quit for @sessions;
waits($counts, '0 0|0 2|0|2|1 2', 'canceled: the event is handled, once, and nothing has failed');
is(answer("SELECT pid FROM pm.worker WHERE role = 'app'"), $pid, 'by the same dispatcher');
release("SELECT position FROM pm.cursor WHERE process_manager = 'beside'", 1, 'so is that of the other process manager');
append('orders');
waits($waiting, $commit, 'the next one waits again');
waits("SELECT wait_event FROM pm.worker WHERE pid = $pid", 'SyncRep', 'in the same dispatcher');
answer("SELECT pg_terminate_backend($pid)");
waits("SELECT count(*) FROM pm.worker WHERE pid = $pid", 0, 'terminated: the dispatcher ends');
waits($counts, '0 0|0 3|0|3|1 2 3', 'its event is handled, once, and nothing has failed');
append('orders');
waits("SELECT wait_event FROM pm.worker WHERE role = 'app' AND pid <> $pid", 'SyncRep', 'the next dispatcher goes on after it');
release($counts, '0 0|0 4|0|4|1 2 3 4', 'it has not handled an event again');

# The record of a failure is a commit, too.
append('orders', 'bad');
waits($waiting, $commit, 'the record of a failure waits');
release('SELECT position, attempts FROM pm.parked', '5|1', 'canceled: one attempt is counted');

# ---- consumers

append('outbox');
my $consumer = PmTest::session($primary, user => 'app');
$consumer->do('SET synchronous_commit = on');
$consumer->send("SELECT position FROM pm.fetch('mailer', 'c')");
my $cancel = sub {
	my ($call) = @_;
	waits('SELECT wait_event FROM pg_stat_activity WHERE pid = ' . $consumer->pid, 'SyncRep', "$call waits for the standby");
	is(answer("SELECT blocks, process_manager, hint FROM pm.blocker WHERE pid = " . $consumer->pid, 'watcher'), "process manager|mailer|Its transaction is committed and waits for a synchronous standby. $hint", "$call: pm.blocker says so");
	answer('SELECT pg_cancel_backend(' . $consumer->pid . ')');
	my $result = $consumer->wait;
	like($consumer->error, qr/WARNING:  canceling wait for synchronous replication/, "$call: a warning, no error");
	return $result;
};
is($cancel->('pm.fetch'), 1, 'the consumer gets its event');
$consumer->send("SELECT pm.advance('mailer', 'c', 0)");
$cancel->('pm.advance');
is($consumer->do("SET synchronous_commit = local; SELECT count(*) FROM pm.fetch('mailer', 'c')"), 0, 'the event does not come again');
is(answer("SELECT position FROM pm.cursor WHERE process_manager = 'mailer'"), 1, 'the cursor has moved');
$consumer->quit;

# ---- roles that do not wait for the standby go on, even if the scheduler has to count an
# attempt

PmTest::create_handler($primary, 'ends', user => 'local', before => "IF e.type = 'bad' THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;");
answer("SELECT pm.create_log('quick'); SELECT pm.register('ends', 'ends', '{quick}', max_attempts => 1)", 'local');
answer("INSERT INTO quick (stream, type) VALUES ('a', 'bad'), ('b', 'good')", 'local');
append('orders');
waits("SELECT (SELECT count(*) FROM pm.parked WHERE process_manager = 'ends'), (SELECT string_agg(pos::text, ' ') FROM seen WHERE pm = 'ends')", '1|2', 'an attempt is counted, and the role that does not wait for the standby goes on');
waits("SELECT wait_event FROM pm.worker WHERE role = 'app'", 'SyncRep', 'while the other one waits');

# All places are taken by dispatchers that wait.
my @others = map { "other$_" } 1 .. 3;
for my $role (@others)
{
	answer("CREATE ROLE $role LOGIN; GRANT USAGE ON SCHEMA pm TO $role; GRANT CREATE ON SCHEMA public TO $role");
	PmTest::create_handler($primary, "h_$role", user => $role);
	answer("SELECT pm.create_log('log_$role'); SELECT pm.register('pm_$role', 'h_$role', '{log_$role}')", $role);
	answer("INSERT INTO log_$role (stream, type) VALUES ('a', 'A')", $role);
}
waits("SELECT DISTINCT regexp_replace(reason, '\"\\w+\"', 'R'), hint FROM pm.status WHERE reason ~ 'no dispatcher'",
	"no dispatcher runs for role R, because all places of pm.max_workers are taken (in this database: 3, in others: 0), and 3 of these dispatchers wait for a synchronous standby|$hint", 'a role without a place says that the places are taken by dispatchers that wait');

# The server crashes while dispatchers wait: their batches are committed, so no call is to blame.
ok(PmTest::crash($primary, answer("SELECT pid FROM pm.worker WHERE role = 'app' AND wait_event = 'SyncRep'")), 'a dispatcher is killed while it waits, and the server restarts');
waits("SELECT position >= 6, errors, (SELECT count(*) FROM seen WHERE pm = 'keep' AND pos = 6) FROM pm.status WHERE process_manager = 'keep'", 't|1|1', 'its event is handled, and no further attempt is counted');

# ---- the standby comes back

$standby->start;
waits("SELECT count(*) FROM pm.status WHERE lag > 0 AND process_manager <> 'mailer'", 0, 'with the standby, all go on by themselves');
waits('SELECT count(*) FROM pm.blocker', 0, 'nothing is shown in pm.blocker any more');
PmTest::figure(PmTest::exactly_once_ok($primary, 'keep', 'orders', 'each event once', where => "type <> 'bad'"));

# ---- the server is stopped, and the standby promoted

$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
$standby->stop('fast');
append('orders');
waits("SELECT wait_event FROM pm.worker WHERE process_manager = 'keep' OR role = 'app' AND wait_event = 'SyncRep'", 'SyncRep', 'a dispatcher waits');
my $took = PmTest::seconds { $primary->stop('fast') };
cmp_ok($took, '<', 30, sprintf('the server stops (%.1f s)', $took));
# Its workers wait until the launcher is switched on, as a callback of a cluster manager does.
$standby->append_conf('postgresql.conf', "pm.launcher = off\n");
$standby->start;
$standby->promote;
$standby->safe_psql('postgres', "INSERT INTO orders (stream, type) VALUES ('s', 'after')", extra_params => [ '-U', 'app' ]);
is($standby->safe_psql('postgres', "SELECT state, reason FROM pm.status WHERE process_manager = 'keep'"), 'waiting|no worker runs, because pm.launcher is off', 'the workers of the promoted standby can be held off');
$standby->safe_psql('postgres', 'ALTER SYSTEM SET pm.launcher = on');
$standby->reload;
ok(PmTest::wait_until($standby, "SELECT max(pos) = (SELECT max(position) FROM orders) FROM seen WHERE pm = 'keep'", 't'), 'the promoted standby handles events');
PmTest::exactly_once_ok($standby, 'keep', 'orders', 'the promoted standby: what it has received is handled once', where => "type <> 'bad'");
$standby->stop('fast');
$primary->append_conf('postgresql.auto.conf', "synchronous_standby_names = ''\n");
$primary->start;
append('orders');
waits("SELECT max(pos) = (SELECT max(position) FROM orders) FROM seen WHERE pm = 'keep'", 't', 'the old primary, without a standby, handles events');
PmTest::exactly_once_ok($primary, 'keep', 'orders', 'the old primary: the batch whose wait the stop had canceled is not handled again', where => "type <> 'bad'");
is(answer("SELECT errors FROM pm.status WHERE process_manager = 'keep'"), 1, 'only the handler that failed has failed');
PmTest::no_crash_ok($_) for $primary, $standby;
$primary->stop('fast');
done_testing();
