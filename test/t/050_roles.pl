# A handler has the current rights of its owner, in a session of its owner. What happens when the role
# changes. More roles than workers. What one process manager leaves in the session does not affect the
# next one.
use strict;
use warnings FATAL => 'all';

use PmTest;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = PmTest::node('roles', conf => "pm.max_workers = 3\npm.poll_interval = '200ms'\nmax_connections = 40\nmax_worker_processes = 20\n");

$node->safe_psql('postgres', <<'SQL');
CREATE ROLE alice LOGIN;
CREATE ROLE bob LOGIN;
CREATE ROLE carol LOGIN;
CREATE ROLE dave LOGIN;
CREATE ROLE boss NOLOGIN;
GRANT boss TO alice;
GRANT USAGE ON SCHEMA pm TO alice, bob, carol, dave, boss;
GRANT CREATE ON SCHEMA public TO alice, bob, carol, dave;
ALTER ROLE alice SET work_mem = '7MB';
ALTER ROLE alice SET search_path = alice_schema, public;
ALTER ROLE alice SET default_transaction_isolation = 'serializable';
ALTER ROLE alice SET default_transaction_read_only = on;
ALTER ROLE alice SET my.setting = 'of alice';
ALTER ROLE bob IN DATABASE postgres SET my.setting = 'of bob here';
CREATE SCHEMA alice_schema AUTHORIZATION alice;
CREATE TABLE secret (t text);
INSERT INTO secret VALUES ('of the superuser');
CREATE TABLE said (pm text, key text, value text, at timestamptz DEFAULT clock_timestamp());
GRANT SELECT, INSERT, DELETE ON said TO alice, bob, carol, dave;
SELECT pm.create_log('orders');
GRANT SELECT, INSERT ON orders TO alice, bob, carol, dave;
SQL
PmTest::create_seen($node);

sub as
{
	my ($role, $sql) = @_;
	# alice has default_transaction_read_only = on
	return $node->safe_psql('postgres', "SET default_transaction_read_only = off; SET default_transaction_isolation = 'read committed';\n$sql",
		extra_params => [ '-U', $role ]);
}

sub handler
{
	my ($role, $name, $body) = @_;
	as($role, "CREATE OR REPLACE FUNCTION public.$name(e pm.event) RETURNS void LANGUAGE plpgsql AS \$handler\$\nBEGIN\n$body\nEND \$handler\$;");
	return;
}

sub append
{
	my ($type, $n) = @_;
	$node->safe_psql('postgres', "INSERT INTO orders (stream, type) SELECT 's', '$type' FROM generate_series(1, " . ($n // 1) . ')');
	return;
}

sub said
{
	my ($pm, $key) = @_;
	return $node->safe_psql('postgres', "SELECT value FROM said WHERE pm = '$pm' AND key = '$key' ORDER BY at DESC LIMIT 1");
}

sub wait_said
{
	my ($pm, $key, $n) = @_;
	return PmTest::wait_until($node, "SELECT count(*) FROM said WHERE pm = '$pm' AND key = '$key'", $n // 1);
}

sub status
{
	my ($pm) = @_;
	return $node->safe_psql('postgres', "SELECT state, reason, hint FROM pm.status WHERE process_manager = '$pm'");
}

# ---- a handler runs as its owner

my $who = <<'SQL';
	INSERT INTO public.said (pm, key, value) VALUES
		('%1$s', 'session_user', session_user), ('%1$s', 'current_user', current_user),
		('%1$s', 'work_mem', current_setting('work_mem')), ('%1$s', 'search_path', current_setting('search_path')),
		('%1$s', 'isolation', current_setting('transaction_isolation')), ('%1$s', 'read_only', current_setting('transaction_read_only')),
		('%1$s', 'my', current_setting('my.setting', true)), ('%1$s', 'superuser', current_setting('is_superuser')),
		('%1$s', 'jit', current_setting('jit')), ('%1$s', 'activity', (SELECT usename FROM pg_stat_activity WHERE pid = pg_backend_pid()));
SQL
handler('alice', 'who_alice', sprintf($who, 'who_alice'));
handler('bob', 'who_bob', sprintf($who, 'who_bob'));
as('alice', "SELECT pm.register('who_alice', 'who_alice', '{orders}', types => '{Who}')");
as('bob', "SELECT pm.register('who_bob', 'who_bob', '{orders}', types => '{Who}')");
append('Who');
ok(wait_said('who_alice', 'activity') && wait_said('who_bob', 'activity'), 'handlers of two roles ran');
for my $role (qw(alice bob))
{
	is(said("who_$role", $_), $role, "$role: $_") for qw(session_user current_user activity);
	is(said("who_$role", 'superuser'), 'off', "$role: is not a superuser");
	is(said("who_$role", 'isolation'), 'read committed', "$role: READ COMMITTED whatever the role's default is");
	is(said("who_$role", 'read_only'), 'off', "$role: read-write whatever the role's default is");
	is(said("who_$role", 'jit'), 'off', "$role: no JIT");
}
is(said('who_alice', 'work_mem'), '7MB', 'ALTER ROLE ... SET is in force');
is(said('who_alice', 'search_path'), 'alice_schema, public', 'so is the search path');
is(said('who_alice', 'my'), 'of alice', 'so is a setting of an extension');
is(said('who_bob', 'my'), 'of bob here', 'ALTER ROLE ... IN DATABASE ... SET is in force');
# a changed setting is used by the next dispatcher
$node->safe_psql('postgres', "ALTER ROLE bob IN DATABASE postgres SET my.setting = 'changed'; SELECT pg_terminate_backend(pid) FROM pm.worker WHERE role = 'bob'");
append('Who');
ok(wait_said('who_bob', 'activity', 2), 'the dispatcher was restarted');
is(said('who_bob', 'my'), 'changed', 'with the new setting');

# ---- a handler cannot do what its owner cannot

my @tries = (
	[ 'read', 'PERFORM * FROM public.secret' ],
	[ 'set role', 'SET ROLE postgres' ],
	[ 'session authorization', 'SET SESSION AUTHORIZATION postgres' ],
	[ 'reset session authorization', 'RESET SESSION AUTHORIZATION; PERFORM * FROM public.secret' ],
	[ 'reset role', 'RESET ROLE; PERFORM * FROM public.secret' ],
	[ 'set role none', 'SET ROLE NONE; PERFORM * FROM public.secret' ],
	[ 'the catalog', "UPDATE pm_catalog.cursor SET position = 0" ],
	[ 'read the catalog', "PERFORM * FROM pm_catalog.process_manager" ],
	[ 'program', "COPY public.said FROM PROGRAM 'echo'" ],
	[ 'superuser setting', "PERFORM set_config('session_preload_libraries', 'x', false)" ],
	[ 'create role', 'CREATE ROLE eve SUPERUSER' ],
	[ 'another process manager', "PERFORM pm.unregister('who_bob')" ],
	[ 'register for another', "PERFORM pm.register('who_bob', 'public.escape', '{orders}')" ]);
handler('alice', 'escape', join("\n", map {
			my ($name, $try) = @$_;
			"BEGIN $try; INSERT INTO public.said (pm, key, value) VALUES ('escape', '$name', 'possible');\n"
			  . "EXCEPTION WHEN OTHERS THEN INSERT INTO public.said (pm, key, value) VALUES ('escape', '$name', SQLSTATE || ' ' || SQLERRM); END;"
		} @tries)
	  . "\nINSERT INTO public.said (pm, key, value) VALUES ('escape', 'user', session_user || ' ' || current_user);");
as('alice', "SELECT pm.register('escape', 'escape', '{orders}', types => '{Escape}', start_at => 'end')");
append('Escape');
ok(wait_said('escape', 'user'), 'a handler that tries to become another role ran');
for my $try (@tries)
{
	like(said('escape', $try->[0]), qr/^(?:42501|22023|0P000|55P02) /, "not possible: $try->[0]");
}
is(said('escape', 'user'), 'alice alice', 'the session is still that of alice');
# A handler may SET ROLE to a role of which its owner is a member. It does not last beyond the event.
handler('alice', 'member', "INSERT INTO public.said (pm, key, value) VALUES ('member', e.type, session_user || ' ' || current_user); IF e.type = 'Set' THEN SET ROLE boss; END IF;");
as('alice', "SELECT pm.register('member', 'member', '{orders}', types => '{Set,Next}', start_at => 'end')");
append('Set');
append('Next');
ok(wait_said('member', 'Next'), 'SET ROLE to a role of which alice is a member');
is(said('member', 'Next'), 'alice alice', 'it does not last into the next batch');
append('Who');
ok(wait_said('who_alice', 'activity', 3), 'nor to the next process manager');
is(said('who_alice', 'current_user'), 'alice', 'which runs as alice');

# A superuser's process manager can only use handlers that a superuser owns.
my (undef, undef, $err) = $node->psql('postgres', "SELECT pm.register('trap', 'who_alice', '{orders}', start_at => 'end')");
like($err, qr/no superuser owns/, "a superuser cannot register a handler of another role");
handler('postgres', 'super', "INSERT INTO public.said (pm, key, value) VALUES ('super', 'ran', current_user);");
$node->safe_psql('postgres', "SELECT pm.register('super', 'super', '{orders}', types => '{Super}', start_at => 'end')");
append('Super');
ok(wait_said('super', 'ran'), "a superuser's own handler runs");
$node->safe_psql('postgres', 'ALTER FUNCTION super(pm.event) OWNER TO alice');
append('Super');
ok(PmTest::wait_until($node, "SELECT state FROM pm.status WHERE process_manager = 'super' AND reason LIKE '%no superuser owns%'", 'waiting'),
	'when the handler gets another owner, it does not run any more, and pm.status says why');
is($node->safe_psql('postgres', "SELECT count(*) FROM said WHERE pm = 'super'"), '1', 'it has never run');
$node->safe_psql('postgres', "SELECT pm.unregister('super')");

# A role without LOGIN cannot register; the hint says what to do.
(undef, undef, $err) = $node->psql('postgres', "SET default_transaction_read_only = off; SET default_transaction_isolation = 'read committed'; SET ROLE boss; SELECT pm.register('x', 'who_alice', '{orders}', start_at => 'end')", extra_params => [ '-U', 'alice' ]);
like($err, qr/not permitted to log in.*HINT: .*ALTER ROLE boss LOGIN/s, 'a role without LOGIN is refused with a hint');

# ---- a role changes while its process manager runs

PmTest::create_handler($node, 'keep_bob', user => 'bob');
PmTest::create_handler($node, 'keep_carol', user => 'carol');
as('bob', "SELECT pm.register('keep_bob', 'keep_bob', '{orders}', start_at => 'beginning', on_failure => 'halt')");
as('carol', "SELECT pm.register('keep_carol', 'keep_carol', '{orders}', start_at => 'beginning')");
ok(PmTest::wait_idle($node), 'all are idle');

my $end = "SELECT pg_terminate_backend(pid, 10000) FROM pm.worker WHERE role = 'carol' AND kind = 'dispatcher'";
my @changes = (
	[ 'REVOKE SELECT', 'REVOKE SELECT ON orders FROM carol', 'GRANT SELECT ON orders TO carol', qr/permission denied|SELECT|may not read/ ],
	[ 'REVOKE EXECUTE', 'REVOKE EXECUTE ON FUNCTION keep_carol(pm.event) FROM PUBLIC, carol',
		'GRANT EXECUTE ON FUNCTION keep_carol(pm.event) TO carol', qr/may not execute/ ],
	# A running dispatcher would continue, so it is terminated.
	[ 'NOLOGIN', "ALTER ROLE carol NOLOGIN; $end", 'ALTER ROLE carol LOGIN', qr/"carol", is not permitted to log in.*ALTER ROLE carol LOGIN/s ],
	[ 'REVOKE CONNECT', "REVOKE CONNECT ON DATABASE postgres FROM PUBLIC; GRANT CONNECT ON DATABASE postgres TO alice, bob, dave; $end",
		'GRANT CONNECT ON DATABASE postgres TO PUBLIC', qr/"carol", may not connect.*GRANT CONNECT ON DATABASE postgres TO carol/s ],
	[ 'DROP FUNCTION', 'DROP FUNCTION keep_carol(pm.event)', undef, qr/handler .*keep_carol.* does not exist/ ]);
for my $change (@changes)
{
	my ($name, $break, $mend, $reason) = @$change;

	$node->safe_psql('postgres', $break);
	append('Broken', 5);
	# on a busy machine no dispatcher may have started yet
	ok(PmTest::wait_until($node, "SELECT state FROM pm.status WHERE process_manager = 'keep_carol' AND reason NOT LIKE 'no dispatcher runs%'", 'waiting'), "$name: waiting");
	like(status('keep_carol'), $reason, "$name: pm.status says why");
	ok(PmTest::wait_until($node, "SELECT lag FROM pm.status WHERE process_manager = 'keep_bob'", 0), "$name: others continue");
	is($node->safe_psql('postgres', "SELECT attempts FROM pm.status WHERE process_manager = 'keep_carol'"), 0, "$name: no attempt is counted");
	if (defined $mend) { $node->safe_psql('postgres', $mend); }
	else { PmTest::create_handler($node, 'keep_carol', user => 'carol'); }
	my $since = time;
	my $ok = PmTest::wait_until($node, "SELECT state || lag FROM pm.status WHERE process_manager = 'keep_carol'", 'idle0');
	my $took = PmTest::handled_at($node, "pm = 'keep_carol'") - $since;
	ok($ok, sprintf('%s undone: it continues (%.1f s)', $name, $took));
	cmp_ok($took, '<', 8, "$name undone: the event is soon handled");
}
PmTest::exactly_once_ok($node, 'keep_carol', 'orders', 'carol: nothing is lost or handled twice');

$node->safe_psql('postgres', 'ALTER ROLE carol RENAME TO caroline');
append('Renamed', 3);
ok(PmTest::wait_until($node, "SELECT state || lag FROM pm.status WHERE process_manager = 'keep_carol'", 'idle0'), "after RENAME the role's process manager continues");
is($node->safe_psql('postgres', "SELECT owner FROM pm.process_manager WHERE name = 'keep_carol'"), 'caroline', 'under its new name');
PmTest::exactly_once_ok($node, 'keep_carol', 'orders');

# DROP ROLE of an owner
(undef, undef, $err) = $node->psql('postgres', 'DROP ROLE caroline');
like($err, qr/owner of type pm_process_manager\.keep_carol/, 'the owner of a process manager cannot be dropped');
$node->safe_psql('postgres', 'REASSIGN OWNED BY caroline TO bob; DROP OWNED BY caroline; DROP ROLE caroline');
append('Dropped', 3);
ok(PmTest::wait_until($node, "SELECT state || lag FROM pm.status WHERE process_manager = 'keep_carol'", 'idle0'), 'after REASSIGN OWNED it continues');
is($node->safe_psql('postgres', "SELECT owner FROM pm.process_manager WHERE name = 'keep_carol'"), 'bob', 'as the new owner');
ok(PmTest::wait_until($node, "SELECT lag FROM pm.status WHERE process_manager = 'keep_bob'", 0), 'others continue');
$node->safe_psql('postgres', "SELECT pm.unregister('keep_carol')");
is($node->safe_psql('postgres', "SELECT count(*) FROM pm.status WHERE process_manager = 'keep_carol'"), '0', 'a superuser can unregister it');

# REVOKE while a dispatcher is busy: the handler fails because of the missing right.
$node->safe_psql('postgres', 'REVOKE INSERT ON seen FROM PUBLIC; GRANT INSERT ON seen TO alice');
append('NoInsert');
ok(PmTest::wait_until($node, "SELECT state FROM pm.status WHERE process_manager = 'keep_bob'", 'retrying'), 'a right of the handler is revoked: retrying');
like(status('keep_bob'), qr/permission denied for table seen/, 'pm.status shows the error');
$node->safe_psql('postgres', 'GRANT INSERT ON seen TO PUBLIC');
ok(PmTest::wait_until($node, "SELECT state || lag FROM pm.status WHERE process_manager = 'keep_bob'", 'idle0'), 'granted again, it continues');
PmTest::exactly_once_ok($node, 'keep_bob', 'orders');

# ---- what a role can see and change

is(as('alice', "SELECT count(*) FROM pm.status WHERE process_manager LIKE '%bob'"), 0, "alice does not see bob's process managers");
is(as('alice', "SELECT count(*) > 0 FROM pm.status WHERE process_manager = 'who_alice'"), 't', 'alice sees only her own');
for my $call ("pm.pause('keep_bob')", "pm.resume('keep_bob')", "pm.seek('keep_bob', 'orders', 0)", "pm.unregister('keep_bob')",
	"pm.unfollow('keep_bob', 'orders')", "pm.catch_up('keep_bob')", "pm.register('keep_bob', 'who_alice', '{orders}')")
{
	(undef, undef, $err) = $node->psql('postgres', "SET default_transaction_read_only = off; SET default_transaction_isolation = 'read committed'; SELECT $call", extra_params => [ '-U', 'alice' ]);
	like($err, qr/must be owner|only be run by its owner/, "alice may not: $call");
}

# ---- two process managers of one role in one session

handler('dave', 'leaves', <<'SQL');
	CREATE TEMP TABLE IF NOT EXISTS left_over (t text);
	INSERT INTO left_over VALUES ('from leaves');
	PERFORM set_config('my.left', 'from leaves', false);
	PERFORM set_config('search_path', 'pg_temp', false);
	PERFORM set_config('work_mem', '9MB', false);
	EXECUTE 'PREPARE left_over AS SELECT 1';
	PERFORM pg_advisory_lock(4711);
	BEGIN
		EXECUTE 'LISTEN left_over';
	EXCEPTION WHEN feature_not_supported OR insufficient_privilege OR object_not_in_prerequisite_state THEN
		NULL;	-- in a worker LISTEN is not possible
	END;
	EXECUTE 'DECLARE left_over CURSOR WITH HOLD FOR SELECT 1';
	PERFORM nextval('public.dave_seq');
	INSERT INTO public.said (pm, key, value) VALUES ('leaves', 'pid', pg_backend_pid());
SQL
as('dave', 'CREATE SEQUENCE dave_seq');
handler('dave', 'finds', <<'SQL');
	INSERT INTO public.said (pm, key, value) VALUES
		('finds', 'table', coalesce(to_regclass('pg_temp.left_over')::text, 'none')),
		('finds', 'my.left', coalesce(nullif(current_setting('my.left', true), ''), 'none')),
		('finds', 'search_path', current_setting('search_path')),
		('finds', 'work_mem', current_setting('work_mem')),
		('finds', 'prepared', (SELECT count(*) FROM pg_prepared_statements)),
		('finds', 'lock', (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory')),
		('finds', 'listen', (SELECT count(*) FROM pg_listening_channels())),
		('finds', 'cursor', (SELECT count(*) FROM pg_cursors WHERE name = 'left_over')),
		('finds', 'tables', (SELECT count(*) FROM pg_class WHERE relname = 'left_over')),
		('finds', 'pid', pg_backend_pid());
	BEGIN
		PERFORM lastval();
		INSERT INTO public.said (pm, key, value) VALUES ('finds', 'lastval', 'there');
	EXCEPTION WHEN object_not_in_prerequisite_state THEN
		INSERT INTO public.said (pm, key, value) VALUES ('finds', 'lastval', 'none');
	END;
SQL
as('dave', "SELECT pm.register('leaves', 'leaves', '{orders}', types => '{Leave}', start_at => 'end', batch_size => 1);
			SELECT pm.register('finds', 'finds', '{orders}', types => '{Find}', start_at => 'end', batch_size => 1)");
ok(PmTest::wait_idle($node), 'idle');
my $same = 0;
for my $round (1 .. 3)
{
	$node->safe_psql('postgres', "DELETE FROM said WHERE pm IN ('leaves', 'finds')");
	append('Leave');
	ok(wait_said('leaves', 'pid'), 'one handler leaves something behind')
	  or diag(status('leaves'));
	append('Find');
	ok(wait_said('finds', 'lastval'), 'the other one of the same role runs')
	  or diag(status('finds'));
	$same++ if said('leaves', 'pid') eq said('finds', 'pid');
	my $found = $node->safe_psql('postgres',
		"SELECT string_agg(key || '=' || value, ' ' ORDER BY key) FROM said WHERE pm = 'finds' AND key <> 'pid'");
	is($found, 'cursor=0 lastval=none listen=0 lock=0 my.left=none prepared=0 search_path="$user", public table=none tables=0 work_mem=4MB',
		"round $round: it finds nothing of it");
}
cmp_ok($same, '>', 0, 'they shared a session');
is($node->safe_psql('postgres', "SELECT sum(errors) FROM pm.status WHERE process_manager IN ('leaves', 'finds')"), 0, 'no error was counted');

# ---- more roles than workers

my $many = 12;
for my $i (1 .. $many)
{
	$node->safe_psql('postgres', "CREATE ROLE many_$i LOGIN; GRANT USAGE ON SCHEMA pm TO many_$i; GRANT CREATE ON SCHEMA public TO many_$i; GRANT SELECT ON orders TO many_$i");
	PmTest::create_handler($node, "many_$i", user => "many_$i");
	as("many_$i", "SELECT pm.register('many_$i', 'many_$i', '{orders}', types => '{Many}', start_at => 'end')");
}
my @times;
for my $round (1 .. 3)
{
	append('Many', 10);
	my $ok;
	my $took = PmTest::seconds { $ok = PmTest::wait_until($node,
		"SELECT count(*) FROM seen WHERE pm LIKE 'many%'", $many * 10 * $round); };
	push @times, sprintf('%.1f s', $took);
	ok($ok, "$many roles on 3 workers, round $round: all get served");
	cmp_ok($node->safe_psql('postgres', "SELECT count(*) FROM pm.worker WHERE kind = 'dispatcher'"), '<=', 3, 'by 3 workers');
}
diag("$many roles on 3 workers: " . join(', ', @times));

# while one of the roles is always busy
as('many_1', "CREATE OR REPLACE FUNCTION public.many_1(e pm.event) RETURNS void LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.05); INSERT INTO public.seen (pm, log, pos) VALUES (''many_1'', e.log, e.position); END'");
append('Many', 300);
my $ok;
my $took = PmTest::seconds { $ok = PmTest::wait_until($node,
	"SELECT count(DISTINCT pm) FROM (SELECT pm FROM seen WHERE pm LIKE 'many%' GROUP BY pm HAVING count(*) = 330) x", $many - 1); };
ok($ok, sprintf('the others are served while one is busy for 15 s (%.1f s)', $took));
ok(PmTest::wait_idle($node), 'the busy one is served, too');
PmTest::exactly_once_ok($node, "many_$_", 'orders', "many_$_: once and in order",
	where => "type = 'Many'") for 1 .. $many;

PmTest::no_crash_ok($node);
$node->stop('fast');
done_testing();
