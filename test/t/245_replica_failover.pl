# A publisher is lost, and a standby of it takes its place, three times: with a failover slot (PostgreSQL 17) that waits for the
# standby, with a slot that the standby does not have, and with a failover slot that does not wait, so that the subscriber
# has received more than the standby. Also a slot that somebody creates by hand. The steps are those of doc/operations.md.
use strict;
use warnings FATAL => 'all';

use PmReplica;
use PmTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my ($major) = `"\$PG_CONFIG" --version` =~ /(\d+)/;
plan skip_all => "PostgreSQL $major has no failover slots, which came with 17" if $major < 17;

my $transactions = $ENV{PM_SOAK} ? 3000 : 200;		# of each of four clients
my $sub = PmTest::node('sub', conf => "max_worker_processes = 20\nwal_retrieve_retry_interval = 200ms\n");
my $first = PmTest::node('first', init => [ allows_streaming => 'logical' ], conf => <<'CONF');
max_connections = 40
wal_retrieve_retry_interval = 200ms
hot_standby_feedback = on
sync_replication_slots = on
CONF

sub at_sub { return $sub->safe_psql('postgres', $_[0]); }

# Waits until the subscriber has handled all events of the publisher, and this number of events that the publisher has lost.
sub all_ok
{
	my ($publisher, $lost) = @_;
	my $count = $publisher->safe_psql('postgres', 'SELECT count(*) FROM orders') + $lost;

	ok(PmTest::wait_until($sub, 'SELECT count(*) FROM got', $count), $publisher->name . ': all has arrived, and is handled');
	return;
}

sub subscribe
{
	my ($publisher, $lost) = @_;

	at_sub(PmReplica::subscription('orders_sub', $publisher, 'postgres', with => 'failover = true'));
	all_ok($publisher, $lost // 0);
	ok(PmTest::wait_until($sub, 'SELECT srsubstate FROM pg_subscription_rel', 'r'), 'the subscription streams');
	return;
}

# Connects the subscription to the one of these servers that is not a standby.
sub redirect
{
	my (@nodes) = @_;

	at_sub(sprintf "ALTER SUBSCRIPTION orders_sub CONNECTION 'host=%s port=%s dbname=postgres target_session_attrs=read-write'",
		join(',', map { $_->host } @nodes), join(',', map { $_->port } @nodes));
	return;
}

sub append
{
	my ($publisher, $stream, $count) = @_;

	$publisher->safe_psql('postgres', "SELECT pm.append('orders', '$stream', 'A') FROM generate_series(1, $count)");
	return;
}

sub writers
{
	my ($publisher) = @_;
	my $script = $publisher->basedir . '/orders.bench';

	append_to_file($script, PmReplica::writer_script('orders')) unless -e $script;
	return PmTest::start_program($publisher, 'pgbench', '-n', '-c', 4, '-j', 1, '-t', $transactions, '-f', $script, 'postgres');
}

sub got
{
	my ($stream, $count, $name) = @_;

	ok(PmTest::wait_until($sub, "SELECT count(*) FROM got WHERE stream = '$stream'", $count), $name);
	return;
}

sub here { return at_sub("SELECT count(*) FROM orders WHERE stream = '$_[0]'"); }

sub set
{
	my ($node, $conf) = @_;

	$node->append_conf('postgresql.conf', "$conf\n");
	$node->reload;
	return;
}

# Starts a standby with a physical slot.
sub standby
{
	my ($name, $primary) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$primary->safe_psql('postgres', "SELECT pg_create_physical_replication_slot('${name}_slot')");
	$primary->backup($name);
	$node->init_from_backup($primary, $name, has_streaming => 1);
	$node->append_conf('postgresql.conf', sprintf <<'CONF', $primary->port, $primary->host, $name, $name);
primary_conninfo = 'port=%d host=%s dbname=postgres application_name=%s'
primary_slot_name = '%s_slot'
CONF
	$node->start;
	return $node;
}

# Waits until the standby has the slot, as it needs it after a promotion.
sub synchronized_ok
{
	my ($standby, $primary) = @_;
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
	my $slots = '';

	# The standby takes over the slot when the slot on the primary has advanced.
	until ($slots eq 'orders_sub' || time > $deadline)
	{
		append($primary, 'tick', 1);
		$primary->safe_psql('postgres', 'SELECT pg_log_standby_snapshot()');
		sleep 0.1;
		$slots = $standby->safe_psql('postgres', 'SELECT slot_name FROM pg_replication_slots WHERE synced AND NOT temporary AND invalidation_reason IS NULL');
	}
	is($slots, 'orders_sub', $standby->name . ' has the slot');
	return;
}

# Stops replication to a standby.
sub cut_off
{
	my ($standby) = @_;

	set($standby, "primary_conninfo = ''");
	ok(PmTest::wait_until($standby, 'SELECT count(*) FROM pg_stat_wal_receiver', 0), $standby->name . ' is cut off');
	return;
}

sub promote
{
	my ($standby) = @_;

	$standby->promote;
	ok(PmTest::wait_until($standby, 'SELECT NOT pg_is_in_recovery()'), $standby->name . ' is promoted');
	return;
}

# The publisher holds back events from the subscriber, because a standby has not confirmed that it has them.
sub held_back_ok
{
	my ($publisher, $name) = @_;

	ok(PmTest::wait_until($publisher, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender' AND wait_event = 'WaitForStandbyConfirmation'}, 1), $name);
	return;
}

sub status_says
{
	my ($name) = @_;
	my $like = qr/^waiting\|subscription "orders_sub" has no worker\|Either the publisher cannot be reached, or it does not have the replication slot, /;
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
	my $answer = '';

	until ($answer =~ $like || time > $deadline)
	{
		$answer = at_sub("SELECT state, reason, hint FROM pm.status WHERE log = 'orders'");
		sleep 0.05;
	}
	like($answer, $like, $name);
	return;
}

# ---- a failover slot, and commits that the standby has not received

$first->safe_psql('postgres', "SELECT pm.create_log('orders'); CREATE PUBLICATION events FOR TABLE orders WITH (publish = 'insert')");
append($first, 'early', 50);
PmReplica::follow($sub, 'orders');
subscribe($first);
set($first, q{synchronized_standby_slots = 'second_slot'});
my $second = standby('second', $first);
synchronized_ok($second, $first);

my $run = writers($first);
ok(PmTest::wait_until($sub, 'SELECT count(*) > 300 FROM got', 't'), 'events arrive');
cut_off($second);
append($first, 'lost', 100);
held_back_ok($first, 'the subscriber does not get what the standby does not have');
my $acknowledged = $first->safe_psql('postgres', 'SELECT count(*) FROM orders');
my ($from, $to) = split /\|/, $first->safe_psql('postgres', "SELECT min(position), max(position) FROM orders WHERE stream = 'lost'");
$first->kill9;
PmTest::finish_psql($run);
status_says('pm.status says that no events arrive');

my $at = time;
promote($second);
cmp_ok($second->safe_psql('postgres', 'SELECT count(*) FROM orders'), '<=', $acknowledged - 100, 'acknowledged events are lost');
redirect($second);
append($second, 'promoted', 1);
held_back_ok($second, 'synchronized_standby_slots still names the slot of the new primary itself');
set($second, q{synchronized_standby_slots = ''});
got('promoted', 1, 'events of the new primary arrive when that is changed');
PmTest::figure(sprintf 'from the promotion to the first event of the new publisher that is handled: %.1f s', time - $at);
$run = writers($second);
my ($rc, undef, $err) = PmTest::finish_psql($run);
is($rc, 0, 'clients write to the new primary') or diag($err);
all_ok($second, 0);
ok(PmTest::wait_idle($sub), 'pm.status says nothing');
PmReplica::once_ok($sub, $second, 'postgres', 'orders', 'failover slot: once each, in order, and nothing that the new primary has lost');
is(here('lost'), 0, 'no lost event has arrived');
is($second->safe_psql('postgres', "SELECT count(*) FROM orders WHERE position BETWEEN $from AND $to"), 0, 'no other event has the position of a lost one');
my $skipped = $second->safe_psql('postgres', 'SELECT skipped_from, skipped_to FROM pm.promotion WHERE timeline = 2');
my ($skipped_from, $skipped_to) = split /\|/, $skipped;
cmp_ok($skipped_to - $skipped_from, '>=', 9_999_999, 'the publisher has skipped positions');
is(at_sub("SELECT max(origin_position) > $skipped_to, count(*) FILTER (WHERE origin_position BETWEEN $skipped_from AND $skipped_to) FROM orders"), 't|0', '... as origin_position shows here');
is(at_sub('SELECT max(position) < 1000000 FROM orders'), 't', '... and the positions of arrival have no such gap');
is(at_sub('SELECT c.position = max(o.position) FROM pm.cursor c, orders o GROUP BY c.position'), 't', 'so does the cursor');

# ---- no failover slot

at_sub('ALTER SUBSCRIPTION orders_sub DISABLE');
ok(PmTest::wait_until($second, "SELECT active FROM pg_replication_slots WHERE slot_name = 'orders_sub'", 'f'), 'the slot is free');
at_sub('ALTER SUBSCRIPTION orders_sub SET (failover = false)');
my $third = standby('third', $second);
append($second, 'between', 20);
$second->wait_for_catchup($third, 'replay', $second->lsn('insert'));
$second->kill9;
promote($third);
append($third, 'promoted', 5);
redirect($third);
at_sub('ALTER SUBSCRIPTION orders_sub ENABLE');
ok(PmTest::wait_in_log($sub, qr/replication slot "orders_sub" does not exist/), 'no failover slot: an error in the server log');
status_says('... and pm.status says that no events arrive');
is(here('between'), 0, '... and none do');
at_sub($_) foreach 'ALTER SUBSCRIPTION orders_sub DISABLE', 'ALTER SUBSCRIPTION orders_sub SET (slot_name = NONE)', 'DROP SUBSCRIPTION orders_sub';
subscribe($third);
is(here('between') . '|' . here('promoted'), '20|6', 'a new subscription brings what was missing');
PmReplica::once_ok($sub, $third, 'postgres', 'orders', 'no failover slot: once each, in order');
ok(PmTest::wait_idle($sub), 'pm.status says nothing');

# ---- a failover slot that waits for no standby

my $fourth = standby('fourth', $third);
synchronized_ok($fourth, $third);
redirect($third, $fourth);
all_ok($third, 0);
$third->wait_for_catchup($fourth, 'replay', $third->lsn('insert'));
cut_off($fourth);
append($third, 'ahead', 10);
$third->safe_psql('postgres', 'SELECT pg_switch_wal()');
append($third, 'ahead', 10);
got('ahead', 20, 'the subscriber gets what the standby does not have');
$third->kill9;
promote($fourth);
append($fourth, 'passed over', 3);
ok(PmTest::wait_until($fourth, 'SELECT confirmed_flush_lsn > pg_current_wal_lsn() FROM pg_replication_slots', 't'), 'the slot says that the subscriber is ahead of the publisher');
$fourth->safe_psql('postgres', $_) foreach 'SELECT pg_switch_wal()', 'SELECT pg_log_standby_snapshot()', 'SELECT pg_switch_wal()';
append($fourth, 'seen', 1);
got('seen', 1, 'later events arrive');
is(here('passed over'), 0, '... and those before them do not, without an error');
ok(PmTest::wait_idle($sub), '... and pm.status says nothing');
at_sub('DROP SUBSCRIPTION orders_sub');
subscribe($fourth, 20);
PmReplica::once_ok($sub, $fourth, 'postgres', 'orders', 'a new subscription brings what was missing; what the new primary has lost stays', invented => 20);

# ---- a slot that was created by hand

append($fourth, 'gap', 2);
got('gap', 2, 'events arrive');
at_sub('ALTER SUBSCRIPTION orders_sub DISABLE');
ok(PmTest::wait_until($fourth, "SELECT active FROM pg_replication_slots WHERE slot_name = 'orders_sub'", 'f'), 'the slot is free');
$fourth->safe_psql('postgres', q{SELECT pg_drop_replication_slot('orders_sub')});
append($fourth, 'gap', 3);
$fourth->safe_psql('postgres', q{SELECT pg_create_logical_replication_slot('orders_sub', 'pgoutput')});
append($fourth, 'gap', 2);
at_sub('ALTER SUBSCRIPTION orders_sub ENABLE');
got('gap', 4, 'a slot that was created by hand: only later events arrive');
ok(PmTest::wait_idle($sub), '... and pm.status says nothing');
is(at_sub('SELECT stream, before, version FROM (SELECT stream, version, lag(version) OVER (PARTITION BY stream ORDER BY version) AS before FROM orders) v WHERE version > before + 1'),
	'gap|2|6', 'the versions have a gap');
at_sub('DROP SUBSCRIPTION orders_sub');
subscribe($fourth, 20);
is(at_sub(q{SELECT string_agg(version::text, ',' ORDER BY seq) FROM got WHERE stream = 'gap'}), '1,2,6,7,3,4,5', 'a new subscription brings the others, after those that have arrived');
PmReplica::once_ok($sub, $fourth, 'postgres', 'orders', 'once each', invented => 20, order => 1);

is(at_sub('SELECT sum(errors), sum(lag_events) FROM pm.status'), '0|0', 'no error of a handler, no lag');
PmTest::no_crash_ok($_, $_->name . ': no crash in the log') foreach $sub, $first, $second, $third, $fourth;
at_sub('DROP SUBSCRIPTION orders_sub');
$_->stop('fast') foreach $sub, $fourth;
done_testing();
