# For everything that makes a log unreliable, pm.status names the problem, and following its hint solves it. The same in a
# session that looks for many logs at once (src/log/log_survey.c).
use strict;
use warnings FATAL => 'all';

use PmTest;
use Test::More;
use Time::HiRes qw(sleep);

my $node = PmTest::node('problems', conf => "max_connections = 40\n");

sub answer { my ($sql) = @_; return $node->safe_psql('postgres', $sql); }

sub wait_for
{
	my ($sql, $expected, $name) = @_;
	return ok(PmTest::wait_until($node, $sql, $expected), $name) || diag(answer('SELECT * FROM pm.status'));
}

answer("CREATE ROLE app LOGIN; GRANT USAGE ON SCHEMA pm TO app; GRANT CREATE ON SCHEMA public TO app; SET ROLE app;
	CREATE FUNCTION keep(e pm.event) RETURNS void LANGUAGE plpgsql AS 'BEGIN END'; RESET ROLE");

my @problems = (
	[ 'a column is renamed', 'ALTER TABLE %s RENAME type TO kind', 'column "type" of log "%s" is missing',
		'Give the column its name back.', 'ALTER TABLE %s RENAME kind TO type' ],
	[ 'a column has another type', 'ALTER TABLE %s ALTER type TYPE varchar(10)', 'column "type" of log "%s" is not of type text',
		"Change the column's type back.", 'ALTER TABLE %s ALTER type TYPE text' ],
	[ 'it is unlogged', 'ALTER TABLE %s SET UNLOGGED', 'log "%s" is not logged', 'Run ALTER TABLE ... SET LOGGED.', 'ALTER TABLE %s SET LOGGED' ],
	[ 'the identity is gone', 'ALTER TABLE %s ALTER position DROP IDENTITY', 'log "%s" has no column that is GENERATED ALWAYS AS IDENTITY', undef, undef ],
	[ 'the sequence is cached', 'ALTER TABLE %s ALTER position SET CACHE 20', 'the sequence of log "%s" has CACHE 20, INCREMENT 1', undef, undef ],
	[ 'the sequence goes round', 'ALTER TABLE %s ALTER position SET CYCLE', 'the sequence of log "%s" has CACHE 1, INCREMENT 1, CYCLE', undef, undef ],
	[ 'a trigger is off', 'ALTER TABLE %s DISABLE TRIGGER pm_before_write', '"pm_before_write" of log "%s" is missing or disabled, so events may be lost', undef, undef ],
	[ 'the check is gone', 'ALTER TABLE %s DROP CONSTRAINT pm_position_is_new', '"pm_position_is_new" of log "%s" is missing or disabled, so events may be lost', undef, undef ],
	[ 'the sequence is restarted', 'ALTER TABLE %s ALTER position RESTART WITH 100', 'the sequence of log "%s" was restarted or rebuilt', undef, undef ],
	[ 'the sequence is set back', 'SELECT setval(pg_get_serial_sequence($$%s$$, $$position$$), 1)', qr/^the sequence of log "%s" was set back to \d+, behind position \d+$/, undef, undef ],
	[ 'the owner may not read it', 'REVOKE SELECT ON %s FROM app', qr/^role "app" may not read log "%s"$/, undef, undef ],
	[ 'row-level security', 'ALTER TABLE %s ENABLE ROW LEVEL SECURITY; ALTER TABLE %1$s FORCE ROW LEVEL SECURITY', qr/^row-level security hides events of log "%s" from role "app"$/,
		undef, 'ALTER TABLE %s DISABLE ROW LEVEL SECURITY; ALTER TABLE %1$s NO FORCE ROW LEVEL SECURITY' ],
);

# A log and a process manager for each of the problems.
my $n = 0;
for my $problem (@problems)
{
	my $log = "log_" . ++$n;
	answer("SELECT pm.create_log('$log'); GRANT SELECT ON $log TO app; SET SESSION AUTHORIZATION app; SELECT pm.register('$log', 'keep', '{$log}')");
	answer("INSERT INTO $log (stream, type) VALUES ('a', 'A'), ('a', 'B'), ('a', 'C')");
}
wait_for("SELECT count(*) FROM pm.status WHERE state <> 'idle' OR lag > 0 OR position < 3", 0, 'all are idle');

# So many logs without a problem that a session that has looked at all of them looks for the others at once.
answer("SELECT count(pm.create_log('whole_' || i)) FROM generate_series(1, 40) i");

# What a session knows about a process manager that has looked at many logs before.
sub after_many
{
	my ($log) = @_;
	my ($marks, $surveys, $status) = split /\n/, answer(<<"SQL");
BEGIN;
SELECT count(pm.high_water_mark(name)) FROM pm.log WHERE name LIKE 'whole%';
SELECT seq_scan FROM pg_stat_xact_sys_tables WHERE relname = 'pg_trigger';
SELECT state, reason, hint FROM pm.status WHERE process_manager = '$log';
COMMIT;
SQL
	is("$marks $surveys", '40 1', "$log: the session has looked for all logs at once");
	return $status;
}
is(after_many('log_1'), 'idle||', 'without a problem: the same after a look at many logs');

# Runs the SQL of a hint.
sub follow
{
	my ($hint, $log) = @_;

	return $1 if $hint =~ /As the owner of its table, run (SELECT pg_catalog.setval\(.*\) FROM pm.log WHERE name = '[^']*')\.$/;
	return $1 if $hint =~ /^(?:As the table's owner, run |Run )(SELECT pm.create_log\('[^']*'\))/;
	if ($hint =~ /^Run (ALTER TABLE \S+ ALTER COLUMN \S+ ADD GENERATED ALWAYS AS IDENTITY)/) { return $1; }
	if ($hint =~ /^Run (GRANT SELECT ON \S+ TO \S+?),? and/) { return $1; }
	return $1 if $hint =~ /^Run (.*?)(?:, or .*)?\.$/;
	return undef;
}

$n = 0;
for my $problem (@problems)
{
	my ($name, $break, $reason, $hint, $fix) = @$problem;
	my $log = "log_" . ++$n;

	answer(sprintf('SET client_min_messages = error; ' . $break, $log));
	# A batch would find it, too.
	my $written = $node->psql('postgres', "INSERT INTO $log (stream, type) VALUES ('a', 'D')") == 0;
	wait_for("SELECT state FROM pm.status WHERE process_manager = '$log'", 'waiting', "$name: it waits");
	my ($state, $says, $advice) = split /\|/, answer("SELECT state, reason, hint FROM pm.status WHERE process_manager = '$log'");
	if (ref $reason) { my $re = sprintf("$reason", $log); like($says, qr/$re/, "$name: pm.status says so"); }
	else { is($says, sprintf($reason, $log), "$name: pm.status says so"); }
	is($advice, $hint, "$name: there is a hint") if defined $hint;
	is(after_many($log), "$state|$says|$advice", "$name: the same after a look at many logs");
	is(answer("SELECT reason FROM pm.status WHERE process_manager = '$log' AND retry_at < clock_timestamp() - interval '1 s'"), '', "$name: no time in the past");
	if (defined $fix) { answer(sprintf($fix, $log)); }
	# One hint may lead to the next, and so may the error of an attempt.
	for my $step (1 .. 6)
	{
		my ($state, $says, $advice) = split /\|/, answer("SELECT state, reason, hint FROM pm.status WHERE process_manager = '$log'");
		last unless defined $says && length $says && $state eq 'waiting';
		my $sql = follow($advice, $log);
		note("$name: $says / $advice");
		if (!defined $sql) { sleep 0.2; next; }
		my ($rc, undef, $err) = $node->psql('postgres', $sql);
		next if $rc == 0;
		ok($err =~ /^HINT:  Run (SELECT pg_catalog.setval\(.*?\)), then try again/m, "$name: an error has a hint as well") or diag("$sql: $err");
		answer($1);
	}
	wait_for("SELECT state || lag || coalesce(reason, '') FROM pm.status WHERE process_manager = '$log'", 'idle0', "$name: following the hints solves it");
}
$n = 0;
for my $problem (@problems)
{
	my $log = "log_" . ++$n;
	my ($rc, undef, $err) = $node->psql('postgres', "INSERT INTO $log (stream, type) VALUES ('a', 'E')");
	is($rc, 0, "$problem->[0]: it can be written again") or diag($err);
	wait_for("SELECT state || lag || coalesce(reason, '') FROM pm.status WHERE process_manager = '$log'", 'idle0', "$problem->[0]: it continues");
}

# What a transaction itself has changed, and what it has undone.
is(answer(<<'SQL'), <<'LINES' =~ s/\n$//r, 'changes of this transaction count, until they are undone');
BEGIN;
ALTER TABLE log_1 DISABLE TRIGGER pm_before_write;
SELECT count(pm.high_water_mark(name)) FROM pm.log WHERE name LIKE 'whole%';
SELECT reason FROM pm.status WHERE process_manager = 'log_1';
ROLLBACK;
BEGIN;
SELECT count(pm.high_water_mark(name)) FROM pm.log WHERE name LIKE 'whole%';
SELECT state FROM pm.status WHERE process_manager = 'log_1';
SAVEPOINT s;
ALTER TABLE log_1 DISABLE TRIGGER pm_before_write;
SELECT reason FROM pm.status WHERE process_manager = 'log_1';
ROLLBACK TO s;
SELECT state FROM pm.status WHERE process_manager = 'log_1';
COMMIT;
SQL
40
"pm_before_write" of log "log_1" is missing or disabled, so events may be lost
40
idle
"pm_before_write" of log "log_1" is missing or disabled, so events may be lost
idle
LINES

# A table that was dropped, or is no longer an ordinary table.
answer("SELECT pm.create_log('part'); GRANT SELECT ON part TO app; SET SESSION AUTHORIZATION app; SELECT pm.register('part', 'keep', '{part}')");
# (From 17 on, a table with an identity column cannot become a partition.)
SKIP:
{
	skip 'no partition has an identity', 2
	  if $node->psql('postgres', 'CREATE TABLE whole (LIKE part INCLUDING DEFAULTS) PARTITION BY RANGE (position); ALTER TABLE whole ATTACH PARTITION part DEFAULT') != 0;
	wait_for("SELECT state, reason FROM pm.status WHERE process_manager = 'part'", 'waiting|log "part" is not an ordinary table', 'a partition: pm.status says so');
	answer('ALTER TABLE whole DETACH PARTITION part');
	wait_for("SELECT state || coalesce(reason, '') FROM pm.status WHERE process_manager = 'part'", 'idle', 'detached, it continues');
}

PmTest::no_crash_ok($node);
$node->stop('immediate');
done_testing();
