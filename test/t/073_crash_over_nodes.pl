# A handler that crashes its server, where restart_after_crash is off: after two servers have ended, the third one does not
# call it for that event, and handles all others. Replication is asynchronous. A switch-over counts no attempt.
use strict;
use warnings FATAL => 'all';

use PmTest;
use Test::More;
use Time::HiRes qw(sleep time);

my $module = PmTest::build_library('crash_over_nodes', <<'C');
#include "postgres.h"
#include <sys/resource.h>
#include "fmgr.h"
PG_MODULE_MAGIC;
PG_FUNCTION_INFO_V1(crash);
Datum
crash(PG_FUNCTION_ARGS)
{
	struct rlimit none = {0, 0};

	setrlimit(RLIMIT_CORE, &none);
	abort();
}
C

my $first = PmTest::node('first', init => [ allows_streaming => 1 ], conf => <<'CONF');
restart_after_crash = off
wal_retrieve_retry_interval = 100ms
CONF
PmTest::create_seen($first);
$first->safe_psql('postgres', "CREATE FUNCTION crash() RETURNS void LANGUAGE c AS '$module', 'crash'");
$first->safe_psql('postgres', "SELECT pm.create_log('orders')");
for my $pm (qw(plain keyed))
{
	PmTest::create_handler($first, $pm, after => "IF e.type = 'bad for $pm' THEN PERFORM crash(); END IF;");
}
$first->safe_psql('postgres', "CREATE FUNCTION stream_of(e pm.event) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT e.stream'");
$first->safe_psql('postgres', "SELECT pm.register('plain', 'plain', '{orders}'), pm.register('keyed', 'keyed', '{orders}', correlate => 'stream_of')");
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
	my $until = time + 40;
	my $began = time;
	sleep 0.1 while time < $until && -e $node->data_dir . '/postmaster.pid';
	ok(!-e $node->data_dir . '/postmaster.pid', $node->name . ' has ended');
	$node->_update_pid(0);
	return time - $began;
}

# ---- two servers end, the third one goes on

$first->safe_psql('postgres', "INSERT INTO orders (stream, type) SELECT 's' || i % 3, 'T' FROM generate_series(1, 30) i");
ok(PmTest::wait_idle($first, timeout => 20), 'the first server handles events');
$first->wait_for_catchup($_, 'replay', $first->lsn('insert')) for @nodes;
$first->psql('postgres', "INSERT INTO orders (stream, type) SELECT 's' || i % 3, CASE i WHEN 5 THEN 'bad for plain' ELSE 'T' END FROM generate_series(1, 30) i");
dies($first);
$second->promote;
follow($third, $second);
my $took = dies($second);
$third->promote;
follow($fourth, $third);
my $began = time;
ok(PmTest::wait_until($third, "SELECT count(*) FROM pm.parked WHERE state = 'dead'", 1, timeout => 40), 'the third server does not call it');
is($third->safe_psql('postgres', "SELECT k.process_manager, o.type, k.attempts, k.crashes FROM pm_catalog.parked k JOIN orders o USING (position) WHERE k.state = 'dead'"),
	'plain|bad for plain|1|2', 'the event is dead');
ok(PmTest::wait_until($third, "SELECT (SELECT count(*) FROM seen WHERE pm = 'plain') + (SELECT count(*) FROM pm.parked WHERE process_manager = 'plain')", 60, timeout => 40),
	'all others are handled, or wait behind it');
PmTest::figure(sprintf('two servers have ended; %.1f s after the second promotion the event is dead and all others are handled', time - $began));

# ---- a switch-over during a careful call: no attempt

$third->wait_for_catchup($fourth, 'replay', $third->lsn('insert'));
is($third->safe_psql('postgres', "SELECT count(*) FROM pm_catalog.lane WHERE tried_on IS NOT NULL OR timeline <> pm.timeline()"), 0, 'what was in hand has been passed');
my $errors = $third->safe_psql('postgres', 'SELECT sum(errors) FROM pm.status');
$third->stop('fast');
$fourth->promote;
$fourth->safe_psql('postgres', "INSERT INTO orders (stream, type) SELECT 's9', 'T' FROM generate_series(1, 10)");
ok(PmTest::wait_until($fourth, "SELECT count(*) FROM seen WHERE stream = 's9'", 20, timeout => 40), 'after a switch-over, events are handled');
is($fourth->safe_psql('postgres', 'SELECT sum(errors) FROM pm.status'), $errors, 'it counted no attempt');
$fourth->stop('fast');
done_testing();
