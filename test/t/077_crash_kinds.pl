# Servers end, one after the other, because of a correlate function, of a timer's handler, of a parked event whose handler
# sometimes only fails, and of a handler beside which another one runs for a long time, so that the notes of both are shared. Each of these is dead, or its process manager halts,
# after two servers have ended. Others continue, and when the function is corrected, all is handled once.
#
# Each next server has the data of the last one, on a new timeline, but not its crash marks.
use strict;
use warnings FATAL => 'all';

use PmTest;
use Test::More;
use Time::HiRes qw(sleep time);

my $module = PmTest::build_library('crash_kinds', PmTest::crash_source());
my $node = PmTest::node('main', init => [ allows_streaming => 1 ], conf => <<'CONF');
restart_after_crash = off
pm.promotion_wait = 0
CONF

sub answer
{
	my ($sql) = @_;
	return $node->safe_psql('postgres', $sql);
}

# The server ends, and the next one is promoted.
sub next_server
{
	my ($name) = @_;
	my $directory = $node->data_dir;
	my $until = time + 60;

	sleep 0.05 while time < $until && -e "$directory/postmaster.pid";
	ok(!-e "$directory/postmaster.pid", "$name: the server has ended") or die "the server does not end\n";
	$node->_update_pid(0);
	unlink "$directory/pg_stat_tmp/pm_handling" or die "there are no crash marks\n";
	PostgreSQL::Test::Utils::append_to_file("$directory/standby.signal", '');
	$node->start;
	$node->promote;
}

sub launcher
{
	my ($value) = @_;
	$node->append_conf('postgresql.conf', "pm.launcher = $value");
	$node->reload;
}

PmTest::create_seen($node);
answer(<<"SQL");
CREATE ROLE bob LOGIN;
GRANT USAGE ON SCHEMA pm TO bob;
GRANT CREATE ON SCHEMA public TO bob;
SELECT pm.create_log(l) FROM unnest('{orders,timed,odd}'::text[]) l;
GRANT SELECT ON orders TO bob;
CREATE FUNCTION crash() RETURNS void LANGUAGE c AS '$module', 'crash';
CREATE TABLE armed (timeline int);
GRANT SELECT ON armed TO bob;
CREATE FUNCTION stream_of(e pm.event) RETURNS text IMMUTABLE LANGUAGE plpgsql AS \$f\$
BEGIN
	IF e.type = 'keyless' AND EXISTS (SELECT FROM armed) THEN PERFORM crash(); END IF;
	RETURN e.stream;
END \$f\$;
CREATE FUNCTION timed(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS \$f\$
BEGIN
	INSERT INTO seen (pm, log, pos, stream, key, type) VALUES ('timed', e.log, e.position, e.stream, e.stream, e.type);
	IF e.type = 'arm' THEN PERFORM pm.set_timer('ring', pm.now() + '1 s');
	ELSIF e.stream = 's1' AND EXISTS (SELECT FROM armed) THEN PERFORM crash();
	END IF;
	RETURN '{}';
END \$f\$;
SQL
PmTest::create_handler($node, 'calm', user => 'bob');
PmTest::create_handler($node, 'keyed');
# Its first call on each server fails, and the second one crashes the server.
answer("CREATE SEQUENCE tries_$_") for 1 .. 9;
PmTest::create_handler($node, 'flaky', before => q{IF EXISTS (SELECT FROM armed) THEN IF nextval('tries_' || pm.timeline()) = 1 THEN RAISE 'it fails'; END IF; PERFORM crash(); END IF;});
# It crashes the server as soon as two notes are shared, and on the next server at once.
PmTest::create_handler($node, 'bad', before => <<'SQL');
IF e.type = 'bad' AND EXISTS (SELECT FROM armed) THEN
	WHILE EXISTS (SELECT FROM armed WHERE timeline = pm.timeline()) AND (SELECT count(*) FILTER (WHERE shared) FROM pm_catalog.noted) < 2 LOOP
		PERFORM pg_sleep(0.05);
	END LOOP;
	PERFORM crash();
END IF;
SQL
PmTest::create_handler($node, 'long', user => 'bob', before => q{IF e.type = 'long' AND EXISTS (SELECT FROM armed WHERE timeline = pm.timeline()) THEN PERFORM pg_sleep(600); END IF;});
answer("SELECT pm.register('$_->[0]', '$_->[0]', '{$_->[1]}', start_at => 'beginning', handler_timeout => '1 h'$_->[2])") for [ 'keyed', 'orders', q{, backoff => '100 ms', correlate => 'stream_of'} ], [ 'bad', 'orders', q{, backoff => '100 ms'} ], [ 'flaky', 'odd', q{, backoff => '1 s', max_attempts => 10} ], [ 'timed', 'timed', q{, backoff => '100 ms'} ];
$node->safe_psql('postgres', "SELECT pm.register('$_', '$_', '{orders}', start_at => 'beginning', handler_timeout => '1 h')", extra_params => [ '-U', 'bob' ]) for qw(calm long);
ok(PmTest::wait_idle($node, timeout => 40), 'all have begun');

my $dead = q{SELECT string_agg(process_manager || ' ' || coalesce((event).type, ''), ', ') FROM pm.parked WHERE state = 'dead'};
my $halted = q{SELECT string_agg(process_manager, ', ') FROM pm.status WHERE state = 'halted'};

# What was dead or halted is corrected. Then everything is handled once.
sub corrected_ok
{
	my ($name) = @_;

	ok(PmTest::wait_until($node, "SELECT count(*) FROM orders o WHERE NOT EXISTS (SELECT FROM seen s WHERE s.pm = 'calm' AND s.pos = o.position)", 0, timeout => 40), "$name: others continue");
	answer(q{DELETE FROM armed; SELECT pm.retry(process_manager, log, position) FROM pm.parked WHERE state = 'dead'; SELECT pm.resume(process_manager) FROM pm.status WHERE state = 'halted'});
	ok(PmTest::wait_idle($node, timeout => 40), "$name: corrected, all continue");
	is(answer("SELECT count(*) FROM pm.parked"), 0, "$name: nothing is parked");
	PmTest::once_in_key_order_ok($node, $_, q{SELECT 'orders' AS log, position AS pos, stream AS key FROM orders}, "$name: $_ has handled everything once") for qw(calm keyed bad long);
	is(answer('SELECT count(*) FROM pm_catalog.noted'), 0, "$name: nothing is noted any more");
}

sub others { return q{INSERT INTO orders (stream, type) SELECT 's' || i % 3, 'T' FROM generate_series(1, 10) i}; }

# ---- correlate

answer('INSERT INTO armed VALUES (0)');
$node->psql('postgres', q{INSERT INTO orders (stream, type) VALUES ('s0', 'keyless'); } . others());
next_server('correlate');
next_server('correlate, for the second time');
ok(PmTest::wait_until($node, $halted, 'keyed', timeout => 40), 'the third server does not call it: its process manager halts');
is(answer("SELECT count(*) FROM pm.parked"), 0, 'nothing is parked');
corrected_ok('correlate');

# ---- a timer's handler

answer('INSERT INTO armed VALUES (0)');
answer("INSERT INTO timed (stream, type) SELECT 's' || i, 'arm' FROM generate_series(1, 3) i");
next_server('timer');
next_server('timer, for the second time');
ok(PmTest::wait_until($node, $dead, 'timed ring', timeout => 40), 'the third server does not call it: the timer is dead');
ok(PmTest::wait_until($node, "SELECT count(*) FROM seen WHERE type = 'ring'", 2, timeout => 40), 'the other timers fire');
corrected_ok('timer');
is(answer("SELECT string_agg(stream || ' ' || type, ', ' ORDER BY stream, type) FROM seen WHERE pm = 'timed'"), 's1 arm, s1 ring, s2 arm, s2 ring, s3 arm, s3 ring', 'each timer has fired once');

# ---- a parked event: while it waits for its next attempt, nothing else is to be done

answer("INSERT INTO armed VALUES (0); INSERT INTO odd (stream, type) VALUES ('s1', 'T')");
next_server('parked');
next_server('parked, for the second time');
ok(PmTest::wait_until($node, $dead, 'flaky T', timeout => 40), 'the third server does not call it: it is dead');
corrected_ok('parked');
PmTest::exactly_once_ok($node, 'flaky', 'odd');

# ---- shared notes

launcher('off');
ok(PmTest::wait_until($node, q{SELECT count(*) FROM pm.worker WHERE kind <> 'launcher'}, 0, timeout => 40), 'the workers leave');
answer(q{UPDATE pm_catalog.lane SET timeline = 0; INSERT INTO armed VALUES (pm.timeline()); INSERT INTO orders (stream, type) VALUES ('s1', 'bad'), ('s2', 'long'); } . others());
launcher('on');
next_server('shared notes');
next_server('the suspected event');
ok(PmTest::wait_until($node, $dead, 'bad bad', timeout => 40), 'the third server does not call it: it is dead, and no other event is');
corrected_ok('shared notes');
$node->stop('fast');
done_testing();
