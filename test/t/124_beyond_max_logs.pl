# More logs than pm.max_logs, in two databases, of two roles: nobody polls, and still each event is handled soon, and once, while
# logs get slots and lose them, are dropped and made again, and dispatchers are killed. A consumer is woken as well.
#
#   PM_SOAK=1        1,500 logs and 1,024 slots instead of 40 and 16, and kills for two minutes
use strict;
use warnings FATAL => 'all';

use PmTest;
use Test::More;
use Time::HiRes qw(sleep time);

my ($slots, $logs, $rounds) = $ENV{PM_SOAK} ? (1024, 1500, 60) : (16, 40, 3);
my $node = PmTest::node('beyond', conf => <<CONF);
pm.max_logs = $slots
pm.poll_interval = '1h'
pm.max_workers = 6
max_worker_processes = 16
max_locks_per_transaction = 256
CONF

sub answer
{
	my ($sql, %opt) = @_;
	return $node->safe_psql($opt{dbname} // 'postgres', $sql, extra_params => $opt{user} ? [ '-U', $opt{user} ] : []);
}

answer("CREATE ROLE $_ LOGIN") for qw(many few);
answer('CREATE DATABASE other');
answer('CREATE EXTENSION pm', dbname => 'other');
my %seen;
for my $db (qw(postgres other))
{
	PmTest::create_seen($node, dbname => $db);
	answer("GRANT USAGE ON SCHEMA pm TO $_; CREATE SCHEMA $_ AUTHORIZATION $_; GRANT CREATE ON SCHEMA public TO $_", dbname => $db) for qw(many few);
	PmTest::create_handler($node, "keep_$_", dbname => $db, user => $_) for qw(many few);
	for my $role (qw(many few))
	{
		my $n = $role eq 'many' ? $logs : 10;
		for (my $i = 1; $i <= $n; $i += 50)
		{
			my $to = $i + 49 < $n ? $i + 49 : $n;
			answer("SELECT count(pm.create_log('$role.l' || i)) FROM generate_series($i, $to) i", dbname => $db, user => $role);
		}
		answer("SELECT pm.register('$role', 'keep_$role', array_agg('$role.l' || i)) FROM generate_series(1, $n) i", dbname => $db, user => $role);
		$seen{"$db.$role"} = 0;
	}
}

# All events that this role has written in this database are handled within some seconds.
sub handled
{
	my ($db, $role, $count, $name) = @_;

	$seen{"$db.$role"} += $count;
	return ok(PmTest::wait_seen($node, "keep_$role", $seen{"$db.$role"}, dbname => $db, timeout => 40), "$name: $role in $db")
	  || diag(answer("SELECT process_manager, log, lag, state, reason FROM pm.status WHERE lag <> 0", dbname => $db), answer('TABLE pm.worker'));
}

# Each log is written alone, in a session of its own or in one that has written many. Returns the longest time.
sub each_alone
{
	my ($db, $role, $session, @logs) = @_;
	my $slowest = 0;

	for my $log (@logs)
	{
		my $sql = "SELECT extract(epoch FROM clock_timestamp()) FROM pm.append('$role.$log', 's', 't')";
		my $appended = $session ? $session->do($sql) : answer($sql, dbname => $db, user => $role);
		handled($db, $role, 1, "an event in $log") or return 99;
		my $took = PmTest::handled_at($node, "pm = 'keep_$role'", dbname => $db) - $appended;
		$slowest = $took if $took > $slowest;
	}
	return $slowest;
}

for my $db (qw(postgres other))
{
	answer("SELECT count(pm.append('many.l' || i, 's', 't')) FROM generate_series(1, $logs) i", dbname => $db, user => 'many');
	handled($db, 'many', $logs, 'an event in each log');
	cmp_ok(each_alone($db, 'few', undef, map { "l$_" } 1, 5, 10), '<', 5, "soon: few in $db");
	my $session = PmTest::session($node, dbname => $db, user => 'many');
	my $slowest = each_alone($db, 'many', $session, map { 'l' . int($logs * $_ / 8) } 1 .. 8);
	cmp_ok($slowest, '<', 5, "soon: many in $db");
	PmTest::figure(sprintf('%d logs in %s, %d slots: slowest of 8 events after %.0f ms', $logs, $db, $slots, 1000 * $slowest));
	$session->quit;
}
ok(PmTest::wait_in_log($node, qr/keeps the marks of $slots event logs/), "the server's log says that there are more logs");

# ---- a consumer waits for logs without a slot

answer(<<'SQL', user => 'many');
SELECT pm.register('consumer', NULL, ARRAY(SELECT name FROM pm.log WHERE name ~ '^many' ORDER BY name LIMIT 30), start_at => 'end');
SQL
my $consumer = PmTest::session($node, user => 'many');
{
	$consumer->send("SELECT count(*), extract(epoch FROM clock_timestamp()) FROM pm.fetch('consumer', 'c', wait => '60 s')");
	PmTest::wait_until($node, "SELECT wait_event FROM pg_stat_activity WHERE pid = " . $consumer->pid, 'PmFetch') if $node->pg_version >= 17;
	sleep 0.5;
	my $appended = answer("SELECT extract(epoch FROM clock_timestamp()) FROM pm.append((SELECT max(log) FROM pm.cursor WHERE process_manager = 'consumer'), 's', 't')", user => 'many');
	my ($count, $at) = split /\|/, $consumer->wait;
	is($count, 1, 'a consumer that waits gets the event');
	cmp_ok($at - $appended, '<', 10, 'and is woken');
}
handled('postgres', 'many', 1, 'the same event');
$consumer->quit;
answer("SELECT pm.unregister('consumer')", user => 'many');

# ---- slots move: logs are dropped and made, and dispatchers killed, while others write

my %drop = map { $_ => [ 'l1', 'l2', 'l3' ] } qw(many few);
for my $round (1 .. $rounds)
{
	my @writers;
	for my $role (qw(many few))
	{
		# The first three logs are left out, because they are dropped.
		my $others = $role eq 'many' ? $logs - 3 : 7;
		my $script = join '', map { sprintf "SELECT pm.append('%s.l%d', 's%d', 'u');\n", $role, 4 + ($round * 31 + $_ * 7) % $others, $_ } 1 .. 60;
		push @writers, PmTest::start_psql($node, $script, user => $role);
	}
	for my $role (qw(many few))
	{
		answer("SELECT pg_terminate_backend(pid) FROM pm.worker WHERE kind = 'dispatcher' AND role = '$role'");
		for my $i (0 .. 2)
		{
			my ($old, $new) = ("$role.$drop{$role}[$i]", "$role.n${round}_$i");
			answer("SELECT pm.create_log('$new'), pm.alter('$role', logs => (SELECT logs || '$new'::text FROM pm.process_manager WHERE name = '$role'))", user => $role);
			answer("SELECT pm.unfollow('$role', '$old'), pm.drop_log('$old'); DROP TABLE $old", user => $role);
			$drop{$role}[$i] = "n${round}_$i";
		}
	}
	is((PmTest::finish_psql($_))[0], 0, "round $round: no writer fails") for @writers;
	handled('postgres', $_, 60, "round $round: all events") for qw(many few);
	cmp_ok(each_alone('postgres', 'many', undef, @{ $drop{many} }, 'l4', "l$logs"), '<', 10, "round $round: no wake-up is lost");
}
is(answer('SELECT count(*) - count(DISTINCT (pm, log, pos)) FROM seen', dbname => $_), 0, "no event is handled twice in $_") for qw(postgres other);
is(answer('SELECT count(*) FROM (SELECT pos < lag(pos) OVER (PARTITION BY pm, log, stream ORDER BY seq) AS bad FROM seen) x WHERE bad'), 0, 'no event of a stream is out of order');
answer('DROP DATABASE other WITH (FORCE)');
cmp_ok(each_alone('postgres', 'few', undef, map { "l$_" } 6 .. 9), '<', 5, 'when a database is gone, its slots are used by others');
PmTest::no_crash_ok($node);
$node->stop('fast');
done_testing();
