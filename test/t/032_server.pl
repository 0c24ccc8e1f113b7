# Stops and crashes of the server: a fast shutdown during a handler, restarts, crashes, workers that
# are terminated by hand. Work resumes each time, and nothing is lost or handled twice.
use strict;
use warnings FATAL => 'all';

use PmTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = PmTest::node('server', conf => "restart_after_crash = on\nmax_prepared_transactions = 10\n");

$node->safe_psql('postgres', 'CREATE ROLE app LOGIN; GRANT USAGE ON SCHEMA pm TO app; GRANT CREATE ON SCHEMA public TO app');
PmTest::create_seen($node);
PmTest::create_handler($node, 'keep', user => 'app', after => 'PERFORM pg_sleep(0.002);');
PmTest::create_handler($node, 'copier', user => 'app',
	after => "PERFORM pm.append('results', e.stream, 'Copied', jsonb_build_object('of', e.position));");
$node->safe_psql('postgres', <<'SQL', extra_params => [ '-U', 'app' ]);
SELECT pm.create_log('orders');
SELECT pm.create_log('results');
SELECT pm.register('keep', 'keep', '{orders}', batch_size => 10, on_failure => 'halt');
SELECT pm.register('copier', 'copier', '{orders}', on_failure => 'halt');
SQL

sub append
{
	my ($n) = @_;
	$node->safe_psql('postgres', "INSERT INTO orders (stream, type) SELECT 's' || i % 7, 'A' FROM generate_series(1, $n) i");
	return;
}

sub all_handled_ok
{
	my ($name) = @_;
	my $ok;
	my $took = PmTest::seconds { $ok = PmTest::wait_idle($node); };

	ok($ok, sprintf('%s: work resumes (%.1f s)', $name, $took));
	PmTest::exactly_once_ok($node, 'keep', 'orders', "$name: nothing is lost or handled twice");
	PmTest::exactly_once_ok($node, 'copier', 'orders', "$name: the same for the handler that appends");
	is( $node->safe_psql('postgres', "SELECT count(*) - count(DISTINCT data->>'of'), (SELECT count(*) FROM orders) - count(*) FROM results"),
		'0|0', "$name: each appended once");
	return;
}

# Stops the server, and returns how long it took by its own log. pg_ctl notices it later.
sub stop
{
	my ($mode) = @_;
	$node->stop($mode);
	return (PmTest::logged_at($node, qr/LOG:  database system is shut down/))[-1] -
	  (PmTest::logged_at($node, qr/LOG:  received \w+ shutdown request/))[-1];
}

# ---- restarts and crashes in the middle of work

for my $mode (qw(fast immediate fast immediate immediate))
{
	# an open session looks often enough to meet the middle
	my $session = PmTest::session($node);
	my $left = 0;
	for (1 .. 20)
	{
		append(300);
		do { $left = $session->do("SELECT lag FROM pm.status WHERE process_manager = 'keep'") } until $left <= 290;
		last if $left > 0;
	}
	$node->stop($mode);
	$session->quit;
	cmp_ok($left, '>', 0, "stop $mode in the middle");
	$node->start;
	all_handled_ok("stop $mode with $left events to go");
}

# ---- a handler that sleeps

PmTest::create_handler($node, 'sleeper', user => 'app', after => 'PERFORM pg_sleep(600) WHERE NOT EXISTS (SELECT FROM awake);');
$node->safe_psql('postgres', "CREATE TABLE awake (); GRANT ALL ON awake TO app; SELECT pm.register('sleeper', 'sleeper', '{orders}', start_at => 'end', handler_timeout => '1 h')",
	extra_params => [ '-U', 'app' ]);
for my $round (1 .. 3)
{
	append(1);
	ok(PmTest::wait_until($node, "SELECT count(*) FROM pm.worker WHERE process_manager = 'sleeper' AND state = 'handling'", 1),
		'a handler sleeps');
	my $took = stop('fast');
	cmp_ok($took, '<=', 5, sprintf('the server stops within 5 s (%.2f s)', $took));
	$node->start;
}
# a handler in a busy loop
PmTest::create_handler($node, 'sleeper', user => 'app', after => 'WHILE NOT EXISTS (SELECT FROM awake) LOOP END LOOP;');
ok(PmTest::wait_until($node, "SELECT count(*) FROM pm.worker WHERE process_manager = 'sleeper' AND state = 'handling'", 1),
	'a handler runs');
my $took = stop('fast');
cmp_ok($took, '<=', 5, sprintf('the server stops within 5 s (%.2f s)', $took));
$node->start;
$node->safe_psql('postgres', 'INSERT INTO awake DEFAULT VALUES');
PmTest::create_handler($node, 'sleeper', user => 'app');
all_handled_ok('after that');
is($node->safe_psql('postgres', "SELECT count(*), count(DISTINCT pos) FROM seen WHERE pm = 'sleeper'"), '3|3', 'the sleeping handler handled its events once');
is($node->safe_psql('postgres', 'SELECT sum(errors) FROM pm.status'), '0', 'a shutdown is not counted as a failed attempt');

# ---- workers terminated by hand

my $pid = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'pm %s'";
for my $round (1 .. 2)
{
	for my $kind (qw(dispatcher scheduler launcher))
	{
		append(200);
		my $old = $node->safe_psql('postgres', sprintf($pid, $kind));
		is($node->safe_psql('postgres', "SELECT pg_terminate_backend($old)"), 't', "pg_terminate_backend of the $kind");
		all_handled_ok("$kind terminated");
		my $back;
		$took = PmTest::seconds
		{
			$back = PmTest::wait_until($node, sprintf("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pm %s' AND pid <> $old", $kind), 1);
		};
		ok($back, sprintf('another %s is there (%.1f s later)', $kind, $took));
	}
}
append(100);
$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type LIKE 'pm %'");
all_handled_ok('all of them terminated');

# pg_cancel_backend: the worker repeats what it was doing
append(200);
for (1 .. 20)
{
	$node->safe_psql('postgres', "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE backend_type LIKE 'pm %'");
}
all_handled_ok('canceled many times');

# ---- a crash of a backend restarts the server

for my $kind (qw(dispatcher client))
{
	append(200);
	my $session;
	if ($kind eq 'client')
	{
		$session = PmTest::session($node);
		$session->do("BEGIN; INSERT INTO orders (stream, type) VALUES ('never', 'N')");
	}
	my $victim = $session ? $session->pid : $node->safe_psql('postgres', sprintf($pid, 'dispatcher'));
	ok(PmTest::crash($node, $victim), 'the server is up again');
	eval { $session->quit } if $session;
	append(20);
	all_handled_ok("kill -9 of a $kind");
}
is($node->safe_psql('postgres', "SELECT count(*) FROM seen WHERE stream = 'never'"), '0', 'no rolled-back event was handled');

PmTest::no_crash_ok($node);
$node->stop('fast');
done_testing();
