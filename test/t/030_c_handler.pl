# A handler in C (examples/c_handler): a worker calls it once for each event (P1, P2, P3) as the
# owner (P6), and an error of it is treated like that of any handler (P4, P7).
use strict;
use warnings FATAL => 'all';

use PmTest;
use Test::More;

my $node = PmTest::node('main');

# an ordinary role
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE clerk LOGIN;
CREATE SCHEMA recording;
CREATE EXTENSION c_handler SCHEMA recording;
GRANT USAGE ON SCHEMA pm, recording TO clerk;
GRANT INSERT, SELECT ON recording.handled TO clerk;
CREATE SCHEMA AUTHORIZATION clerk;
SQL

sub clerk
{
	return $node->safe_psql('postgres', $_[0], extra_params => [ '-U', 'clerk' ]);
}

clerk(q{SELECT pm.create_log('orders')});
clerk(q{SELECT pm.register('recorder', 'recording.record_event', '{orders}', batch_size => 70,
	on_failure => 'halt', max_attempts => 2, backoff => '10 ms')});
is(clerk(q{SELECT handler FROM pm.process_manager}), 'recording.record_event(pm.event)', 'registered');

# ---- 1,000 events, appended in several ways, with rolled-back positions

clerk(q{INSERT INTO orders (stream, type, data)
	SELECT 'order-' || i % 50, 'placed', jsonb_build_object('amount', i) FROM generate_series(1, 600) i});
clerk(q{BEGIN; INSERT INTO orders (stream, type) SELECT 'never', 'placed' FROM generate_series(1, 25); ROLLBACK});
clerk(q{SELECT count(pm.append('orders', 'order-' || i % 50, 'paid', jsonb_build_object('amount', i)))
	FROM generate_series(601, 999) i});
# an event whose data is stored out of line
clerk(q{ALTER TABLE orders ALTER data SET STORAGE EXTERNAL});
clerk(q{SELECT pm.append('orders', 'order-0', 'noted', jsonb_build_object('amount', 1000, 'note', repeat('x', 100000)))});
is(clerk(q{SELECT pm.wait_for('recorder', timeout => '60 s')}), 't', 'all events are handled in time');

is(clerk(q{SELECT count(*) FROM orders}), '1000', 'there are 1,000 events');
is(clerk(q{SELECT count(*), count(DISTINCT position), sum(amount) FROM recording.handled}),
	'1000|1000|500500', 'each was handled once');
is(clerk(q{SELECT count(*) FROM orders o JOIN recording.handled h
	ON h.log = 'orders' AND h.position = o.position AND h.stream = o.stream AND h.type = o.type
	AND h.amount = (o.data ->> 'amount')::numeric}), '1000', 'with the fields of the event');
is(clerk(q{SELECT count(*) FROM (SELECT position < lag(position) OVER (ORDER BY id) AS back FROM recording.handled) x WHERE back}),
	'0', 'in position order');
is(clerk(q{SELECT DISTINCT role FROM recording.handled}), 'clerk', 'the handler runs as the owner');
is(clerk(q{SELECT count(*) FROM recording.handled h LEFT JOIN pm.worker w ON w.kind = 'dispatcher' AND w.pid = h.pid AND w.role = 'clerk'
	WHERE w.pid IS NULL}), '0', 'by a worker');
is(clerk(q{SELECT state, handled, errors FROM pm.status}), 'idle|1000|0', 'no call failed');

# ---- an error in a statement of the handler

my $first = clerk(q{INSERT INTO orders (stream, type, data) VALUES ('bad', 'placed', '{"amount": 1}') RETURNING position});
my $bad = clerk(q{INSERT INTO orders (stream, type, data) VALUES ('bad', 'placed', '{"amount": "much"}') RETURNING position});
clerk(q{INSERT INTO orders (stream, type, data) VALUES ('bad', 'placed', '{"amount": 3}')});
ok(PmTest::wait_until($node, q{SELECT state FROM pm.status}, 'halted'), 'an error halts the lane after max_attempts');
like(clerk(q{SELECT reason FROM pm.status}), qr/position $bad of log "orders": invalid input syntax for type numeric/,
	'pm.status shows the error');
is(clerk(q{SELECT string_agg(amount::text, ',') FROM recording.handled WHERE stream = 'bad'}), '1', 'no effect of the failed call is left');
is(clerk(q{SELECT position FROM pm.cursor}), $first, 'the cursor is before the event');

clerk(qq{SELECT pm.seek('recorder', 'orders', $bad)});
is(clerk(q{SELECT pm.wait_for('recorder', timeout => '60 s')}), 't', 'it continues with the next event');
is(clerk(q{SELECT string_agg(amount::text, ',') FROM recording.handled WHERE stream = 'bad'}), '1,3', 'only the failing event is skipped');

# ---- the extension is recreated while a dispatcher has a plan for the old function

$node->safe_psql('postgres', <<'SQL');
DROP EXTENSION c_handler;
CREATE EXTENSION c_handler SCHEMA recording;
GRANT INSERT, SELECT ON recording.handled TO clerk;
SQL
clerk(q{SELECT pm.append('orders', 'anew', 'placed', '{"amount": 7}')});
is(clerk(q{SELECT pm.wait_for('recorder', timeout => '60 s')}), 't', 'events are handled after DROP and CREATE EXTENSION');
is(clerk(q{SELECT stream, amount FROM recording.handled}), 'anew|7', 'the new table is written');

# ---- a missing privilege of the owner

$node->safe_psql('postgres', 'REVOKE INSERT ON recording.handled FROM clerk');
clerk(q{SELECT pm.append('orders', 'refused', 'placed', '{"amount": 8}')});
ok(PmTest::wait_until($node, q{SELECT state FROM pm.status}, 'halted'), 'without the right to insert it halts');
like(clerk(q{SELECT reason FROM pm.status}), qr/permission denied for table handled/, 'pm.status gives the reason');
$node->safe_psql('postgres', 'GRANT INSERT ON recording.handled TO clerk');
clerk(q{SELECT pm.resume('recorder')});
is(clerk(q{SELECT pm.wait_for('recorder', timeout => '60 s')}), 't', 'with the right, and resumed, it continues');
is(clerk(q{SELECT string_agg(stream, ',' ORDER BY position) FROM recording.handled}), 'anew,refused', 'it starts with the event that failed');

PmTest::no_crash_ok($node);
$node->stop;
done_testing();
