# What pm.erase leaves to be done after its commit: process managers that sessions of other roles have locked hold up
# neither the caller nor third roles, and are erased when they are free. Also those that are just being registered, are
# never idle, have stopped following the log or never did; in a restored dump, after a restart, and when the log is dropped.
use strict;
use warnings FATAL => 'all';

use PmTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PmTest::node('erase_later');

sub answer { return $node->safe_psql('postgres', $_[0]); }
sub as { my ($role, $sql) = @_; return $node->safe_psql('postgres', $sql, extra_params => [ '-U', $role ]); }

my $handler = <<'SQL';
CREATE FUNCTION keeps(e pm.event, s jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF s IS NULL THEN PERFORM pm.set_timer('later', '2100-01-01', e.data); RETURN e.data; END IF;
	RETURN pm.done(e.data);
END $$;
SQL
answer("CREATE ROLE $_ LOGIN; GRANT USAGE ON SCHEMA pm TO $_; CREATE SCHEMA $_ AUTHORIZATION $_") for qw(app other third);
answer('GRANT USAGE ON SCHEMA app TO other, third');
as('app', q{SELECT pm.create_log('app.people'), pm.create_log('app.notes'); GRANT SELECT ON app.people, app.notes TO other, third});
as($_, "SET search_path = $_; $handler") for qw(app other third);
as('app', q{SELECT pm.register('ours', 'app.keeps', '{app.people}')});
as('other', q{SELECT pm.register('theirs', 'other.keeps', '{app.people}', journal => true)});
as('third', q{SELECT pm.register('thirds', 'third.keeps', '{app.people}')});

sub add
{
	my ($stream, $type, $log) = @_;
	$log //= 'app.people';
	return as('app', "SELECT pm.append('$log', '$stream', '$type', '{\"w\": \"secretword\"}')");
}

# Where the word is in what is kept of a stream, apart from the states of live instances.
sub found
{
	my ($stream) = @_;
	return answer(<<"SQL");
SELECT coalesce(string_agg(DISTINCT place, ' '), 'nowhere') FROM (
	SELECT process_manager || '/journal', j::text, key FROM pm_catalog.journal j
	UNION ALL SELECT process_manager || '/timer', t::text, key FROM pm_catalog.timer t
	UNION ALL SELECT 'log', l::text, stream FROM app.people l) x(place, content, key) WHERE key = '$stream' AND content LIKE '%secretword%'
SQL
}

sub handled_ok
{
	my ($pm, $name) = @_;
	return ok(PmTest::wait_until($node, "SELECT sum(lag) FROM pm.status WHERE process_manager = '$pm'", 0), $name) || diag(answer('SELECT * FROM pm.status'));
}

sub answer_in { my ($db, $sql) = @_; return $node->safe_psql($db, $sql); }
sub erase
{
	my ($stream, $log) = @_;
	my $late;
	my ($rc, $out, $err) = $node->psql('postgres', "SELECT pm.erase('" . ($log // 'app.people') . "', '$stream')",
		extra_params => [ '-U', 'app' ], timeout => 40, timed_out => \$late);

	ok(!$late && $rc == 0, "$stream: the call returns soon");
	return $err;
}
sub complete_ok { return ok(PmTest::wait_until($node, 'SELECT count(*) FROM pm.erasure', 0), $_[0]) || diag(answer('TABLE pm.erasure')); }

# ---- a process manager that its owner keeps locked

add($_, 'f') for qw(eve flo);
handled_ok($_, "$_: the events are handled") for qw(ours theirs thirds);
my $holder = PmTest::session($node, user => 'other');
$holder->do(q{BEGIN; SELECT pm.pause('theirs')});
like(erase('eve'), qr/NOTICE:  data that some process managers have kept of events of log "app.people" is erased later.*: theirs\./s, 'a notice names it');
is(found('eve'), 'theirs/journal theirs/timer', 'all else is erased');
is(as('app', 'SELECT log, process_managers FROM pm.erasure'), 'app.people|{theirs}', 'pm.erasure shows what is left');
is(as($_, 'SELECT count(*) FROM pm.erasure'), 0, "not to $_") for qw(other third);
as('third', q{SELECT pm.send('thirds', 'gil', 'f'), pm.send('thirds', 'gil', 'end')});
ok(PmTest::wait_until($node, q{SELECT count(*) FROM pm_catalog.timer WHERE key = 'gil'}, 0), 'others continue');
# While the commit waits, it keeps others from beginning to follow the log, but does not hold what is free.
my $app = PmTest::session($node, user => 'app');
my $watch = PmTest::session($node);
my %seen;
my $held = "SELECT EXISTS (SELECT FROM pg_locks WHERE pid = @{[ $app->pid ]} AND classid = 'pm_catalog.%s'::regclass AND objid = (SELECT %s::oid FROM pm_catalog.%1\$s WHERE name = '%s'))";
my $look = sprintf($held, 'log', 'source', 'app.people') . ', (' . sprintf($held, 'process_manager', 'id::int8', 'thirds') . ')';
for my $try (1 .. 10)
{
	%seen = ('t|f' => 0, 't|t' => 0);
	$app->send(q{SELECT pm.erase('app.people', 'flo')});
	$seen{ $watch->do($look) }++ until $app->over;
	$app->wait;
	last if $seen{'t|f'} > $seen{'t|t'};
}
cmp_ok($seen{'t|f'}, '>', $seen{'t|t'}, 'a commit that waits for one does not hold the others');
$_->quit for $app, $watch;
is(found('flo'), 'theirs/journal theirs/timer', 'the owner of the log can erase more');

# Neither a scheduler that ends nor a dump loses it.
my $scheduler = answer(q{SELECT pid FROM pm.worker WHERE kind = 'scheduler' AND database = 'postgres'});
answer("SELECT pg_terminate_backend($scheduler)") if $scheduler;
answer('CREATE DATABASE copy');
my $dump = "$PostgreSQL::Test::Utils::tmp_check/erase.sql";
$node->command_ok([ 'pg_dump', '-f', $dump, $node->connstr('postgres') ], 'a dump');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $node->connstr('copy') ], 'is restored');
is(found('eve'), 'theirs/journal theirs/timer', 'nothing is erased as long as it is locked');
$holder->do('ROLLBACK');
complete_ok('then it is completed');
is(found($_), 'nowhere', "$_: erased") for qw(eve flo);
my $kept = q{SELECT count(*) FROM pm_catalog.timer WHERE key IN ('eve', 'flo') AND data::text LIKE '%secretword%'};
is(answer_in('copy', "SELECT (SELECT count(*) > 0 FROM pm.erasure), ($kept)"), 't|2', 'the copy waits');
answer_in('copy', 'SET client_min_messages = warning; SELECT pm.resume()');
ok(PmTest::wait_until($node, "SELECT (SELECT count(*) FROM pm.erasure) + ($kept)", 0, dbname => 'copy'), 'until it is adopted') || diag(answer_in('copy', 'TABLE pm.erasure'));
answer_in('copy', 'SET client_min_messages = warning; DROP EXTENSION pm CASCADE');

# ---- a process manager that is registered meanwhile

add('hal', 'h');
handled_ok($_, "$_: it is handled") for qw(ours theirs thirds);
$holder->do(q{BEGIN; SELECT pm.register('late', 'other.keeps', '{app.people}', start_at => 'beginning', journal => true); SELECT pm.catch_up('late')});
like(erase('hal'), qr/NOTICE:  data that process managers being registered for log "app.people"/, 'a notice says so');
is(as('app', 'SELECT process_managers FROM pm.erasure'), '{}', 'its name is not known yet');
is(found('hal'), 'nowhere', 'what others have kept is erased');
$holder->do('COMMIT');
complete_ok('its part is completed');
is(found('hal'), 'nowhere', 'nor has it kept anything');
is(answer(q{SELECT count(*) FROM pm_catalog.timer WHERE process_manager = 'late' AND key = 'hal'}), 1, 'but it has the timer');
as('other', q{SELECT pm.unregister('late')});

# ---- a process manager that stops following the log, one that never followed it, and a log
# that is dropped

as('app', q{SELECT pm.create_log('app.gone'); GRANT SELECT ON app.gone TO other});
as('other', q{CREATE FUNCTION other.tells(e pm.event, s jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT pm.send('told', e.stream, 't', e.data); SELECT e.data $$;
	SELECT pm.register('told', 'other.keeps', '{app.notes}'), pm.register('tells', 'other.tells', '{app.gone,app.notes}', start_at => 'end', journal => true)});
add('ina', 'i', 'app.gone');
ok(PmTest::wait_until($node, q{SELECT count(*) FROM pm.instance WHERE process_manager = 'told' AND key = 'ina'}, 1), 'an event was sent') || diag(answer('SELECT * FROM pm.status'));
as('other', q{SELECT pm.pause('told')});
add('ina', 'i', 'app.gone');
my $journal = q{SELECT count(*) FROM pm_catalog.journal WHERE process_manager = 'tells' AND log = 'app.gone' AND state::text LIKE '%secretword%'};
my $sent = q{SELECT count(*) FROM (SELECT process_manager, data FROM pm_catalog.sent UNION ALL SELECT process_manager, data FROM pm_catalog.timer WHERE sent) x WHERE process_manager = 'told' AND data::text LIKE '%secretword%'};
ok(PmTest::wait_until($node, "SELECT ($journal), ($sent)", '2|1'), 'another one, which is not handled') || diag(answer('SELECT * FROM pm.status'));
my $second = PmTest::session($node, user => 'other');
$holder->do(q{BEGIN; SELECT pm.unfollow('tells', 'app.gone')});
$second->do(q{BEGIN; SELECT pm.unregister('told')});
erase('ina', 'app.gone');
is(answer('SELECT array(SELECT unnest(process_managers) ORDER BY 1) FROM pm.erasure'), '{tells,told}', 'both are waited for');
$holder->do('COMMIT');
ok(PmTest::wait_until($node, $journal, 0), 'the one that has stopped following is erased');
as('app', 'DROP TABLE app.gone');
my ($rc2, $out2, $err2) = $node->psql('postgres', q{SELECT pm.create_log('app.gone')}, extra_params => [ '-U', 'app' ]);
like($err2, qr/log "app.gone" cannot be created now.*pm\.erasure/s, 'no other log gets the name');
is(answer($sent), 1, 'the other one is still locked');
$second->do('ROLLBACK');
complete_ok('then it is erased too');
is(answer($sent), 0, 'with what was sent');
as('app', q{SELECT pm.create_log('app.gone')});
pass('the name is free');

# ---- a process manager that is never idle, with two lanes

as('third', <<'SQL');
CREATE FUNCTION third.spin(e pm.event, s jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF e.log = 'app.people' THEN PERFORM pm.set_timer('later', '2100-01-01', e.data); RETURN e.data; END IF;
	PERFORM pg_sleep(0.02), pm.append('third.spins', e.stream, 'again');
	RETURN '{}';
END $$;
SELECT pm.create_log('third.spins');
SELECT pm.register('spins', 'third.spin', '{third.spins,app.people}', lanes => 2, start_at => 'end');
SELECT pm.append('third.spins', 'spin' || i, 'first') FROM generate_series(1, 10) i;
SQL
add('jon', 'j');
handled_ok($_, "$_: it is handled") for qw(ours theirs);
ok(PmTest::wait_until($node, q{SELECT count(*) FROM pm_catalog.timer WHERE process_manager = 'spins' AND key = 'jon'}, 1), 'it is busy');
erase('jon');
complete_ok('it is completed between batches');
is(found('jon'), 'nowhere', 'erased');
as('third', q{SELECT pm.unregister('spins')});

# ---- a superuser's log

answer(q{CREATE FUNCTION nothing(e pm.event) RETURNS void LANGUAGE sql AS ''; SELECT pm.create_log('public.shared'); GRANT SELECT ON shared TO other; SELECT pm.append('public.shared', 's', 't')});
as('other', q{SELECT pm.register('reads', 'public.nothing', '{public.shared}', start_at => 'end')});
$holder->do(q{BEGIN; SELECT pm.pause('reads')});
like(($node->psql('postgres', q{SELECT pm.erase('public.shared', 's')}, timeout => 40, timed_out => \my $late))[2], qr/NOTICE:  data that some process managers .*: reads\./s, 'a superuser is not held up either');
# A new start of the server ends whoever has locked it.
$holder->quit;
$second->quit;
$node->restart;
complete_ok('it is completed after a restart');

# ---- many large erasures: the scheduler does not take all of them at once

if ($ENV{PM_SOAK})
{
	$node->restart;
	ok(PmTest::wait_until($node, q{SELECT count(*) FROM pm.worker WHERE kind = 'scheduler' AND database = 'postgres'}, 1), 'a scheduler runs');
	my $status = '/proc/' . answer(q{SELECT pid FROM pm.worker WHERE kind = 'scheduler' AND database = 'postgres'}) . '/status';
	answer(<<'SQL');
INSERT INTO pm_catalog.erasure (log, positions, replacement, done, waits_for, system_identifier, database)
SELECT 'app.people', ARRAY(SELECT generate_series(1e8 + 3e5 * i, 1e8 + 3e5 * (i + 1) - 1)::bigint), '{}', '{}', '{}', s.system_identifier, d.oid
FROM generate_series(1, 12) i, pg_control_system() s, pg_database d WHERE datname = current_database();
SELECT pm.pause('ours'), pm.resume('ours');
SQL
	ok(PmTest::wait_until($node, 'SELECT count(*) FROM pm.erasure', 0, timeout => 300), 'many are completed');
	my ($peak) = slurp_file($status) =~ /^VmHWM:\s*(\d+) kB/m;
	PmTest::figure('peak of the scheduler: ' . int($peak / 1024) . ' MB');
	cmp_ok($peak, '<', 300 * 1024, 'without much memory');
}

PmTest::no_crash_ok($node);
$node->stop('fast');
done_testing();
