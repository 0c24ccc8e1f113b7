# P6: no role can take the worker places that another one needs. With the settings as they come, and a role
# that does what it can: handlers that sleep for a day in many lanes, sessions that keep its units.
#
#   PM_SOAK=1        five minutes of hogging instead of some seconds
use strict;
use warnings FATAL => 'all';

use PmTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

# What the server has by itself: the harness sets more.
my $node = PmTest::node('places', conf => "max_worker_processes = 8\n");
my $sessions = 10;

sub answer
{
	my ($sql, $role) = @_;
	return $node->safe_psql('postgres', $sql, extra_params => $role ? [ '-U', $role ] : []);
}

for my $role (qw(hog victim))
{
	answer("CREATE ROLE $role LOGIN; GRANT USAGE ON SCHEMA pm TO $role; GRANT CREATE ON SCHEMA public TO $role");
	answer("SELECT pm.create_log('log_$role')", $role);
}
PmTest::create_seen($node);
PmTest::create_handler($node, 'victim', user => 'victim');
answer("SELECT pm.register('victim', 'victim', '{log_victim}')", 'victim');
PmTest::create_handler($node, 'hog', user => 'hog', before => "IF e.type = 'Sleep' THEN PERFORM pg_sleep(100000); END IF;");

# How long another role's event takes from its commit to its effect; undef when it has not come in time.
my $events = 0;
sub victim_takes
{
	my ($timeout) = @_;
	my $began = time;
	my $position = answer("INSERT INTO log_victim (stream, type) VALUES ('v', 'V') RETURNING position", 'victim');

	$events++;
	return undef unless PmTest::wait_until($node, "SELECT count(*) FROM seen WHERE pm = 'victim' AND pos = $position", 1,
		timeout => $timeout, every => 0.02);
	return answer("SELECT extract(epoch FROM s.at - l.recorded_at) FROM seen s JOIN log_victim l ON l.position = s.pos WHERE s.pm = 'victim' AND s.pos = $position");
}
ok(defined victim_takes(20), 'the victim is served');

# ---- sessions that keep the units of handlers that have died

my @held;
for my $i (1 .. $sessions)
{
	answer("SELECT pm.create_log('held_$i'), pm.register('held_$i', 'hog', '{held_$i}', max_attempts => 1, handler_timeout => '24 h')", 'hog');
	answer("INSERT INTO held_$i (stream, type) VALUES ('s', 'Sleep')", 'hog');
	my $handles = "FROM pm.worker WHERE process_manager = 'held_$i' AND state = 'handling'";
	PmTest::wait_until($node, "SELECT count(*) $handles", 1, timeout => 20) or last;

	# It waits for the unit that the handler has, and gets it when that dies.
	my $session = PmTest::session($node, user => 'hog');
	push @held, $session;
	$session->do('BEGIN');
	$session->send("SELECT pm.pause('held_$i')");
	PmTest::wait_until($node, "SELECT wait_event_type FROM pg_stat_activity WHERE pid = " . $session->pid, 'Lock', timeout => 20);
	answer("SELECT pg_terminate_backend(pid) $handles", 'hog');
	$session->wait;
}
is(scalar @held, $sessions, 'each of them has its turn');
ok(PmTest::wait_until($node, 'SELECT count(*) FROM pm.worker WHERE pid IS NULL', 0, timeout => 10), 'no worker slot is kept for what they hold');
my $took = victim_takes(10);
ok(defined $took && $took < 2, 'others are served meanwhile');
$_->do('ROLLBACK') for @held;
$_->quit for @held;
ok(PmTest::wait_until($node, "SELECT count(*), string_agg(DISTINCT state, ' ') FROM pm.parked", "$sessions|dead", timeout => 30),
	'what has died with its dispatcher is counted once nobody has the units')
  or diag(answer('SELECT process_manager, position, state, attempts FROM pm.parked ORDER BY 1, 2'));
answer("SELECT pm.unregister('held_$_')", 'hog') for 1 .. $sessions;

PmTest::no_crash_ok($node);
$node->stop('fast');
done_testing();
