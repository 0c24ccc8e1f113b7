# A process manager whose owner changes without pm.set_owner, or whose log is locked meanwhile: no role's
# code runs as a superuser because of it, a copy belongs to the role of the original, whatever its name is
# now, and a followed table cannot be dropped without CASCADE.
use strict;
use warnings FATAL => 'all';

use PmTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PmTest::node('given', conf => "pm.poll_interval = '200ms'\nmax_connections = 40\nmax_worker_processes = 20\n");

$node->safe_psql('postgres', <<'SQL');
CREATE ROLE alice LOGIN;
CREATE ROLE bob LOGIN;
CREATE ROLE carol LOGIN;
CREATE ROLE dave LOGIN;
CREATE ROLE boss SUPERUSER LOGIN;
GRANT USAGE ON SCHEMA pm TO PUBLIC;
CREATE SCHEMA alice AUTHORIZATION alice;
CREATE SCHEMA dave AUTHORIZATION dave;
CREATE SCHEMA bob AUTHORIZATION bob;
GRANT USAGE ON SCHEMA alice, dave, bob TO PUBLIC;
CREATE TABLE ran (pm text, as_role text, super text);
GRANT INSERT, SELECT ON ran TO PUBLIC;
SQL

sub ask
{
	my ($sql, $role, $db) = @_;
	my ($rc, $out, $err) = $node->psql($db // 'postgres', $sql, on_error_stop => 1,
		extra_params => [ '-v', 'VERBOSITY=verbose', '-U', $role // 'postgres' ]);
	return $rc == 0 ? $out : $err;
}

sub handler
{
	my ($role, $name) = @_;

	return ask("CREATE FUNCTION $role.$name(e pm.event) RETURNS void LANGUAGE plpgsql AS \$\$ BEGIN INSERT INTO public.ran VALUES ('$name', current_user, current_setting('is_superuser')); END \$\$", $role);
}

# ---- REASSIGN OWNED and ALTER TYPE do not make a superuser run another role's code

handler('dave', 'h');
ask("SELECT pm.create_log('dave.l'); SELECT pm.register('dv', 'dave.h', '{dave.l}'); SELECT pm.append('dave.l', 's', 't')", 'dave');
ok(PmTest::wait_until($node, 'SELECT string_agg(as_role, \',\') FROM ran', 'dave'), "dave's runs as dave");
my @ways = (
	[ 'REASSIGN OWNED', 'REASSIGN OWNED BY dave TO postgres', 'REASSIGN OWNED BY postgres TO dave' ],
	[ 'ALTER TYPE', 'ALTER FUNCTION dave.h OWNER TO postgres; ALTER TYPE pm_process_manager.dv OWNER TO postgres', 'ALTER FUNCTION dave.h OWNER TO dave; ALTER TYPE pm_process_manager.dv OWNER TO dave' ],
	# the event trigger is disabled
	[ 'past the event trigger', 'ALTER EVENT TRIGGER pm_after_alter DISABLE; ALTER FUNCTION dave.h OWNER TO postgres; ALTER TYPE pm_process_manager.dv OWNER TO postgres; ALTER EVENT TRIGGER pm_after_alter ENABLE ALWAYS', undef ]);
for my $way (@ways)
{
	my ($name, $there, $back) = @$way;

	unlike(ask($there), qr/ERROR/, "$name: to a superuser");
	is(ask("SELECT owner FROM pm.process_manager WHERE name = 'dv'"), 'postgres', "$name: it is the new owner's");
	ask("TRUNCATE ran; SELECT pm.append('dave.l', 's', 't')");
	# The worker has not been told: it continues as dave.
	last if !defined $back;
	ok(PmTest::wait_until($node, "SELECT bool_or(s::text ~ 'dave\\.h.*registered') FROM pm.status s WHERE process_manager = 'dv'", 't'), "$name: it does not run")
		or diag(ask("SELECT s FROM pm.status s WHERE process_manager = 'dv'"));
	like(ask("SELECT pm.catch_up('dv')"), qr/42501/, "$name: pm.catch_up does not run it either");
	is(ask('SELECT count(*) FROM ran'), 0, "$name: dave's code has not run");
	unlike(ask('ALTER ROLE dave LOGIN; ' . ($name eq 'ALTER TYPE' ? $back : 'ALTER FUNCTION dave.h OWNER TO dave; ALTER TYPE pm_process_manager.dv OWNER TO dave')), qr/ERROR/, "$name: given back");
	ask('ALTER TABLE dave.l OWNER TO dave; ALTER SCHEMA dave OWNER TO dave');
	ok(PmTest::wait_until($node, 'SELECT string_agg(as_role, \',\') FROM ran', 'dave'), "$name: it continues as dave");
}
ask("SELECT pg_terminate_backend(pid) FROM pm.worker WHERE role = 'dave'");
ok(PmTest::wait_until($node, "SELECT count(*) FROM pm.worker WHERE role = 'dave' AND process_manager = 'dv'", 0), 'the worker has ended');
ask("SELECT pm.append('dave.l', 's', 't')");
like(ask("SELECT pm.catch_up('dv')"), qr/42501.*dave\.h.*registered.*run SELECT pm\.set_owner\('dv', 'postgres'\)/s, 'pm.catch_up does not run it as a superuser, and the hint helps');
is(ask("SELECT count(*) FROM ran WHERE super = 'on'"), 0, 'it has not run as one before either');
ask('TRUNCATE ran');
is(ask("SELECT pm.set_owner('dv', 'postgres')"), '', 'a superuser who has checked it takes it with pm.set_owner');
ok(PmTest::wait_until($node, "SELECT string_agg(as_role, ',') FROM ran", 'postgres'), 'it runs as that superuser');
# from one superuser to another it continues
is(ask("REASSIGN OWNED BY boss TO postgres"), '', 'a role that owns nothing else');
is(ask("SELECT pm.set_owner('dv', 'boss')"), '', 'from one superuser to another');
ask("ALTER FUNCTION dave.h OWNER TO boss; REASSIGN OWNED BY boss TO postgres");
ask("TRUNCATE ran; SELECT pm.append('dave.l', 's', 't')");
ok(PmTest::wait_until($node, "SELECT string_agg(as_role, ',') FROM ran", 'postgres'), 'it continues as the other superuser');
ask("SELECT pm.unregister('dv'); TRUNCATE ran");

# ---- a followed table is locked by its owner while the owner of the follower changes

sub session { return PmTest::Session->new($node, user => $_[0]); }

ask("SELECT pm.create_log('alice.l'), pm.create_log('alice.m'); GRANT SELECT ON alice.l, alice.m TO bob, carol", 'alice');
ask('GRANT bob TO carol');
ask(<<'SQL', 'bob');
CREATE FUNCTION bob.bad(e pm.event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;
SELECT pm.register('p', 'bob.bad', '{alice.l,alice.m}', max_attempts => 1);
SQL
ask("SELECT pm.append('alice.l', 's', 't')", 'alice');
ok(PmTest::wait_until($node, "SELECT count(*) FROM pm.parked", 1), 'an event is parked');
for my $cached (0, 1)
{
	my ($alice, $bob) = (session('alice'), session('bob'));

	$bob->do("SELECT pm.high_water_mark('alice.l')") if $cached;
	$alice->do('BEGIN; LOCK TABLE alice.l');
	is($bob->do("SET statement_timeout = '10s'; SELECT pm.set_owner('p', 'bob')"), '', "pm.set_owner does not wait for a log ($cached)");
	is($bob->do("SELECT pm.retry('p', 'alice.l', 1)"), '', "pm.retry does not wait for it either ($cached)") if !$cached;
	$alice->do('COMMIT');
	ok(PmTest::wait_until($node, "SELECT state FROM pm.parked", 'dead'), 'it is parked');
	like(ask('DROP TABLE alice.l', 'alice'), qr/2BP01.*type pm_process_manager\.p depends on table (?:alice\.)?l\b/s, "the table cannot be dropped without CASCADE ($cached)");
	$_->quit for ($alice, $bob);
}
# the type is dropped with another log's table, and created again
{
	my $alice = session('alice');

	ask("SELECT pm.create_log('bob.own'); SELECT pm.register('p', 'bob.bad', '{alice.l,alice.m,bob.own}', max_attempts => 1)", 'bob');
	$alice->do('BEGIN; LOCK TABLE alice.l');
	like(ask('DROP TABLE bob.own CASCADE', 'bob'), qr/^$|does not follow/, 'the table of the other log is dropped');
	$alice->do('COMMIT');
	like(ask('DROP TABLE alice.l', 'alice'), qr/2BP01.*process manager "p" follows/s, 'this table cannot be dropped without CASCADE');
	ask("SELECT pm.resume('p')", 'bob');
	$alice->quit;
}
# the dependency is lost nevertheless
ask("DELETE FROM pg_depend WHERE refobjid = 'alice.l'::regclass AND deptype = 'n' AND classid = 'pg_type'::regclass");
like(ask('DROP TABLE alice.l', 'alice'), qr/2BP01.*process manager "p" follows.*pm\.resume\('p'\)/s, 'a followed table cannot be dropped without CASCADE');
is(ask("SELECT pm.resume('p')", 'bob'), '', 'the hint is followed');
like(ask('DROP TABLE alice.l', 'alice'), qr/2BP01.*type pm_process_manager\.p depends on table (?:alice\.)?l\b/s, 'the dependency exists again');
# pm.unfollow does not wait for the session that has locked the table
{
	my ($alice, $bob) = (session('alice'), session('bob'));

	$alice->do('BEGIN; LOCK TABLE alice.l, alice.m');
	is($bob->do("SET statement_timeout = '10s'; SELECT pm.discard('p', 'alice.l', 1); SELECT pm.unfollow('p', 'alice.l')") =~ s/\s//gr, '', 'pm.unfollow does not wait for a log');
	$alice->do('COMMIT');
	is(ask('DROP TABLE alice.l', 'alice'), '', 'then the log can be dropped');
	$_->quit for ($alice, $bob);
}
ask("SELECT pm.unregister('p')", 'bob');

# ---- in a copy the role matters, not its name at that time

handler('bob', 'mine');
ask("SELECT pm.register('secret', 'bob.mine', '{alice.m}'); SELECT pm.pause('secret')", 'bob');
ask("INSERT INTO pm_catalog.instance VALUES ('secret', 'k', '42', now(), now())");
ask('ALTER ROLE bob RENAME TO robert; CREATE ROLE bob LOGIN');
ask('GRANT USAGE ON SCHEMA pm TO bob');
my $dir = PostgreSQL::Test::Utils::tempdir;
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/dump", $node->connstr('postgres') ], 'pg_dump');
$node->safe_psql('template1', 'CREATE DATABASE restored TEMPLATE template0');
$node->safe_psql('template1', 'CREATE DATABASE unowned TEMPLATE template0');
$node->command_ok([ 'pg_restore', '-e', '-d', $node->connstr('restored'), "$dir/dump" ], 'pg_restore');
$node->command_ok([ 'pg_restore', '-e', '--no-owner', '-d', $node->connstr('unowned'), "$dir/dump" ], 'pg_restore --no-owner');
ask('ALTER SYSTEM SET pm.launcher = off; SELECT pg_reload_conf()');
ok(PmTest::wait_until($node, "SELECT count(*) FROM pg_stat_activity WHERE backend_type ~ '^pm' AND datname = 'postgres'", 0), 'no session is connected');
is(ask('CREATE DATABASE copied TEMPLATE postgres', undef, 'template1'), '', 'CREATE DATABASE ... TEMPLATE');
for my $db ('copied', 'restored')
{
	is(ask('SELECT owner FROM pm.process_manager', undef, $db), 'robert', "$db: it is robert's");
	is(ask('SELECT (SELECT count(*) FROM pm.instance), (SELECT count(*) FROM pm.process_manager)', 'bob', $db), '0|0', "$db: the new bob sees nothing");
	like(ask("SELECT pm.resume('secret')", 'bob', $db), qr/42501/, "$db: he cannot adopt it either");
	is(ask('SELECT state FROM pm.instance', 'robert', $db), '42', "$db: robert sees his states");
	is(ask('REASSIGN OWNED BY bob TO carol; SELECT owner FROM pm.process_manager', undef, $db), 'robert', "$db: REASSIGN OWNED by the new bob does not change it");
	is(ask('BEGIN; REASSIGN OWNED BY robert TO carol; SELECT owner, (SELECT owner_name FROM pm_catalog.process_manager) FROM pm.process_manager; ROLLBACK', undef, $db), 'carol|carol', "$db: by robert it does");
	is(ask('BEGIN; REASSIGN OWNED BY robert TO postgres; SELECT owner FROM pm.process_manager; ROLLBACK', undef, $db), 'postgres', "$db: to a superuser as well");
	unlike(ask("SELECT pm.resume('secret')", 'robert', $db), qr/ERROR/, "$db: robert adopts it");
	is(ask("SELECT owner_name FROM pm_catalog.process_manager", undef, $db), 'robert', "$db: under his name");
}
# if the dump has no owners, only the name is left
is(ask('SELECT owner FROM pm.process_manager', undef, 'unowned'), 'bob', 'pg_restore --no-owner: the name decides');
# given to a superuser in a copy, pm.resume() without a name does not make it run as one
$node->safe_psql('template1', 'CREATE DATABASE again TEMPLATE template0');
$node->command_ok([ 'pg_restore', '-e', '-d', $node->connstr('again'), "$dir/dump" ], 'pg_restore');
ask('REASSIGN OWNED BY robert TO postgres', undef, 'again');
ask("SELECT pm.resume(); SELECT pm.append('alice.m', 's', 't')", undef, 'again');
like(ask('SELECT pm.catch_up()', undef, 'again'), qr/42501.*bob\.mine.*registered/s, 'adopted with all others, it does not run as a superuser');
is(ask("SELECT pm.set_owner('secret', 'postgres'); SELECT pm.catch_up(); SELECT string_agg(as_role, ',') FROM ran", undef, 'again') =~ s/\n+/ /gr, ' 1 postgres', 'given with pm.set_owner, it does');

# ---- in a copy, a locked log or a role without LOGIN delays no other role

$node->safe_psql('template1', 'CREATE DATABASE mixed TEMPLATE template0');
ask("SELECT pm.create_log('alice.k'); GRANT SELECT ON alice.k TO carol", 'alice');
ask('CREATE FUNCTION public.nothing(e pm.event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN END $$');
ask("SELECT pm.register('$_->[0]', 'nothing', '{$_->[1]}')", $_->[2]) for ([ 'a1', 'alice.k', 'alice' ], [ 'c1', 'alice.m', 'carol' ], [ 'z1', 'alice.m', 'robert' ]);
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/mixed", $node->connstr('postgres') ], 'pg_dump');
$node->command_ok([ 'pg_restore', '-e', '-d', $node->connstr('mixed'), "$dir/mixed" ], 'pg_restore');
like(ask('DROP TABLE alice.k', 'alice', 'mixed'), qr/2BP01.*process manager "a1" follows/s, 'a copied log that is followed cannot be dropped without CASCADE');
like(ask('BEGIN; DROP TABLE alice.k CASCADE; ROLLBACK', 'alice', 'mixed'), qr/^$/, 'with CASCADE it can');
ask('ALTER TABLE alice.k DROP CONSTRAINT k_pkey', 'alice', 'mixed');
ask('ALTER ROLE carol NOLOGIN');
my ($rc, $out, $err) = $node->psql('mixed', 'SELECT pm.resume()');
is($rc, 0, 'pm.resume() without a name');
like($err, qr/"a1" was left as it is: log "alice\.k" has no index.*"c1" was left as it is: role "carol" is not permitted to log in/s, 'names what it has skipped');
is(ask("SELECT string_agg(m.name, ',') FROM pm_catalog.manager m WHERE m.at_home AND m.name <> 'secret'", undef, 'mixed'), 'z1', 'adopts the others');

PmTest::no_crash_ok($node);
$node->stop('fast');
done_testing();
