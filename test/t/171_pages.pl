# The cost of an operation on the private tables does not grow with the number of operations before
# it: the n-th one reads at most twice as many pages as the first. Pages are counted, not seconds.
#
# Everything that could make the cost grow is combined: statements that were planned with the statistics
# of empty tables; statistics of the tables at their fullest; and another session that holds a snapshot
# all the time, so that no row version can be removed.
#
#   PM_SOAK=1      as many batches and parked events as timers
use strict;
use warnings FATAL => 'all';

use JSON::PP;
use PmTest;
use Test::More;

my $n = 20_000;
my $batches = $ENV{PM_SOAK} ? $n : 3_000;
my $parked = $ENV{PM_SOAK} ? $n : 300;
my $node = PmTest::node('pages', conf => <<'CONF');
pm.launcher = off
autovacuum = off
shared_buffers = 512MB
max_wal_size = 4GB
fsync = off
CONF

$node->safe_psql('postgres', <<'SQL');
SELECT pm.create_log('many'), pm.create_log('one');
CREATE TABLE poison (n int);
INSERT INTO poison VALUES (1);
CREATE FUNCTION h(e pm.event, s jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF e.type = 'set' THEN PERFORM pm.set_timer('t', pm.now() + interval '1 day');
	ELSIF e.type = 'soon' THEN PERFORM pm.set_timer('t', pm.now() - interval '1 s');
	ELSIF e.type = 'flip' THEN
		IF NOT pm.cancel_timer('t') THEN PERFORM pm.set_timer('t', pm.now() + interval '1 day'); END IF;
	ELSIF e.type = 'cancel' THEN PERFORM pm.cancel_timer('t');
	ELSIF e.type = 'locked' THEN
		-- a row is written at its known place, so the table must not be rewritten meanwhile
		RETURN jsonb_build_object('locked', (SELECT array_agg(mode) FROM pg_locks WHERE pid = pg_backend_pid() AND relation = 'pm_catalog.instance'::regclass));
	ELSIF e.type = 'again' THEN PERFORM pm.set_timer('again', pm.now() + interval '1 day');
	ELSIF e.type = 'end' OR e.log IS NULL THEN RETURN pm.done();
	ELSIF e.type = 'fail' AND EXISTS (SELECT FROM poison) THEN RAISE 'no'; END IF;
	RETURN jsonb_build_object('n', coalesce((s->>'n')::int, 0) + 1, 'filler', repeat('x', 200));
END $$;
ANALYZE;
SQL

sub append
{
	my ($s, $pm, $type, $count, $key) = @_;
	my $stream = $key ? "'$key'" : "'$type' || nextval('k')";

	$s->do("INSERT INTO $pm (stream, type) SELECT $stream, '$type' FROM generate_series(1, $count)");
	return;
}

# The pages that a statement reads.
sub pages
{
	my ($s, $sql) = @_;
	my $plan = decode_json($s->do("EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, TIMING OFF, FORMAT JSON) $sql"))->[0]{Plan};

	return $plan->{'Shared Hit Blocks'} + $plan->{'Shared Read Blocks'};
}

sub median { return (sort { $a <=> $b } @_)[ @_ / 2 ]; }

# The current cost of one operation: handling an event, or running $sql.
sub cost
{
	my ($s, $pm, $op) = @_;
	my @pages;

	for (1 .. 5)
	{
		append($s, $pm, $op->{type}, 1, $op->{key}) if $op->{type};
		push @pages, pages($s, $op->{sql} // "SELECT pm.catch_up('$pm', on_failure => 'policy')");
	}
	return median(@pages);
}

$node->safe_psql('postgres', 'CREATE SEQUENCE k');

# Runs each operation n times.
sub grow
{
	my ($how, $settings) = @_;
	my $s = PmTest::session($node);
	my $held = $settings->{held} ? PmTest::session($node) : undef;
	my %first;

	$held->do('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM many') if $held;
	# One has all its events in large batches, the other one a batch for each event.
	for my $pm (qw(many one))
	{
		my $size = $pm eq 'one' ? 1 : 1000;

		$s->do("SELECT pm.register('$pm', 'h', '{$pm}', start_at => 'end', batch_size => $size, backoff => '1 h', max_attempts => 1, park_limit => 1000000)");
	}
	my @ops = (
		{ name => 'a new instance with a timer', pm => 'many', type => 'set', n => $n },
		{ name => 'a timer that is due', pm => 'many', type => 'soon', n => $n },
		{ name => 'an instance that ends', pm => 'many', type => 'end', n => $n },
		{ name => 'a batch', pm => 'one', type => 'touch', n => $batches },
		{ name => 'the same instance again', pm => 'one', type => 'touch', key => 'hot', n => $batches },
		{ name => 'the same timer set again', pm => 'one', type => 'again', key => 'hotter', n => $batches },
		{ name => 'a timer set after it was canceled', pm => 'one', type => 'flip', key => 'flipped', n => 2 * $batches },
		{ name => 'a set timer that is canceled', pm => 'many', type => 'cancel', key => 'cancelled', n => $batches });
	for my $op (@ops)
	{
		cost($s, $op->{pm}, $op) for 1 .. 2;    # first plan, and fill the caches
		$first{ $op->{name} } = cost($s, $op->{pm}, $op);
	}
	for my $op (@ops)
	{
		append($s, $op->{pm}, $op->{type}, $op->{n}, $op->{key});
		$s->do("SELECT pm.catch_up('$op->{pm}', on_failure => 'policy')");
	}
	if ($settings->{analyze})
	{
		$s->do('ANALYZE');
		$s->quit;
		$s = PmTest::session($node);
		cost($s, $_->{pm}, $_) for @ops;
	}
	for my $op (@ops)
	{
		my $last = cost($s, $op->{pm}, $op);

		cmp_ok($last, '<=', 2 * $first{ $op->{name} }, "$how: $op->{name}, $last pages after $op->{n} of them, $first{$op->{name}} before");
		PmTest::figure("$how: $op->{name}: pages $first{$op->{name}} -> $last");
	}

	append($s, 'one', 'locked', 1, 'hot');
	$s->do("SELECT pm.catch_up('one')");
	isnt($s->do("SELECT coalesce(state->>'locked', '') FROM pm.instance WHERE process_manager = 'one' AND key = 'hot'"), '', "$how: the table of instances is locked while a handler runs");

	# Parked events: failing, tried again, discarded. A successful event in between keeps it from halting.
	my $park = sub {
		my ($count) = @_;

		$s->do("INSERT INTO many (stream, type) SELECT CASE WHEN i % 2 = 0 THEN 'p' || nextval('k') ELSE 'fine' END, CASE WHEN i % 2 = 0 THEN 'fail' ELSE 'touch' END FROM generate_series(1, 2 * $count) i");
		return pages($s, "SELECT pm.catch_up('many', on_failure => 'policy')");
	};
	my $by_hand = sub {
		my ($function) = @_;

		return pages($s, "SELECT pm.$function(process_manager, log, position) FROM (SELECT process_manager, log, position FROM pm_catalog.parked ORDER BY id DESC LIMIT 1) k");
	};
	my $retry = sub {
		$by_hand->('retry');
		return pages($s, "SELECT pm.catch_up('many', on_failure => 'policy')");
	};
	$park->(1) for 1 .. 3;
	my @before = (median(map { $park->(1) } 1 .. 5), median(map { $by_hand->('retry') } 1 .. 5), median(map { $retry->() } 1 .. 5), median(map { $by_hand->('discard') } 1 .. 3));
	$park->($parked);
	# they leave, and are parked again
	$s->do("SELECT pm.retry('many')");
	$s->do("SELECT pm.catch_up('many', on_failure => 'policy')");
	$s->do("SELECT pm.discard('many')");
	$park->($parked);
	$park->(1) for 1 .. 3;
	my @after = (median(map { $park->(1) } 1 .. 5), median(map { $by_hand->('retry') } 1 .. 5), median(map { $retry->() } 1 .. 5), median(map { $by_hand->('discard') } 1 .. 3));
	my @names = ('an event parked', 'one of them to be retried', 'retried', 'discarded');

	for my $i (0 .. $#names)
	{
		cmp_ok($after[$i], '<=', 2 * $before[$i], "$how: $names[$i], $after[$i] pages after $parked of them, $before[$i] before");
		PmTest::figure("$how: $names[$i]: pages $before[$i] -> $after[$i]");
	}
	# The parked events of one key, handled one by one.
	append($s, 'many', 'fail', 1, 'queue');
	$s->do("SELECT pm.catch_up('many', on_failure => 'policy')");
	append($s, 'many', 'touch', 2000, 'queue');
	$s->do("SELECT pm.catch_up('many', on_failure => 'policy')");
	$s->do("DELETE FROM poison");
	$s->do("SELECT pm.register('many', 'h', '{many}', batch_size => 1, backoff => '1 h', max_attempts => 1, park_limit => 1000000)");
	$s->do("SELECT pm.retry('many')");
	my @drain = map { pages($s, "SELECT pm.catch_up('many', max_count => 100, on_failure => 'policy')") } 1 .. 18;
	my ($early, $late) = (median(@drain[ 0 .. 4 ]), median(@drain[ 13 .. 17 ]));
	cmp_ok($late, '<=', 2 * $early, "$how: a queue drained, $late pages for 100 after 1,500 of them, $early before");
	PmTest::figure("$how: a queue drained: pages $early -> $late");
	$s->do("INSERT INTO poison VALUES (1)");

	$held->do('COMMIT') if $held;
	$held->quit if $held;
	$s->do("SELECT pm.unregister('many'), pm.unregister('one')");
	$s->quit;
	$node->safe_psql('postgres', 'VACUUM pm_catalog.cursor; VACUUM pm_catalog.lane; VACUUM pm_catalog.instance; VACUUM pm_catalog.timer; VACUUM pm_catalog.parked; ANALYZE');
	return;
}

grow('statistics of empty tables, a snapshot held', { held => 1 });
grow('statistics of full tables', { analyze => 1 });
$node->stop;

done_testing();
