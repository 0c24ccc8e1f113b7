# A server that does not preload the library: CREATE EXTENSION, logs and pm.catch_up work,
# pm.register warns, and pm.status says why no worker runs. Then pm.launcher is switched off and on.
use strict;
use warnings FATAL => 'all';

use PmTest;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = PmTest::node('bare', preload => 0);

$node->safe_psql('postgres', 'CREATE ROLE app LOGIN; GRANT USAGE ON SCHEMA pm TO app; GRANT CREATE ON SCHEMA public TO app');
PmTest::create_seen($node);
PmTest::create_handler($node, 'keep', user => 'app');
$node->safe_psql('postgres', "SELECT pm.create_log('orders')", extra_params => [ '-U', 'app' ]);

# ---- the warning and the reason

my (undef, $out, $err) = $node->psql('postgres', "SELECT pm.register('keep', 'keep', '{orders}')", extra_params => [ '-U', 'app' ]);
like($err, qr/WARNING: +no worker will run process manager "keep"/, 'pm.register warns');
like($err, qr/not preloaded/, 'the warning gives the reason');
like($err, qr/HINT: .*shared_preload_libraries.*pm\.catch_up/s, 'the hint says what to do');
is( $node->safe_psql('postgres', 'SELECT state, reason, hint FROM pm.status'),
	'waiting|no worker runs, because the library of pm is not preloaded|Add pm to shared_preload_libraries and restart the server, or call pm.catch_up regularly.',
	'pm.status says why no worker runs');
is($node->safe_psql('postgres', 'SELECT count(*) FROM pm.worker'), '0', 'no worker');
is($node->safe_psql('postgres', 'SELECT count(*) FROM pm.blocker'), '0', 'no blocker');
is($node->safe_psql('postgres', 'SELECT pm.stat_reset(); SELECT events IS NULL, total_time IS NULL, reset_at IS NULL, dead FROM pm.stat'), "\nt|t|t|0", 'no counters');

# ---- pm.catch_up

sub catch_up
{
	my ($args) = @_;
	my ($seconds, $rc, $stdout, $stderr) = PmTest::timed_psql($node, "SELECT pm.catch_up($args)", user => 'app');
	return $rc == 0 ? ($stdout, $stderr, $seconds) : ("failed: $stderr", $stderr, $seconds);
}

$node->safe_psql('postgres', "INSERT INTO orders (stream, type) SELECT 'a', 'A' FROM generate_series(1, 250)");
is((catch_up("'keep'"))[0], '250', 'pm.catch_up handles all events');
is((catch_up(''))[0], '0', 'it handles none twice');
PmTest::exactly_once_ok($node, 'keep', 'orders');
is($node->safe_psql('postgres', 'SELECT lag FROM pm.status'), '0', 'pm.status: lag 0');

# with an open writer: pm.catch_up handles the events below the mark, and a NOTICE names the writer
my $writer = PmTest::session($node);
$writer->do("BEGIN; INSERT INTO orders (stream, type) VALUES ('late', 'L')");
$node->safe_psql('postgres', "INSERT INTO orders (stream, type) SELECT 'b', 'B' FROM generate_series(1, 10)");
my ($took, $notice);
($out, $notice, $took) = catch_up("'keep'");
like($notice, qr/NOTICE: /, 'with an open writer: a NOTICE');
my $pid = $writer->pid;
like($notice, qr/\b$pid\b/, 'the NOTICE names the session');
cmp_ok($took, '>=', 4, 'pm.catch_up has waited for the writer');
cmp_ok($took, '<=', 9, sprintf('but not for ever (%.1f s)', $took));
diag("catch_up with an open writer: $notice");
is($node->safe_psql('postgres', "SELECT count(*) FROM pm.blocker WHERE pid = $pid"), '1', 'pm.blocker names it too');
PmTest::exactly_once_ok($node, 'keep', 'orders', 'nothing past it was handled', where => "position <= (SELECT position FROM pm.cursor)");

# the writer ends while pm.catch_up waits
my $caught = PmTest::start_psql($node, "SELECT pm.catch_up('keep');", user => 'app');
PmTest::wait_until($node, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%catch_up%' AND state = 'active' AND pid <> pg_backend_pid()", 1);
$writer->do('COMMIT');
(my $rc, $out, $err) = PmTest::finish_psql($caught);
is($out, '11', 'the writer ends while pm.catch_up waits: all events are handled');
unlike($err, qr/NOTICE/, 'there is no NOTICE');
PmTest::exactly_once_ok($node, 'keep', 'orders');

# with writers all the time: no event is lost
my $until = $node->safe_psql('postgres', "SELECT clock_timestamp() + interval '6 s'");
my @writers = map {
	PmTest::start_psql($node, <<"SQL") } 1 .. 4;
DO \$\$
BEGIN
	WHILE clock_timestamp() < '$until' LOOP
		INSERT INTO orders (stream, type) SELECT 'w', 'W' FROM generate_series(1, 3);
		PERFORM pg_sleep(random() * 0.02);
		INSERT INTO orders (stream, type) VALUES ('w', 'W');
		IF random() < 0.1 THEN ROLLBACK; ELSE COMMIT; END IF;
	END LOOP;
END \$\$;
SQL
my $calls = 0;
my $sum = 0;
while ($node->safe_psql('postgres', "SELECT clock_timestamp() < '$until'") eq 't')
{
	my ($n) = catch_up("'keep', on_failure => 'policy', max_count => 500");
	last if $n =~ /failed/ and fail($n);
	$sum += $n;
	$calls++;
}
for my $run (@writers)
{
	($rc, undef, $err) = PmTest::finish_psql($run);
	is($rc, 0, 'a writer ended well') or diag($err);
}
while ((my ($n) = catch_up("'keep'")) && 1)
{
	last if $n !~ /^\d+$/ || $n == 0;
	$sum += $n;
}
diag("pm.catch_up with four writers: $calls calls, $sum events");
cmp_ok($sum, '>', 200, 'there was something to handle');
PmTest::exactly_once_ok($node, 'keep', 'orders', 'pm.catch_up with concurrent writers: once and in order');

# concurrent calls: each event is handled once
$node->safe_psql('postgres', "INSERT INTO orders (stream, type) SELECT 'c', 'C' FROM generate_series(1, 400)");
my @twice = map { PmTest::start_psql($node, "SELECT pm.catch_up('keep', max_count => 300);", user => 'app') } 1 .. 3;
my $total = 0;
for my $run (@twice)
{
	($rc, $out, $err) = PmTest::finish_psql($run);
	is($rc, 0, 'pm.catch_up concurrently with others') or diag($err);
	$total += $out || 0;
}
is($total, 400, 'three concurrent calls share the events');
PmTest::exactly_once_ok($node, 'keep', 'orders', 'each event is handled once');

# in a transaction that rolls back
is( $node->safe_psql('postgres', <<'SQL', extra_params => [ '-U', 'app' ]), "1\n0", "BEGIN ... ROLLBACK: the transaction's own events are handled and undone");
BEGIN;
INSERT INTO orders (stream, type) VALUES ('t', 'T');
SELECT pm.catch_up('keep');
ROLLBACK;
SELECT count(*) FROM seen WHERE stream = 't';
SQL

# pm.wait_for has a timeout as usual
is($node->safe_psql('postgres', "INSERT INTO orders (stream, type) VALUES ('u', 'U'); SELECT pm.wait_for('keep', timeout => '300 ms')", extra_params => [ '-U', 'app' ]),
	'f', 'pm.wait_for: false after its timeout');

# ---- the library is preloaded now: the same cluster continues by itself

$node->stop('fast');
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pm'\n");
$node->start;
ok(PmTest::wait_idle($node), 'preloaded: workers handle what is left');
PmTest::exactly_once_ok($node, 'keep', 'orders');

# ---- pm.launcher

my $workers = "SELECT count(*) FROM pg_stat_activity WHERE backend_type IN ('pm scheduler', 'pm dispatcher')";
for my $round (1 .. 3)
{
	$node->safe_psql('postgres', 'ALTER SYSTEM SET pm.launcher = off');
	$node->reload;
	ok(PmTest::wait_until($node, $workers, '0'), 'pm.launcher = off: the workers end');
	is( $node->safe_psql('postgres', 'SELECT state, reason, hint FROM pm.status'),
		'waiting|no worker runs, because pm.launcher is off|Set pm.launcher = on and reload the configuration.',
		'pm.status says so');
	(undef, undef, $err) = $node->psql('postgres', "SELECT pm.register('keep', 'keep', '{orders}')", extra_params => [ '-U', 'app' ]);
	like($err, qr/WARNING: .*pm\.launcher is off/s, 'pm.register warns');
	my $append = "INSERT INTO orders (stream, type) VALUES ('off', 'O')";
	$node->safe_psql('postgres', $append);
	if ($round == 1)
	{
		is((catch_up("'keep'"))[0], '1', 'pm.catch_up still works');
		$node->safe_psql('postgres', $append);
	}
	$node->safe_psql('postgres', 'ALTER SYSTEM SET pm.launcher = on');
	$node->reload;
	my $on = time;
	ok(PmTest::wait_idle($node), 'pm.launcher = on: they come back');
	$took = PmTest::handled_at($node, "pm = 'keep'") - $on;
	note(sprintf('the event is handled %.1f s after the reload', $took));
	cmp_ok($took, '<', 5, 'it is handled within 5 s');
}
PmTest::exactly_once_ok($node, 'keep', 'orders');

PmTest::no_crash_ok($node);
$node->stop('fast');
done_testing();
