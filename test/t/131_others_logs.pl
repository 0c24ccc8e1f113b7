# P6: a log of another role cannot delay one's own logs. Whatever its owner does with it (locks it, disables its triggers,
# revokes a right, sets its sequence back, drops its index), a follower's other logs are handled. And no function of pm
# waits for a table that its caller has not named, or keeps a lock on a table that the caller may not read.
use strict;
use warnings FATAL => 'all';

use PmTest;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = PmTest::node('others_logs', conf => "pm.poll_interval = '200ms'\nmax_connections = 40\nautovacuum = off\n");

# Runs SQL as a role, in a session that does not wait forever. Returns (answer, messages).
sub ask
{
	my ($sql, $role, %opt) = @_;
	my (undef, $out, $err) = $node->psql('postgres', "SET statement_timeout = '20 s';\n$sql", extra_params => $role ? [ '-U', $role ] : []);

	return ($out, $err);
}

sub answer
{
	my ($out, $err) = ask(@_);

	die "$_[0]\n$err" if $err =~ /ERROR|FATAL/;
	return $out;
}

answer(<<'SQL');
CREATE ROLE alice LOGIN;
CREATE ROLE mallory LOGIN;
CREATE ROLE bob LOGIN;
GRANT USAGE ON SCHEMA pm TO alice, mallory, bob;
CREATE SCHEMA mallory AUTHORIZATION mallory;
CREATE SCHEMA alice AUTHORIZATION alice;
GRANT USAGE ON SCHEMA mallory TO alice, bob;
GRANT USAGE ON SCHEMA alice TO bob;
SQL
PmTest::create_seen($node);
answer("SELECT pm.create_log('mallory.shared'), pm.create_log('mallory.secret'); GRANT SELECT ON mallory.shared TO alice, bob", 'mallory');
answer(<<'SQL', 'alice');
SELECT pm.create_log('alice.own');
GRANT SELECT ON alice.own TO bob;
CREATE FUNCTION alice.handle(e pm.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN INSERT INTO public.seen (pm, log, pos, stream) VALUES ('alice', e.log, e.position, e.stream); END $$;
SELECT pm.register('alice', 'alice.handle', '{alice.own,mallory.shared}');
SQL
my $sent = 0;

# Events of alice's own log are handled at once, and those of mallory's log only when it can be read again.
sub others_go_on
{
	my ($what, $spoil, $mend, $reason, %opt) = @_;
	my $mallory = PmTest::session($node, user => 'mallory');

	answer("SELECT pm.append('alice.own', 'before', 'T')", 'alice');
	$sent++;
	ok(PmTest::wait_until($node, "SELECT count(*) FROM seen WHERE log = 'alice.own'", $sent), "$what: before");
	$mallory->do($spoil);
	my $took = 0;
	for my $i (1 .. 3)
	{
		my $appended = answer("SELECT extract(epoch FROM clock_timestamp()) FROM pm.append('alice.own', '$what', 'T')", 'alice');
		$sent++;
		ok(PmTest::wait_until($node, "SELECT count(*) FROM seen WHERE log = 'alice.own'", $sent), "$what: event $i of alice's own log is handled");
		$took += PmTest::handled_at($node, "log = 'alice.own'") - $appended;
	}
	diag(sprintf("%s: three events after %.1f s", $what, $took));
	cmp_ok($took, '<', 10, "$what: alice's own log is handled soon") if $took >= 10;
	ok(PmTest::wait_until($node, "SELECT coalesce(reason, 'none') ~ '$reason' FROM pm.status WHERE log = 'mallory.shared'", 't'), "$what: pm.status gives the reason for the other log")
	  or diag(answer("SELECT log, state, reason FROM pm.status"));
	is(answer("SELECT state FROM pm.status WHERE log = 'alice.own'", 'alice'), 'idle', "$what: pm.status shows nothing for alice's own log");
	$mallory->do($mend);
	$mallory->quit;
	my $events = answer("SELECT count(*) FROM mallory.shared");
	answer("INSERT INTO mallory.shared (stream, type) VALUES ('$what', 'T')", 'mallory');
	ok(PmTest::wait_until($node, "SELECT count(*) FROM seen WHERE log = 'mallory.shared'", $events + 1), "$what: the other log is handled when it can be read again");
	ok(PmTest::wait_idle($node), "$what: all are idle");
	return;
}

others_go_on('locked', 'BEGIN; LOCK TABLE mallory.shared', 'COMMIT', 'is locked');
others_go_on('sequence locked', 'BEGIN; ALTER SEQUENCE mallory.shared_position_seq RENAME TO other', 'ROLLBACK', 'is locked');
others_go_on('guard off', 'ALTER TABLE mallory.shared DISABLE TRIGGER pm_before_write', "SELECT pm.create_log('mallory.shared')", 'missing or disabled');
others_go_on('revoked', 'REVOKE SELECT ON mallory.shared FROM alice', 'GRANT SELECT ON mallory.shared TO alice', 'may not read');
others_go_on('row security', 'ALTER TABLE mallory.shared ENABLE ROW LEVEL SECURITY', 'ALTER TABLE mallory.shared DISABLE ROW LEVEL SECURITY', 'row-level security');
others_go_on('set back', "SELECT setval('mallory.shared_position_seq', 1)", "SELECT setval('mallory.shared_position_seq', 1000)", 'set back');
answer("INSERT INTO mallory.shared (stream, type) VALUES ('more', 'T')", 'mallory');
others_go_on('no index', "ALTER TABLE mallory.shared DROP CONSTRAINT shared_pkey; INSERT INTO mallory.shared (stream, type) VALUES ('no index', 'T')", 'ALTER TABLE mallory.shared ADD PRIMARY KEY (position)', 'no index of its positions');
PmTest::exactly_once_ok($node, 'alice', 'alice.own');
PmTest::exactly_once_ok($node, 'alice', 'mallory.shared');

# ---- a locked log: functions that do not name it do not wait

my $lock = PmTest::session($node, user => 'mallory');
answer("SELECT pm.create_log('mallory.third'); GRANT SELECT ON mallory.third TO alice", 'mallory');
# The session has the logs in its cache, so it could wait only for reading them.
my $waits = PmTest::session($node, user => 'alice');
$waits->do("SELECT pm.high_water_mark('mallory.shared'), pm.high_water_mark('mallory.third')");
$lock->do('BEGIN; LOCK TABLE mallory.shared; LOCK TABLE mallory.secret; LOCK TABLE mallory.third');
my $position = answer("SELECT max(position) FROM alice.own");
for my $role ('postgres', 'alice')
{
	my ($out, $err) = ask("BEGIN; SELECT count(*) FROM pm.trace('alice.own', $position); SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND relation IN ('mallory.secret'::regclass, 'mallory.shared'::regclass); COMMIT", $role);
	is($out, "1\n0", "pm.trace of the caller's log ($role): returns, and keeps no lock on the others");
	like($err, $role eq 'alice' ? qr/NOTICE:.*left out.*DETAIL:.*"mallory.shared"/s : qr/NOTICE:.*left out.*DETAIL:.*"mallory.secret", "mallory.shared"/s, 'it says which logs it could not read');
	unlike($err, qr/secret/, 'but not those that the caller may not read') if $role eq 'alice';
	($out, $err) = ask("SELECT pm.resume()", $role);
	is($err =~ /ERROR/ ? $err : '', '', "pm.resume() ($role): ends");
	($out, $err) = ask("SELECT pm.catch_up(on_failure => 'policy')", $role);
	is($err =~ /ERROR/ ? $err : '', '', "pm.catch_up() ($role): ends");
	($out, $err) = ask("SELECT count(*) FROM pm.status; SELECT count(*) FROM pm.blocker; SELECT count(*) FROM pm.log", $role);
	is($err =~ /ERROR/ ? $err : '', '', "the views ($role): answer");
}
# A log that is named, but may not be read: refused at once, without waiting for the lock.
for my $call ("pm.read('mallory.secret')", "pm.read_stream('mallory.secret', 's')", "pm.trace('mallory.secret', 1)", "pm.high_water_mark('mallory.secret')", "pm.trim('mallory.secret', 1)",
	"pm.register('hers', 'alice.handle', '{mallory.secret}')")
{
	my ($out, $err) = ask("SELECT $call", 'alice');
	like($err, qr/permission denied|may not read/, "$call: the right is checked first");
}
is(answer("SELECT pm.wait_for('alice', timeout => '500 ms')", 'alice'), 'f', 'pm.wait_for waits for a locked log only until its timeout');
# Functions to stop following the log, and functions that concern the process manager but not this log.
for my $call ("SELECT pm.unfollow('alice', 'mallory.shared')", "SELECT pm.set_owner('alice', 'bob')", "SELECT pm.unregister('alice')")
{
	my ($out, $err) = ask("SET statement_timeout = '5 s'; BEGIN; $call; SELECT 'ends'; ROLLBACK");
	like($out, qr/ends/, "$call: does not wait") or diag($err);
}
for my $call ("pm.retry('alice', 'mallory.shared', 1)", "pm.discard('alice', 'MALLORY.shared', 1)")
{
	like((ask("SET statement_timeout = '5 s'; SELECT $call", 'alice'))[1], qr/has not parked/, "$call: does not wait");
}
# A call that names the log waits for it, but meanwhile does not keep others from the process manager.
for my $call ("pm.catch_up('alice')", "pm.catch_up('alice', on_failure => 'policy')", "pm.seek('alice', 'mallory.shared', 0)",
	"pm.register('alice', 'alice.handle', '{alice.own,mallory.shared,mallory.third}', start_at => 'end')")
{
	$waits->do('BEGIN');
	$waits->send("SELECT $call");
	ok(PmTest::wait_until($node, 'SELECT wait_event_type FROM pg_stat_activity WHERE pid = ' . $waits->pid, 'Lock'), "$call: waits for the log");
	is(answer("SELECT count(*) FROM pg_locks WHERE pid = @{[$waits->pid]} AND locktype = 'object' AND classid = 'pm_catalog.process_manager'::regclass"), 0, 'it holds no unit');
	answer("SELECT pm.append('alice.own', 'meanwhile', 'T')", 'alice');
	$sent++;
	ok(PmTest::wait_until($node, "SELECT count(*) FROM seen WHERE log = 'alice.own'", $sent), "an event of alice's own log is handled");
	answer("SELECT pg_cancel_backend(@{[$waits->pid]})");
	$waits->wait(may_fail => 1);
	$waits->do('ROLLBACK');
}
$waits->quit;
$lock->do('COMMIT');
$lock->quit;

# ---- a process manager of another role is running: pm.resume() does not wait for it

answer(<<'SQL', 'mallory');
CREATE FUNCTION mallory.sleep(e pm.event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(3600); END $$;
SELECT pm.register('sleeps', 'mallory.sleep', '{mallory.secret}', handler_timeout => '1 h');
SELECT pm.append('mallory.secret', 's', 'T');
SQL
ok(PmTest::wait_until($node, "SELECT count(*) FROM pm.worker WHERE state = 'handling' AND process_manager = 'sleeps'", '1'), "a handler of mallory's sleeps");
my ($out, $err) = ask("SELECT pm.resume()");
unlike($err, qr/ERROR/, 'pm.resume() of a superuser returns');
like($err, qr/NOTICE:.*"sleeps"/, 'it says what it has not changed');
answer("SELECT pg_terminate_backend(pid) FROM pm.worker WHERE process_manager = 'sleeps'; DROP FUNCTION mallory.sleep(pm.event)");

# ---- names with the same hash: registrations of different roles do not wait for each other

# hash_any() of both is the same.
my ($one, $other) = ('n' . 'aaaa', 'n' . 'bbbb');
my $open = PmTest::session($node, user => 'mallory');
answer("CREATE FUNCTION mallory.ignore(e pm.event) RETURNS void LANGUAGE plpgsql AS 'BEGIN END'", 'mallory');
$open->do("BEGIN; SELECT pm.register('$one', 'mallory.ignore', '{mallory.shared}', start_at => 'end')");
is(answer("SELECT count(*) FROM pg_locks WHERE locktype = 'object' AND classid = 'pm_catalog.lane'::regclass"), 0, 'pm.register takes no lock by the hash of a name');
is(answer("SELECT pm.register('$other', 'alice.handle', '{mallory.shared}', start_at => 'end'); SELECT pm.unregister('$other')", 'alice'), "\n", 'a registration for the same log does not wait for a stranger\'s');
# The same name: the second registration waits for the first, and then is refused or changes it.
my $second = PmTest::start_psql($node, "SELECT pm.register('$one', 'alice.handle', '{mallory.shared}', start_at => 'end')", user => 'alice');
ok(PmTest::wait_until($node, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%$one%'", '1'), 'a registration waits for another one of the same name');
$open->do('COMMIT');
my ($rc, undef, $refused) = PmTest::finish_psql($second);
like($refused, qr/must be owner of process manager "$one"/, 'and it is another\'s then');
is(answer("SELECT owner || ' ' || handler FROM pm.process_manager WHERE name = '$one'"), 'mallory mallory.ignore(pm.event)', 'which is unchanged');
$open->do("BEGIN; SELECT pm.unregister('$one')");
$second = PmTest::start_psql($node, "SELECT pm.register('$one', 'mallory.ignore', '{mallory.shared}', start_at => 'end', batch_size => 7)", user => 'mallory');
ok(PmTest::wait_until($node, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%batch_size%'", '1'), 'pm.register waits for pm.unregister');
$open->do('COMMIT');
($rc, undef, $refused) = PmTest::finish_psql($second);
is($refused, '', 'it registers the process manager again');
is(answer("SELECT batch_size FROM pm.process_manager WHERE name = '$one'"), 7, 'with its settings');
$open->quit;

PmTest::no_crash_ok($node);
$node->stop('fast');
done_testing();
