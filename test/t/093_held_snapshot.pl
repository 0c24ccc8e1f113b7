# A session that holds a snapshot keeps the old row versions of cursors from being removed, and each
# batch adds one. Process managers continue with at least half of their previous speed, and what they
# handle is complete, once and in order.
#
# There are two process managers. One moves its cursor for each event and always has more to do, which creates
# as many row versions as possible. The other one has the usual settings, and is woken by each of its events.
#
#   PM_SOAK=1                 the snapshot is held for ten minutes
#   PM_HELD_SECONDS=12        another duration
use strict;
use warnings FATAL => 'all';

use PmTest;
use Test::More;
use Time::HiRes qw(sleep time);

my $hold = $ENV{PM_HELD_SECONDS} || ($ENV{PM_SOAK} ? 600 : 12);
my $window = $ENV{PM_SOAK} ? 20 : 4;
my $node = PmTest::node('held', conf => <<'CONF');
max_connections = 40
shared_buffers = 256MB
max_wal_size = 4GB
CONF

$node->safe_psql('postgres', <<'SQL');
CREATE ROLE alice LOGIN;
CREATE ROLE bob LOGIN;
GRANT USAGE ON SCHEMA pm TO alice, bob;
GRANT CREATE ON SCHEMA public TO alice, bob;
SELECT pm.create_log('backlog'), pm.create_log('trickle');
GRANT SELECT ON backlog, trickle TO alice, bob;

-- Stays a few thousand events ahead of the handlers.
CREATE PROCEDURE feed() LANGUAGE plpgsql AS
$$DECLARE
	ahead bigint := 0;
BEGIN
	LOOP
		SELECT l.last_value - s.last_value INTO ahead FROM backlog_position_seq l, seen_single s;
		IF ahead < 5000 THEN
			INSERT INTO backlog (stream, type) SELECT 's' || i, 'A' FROM generate_series(1, 2000) i;
		ELSE
			PERFORM pg_sleep(0.02);
		END IF;
		COMMIT;
		EXIT WHEN (SELECT is_called FROM fed);
	END LOOP;
END$$;
-- After a call of this function, it ends.
CREATE SEQUENCE fed;
CREATE SEQUENCE seen_single;
CREATE SEQUENCE seen_usual;
GRANT USAGE ON SEQUENCE seen_single, seen_usual TO PUBLIC;
SQL
PmTest::create_seen($node);
# A sequence shows the progress without reading a table.
PmTest::create_handler($node, 'single', user => 'alice', after => "PERFORM nextval('public.seen_single');");
PmTest::create_handler($node, 'usual', user => 'bob', after => "PERFORM nextval('public.seen_usual');");
$node->safe_psql('postgres', "SELECT pm.register('single', 'single', '{backlog}', batch_size => 1, on_failure => 'halt')",
	extra_params => [ '-U', 'alice' ]);
$node->safe_psql('postgres', "SELECT pm.register('usual', 'usual', '{trickle}', on_failure => 'halt')",
	extra_params => [ '-U', 'bob' ]);

my $script = PostgreSQL::Test::Utils::tempdir . '/trickle.sql';
PostgreSQL::Test::Utils::append_to_file($script, "INSERT INTO trickle (stream, type) VALUES ('t', 'A');\n");
my $feeder = PmTest::start_psql($node, 'CALL feed();');
my $writers = PmTest::start_program($node, 'pgbench', '-n', '-c', 4, '-R', 400, '-T', 100000, '-f', $script, $node->connstr('postgres'));
my $session = PmTest::session($node);

sub pid_of
{
	my ($role) = @_;
	return $session->do("SELECT pid FROM pg_stat_activity WHERE backend_type = 'pm dispatcher' AND usename = '$role'");
}

ok(PmTest::wait_until($node, "SELECT s.last_value > 1000 AND u.last_value > 100 FROM seen_single s, seen_usual u"), 'both have handled events');
my %pid = (single => pid_of('alice'), usual => pid_of('bob'));

# How much each of them handles from now on: events per second, and per second of its CPU time.
sub look
{
	my ($what, $seconds) = @_;
	my (%before, %rate);
	my $sql = 'SELECT s.last_value, u.last_value FROM seen_single s, seen_usual u';
	my $began = time;

	@before{qw(single usual)} = split /\|/, $session->do($sql);
	$before{"cpu $_"} = PmTest::cpu($pid{$_}) for keys %pid;
	sleep $seconds;
	my %after;
	@after{qw(single usual)} = split /\|/, $session->do($sql);
	for my $pm (qw(single usual))
	{
		my $n = $after{$pm} - $before{$pm};
		my $cpu = PmTest::cpu($pid{$pm}) - $before{"cpu $pm"};

		$rate{$pm} = $n / (time - $began);
		$rate{"$pm cpu"} = $n / ($cpu || 0.01);
	}
	my $pages = $session->do("SELECT pg_relation_size('pm_catalog.cursor') / 8192");
	note(sprintf('%-22s single: %6.0f events/s, %6.0f a CPU second; usual: %4.0f events/s, %6.0f a CPU second; cursor: %d pages',
			$what, @rate{'single', 'single cpu', 'usual', 'usual cpu'}, $pages));
	return \%rate;
}

my $before = look('before', $window);
my $holder = PmTest::session($node);
$holder->do('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class;');
my $began = time;
my $held;
while (1)
{
	my $rest = $began + $hold - time;

	# the last measurement ends before the snapshot is released
	$held = look(sprintf('held for %d s', time - $began), $rest < 2 * $window ? ($rest > 1 ? $rest : 1) : $window);
	last if $rest < 2 * $window;
	sleep($rest - 2 * $window < 40 ? 0 : 40);
}
$holder->do('COMMIT');
$holder->quit;
my $after = look('after', $window);

# Rows are first looked up at their previous place. After this, another row or none is there.
for my $n (1 .. 3)
{
	$session->do('VACUUM FULL pm_catalog.cursor');
	my $was = $session->do('SELECT last_value FROM seen_single');
	ok(PmTest::wait_until($node, "SELECT last_value > $was + 100 FROM seen_single", 't'), "rows that have moved are found ($n)");
}

$session->do("SELECT nextval('fed')");
PmTest::finish_psql($feeder);
$writers->{h}->signal('INT');
PmTest::finish_psql($writers);
ok(PmTest::wait_idle($node), 'everything was handled');

for my $pm (qw(single usual))
{
	cmp_ok($held->{"$pm cpu"}, '>=', 0.5 * $before->{"$pm cpu"}, "$pm: at least half as many events per second of CPU time as before");
	cmp_ok($held->{$pm}, '>=', 0.5 * $before->{$pm}, "$pm: at least half of the previous speed") if $ENV{PM_SOAK};
	PmTest::figure(sprintf('%s, a snapshot held for %d s: %.0f events/s before, %.0f at its end, %.0f after', $pm, $hold,
			$before->{$pm}, $held->{$pm}, $after->{$pm}));
}
PmTest::figure('single: ' . PmTest::exactly_once_ok($node, 'single', 'backlog'));
PmTest::figure('usual: ' . PmTest::exactly_once_ok($node, 'usual', 'trickle'));
$session->quit;
PmTest::no_crash_ok($node);
$node->stop('fast');
done_testing();
