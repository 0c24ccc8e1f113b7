# Lanes that conflict with each other run one after another. A lane whose dispatcher is never idle, because it serves
# another process manager with a backlog, has its turn too: both lanes advance all the time. Lanes that conflict only with
# applications do not take turns.
#
#   PM_TURNS_SECONDS=10    how long the lanes are watched
use strict;
use warnings FATAL => 'all';

use PmTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $seconds = $ENV{PM_TURNS_SECONDS} || 10;
my $node = PmTest::node('lane_turns', conf => "pm.max_workers = 2\nfsync = off\nlog_lock_waits = on\n");
my $session = PmTest::session($node);

sub answer { return $node->safe_psql('postgres', $_[0]); }

# Does a lane run alone now? It holds a lock then, in the place of this lane.
sub alone
{
	return $session->do("SELECT count(*) FROM pg_locks l JOIN pm_catalog.process_manager p ON l.objid = p.id
		WHERE l.classid = 'pm_catalog.process_manager'::regclass AND l.objsubid = 32766 AND p.name = '$_[0]'");
}

# The keys' lanes are those of two lanes.
answer(<<'SQL');
SELECT pm.create_log('orders'), pm.create_log('visits'), pm.create_log('hot');
CREATE FUNCTION version_of(s text) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
	RETURN coalesce((SELECT version FROM hot WHERE stream = s ORDER BY version DESC LIMIT 1), 0);
END $$;
CREATE TABLE done (pm text, lane int, at timestamptz DEFAULT clock_timestamp());
CREATE FUNCTION hot(e pm.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pm.append('hot', 'one', 'x', expected_version => version_of('one'));
	PERFORM pg_sleep(0.001);
	INSERT INTO done (pm, lane) VALUES ('hot', pm_catalog.lane_of(e.stream, 2));
END $$;
CREATE FUNCTION slow(e pm.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pg_sleep(0.001);
	INSERT INTO done (pm) VALUES ('slow');
END $$;
SQL
answer(qq{SELECT pm.append('orders', 'order-' || i % 40, 'x') FROM generate_series(1, 1500 * $seconds) i \\g /dev/null
SELECT pm.append('visits', 'visit-' || i % 40, 'x') FROM generate_series(1, 1000 * $seconds) i \\g /dev/null
SELECT pm.register('slow', 'slow', '{visits}', start_at => 'beginning'), pm.register('hot', 'hot', '{orders}', start_at => 'beginning', lanes => 2)});

ok(PmTest::wait_until($node, q{SELECT count(*) > 0 FROM pm.status WHERE process_manager = 'hot' AND conflicts > 0}, 't', every => 0.05),
	'the lanes conflict');
my $began = answer('SELECT clock_timestamp()');
my $until = time + $seconds;
my ($alone, $looks) = (0, 0);
while (time < $until)
{
	$alone += alone('hot');
	$looks++;
	sleep 0.05;
}
my $ended = answer('SELECT clock_timestamp()');
is(answer(q{SELECT count(*) FROM pm.status WHERE process_manager IN ('hot', 'slow') AND lag > 0}), 3, 'all of them have more to do');
cmp_ok($alone, '>', $looks / 4, "they run one after another (seen in $alone of $looks looks)");
# The longest time in which a lane, or the other process manager, did not advance.
my %gap = map { split /\|/ } split /\n/, answer(<<"SQL");
SELECT unit, round(extract(epoch FROM max(at - before)), 2) FROM (
	SELECT unit, at, lag(at) OVER (PARTITION BY unit ORDER BY at) AS before FROM (
		SELECT pm || coalesce(' ' || lane, '') AS unit, at FROM done WHERE at BETWEEN '$began' AND '$ended'
		UNION ALL SELECT unit, at FROM unnest(ARRAY['hot 0', 'hot 1', 'slow']) unit, unnest(ARRAY['$began', '$ended']::timestamptz[]) at) x) y
GROUP BY unit
SQL
my %count = map { split /\|/ } split /\n/, answer("SELECT pm || coalesce(' ' || lane, ''), count(*) FROM done WHERE at BETWEEN '$began' AND '$ended' GROUP BY 1");
cmp_ok($gap{$_}, '<', 4, "$_ advances all the time (not for $gap{$_} s)") for sort keys %gap;
PmTest::figure(sprintf('two lanes with turns, one of them beside a process manager with a backlog, in %d s: %s', $seconds,
		join ', ', map { sprintf '%s %d events, not for %.2f s', $_, $count{$_} // 0, $gap{$_} } sort keys %gap));
answer(q{SELECT pm.unregister('hot'), pm.unregister('slow')});

# ---- conflicts with an application

answer(<<'SQL');
CREATE FUNCTION own(e pm.event) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	own bigint := version_of(e.stream);
BEGIN
	PERFORM pg_sleep(0.002);
	PERFORM pm.append('hot', e.stream, 'x', expected_version => own);
END $$;
CREATE PROCEDURE application() LANGUAGE plpgsql AS $$
DECLARE
	until timestamptz := clock_timestamp() + interval '2 s';
BEGIN
	WHILE clock_timestamp() < until LOOP
		PERFORM pm.append('hot', 'order-' || floor(random() * 40)::int, 'y');
		COMMIT;
	END LOOP;
END $$;
SELECT pm.register('own', 'own', '{orders}', start_at => 'beginning', lanes => 2);
SQL
my $run = PmTest::start_psql($node, 'CALL application()');
$until = time + 2;
($alone, $looks) = (0, 0);
while (time < $until)
{
	$alone += alone('own');
	$looks++;
	sleep 0.02;
}
is((PmTest::finish_psql($run))[0], 0, 'the application has ended well');
cmp_ok(answer(q{SELECT sum(conflicts) FROM pm.status WHERE process_manager = 'own'}), '>', 0, 'the lanes conflict with an application');
is($alone, 0, "they do not take turns ($looks looks)");
# Their deadlock_timeout is short; log_lock_waits would log each of their waits.
unlike(slurp_file($node->logfile), qr/ still waiting for /, 'the waits of lanes are not logged');
$session->quit;
PmTest::no_crash_ok($node);
$node->stop('fast');
done_testing();
