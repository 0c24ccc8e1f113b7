# A log gets a problem after events of it have been read for a batch. These events are handled once, and
# when the problem is solved the unit continues, even if no event is appended. Whether one unit can read a
# log has no effect on how long another one waits for that log.
use strict;
use warnings FATAL => 'all';

use PmTest;
use Test::More;

my $node = PmTest::node('midway', conf => "pm.poll_interval = '1h'\nautovacuum = off\n");

PmTest::create_seen($node);

# Two logs whose events alternate: a batch of 21 reads 21 of the 30 events of the first log and all 20 of the
# other one, and handles about ten of each. One of these events causes the problem in the first log, so the
# next batch has what was read before, and finds the problem when it reads on.
sub two_logs
{
	my ($name, $spoil) = @_;

	$node->safe_psql('postgres', "SELECT pm.create_log('$_')") for "${name}a", "${name}b";
	$node->safe_psql('postgres', join '', map { my $i = $_; map { "INSERT INTO $_ (stream, type) VALUES ('s$i', 't');\n" } "${name}a", $i <= 20 ? "${name}b" : () } 1 .. 30);
	PmTest::create_handler($node, $name, after => "IF e.log = '${name}b' AND e.stream = 's5' THEN $spoil; END IF;");
	return;
}

sub register
{
	my ($name) = @_;
	return "SELECT pm.register('$name', '$name', '{${name}a,${name}b}', batch_size => 21, start_at => 'beginning')";
}

sub once
{
	my ($name, $what) = @_;

	PmTest::exactly_once_ok($node, $name, "$name$_", "$what: everything in $name$_ once") for 'a', 'b';
	return;
}

# ---- a dispatcher

for (
	[ 'd', 'ALTER TABLE da DROP CONSTRAINT da_pkey', 'no index of its positions', 'ALTER TABLE da ADD PRIMARY KEY (position)' ],
	[ 'r', "PERFORM setval('ra_position_seq', 1)", 'set back', "SELECT setval('ra_position_seq', 1000)" ],
	[ 'g', 'ALTER TABLE ga DISABLE TRIGGER pm_before_write', 'missing or disabled', "SELECT pm.create_log('ga')" ])
{
	my ($name, $spoil, $reason, $mend) = @$_;

	two_logs($name, $spoil);
	$node->safe_psql('postgres', register($name));
	ok(PmTest::wait_until($node, "SELECT count(*) FROM seen WHERE pm = '$name' AND log = '${name}b'", 20, timeout => 40), "$reason: the other log is handled");
	ok(PmTest::wait_until($node, "SELECT reason ~ '$reason' FROM pm.status WHERE process_manager = '$name' AND log = '${name}a'", 't', timeout => 40), "$reason: pm.status gives the reason")
	  or diag($node->safe_psql('postgres', 'SELECT process_manager, log, state, reason FROM pm.status'));
	is($node->safe_psql('postgres', "SELECT count(*) - count(DISTINCT (log, pos)) FROM seen"), 0, "$reason: nothing is handled twice");
	$node->safe_psql('postgres', $mend);
	ok(PmTest::wait_until($node, "SELECT count(DISTINCT pos) FROM seen WHERE pm = '$name' AND log = '${name}a'", 30, timeout => 40), "$reason: when the problem is solved, it continues by itself");
	ok(PmTest::wait_until($node, "SELECT bool_and(lag = 0 AND state = 'idle') FROM pm.status WHERE process_manager = '$name'", 't', timeout => 40), "$reason: it is idle");
	once($name, $reason);
}

# ---- how long a log has had a problem is stored for each unit

$node->safe_psql('postgres', "SELECT pm.create_log('$_')") for 'x', 'y', 'z';
PmTest::create_handler($node, $_) for 'one', 'two';
$node->safe_psql('postgres', "SELECT pm.register('one', 'one', '{x,y}'), pm.register('two', 'two', '{x,z}')");
$node->safe_psql('postgres', "SELECT pm.pause('two')");
$node->safe_psql('postgres', "SELECT pm.append('x', 's', 't')");
ok(PmTest::wait_seen($node, 'one', 1, timeout => 40), 'one has handled all of x, and the other one has not');
$node->safe_psql('postgres', 'ALTER TABLE x DROP CONSTRAINT x_pkey');
my $busy = PmTest::session($node);
$busy->send("DO \$\$ BEGIN FOR i IN 1 .. 400 LOOP PERFORM pm.append('y', 's', 't'); COMMIT; PERFORM pg_sleep(0.05); EXIT WHEN EXISTS (SELECT FROM seen WHERE pm = 'two'); END LOOP; END \$\$");
$node->safe_psql('postgres', "SELECT pm.append('z', 's', 't')");
$node->safe_psql('postgres', "SELECT pm.resume('two')");
ok(PmTest::wait_until($node, "SELECT count(*) FROM seen WHERE pm = 'two' AND log = 'z'", 1, timeout => 40), 'the other one continues without x, although the first one uses it all the time');
$node->safe_psql('postgres', 'ALTER TABLE x ADD PRIMARY KEY (position)');
$busy->wait;
$busy->quit;
ok(PmTest::wait_idle($node, timeout => 40), 'all are idle');

# ---- pm.catch_up

$node->safe_psql('postgres', "ALTER SYSTEM SET pm.launcher = off; SELECT pg_reload_conf()");
ok(PmTest::wait_until($node, "SELECT count(*) FROM pm.worker WHERE kind = 'dispatcher'", '0', timeout => 40), 'there are no dispatchers');
two_logs('c', 'ALTER TABLE ca DROP CONSTRAINT ca_pkey');
$node->safe_psql('postgres', register('c'));
my (undef, undef, $err) = $node->psql('postgres', "SELECT pm.catch_up('c')");
like($err, qr/no index of its positions/, 'pm.catch_up raises the error');
is($node->safe_psql('postgres', "SELECT count(*) FROM seen WHERE pm = 'c'"), 0, 'nothing was handled');
$node->safe_psql('postgres', "SELECT pm.catch_up('c', on_failure => 'policy')");
is($node->safe_psql('postgres', "SELECT count(*) FILTER (WHERE log = 'cb'), count(*) - count(DISTINCT (log, pos)) FROM seen WHERE pm = 'c'"), '20|0', "with on_failure => 'policy' it handles what it can, once");
$node->safe_psql('postgres', 'ALTER TABLE ca ADD PRIMARY KEY (position)');
$node->safe_psql('postgres', "SELECT pm.catch_up('c')");
once('c', 'pm.catch_up');

PmTest::no_crash_ok($node);
$node->stop('fast');
done_testing();
