# No worker runs on a standby. After its promotion work continues within 5 s, and nothing is lost,
# including prepared transactions and events that the old primary had not handled.
use strict;
use warnings FATAL => 'all';

use PmTest;
use Test::More;
use Time::HiRes qw(sleep time);

my $primary = PmTest::node('primary', init => [ allows_streaming => 1 ], conf => <<'CONF');
max_connections = 30
max_prepared_transactions = 10
CONF

$primary->safe_psql('postgres', 'CREATE ROLE app LOGIN; GRANT USAGE ON SCHEMA pm TO app; GRANT CREATE ON SCHEMA public TO app');
PmTest::create_seen($primary);
PmTest::create_handler($primary, 'keep', user => 'app', after => 'PERFORM pg_sleep(0.005);');
$primary->safe_psql('postgres', "SELECT pm.create_log('orders'); SELECT pm.register('keep', 'keep', '{orders}', batch_size => 10)",
	extra_params => [ '-U', 'app' ]);
$primary->safe_psql('postgres', "INSERT INTO orders (stream, type) SELECT 'a', 'A' FROM generate_series(1, 100)");
$primary->backup('backup');

my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
$standby->start;

sub on_standby { return $standby->safe_psql('postgres', $_[0]); }

# ---- in recovery

ok(PmTest::wait_idle($primary), 'the primary handles events');
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
is(on_standby("SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'pm %'"), 0, 'no worker runs in recovery');
is(on_standby('SELECT state, reason, hint FROM pm.status'), 'waiting|this server is in recovery|Workers run on the primary.', 'pm.status on the standby gives the reason');
is(on_standby('SELECT count(*) FROM pm.worker'), 0, 'pm.worker is empty');
is(on_standby('SELECT count(*) FROM pm.blocker'), 0, 'pm.blocker can be read');
is(on_standby('SELECT events, calls FROM pm.stat'), '0|0', 'pm.stat has the counters of the standby');
is(on_standby('SELECT pm.stat_reset()'), '', 'which can be reset');
is(on_standby('SELECT count(*) FROM pm.log') . on_standby('SELECT count(*) FROM pm.process_manager') . on_standby('SELECT position FROM pm.cursor'),
	'11100', 'so can the other views');
for my $call ("pm.high_water_mark('orders')", "pm.read('orders')", "pm.catch_up('keep')", "pm.pause('keep')",
	"pm.register('x', 'keep', '{orders}', start_at => 'end')", "pm.append('orders', 's', 'T')", "pm.wait_for('keep')")
{
	my ($rc, undef, $err) = $standby->psql('postgres', "SELECT $call", extra_params => [ '-U', 'app' ]);
	isnt($rc, 0, "$call on a standby is refused");
	like($err, qr/recovery|read-only|primary/, 'the error says why');
}

# ---- promotion, while there is work and a prepared transaction is open

my $session = PmTest::session($primary);
$primary->safe_psql('postgres', "INSERT INTO orders (stream, type) SELECT 'b', 'B' FROM generate_series(1, 50)");
$primary->safe_psql('postgres', "BEGIN; INSERT INTO orders (stream, type) VALUES ('p', 'prepared'); PREPARE TRANSACTION 'over there'");
$session->do("BEGIN; INSERT INTO orders (stream, type) VALUES ('lost', 'open when the primary died')");
$primary->safe_psql('postgres', "INSERT INTO orders (stream, type) SELECT 'c', 'C' FROM generate_series(1, 200)");
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
$primary->stop('immediate');
$session->quit;

my ($before, $events) = split /\|/, on_standby("SELECT (SELECT count(*) FROM seen), (SELECT count(*) FROM orders)");
diag("handled when the primary was stopped: $before of $events events, one more prepared");
$standby->promote;
my $ok = PmTest::wait_until($standby, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pm dispatcher'", 1);
my $took = on_standby("SELECT extract(epoch FROM min(backend_start)) FROM pg_stat_activity WHERE backend_type = 'pm dispatcher'") -
  (PmTest::logged_at($standby, qr/received promote request/))[-1];
ok($ok, sprintf('promoted: a dispatcher runs (%.1f s)', $took));
cmp_ok($took, '<=', 5, 'within 5 s');
PmTest::figure(sprintf('%d of %d events handled when the primary died; a dispatcher runs %.1f s after the promotion began', $before, $events, $took));
is(on_standby("SELECT gid FROM pm.blocker"), 'over there', 'pm.blocker names the prepared transaction');
on_standby("INSERT INTO orders (stream, type) SELECT 'd', 'D' FROM generate_series(1, 20)");
# Events before it may have to wait, too, because no session of this server has seen it begin.
like(on_standby('SELECT state, reason FROM pm.status'), qr/^(?:waiting\|a prepared transaction that may have written to the log is still open|running\|)$/, 'pm.status says what it waits for');
is(on_standby("SELECT coalesce(max(pos), 0) FROM seen WHERE stream IN ('c', 'd')"), 0, 'nothing after it is handled');
on_standby("COMMIT PREPARED 'over there'");
ok(PmTest::wait_idle($standby), 'after its commit everything is handled');
PmTest::figure(PmTest::exactly_once_ok($standby, 'keep', 'orders', 'nothing lost, nothing twice, in order, across the promotion'));
is(on_standby("SELECT count(*) FROM orders WHERE stream IN ('a', 'b', 'c', 'd', 'p')"), 371, 'all committed events are there');
is(on_standby("SELECT count(*) - count(DISTINCT position), min(position) > 0 FROM orders"), '0|t', 'positions are unique');
is(on_standby("SELECT count(*) FROM orders WHERE stream = 'lost'"), 0, 'the transaction that was open is not');
is(on_standby('SELECT sum(errors) FROM pm.status'), 0, 'no error was counted');
is(on_standby('SELECT events FROM pm.stat'), on_standby('SELECT count(*) FROM seen') - $before, 'pm.stat counts since the promotion');

# A copy of the cluster with another system identifier would wait; a promoted standby has the same one.
is(on_standby('SELECT state FROM pm.status'), 'idle', 'it is not taken for a copy');

PmTest::no_crash_ok($standby);
$standby->stop('fast');
done_testing();
