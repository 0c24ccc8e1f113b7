# A handler that crashes its server, where restart_after_crash is off: after two servers have ended, the third one does not
# call it for that event, and handles all others. Process managers of other roles and databases, which are busy at the same
# time, are not taken for the cause. Replication is asynchronous. Then a fast shutdown in the
# middle of a call that is noted: no attempt is counted, and a call that takes a long time holds
# up nobody.
use strict;
use warnings FATAL => 'all';

use PmTest;
use Test::More;
use Time::HiRes qw(sleep time);

my $module = PmTest::build_library('crash_over_nodes', PmTest::crash_source() . <<'C');
PG_FUNCTION_INFO_V1(quick);
Datum
quick(PG_FUNCTION_ARGS)
{
	PG_RETURN_VOID();
}
C

my $first = PmTest::node('first', init => [ allows_streaming => 1 ], conf => <<'CONF');
restart_after_crash = off
wal_retrieve_retry_interval = 100ms
pm.max_workers = 6
CONF

my $super = $first->safe_psql('postgres', 'SELECT current_user');

sub register
{
	my ($pm, $role, $dbname, $args) = @_;
	$first->safe_psql($dbname, "SELECT pm.register('$pm', '$pm', '{orders}', batch_size => 10$args)", extra_params => [ '-U', $role ]);
}

my $setup = <<"SQL";
CREATE FUNCTION crash() RETURNS void LANGUAGE c AS '$module', 'crash';
CREATE FUNCTION quick(pm.event) RETURNS void LANGUAGE c AS '$module', 'quick';
CREATE FUNCTION stream_of(e pm.event) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT e.stream';
SELECT pm.create_log('orders');
GRANT USAGE ON SCHEMA pm TO PUBLIC;
GRANT CREATE ON SCHEMA public TO PUBLIC;
GRANT SELECT ON orders TO PUBLIC;
SQL
my %calm = (calm => 'alice', keyed => 'bob', quick => 'carol');
$first->safe_psql('postgres', "CREATE ROLE $_ LOGIN") for sort values %calm;
$first->safe_psql('postgres', 'CREATE DATABASE other');
$first->safe_psql('other', 'CREATE EXTENSION pm');
for my $dbname (qw(postgres other))
{
	PmTest::create_seen($first, dbname => $dbname);
	$first->safe_psql($dbname, $setup);
	PmTest::create_handler($first, $_, dbname => $dbname, after => 'PERFORM pg_sleep(0.02);') for qw(calm keyed);
}
# If the calls did not take turns, others would be in the middle of theirs when it crashes.
PmTest::create_handler($first, 'bad', after => "IF e.type = 'bad' THEN PERFORM pg_sleep(0.1); PERFORM crash(); END IF;");
PmTest::create_handler($first, 'slow', after => "IF e.type = 'slow' THEN PERFORM pg_sleep(600); END IF;");
register('bad', $super, 'postgres', '');
register('slow', $super, 'postgres', ", handler_timeout => '1 h'");
register('calm', 'alice', 'postgres', ", on_failure => 'halt'");
register('keyed', 'bob', 'postgres', ", correlate => 'stream_of'");
register('quick', 'carol', 'postgres', '');
register('calm', 'alice', 'other', '');

# Returns what is wrong with the process managers that are not the cause.
my $innocent = <<'SQL';
SELECT coalesce(string_agg(process_manager || ': ' || state || ' ' || reason, '; '), 'none') FROM pm.status
WHERE process_manager <> 'bad' AND (errors > 0 OR parked > 0 OR state = 'halted')
SQL

$first->backup('backup');
my @nodes;
for my $name (qw(second third fourth))
{
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init_from_backup($first, 'backup', has_streaming => 1);
	$node->start;
	push @nodes, $node;
}
my ($second, $third, $fourth) = @nodes;

sub follow
{
	my ($node, $primary) = @_;
	$node->safe_psql('postgres', sprintf(q{ALTER SYSTEM SET primary_conninfo = 'host=%s port=%d application_name=%s'}, $primary->host, $primary->port, $node->name));
	$node->safe_psql('postgres', 'SELECT pg_reload_conf()');
}

sub dies
{
	my ($node) = @_;
	my $until = time + $PostgreSQL::Test::Utils::timeout_default;
	sleep 0.05 while time < $until && -e $node->data_dir . '/postmaster.pid';
	ok(!-e $node->data_dir . '/postmaster.pid', $node->name . ' has ended');
	$node->_update_pid(0);
}

# ---- two servers end, the third one goes on

sub write_events
{
	my ($node, $bad) = @_;
	for my $dbname (qw(other postgres))
	{
		$node->psql($dbname, "INSERT INTO orders (stream, type) SELECT 's' || i % 3, CASE WHEN i = 9 AND '$dbname' = 'postgres' THEN '$bad' ELSE 'T' END FROM generate_series(1, 30) i");
	}
}
write_events($first, 'T');
ok(PmTest::wait_idle($first), 'the first server handles events');
$first->wait_for_catchup($_, 'replay', $first->lsn('insert')) for @nodes;
write_events($first, 'bad');
dies($first);
$second->promote;
follow($third, $second);
dies($second);
my $began = time;
$third->promote;
follow($fourth, $third);
ok(PmTest::wait_until($third, "SELECT count(*) FROM pm.parked WHERE state = 'dead'", 1), 'the third server does not call it');
my $dead = time - $began;
is($third->safe_psql('postgres', "SELECT k.process_manager, o.type, k.attempts, k.crashes FROM pm_catalog.parked k JOIN orders o USING (position) WHERE k.state = 'dead'"),
	'bad|bad|1|2', 'the event is dead');
ok(PmTest::wait_until($third, "SELECT (SELECT count(*) FROM seen WHERE pm = 'bad') + (SELECT count(*) FROM pm.parked WHERE process_manager = 'bad')", 60),
	'its others are handled, or wait behind it');
ok(PmTest::wait_until($third, "SELECT count(*) FROM pm.status WHERE lag_events > 0", 0, dbname => $_), "$_: all have handled what was there") for qw(postgres other);
is($third->safe_psql($_, $innocent), 'none', "$_: the others are not taken for the cause") for qw(postgres other);
PmTest::exactly_once_ok($third, 'calm', 'orders', "$_: in order", dbname => $_) for qw(postgres other);
PmTest::once_in_key_order_ok($third, 'keyed', q{SELECT 'orders' AS log, position AS pos, stream AS key FROM orders}, 'keyed: nothing missing, nothing twice');
is($third->safe_psql($_, 'SELECT count(*) FROM pm_catalog.noted'), 0, "$_: nothing is noted any more") for qw(postgres other);
my $others = $third->safe_psql('postgres', "SELECT round(extract(epoch FROM min(at))::numeric - $began, 2) FROM seen WHERE pm IN ('calm', 'keyed') AND at > to_timestamp($began)");
PmTest::figure(sprintf('two servers have ended; after the call of the second promotion, the event is dead after %.1f s; first event of others after %s', $dead, $others eq '' ? 'it: none was left' : "$others s"));

# Units that had nothing in hand say so with their next events.
write_events($third, 'T');
ok(PmTest::wait_until($third, 'SELECT count(*) FROM pm.status WHERE lag_events > 0', 0, dbname => $_), "$_: new events are handled") for qw(postgres other);
is($third->safe_psql($_, 'SELECT count(*) FROM pm_catalog.lane WHERE timeline <> pm.timeline()'), 0, "$_: what was in hand has been passed") for qw(postgres other);

# ---- a switch-over, and a fast shutdown during a noted call that takes a long time

my $errors = $third->safe_psql('postgres', 'SELECT sum(errors) FROM pm.status');
$third->safe_psql('postgres', "SELECT pm.pause('calm')", extra_params => [ '-U', 'alice' ]);
$third->safe_psql('postgres', "INSERT INTO orders (stream, type) SELECT 's9', unnest(ARRAY['slow', 'T'])");
$third->wait_for_catchup($fourth, 'replay', $third->lsn('insert'));
$third->stop('fast');
# No standby follows it.
$fourth->append_conf('postgresql.conf', 'pm.promotion_wait = 0');
$fourth->reload;
$fourth->promote;
ok(PmTest::wait_until($fourth, 'SELECT process_manager, what, shared FROM pm_catalog.noted', 'slow|event|f'), 'only the long call is noted');
$began = time;
$fourth->safe_psql('postgres', "SELECT pm.resume('calm')", extra_params => [ '-U', 'alice' ]);
ok(PmTest::wait_until($fourth, "SELECT count(*) FROM seen WHERE stream = 's9' AND pm = 'calm'", 2), 'others go on meanwhile');
is($fourth->safe_psql('postgres', 'SELECT process_manager, shared FROM pm_catalog.noted'), 'slow|t', 'the note of the long call is marked, the others are gone');
PmTest::figure(sprintf('during a long call, others handle two events after %.2f s', time - $began));
$fourth->stop('fast');
$fourth->append_conf('postgresql.conf', 'pm.launcher = off');
$fourth->start;
is($fourth->safe_psql('postgres', 'SELECT count(*) FROM pm_catalog.noted'), 0, 'a fast shutdown removes the note');
is($fourth->safe_psql('postgres', 'SELECT sum(errors) FROM pm.status'), $errors, 'neither it nor the switch-over counted an attempt');
is($fourth->safe_psql($_, $innocent), 'none', "$_: nobody is taken for a cause") for qw(postgres other);

# ---- pg_receivewal follows, and no standby: no call waits for what it reports, which may take ten seconds

my $directory = PostgreSQL::Test::Utils::tempdir;
my $receiver = IPC::Run::start([ $fourth->installed_command('pg_receivewal'), '-D', $directory, '-d', $fourth->connstr('postgres') ], '<', \undef);
ok(PmTest::wait_until($fourth, 'SELECT state FROM pg_stat_replication', 'streaming'), 'pg_receivewal follows');
$fourth->safe_psql('postgres', "SELECT pm.unregister('slow')");
$fourth->safe_psql($_, 'UPDATE pm_catalog.lane SET timeline = 0') for qw(postgres other);
write_events($fourth, 'T');
$fourth->append_conf('postgresql.conf', 'pm.launcher = on');
$fourth->reload;
# If each of some 90 calls waited for a second, it would not be over yet.
ok(PmTest::wait_until($fourth, 'SELECT count(*) FROM pm.status WHERE lag_events > 0', 0, dbname => $_), "$_: all is handled") for qw(postgres other);
is($fourth->safe_psql('postgres', 'SELECT count(*) FROM pm_catalog.lane WHERE timeline = 0'), 0, 'after notes were made');
$receiver->kill_kill;
$fourth->stop('fast');
done_testing();
