# Replica logs: two databases publish a log each, and a subscriber follows both. Initial copy, kills of either side, a
# subscription that is dropped and created again, also after pm.trim, a different event at a known position, updates and
# deletes, and what pm.status says.
use strict;
use warnings FATAL => 'all';

use PmReplica;
use PmTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $transactions = $ENV{PM_SOAK} ? 2000 : 150;		# of each of four clients
my $pub = PmTest::node('pub', init => [ allows_streaming => 'logical' ], extension => 0, conf => <<'CONF');
max_connections = 40
max_wal_senders = 10
max_replication_slots = 10
wal_sender_timeout = 20s
CONF
my $sub = PmTest::node('sub', conf => <<'CONF');
max_worker_processes = 20
max_logical_replication_workers = 8
wal_retrieve_retry_interval = 200ms
CONF

# database, log
my @logs = ([ 'sales', 'orders' ], [ 'money', 'payments' ]);

sub at_sub { return $sub->safe_psql('postgres', $_[0]); }
sub refused
{
	my ($node, $database, $sql, $like, $name, @options) = @_;
	my ($rc, undef, $err) = $node->psql($database, $sql, @options);

	isnt($rc, 0, "$name: refused");
	like($err, $like, "$name: the message");
	return $err;
}

sub writers
{
	my ($database, $log) = @_;
	my $script = $pub->basedir . "/$log.bench";

	append_to_file($script, PmReplica::writer_script($log)) unless -e $script;
	return PmTest::start_program($pub, 'pgbench', '-n', '-c', 4, '-j', 1, '-t', $transactions, '-f', $script, $database);
}

# The reason that pm.status gives for a log. Returns how long it took until it did.
sub status_says
{
	my ($log, $state, $like, $name) = @_;
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
	my $began = time;
	my $answer = '';

	until ($answer =~ $like || time > $deadline)
	{
		$answer = at_sub("SELECT state, reason, hint FROM pm.status WHERE log = '$log'");
		sleep 0.05;
	}
	like($answer, $like, "$name: the reason");
	like($answer, qr/^$state\|/, "$name: $state");
	return sprintf '%.1f s', time - $began;
}

foreach (@logs)
{
	my ($database, $log) = @$_;

	$pub->safe_psql('postgres', "CREATE DATABASE $database");
	$pub->safe_psql($database, "CREATE EXTENSION pm; SELECT pm.create_log('$log'); CREATE PUBLICATION events FOR TABLE $log");
	# Pages are reused, so the physical order of the table is not the order of positions.
	$pub->safe_psql($database, $_) foreach
		"INSERT INTO $log (stream, type) SELECT 'gone', 'A' FROM generate_series(1, 200)", "DELETE FROM $log WHERE position <= 150", "VACUUM $log",
		"INSERT INTO $log (stream, type) SELECT 'early', 'A' FROM generate_series(1, 100)";
}
like($pub->safe_psql('sales', 'SELECT position < lag(position) OVER (ORDER BY ctid) FROM orders'), qr/^t$/m, 'the table is not in the order of positions');

PmReplica::follow($sub, map { $_->[1] } @logs);
is(at_sub("SELECT kind, pos FROM pm.log WHERE name = 'orders'"), 'replica|position', 'pm.log says what kind it is');
status_says('orders', 'waiting', qr/no subscription fills it/, 'without a subscription');

# ---- what is refused

refused($sub, 'postgres', "SELECT pm.append('orders', 's', 'T')", qr/cannot append to replica log "orders".*HINT:  Append the event at the publisher/s, 'pm.append');
refused($sub, 'postgres', "INSERT INTO orders (stream, type) VALUES ('s', 'T')", qr/cannot insert into replica log "orders"/, 'INSERT');

# ---- the initial copy, concurrent writers, and kills

my $began = time;
at_sub(PmReplica::subscription("${\($_->[1])}_sub", $pub, $_->[0])) foreach @logs;
ok(PmReplica::wait_all($sub, $pub, @$_), "$_->[1]: the initial copy has arrived, and is handled") foreach @logs;
is(at_sub("SELECT count(*) FROM (SELECT origin_position < lag(origin_position) OVER (ORDER BY position) AS back FROM orders) x WHERE back"), 0,
	'the initial copy is in the order of the publisher');
ok(PmTest::wait_idle($sub), 'pm.status says nothing');
die "the initial copy does not work\n" unless Test::More->builder->is_passing;

my $event = $pub->safe_psql('sales', "SELECT pm.append('orders', 'one', 'T')");
my $at = time;
ok(PmTest::wait_until($sub, "SELECT count(*) FROM got WHERE log = 'orders' AND origin = $event", 1, every => 0.01), 'a new event arrives');
PmTest::figure(sprintf 'an event from one server to a handler on the other, with psql: %.2f s', time - $at);

# The publisher is killed, then the subscriber; a subscription is dropped and created again.
my @runs = map { writers(@$_) } @logs;
PmTest::wait_until($sub, "SELECT count(*) > 300 FROM got WHERE log = 'orders'", 't');
PmTest::kill_postmaster($pub);
PmTest::finish_psql($_) foreach @runs;
@runs = map { writers(@$_) } @logs;
PmTest::wait_until($sub, "SELECT count(*) > 600 FROM got", 't');
PmTest::kill_postmaster($sub);
at_sub('DROP SUBSCRIPTION orders_sub');
$pub->safe_psql('sales', "INSERT INTO orders (stream, type) SELECT 'missed', 'A' FROM generate_series(1, 50)");
at_sub(PmReplica::subscription('orders_sub', $pub, 'sales'));
PmTest::finish_psql($_) foreach @runs;
ok(PmReplica::wait_all($sub, $pub, @$_), "$_->[1]: all has arrived") foreach @logs;
PmReplica::once_ok($sub, $pub, @$_, "$_->[1]: once each, across kills and a new subscription") foreach @logs;
is(at_sub("SELECT count(*) FROM orders WHERE stream = 'missed'"), 50, 'what was written while there was no subscription is there');

# ---- updates and deletes of the publisher are left out

my $here = at_sub("SELECT md5(string_agg(o::text, '' ORDER BY position)) FROM orders o");
$pub->safe_psql('sales', "SELECT pm.erase('orders', 'early', '{\"gone\": true}'); SELECT pm.trim('orders', 260); SELECT pm.append('orders', 'after', 'T')");
ok(PmTest::wait_until($sub, "SELECT count(*) FROM got WHERE stream = 'after'", 1), 'the subscription goes on');
is(at_sub("SELECT md5(string_agg(o::text, '' ORDER BY position)) FROM orders o WHERE stream <> 'after'"), $here, 'no event here has changed');

# ---- trimmed here, and copied again

my ($count, $rows) = split /\|/, at_sub("SELECT (SELECT count(*) FROM got), (SELECT count(*) FROM payments)");
at_sub("SELECT pm.trim('payments', (SELECT max(position) FROM payments WHERE position < (SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY position) FROM payments)))");
my $left = at_sub('SELECT count(*) FROM payments');
cmp_ok($left, '<', $rows, 'the first half is trimmed');
cmp_ok(at_sub('SELECT count(*) FROM pm_catalog.trimmed_origin'), '<', ($rows - $left) / 2, 'what was trimmed is kept as ranges');
at_sub('DROP SUBSCRIPTION payments_sub');
$pub->safe_psql('money', "INSERT INTO payments (stream, type) SELECT 'late', 'A' FROM generate_series(1, 10)");
# One of the triggers is off: the initial copy fails, and loses nothing.
at_sub('ALTER TABLE payments DISABLE TRIGGER pm_arrival_end');
at_sub(PmReplica::subscription('payments_sub', $pub, 'money'));
ok(PmTest::wait_in_log($sub, qr/ERROR:  cannot write into replica log "payments" without its trigger "pm_arrival_end"/), 'a trigger is off: the initial copy fails');
ok(PmTest::wait_in_log($sub, qr/HINT:  As the table's owner, run ALTER TABLE public\.payments ENABLE ALWAYS TRIGGER pm_arrival_end\./), '... with a hint');
at_sub('ALTER TABLE public.payments ENABLE ALWAYS TRIGGER pm_arrival_end');
ok(PmTest::wait_until($sub, "SELECT count(*) FROM got WHERE stream = 'late'", 10), 'payments: what is new arrives');
# ... and so do changes, although they fire no statement triggers.
at_sub('ALTER TABLE payments DISABLE TRIGGER pm_arrival_begin');
$pub->safe_psql('money', "INSERT INTO payments (stream, type) SELECT 'late', 'A' FROM generate_series(1, 5)");
ok(PmTest::wait_in_log($sub, qr/ERROR:  cannot write into replica log "payments" without its trigger "pm_arrival_begin"/), '... and changes are not applied');
at_sub(q{SELECT pm.create_replica_log('payments')});
ok(PmTest::wait_until($sub, "SELECT count(*) FROM got WHERE stream = 'late'", 15), '... until it is on again');
ok(PmTest::wait_idle($sub), 'all is handled');
PmReplica::once_ok($sub, $pub, 'money', 'payments', 'payments: once each, although trimmed events were copied again');
is(at_sub('SELECT count(*) FROM payments'), $left + 15, 'trimmed events did not come back');

# ---- pm.status when no events can arrive

at_sub('ALTER SUBSCRIPTION orders_sub DISABLE');
PmTest::figure('pm.status names what stands still: disabled after ' . status_says('orders', 'waiting', qr/subscription "orders_sub" is disabled\|.*ALTER SUBSCRIPTION orders_sub ENABLE/, 'disabled')
	. ', publisher stopped after ' . do { $pub->stop('fast'); status_says('payments', 'waiting', qr/subscription "payments_sub" has no worker/, 'the publisher is down') });
$pub->start;
# An event that differs from the one that is here.
at_sub("UPDATE payments SET recorded_at = recorded_at + interval '1 h' WHERE stream = 'late'");
at_sub('DROP SUBSCRIPTION payments_sub');
at_sub(PmReplica::subscription('payments_sub', $pub, 'money'));
ok(PmTest::wait_in_log($sub, qr/ERROR:  the event at position \d+ of the publisher differs from that event in replica log "payments"/), 'another event at a known position is an error');
at_sub("UPDATE payments SET recorded_at = recorded_at - interval '1 h' WHERE stream = 'late'");
at_sub('ALTER SUBSCRIPTION orders_sub ENABLE');
$pub->safe_psql($_->[0], "SELECT pm.append('$_->[1]', 'last', 'T')") foreach @logs;
ok(PmTest::wait_until($sub, "SELECT count(*) FROM got WHERE stream = 'last'", 2), 'when they agree, it goes on');
ok(PmTest::wait_idle($sub), 'and pm.status says nothing');

# ---- a copy of the subscriber

at_sub('CREATE DATABASE copy');
my $dump = $sub->basedir . '/dump.sql';
$sub->command_ok([ 'pg_dump', '--no-subscriptions', '-f', $dump, '-d', $sub->connstr('postgres') ], 'dump');
$sub->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', $dump, '-d', $sub->connstr('copy') ], 'restore');
is($sub->safe_psql('copy', 'SELECT pm.resume()'), '', 'the copy is adopted');
is($sub->safe_psql('copy', "SELECT string_agg(kind, ',') FROM pm.log"), 'replica,replica', 'the copy has the replica logs');
$count = at_sub('SELECT count(*) FROM got');
$sub->safe_psql('copy', PmReplica::subscription('copy_sub', $pub, 'money'));
$pub->safe_psql('money', "SELECT pm.append('payments', 'for the copy', 'T')");
ok(PmTest::wait_until($sub, "SELECT count(*) FROM got WHERE stream = 'for the copy'", 1, dbname => 'copy'), 'a subscription of the copy brings what is new');
is($sub->safe_psql('copy', 'SELECT count(*) FROM got'), $count + 1, 'and nothing else');
$sub->safe_psql('copy', 'DROP SUBSCRIPTION copy_sub');

PmTest::no_crash_ok($sub);
at_sub("DROP SUBSCRIPTION $_->[1]_sub") foreach @logs;
$sub->stop('fast');
$pub->stop('fast');
done_testing();
