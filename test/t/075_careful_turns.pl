# After a promotion, calls that are noted take turns. Roles share the time, not the turns: calls that take almost as long as
# they may be alone leave a role with quick handlers its share. An event that has crashed a server is alone only when it is
# tried next. A dispatcher that is killed during a noted call counts one crash where the server restarts. pm.status says what a
# unit waits for. That a lane has nothing in hand is written without an event.
use strict;
use warnings FATAL => 'all';

use PmTest;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = PmTest::node('main', conf => <<'CONF');
pm.max_workers = 6
pm.promotion_wait = 0
CONF

sub register
{
	my ($pm, $role, $args) = @_;
	$node->safe_psql('postgres', "SELECT pm.register('$pm', '$pm', '{orders}', start_at => 'beginning'$args)", extra_params => [ '-U', $role ]);
}

# Lets all units go carefully, as after a promotion, with what is written meanwhile.
sub promoted
{
	my ($write) = @_;
	$node->append_conf('postgresql.conf', 'pm.launcher = off');
	$node->reload;
	PmTest::wait_until($node, q{SELECT count(*) FROM pm.worker WHERE kind <> 'launcher'}, 0) or die 'the workers do not leave';
	$node->safe_psql('postgres', "UPDATE pm_catalog.lane SET timeline = 0; $write");
	$node->append_conf('postgresql.conf', 'pm.launcher = on');
	$node->reload;
}

$node->safe_psql('postgres', <<'SQL');
SELECT pm.create_log('orders');
GRANT USAGE ON SCHEMA pm TO PUBLIC;
GRANT CREATE ON SCHEMA public TO PUBLIC;
GRANT SELECT ON orders TO PUBLIC;
SQL
PmTest::create_seen($node);
my %role = (slow1 => 'alice', slow2 => 'bob', slow3 => 'carol', slow4 => 'dave', quick => 'erin');
$node->safe_psql('postgres', "CREATE ROLE $_ LOGIN") for sort values %role;
PmTest::create_handler($node, $_, after => /slow/ ? 'PERFORM pg_sleep(0.5);' : '') for sort keys %role;
register($_, $role{$_}, '') for sort keys %role;
ok(PmTest::wait_idle($node), 'all have begun');

# ---- four roles with slow handlers, and one with a quick one

promoted("INSERT INTO orders (stream, type) SELECT 's', 'T' FROM generate_series(1, 60)");
my $slow = "(SELECT count(*) FROM seen WHERE pm LIKE 'slow%')";
my $quick = "(SELECT count(*) FROM seen WHERE pm = 'quick')";
# Without shares, one quick call would come after four slow ones. With them, the quick role waits for one slow call of each
# role before it has handled all in one or two turns. The bound leaves room for turns that a busy machine makes it miss.
ok(PmTest::wait_until($node, "SELECT $quick = 60 OR $slow > 60", 't'), 'the quick role, or the slow ones, have handled many events');
my $besides = $node->safe_psql('postgres', "SELECT count(*) FROM seen WHERE pm LIKE 'slow%' AND at < (SELECT max(at) FROM seen WHERE pm = 'quick')");
is($node->safe_psql('postgres', "SELECT $quick"), 60, 'the quick role has handled its events');
cmp_ok($besides, '<', 30, 'with few slow calls in between');
PmTest::figure("60 events of a quick role are handled beside $besides calls of 0.5 s of four others");
ok(PmTest::wait_until($node, "SELECT count(DISTINCT pm) FROM seen WHERE pm LIKE 'slow%'", 4), 'each of the others has turns');

# ---- lanes that have nothing to do

sub unwritten { return 'SELECT count(*) FROM pm_catalog.lane WHERE timeline IS DISTINCT FROM pm.timeline()'; }
$node->safe_psql('postgres', "SELECT pm.unregister('$_')") for qw(slow1 slow2 slow3 slow4);
ok(PmTest::wait_idle($node), 'all events are handled');
promoted('SELECT');
ok(PmTest::wait_until($node, unwritten(), 0), 'idle lanes have nothing in hand, which is written without an event');

# ---- a call that is killed, where the server restarts

$node->append_conf('postgresql.conf', 'restart_after_crash = on');
PmTest::create_handler($node, 'suspect', before => q{IF e.type = 'bad' THEN PERFORM pg_sleep(600); END IF;});
register('suspect', 'alice', ", handler_timeout => '1 h', on_failure => 'halt', backoff => '100 ms', max_attempts => 20");
ok(PmTest::wait_idle($node), 'it has begun');
promoted("INSERT INTO orders (stream, type) VALUES ('bad', 'bad')");
my $called = "SELECT n.what, w.state FROM pm_catalog.noted n, pm.worker w WHERE n.process_manager = 'suspect' AND w.role = 'alice' AND w.kind = 'dispatcher'";
ok(PmTest::wait_until($node, $called, 'event|handling'), 'its event is noted, and handled');
my $dispatcher = "FROM pm.worker WHERE role = 'alice' AND kind = 'dispatcher'";
kill 'KILL', $node->safe_psql('postgres', "SELECT pid $dispatcher");
ok(PmTest::wait_until($node, "$called AND (SELECT crashes FROM pm_catalog.lane WHERE process_manager = 'suspect') = 1", 'event|handling'), 'it is tried again');
my $counted = "SELECT attempts, crashes, state FROM pm_catalog.lane WHERE process_manager = 'suspect'";
is($node->safe_psql('postgres', $counted), '1|1|retrying', 'it counts one crash');

# ---- in this attempt, no other call has a note; in the next ones, others begin after a second

my $later = "SELECT count(*) FROM seen WHERE pm = 'quick' AND stream = 'later'";
sub quick { return $node->safe_psql('postgres', "SELECT pm.$_[0]('quick')", extra_params => [ '-U', 'erin' ]); }
quick('pause');
$node->safe_psql('postgres', q{UPDATE pm_catalog.lane SET timeline = 0 WHERE process_manager = 'quick'; INSERT INTO orders (stream, type) SELECT 'later', 'T' FROM generate_series(1, 5)});
quick('resume');
ok(PmTest::wait_until($node, "SELECT state, reason LIKE 'after a promotion, handlers are called one at a time%' FROM pm.status WHERE process_manager = 'quick'", 'waiting|t'), 'pm.status says that another one waits for its turn');
is($node->safe_psql('postgres', $later), 0, 'which it does not get');
quick('pause');
$node->safe_psql('postgres', "SELECT pg_cancel_backend(pid) $dispatcher");
ok(PmTest::wait_until($node, "$counted; $called", "2|1|retrying\nevent|handling"), 'it fails, and is tried once more');
quick('resume');
# If it were alone again, that would last a minute.
ok(PmTest::wait_until($node, $later, 5), 'now others go on');
is($node->safe_psql('postgres', $counted), '2|1|retrying', 'while it is still being tried');
$node->stop('immediate');
done_testing();
