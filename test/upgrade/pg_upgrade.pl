# pg_upgrade from major version to major version, in a chain, by copy, by link and by swap (make check-pg-upgrade). Cursors,
# instances, timers, parked events and all the rest are kept. In the new cluster nothing is handled before pm.resume(), and
# the server's log says once for each database that it waits for that. Each cluster appends and handles events, and over
# the whole chain everything is handled once.
#
#   PM_TEST_MAJORS="15 17 18 19"    the versions, whose servers are in Debian's folders
use strict;
use warnings FATAL => 'all';

use PmTest;
use PmUpgrade;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my @majors = split ' ', $ENV{PM_TEST_MAJORS} // '15 17 18 19';
my @modes = qw(--copy --link --swap);
my @databases = qw(postgres shop);

sub new_node
{
	my ($major) = @_;
	my $node = PostgreSQL::Test::Cluster->new("v$major", install_path => "/usr/lib/postgresql/$major");

	# From 18 on, checksums are the default, and either both clusters must have them or neither.
	$node->init(extra => ['--data-checksums']);
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pm'\nlog_statement = none\nmax_connections = 40\n");
	return $node;
}

# How often the log of the server has said since its start that the database waits.
sub waits_said
{
	my ($node, $db, $from) = @_;
	return scalar(() = substr(slurp_file($node->logfile), $from) =~ /LOG: .*pm waits for pm\.resume\(\) in database "$db", which is a copy$/mg);
}

sub version { return $_[0]->safe_psql('postgres', "SELECT current_setting('server_version_num')::int / 10000"); }

# From 17.12 on, a server notes a version with each column of a new table, in attoptions. The newest 18 and 19 of Debian are
# older than that, and pg_upgrade of any such table to them ends with: unrecognized parameter "pg_attver".
sub forget_attver
{
	my ($node, $db) = @_;
	$node->safe_psql($db, "UPDATE pg_attribute SET attoptions = NULL WHERE attoptions::text LIKE '{pg_attver=%' AND attrelid >= 16384");
	return;
}

my $node = new_node($majors[0]);
$node->start;
is(version($node), $majors[0], "PostgreSQL $majors[0]");
for my $db (@databases, 'unused')
{
	$node->safe_psql('postgres', "CREATE DATABASE $db") if $db ne 'postgres';
	$node->safe_psql($db, 'CREATE EXTENSION pm');
	PmUpgrade::fill($node, $db) if $db ne 'unused';
}

for my $i (1 .. $#majors)
{
	my ($major, $mode) = ($majors[$i], $modes[ ($i - 1) % @modes ]);
	my $hop = "$majors[$i - 1] to $major $mode";
	my $new = new_node($major);
	my (%kept, %seen);

	# There is work that has not been done: events, and timers that become due meanwhile.
	PmUpgrade::append($node, $_, 30) for @databases;
	$node->safe_psql('postgres', $_) for 'ALTER SYSTEM SET pm.launcher = off', 'SELECT pg_reload_conf()';
	ok(PmTest::wait_until($node, "SELECT count(*) FROM pg_stat_activity WHERE backend_type IN ('pm scheduler', 'pm dispatcher')", '0'), "$hop: workers have left");
	PmUpgrade::append($node, $_, 30) for @databases;
	for (@databases)
	{
		$kept{$_} = PmUpgrade::kept($node, $_);
		$seen{$_} = $node->safe_psql($_, 'SELECT count(*) FROM seen');
		PmUpgrade::rows_ok($node, $_, "$hop, $_: each private table has rows");
	}
	forget_attver($node, $_) for @databases, 'unused';
	$node->stop('fast');

	my $bin = "/usr/lib/postgresql/$major/bin";
	my $took = PmTest::seconds
	{
		command_ok(
			[ "$bin/pg_upgrade", $mode, '--no-sync', '-d', $node->data_dir, '-D', $new->data_dir, '-b', "/usr/lib/postgresql/$majors[$i - 1]/bin", '-B', $bin,
				'-s', $new->host, '-p', $node->port, '-P', $new->port ],
			"pg_upgrade, $hop");
	};
	PmTest::figure(sprintf 'pg_upgrade %s: %.1f s', $hop, $took);

	my $from = 0;
	$new->start;
	is(version($new), $major, "$hop: the new server");
	for my $db (@databases)
	{
		is(PmUpgrade::kept($new, $db), $kept{$db}, "$hop, $db: all private tables are as they were");
		ok(PmTest::wait_in_log($new, qr/pm waits for pm\.resume\(\) in database "$db", which is a copy\n.*another database or cluster: \d+\.\n.*HINT: .*SELECT pm\.resume\(\)/, timeout => 30),
			"$hop, $db: the server's log says that it waits, and how to end that");
		is($new->safe_psql($db, "SELECT DISTINCT state, reason FROM pm.status"), 'waiting|this database is a copy', "$hop, $db: pm.status says it too");
	}
	# Workers run what is registered in the new cluster, and nothing else.
	PmTest::create_handler($new, "in_$major", user => 'app');
	$new->safe_psql('postgres', "SELECT pm.create_log('log_$major'); SELECT pm.register('in_$major', 'in_$major', '{log_$major}'); SELECT pm.append('log_$major', 'a', 'A')", extra_params => [ '-U', 'app' ]);
	ok(PmTest::wait_seen($new, "in_$major", 1, timeout => 30), "$hop: a new process manager runs");
	PmUpgrade::append($new, $_, 10) for @databases;
	like(($new->psql('postgres', "SELECT pm.catch_up('plain')", extra_params => [ '-U', 'app' ]))[2], qr/this database is a copy/, "$hop: pm.catch_up is refused");
	if ($i == 1)
	{
		$from = -s $new->logfile;
		$new->restart;
		ok(PmTest::wait_until($new, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pm scheduler'", 3), 'the server is restarted');
		ok(PmTest::wait_in_log($new, qr/(?:waits for pm\.resume\(\) in database "(?:postgres|shop)".*){4}/s, timeout => 30), 'the log says it again');
	}
	is(join(' ', map { waits_said($new, $_, $from) } @databases, 'unused'), '1 1 0', "$hop: once for each database, and not for one in which nothing waits");
	is($new->safe_psql($_, "SELECT count(*) FROM seen WHERE pm <> 'in_$major'"), $seen{$_}, "$hop, $_: nothing was handled before pm.resume()") for @databases;

	# pm.resume() ends it.
	for my $db (@databases)
	{
		$new->safe_psql($db, 'SELECT pm.resume()');
		ok(PmUpgrade::handled($new, $db), "$hop, $db: after pm.resume() all is handled");
		PmTest::exactly_once_ok($new, 'plain', 'flow', "$hop, $db: once and in order", dbname => $db);
	}
	$from = -s $new->logfile;
	$new->restart;
	ok(PmTest::wait_until($new, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pm scheduler'", 3), "$hop: restarted");
	PmUpgrade::append($new, $_, 10) for @databases;
	ok(PmUpgrade::handled($new, $_), "$hop, $_: it continues") for @databases;
	is(join(' ', map { waits_said($new, $_, $from) } @databases), '0 0', "$hop: nothing waits any more");
	$node = $new;
}

PmUpgrade::finish_ok($node, $_) for @databases;
is($node->safe_psql('postgres', "SELECT count(*), count(DISTINCT pm) FROM seen WHERE pm LIKE 'in\\_%'"), join('|', ($#majors) x 2), 'and the process managers of the clusters in between');
is($node->safe_psql($_, 'SELECT state FROM pm.status WHERE state NOT IN (\'idle\', \'running\')'), '', "$_: nothing has stopped") for @databases;
PmTest::no_crash_ok($node);
$node->stop('fast');
done_testing();
