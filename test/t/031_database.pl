# DROP, RENAME, SET TABLESPACE and TEMPLATE of a database in which workers run: the workers end when
# the command needs it, and come back. Commands on other databases are never delayed. A copy does not run.
use strict;
use warnings FATAL => 'all';

use PmTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = PmTest::node('database', extension => 0, conf => "pm.max_workers = 8\nmax_connections = 40\n");

$node->safe_psql('postgres', <<'SQL');
CREATE ROLE app LOGIN;
CREATE ROLE dba LOGIN CREATEDB;
CREATE ROLE stranger LOGIN CREATEDB;
SQL

# Creates a database in which pm is active.
sub database
{
	my ($name, %opt) = @_;
	my $owner = $opt{owner} // 'postgres';

	$node->safe_psql('postgres', "CREATE DATABASE $name OWNER $owner")
	  if !$opt{exists};
	$node->safe_psql($name, 'CREATE EXTENSION pm; GRANT USAGE ON SCHEMA pm TO app; GRANT CREATE ON SCHEMA public TO app');
	PmTest::create_seen($node, dbname => $name);
	PmTest::create_handler($node, 'keep', dbname => $name, user => 'app', after => $opt{after});
	$node->safe_psql($name, <<'SQL', extra_params => [ '-U', 'app' ]);
SELECT pm.create_log('orders');
SELECT pm.register('keep', 'keep', '{orders}', batch_size => 5, handler_timeout => '60 s');
INSERT INTO orders (stream, type) SELECT 'a', 'A' FROM generate_series(1, 3);
SQL
	return PmTest::wait_seen($node, 'keep', 3, dbname => $name);
}

# The pids of the workers of a database, in a fixed order of kinds.
sub workers
{
	my ($name) = @_;
	return $node->safe_psql('postgres',
		"SELECT string_agg(backend_type || ' ' || pid, ',' ORDER BY backend_type, pid) FROM pg_stat_activity WHERE datname = '$name' AND backend_type LIKE 'pm %'");
}

# Runs a command as a role. Returns (worked, seconds, error). DROP DATABASE and others do a checkpoint, which would take the
# longer the more has been written before: that is done first.
sub command
{
	my ($sql, %opt) = @_;
	$node->safe_psql('postgres', 'CHECKPOINT') if $sql =~ /DATABASE/;
	my ($seconds, $rc, undef, $err) = PmTest::timed_psql($node, $sql, %opt);

	return ($rc == 0, $seconds, $err);
}

# ---- DROP DATABASE of a database with workers

my %slowest;
my $good = 0;
for my $round (1 .. 20)
{
	my $kind = (qw(plain force owner sleeping busy))[ $round % 5 ];
	my $name = "own_$round";
	my $after = $kind eq 'sleeping' ? 'PERFORM pg_sleep(0.5) WHERE e.position > 3;' :
	  $kind eq 'busy' ? "IF e.position > 3 THEN FOR i IN 1 .. 1000000000 LOOP END LOOP; END IF;" : '';
	my $ready = database($name, after => $after, owner => $kind eq 'owner' ? 'dba' : 'postgres');

	$node->safe_psql($name, "INSERT INTO orders (stream, type) SELECT 'b', 'B' FROM generate_series(1, 5)");
	my ($ok, $seconds, $err) = command("DROP DATABASE $name" . ($kind eq 'force' ? ' WITH (FORCE)' : ''),
		user => $kind eq 'owner' ? 'dba' : undef);
	diag("round $round ($kind): $err") if !$ok;
	$good++ if $ok && $ready;
	$slowest{$kind} = $seconds if $seconds > ($slowest{$kind} // 0);
}
is($good, 20, '20 rounds of DROP DATABASE of a database with workers');
diag('slowest DROP DATABASE: ' . join(', ', map { sprintf('%s %.2f s', $_, $slowest{$_}) } sort keys %slowest));
for my $kind (sort keys %slowest)
{
	cmp_ok($slowest{$kind}, '<', 5, "DROP DATABASE, $kind: within 5 s");
}
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type IN ('pm scheduler', 'pm dispatcher')"),
	'0', 'no worker is left');

# ---- commands on another database are never delayed

ok(database('stays', after => 'IF e.position > 3 THEN FOR i IN 1 .. 2000000000 LOOP END LOOP; END IF;'), 'one database is left');
$node->safe_psql('stays', "INSERT INTO orders (stream, type) VALUES ('b', 'B')");
ok(PmTest::wait_until($node, "SELECT count(*) FROM pm.worker WHERE state = 'handling'", 1, dbname => 'stays'),
	'a handler runs there')
  or diag($node->safe_psql('stays', 'SELECT * FROM pm.worker'));
my $before = workers('stays');
my @drops;
for my $round (1 .. 10)
{
	$node->safe_psql('postgres', 'CREATE DATABASE another');
	my ($ok, $seconds) = command('DROP DATABASE another');
	push @drops, $seconds;
}
my ($slowest) = sort { $b <=> $a } @drops;
cmp_ok($slowest, '<', 1.5, 'DROP DATABASE of another is not delayed (' . join(', ', map { sprintf '%.2f', $_ } @drops) . ' s)');
PmTest::figure(sprintf 'DROP DATABASE of another: %.2f s (median of ten), %.2f s (most)', PmTest::median(@drops), $slowest);
is(workers('stays'), $before, 'no worker was disturbed');

# ---- a role without the right does not make workers end

$node->safe_psql('postgres', 'DROP DATABASE stays');
ok(database('d', owner => 'dba'), 'dba owns a database');
$before = workers('d');
like($before, qr/pm dispatcher \d+,pm scheduler \d+/, 'it has a dispatcher and a scheduler');
for my $sql ('DROP DATABASE d', 'DROP DATABASE d WITH (FORCE)', 'ALTER DATABASE d RENAME TO e', 'CREATE DATABASE e TEMPLATE d',
	'ALTER DATABASE d SET TABLESPACE pg_default')
{
	my ($ok, undef, $err) = command($sql, user => 'stranger');
	like($err, qr/must be owner|permission denied/, "$sql by another role is refused");
}
is(workers('d'), $before, 'the workers are still there');

# With another session connected, the command fails with that reason, and the workers come back.
my $session = PmTest::session($node, dbname => 'd');
for my $sql ('DROP DATABASE d', 'ALTER DATABASE d RENAME TO e', 'CREATE DATABASE e TEMPLATE d')
{
	my ($ok, undef, $err) = command($sql);
	like($err, qr/is being accessed by other users/, "$sql with a session in it");
}
$session->quit;
$node->safe_psql('d', "INSERT INTO orders (stream, type) VALUES ('c', 'C')");
ok(PmTest::wait_seen($node, 'keep', 4, dbname => 'd'), 'events are handled again');

# ---- RENAME

my $slow = 0;
$good = 0;
my $name = 'd';
my $n = 4;
for my $round (1 .. 6)
{
	my $new = "renamed_$round";
	my ($ok, $seconds, $err) = command("ALTER DATABASE $name RENAME TO $new", user => 'dba');
	diag($err) if !$ok;
	$name = $new if $ok;
	$slow = $seconds if $seconds > $slow;
	$node->safe_psql($name, "INSERT INTO orders (stream, type) VALUES ('r', 'R')");
	$n++;
	$good++ if $ok && PmTest::wait_seen($node, 'keep', $n, dbname => $name);
}
is($good, 6, 'ALTER DATABASE RENAME in a loop: events are handled under the new name');
cmp_ok($slow, '<', 5, sprintf('RENAME within 5 s (%.2f s)', $slow));

# ---- SET TABLESPACE

my $space = PostgreSQL::Test::Utils::tempdir_short;
$node->safe_psql('postgres', "CREATE TABLESPACE elsewhere LOCATION '$space'");
{
	my ($ok, $seconds, $err) = command("ALTER DATABASE $name SET TABLESPACE elsewhere");
	ok($ok, 'SET TABLESPACE') or diag($err);
	$node->safe_psql($name, "INSERT INTO orders (stream, type) VALUES ('t', 'T')");
	$n++;
	ok(PmTest::wait_seen($node, 'keep', $n, dbname => $name), 'events are handled in the other tablespace');
	($ok, $seconds, $err) = command("ALTER DATABASE $name SET TABLESPACE pg_default");
	ok($ok, 'SET TABLESPACE back to pg_default') or diag($err);
}

# ---- TEMPLATE: a copy waits

$slow = 0;
$good = 0;
for my $round (1 .. 6)
{
	my $strategy = $round % 2 ? 'wal_log' : 'file_copy';
	my ($ok, $seconds, $err) = command("CREATE DATABASE copy_$round TEMPLATE $name STRATEGY $strategy", user => $round % 3 ? 'dba' : undef);
	diag($err) if !$ok;
	$good++ if $ok;
	$slow = $seconds if $seconds > $slow;
	$node->safe_psql($name, "INSERT INTO orders (stream, type) VALUES ('o', 'O')");
	$n++;
	$good-- if !PmTest::wait_seen($node, 'keep', $n, dbname => $name);
}
is($good, 6, 'CREATE DATABASE ... TEMPLATE in a loop: the original continues');
cmp_ok($slow, '<', 8, sprintf('CREATE DATABASE ... TEMPLATE within 8 s (%.2f s)', $slow));

my $copied = $node->safe_psql('copy_1', 'SELECT count(*) FROM orders');
$node->safe_psql('copy_1', "INSERT INTO orders (stream, type) VALUES ('copy', 'C')");
like(
	$node->safe_psql('copy_1', 'SELECT state, reason, hint FROM pm.status'),
	qr/^waiting\|this database is a copy\|SELECT pm\.resume\(\) adopts the copy/,
	'pm.status of the copy says that it is one');
# Registering a new process manager in the copy must not start the copied one.
PmTest::create_handler($node, 'fresh', dbname => 'copy_1', user => 'app');
$node->safe_psql('copy_1', "SELECT pm.register('fresh', 'fresh', '{orders}', start_at => 'end')", extra_params => [ '-U', 'app' ]);
$node->safe_psql('copy_1', "INSERT INTO orders (stream, type) VALUES ('copy', 'C')");
ok(PmTest::wait_seen($node, 'fresh', 1, dbname => 'copy_1'), 'a new process manager in the copy runs');
is($node->safe_psql('copy_1', "SELECT count(*) FROM seen WHERE stream = 'copy' AND pm = 'keep'"), '0', 'the copied one does not');
my ($ok, undef, $err) = command("SELECT pm.catch_up('keep')", dbname => 'copy_1', user => 'app');
like($err, qr/this database is a copy/, 'pm.catch_up does not run it either');
($ok, undef, $err) = command("SELECT pm.resume('keep')", dbname => 'copy_1', user => 'stranger');
ok(!$ok, 'another role may not resume it');
$node->safe_psql('copy_1', 'SELECT pm.resume()', extra_params => [ '-U', 'app' ]);
ok(PmTest::wait_until($node, "SELECT count(*) FROM seen WHERE stream = 'copy' AND pm = 'keep'", 2, dbname => 'copy_1'),
	'pm.resume() adopts it: it continues from its cursor');
PmTest::exactly_once_ok($node, 'keep', 'orders', 'in the copy everything was handled once', dbname => 'copy_1');
PmTest::exactly_once_ok($node, 'keep', 'orders', 'and in the original', dbname => $name);
is($node->safe_psql('copy_2', "SELECT state FROM pm.status"), 'waiting', 'another copy still waits');
is(workers('copy_2') =~ /dispatcher/ ? 'runs' : '', '', 'it has no dispatcher');

# The server's log says so once for each copy, whatever becomes of the scheduler.
sub waits_in_log { return scalar(() = slurp_file($node->logfile) =~ /pm waits for pm\.resume\(\) in database "$_[0]", which is a copy$/mg); }
my $scheduler = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'pm scheduler' AND datname = 'copy_2'";
my $first = $node->safe_psql('postgres', $scheduler);
is(join(' ', map { waits_in_log("copy_$_") } 1, 2), '1 1', "the server's log says once that a copy waits");
like(slurp_file($node->logfile), qr/which is a copy\n.*DETAIL: .*another database or cluster: 1\.\n.*HINT: .*SELECT pm\.resume\(\) in that database as a superuser/, 'and how to end it');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($first)");
ok(PmTest::wait_until($node, "SELECT count(*) FROM ($scheduler) s(pid) WHERE pid <> $first", '1'), 'another scheduler starts');
PmTest::create_handler($node, 'more', dbname => 'copy_2', user => 'app');
$node->safe_psql('copy_2', "SELECT pm.register('more', 'more', '{orders}', start_at => 'end'); INSERT INTO orders (stream, type) VALUES ('m', 'M')", extra_params => [ '-U', 'app' ]);
ok(PmTest::wait_until($node, "SELECT count(*) FROM seen WHERE pm = 'more'", 1, dbname => 'copy_2'), 'and works');
is(waits_in_log('copy_2'), 1, 'it does not repeat the line');
is(waits_in_log($name), 0, 'no line about the original');

# ---- a template database has no worker

$node->safe_psql('postgres', "ALTER DATABASE copy_3 IS_TEMPLATE true");
like($node->safe_psql('copy_3', 'SELECT reason FROM pm.status'), qr/copy|template/, 'a process manager in a template database waits');

PmTest::no_crash_ok($node);
$node->stop('fast');
done_testing();
