# Losing a race for a stream is not a failure. Clients and a process manager move money between a few hot accounts. The
# handler appends with the version that it has read, and catches nothing. Dispatchers are terminated meanwhile. No money
# is lost or made, each transfer ends once, nothing is parked, and no lost race counts as a failure. The same with four
# lanes, which have deadlocks with each other: they are resolved, and the lanes are not slower than one.
#
#   PM_TRANSFERS_SECONDS=6    how long the clients write (300 with PM_SOAK=1)
#   PM_TRANSFERS_KILLS=3      how many dispatchers are terminated (30)
use strict;
use warnings FATAL => 'all';

use PmTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $seconds = $ENV{PM_TRANSFERS_SECONDS} || ($ENV{PM_SOAK} ? 300 : 6);
my $kills = $ENV{PM_TRANSFERS_KILLS} // ($ENV{PM_SOAK} ? 30 : 3);
my $clients = 8;
my $node = PmTest::node('transfers', conf => "pm.max_workers = 6\nmax_connections = 40\nshared_buffers = 64MB\nmax_wal_size = 1GB\n");

sub answer { return $node->safe_psql('postgres', $_[0]); }

answer(<<'SQL');
SELECT pm.create_log('accounts'), pm.create_log('transfers');

-- Each event of an account has the balance after it.
CREATE FUNCTION balance(account text, OUT amount bigint, OUT version bigint) LANGUAGE plpgsql AS $$
BEGIN
	SELECT (e.data ->> 'balance')::bigint, e.version INTO amount, version FROM accounts e WHERE e.stream = account ORDER BY e.version DESC LIMIT 1;
END $$;

CREATE FUNCTION transfer(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	n bigint := (coalesce(state, e.data) ->> 'amount')::bigint;
	a record;
BEGIN
	IF e.type = 'requested' THEN
		SELECT * INTO a FROM balance(e.data ->> 'from');
		IF a.amount < n THEN
			PERFORM pm.append('transfers', e.stream, 'rejected');
			RETURN NULL;
		END IF;
		PERFORM pm.append('accounts', e.data ->> 'from', 'withdrawn', jsonb_build_object('balance', a.amount - n), expected_version => a.version);
		PERFORM pm.append('transfers', e.stream, 'withdrawn');
		RETURN e.data;
	ELSIF e.type = 'withdrawn' THEN
		SELECT * INTO a FROM balance(state ->> 'to');
		PERFORM pm.append('accounts', state ->> 'to', 'deposited', jsonb_build_object('balance', a.amount + n), expected_version => a.version);
		PERFORM pm.append('transfers', e.stream, 'completed');
		RETURN pm.done();
	END IF;
	RETURN state;
END $$;

CREATE FUNCTION request(id text) RETURNS bigint LANGUAGE sql AS $$
	SELECT pm.append('transfers', 'transfer-' || id, 'requested', jsonb_build_object(
		'from', 'account-' || 1 + floor(random() * 12)::int, 'to', 'account-' || 1 + floor(random() * 12)::int, 'amount', 1 + floor(random() * 20)::int)) $$;

-- A client requests transfers, and moves money by hand, for some time.
CREATE PROCEDURE client(w text, seconds float) LANGUAGE plpgsql AS $$
DECLARE
	until timestamptz := clock_timestamp() + make_interval(secs => seconds);
	i int := 0;
	a record;
	account text;
BEGIN
	WHILE clock_timestamp() < until LOOP
		i := i + 1;
		PERFORM request(w || '-' || i);
		COMMIT;
		FOR step IN 0 .. 1 LOOP		-- one in, one out
			LOOP
				account := 'account-' || 1 + floor(random() * 12)::int;
				SELECT * INTO a FROM balance(account);
				BEGIN
					PERFORM pm.append('accounts', account, 'moved', jsonb_build_object('balance', a.amount + 1 - 2 * step), expected_version => a.version);
					EXIT;
				EXCEPTION WHEN SQLSTATE 'PM001' THEN
					NULL;
				END;
			END LOOP;
			COMMIT;
		END LOOP;
		PERFORM pg_sleep(random() * 0.02);
	END LOOP;
END $$;
SELECT pm.append('accounts', 'account-' || i, 'opened', '{"balance": 1000}') FROM generate_series(1, 12) i;
SELECT pm.register('transfer', 'transfer', '{transfers}', start_at => 'beginning');
SQL

sub money_ok
{
	my ($what) = @_;

	is(answer("SELECT sum(amount) FROM generate_series(1, 12) i CROSS JOIN LATERAL balance('account-' || i)"), 12000, "$what: no money is lost or made");
	is(answer(<<'SQL'), '0|0', "$what: each transfer has ended, and once");
SELECT (SELECT count(*) FROM (SELECT stream FROM transfers GROUP BY stream HAVING count(*) FILTER (WHERE type IN ('completed', 'rejected')) <> 1) x),
	   (SELECT count(*) FROM pm.instance)
SQL
	is(answer('SELECT count(*) FROM pm.parked'), 0, "$what: nothing is parked");
	return;
}

sub run_clients
{
	my ($what) = @_;
	my @runs = map { PmTest::start_psql($node, "CALL client('$what, $_', $seconds);") } 1 .. $clients;
	my $killed = 0;

	for (1 .. $kills)
	{
		sleep $seconds / ($kills + 1);
		$killed += answer(q{SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pm.worker WHERE kind = 'dispatcher' AND pid IS NOT NULL ORDER BY random() LIMIT 1) d});
	}
	for my $run (@runs)
	{
		my ($rc, undef, $err) = PmTest::finish_psql($run);
		is($rc, 0, "$what: a client ended well") or diag($err);
	}
	ok(PmTest::wait_idle($node), "$what: all of it is handled") or diag(answer('SELECT * FROM pm.status'), answer('SELECT * FROM pm.parked'));
	# An event whose dispatcher was terminated while the handler ran has failed once, and waits for its second attempt.
	ok(PmTest::wait_until($node, 'SELECT count(*) FROM pm.parked', '0') && PmTest::wait_idle($node),
		"$what: nothing stays parked");
	money_ok($what);
	is(answer(q{SELECT count(*) FROM pm_catalog.lane WHERE sqlstate = 'PM001'}), 0, "$what: no lost race is a failure");
	PmTest::figure(sprintf('%s: %d transfers, %d dispatchers terminated, %d conflicts, %d errors', $what,
			split /\|/, answer(sprintf(q{SELECT count(DISTINCT stream), %d, (SELECT sum(conflicts) FROM pm.status), (SELECT sum(errors) FROM pm.status) FROM transfers}, $killed))));
	return;
}

run_clients('one lane');
cmp_ok(answer('SELECT sum(conflicts) FROM pm.status'), '>', 0, 'there were conflicts');

# How long it takes to handle what is there already.
my $drains = 0;
sub drain
{
	my ($lanes) = @_;

	$drains++;
	answer("SELECT pm.register('transfer', 'transfer', '{transfers}', lanes => $lanes, handler_timeout => '1 min'); SELECT pm.pause('transfer')");
	answer("SELECT count(request('drain-$drains-' || i)) FROM generate_series(1, 3000) i");
	my $resumed = (split /\n/, answer("SELECT pm.resume('transfer');\nSELECT extract(epoch FROM clock_timestamp())"))[-1];
	ok(PmTest::wait_idle($node), "$lanes lanes: a backlog is handled");
	return answer('SELECT extract(epoch FROM max(recorded_at)) FROM (SELECT recorded_at FROM accounts UNION ALL SELECT recorded_at FROM transfers) x') - $resumed;
}
my ($one, $four) = (0, 0);
for (1 .. 2)
{
	$one += drain(1);
	$four += drain(4);
}
money_ok('backlogs');
PmTest::figure(sprintf('4 x 6000 events that write 12 streams: one lane %.2f s, four lanes %.2f s', $one, $four));
# A tenth of a second or two is lost at each first deadlock.
cmp_ok($four, '<', 2 * $one + 1, 'four lanes are not much slower than one');

answer(q{SELECT pm.register('transfer', 'transfer', '{transfers}', lanes => 4)});
run_clients('four lanes');

# A handler that always loses its race fails in the end.
answer(<<'SQL');
CREATE FUNCTION loser(e pm.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF e.type = 'opened' THEN
		PERFORM pm.append('accounts', 'account-1', 'lost', '{}', expected_version => 1);
	END IF;
END $$;
SELECT pm.create_log('shops'), pm.append('shops', 'shop-1', 'opened'), pm.append('shops', 'shop-2', 'closed');
SELECT pm.register('loser', 'loser', '{shops}', start_at => 'beginning', max_attempts => 1);
SQL
ok(PmTest::wait_until($node, q{SELECT state, attempts, sqlstate FROM pm.parked WHERE process_manager = 'loser'}, 'dead|1|PM001'),
	'a handler that always loses its race fails in the end');
is(answer(q{SELECT conflicts >= 50, errors FROM pm.status WHERE process_manager = 'loser'}), 't|1', 'its races are counted as conflicts, the last as an error');

PmTest::no_crash_ok($node);
$node->stop;
done_testing();
