# The owner of a process manager is an owner like any in PostgreSQL: DROP ROLE is refused in every database,
# REASSIGN OWNED and DROP OWNED work, and pm.set_owner gives it to another role. If the owner is gone
# nevertheless, a superuser can take the process manager over. A handler always runs as the owner, whatever
# ALTER ROLE and ALTER DATABASE set.
use strict;
use warnings FATAL => 'all';

use PmTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PmTest::node('owners', conf => "pm.poll_interval = '200ms'\nmax_connections = 40\nmax_worker_processes = 20\n");

$node->safe_psql('postgres', <<'SQL');
CREATE ROLE alice LOGIN;
CREATE ROLE bob LOGIN;
CREATE ROLE carol LOGIN;
CREATE ROLE gone LOGIN;
CREATE ROLE stays_out NOLOGIN;
CREATE ROLE grp;
GRANT grp TO bob;
GRANT USAGE ON SCHEMA pm TO alice, bob, carol, gone, grp;
GRANT CREATE ON SCHEMA public TO alice, bob, carol, gone;
SELECT pm.create_log('orders'), pm.create_log('payments');
GRANT SELECT, INSERT ON orders, payments TO alice, bob, carol, gone;
CREATE DATABASE elsewhere;
CREATE TABLE who (pm text, type text, session_role text, role text, at timestamptz DEFAULT clock_timestamp());
GRANT INSERT, SELECT ON who TO PUBLIC;
SQL

# The answer, or the error with its SQLSTATE.
sub answer
{
	my ($sql, $role, $db) = @_;
	my ($rc, $out, $err) = $node->psql($db // 'postgres', $sql, on_error_stop => 1,
		extra_params => [ '-v', 'VERBOSITY=verbose', '-U', $role // 'postgres' ]);
	return $rc == 0 ? $out : $err;
}

sub owner
{
	my ($pm) = @_;
	return answer("SELECT owner FROM pm.process_manager WHERE name = '$pm'");
}

sub register
{
	my ($role, $pm, $more) = @_;

	answer("CREATE OR REPLACE FUNCTION public.$pm(e pm.event) RETURNS void LANGUAGE plpgsql AS \$\$ BEGIN INSERT INTO public.who VALUES ('$pm', e.type, session_user, current_user); END \$\$", $role);
	return answer("SELECT pm.register('$pm', '$pm', '{orders}', start_at => 'end'" . ($more // '') . ')', $role);
}

# Tests that an event of this type was handled by this role.
sub handled_by
{
	my ($pm, $type, $role, $name) = @_;

	answer("SELECT pm.append('orders', 's', '$type')");
	ok(PmTest::wait_until($node, "SELECT string_agg(session_role || ' ' || role, ',') FROM who WHERE pm = '$pm' AND type = '$type'", "$role $role"), $name);
	return;
}

# ---- DROP ROLE, REASSIGN OWNED, DROP OWNED

is(register('alice', 'm'), '', 'alice registers a process manager');
for my $db ('postgres', 'elsewhere')
{
	like(answer('DROP ROLE alice', undef, $db), qr/2BP01.*(?:owner of type pm_process_manager\.m\b|objects in database postgres)/s, "$db: DROP ROLE of an owner is refused");
}
handled_by('m', 'first', 'alice', 'it runs as alice');
like(answer('REASSIGN OWNED BY alice TO bob', 'alice'), qr/42501/, 'alice cannot give it to a role of which she is not a member');
is(answer('REASSIGN OWNED BY alice TO bob'), '', 'REASSIGN OWNED');
is(owner('m'), 'bob', 'changes the owner');
is(answer("SELECT owner_name FROM pm_catalog.process_manager WHERE name = 'm'"), 'bob', 'in a dump, too');
handled_by('m', 'reassigned', 'bob', 'it runs as the new owner');
like(answer("SELECT pm.pause('m')", 'alice'), qr/42501/, 'alice can no longer use it');
is(answer("REASSIGN OWNED BY alice TO carol; SELECT owner FROM pm.process_manager"), 'bob', 'nothing else is reassigned');
# by a role that is a member of both and no superuser
answer('CREATE ROLE dora LOGIN; GRANT bob, carol TO dora');
is(answer('REASSIGN OWNED BY bob TO carol', 'dora'), '', 'REASSIGN OWNED by a member of both roles');
is(owner('m'), 'carol', 'it does the same');
handled_by('m', 'again', 'carol', 'it runs as the new owner');
is(answer('BEGIN; REASSIGN OWNED BY carol TO bob; ROLLBACK'), '', 'REASSIGN OWNED that is rolled back');
is(owner('m'), 'carol', 'changes nothing');
is(answer('ALTER TYPE pm_process_manager.m OWNER TO bob'), '', 'ALTER TYPE ... OWNER TO on its type');
is(owner('m'), 'bob', 'changes the owner of the process manager');
for my $alter ('RENAME TO n', 'SET SCHEMA public')
{
	like(answer("ALTER TYPE pm_process_manager.m $alter"), qr/ERROR/, "its type cannot be moved or renamed: $alter");
}
like(answer("CREATE TYPE pm_process_manager.squat", 'bob'), qr/42501|42601/, 'nor can another type be put there');
is(answer("SELECT pm.register('m', 'm', '{orders}', max_attempts => 7); SELECT max_attempts FROM pm.process_manager WHERE name = 'm'", 'bob'), "\n7", 'the new owner can change it');

answer('DROP OWNED BY alice');
is(answer('DROP ROLE alice'), '', 'alice owns nothing any more and can be dropped');
register('gone', 'g', ", lanes => 3");
handled_by('g', 'one', 'gone', "one of another role's");
is(answer('DROP OWNED BY gone; DROP ROLE gone'), '', 'DROP OWNED, DROP ROLE');
is(answer("SELECT (SELECT count(*) FROM pm_catalog.process_manager WHERE name = 'g'), (SELECT count(*) FROM pm_catalog.cursor WHERE process_manager = 'g'), (SELECT count(*) FROM pm_catalog.lane WHERE process_manager = 'g')"), '0|0|0', 'its process managers are gone');
is(answer("SELECT pm.unregister('m'); SELECT count(*) FROM pg_type WHERE typnamespace = 'pm_process_manager'::regnamespace", 'bob'), "\n0", 'pm.unregister leaves nothing');
register('bob', 'm');

# ---- pm.set_owner

answer('GRANT bob TO carol; REVOKE INSERT, SELECT ON orders FROM carol; CREATE ROLE stranger LOGIN; GRANT USAGE ON SCHEMA pm TO stranger');
like(answer("SELECT pm.set_owner('m', 'stranger')", 'bob'), qr/42501.*"stranger"/s, 'to a role of which the caller is no member: refused');
like(answer("SELECT pm.set_owner('m', 'stranger')", 'stranger'), qr/42501.*must be owner/s, "what is somebody else's: refused");
answer('CREATE ROLE blind LOGIN; GRANT USAGE ON SCHEMA pm TO blind');
like(answer("SELECT pm.set_owner('m', 'blind')"), qr/42501.*may not read log "orders"/s, 'to a role that may not read the log: refused');
like(answer("SELECT pm.set_owner('m', 'stays_out')"), qr/28000.*ALTER ROLE stays_out LOGIN/s, 'to a role that may not log in: refused');
like(answer("SELECT pm.set_owner('m', 'nobody')"), qr/42704/, 'to a role that does not exist: refused');
answer('GRANT SELECT ON orders TO carol, stranger; REVOKE EXECUTE ON FUNCTION m(pm.event) FROM PUBLIC');
like(answer("SELECT pm.set_owner('m', 'stranger')"), qr/42501/, 'to a role that may not execute the handler: refused');
answer('GRANT EXECUTE ON FUNCTION m(pm.event) TO carol');
like(answer("SELECT pm.set_owner('m', 'postgres')"), qr/42501.*no superuser owns/s, "a superuser does not get somebody's handler");
is(answer("SELECT pm.set_owner('m', 'carol')", 'carol'), '', 'a member of both roles gives it to herself');
is(owner('m'), 'carol', 'she owns it');
handled_by('m', 'set', 'carol', 'it runs as her');
like(answer("DROP OWNED BY bob; DROP ROLE carol"), qr/owner of type pm_process_manager\.m\b/, 'DROP ROLE of her is refused');
like(answer('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT pm.set_owner(\'m\', \'carol\')'), qr/25000/, 'refused with an old snapshot');

# ---- an owner that is gone nevertheless

sub lose_owner
{
	my ($pm, $role) = @_;

	answer("DELETE FROM pg_shdepend WHERE refobjid = '$role'::regrole; DROP ROLE $role");
	return;
}
answer("CREATE ROLE lost LOGIN; GRANT USAGE ON SCHEMA pm TO lost; GRANT CREATE ON SCHEMA public TO lost; GRANT SELECT ON orders TO lost");
answer('CREATE FUNCTION count_up(e pm.event, state jsonb) RETURNS jsonb LANGUAGE sql RETURN to_jsonb(coalesce(state::int, 0) + 1)');
is(answer("SELECT pm.register('orphan', 'count_up', '{orders}', start_at => 'end')", 'lost'), '', 'a process manager whose owner will be gone');
answer("SELECT pm.append('orders', 'k', 'x')");
ok(PmTest::wait_until($node, "SELECT state FROM pm.instance WHERE process_manager = 'orphan' AND key = 'k'", 1), 'it has an instance');
lose_owner('orphan', 'lost');
for my $call ("pm.resume('orphan')", "pm.register('orphan', 'count_up', '{orders}')")
{
	like(answer("SELECT $call"), qr/42704: role "lost", the owner of process manager "orphan", does not exist.*pm\.set_owner\('orphan'/s, "$call says whose it was, and what to do");
	like(answer("SELECT $call", 'bob'), qr/42501/, "$call is refused for others");
}
is(answer('SELECT pm.resume()'), '', 'pm.resume() skips it');
is(answer('SELECT pm.resume()', 'carol'), '', 'for others, too');
is(answer("SELECT reason LIKE '%\"lost\", no longer exists%', hint LIKE '%pm.set_owner(''orphan''%' FROM pm.status WHERE process_manager = 'orphan'"), 't|t', 'pm.status gives the reason');
like(answer("SELECT pm.set_owner('orphan', 'carol')", 'carol'), qr/42501/, 'only a superuser may take it over');
is(answer("SELECT pm.set_owner('orphan', 'carol')"), '', 'a superuser takes it over with pm.set_owner');
answer("SELECT pm.append('orders', 'k', 'x')");
ok(PmTest::wait_until($node, "SELECT state FROM pm.instance WHERE process_manager = 'orphan' AND key = 'k'", 2), 'its instances continue');
like(answer('DROP ROLE carol'), qr/owner of type pm_process_manager\.orphan/, 'it has an owner again');
# a type that a superuser has dropped with the event trigger disabled is created again
answer("ALTER EVENT TRIGGER pm_after_drop DISABLE; DROP TYPE pm_process_manager.orphan; ALTER EVENT TRIGGER pm_after_drop ENABLE ALWAYS");
is(answer("SELECT pm.resume('orphan')", 'carol'), '', 'pm.resume records the owner again');
like(answer('DROP ROLE carol'), qr/owner of type pm_process_manager\.orphan/, 'DROP ROLE is refused');
is(answer("DROP TYPE pm_process_manager.orphan; SELECT count(*) FROM pm.process_manager WHERE name = 'orphan'"), 0, 'DROP TYPE of its type unregisters it');

# ---- as the owner, whatever is SET for the role or the database

answer('GRANT SELECT, INSERT ON orders TO bob, grp; GRANT CREATE ON SCHEMA public TO bob; GRANT USAGE ON SCHEMA pm TO bob');
is(register('bob', 'b'), '', "bob's");
handled_by('b', 'plain', 'bob', 'it runs as bob');
my %as = (
	'ALTER ROLE bob SET role = grp' => 'ALTER ROLE bob RESET role',
	'ALTER ROLE bob IN DATABASE postgres SET role = grp' => 'ALTER ROLE bob IN DATABASE postgres RESET role',
	'ALTER DATABASE postgres SET role = grp' => 'ALTER DATABASE postgres RESET role');
my $n = 0;
for my $set (sort keys %as)
{
	answer("$set; SELECT pg_terminate_backend(pid) FROM pm.worker WHERE kind <> 'launcher'");
	handled_by('b', 'set' . ++$n, 'bob', "$set: it runs as bob");
	answer("SET ROLE NONE; $as{$set}");
}
# SET can make a superuser's session one of another role
answer('CREATE ROLE boss SUPERUSER LOGIN');
is(register('boss', 'super'), '', "a superuser's");
answer("ALTER ROLE boss SET session_authorization = bob; SELECT pg_terminate_backend(pid) FROM pm.worker WHERE role = 'boss'");
handled_by('super', 'boss', 'boss', 'ALTER ROLE ... SET session_authorization: it runs as its owner');

PmTest::no_crash_ok($node);
unlike(slurp_file($node->logfile), qr/cache lookup failed|unexpected classid/, 'there are no failed look-ups');
$node->stop('fast');
done_testing();
