# P4, P7: a handler that fails for every event has a systemic error. With 100,000 events of many keys its
# process manager halts early, with the reason; few events are parked; others continue. After the correction
# pm.resume is enough, also with max_attempts => 1, and nothing is lost, handled twice or out of order.
#
#   PM_SYSTEMIC_EVENTS=100000
use strict;
use warnings FATAL => 'all';

use PmTest;
use Test::More;
use Time::HiRes qw(sleep time);

my $events = $ENV{PM_SYSTEMIC_EVENTS} || 100_000;
my $keys = int($events / 2);
my $node = PmTest::node('systemic', conf => "max_connections = 30\nshared_buffers = 64MB\nmax_wal_size = 2GB\n");

$node->safe_psql('postgres', <<'SQL');
CREATE ROLE app LOGIN;
GRANT USAGE ON SCHEMA pm TO app;
GRANT CREATE ON SCHEMA public TO app;
CREATE SEQUENCE calls;
GRANT ALL ON calls TO app;
SQL
PmTest::create_seen($node);

sub answer
{
	my ($sql) = @_;
	return $node->safe_psql('postgres', $sql, extra_params => [ '-U', 'app' ]);
}

# Handlers with and without a state. broken: a condition on the position for events that fail.
sub handler
{
	my ($name, $kind, $broken) = @_;
	my $body = "PERFORM nextval('calls'); INSERT INTO public.seen (pm, log, pos, stream, key) VALUES ('$name', e.log, e.position, e.stream, e.stream); IF $broken THEN RAISE EXCEPTION 'broken by the last release'; END IF;";

	answer($kind eq 'instance'
		? "CREATE OR REPLACE FUNCTION $name(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS \$f\$ BEGIN $body RETURN jsonb_build_object('n', coalesce((state->>'n')::int, 0) + 1); END \$f\$"
		: "CREATE OR REPLACE FUNCTION $name(e pm.event) RETURNS void LANGUAGE plpgsql AS \$f\$ BEGIN $body END \$f\$");
	return;
}

answer("SELECT pm.create_log('orders')");
PmTest::create_handler($node, 'beside', user => 'app');
answer("SELECT pm.register('beside', 'beside', '{orders}', batch_size => 1000)");

my @cases = (
	[ 'several', 'event', 'true', ", max_attempts => 5, backoff => '100 ms'" ],
	[ 'instances', 'instance', 'true', ", max_attempts => 5, backoff => '1 min'" ],
	[ 'only_one', 'event', 'true', ', max_attempts => 1' ],
	[ 'instances_one', 'instance', 'true', ', max_attempts => 1' ]);
for my $case (@cases)
{
	my ($name, $kind, $broken, $more) = @$case;
	handler($name, $kind, $broken);
	answer("SELECT pm.register('$name', '$name', '{orders}', batch_size => 1000$more)");
}
my $written = PmTest::seconds { answer("INSERT INTO orders (stream, type) SELECT 'k' || i % $keys, 'A' FROM generate_series(1, $events) i") };
note(sprintf('%d events of %d keys, written in %.1f s', $events, $keys, $written));

# ---- halted early

my $began = time;
for my $case (@cases)
{
	my ($name) = @$case;

	ok(PmTest::wait_until($node, "SELECT state FROM pm.status WHERE process_manager = '$name'", 'halted'), "$name: halted")
	  or diag(answer("SELECT * FROM pm.status WHERE process_manager = '$name'"));
}
note(sprintf('all halted after %.1f s', time - $began));
for my $case (@cases)
{
	my ($name) = @$case;
	my ($parked, $position, $reason, $hint) = split /\|/, answer("SELECT parked, position, reason, hint FROM pm.status WHERE process_manager = '$name'");

	note("$name: $parked parked, the cursor is at $position: $reason");
	cmp_ok($parked, '<', 100, "$name: few events are parked");
	cmp_ok($position, '<', 100, "$name: the cursor stays near the beginning");
	like($reason, qr/broken by the last release/, "$name: the reason has the error");
	like($reason, qr/\b20\b|in a row/, "$name: the reason says that the failure is not that of one event");
	like($hint, qr/pm\.resume\('$name'\)/, "$name: the hint says what to do");
	is(answer("SELECT count(*) FROM seen WHERE pm = '$name'"), 0, "$name: no effect is left");
	is(answer("SELECT count(*) FROM (SELECT position FROM orders WHERE position <= $position EXCEPT SELECT position FROM pm.parked WHERE process_manager = '$name') x"), 0, "$name: every event that the cursor has passed is parked");
}
ok(PmTest::wait_until($node, "SELECT state || lag FROM pm.status WHERE process_manager = 'beside'", 'idle0'), 'another process manager of the role continues');
PmTest::exactly_once_ok($node, 'beside', 'orders');
# While it is halted no handler is called, neither for parked nor for new events. The sequence counts calls.
my $calls = answer('SELECT last_value FROM calls');
note("the handlers were called $calls times");
cmp_ok($calls, '<', 4000 * @cases, 'far less than once for each event');
answer("INSERT INTO orders (stream, type) VALUES ('more', 'A')");
ok(PmTest::wait_until($node, "SELECT count(*) FROM seen WHERE pm = 'beside' AND stream = 'more'", 1), 'new events are appended');
is(answer('SELECT last_value FROM calls'), $calls, 'while it is halted no handler is called');

# resumed without a correction it halts again, and only a few more events are parked
answer("SELECT pm.resume('several'); SELECT pm.resume('only_one')");
ok(PmTest::wait_until($node, "SELECT count(*) FROM pm.status WHERE process_manager IN ('several', 'only_one') AND state = 'halted' AND errors > 20", 2), 'resumed without a correction it halts again')
  or diag(answer("SELECT * FROM pm.status"));
cmp_ok(answer("SELECT max(parked) FROM pm.status"), '<', 200, 'there are still few parked events');

# ---- the correction, and pm.resume

for my $case (@cases)
{
	my ($name, $kind) = @$case;
	handler($name, $kind, 'false');
}
answer('SELECT pm.resume()');
$began = time;
for my $case (@cases)
{
	my ($name, $kind) = @$case;

	ok(PmTest::wait_until($node, "SELECT state || lag || parked FROM pm.status WHERE process_manager = '$name'", 'idle00', every => 0.2), "$name: corrected and resumed, it handles everything")
	  or diag(answer("SELECT * FROM pm.status WHERE process_manager = '$name'") . answer("SELECT process_manager, state, count(*), min(retry_at) FROM pm.parked GROUP BY 1, 2"));
	PmTest::once_in_key_order_ok($node, $name, "SELECT 'orders' AS log, position AS pos, stream AS key FROM orders");
	is(answer("SELECT count(*), sum((state->>'n')::int) FROM pm.instance WHERE process_manager = '$name'"), ($keys + 1) . '|' . ($events + 1), "$name: the instances have counted all events") if $kind eq 'instance';
}
note(sprintf('%d events and more handled %.1f s after pm.resume', $events * @cases, time - $began));

# ---- park_limit: every second event fails, so there are never twenty failures in a row

answer("SELECT pm.create_log('halves')");
handler('limited', 'event', 'e.position % 2 = 0');
answer("SELECT pm.register('limited', 'limited', '{halves}', park_limit => 30, backoff => '1 min')");
answer("INSERT INTO halves (stream, type) SELECT 'k' || i, 'A' FROM generate_series(1, 2000) i");
ok(PmTest::wait_until($node, "SELECT state FROM pm.status WHERE process_manager = 'limited'", 'halted'), 'park_limit: the process manager halts')
  or diag(answer("SELECT * FROM pm.status WHERE process_manager = 'limited'"));
my ($parked, $position, $reason) = split /\|/, answer("SELECT parked, position, reason FROM pm.status WHERE process_manager = 'limited'");
note("park_limit: $parked parked, the cursor is at $position: $reason");
like($reason, qr/park_limit/, 'the reason names park_limit');
cmp_ok($parked, '<=', 31, 'no more keys are parked than park_limit');
cmp_ok($parked, '>=', 29, 'no fewer either');
is(answer("SELECT count(*) FROM halves WHERE position <= $position AND position % 2 = 1 AND position NOT IN (SELECT pos FROM seen WHERE pm = 'limited')"), 0, 'the other events before the cursor took effect');
handler('limited', 'event', 'false');
answer("SELECT pm.resume('limited')");
ok(PmTest::wait_until($node, "SELECT state || lag || parked FROM pm.status WHERE process_manager = 'limited'", 'idle00'), 'corrected and resumed, it handles everything')
  or diag(answer("SELECT * FROM pm.status WHERE process_manager = 'limited'"));
PmTest::once_in_key_order_ok($node, 'limited', "SELECT 'halves' AS log, position AS pos, stream AS key FROM halves");

PmTest::no_crash_ok($node);
$node->stop('fast');
done_testing();
