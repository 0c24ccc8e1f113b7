# P1, P3, P7 when a resource runs out: disk space for the tables of handlers, for logs and for WAL; memory; and events as
# large as PostgreSQL supports, and too large to fit into one value. Nothing is lost, pm.status gives the reason, everything
# else continues, and when there is room again, so does what had stopped. The workers survive and release the memory.
#
#   PM_SOAK=1        events of full size: 255 MB of jsonb, and more than 1 GB in total (otherwise 40 MB, and no larger one)
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;

# Small file systems can be mounted in a private namespace, by any user.
BEGIN
{
	my @unshare = qw(unshare --user --map-current-user --keep-caps --mount);
	if (!defined $ENV{PM_IN_NAMESPACE})
	{
		$ENV{PM_IN_NAMESPACE} = system("@unshare sh -c 'mount -t tmpfs none /mnt' >/dev/null 2>&1") == 0 ? 1 : 0;
		exec(@unshare, $^X, (map { "-I$_" } @INC), $0) if $ENV{PM_IN_NAMESPACE};
	}
}

use PmTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $node;
sub answer
{
	my ($sql, $role) = @_;
	return $node->safe_psql('postgres', $sql, extra_params => $role ? [ '-U', $role ] : []);
}
sub sqlstate
{
	my ($sql, $role) = @_;
	my (undef, undef, $err) = $node->psql('postgres', "\\set VERBOSITY sqlstate\n$sql", extra_params => $role ? [ '-U', $role ] : []);
	return $err =~ /(?:ERROR|FATAL|PANIC):\s+(\w{5})/ ? $1 : $err =~ /server closed|terminating/ ? 'gone' : $err =~ /could not connect|connection to server/ ? 'down' : '';
}
sub set_up
{
	answer('CREATE ROLE app LOGIN; GRANT USAGE ON SCHEMA pm TO app; GRANT CREATE ON SCHEMA public TO app');
	PmTest::create_seen($node);
	PmTest::create_handler($node, $_, user => 'app') for qw(keep beside);
	answer("SELECT pm.create_log('orders'); SELECT pm.create_log('other'); SELECT pm.register('keep', 'keep', '{orders}', backoff => '100 ms'); SELECT pm.register('beside', 'beside', '{other}')", 'app');
	return;
}
sub tmpfs
{
	my ($name, $size) = @_;
	my $dir = PostgreSQL::Test::Utils::tempdir_short() . "/$name";

	mkdir $dir;
	system('mount', '-t', 'tmpfs', '-o', "size=$size,mode=0700", 'none', $dir) == 0 or die "cannot mount a tmpfs\n";
	return $dir;
}
# Fills the file system.
sub fill
{
	my ($dir) = @_;

	open(my $f, '>', "$dir/filler") or die;
	1 while syswrite($f, 'x' x 65536);
	1 while syswrite($f, 'x' x 512);
	close($f);
	return;
}

SKIP:
{
	skip 'no tmpfs can be mounted here: no namespaces for users', 1 unless $ENV{PM_IN_NAMESPACE};

	# ---- disk full, for the table of a handler and for a log

	my $small = tmpfs('small', '24M');
	$node = PmTest::node('data_full');
	set_up();
	mkdir "$small/ts";
	answer("CREATE TABLESPACE small LOCATION '$small/ts'; GRANT CREATE ON TABLESPACE small TO app; CREATE TABLE wide (pm text, pos bigint, filling text) TABLESPACE small; ALTER TABLE wide ALTER filling SET STORAGE PLAIN; GRANT ALL ON wide TO app");
	PmTest::create_handler($node, 'keep', user => 'app', before => "INSERT INTO public.wide VALUES ('keep', e.position, repeat('x', 4000));");
	answer("SET default_tablespace = small; SELECT pm.create_log('narrow')", 'app');
	PmTest::create_handler($node, 'narrow', user => 'app');
	answer("SELECT pm.register('narrow', 'narrow', '{narrow}')", 'app');
	answer("INSERT INTO orders (stream, type) SELECT 'o-' || i, 'T' FROM generate_series(1, 50) i; INSERT INTO narrow (stream, type) SELECT 'n-' || i, 'T' FROM generate_series(1, 50) i", 'app');
	ok(PmTest::wait_idle($node), 'all events are handled while there is room');
	my $worker = answer("SELECT string_agg(pid::text, ' ') FROM pm.worker WHERE kind = 'dispatcher'");

	fill($small);
	answer("INSERT INTO orders (stream, type) SELECT 'o-' || i, 'T' FROM generate_series(1, 500) i", 'app');
	ok(PmTest::wait_until($node, "SELECT state || (reason ~ 'could not extend|No space left') FROM pm.status WHERE process_manager = 'keep'", 'waitingtrue'), 'disk full: the process manager waits, and pm.status says why')
	  or diag(answer('SELECT process_manager, state, reason, hint FROM pm.status'));
	note('reason: ' . answer("SELECT reason || ' / ' || coalesce(hint, '') FROM pm.status WHERE process_manager = 'keep'"));
	my $refused = 0;
	for (1 .. 200)
	{
		$refused++, last if sqlstate("INSERT INTO narrow (stream, type, data) SELECT 'n', 'T', jsonb_build_object('x', string_agg(md5(random()::text), '')) FROM generate_series(1, 100) i", 'app') eq '53100';
	}
	is($refused, 1, 'disk full: a writer of that log gets 53100');
	answer("INSERT INTO other (stream, type) SELECT 's', 'T' FROM generate_series(1, 10)", 'app');
	ok(PmTest::wait_until($node, "SELECT lag FROM pm.status WHERE process_manager = 'beside'", 0), 'disk full: others continue');
	is(answer('SELECT count(*) FROM pm.parked'), 0, 'disk full: no failure is counted for an event');
	is(answer("SELECT string_agg(pid::text, ' ') FROM pm.worker WHERE kind = 'dispatcher'"), $worker, 'disk full: the workers are the same');
	unlink "$small/filler";
	my $took = PmTest::seconds { ok(PmTest::wait_idle($node), 'with room again, all is handled'); };
	PmTest::exactly_once_ok($node, 'keep', 'orders');
	PmTest::exactly_once_ok($node, 'narrow', 'narrow');
	is(answer('SELECT count(*) - count(DISTINCT pos), count(*) FROM wide'), '0|550', "the handler's other effects are there once");
	PmTest::figure(sprintf('disk full for data: continues %.1f s after there is room', $took));
	PmTest::no_crash_ok($node);
	$node->stop('fast');

	# ---- disk full, for WAL

	my $wal = tmpfs('wal', '48M');
	$node = PmTest::node('wal_full', init => [ extra => [ "--waldir=$wal/wal", '--wal-segsize=1' ] ], conf => <<'CONF');
restart_after_crash = on
min_wal_size = 2MB
max_wal_size = 4MB
wal_recycle = off
CONF
	set_up();
	my @run = map { PmTest::start_psql($node, "DO \$\$ BEGIN FOR i IN 1 .. 10000000 LOOP INSERT INTO orders (stream, type, data) VALUES ('o-$_', 'T', jsonb_build_object('x', repeat(md5(i::text), 30))); COMMIT; END LOOP; END \$\$", user => 'app') } 1 .. 3;
	ok(PmTest::wait_until($node, "SELECT count(*) > 200 FROM seen WHERE pm = 'keep'", 't'), 'events are written and handled');
	fill($wal);
	my $full;
	for (1 .. 600)
	{
		last if $full = PostgreSQL::Test::Utils::slurp_file($node->logfile) =~ /PANIC:.*No space left/;
		sleep 0.05;
	}
	ok($full, 'no room for WAL: the server stops with a PANIC');
	eval { $_->{h}->finish } for @run;
	unlink "$wal/filler";
	# The server restarts by itself if there is room in time.
	$took = PmTest::seconds
	{
		for (1 .. 100)
		{
			last if eval { answer('SELECT 1') };
			$node->stop('immediate', fail_ok => 1);
			last if $node->start(fail_ok => 1);
			sleep 0.2;
		}
	};
	answer("INSERT INTO orders (stream, type) VALUES ('after', 'T')", 'app');
	ok(PmTest::wait_idle($node), 'with room again, all is handled') or diag(answer('TABLE pm.status'));
	PmTest::exactly_once_ok($node, 'keep', 'orders');
	is(answer('SELECT count(*) FROM pm.parked'), 0, 'nothing is parked');
	PmTest::figure('WAL full: PANIC, ' . answer('SELECT count(*) FROM orders') . sprintf(' events, each once; up again %.1f s after there is room', $took));
	$node->stop('fast');
}

# ---- out of memory

sub rss    # of its own, in MB
{
	my ($pid) = @_;
	open(my $f, '<', "/proc/$pid/status") or return 0;
	my ($kb) = join('', <$f>) =~ /RssAnon:\s+(\d+)/;
	return $kb / 1024;
}
sub dispatcher { return answer("SELECT pid FROM pm.worker WHERE kind = 'dispatcher' AND role = 'app'"); }

$node = PmTest::node('memory', conf => "shared_buffers = 64MB\nautovacuum = off\nmax_wal_size = 4GB\n");
set_up();
PmTest::create_handler($node, 'hungry', user => 'app', before => "IF e.type = 'hungry' THEN PERFORM length(repeat('x', 100000000) || e.stream); END IF;");
answer("SELECT pm.create_log('food'); SELECT pm.register('hungry', 'hungry', '{food}', backoff => '100 ms')", 'app');
answer("INSERT INTO food (stream, type) SELECT 'f', 'T' FROM generate_series(1, 10)", 'app');
ok(PmTest::wait_idle($node), 'all is handled');
my $pid = dispatcher();
my $before = rss($pid);
open(my $f, '<', "/proc/$pid/status") or die;
my ($vm) = join('', <$f>) =~ /VmSize:\s+(\d+)/;
my $limit = ($vm + 60 * 1024) * 1024;
system('prlimit', '--pid', $pid, "--as=$limit:unlimited") == 0 or die "cannot limit the worker's memory\n";
answer("INSERT INTO food (stream, type) VALUES ('g', 'T'), ('f', 'hungry'), ('f', 'T'), ('h', 'T')", 'app');
ok(PmTest::wait_until($node, "SELECT state || (reason LIKE '%out of memory%') FROM pm.status WHERE process_manager = 'hungry'", 'waitingtrue'), 'out of memory: it waits, and pm.status says why')
  or diag(answer('SELECT process_manager, state, reason FROM pm.status'));
note('reason: ' . answer("SELECT reason || ' / ' || coalesce(hint, '') FROM pm.status WHERE process_manager = 'hungry'"));
answer("INSERT INTO orders (stream, type) SELECT 'o', 'T' FROM generate_series(1, 100)", 'app');
ok(PmTest::wait_until($node, "SELECT count(*) FROM seen WHERE pm = 'keep'", 100), 'out of memory: other process managers of the role continue, in the same worker');
is(dispatcher(), $pid, 'out of memory: the worker survives');
cmp_ok(rss($pid), '<', $before + 20, sprintf('and has given the memory back: %.0f MB before, %.0f MB now', $before, rss($pid)));
system('prlimit', '--pid', $pid, '--as=unlimited:unlimited');
ok(PmTest::wait_idle($node), 'with memory again, the event is handled');
PmTest::exactly_once_ok($node, 'hungry', 'food');
is(answer("SELECT count(*) FROM pm.parked"), 0, 'no failure is counted for an event');

# ---- large events

my $mb = $ENV{PM_SOAK} ? 255 : 40;
PmTest::create_handler($node, 'large', user => 'app', before => "IF length(e.data ->> 'x') IS DISTINCT FROM (e.metadata ->> 'length')::int THEN RAISE 'another length'; END IF;");
answer("SELECT pm.create_log('large'); SELECT pm.register('large', 'large', '{large}', handler_timeout => '5 min')", 'app');
my $length = $mb * 1024 * 1024;
$before = rss($pid);
my $peak = $before;
answer(<<"SQL", 'app');
INSERT INTO large (stream, type, data, metadata) SELECT 'small', 'T', '{"x": "y"}', '{"length": 1}' FROM generate_series(1, 3);
INSERT INTO large (stream, type, data, metadata) VALUES ('large', 'T', jsonb_build_object('x', repeat('x', $length)), jsonb_build_object('length', $length));
INSERT INTO large (stream, type, data, metadata) SELECT 'small', 'T', '{"x": "y"}', '{"length": 1}' FROM generate_series(1, 3);
SQL
my $took = PmTest::seconds
{
	my $deadline = time + 120;
	while (time < $deadline)
	{
		my $now = rss($pid);
		$peak = $now if $now > $peak;
		last if answer("SELECT count(*) FROM seen WHERE pm = 'large'") == 7;
	}
};
PmTest::exactly_once_ok($node, 'large', 'large', "an event of $mb MB is handled, and so are the others");
is(dispatcher(), $pid, 'the worker survives');
ok(PmTest::wait_until($node, "SELECT state FROM pm.status WHERE process_manager = 'large'", 'idle'), 'idle');
for (1 .. 100)
{
	last if rss($pid) < $before + 20;
	sleep 0.1;
}
cmp_ok(rss($pid), '<', $before + 20, sprintf('and has given the memory back: %.0f MB before, %.0f MB at the most, %.0f MB now', $before, $peak, rss($pid)));
PmTest::figure(sprintf('an event of %d MB: handled in %.1f s, worker %.0f MB before, %.0f MB at the most, %.0f MB after', $mb, $took, $before, $peak, rss($pid)));

# Many of them: no more of them are in memory at a time than necessary.
$mb = 40;
$length = $mb * 1024 * 1024;
answer("INSERT INTO large (stream, type, data, metadata) SELECT 'large', 'T', jsonb_build_object('x', repeat('x', $length)), jsonb_build_object('length', $length) FROM generate_series(1, 12)", 'app');
$peak = 0;
{
	my $deadline = time + 120;
	while (time < $deadline)
	{
		my $now = rss($pid);
		$peak = $now if $now > $peak;
		last if answer("SELECT count(*) FROM seen WHERE pm = 'large'") == 19;
	}
}
PmTest::exactly_once_ok($node, 'large', 'large', "twelve events of $mb MB are handled");
cmp_ok($peak, '<', 8 * $mb, sprintf('with %.0f MB of memory at the most', $peak));

# An event that PostgreSQL can store in columns, but not put into one value.
if ($ENV{PM_SOAK})
{
	answer(<<'SQL', 'app');
CREATE TABLE piece (t text, j jsonb);
ALTER TABLE piece ALTER t SET STORAGE EXTERNAL;
INSERT INTO piece VALUES (repeat('x', 700 * 1024 * 1024), jsonb_build_object('x', repeat('x', 250 * 1024 * 1024)));
INSERT INTO large (stream, type, data, metadata) SELECT 'huge', t, j, j FROM piece;
INSERT INTO large (stream, type, data, metadata) SELECT 'small', 'T', '{"x": "y"}', '{"length": 1}' FROM generate_series(1, 3);
SQL
	my $huge = answer("SELECT position FROM large WHERE stream = 'huge'");
	ok(PmTest::wait_until($node, "SELECT key || ' ' || state || ' ' || sqlstate FROM pm.parked WHERE process_manager = 'large' AND position = $huge", 'huge dead 54000', timeout => 180), 'an event of more than 1 GB is parked, with a clear error')
	  or diag(answer('SELECT process_manager, state, reason FROM pm.status'));
	note('message: ' . answer("SELECT left(message, 200) FROM pm.parked WHERE process_manager = 'large'"));
	PmTest::exactly_once_ok($node, 'large', 'large', 'the others are handled', where => "stream <> 'huge'");
	is(dispatcher(), $pid, 'the worker survives');
	for (1 .. 100)
	{
		last if rss($pid) < $before + 20;
		sleep 0.1;
	}
	cmp_ok(rss($pid), '<', $before + 20, sprintf('and has given the memory back: %.0f MB now', rss($pid)));
	answer("SELECT pm.discard('large', 'large', $huge)", 'app');
	is(answer('SELECT count(*) FROM pm.parked'), 0, 'it can be discarded');
	PmTest::figure('an event of more than 1 GB: parked (54000), and the others are handled');
}
PmTest::no_crash_ok($node);
$node->stop('fast');
done_testing();
