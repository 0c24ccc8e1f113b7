# Three cases: a cluster with many databases, few of them with pm; template1 with pm, and databases copied from it; a server
# without a free worker slot. Nothing hangs, the log file does not fill up, and no copy runs before it is adopted.
#
#   PM_SOAK=1        50 databases, loops of 20, slots taken for 60 s (otherwise 12, 5 and 8 s)
use strict;
use warnings FATAL => 'all';

use PmTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my ($databases, $rounds, $taken) = $ENV{PM_SOAK} ? (50, 20, 60) : (12, 5, 8);
my $with = 5;
my $node = PmTest::node('many', extension => 0, conf => <<'CONF');
max_worker_processes = 16
max_parallel_workers = 16
max_connections = 40
pm.max_workers = 6
CONF
$node->safe_psql('postgres', 'CREATE ROLE app LOGIN; CREATE ROLE dba LOGIN CREATEDB');

sub answer
{
	my ($sql, %opt) = @_;
	return $node->safe_psql($opt{dbname} // 'postgres', $sql, extra_params => $opt{user} ? [ '-U', $opt{user} ] : []);
}

# Sets up pm in a database.
sub set_up
{
	my ($name) = @_;

	answer('CREATE EXTENSION pm; GRANT USAGE ON SCHEMA pm TO app; GRANT CREATE ON SCHEMA public TO app', dbname => $name);
	PmTest::create_seen($node, dbname => $name);
	PmTest::create_handler($node, 'keep', dbname => $name, user => 'app');
	answer("SELECT pm.create_log('orders'); SELECT pm.register('keep', 'keep', '{orders}'); INSERT INTO orders (stream, type) VALUES ('a', 'A')", dbname => $name, user => 'app');
	return;
}
sub handled
{
	my ($name, $count) = @_;
	return PmTest::wait_seen($node, 'keep', $count, dbname => $name);
}
sub timed
{
	my ($slowest, $sql, %opt) = @_;
	# These commands do a checkpoint, which would take the longer the more has been written before: that is done first.
	answer('CHECKPOINT');
	my ($took, $rc, undef, $err) = PmTest::timed_psql($node, "SET statement_timeout = '120 s';\n$sql", %opt);

	is($rc, 0, $sql) or diag($err);
	$$slowest = $took if $took > $$slowest;
	return;
}

# ---- many databases

answer("CREATE DATABASE d$_ TEMPLATE template0") for 1 .. $databases;
set_up("d$_") for 1 .. $with;
ok(handled("d$_", 1), "d$_: an event is handled") for 1 .. $with;
is(answer("SELECT string_agg(DISTINCT datname, ' ' ORDER BY datname) FROM pg_stat_activity WHERE backend_type IN ('pm scheduler', 'pm dispatcher')"),
	join(' ', map { "d$_" } 1 .. $with), 'databases with pm have workers, others have none');
my $slowest = 0;
for my $round (1 .. 3)
{
	answer("INSERT INTO orders (stream, type) VALUES ('a', 'A')", dbname => "d$_") for 1 .. $with;
	my $took = PmTest::seconds { ok(handled("d$_", 1 + $round), "d$_: another event is handled") for 1 .. $with };
	$slowest = $took if $took > $slowest;
}
PmTest::figure(sprintf('%d databases, %d with pm, %d workers at most at a time: an event in each is handled after %.1f s at the most', $databases, $with, 6, $slowest));
PmTest::exactly_once_ok($node, 'keep', 'orders', "d$_: once and in order", dbname => "d$_") for 1 .. $with;

# ---- no worker slot is free

my $hog = 'CREATE TABLE hog AS SELECT i FROM generate_series(1, 100000) i; ALTER TABLE hog SET (parallel_workers = 16)';
answer($hog);
answer('ALTER SYSTEM SET pm.launcher = off; SELECT pg_reload_conf()');
ok(PmTest::wait_until($node, "SELECT count(*) FROM pg_stat_activity WHERE backend_type IN ('pm scheduler', 'pm dispatcher')", 0), 'there is no worker of pm');
my @hogs = map { PmTest::session($node) } 1 .. 2;
for my $session (@hogs)
{
	$session->do('SET max_parallel_workers_per_gather = 16; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET parallel_leader_participation = off');
	$session->send('SELECT count(*) FROM hog WHERE pg_sleep(1000) IS NULL;');
	# the second query gets the slots that the first one left
	PmTest::wait_until($node, 'SELECT count(*) > 0 FROM pg_stat_activity WHERE backend_type = $$parallel worker$$', 't');
}
my $workers = answer("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'parallel worker'");
cmp_ok($workers, '>=', 14, "all other slots are taken ($workers)");
answer("INSERT INTO orders (stream, type) VALUES ('b', 'B')", dbname => "d$_") for 1 .. $with;
my $log_before = -s $node->logfile;
answer('ALTER SYSTEM SET pm.launcher = on; SELECT pg_reload_conf()');
my $until = time + $taken;
my $said = 0;
while (time < $until)
{
	sleep 0.5;
	$said ||= answer("SELECT bool_or(state <> 'idle' AND reason IS NOT NULL AND hint LIKE '%max_worker_processes%') FROM pm.status", dbname => 'd1') eq 't';
}
is(answer("SELECT count(*) FROM seen", dbname => 'd1'), 4, 'without a worker no event is handled');
ok($said, 'pm.status says that there is no slot') or diag(answer('SELECT state, reason, hint FROM pm.status', dbname => 'd1'));
my $log = substr(PostgreSQL::Test::Utils::slurp_file($node->logfile), $log_before);
my @lines = grep { /worker|pm / && !/parameter|reload/ } split /\n/, $log;
cmp_ok(scalar @lines, '<=', 12, sprintf('%d lines in the log in %d s', scalar @lines, $taken)) or diag($log);
my ($free) = split /\n/, answer('SELECT extract(epoch FROM clock_timestamp()); SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE $$%FROM hog%$$ AND pid <> pg_backend_pid()');
ok(handled("d$_", 5), "d$_: events are handled again") for 1 .. $with;
my $recovered = 0;
for my $at (map { answer('SELECT extract(epoch FROM max(at)) FROM seen', dbname => "d$_") } 1 .. $with)
{
	$recovered = $at - $free if $at - $free > $recovered;
}
cmp_ok($recovered, '<=', 10, sprintf('within 10 s (%.1f s)', $recovered));
PmTest::figure(sprintf('no worker slot for %d s: %d lines in the log; work continues %.1f s after there are some, in all of %d databases', $taken, scalar @lines, $recovered, $with));

# ---- template1 with pm, and databases copied from it: no worker runs in a template

set_up('template1');
ok(PmTest::wait_until($node, "SELECT state || (reason LIKE '%template%') FROM pm.status", 'waitingtrue', dbname => 'template1'), 'in template1 nothing runs, and pm.status says why')
  or diag(answer('TABLE pm.status', dbname => 'template1'));
my %slow = map { $_ => 0 } qw(CREATE RENAME DROP);
my $ran = 0;
for my $round (1 .. $rounds)
{
	timed(\$slow{CREATE}, "CREATE DATABASE copy_$round TEMPLATE template1", user => 'dba');
	timed(\$slow{RENAME}, "ALTER DATABASE copy_$round RENAME TO copied_$round", user => 'dba');
	answer("INSERT INTO orders (stream, type) VALUES ('c', 'C')", dbname => "copied_$round");
	ok(PmTest::wait_until($node, "SELECT state || (reason LIKE '%copy%') FROM pm.status", 'waitingtrue', dbname => "copied_$round"), "round $round: the reason in the copy says that it is a copy");
	# By now an event would have been handled: it is appended to the database that was copied.
	answer("INSERT INTO orders (stream, type) VALUES ('u', 'U')", dbname => 'd1');
	handled('d1', 5 + $round);
	$ran++ if answer('SELECT count(*) FROM seen', dbname => "copied_$round") > 0;
	if ($round % 2)
	{
		answer('SELECT pm.resume()', dbname => "copied_$round", user => 'app');
		ok(handled("copied_$round", 2), "round $round: after its adoption the copy continues");
		PmTest::exactly_once_ok($node, 'keep', 'orders', "round $round: with what was there, once and in order", dbname => "copied_$round");
	}
	timed(\$slow{DROP}, "DROP DATABASE copied_$round WITH (FORCE)", user => 'dba');
}
is($ran, 0, 'no copy has run before its adoption');
cmp_ok($slow{$_}, '<', 5, sprintf('%s, %d times, by an owner who is not a superuser: within 5 s (%.2f s)', $_, $rounds, $slow{$_})) for sort keys %slow;
PmTest::figure(sprintf('copies of a template1 with pm, %d times: %s at the most', $rounds, join(', ', map { sprintf('%s %.2f s', $_, $slow{$_}) } qw(CREATE RENAME DROP))));
is(answer('SELECT count(*) FROM seen', dbname => 'template1'), 0, 'nor has template1');
is(answer("SELECT count(*) FROM pg_stat_activity WHERE datname = 'template1'"), 0, 'no session is connected to template1');

$_->{h}->kill_kill for grep { ref $_->{h} } @hogs;
PmTest::no_crash_ok($node);
$node->stop('fast');
done_testing();
