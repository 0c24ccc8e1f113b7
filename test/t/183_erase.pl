# pm.erase and process managers of other roles. As long as its transaction is open, those of the caller stand still, and
# those of other roles continue, with other logs and their timers (an open writer holds back the mark of its log). What they
# have kept is erased at the commit.
use strict;
use warnings FATAL => 'all';

use PmTest;
use Test::More;

my $node = PmTest::node('erase', conf => "max_prepared_transactions = 10\n");

sub answer { return $node->safe_psql('postgres', $_[0]); }
sub as { my ($role, $sql) = @_; return $node->safe_psql('postgres', $sql, extra_params => [ '-U', $role ]); }

answer(<<'SQL');
CREATE ROLE app LOGIN;
CREATE ROLE other LOGIN;
GRANT USAGE ON SCHEMA pm TO app, other;
CREATE SCHEMA app AUTHORIZATION app;
CREATE SCHEMA other AUTHORIZATION other;
GRANT USAGE ON SCHEMA app TO other;
SQL
my $handler = <<'SQL';
CREATE FUNCTION keeps(e pm.event, s jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF e.type = 'bad' THEN RAISE EXCEPTION 'cannot handle %', e.data USING DETAIL = e.data::text; END IF;
	IF s IS NULL THEN PERFORM pm.set_timer('later', '2100-01-01', e.data); RETURN e.data; END IF;
	RETURN pm.done(e.data);
END $$;
SQL
as('app', "SET search_path = app; SELECT pm.create_log('app.people'), pm.create_log('app.notes'); GRANT SELECT ON app.people, app.notes TO other; $handler");
as('other', "SET search_path = other; $handler");
as('app', q{SELECT pm.register('ours', 'app.keeps', '{app.people,app.notes}', journal => true, keep_ended => '1 day', backoff => '1 h')});
as('other', q{SELECT pm.register('theirs', 'other.keeps', '{app.people,app.notes}', journal => true, keep_ended => '1 day', backoff => '1 h')});

sub add
{
	my ($stream, @types) = @_;
	return as('app', join('', map { "SELECT pm.append('app.people', '$stream', '$_', '{\"w\": \"secretword\"}');" } @types));
}

# Where the word still is in the data that is kept of a stream, apart from the states of live instances.
sub found
{
	my ($stream) = @_;
	return answer(<<"SQL");
SELECT coalesce(string_agg(DISTINCT place, ' '), 'nowhere') FROM (
	SELECT process_manager || '/journal', j::text, key FROM pm_catalog.journal j
	UNION ALL SELECT process_manager || '/ended', e::text, key FROM pm_catalog.ended e
	UNION ALL SELECT process_manager || '/timer', t::text, key FROM pm_catalog.timer t
	UNION ALL SELECT process_manager || '/parked', p::text, key FROM pm_catalog.parked p
	UNION ALL SELECT 'log', l::text, stream FROM app.people l) x(place, content, key) WHERE key = '$stream' AND content LIKE '%secretword%'
SQL
}

sub handled_ok
{
	my ($pm, $name) = @_;
	return ok(PmTest::wait_until($node, "SELECT sum(lag) FROM pm.status WHERE process_manager = '$pm'", 0), $name) || diag(answer('SELECT * FROM pm.status'));
}

# Ann has a live instance; Bob's has ended, and another event of his is parked.
add('ann', 'a');
add('bob', 'b', 'c', 'bad');
handled_ok($_, "$_: some are handled") for qw(ours theirs);
is(found('ann'), 'log ours/journal ours/timer theirs/journal theirs/timer', 'the word is in the log, journals and timers');
is(found('bob'), 'log ours/ended ours/journal ours/parked theirs/ended theirs/journal theirs/parked', 'and with instances that have ended and parked events');

# ---- while the transaction is open

my $session = PmTest::session($node, user => 'app');
$session->do(q{SET client_min_messages = warning; BEGIN; SELECT pm.erase('app.people', 'ann'), pm.erase('app.people', 'bob')});
as('app', q{SELECT pm.append('app.notes', 'dora', 'n')});
ok(PmTest::wait_until($node, q{SELECT lag FROM pm.status WHERE process_manager = 'theirs' AND log = 'app.notes'}, 0), 'a process manager of another role continues') || diag(answer('SELECT * FROM pm.status'));
as('other', q{SELECT pm.send('theirs', 'dora', 'end')});
ok(PmTest::wait_until($node, q{SELECT count(*) FROM pm.ended WHERE process_manager = 'theirs' AND key = 'dora'}, 1), 'also with what is sent');
is(answer(q{SELECT lag FROM pm.status WHERE process_manager = 'ours' AND log = 'app.notes'}), 1, 'that of the caller waits');
as('other', q{SELECT pm.pause('theirs'); SELECT pm.resume('theirs'); SELECT pm.retry('theirs', log, position) FROM pm.parked});
pass('the other role can pause, resume and retry');
is(found('bob'), 'log ours/ended ours/journal ours/parked theirs/ended theirs/journal theirs/parked', 'nothing is erased yet');
$session->do('COMMIT');
add('carl', 'e');
handled_ok('theirs', 'another role continues after the commit');
handled_ok('ours', 'it continues after the commit');
is(found('bob'), 'nowhere', 'what another role has kept is erased at the commit');
is(found('ann'), 'nowhere', 'also of an instance that lives');

# ---- what is rolled back or prepared

$session->do(q{BEGIN; SAVEPOINT s; SELECT pm.erase('app.people', 'carl'); ROLLBACK TO s; COMMIT});
is(found('carl'), 'log ours/journal ours/timer theirs/journal theirs/timer', 'after ROLLBACK TO SAVEPOINT nothing is erased');
my ($rc, $out, $err) = $node->psql('postgres', q{BEGIN; SELECT pm.erase('app.people', 'carl'); PREPARE TRANSACTION 'p'}, extra_params => [ '-U', 'app' ]);
like($err, qr/cannot PREPARE a transaction that has called pm\.erase/, 'it cannot be prepared');
is(found('carl'), 'log ours/journal ours/timer theirs/journal theirs/timer', 'and then nothing is erased');
$session->do(q{BEGIN; SAVEPOINT s; SELECT pm.erase('app.people', 'carl'); RELEASE s; COMMIT});
is(found('carl'), 'nowhere', 'after RELEASE it is');
$session->quit;

PmTest::no_crash_ok($node);
$node->stop('fast');
done_testing();
