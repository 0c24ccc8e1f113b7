# What pm shows where the major version of PostgreSQL supports it: names of wait events (from 17 on), and the name and
# version of the library (from 18 on).
use strict;
use warnings FATAL => 'all';

use PmTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PmTest::node('shows');
my $version = $node->safe_psql('postgres', 'SHOW server_version_num');
my $names = $version >= 170000;

# ---- the library

SKIP:
{
	skip 'PostgreSQL 18 has names and versions of libraries', 1 if $version < 180000;
	is($node->safe_psql('postgres', "SELECT module_name, version = (SELECT extversion FROM pg_extension WHERE extname = 'pm') FROM pg_get_loaded_modules() WHERE file_name = 'pm.so'"),
		'pm|t', 'pg_get_loaded_modules() shows the name and the version of the library');
}

# ---- wait events

# The name of a wait event in this version.
sub event
{
	my ($name) = @_;
	return 'Extension|' . ($names ? $name : 'Extension');
}

# Tests that a session or worker waits under this name.
sub waits_ok
{
	my ($at, $where, $name, $what) = @_;
	ok(PmTest::wait_until($at, "SELECT count(*) > 0 FROM pg_stat_activity WHERE $where AND wait_event_type || '|' || wait_event = '" . event($name) . "'",
			't', every => 0.01), "$what: $name");
	return;
}

PmTest::create_seen($node);
PmTest::create_handler($node, 'keep');
$node->safe_psql('postgres', "SELECT pm.create_log('orders'); SELECT pm.register('keep', 'keep', '{orders}')");
PmTest::wait_idle($node);
waits_ok($node, "backend_type = 'pm launcher'", 'PmLauncherMain', 'the idle launcher');
waits_ok($node, "backend_type = 'pm scheduler'", 'PmSchedulerMain', 'an idle scheduler');
waits_ok($node, "backend_type = 'pm dispatcher'", 'PmDispatcherMain', 'an idle dispatcher');
is($node->safe_psql('postgres', "SELECT DISTINCT wait_event_type || '|' || wait_event FROM pm.worker WHERE kind = 'dispatcher' AND state = 'idle'"),
	event('PmDispatcherMain'), 'pm.worker shows the same');

# a writer holds the mark back, and a session waits for an event behind the mark
my $writer = PmTest::session($node);
$writer->do("BEGIN; INSERT INTO orders (stream, type) VALUES ('a', 'A')");
$node->safe_psql('postgres', "INSERT INTO orders (stream, type) VALUES ('a', 'A')");
my $waiter = PmTest::session($node);
$waiter->send("SELECT pm.wait_for('keep', timeout => '60 s')");
waits_ok($node, 'pid = ' . $waiter->pid, 'PmWaitFor', 'pm.wait_for');
$writer->do('COMMIT');
is($waiter->wait, 't', 'pm.wait_for returns when the event has been handled');

# concurrent writers that commit one event at a time
my $script = PostgreSQL::Test::Utils::tempdir . '/insert.sql';
append_to_file($script, "INSERT INTO orders (stream, type) VALUES ('b', 'B');\n");
my $writers = PmTest::start_program($node, 'pgbench', '-n', '-c', '4', '-T', '180', '-f', $script, 'postgres');
# The waits last a millisecond, so a loop in the server looks for one.
$node->safe_psql('postgres', <<'SQL');
CREATE PROCEDURE seen_waiting(backend text, event text) LANGUAGE plpgsql AS $$
BEGIN
	LOOP
		PERFORM pg_stat_clear_snapshot();
		EXIT WHEN EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = backend AND wait_event_type || '|' || wait_event = event);
	END LOOP;
END
$$;
SQL
is($node->safe_psql('postgres', "SET statement_timeout = '150 s'; CALL seen_waiting('pm dispatcher', '" . event('PmDispatcherPace') . "'); SELECT 'seen'"),
	'seen', 'a dispatcher that is woken continuously: PmDispatcherPace');
$writers->{h}->signal('INT');
PmTest::finish_psql($writers);

# a command waits for the workers of a database to end, and one of them is busy
$node->safe_psql('postgres', 'CREATE DATABASE busy');
$node->safe_psql('busy', 'CREATE EXTENSION pm');
PmTest::create_seen($node, dbname => 'busy');
PmTest::create_handler($node, 'slow', dbname => 'busy', after => 'PERFORM pg_sleep(30);');
$node->safe_psql('busy', "SELECT pm.create_log('orders'); SELECT pm.register('slow', 'slow', '{orders}'); INSERT INTO orders (stream, type) VALUES ('a', 'A')");
PmTest::wait_until($node, "SELECT count(*) FROM pg_stat_activity WHERE datname = 'busy' AND wait_event = 'PgSleep'", '1');
my $watcher = PmTest::session($node);
$watcher->send("SET statement_timeout = '150 s'; CALL seen_waiting('client backend', '" . event('PmWorkersEnd') . "')");
$waiter->send('DROP DATABASE busy', may_fail => 1);
is($watcher->wait, '', 'DROP DATABASE: PmWorkersEnd');
is($waiter->wait, '', 'the database is dropped when the workers have ended');

# without shared memory, a reader waits for the writers that it finds
my $bare = PmTest::node('bare', preload => 0);
$bare->safe_psql('postgres', "SELECT pm.create_log('orders')");
PmTest::create_seen($bare);
PmTest::create_handler($bare, 'keep');
$bare->psql('postgres', "SELECT pm.register('keep', 'keep', '{orders}')");
$writer = PmTest::session($bare);
$writer->do("BEGIN; INSERT INTO orders (stream, type) VALUES ('a', 'A')");
$bare->safe_psql('postgres', "INSERT INTO orders (stream, type) VALUES ('a', 'A')");
$waiter = PmTest::session($bare);
$waiter->send("SELECT pm.catch_up('keep')");
waits_ok($bare, 'pid = ' . $waiter->pid, 'PmWriters', 'pm.catch_up without the preloaded library');
$writer->do('COMMIT');
is($waiter->wait, '2', 'it handles both events then');

done_testing();
