# Consumers through pgbouncer, which pools by transaction: each call can go through another session of the server. The lease,
# the wait, two consumers, and pgbouncer restarted between fetch, effect and advance: each effect once.
use strict;
use warnings FATAL => 'all';

use PmTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my ($bouncer) = grep { -x } map { "$_/pgbouncer" } split(/:/, $ENV{PATH}), '/usr/sbin';
plan skip_all => 'there is no pgbouncer' unless $bouncer;

my $node = PmTest::node('pooled', conf => "pm.poll_interval = '1h'\nmax_connections = 30\n");
my $dir = PostgreSQL::Test::Utils::tempdir_short;
my $port = $node->port;
my $ini = "$dir/pgbouncer.ini";

# Only its socket listens. Four sessions of the server are enough for all clients.
append_to_file($ini, <<INI);
[databases]
postgres = host=${\ $node->host } port=$port dbname=postgres user=${\ $node->safe_psql('postgres', 'SELECT current_user') }
[pgbouncer]
listen_addr =
listen_port = $port
unix_socket_dir = $dir
auth_type = any
pool_mode = transaction
default_pool_size = 4
logfile = $dir/pgbouncer.log
pidfile = $dir/pgbouncer.pid
INI

my $pooler;
sub pooler_start
{
	my ($in, $out) = ('', '');
	unlink("$dir/pgbouncer.pid", "$dir/.s.PGSQL.$port", "$dir/.s.PGSQL.$port.lock");
	$pooler = IPC::Run::start([ $bouncer, '-q', $ini ], '<', \$in, '>', \$out, '2>', \$out);
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
	until (-S "$dir/.s.PGSQL.$port")
	{
		die 'pgbouncer does not start: ' . (-e "$dir/pgbouncer.log" ? slurp_file("$dir/pgbouncer.log") : $out) if time > $deadline;
		sleep 0.02;
	}
	return;
}
sub pooler_stop
{
	my ($signal) = @_;
	$pooler->signal($signal);
	eval { $pooler->finish };
	return;
}
# A client of pgbouncer.
sub client
{
	local *PostgreSQL::Test::Cluster::connstr = sub { "host=$dir port=$port dbname=postgres" };
	return PmTest::session($node);
}
pooler_start();

$node->safe_psql('postgres', <<'SQL');
SELECT pm.create_log('outbox');
SELECT pm.register('mailer', NULL, '{outbox}', lease => '1 h', max_attempts => 1000);
CREATE TABLE effect (n serial, pos bigint, key text, pid int);
SQL

# ---- the lease

my ($one, $two) = (client(), client());
$node->safe_psql('postgres', q{SELECT pm.append('outbox', 's', 'mail') FROM generate_series(1, 3)});
is($one->do(q{SELECT count(*) FROM pm.fetch('mailer', 'one')}), '3', 'the first consumer fetches');
# While another client's transaction holds the session that it had, the first consumer gets another one.
my $pids = $two->do('BEGIN; SELECT pg_backend_pid()');
$pids .= ' ' . $one->do("BEGIN; SELECT pg_backend_pid(); INSERT INTO effect (pos) VALUES (1); SELECT FROM pm.advance('mailer', 'one', 0, 'outbox', 1); COMMIT");
$two->do('COMMIT');
my @pids = $pids =~ /\d+/g;
isnt($pids[0], $pids[1], 'each call can go through another session');
is($two->do(q{SELECT count(*) FROM pm.fetch('mailer', 'two')}), '0', 'the second consumer gets nothing');
is($one->do(q{SELECT string_agg("position" || ' ' || attempt, ', ') FROM pm.fetch('mailer', 'one')}), '2 1, 3 1', 'the first one keeps the lane');
pooler_stop('TERM');
$_->quit foreach $one, $two;
pooler_start();
($one, $two) = (client(), client());
$one->do(q{SELECT pm.advance('mailer', 'one', 0, 'outbox', 2)});
pass('the lease outlives a restart of pgbouncer');
is($two->do(q{SELECT count(*) FROM pm.fetch('mailer', 'two')}), '0', 'the second consumer still gets nothing');
$node->safe_psql('postgres', 'UPDATE pm_catalog.lease SET until = clock_timestamp()');
is($two->do(q{SELECT string_agg("position" || ' ' || attempt, ', ') FROM pm.fetch('mailer', 'two')}), '3 2', 'when the lease has run out, it gets the rest');
$one->do("BEGIN; INSERT INTO effect (pos) VALUES (3)");
$one->do(q{SELECT pm.advance('mailer', 'one', 0)}, may_fail => 1);
like($one->error, qr/does not hold lane 0/, 'the first one, late, is refused');
$one->do('COMMIT', may_fail => 1);
is($node->safe_psql('postgres', 'SELECT string_agg(pos::text, $$ $$) FROM effect'), '1', 'and its effects are gone');
$two->do(q{SELECT pm.advance('mailer', 'two', 0)});
$two->do(q{SELECT pm.release('mailer', 'two')});

# ---- the wait

my $waits = q{SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%wait => %' AND state = 'active' AND pid <> pg_backend_pid()};
foreach my $round (1 .. 3)
{
	$one->send(q{SELECT "position" FROM pm.fetch('mailer', 'one', wait => '60 s')});
	ok(PmTest::wait_until($node, $waits, 1), "round $round: it waits");
	my $since = time;
	$two->do(q{SELECT pm.append('outbox', 's', 'mail')});
	is($one->wait, $round + 3, 'and is woken by what another client commits');
	cmp_ok(time - $since, '<', 20, 'at once');
	$one->do(q{SELECT pm.advance('mailer', 'one', 0); SELECT pm.release('mailer', 'one')});
}
# A pgbouncer that ends cancels the wait of its clients, which leave nothing behind.
$one->send(q{SELECT "position" FROM pm.fetch('mailer', 'one', wait => '60 s')});
ok(PmTest::wait_until($node, $waits, 1), 'it waits');
pooler_stop('KILL');
eval { $_->quit } foreach $one, $two;
# The server does not check whether the client is there before it has something for it.
$node->safe_psql('postgres', q{SELECT pm.append('outbox', 's', 'mail')});
ok(PmTest::wait_until($node, $waits, 0), 'its wait ends');
pooler_start();
$two = client();
is($two->do(q{SELECT attempt FROM pm.fetch('mailer', 'two', wait => '60 s')}), '1', 'and has taken nothing');
$two->do(q{SELECT pm.advance('mailer', 'two', 0); SELECT pm.release('mailer', 'two')});
$two->quit;

# ---- restarts

$node->safe_psql('postgres', q{UPDATE pm_catalog.lease SET until = clock_timestamp(); SELECT pm.alter('mailer', lanes => 4, lease => '500 ms'); TRUNCATE effect});
my $first = $node->safe_psql('postgres', 'SELECT coalesce(max("position"), 0) FROM pm.cursor');
my $events = 600;
my $writer = PmTest::start_psql($node, join("\n", map { "SELECT count(pm.append('outbox', 's-' || i % 15, 'mail')) FROM generate_series(1, 10) i;\nSELECT pg_sleep(0.02);" } 1 .. $events / 10));
my %consumers;

sub consume
{
	my ($name) = @_;
	my $run = { in => '', out => '', err => '' };
	# Between the statements the sessions change, so what was fetched is kept by the client.
	my $round = <<SQL;
SELECT coalesce(array_agg("position" ORDER BY "position"), '{}') AS pos, coalesce(array_agg(key ORDER BY "position"), '{}') AS keys,
	coalesce(min(lane), -1) AS lane, count(*) > 0 AS some FROM pm.fetch('mailer', '$name', 10, '200 ms') \\gset
\\if :some
BEGIN;
INSERT INTO effect (pos, key, pid) SELECT p, k, pg_backend_pid() FROM unnest(:'pos'::bigint[], :'keys'::text[]) WITH ORDINALITY x(p, k, n) ORDER BY n;
SELECT pm.advance('mailer', '$name', :lane);
COMMIT;
\\endif
SQL
	my $file = "$dir/consumer-$name.sql";

	append_to_file($file, $round x 5000) unless -e $file;
	$run->{h} = IPC::Run::start(
		[ $node->installed_command('psql'), '-XAtq', '-d', "host=$dir port=$port dbname=postgres", '-f', $file ],
		'<', \$run->{in}, '>', \$run->{out}, '2>', \$run->{err});
	$consumers{$name} = $run;
	return;
}

consume($_) foreach qw(one two three);
for my $restart (1 .. 6)
{
	sleep(0.1 + rand(0.3));
	pooler_stop($restart % 2 ? 'KILL' : 'TERM');
	pooler_start();
	# psql ends when it loses its connection.
	foreach my $name (keys %consumers)
	{
		$consumers{$name}{h}->kill_kill(grace => 0);
		consume($name);
	}
}
PmTest::finish_psql($writer);
ok(PmTest::wait_until($node, 'SELECT sum(lag) FROM pm.status', '0'), 'all is advanced after the restarts')
  or diag(map { "$_: $consumers{$_}{err}" } sort keys %consumers);
$_->{h}->kill_kill(grace => 0) foreach values %consumers;
is($node->safe_psql('postgres', "SELECT count(*) FROM outbox WHERE \"position\" > $first AND \"position\" NOT IN (SELECT pos FROM effect)"), '0', 'no effect is missing');
is($node->safe_psql('postgres', 'SELECT count(*) - count(DISTINCT pos) FROM effect'), '0', 'none is there twice');
is($node->safe_psql('postgres', 'SELECT count(*) FROM (SELECT pos < lag(pos) OVER (PARTITION BY key ORDER BY n) AS bad FROM effect) x WHERE bad'), '0', 'none is out of the order of its key');
is($node->safe_psql('postgres', 'SELECT count(*) FROM pm.parked'), '0', 'nothing is parked');
PmTest::figure(sprintf('%d events through %d sessions of the server', split(/\|/, $node->safe_psql('postgres', 'SELECT count(*), count(DISTINCT pid) FROM effect'))));

pooler_stop('TERM');
PmTest::no_crash_ok($node);
done_testing();
