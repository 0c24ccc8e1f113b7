# pm.append with an id. Eight clients append the same 1,000 ids, each in an order of its own, some of them
# several in a transaction, some rolled back: 1,000 events, and everybody gets the same positions. While
# pm.trim and kills continue, no id has two events. Prepared transactions; a dump.
use strict;
use warnings FATAL => 'all';

use PmTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = PmTest::node('main', conf => "max_connections = 40\nmax_prepared_transactions = 5\ndeadlock_timeout = 20ms\n");
my $clients = 8;
my $ids = 1000;

$node->safe_psql('postgres', <<'SQL');
SELECT pm.create_log('orders');
SELECT pm.create_log('triggered');
CREATE FUNCTION look_on() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER look_on BEFORE INSERT ON triggered FOR EACH ROW EXECUTE FUNCTION look_on();
CREATE TABLE answers (client int, log text, id text, pos bigint);

-- What a client does that tries each command until it succeeds.
CREATE PROCEDURE client(me int, to_log text, ids int) LANGUAGE plpgsql AS
$$DECLARE
	i int[];
	done boolean;
BEGIN
	-- one to three ids a transaction
	FOR i IN SELECT array_agg(n) FROM (SELECT n, row_number() OVER (ORDER BY hashint4(n * 31 + me)) AS r FROM generate_series(1, ids) n) x
			 GROUP BY CASE me % 2 WHEN 0 THEN r ELSE r / 3 END ORDER BY 1 LOOP
		done := false;
		WHILE NOT done LOOP
			BEGIN
				INSERT INTO answers SELECT me, to_log, n, pm.append(to_log, 's-' || n % 50, 'x', jsonb_build_object('id', n), id => 'id-' || n)
				FROM unnest(i) n;
				IF me % 4 = 3 AND random() < 0.2 THEN RAISE EXCEPTION USING ERRCODE = 'UE001'; END IF;
				done := true;
			EXCEPTION WHEN deadlock_detected OR SQLSTATE 'UE001' THEN NULL;
			END;
		END LOOP;
		COMMIT;
	END LOOP;
END$$;
SQL

for my $log ('orders', 'triggered')
{
	my $seconds = PmTest::seconds {
		my @sessions = map { PmTest::start_psql($node, "CALL client($_, '$log', $ids);") } 1 .. $clients;

		for (@sessions)
		{
			my ($rc, $out, $err) = PmTest::finish_psql($_);
			is($rc, 0, "$log: a client has succeeded") or diag($err);
		}
	};

	is($node->safe_psql('postgres', "SELECT count(*), count(DISTINCT data) FROM $log"), "$ids|$ids", "$log: one event for each id");
	is($node->safe_psql('postgres', "SELECT count(*) FROM answers WHERE log = '$log'"), $clients * $ids, "$log: each client has all answers");
	is($node->safe_psql('postgres', "SELECT count(*) FROM answers a JOIN $log o ON o.position = a.pos AND o.data ->> 'id' = a.id WHERE a.log = '$log'"),
		$clients * $ids, "$log: which are the positions of the events");
	is($node->safe_psql('postgres', "SELECT count(*) FROM (SELECT stream FROM $log GROUP BY stream HAVING max(version) <> count(*)) x"),
		'0', "$log: the versions have no gaps");
	PmTest::figure(sprintf '%s: %d clients append the same %d ids in %.1f s', $log, $clients, $ids, $seconds);
}
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_locks WHERE locktype = 'object' AND classid IN ('orders'::regclass, 'triggered'::regclass)"),
	'0', 'no lock is left');

# ---- pm.trim meanwhile, and backends that are killed

# The clients continue until enough has been trimmed, however fast they are.
$node->safe_psql('postgres', <<'SQL');
TRUNCATE answers;
CREATE TABLE trimmed (events bigint);
CREATE PROCEDURE client_until(me int, enough bigint) LANGUAGE plpgsql AS
$$BEGIN
	LOOP
		CALL client(me, 'orders', 1000);
		EXIT WHEN (SELECT sum(events) FROM trimmed) > enough;
	END LOOP;
END$$;
SQL
{
	my $enough = 300;
	my @sessions = map { PmTest::start_psql($node, "CALL client_until($_, $enough);") } 1 .. $clients;
	my $until = time + $PostgreSQL::Test::Utils::timeout_default;
	my $trimmed = 0;

	# An event that was trimmed is appended again by the next client that has its id; at no time does an id have two events.
	while (time < $until && $trimmed <= $enough)
	{
		$trimmed += $node->safe_psql('postgres', "INSERT INTO trimmed SELECT pm.trim('orders', (SELECT max(position) FROM orders) - 500, 100) RETURNING events");
		my $twice = $node->safe_psql('postgres', "SELECT count(*) - count(DISTINCT data) FROM orders");
		BAIL_OUT("an id has two events") if $twice != 0;
	}
	$node->safe_psql('postgres', "INSERT INTO trimmed VALUES ($enough + 1)");
	for (@sessions)
	{
		my ($rc, $out, $err) = PmTest::finish_psql($_);
		is($rc, 0, 'a client has succeeded') or diag($err);
	}
	cmp_ok($trimmed, '>', $enough, 'events have been trimmed meanwhile');
	is($node->safe_psql('postgres', "SELECT count(*) - count(DISTINCT data) FROM orders"), '0', 'no id has two events');
	$node->safe_psql('postgres', "SELECT pm.trim('orders', (SELECT max(position) FROM orders) - 100, NULL)");
	is($node->safe_psql('postgres', "SELECT count(*), count(o.position) FROM pm_catalog.append_id a LEFT JOIN orders o USING (position) WHERE a.log = 'orders'"),
		$node->safe_psql('postgres', "SELECT count(*), count(*) FROM orders"), 'the ids of the other events are not kept');
}
{
	my $session = PmTest::session($node);
	my $waiting = PmTest::session($node);

	$session->do("BEGIN; SELECT pm.append('orders', 'killed', 'x', id => 'killed')");
	$waiting->send("SELECT pm.append('orders', 'waiting', 'x', id => 'killed')");
	ok(PmTest::wait_until($node, "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'", '1'), 'a session waits');
	$node->safe_psql('postgres', 'SELECT pg_terminate_backend(' . $session->pid . ')');
	cmp_ok($waiting->wait, '>', 0, 'after the other was terminated it appends the event');
	is($node->safe_psql('postgres', "SELECT stream FROM orders WHERE stream IN ('killed', 'waiting')"), 'waiting', 'one event');
	$waiting->quit;
}

# ---- prepared transactions

for my $end ('COMMIT', 'ROLLBACK')
{
	my $waiting = PmTest::session($node);

	$node->safe_psql('postgres', "BEGIN; SELECT pm.append('orders', 'prepared', 'x', id => '$end'); PREPARE TRANSACTION 'p'");
	$waiting->send("SELECT pm.append('orders', 'waiting', 'x', id => '$end')");
	ok(PmTest::wait_until($node, "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'", '1'), 'a session waits for the prepared transaction');
	$node->safe_psql('postgres', "$end PREPARED 'p'");
	my $position = $waiting->wait;
	is($node->safe_psql('postgres', "SELECT stream FROM orders WHERE position = $position"), $end eq 'COMMIT' ? 'prepared' : 'waiting', "and has its answer after $end PREPARED");
	$waiting->quit;
}

# ---- a crash, a dump

$node->safe_psql('postgres', "SELECT pm.append('orders', 'crash', 'x', id => 'crash')");
my $position = $node->safe_psql('postgres', "SELECT max(position) FROM orders");
$node->stop('immediate');
$node->start;
is($node->safe_psql('postgres', "SELECT pm.append('orders', 'crash', 'x', id => 'crash')"), $position, 'an id is known after a crash');
my $dump = $node->basedir . '/dump.sql';
$node->command_ok([ 'pg_dump', '-f', $dump, 'postgres' ], 'dumped');
$node->safe_psql('postgres', "CREATE DATABASE copy; CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0");
$node->safe_psql('postgres', "SELECT pm.append('orders', 'late', 'x', id => 'late')");
for my $db ('copy', 'latin')
{
	$node->command_ok([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $db, '-f', $dump ], "$db: restored");
	is($node->safe_psql($db, "SELECT pm.append('orders', 'crash', 'x', id => 'crash')"), $position, "$db: an id is known");
	cmp_ok($node->safe_psql($db, "SELECT pm.append('orders', 'late', 'x', id => 'late')"), '>', $position, "$db: an id that is not in the dump is not");
}

PmTest::no_crash_ok($node);
done_testing();
