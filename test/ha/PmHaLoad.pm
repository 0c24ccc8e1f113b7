# The load on the cluster in the tests of test/ha/: process managers with lanes, instances, timers, a journal, parking, and a
# consumer; and the checks that must hold at the end, whatever has happened to the servers.
#
#   lanes     records each event; four lanes
#   counts    an instance for each stream: counts its events, sets a timer at every tenth and appends to "answers" at every fifth
#   parks     records each event; one of type "bad" fails at random, and is parked until it succeeds
#   outside   has no handler; a consumer records the events that it fetches, in the database and in a file
package PmHaLoad;

use strict;
use warnings FATAL => 'all';

use PmTest;
use Test::More;
use Time::HiRes qw(sleep time);

sub create
{
	my ($ha) = @_;

	$ha->safe_psql('postgres', <<'SQL');
CREATE ROLE app LOGIN;
GRANT USAGE ON SCHEMA pm TO app;
GRANT CREATE ON SCHEMA public TO app;
SQL
	PmTest::create_seen($ha);
	$ha->safe_psql('postgres', <<'SQL', user => 'app');
SELECT pm.create_log('orders'), pm.create_log('answers');
CREATE FUNCTION lanes(e pm.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.seen (pm, log, pos, stream, key) VALUES ('lanes', e.log, e.position, e.stream, e.stream);
END $$;
CREATE FUNCTION parks(e pm.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.seen (pm, log, pos, stream, key) VALUES ('parks', e.log, e.position, e.stream, e.stream);
	IF e.type = 'bad' AND random() < 0.3 THEN RAISE EXCEPTION 'not now'; END IF;
END $$;
CREATE FUNCTION counts(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	n int := coalesce((state ->> 'n')::int, 0) + 1;
BEGIN
	INSERT INTO public.seen (pm, log, pos, stream, key, type) VALUES ('counts', e.log, e.position, e.stream, pm.key(), e.type);
	IF e.log IS NULL THEN RETURN state; END IF;
	IF n % 10 = 0 THEN PERFORM pm.set_timer('after ' || n, now() + interval '100 ms'); END IF;
	IF n % 5 = 0 THEN PERFORM pm.append('answers', e.stream, 'answered', jsonb_build_object('to', e.position), id => 'answer ' || e.position); END IF;
	RETURN jsonb_build_object('n', n);
END $$;
SELECT pm.register('lanes', 'lanes', '{orders}', lanes => 4);
SELECT pm.register('parks', 'parks', '{orders}', max_attempts => 1000, backoff => '20 ms');
SELECT pm.register('counts', 'counts', '{orders}', journal => true);
SELECT pm.register('outside', NULL, '{orders}', lease => '5 s', lanes => 2);
SQL
	return;
}

# The client of "outside": notes "given ID POSITION TIMELINE TIME" in its file before it advances, as a system outside of the
# database would remember a position. With "node", it stays at this node, as a client that has not noticed a promotion.
sub consumer
{
	my ($ha, %opt) = @_;

	return $ha->clients(1, sub {
		my ($i, $note, $stop) = @_;
		my $dbh;

		until ($stop->())
		{
			$dbh //= ($opt{node} ? eval { $ha->connect_to($opt{node}, user => 'app') } : $ha->connect_writable('app')) // do { sleep 0.1; next };
			my $rows = PmHa::query_within($dbh, 5, q{SELECT f.position, f.data ->> 'id', f.lane, f.key, pm.timeline() FROM pm.fetch('outside', 'client', 50) f});
			my $done = $rows;
			if ($rows && @$rows)
			{
				my $now = time;
				$note->('given', $_->[1] // '-', $_->[0], $_->[4], $now) for @$rows;
				my $sql = 'WITH s AS (INSERT INTO public.seen (pm, log, pos, key) SELECT $1, $2, p, k FROM unnest($3::bigint[], $4::text[]) WITH ORDINALITY x(p, k, n) ORDER BY n) SELECT pm.advance($1, $5, $6)';
				$done = PmHa::query_within($dbh, 5, $sql, 'outside', 'orders', [ map { $_->[0] } @$rows ], [ map { $_->[3] } @$rows ], 'client', $rows->[0][2]);
			}
			if (!$done)
			{
				PmHa::abandon($dbh);
				$dbh = undef;
			}
			sleep 0.05 unless $rows && @$rows;
		}
	});
}

# If a leader is lost for another reason during a noted call, its successor takes the event of that call for the cause, as
# doc/operations.md says: it is dead. An operator looks at it, and calls pm.retry. Returns the
# number of such events.
sub retry_dead
{
	my ($ha) = @_;
	my $dead = $ha->safe_psql('postgres', q{SELECT count(*) FROM pm.parked WHERE state = 'dead' AND message LIKE 'the primary ended%'});

	$ha->safe_psql('postgres', q{SELECT pm.retry(process_manager) FROM (SELECT DISTINCT process_manager FROM pm.parked WHERE state = 'dead' AND message LIKE 'the primary ended%') d});
	return $dead;
}

# Waits until everything is handled.
sub wait_handled
{
	my ($ha) = @_;

	return $ha->wait_answer(q{SELECT coalesce(string_agg(format('%s: %s, lag %s, parked %s', process_manager, state, lag, parked), '; '), 'done') FROM pm.status WHERE lag > 0 OR parked > 0}, 'done', 180)
	  && $ha->wait_answer('SELECT count(*) FROM pm.timer', '0', 60);
}

# What must hold at the end: everything in the logs of the surviving history is handled once, in order, and the states
# agree with the logs.
sub agrees_ok
{
	my ($ha) = @_;
	my $events = q{SELECT 'orders' AS log, position AS pos, stream AS key FROM orders};

	ok(wait_handled($ha), 'everything is handled') or diag($ha->safe_psql('postgres', 'SELECT process_manager, log, lag, state, reason, hint FROM pm.status'));
	PmTest::once_in_key_order_ok($ha, $_, $events) for qw(lanes parks counts outside);
	is($ha->safe_psql('postgres', q{SELECT count(*) FROM (SELECT stream, count(*) AS n FROM orders GROUP BY 1) o FULL JOIN pm.instance i ON i.process_manager = 'counts' AND i.key = o.stream WHERE (i.process_manager = 'counts' OR i.key IS NULL) AND (i.state ->> 'n')::int IS DISTINCT FROM o.n}), 0, 'counts: each instance has counted its events');
	is($ha->safe_psql('postgres', q{SELECT (SELECT count(*) FROM seen WHERE pm = 'counts' AND log IS NULL) - (SELECT sum(n / 10) FROM (SELECT count(*) AS n FROM orders GROUP BY stream) x), (SELECT count(*) - count(DISTINCT (key, type)) FROM seen WHERE pm = 'counts' AND log IS NULL)}), '0|0', 'counts: each timer has fired once');
	is($ha->safe_psql('postgres', q{SELECT (SELECT count(*) FROM answers) - (SELECT sum(n / 5) FROM (SELECT count(*) AS n FROM orders GROUP BY stream) x), (SELECT count(*) - count(DISTINCT data ->> 'to') FROM answers)}), '0|0', 'counts: each answer is there once');
	is($ha->safe_psql('postgres', q{SELECT count(*) FROM (SELECT key, count(*) FROM pm.journal WHERE process_manager = 'counts' AND log = 'orders' GROUP BY 1 EXCEPT SELECT stream, count(*) FROM orders GROUP BY 1) x}), 0, 'counts: the journal has each event');
	return;
}

# No position was given to two events, over all histories that a client has seen.
sub named_once_ok
{
	my ($name, @lines) = @_;
	my (%ids, %positions);

	for my $line (@lines)
	{
		my ($what, $id, $position) = @$line;
		next unless ($what eq 'told' || $what eq 'given') && $id ne '-';
		$ids{$position}{$id} = 1;
	}
	my @twice = grep { keys %{ $ids{$_} } > 1 } sort { $a <=> $b } keys %ids;
	is(scalar(@twice), 0, $name) or diag("for example position $twice[0]: " . join(', ', sort keys %{ $ids{ $twice[0] } }));
	return scalar keys %ids;
}

# Of the events that consumers were given, those that an outside system that remembers the highest
# timeline would refuse, and the others: (refused, accepted).
sub fenced
{
	my (@lines) = @_;
	my ($highest, $refused, $accepted) = (0, 0, 0);

	for my $line (sort { $a->[4] <=> $b->[4] } grep { $_->[0] eq 'given' } @lines)
	{
		$highest = $line->[3] if $line->[3] > $highest;
		$line->[3] < $highest ? $refused++ : $accepted++;
	}
	return ($refused, $accepted);
}

# The lines of clients that ended with an error.
sub no_client_failed_ok
{
	my @failed = grep { $_->[0] eq 'failed' } @_;
	is(scalar(@failed), 0, 'no client has failed') or diag(join ' ', @{ $failed[0] });
	return;
}

sub median
{
	my @sorted = sort { $a <=> $b } @_;
	return $sorted[ $#sorted / 2 ];
}

1;
