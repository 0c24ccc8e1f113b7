# After a promotion, an event that was parked then is called only with a note for as long as it is parked, even if its process
# manager has nothing else to do meanwhile. So if its handler sometimes fails and sometimes crashes the server, it is dead
# after two servers have died of it. The same applies after pm.retry. Events that are parked later need no notes.
use strict;
use warnings FATAL => 'all';

use PmTest;
use Test::More;

my $node = PmTest::node('main', conf => <<'CONF');
pm.promotion_wait = 0
restart_after_crash = off
CONF

sub answer
{
	my ($sql) = @_;
	return $node->safe_psql('postgres', $sql);
}

sub launcher
{
	my ($value) = @_;
	$node->append_conf('postgresql.conf', "pm.launcher = $value");
	$node->reload;
}

# Lets all units go carefully, as after a promotion, with what is written meanwhile.
sub promoted
{
	my ($write) = @_;
	launcher('off');
	PmTest::wait_until($node, q{SELECT count(*) FROM pm.worker WHERE kind <> 'launcher'}, 0, timeout => 40) or die 'the workers do not leave';
	answer("UPDATE pm_catalog.lane SET timeline = 0; $write");
	launcher('on');
}

PmTest::create_seen($node);
answer(<<'SQL');
SELECT pm.create_log('orders');
CREATE TABLE mode AS SELECT 'fail' AS now;
SQL
PmTest::create_handler($node, 'shaky', after => <<'SQL');
IF e.type = 'bad' AND EXISTS (SELECT FROM mode WHERE now = 'fail') THEN RAISE 'it fails'; END IF;
IF e.type = 'bad' AND EXISTS (SELECT FROM mode WHERE now = 'hang') THEN PERFORM pg_sleep(600); END IF;
SQL
answer("SELECT pm.register('shaky', 'shaky', '{orders}', start_at => 'beginning', handler_timeout => '1 h', backoff => '1 h', max_attempts => 2)");
my $parked = "SELECT state, attempts FROM pm.parked WHERE (event).stream = 'old'";
my $unwritten = 'SELECT count(*) FROM pm_catalog.lane WHERE timeline IS DISTINCT FROM pm.timeline()';
my $called = q{SELECT w.state, (SELECT string_agg(n.what, ',') FROM pm_catalog.noted n) FROM pm.worker w WHERE w.kind = 'dispatcher'};
sub cancel { answer("SELECT pg_cancel_backend(pid) FROM pm.worker WHERE kind = 'dispatcher'"); }

answer("INSERT INTO orders (stream, type) VALUES ('old', 'bad')");
ok(PmTest::wait_until($node, $parked, 'failing|1', timeout => 40), 'an event is parked');
promoted('SELECT');
ok(PmTest::wait_until($node, $unwritten, 0, timeout => 40), 'while it waits, the lane has passed what was in hand');

# ---- its next attempt

answer("UPDATE mode SET now = 'hang'");
promoted("UPDATE pm_catalog.lane SET timeline = pm.timeline(); UPDATE pm_catalog.parked SET retry_at = now()");
ok(PmTest::wait_until($node, $called, 'handling|parked', timeout => 40), 'its next attempt is noted');
answer("INSERT INTO orders (stream, type) VALUES ('other', 'T')");
answer("UPDATE mode SET now = 'fail'");
cancel();
ok(PmTest::wait_until($node, $parked, 'dead|2', timeout => 40), 'it is dead');
ok(PmTest::wait_seen($node, 'shaky', 1, timeout => 40), 'another event is handled');
is(answer('SELECT count(*) FROM pm_catalog.noted'), 0, 'nothing is noted any more');

# ---- pm.retry

answer("UPDATE mode SET now = 'hang'");
answer("SELECT pm.retry(process_manager, log, position) FROM pm.parked");
ok(PmTest::wait_until($node, $called, 'handling|parked', timeout => 40), 'after pm.retry its attempt is noted');
answer("UPDATE mode SET now = 'fail'");
cancel();
ok(PmTest::wait_until($node, $parked, 'failing|1', timeout => 40), 'it fails again');

# ---- an event that is parked later

answer("INSERT INTO orders (stream, type) VALUES ('new', 'bad')");
ok(PmTest::wait_until($node, q{SELECT count(*) FROM pm.parked WHERE state = 'failing'}, 2, timeout => 40), 'another event is parked');
answer("UPDATE mode SET now = 'hang'");
answer("SELECT pm.retry(process_manager, log, position) FROM pm.parked WHERE (event).stream = 'new'");
ok(PmTest::wait_until($node, $called, 'handling|', timeout => 40), 'its next attempt is not noted');
answer("UPDATE mode SET now = 'ok'");
cancel();
answer("SELECT pm.retry(process_manager, log, position) FROM pm.parked");
ok(PmTest::wait_idle($node, timeout => 40), 'corrected and retried, all is handled');
PmTest::once_in_key_order_ok($node, 'shaky', q{SELECT 'orders' AS log, position AS pos, stream AS key FROM orders});
is(answer('SELECT count(*) FROM pm_catalog.noted'), 0, 'nothing is noted any more');
$node->stop('fast');
done_testing();
