# Consumers: one that has lost its lease is refused in the transaction in which it wrote its effects. If consumers
# are killed with SIGKILL between fetch and advance, or between effect and advance, each effect is there once, in the order of
# its key. A session that waits in pm.fetch is woken by the commit (workers and sessions poll once an hour here), and leaves
# nothing behind.
use strict;
use warnings FATAL => 'all';

use PmTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = PmTest::node('consumers', conf => "pm.poll_interval = '1h'\nmax_connections = 60\n");

$node->safe_psql('postgres', <<'SQL');
SELECT pm.create_log('outbox');
SELECT pm.register('mailer', NULL, '{outbox}', lease => '1 s', lanes => 3, max_attempts => 1000);
CREATE TABLE effect (n serial, pos bigint, key text);
SQL

# ---- two consumers, one lane

my ($one, $two) = (PmTest::session($node), PmTest::session($node));
$node->safe_psql('postgres', q{SELECT pm.append('outbox', 's', 'mail')});
my $lane = $one->do(q{SELECT lane FROM pm.fetch('mailer', 'one')});
is($two->do(q{SELECT count(*) FROM pm.fetch('mailer', 'two')}), '0', 'the second consumer gets nothing');
ok(PmTest::wait_until($node, 'SELECT lease_until < clock_timestamp() FROM pm.consumer', 't'), 'the lease runs out');
is($two->do(q{SELECT attempt FROM pm.fetch('mailer', 'two')}), '2', 'the second consumer gets the event, with its second attempt');
$one->do("BEGIN; INSERT INTO effect (pos) VALUES (1)");
$one->do("\\set VERBOSITY verbose\nSELECT pm.advance('mailer', 'one', $lane);", may_fail => 1);
like($one->error, qr/PM002/, 'the first one, late, gets PM002');
$one->do('COMMIT', may_fail => 1);
is($one->do('SELECT count(*) FROM effect'), '0', 'and its effects are gone');

# Between advance and commit the lease can run out, but not pass to another consumer.
$two->do("BEGIN; INSERT INTO effect (pos, key) VALUES (1, 's'); SELECT pm.advance('mailer', 'two', $lane)");
ok(PmTest::wait_until($node, 'SELECT lease_until < clock_timestamp() FROM pm.consumer', 't'), 'the lease runs out before the commit');
is($one->do(q{SELECT count(*) FROM pm.fetch('mailer', 'one')}), '0', 'no other consumer gets the lane');
$two->do('COMMIT');
is($one->do(q{SELECT count(*) FROM pm.fetch('mailer', 'one')}), '0', 'nor the event, when it is advanced');

# ---- pm.seek and pm.alter between fetch and advance

foreach my $change (q{SELECT pm.seek('mailer', 'outbox', (SELECT max("position") FROM outbox))}, q{SELECT pm.alter('mailer', lanes => 2)}, q{SELECT pm.alter('mailer', lanes => 3)})
{
	$node->safe_psql('postgres', q{SELECT pm.append('outbox', 's', 'mail')});
	$lane = $one->do(q{SELECT DISTINCT lane FROM pm.fetch('mailer', 'one')});
	$node->safe_psql('postgres', $change);
	$one->do("SELECT pm.advance('mailer', 'one', $lane)", may_fail => 1);
	like($one->error, qr/PM002|does not hold/, "refused after $change");
	$node->safe_psql('postgres', q{SELECT pm.seek('mailer', 'outbox', (SELECT max("position") FROM outbox))});
}
# while an advance is open, they wait
$node->safe_psql('postgres', q{SELECT pm.append('outbox', 's', 'mail')});
$lane = $one->do(q{SELECT lane FROM pm.fetch('mailer', 'one')});
$one->do("BEGIN; SELECT pm.advance('mailer', 'one', $lane)");
$two->send(q{SELECT pm.pause('mailer')});
ok(PmTest::wait_until($node, 'SELECT wait_event_type FROM pg_stat_activity WHERE pid = ' . $two->pid, 'Lock'), 'pm.pause waits for an advance that is open');
$one->do('COMMIT');
$two->wait;
is($one->do(q{SELECT count(*) FROM pm.fetch('mailer', 'one')}), '0', 'nothing is fetched during a pause');
$two->do(q{SELECT pm.resume('mailer')});
$_->quit foreach $one, $two;

# ---- kills

$node->safe_psql('postgres', q{SELECT pm.alter('mailer', lease => '300 ms')});
my $first = $node->safe_psql('postgres', q{SELECT max("position") FROM outbox});
my $writer = PmTest::start_psql($node, join("\n", map { "SELECT count(pm.append('outbox', 's-' || i % 20, 'mail')) FROM generate_series(1, 8) i;\nSELECT pg_sleep(0.03);" } 1 .. 200));
my @consumers;
my $named = 0;
my $kills = 0;

# The script that the page about psql has.
my ($round) = slurp_file(($ENV{PM_TEST_ROOT} // '.') . '/clients/psql/README.md') =~ /^```psql\n(.*?)^```$/ms;
$node->safe_psql('postgres', q{CREATE TABLE mailed (recipient text CHECK (recipient <> 'nobody'), key text, position bigint, n serial)});

sub consumer
{
	my $name = 'c' . ++$named;

	# A round may return nothing, and leave the variables of the one before.
	return PmTest::start_psql($node, "\\set ON_ERROR_STOP off\n\\set me $name\n" . "$round\\unset position\n" x 5000);
}

push @consumers, consumer() foreach 1 .. 3;
while ($kills < 50)
{
	my $victim = int(rand(@consumers));

	sleep(0.05 + rand(0.2));
	$consumers[$victim]{h}->signal('KILL');
	eval { $consumers[$victim]{h}->finish };
	$consumers[$victim] = consumer();
	$kills++;
}
PmTest::finish_psql($writer);
# An event that cannot be handled, one without a recipient, and a timer.
$node->safe_psql('postgres', <<'SQL');
SELECT pm.append('outbox', 'bad', 'mail', '{"to": "nobody"}'), pm.append('outbox', 'good', 'mail', '{"to": null}');
SELECT pm.send('mailer', 'sent', 'mail', '{"to": "ann@example.com"}');
SQL
ok(PmTest::wait_until($node, "SELECT (SELECT sum(lag) FROM pm.status), (SELECT count(*) FROM mailed WHERE key = 'sent')", '0|1'), 'all is advanced after the kills');
foreach (@consumers)
{
	$_->{h}->signal('KILL');
	eval { $_->{h}->finish };
}
like($node->safe_psql('postgres', q{SELECT key, state, message FROM pm.parked}), qr/^bad\|failing\|.*violates check constraint "mailed_recipient_check"$/, 'only what has failed is parked');
is($node->safe_psql('postgres', q{WITH d AS (DELETE FROM mailed WHERE key IN ('good', 'sent') RETURNING recipient, key) TABLE d ORDER BY key}), "|good\nann\@example.com|sent", 'what came after it is handled');
is($node->safe_psql('postgres', "SELECT count(*) FROM outbox WHERE \"position\" > $first AND stream LIKE 's-%' AND \"position\" NOT IN (SELECT position FROM mailed)"), '0', "$kills consumers killed: no effect is missing");
is($node->safe_psql('postgres', 'SELECT count(*) - count(DISTINCT position) FROM mailed'), '0', 'none is there twice');
is($node->safe_psql('postgres', 'SELECT count(*) FROM (SELECT position < lag(position) OVER (PARTITION BY key ORDER BY n) AS bad FROM mailed) x WHERE bad'), '0', 'none is out of the order of its key');
PmTest::figure(sprintf('%d events, %d kills', $node->safe_psql('postgres', 'SELECT count(*) FROM mailed'), $kills));

# ---- wait

$node->safe_psql('postgres', q{SELECT pm.create_log('calls'); SELECT pm.register('caller', NULL, '{calls}', lease => '1 h')});
my $waiter = PmTest::session($node);
my $waits = q{SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%caller%' AND state = 'active' AND wait_event_type = 'Extension'};
foreach my $round (1 .. 5)
{
	$waiter->send(q{SELECT "position" FROM pm.fetch('caller', 'c', wait => '60 s')});
	ok(PmTest::wait_until($node, $waits, 1), "round $round: it waits");
	is($node->safe_psql('postgres', 'SELECT count(backend_xid) FROM pg_stat_activity WHERE pid = ' . $waiter->pid), '0', 'without a transaction ID');
	my $since = time;
	$node->safe_psql('postgres', q{INSERT INTO calls (stream, type) VALUES ('s', 'T')});
	is($waiter->wait, $round, 'and is woken by a commit');
	cmp_ok(time - $since, '<', 10, 'at once');
	$waiter->do(q{SELECT pm.advance('caller', 'c', 0)});
}
$waiter->do(q{BEGIN; SELECT pm.save('caller', 'c', 's', '{}'); SELECT pm.set_timer('ring', now() + '1 s', name => 'caller', consumer => 'c', key => 's'); COMMIT});
is($waiter->do(q{SELECT type FROM pm.fetch('caller', 'c', wait => '60 s')}), 'ring', 'it is woken by a timer');
$waiter->do(q{SELECT pm.advance('caller', 'c', 0)});
# released by another one
my $taker = PmTest::session($node);
$node->safe_psql('postgres', q{SELECT pm.append('calls', 's', 'T')});
$waiter->do(q{SELECT "position" FROM pm.fetch('caller', 'c')});
$taker->send(q{SELECT attempt FROM pm.fetch('caller', 'd', wait => '60 s')});
ok(PmTest::wait_until($node, $waits, 1), 'it waits for a lane that is held');
$waiter->do(q{SELECT pm.release('caller', 'c')});
is($taker->wait, '1', 'and gets it when it is released');
$taker->do(q{SELECT pm.advance('caller', 'd', 0); SELECT pm.release('caller', 'd')});
# not in a transaction that has written
$waiter->do(q{BEGIN; INSERT INTO effect (pos) VALUES (0)});
$waiter->do(q{SELECT * FROM pm.fetch('caller', 'c', wait => '1 s')}, may_fail => 1);
like($waiter->error, qr/cannot wait in a transaction that has written/, 'no wait in a transaction that has written');
$waiter->do('ROLLBACK', may_fail => 1);
# canceled and killed
foreach my $end (qw(pg_cancel_backend pg_terminate_backend))
{
	$taker->send(q{SELECT * FROM pm.fetch('caller', 'd', wait => '60 s')});
	ok(PmTest::wait_until($node, $waits, 1), 'it waits');
	$node->safe_psql('postgres', "SELECT $end(" . $taker->pid . ')');
	eval { $taker->wait(may_fail => 1) };
	ok(PmTest::wait_until($node, $waits, 0), "$end ends it");
}
is($node->safe_psql('postgres', 'SELECT count(*) FROM pm.consumer WHERE lease_until > now()'), '0', 'nothing is leased');
$waiter->send(q{SELECT "position" FROM pm.fetch('caller', 'c', wait => '60 s')});
ok(PmTest::wait_until($node, $waits, 1), 'another one waits');
$node->safe_psql('postgres', q{SELECT pm.append('calls', 's', 'T')});
isnt($waiter->wait, '', 'and is woken');
$waiter->do(q{SELECT pm.advance('caller', 'c', 0); SELECT pm.release('caller', 'c')});
# pm.wait_for waits for a consumer, too
$node->safe_psql('postgres', q{SELECT pm.append('calls', 's', 'T')});
$waiter->do(q{SELECT "position" FROM pm.fetch('caller', 'c')});
$taker = PmTest::session($node);
$taker->send(q{SELECT pm.wait_for('caller', timeout => '60 s')});
ok(PmTest::wait_until($node, 'SELECT wait_event_type FROM pg_stat_activity WHERE pid = ' . $taker->pid, 'Extension'), 'pm.wait_for waits');
$waiter->do(q{SELECT pm.advance('caller', 'c', 0)});
is($taker->wait, 't', 'until the consumer has advanced');
$waiter->do(q{SELECT pm.release('caller', 'c')});
$taker->quit;
# many of them, idle: nothing is written
my @waiters = map { PmTest::session($node) } 1 .. 20;
$_->send(q{SELECT "position" FROM pm.fetch('caller', 'w', wait => '60 s')}) foreach @waiters;
ok(PmTest::wait_until($node, $waits, 20), '20 sessions wait');
$node->safe_psql('postgres', 'CHECKPOINT');
my $before = $node->safe_psql('postgres', q{SELECT pg_current_wal_insert_lsn()});
sleep 5;
cmp_ok($node->safe_psql('postgres', "SELECT pg_current_wal_insert_lsn() - '$before'"), '<', 1000, 'and write nothing');
$node->safe_psql('postgres', q{SELECT pm.append('calls', 's', 'T')});
$node->safe_psql('postgres', q{SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE query LIKE '%caller%' AND wait_event_type = 'Extension'});
eval { $_->wait(may_fail => 1) } foreach @waiters;
PmTest::no_crash_ok($node);

done_testing();
