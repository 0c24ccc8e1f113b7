# The gallery (examples/*.sql): an unprivileged role runs each example twice, with the same output, and then its pgTAP
# test. Then eight clients use the examples at the same time as workers do; whatever happened, the accounts agree.
use strict;
use warnings FATAL => 'all';

use File::Basename qw(basename);
use PmTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

my $root = $ENV{PM_TEST_ROOT} // '.';
my $seconds = $ENV{PM_SOAK} ? 60 : 3;
my $node = PmTest::node('gallery', conf => "max_connections = 40\npm.max_workers = 6\n");
my @examples = map { basename($_, '.sql') } sort glob("$root/examples/*.sql");

$node->safe_psql('postgres', <<'SQL');
CREATE ROLE reader LOGIN;
GRANT CREATE ON DATABASE postgres TO reader;
GRANT USAGE ON SCHEMA pm TO reader;
SQL
my $pgtap = $node->safe_psql('postgres', q{SELECT count(*) FROM pg_available_extensions WHERE name = 'pgtap'});
$node->safe_psql('postgres', 'CREATE EXTENSION pgtap') if $pgtap;

# Runs SQL as the reader.
sub answer { return $node->safe_psql('postgres', $_[0], extra_params => [ '-U', 'reader' ]); }

# Runs a file as the reader. Returns its output.
sub run_file
{
	my ($file, @options) = @_;
	my ($out, $err) = ('', '');
	my $ok = IPC::Run::run([ $node->installed_command('psql'), '-XU', 'reader', '-d', $node->connstr('postgres'), @options, '-f', "$root/$file" ],
		'>', \$out, '2>', \$err);

	ok($ok && $err eq '', "$file runs") or diag($out, $err);
	return $out;
}

cmp_ok(scalar @examples, '>=', 5, 'there are examples');
foreach my $example (@examples)
{
	my $first = run_file("examples/$example.sql");

	is(run_file("examples/$example.sql"), $first, "examples/$example.sql: the second run prints the same");
	like($first, qr/\(\d+ rows?\)/, "examples/$example.sql prints results");
	ok(-e "$root/examples/test/$example.sql", "examples/$example.sql has a test");
	next unless $pgtap && -e "$root/examples/test/$example.sql";

	my $tap = run_file("examples/test/$example.sql", qw(-qAt -v ON_ERROR_STOP=1));
	my ($planned) = $tap =~ /^1\.\.(\d+)$/m;

	unlike($tap, qr/^not ok|^# Looks like/m, "examples/test/$example.sql: nothing fails") or diag($tap);
	is(scalar(() = $tap =~ /^ok \d+/mg), $planned, "examples/test/$example.sql: all tests run");
}
is(answer(q{SELECT string_agg(DISTINCT process_manager || ': ' || state, ', ') FROM pm.status WHERE state NOT IN ('idle', 'running') AND reason <> 'no consumer fetches its events'}),
	'', 'no process manager has stopped');

# ---- eight clients -----------------------------------------------------------

# Starts a pgbench with eight clients that run a script for some seconds.
sub start_clients
{
	my ($name, $script) = @_;
	my $file = $node->basedir . "/$name.sql";

	append_to_file($file, $script);
	return PmTest::start_program($node, qw(pgbench -n -M prepared -c 8 -j 2 -U reader -T), $seconds, '-f', $file, 'postgres');
}

sub finish_clients
{
	my ($name, $run) = @_;

	$run->{h}->finish;
	is($run->{h}->result(0), 0, "$name: the clients have no error") or diag($run->{out}, $run->{err});
	return $run->{out} =~ /transactions actually processed: (\d+)/ ? $1 : 0;
}

# Starts a session that repeats a statement until the query is true.
sub start_loop
{
	my ($statement, $end) = @_;

	return PmTest::start_psql($node, <<"SQL", user => 'reader');
DO \$\$ BEGIN
	LOOP
		BEGIN $statement; EXCEPTION WHEN SQLSTATE 'PM001' THEN NULL; END;
		COMMIT;
		EXIT WHEN $end;
		PERFORM pg_sleep(0.01);
	END LOOP;
END \$\$;
SQL
}

sub finish_loop
{
	my ($name, $run) = @_;
	my ($rc, undef, $err) = PmTest::finish_psql($run);

	is($rc, 0, "$name ends well") or diag($err);
	return;
}

# After everything is handled, the query finds nothing wrong. An event whose dispatcher was terminated while the handler
# ran has failed once, and waits in pm.parked for its second attempt.
sub settled_ok
{
	my ($pm, $checks) = @_;

	ok(PmTest::wait_until($node, "SELECT bool_and(state = 'idle' AND lag = 0) FROM pm.status WHERE process_manager = '$pm'", 't'),
		"$pm: everything is handled");
	ok(PmTest::wait_until($node, "SELECT count(*) FROM pm.parked WHERE process_manager = '$pm' AND parked_at > now() - interval '5 minutes' AND key NOT LIKE 't-_'",
		'0'), "$pm: nothing stays parked");
	ok(PmTest::wait_until($node, "SELECT bool_and(state = 'idle' AND lag = 0) FROM pm.status WHERE process_manager = '$pm'", 't'),
		"$pm: and what follows from the last attempts is handled");
	is(answer($checks->{$_}), '', "$pm: $_") foreach sort keys %$checks;
	return;
}

# A dispatcher is terminated now and then.
sub disturb
{
	for (1 .. 3)
	{
		sleep $seconds / 4;
		answer(q{SELECT pg_terminate_backend(pid) FROM pm.worker WHERE kind = 'dispatcher' AND pid IS NOT NULL LIMIT 1});
	}
	return;
}

# ---- transfer: no money is made or lost

answer(q{SELECT bank.book('h-' || i, 'deposited', 100) FROM generate_series(1, 12) i});
{
	my $clients = start_clients('transfer', <<'SQL');
\set a random(1, 12)
\set b random(1, 13)
\set amount random(1, 60)
SELECT bank.request(gen_random_uuid()::text, 'h-' || :a, 'h-' || :b, :amount);
\sleep 2 ms
SQL
	disturb();
	my $n = finish_clients('transfer', $clients);

	settled_ok('transfer', {
		'the balances are what was deposited' => q{
			SELECT sum FROM (SELECT sum((data -> 'balance')::numeric) FILTER (WHERE last) AS sum, sum((data -> 'amount')::numeric) FILTER (WHERE type = 'deposited') AS deposited
			  FROM (SELECT *, version = max(version) OVER (PARTITION BY stream) AS last FROM bank.accounts) a) x WHERE sum <> deposited},
		'no account is overdrawn' => q{SELECT stream FROM bank.accounts WHERE (data -> 'balance')::numeric < 0},
		'each transfer has ended, and once' => q{
			SELECT stream FROM bank.transfers GROUP BY stream HAVING count(*) FILTER (WHERE type IN ('completed', 'failed')) <> 1},
		'what was debited was credited or refunded, once' => q{
			SELECT data ->> 'transfer' FROM bank.accounts WHERE type <> 'deposited' GROUP BY 1
			HAVING string_agg(type, ' ' ORDER BY type DESC) NOT IN ('debited credited', 'refunded debited')}
	});
	my ($conflicts, $errors) = split /\|/, answer(q{SELECT sum(conflicts), sum(errors) FROM (SELECT DISTINCT lane, conflicts, errors FROM pm.status WHERE process_manager = 'transfer') s});
	PmTest::figure("transfer: $n transfers, $conflicts conflicts, $errors errors");
	is(answer(q{SELECT count(*) FROM pm.status WHERE process_manager = 'transfer' AND reason LIKE '%version conflict%'}), 0, 'no conflict is a failure');
}

# ---- seats: each seat is sold once

answer(q{SELECT pm.append('cinema.shows', 'load-' || i, 'announced', jsonb_build_object('begins', now() + '1 hour')) FROM generate_series(1, 20) i});
{
	my $office = start_loop(q{PERFORM cinema.sell(format('load-%s/%s', 1 + floor(random() * 20)::int, 1 + floor(random() * 30)::int))},
		'EXISTS (SELECT FROM cinema.shows WHERE stream = \'close\')');
	my $clients = start_clients('seats', <<'SQL');
\set show random(1, 20)
\set a random(1, 30)
\set b random(1, 30)
SELECT 'c' || gen_random_uuid() AS id \gset
SELECT cinema.request(:id, 'load-' || :show, ARRAY[:a, :b]);
\sleep 2 ms
SELECT pm.append('cinema.reservations', :id, 'paid') WHERE random() < 0.5;
SELECT pm.append('cinema.shows', 'load-' || :show, 'cancelled') WHERE random() < 0.002;
SQL
	disturb();
	my $n = finish_clients('seats', $clients);

	answer(q{SELECT pm.append('cinema.shows', 'close', 'announced')});
	finish_loop('the box office', $office);
	# The deadlines of all that is not paid.
	ok(PmTest::wait_until($node, q{SELECT bool_and(state = 'idle' AND lag = 0) FROM pm.status WHERE process_manager = 'seats'}, 't'), 'seats: all requests are handled');
	answer(q{SELECT pm.catch_up('seats', as_of => now() + interval '11 minutes')});
	settled_ok('seats', {
		'each seat is held by one at a time, and then sold or released' => q{
			SELECT stream FROM (SELECT *, lag(type) OVER w AS before, lag(data ->> 'reservation') OVER w AS held_by FROM cinema.seats WHERE stream LIKE 'load-%' WINDOW w AS (PARTITION BY stream ORDER BY version)) s
			 WHERE NOT CASE type WHEN 'held' THEN coalesce(before = 'released', true)
			                     WHEN 'released' THEN before = 'held'
			                     WHEN 'sold' THEN CASE WHEN data ? 'reservation' THEN before = 'held' AND held_by = data ->> 'reservation' ELSE coalesce(before = 'released', true) END END},
		'each reservation is held or refused, once' => q{
			SELECT stream FROM cinema.reservations WHERE stream LIKE 'c%' GROUP BY stream HAVING count(*) FILTER (WHERE type IN ('held', 'refused')) <> 1},
		'each payment is for a seat, or goes back' => q{
			SELECT stream FROM cinema.reservations WHERE stream LIKE 'c%' GROUP BY stream
			HAVING count(*) FILTER (WHERE type = 'paid') <> count(*) FILTER (WHERE type IN ('confirmed', 'refunded')) - (count(*) FILTER (WHERE type IN ('confirmed', 'refunded')) > 1)::int},
		'nothing is left of a cancelled show' => q{
			SELECT key FROM pm.instance WHERE process_manager = 'seats' AND state ->> 'show' IN (SELECT stream FROM cinema.shows WHERE type = 'cancelled')}
	});
	PmTest::figure("seats: $n reservations");
}

# ---- travel: each booking is answered once, and each trip is confirmed or failed

{
	my $end = q{EXISTS (SELECT FROM travel.trips WHERE stream = 'close') AND NOT EXISTS (SELECT FROM travel.trips WHERE stream LIKE 'c%-%'
		GROUP BY stream HAVING NOT bool_or(type IN ('confirmed', 'failed'))) AND NOT EXISTS (SELECT FROM pm.status WHERE process_manager = 'travel_sender' AND lag > 0)};
	my @senders = map { start_loop('PERFORM travel.send()', $end) } 1 .. 2;
	my $clients = start_clients('travel', <<'SQL');
\set hotel random(1, 5)
SELECT travel.request('c-' || gen_random_uuid(), jsonb_build_object('flight', 'LIS', 'hotel', CASE WHEN :hotel = 1 THEN 'nothing' ELSE 'Grand' END, 'car', 'small'), now() + interval '1 week');
\sleep 100 ms
SQL
	disturb();
	my $n = finish_clients('travel', $clients);

	answer(q{SELECT pm.append('travel.trips', 'close', 'closed')});
	finish_loop('a sender', $_) foreach @senders;
	settled_ok('travel', {
		'each trip is confirmed or has failed' => q{
			SELECT stream FROM travel.trips WHERE stream LIKE 'c-%' GROUP BY stream HAVING count(*) FILTER (WHERE type IN ('confirmed', 'failed')) <> 1},
		'each booking of a trip that is confirmed is answered once' => q{
			SELECT t.stream FROM travel.trips t WHERE t.type = 'confirmed' AND t.stream LIKE 'c-%'
			   AND (SELECT count(*) FROM pm.journal j WHERE j.process_manager = 'travel' AND j.key = t.stream AND j.type = 'answered') <> 3},
		'what is booked for a trip that has failed is cancelled' => q{
			SELECT o.stream FROM travel.outbox o JOIN travel.trips t ON t.stream = o.data #>> '{body,trip}' AND t.type = 'failed' AND t.stream LIKE 'c-%'
			 GROUP BY o.stream HAVING array_agg(o.type ORDER BY o.version) <> CASE WHEN min(o.data #>> '{body,wish}') = 'nothing' THEN '{book}'::text[] ELSE '{book,cancel}' END}
	});
	PmTest::figure("travel: $n trips");
}

# ---- billing: contracts of the past, all invoiced up to now

answer(q{INSERT INTO billing.contracts (stream, version, type, data, recorded_at)
	SELECT 'load-' || i, 1, 'signed', '{"price": 10}', now() - interval '100 days' - i * interval '1 day' FROM generate_series(1, 200) i});
settled_ok('billing', {
	'each contract has all of its invoices, in order' => q{
		SELECT key FROM (SELECT c.stream AS key, c.recorded_at, array_agg((i.data ->> 'due')::date ORDER BY i.position) AS found
		                   FROM billing.contracts c LEFT JOIN billing.invoices i ON i.stream LIKE c.stream || '/%' AND i.type = 'issued' WHERE c.stream LIKE 'load-%' GROUP BY 1, 2) x
		 WHERE found <> ARRAY(SELECT (billing.due(recorded_at, n) AT TIME ZONE 'UTC')::date FROM generate_series(1, 20) n WHERE billing.due(recorded_at, n) <= now())}
});

# ---- projection: rebuilt under load, it is what the log says

{
	my $rebuild = start_loop(q{PERFORM pm.seek('shelf', 'shelf.orders', 0, reset => true); DELETE FROM shelf.order_list; DELETE FROM shelf.sales; PERFORM pg_sleep(0.2)},
		q{EXISTS (SELECT FROM shelf.orders WHERE stream = 'close')});
	my $clients = start_clients('projection', <<'SQL');
\set product random(1, 20)
SELECT 'c' || gen_random_uuid() AS id \gset
SELECT pm.append('shelf.orders', :id, 'placed', jsonb_build_object('customer', 'load', 'lines', jsonb_build_array(jsonb_build_object('product', 'load-' || :product, 'quantity', 2, 'price', 3))));
SELECT pm.append('shelf.orders', :id, 'cancelled') WHERE random() < 0.3;
SQL
	disturb();
	my $n = finish_clients('projection', $clients);

	answer(q{SELECT pm.append('shelf.orders', 'close', 'closed')});
	finish_loop('the rebuilding', $rebuild);
	settled_ok('shelf', {
		'the sales are what the log says' => q{
			SELECT product FROM (SELECT data -> 'lines' -> 0 ->> 'product' AS product, 2 * count(*) AS sold FROM shelf.orders o
			                      WHERE type = 'placed' AND stream LIKE 'c%' AND NOT EXISTS (SELECT FROM shelf.orders c WHERE c.stream = o.stream AND c.type = 'cancelled') GROUP BY 1) expected
			  FULL JOIN (SELECT * FROM shelf.sales WHERE product LIKE 'load-%') found USING (product) WHERE expected.sold IS DISTINCT FROM found.sold},
		'each order has its last state' => q{
			SELECT stream FROM (SELECT DISTINCT ON (stream) stream, type FROM shelf.orders WHERE stream LIKE 'c%-%' ORDER BY stream, version DESC) o
			  LEFT JOIN shelf.order_list l ON l.order_id = o.stream WHERE l.status IS DISTINCT FROM o.type}
	});
	PmTest::figure("projection: $n orders");
}

PmTest::no_crash_ok($node);
$node->stop;
done_testing();
