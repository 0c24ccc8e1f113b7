# A prepared transaction holds the high-water mark, also across a crash, and pm.blocker names it.
# When it ends, nothing is lost, and work continues soon.
#
#   PM_SOAK=1        transactions that are prepared across a crash stay prepared for 60 s instead of 3
use strict;
use warnings FATAL => 'all';

use PmTest;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = PmTest::node('prepared', conf => "max_prepared_transactions = 10\n");

$node->safe_psql('postgres', 'CREATE ROLE app LOGIN; GRANT USAGE ON SCHEMA pm TO app; GRANT CREATE ON SCHEMA public TO app');
PmTest::create_seen($node);
PmTest::create_handler($node, 'keep', user => 'app');
PmTest::create_handler($node, 'beside', user => 'app');
$node->safe_psql('postgres', <<'SQL', extra_params => [ '-U', 'app' ]);
SELECT pm.create_log('orders');
SELECT pm.create_log('payments');
SELECT pm.register('keep', 'keep', '{orders}');
SELECT pm.register('beside', 'beside', '{payments}');
SQL

my $n = 0;
my @took;
for my $end ('COMMIT PREPARED', 'ROLLBACK PREPARED')
{
	for my $restart ('', 'immediate', 'fast')
	{
		my $name = "$end after " . ($restart ? "a restart ($restart)" : 'no restart');
		my $gid = 'tx ' . ++$n;

		# These events are handled before the transaction begins. A prepared transaction has no hint, so events that
		# no reader has looked at before it began wait for its end.
		$node->safe_psql('postgres', "INSERT INTO orders (stream, type) VALUES ('a', 'before')", extra_params => [ '-U', 'app' ]);
		my $mark = $node->safe_psql('postgres', "SELECT max(position) FROM orders WHERE type = 'before'");
		ok(PmTest::wait_until($node, "SELECT position FROM pm.cursor WHERE process_manager = 'keep'", $mark),
			"$name: the events before it are handled");
		# A reader that comes after the transaction was prepared cannot tell what is older (there is no hint any more).
		ok(PmTest::wait_idle($node), "$name: a dispatcher has read what is before it");
		$node->safe_psql('postgres', <<"SQL", extra_params => [ '-U', 'app' ]);
BEGIN;
INSERT INTO orders (stream, type) VALUES ('a', 'prepared'), ('b', 'prepared');
PREPARE TRANSACTION '$gid';
SQL
		$node->safe_psql('postgres', "INSERT INTO orders (stream, type) VALUES ('a', 'after')", extra_params => [ '-U', 'app' ]);
		if ($restart)
		{
			$node->stop($restart);
			$node->start;
		}
		$node->safe_psql('postgres', "INSERT INTO orders (stream, type) VALUES ('a', 'after')");
		$node->safe_psql('postgres', "INSERT INTO payments (stream, type) VALUES ('p', 'P')");
		ok(PmTest::wait_until($node, "SELECT lag FROM pm.status WHERE process_manager = 'beside'", 0),
			"$name: another log is not held back");
		is($node->safe_psql('postgres', "SELECT position FROM pm.cursor WHERE process_manager = 'keep'"), $mark, "$name: the cursor waits");
		is($node->safe_psql('postgres', "SELECT pm.high_water_mark('orders')"), $mark, "$name: it holds the mark, which is not below the cursor");
		is($node->safe_psql('postgres', "SELECT count(*) FROM pm.read('orders', 0, 1000) WHERE position > $mark"), 0, "$name: pm.read stops before it");
		is($node->safe_psql('postgres', "SELECT pm.wait_for('keep', timeout => '200 ms')"), 'f', "$name: pm.wait_for waits for it");
		is( $node->safe_psql('postgres', "SELECT blocks, log, pid IS NULL, gid, role, since < now(), hint FROM pm.blocker"),
			"high-water mark|orders|t|$gid|app|t|COMMIT PREPARED '$gid'; or ROLLBACK PREPARED '$gid';",
			"$name: pm.blocker names it");
		like( $node->safe_psql('postgres', "SELECT state, reason, hint FROM pm.status WHERE process_manager = 'keep'"),
			qr/^waiting\|a prepared transaction that may have written to the log is still open\|.*pm\.blocker/, "$name: pm.status gives the reason");

		if ($restart eq 'immediate')
		{
			my $hold = $ENV{PM_SOAK} ? 60 : 3;

			ok(PmTest::wait_until($node, "SELECT clock_timestamp() > prepared + '$hold s' FROM pg_prepared_xacts WHERE gid = '$gid'", 't', timeout => $hold + 20, every => 0.2), "$name: it has been prepared for $hold s");
			is($node->safe_psql('postgres', "SELECT c.position, pm.high_water_mark('orders'), s.state, b.gid FROM pm.cursor c, pm.status s, pm.blocker b WHERE c.process_manager = 'keep' AND s.process_manager = 'keep'"),
				"$mark|$mark|waiting|$gid", "$name: everything still waits, and pm.status gives the reason");
		}
		my $ended = $node->safe_psql('postgres', "$end '$gid';\nSELECT extract(epoch FROM clock_timestamp())");
		ok(PmTest::wait_until($node, "SELECT count(*) FROM orders o WHERE NOT EXISTS (SELECT FROM seen s WHERE s.pm = 'keep' AND s.pos = o.position)", 0),
			"$name: after its end all is handled");
		my $took = PmTest::handled_at($node, "pm = 'keep'") - $ended;
		cmp_ok($took, '<', 2, sprintf('%s: within 2 s (%.2f s)', $name, $took));
		push @took, $took;
		is($node->safe_psql('postgres', 'SELECT count(*) FROM pm.blocker'), 0, "$name: pm.blocker is empty");
		PmTest::exactly_once_ok($node, 'keep', 'orders', "$name: nothing is lost, handled twice or out of order");
	}
}
is($node->safe_psql('postgres', "SELECT count(*) FROM orders WHERE type = 'prepared'"), 6, 'the committed events are there');
@took = sort { $a <=> $b } @took;
note(sprintf('figure: %d prepared transactions, across crashes for %d s: continues %.2f s after their end (median), %.2f s (most)', scalar @took, $ENV{PM_SOAK} ? 60 : 3, $took[ $#took / 2 ], $took[-1]));

# A prepared transaction that only locked the log, and one that rolled back to a savepoint.
$node->safe_psql('postgres', <<'SQL');
BEGIN;
SAVEPOINT a;
INSERT INTO orders (stream, type) VALUES ('a', 'rolled back');
ROLLBACK TO a;
INSERT INTO payments (stream, type) VALUES ('a', 'prepared');
PREPARE TRANSACTION 'other log';
INSERT INTO orders (stream, type) VALUES ('a', 'after');
SQL
ok(PmTest::wait_until($node, "SELECT state || lag FROM pm.status WHERE process_manager = 'keep'", 'idle0'),
	'a savepoint that was rolled back does not hold the mark of its log');
is($node->safe_psql('postgres', 'SELECT string_agg(log, $$,$$) FROM pm.blocker'), 'payments', 'the mark of the other log is held');
$node->stop('immediate');
$node->start;
ok(PmTest::wait_until($node, "SELECT state || lag FROM pm.status WHERE process_manager = 'keep'", 'idle0'), 'nor after a crash');
is($node->safe_psql('postgres', 'SELECT gid FROM pm.blocker'), 'other log', 'pm.blocker still names it');
$node->safe_psql('postgres', "COMMIT PREPARED 'other log'");
ok(PmTest::wait_idle($node), 'all are idle');
PmTest::exactly_once_ok($node, 'keep', 'orders');
PmTest::exactly_once_ok($node, 'beside', 'payments');

# pm.blocker shows the pid of a blocking session. A backend that reuses the slot of a session that has prepared
# its transaction is not taken for that transaction.
my $session = PmTest::session($node);
$session->do("BEGIN; INSERT INTO orders (stream, type) VALUES ('x', 'X'); PREPARE TRANSACTION 'same backend'");
$session->do('BEGIN; SELECT 1');
$node->safe_psql('postgres', "INSERT INTO orders (stream, type) VALUES ('y', 'Y')");
is($node->safe_psql('postgres', 'SELECT pid IS NULL, gid FROM pm.blocker'), 't|same backend', 'the transaction is named, not the session that prepared it');
$session->do("INSERT INTO orders (stream, type) VALUES ('z', 'Z')");
is($node->safe_psql('postgres', 'SELECT coalesce(pid::text, gid) FROM pm.blocker ORDER BY pid NULLS LAST'), $session->pid . "\nsame backend", 'both are named');
$session->do('COMMIT');
$node->safe_psql('postgres', "ROLLBACK PREPARED 'same backend'");
$session->quit;
ok(PmTest::wait_idle($node), 'all are idle');
PmTest::exactly_once_ok($node, 'keep', 'orders');

# pm.catch_up in a transaction that is then prepared has read up to a position. No other transaction may use that position
# again, also when the sequence is set back after a restart. Each event is delivered or refused.
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE reader LOGIN;
GRANT USAGE ON SCHEMA pm TO reader;
GRANT CREATE ON SCHEMA public TO reader;
SQL
$node->safe_psql('postgres', <<'SQL', extra_params => [ '-U', 'reader' ]);
SELECT pm.create_log('late');
CREATE TABLE late_seen (pos bigint);
CREATE FUNCTION late(e pm.event) RETURNS void LANGUAGE sql AS $$ INSERT INTO late_seen VALUES (e.position) $$;
SELECT pm.register('late', 'late', '{late}');
SELECT pm.pause('late');
INSERT INTO late (stream, type) SELECT 's', 'T' FROM generate_series(1, 5);
BEGIN;
INSERT INTO late (stream, type) SELECT 's', 'T' FROM generate_series(1, 5);
ROLLBACK;
BEGIN;
SELECT pm.resume('late');
SELECT pm.catch_up('late');
PREPARE TRANSACTION 'caught up';
SQL
$node->stop('fast');
$node->start;
my ($rc, undef, $refused) = $node->psql('postgres', "SELECT setval('late_position_seq', 5); INSERT INTO late (stream, type) VALUES ('new', 'T')", extra_params => [ '-U', 'reader' ]);
isnt($rc, 0, 'a position that a prepared transaction has read is refused after a restart');
like($refused, qr/set back/, 'the error says that the sequence was set back');
$node->safe_psql('postgres', "COMMIT PREPARED 'caught up'; SELECT pm.resume('late')", extra_params => [ '-U', 'reader' ]);
$node->safe_psql('postgres', "SELECT setval('late_position_seq', 10); INSERT INTO late (stream, type) VALUES ('new', 'T')", extra_params => [ '-U', 'reader' ]);
ok(PmTest::wait_until($node, 'SELECT string_agg(position::text, $$ $$ ORDER BY position) = (SELECT string_agg(pos::text, $$ $$ ORDER BY pos) FROM late_seen) FROM late', 't'), 'each event was handled');

PmTest::no_crash_ok($node);
$node->stop('fast');
done_testing();
