# Partitioned logs. pg_partman creates and drops partitions while four writers append, with late commits, and a process manager
# follows: each event is handled once and in order, although most partitions are gone at the end. Writers do not queue behind
# the DROP of a partition that waits for a reader. A dump and its restore.
use strict;
use warnings FATAL => 'all';

use PmTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = PmTest::node('partitions', conf => "max_connections = 40\nmax_prepared_transactions = 5\n");
my $events = $ENV{PM_SOAK} ? 20_000 : 600;    # of each of four writers

sub answer { return $node->safe_psql('postgres', $_[0]); }

# ---- without pg_partman

$node->safe_psql('postgres', <<'SQL');
SELECT pm.create_log('plain', partitioned => true);
CREATE TABLE plain_1 PARTITION OF plain FOR VALUES FROM (1) TO (101);
CREATE TABLE plain_2 PARTITION OF plain FOR VALUES FROM (101) TO (1000000);
SQL
PmTest::create_seen($node);
PmTest::create_handler($node, 'follow_plain');
answer(q{SELECT pm.register('follow_plain', 'follow_plain', '{plain}', start_at => 'beginning')});

# A late commit: the transaction appends to the old partition, and then inserts into it directly.
my $late = PmTest::session($node);
$late->do(q{BEGIN; SELECT pm.append('plain', 'late', 'x')});
$late->do(q{INSERT INTO plain_1 ("position", stream, type) OVERRIDING SYSTEM VALUE VALUES (nextval('plain_position_seq'), 'late', 'direct')});
answer(q{SELECT count(pm.append('plain', 's-' || i % 7, 'x')) FROM generate_series(1, 150) i});
is(answer(q{SELECT pm.high_water_mark('plain')}), '0', 'a late commit holds the mark back, over partitions');
# An append to the same stream waits for the transaction; an append to another stream does not.
my $waiting = PmTest::session($node);
$waiting->send(q{SELECT pm.append('plain', 'late', 'y', expected_version => 1)});
ok(PmTest::wait_until($node, q{SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'transactionid' AND query LIKE '%expected_version%'}, 1),
	'a session that appends to the same stream waits for the transaction');
is(answer(q{SELECT pm.append('plain', 's-1', 'x') > 0}), 't', 'a session that appends to another one does not');
my ($rc, $out, $err) = $node->psql('postgres', 'ALTER TABLE plain DETACH PARTITION plain_1 CONCURRENTLY');
like($err, qr/a transaction that may have appended to it has not ended/, 'a partition that may still get events is not detached concurrently');
$late->do('COMMIT');
like($waiting->wait, qr/^\d+$/, 'then it takes the next version');
ok(PmTest::wait_idle($node), 'all is handled');
PmTest::exactly_once_ok($node, 'follow_plain', 'plain', 'also what was committed late, and written directly');

# A prepared transaction has appended to a stream whose last event is in the newest partition.
answer(q{SELECT pm.append('plain', 'prepared', 'x')});
for my $end ('COMMIT', 'ROLLBACK')
{
	$late->do(q{BEGIN; SELECT pm.append('plain', 'prepared', 'y'); PREPARE TRANSACTION 'p'});
	$waiting->send(q{SELECT pm.append('plain', 'prepared', 'z')});
	ok(PmTest::wait_until($node, q{SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'transactionid' AND query LIKE '%prepared%' AND pid <> pg_backend_pid()}, 1),
		'a session that appends to a stream waits for a prepared transaction');
	answer("$end PREPARED 'p'");
	like($waiting->wait, qr/^\d+$/, "until $end PREPARED");
}
is(answer(q{SELECT string_agg(version || type, ' ' ORDER BY version) FROM plain WHERE stream = 'prepared'}), '1x 2y 3z 4z', 'and takes the version that follows');

# A locked partition holds up neither the dispatcher nor other process managers of the role.
PmTest::create_handler($node, 'follow_other');
answer(q{SELECT pm.create_log('other'); SELECT pm.register('follow_other', 'follow_other', '{other}', start_at => 'beginning'); SELECT pm.pause('follow_plain')});
answer(q{SELECT pm.append('plain', 'locked', 'x')});
my $locker = PmTest::session($node);
$locker->do('BEGIN; LOCK TABLE plain_2 IN ACCESS EXCLUSIVE MODE');
answer(q{SELECT pm.resume('follow_plain')});
for my $n (1 .. 3)
{
	answer(q{SELECT pm.append('other', 's', 'x')});
	ok(PmTest::wait_until($node, q{SELECT count(*) FROM seen WHERE log = 'other'}, $n), 'another log is read meanwhile');
}

$locker->do('COMMIT');
ok(PmTest::wait_idle($node), 'then all is handled');
PmTest::exactly_once_ok($node, 'follow_plain', 'plain', 'also what was in the locked partition');
# ... nor is an event that is parked and in a locked partition taken for one that is gone.
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE bad (on_ boolean);
CREATE FUNCTION may_fail(e pm.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF EXISTS (SELECT FROM bad) THEN RAISE EXCEPTION 'bad'; END IF;
	INSERT INTO seen (pm, log, pos) VALUES ('may_fail', e.log, e.position);
END $$;
INSERT INTO bad VALUES (true);
SELECT pm.register('may_fail', 'may_fail', '{plain}', start_at => 'end', max_attempts => 1);
SELECT pm.append('plain', 'parked', 'x');
SQL
ok(PmTest::wait_until($node, q{SELECT count(*) FROM pm.parked WHERE state = 'dead'}, 1), 'an event is parked');
answer('TRUNCATE bad');
$locker->do('BEGIN; LOCK TABLE plain_2 IN ACCESS EXCLUSIVE MODE');
answer(q{SELECT pm.retry('may_fail')});
for my $n (4 .. 5)
{
	answer(q{SELECT pm.append('other', 's', 'x')});
	ok(PmTest::wait_until($node, q{SELECT count(*) FROM seen WHERE log = 'other'}, $n), 'another log is read meanwhile');
}
is(answer(q{SELECT count(*) FROM pm.parked}), '1', 'the event is still parked');
$locker->do('COMMIT');
ok(PmTest::wait_until($node, q{SELECT count(*) FROM seen WHERE pm = 'may_fail'}, 1), 'then it is handled');
$locker->quit;
answer(q{SELECT pm.unregister('may_fail'), pm.unregister('follow_other')});

# A reader keeps the log's table locked. The DROP waits for it; writers do not wait for the DROP.
my $reader = PmTest::session($node);
my $dropper = PmTest::session($node);
$reader->do(q{BEGIN; SELECT count(*) FROM plain});
$dropper->send('DROP TABLE plain_1');
ok(PmTest::wait_until($node, q{SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'DROP TABLE plain%' AND state = 'active'}, 1), 'a DROP waits for a reader');
my $longest = 0;
for (1 .. 20)
{
	my $seconds = PmTest::seconds { answer(q{SELECT pm.append('plain', 'meanwhile', 'x')}) };
	$longest = $seconds if $seconds > $longest;
	sleep 0.02;
}
PmTest::figure(sprintf 'an append while a DROP waits: at most %.0f ms, with the start of psql', 1000 * $longest);
is(answer(q{SELECT count(*) FROM pg_class WHERE relname = 'plain_1'}), '1', '20 appends later the DROP still waits');
$reader->do('COMMIT');
$dropper->wait;
is(answer(q{SELECT count(*) FROM pg_class WHERE relname = 'plain_1'}), '0', 'then it drops the partition');
$_->quit for $late, $waiting, $reader, $dropper;

# Versions are not lost with a partition, and a restored log has all events.
answer(q{SELECT pm.append('plain', 's-' || i, 'y', expected_version => (SELECT max(version) FROM plain WHERE stream = 's-' || i)) FROM generate_series(1, 6) i});
$node->safe_psql('postgres', 'CREATE DATABASE copy');
my $file = $node->basedir . '/dump';
$node->command_ok([ 'pg_dump', '-Fc', '-f', $file, '-d', $node->connstr('postgres') ], 'a dump');
$node->command_ok([ 'pg_restore', '-d', $node->connstr('copy'), $file ], 'is restored');
is($node->safe_psql('copy', q{SELECT string_agg(format('%s/%s', position, version), ' ' ORDER BY position) FROM pm.read('plain', max_count => NULL)}),
	answer(q{SELECT string_agg(format('%s/%s', position, version), ' ' ORDER BY position) FROM pm.read('plain', max_count => NULL)}), 'with all events');
is($node->safe_psql('copy', q{SELECT pm.append('plain', 's-1', 'copy', expected_version => (SELECT max(version) FROM plain WHERE stream = 's-1')) > 0}), 't', 'and takes more');
is($node->safe_psql('copy', q{SELECT coalesce(string_agg(reason, ' '), '') FROM pm.status WHERE reason LIKE '%trigger%' OR reason LIKE '%partition%'}), '', 'its partitions are guarded');
(undef, undef, $err) = $node->psql('copy', q{INSERT INTO plain_2 ("position", stream, type) OVERRIDING SYSTEM VALUE VALUES (999, 's', 'x')});
like($err, qr/cannot insert into partition/, 'against direct inserts');

# ---- pg_partman

SKIP:
{
	# pg_partman 5 has another interface.
	skip 'there is no pg_partman 4', 1
	  if answer(q{SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_partman' AND default_version LIKE '4.%'}) eq '0';

	$node->safe_psql('postgres', <<'SQL');
CREATE SCHEMA partman;
CREATE EXTENSION pg_partman SCHEMA partman;
SELECT pm.create_log('ev', partitioned => true);
SELECT partman.create_parent('public.ev', 'position', 'native', '100', p_premake => 4);
DROP TABLE ev_default;
UPDATE partman.part_config SET retention = '300', retention_keep_table = false WHERE parent_table = 'public.ev';
CREATE TABLE written ("position" bigint);
CREATE TABLE maintained (error text);

-- An event a transaction, at times more, by pm.append and by INSERT; one in ten is open for longer. Where no partition takes
-- the position, the writer tries again.
CREATE PROCEDURE writer(me int, events int) LANGUAGE plpgsql AS
$$DECLARE
	p bigint[];
	n int := 0;
BEGIN
	WHILE n < events LOOP
		BEGIN
			IF n % 3 = 0 THEN
				WITH i AS (INSERT INTO ev (stream, type) SELECT 'plain-' || me, 'x' FROM generate_series(1, 2) RETURNING position)
				SELECT array_agg(position) INTO p FROM i;
			ELSE
				p := ARRAY[pm.append('ev', 's-' || me || '-' || n % 20, 'x')];
			END IF;
			INSERT INTO written SELECT unnest(p);
			n := n + cardinality(p);
			IF n % 10 = 0 THEN PERFORM pg_sleep(0.03 * random()); END IF;
		EXCEPTION WHEN check_violation THEN
			PERFORM pg_sleep(0.02);
		END;
		COMMIT;
	END LOOP;
END$$;
CREATE PROCEDURE maintain() LANGUAGE plpgsql AS
$$BEGIN
	LOOP
		BEGIN
			PERFORM partman.run_maintenance('public.ev');
			INSERT INTO maintained VALUES (NULL);
		EXCEPTION WHEN OTHERS THEN
			INSERT INTO maintained VALUES (SQLSTATE || ' ' || SQLERRM);
		END;
		COMMIT;
		EXIT WHEN EXISTS (SELECT FROM pg_class WHERE relname = 'stop');
		PERFORM pg_sleep(0.05);
	END LOOP;
END$$;
SQL
	PmTest::create_handler($node, 'follow');
	answer(q{SELECT pm.register('follow', 'follow', '{ev}', start_at => 'beginning')});

	my $maintenance = PmTest::start_psql($node, 'CALL maintain();');
	my @writers = map { PmTest::start_psql($node, "CALL writer($_, $events);") } 1 .. 4;
	for (@writers)
	{
		my ($rc, undef, $err) = PmTest::finish_psql($_);
		is($rc, 0, 'a writer has written its events') or diag($err);
	}
	ok(PmTest::wait_idle($node), 'all is handled');
	answer('CREATE TABLE stop ()');
	my ($rc, undef, $err) = PmTest::finish_psql($maintenance);
	is($rc, 0, 'the maintenance has ended') or diag($err);
	answer(q{SELECT partman.run_maintenance('public.ev')});

	PmTest::exactly_once_ok($node, 'follow', 'ev', 'each event once and in order, under pg_partman', table => 'written');
	my ($made, $left) = split /\|/, answer(q{SELECT count(*) / 100, (SELECT count(*) FROM pg_inherits WHERE inhparent = 'ev'::regclass) FROM written});
	cmp_ok($left, '<', $made, 'most partitions are gone');
	is(answer(q{SELECT count(*) FROM maintained WHERE error NOT LIKE '55000 cannot % partition "ev_p%" of event log "ev"%' AND error NOT LIKE '40P01%'}), '0', 'what maintenance was refused, process managers needed')
		or diag(answer('SELECT DISTINCT error FROM maintained'));
	is(answer(q{SELECT count(*) FROM (SELECT stream FROM ev WHERE version IS NOT NULL GROUP BY stream HAVING count(*) <> count(DISTINCT version)) x}), '0', 'no version twice');
	PmTest::figure("pg_partman: " . answer(q{SELECT format('%s events, %s runs of maintenance, %s refused, ', (SELECT count(*) FROM written), count(*), count(error)) FROM maintained})
		  . "$left partitions left");
}

PmTest::no_crash_ok($node);
done_testing();
