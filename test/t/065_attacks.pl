# P6: what a hostile role tries does not succeed. mallory may use pm, and owns a schema and logs. She wants to run code
# as another role, to see or change what belongs to others, to keep others from their events, or to crash the server.
# alice follows mallory's logs; so does a superuser, who also calls every function of pm on them.
#
# Whenever code of mallory's runs, it tries (mallory.grab) to become another role, to read a secret, and to write where it
# may not. Each success is recorded in public.gained, and the role that the code ran as in public.loot.
use strict;
use warnings FATAL => 'all';

use PmTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = PmTest::node('attacks', conf => "pm.max_workers = 8\npm.poll_interval = '200ms'\nmax_connections = 40\nmax_worker_processes = 20\nmax_prepared_transactions = 4\n");
my $started = $node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()');

sub answer
{
	my ($sql, $role, %opt) = @_;
	my ($rc, $out, $err) = $node->psql($opt{dbname} // 'postgres', $sql, extra_params => $role ? [ '-U', $role ] : []);

	die "as " . ($role // 'superuser') . ": $sql\n$err" if $rc != 0;
	return $out;
}

# The SQLSTATE of a script, or '' if it succeeded.
sub sqlstate
{
	my ($sql, $role, %opt) = @_;
	my (undef, undef, $err) = $node->psql($opt{dbname} // 'postgres', "\\set VERBOSITY sqlstate\n$sql", extra_params => $role ? [ '-U', $role ] : []);

	return $err =~ /(?:ERROR|FATAL):\s+(\w{5})/ ? $1 : $err =~ /server closed/ ? 'crash' : '';
}

# Nothing has been gained so far.
sub nothing_ok
{
	my ($name) = @_;

	is(answer("SELECT string_agg(DISTINCT format('%s as %s in a session of %s, from %s', what, who, session, place), '; ') FROM gained"), '', "$name: nothing is gained");
	is(answer("SELECT string_agg(rolname, ' ') FROM pg_roles WHERE rolname IN ('mallory', 'alice') AND (rolsuper OR pg_has_role(oid, 'pg_write_all_data', 'MEMBER'))"), '', "$name: no role has got more rights");
	return;
}

# mallory's code has run at that place, and only as these roles.
sub ran_as
{
	my ($place, $who) = @_;

	is(answer("SELECT coalesce(string_agg(DISTINCT who, ' '), 'not at all') FROM loot WHERE place = '$place'"), $who, "code of mallory's ($place) has run as: $who");
	return;
}

answer(<<'SQL');
CREATE ROLE mallory LOGIN;
CREATE ROLE alice LOGIN;
CREATE ROLE watcher LOGIN;
CREATE ROLE scribe LOGIN;
GRANT pg_monitor TO watcher;
GRANT pg_write_all_data TO scribe;
GRANT USAGE ON SCHEMA pm TO mallory, alice, watcher;
GRANT CREATE ON DATABASE postgres TO mallory;
CREATE SCHEMA mallory AUTHORIZATION mallory;
CREATE SCHEMA alice AUTHORIZATION alice;
GRANT USAGE ON SCHEMA mallory TO PUBLIC;
CREATE TABLE secret AS SELECT 'of the superuser' AS t;
CREATE TABLE gained (place text, what text, who text, session text);
CREATE TABLE loot (place text, who text, session text, at timestamptz DEFAULT clock_timestamp());
GRANT INSERT, SELECT ON gained, loot TO PUBLIC;
SQL
PmTest::create_seen($node);
answer(<<'SQL', 'alice');
CREATE TABLE alice.secret AS SELECT 'of alice' AS t;
SELECT pm.create_log('alice.private');
CREATE FUNCTION alice.handle(e pm.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN INSERT INTO public.seen (pm, log, pos, stream, key) VALUES ('alice', e.log, e.position, e.stream, e.stream); END $$;
SQL
# Tries everything at once. Recording what was gained is the only thing for which it needs no right.
answer(<<'SQL', 'mallory');
CREATE FUNCTION mallory.grab(place text) RETURNS void LANGUAGE plpgsql AS $grab$
DECLARE
	try text;
	owner boolean := current_user = 'mallory' AND session_user = 'mallory';
BEGIN
	INSERT INTO public.loot VALUES (place, current_user, session_user);
	FOREACH try IN ARRAY ARRAY['RESET SESSION AUTHORIZATION', 'SET SESSION AUTHORIZATION DEFAULT', 'SET SESSION AUTHORIZATION postgres', 'SET SESSION AUTHORIZATION alice',
		'SET LOCAL SESSION AUTHORIZATION postgres', 'RESET ROLE', 'SET ROLE NONE', 'SET ROLE postgres', 'SET ROLE alice', 'SET LOCAL ROLE alice', 'RESET ALL', 'DISCARD ALL',
		$$SELECT set_config('role', 'postgres', false)$$, $$SELECT set_config('session_authorization', 'postgres', false)$$, $$SELECT set_config('role', 'alice', true)$$]
	LOOP
		BEGIN
			EXECUTE try;
			IF current_user <> 'mallory' THEN
				INSERT INTO public.gained VALUES (place, try, current_user, session_user);
			END IF;
		EXCEPTION WHEN OTHERS THEN NULL;
		END;
	END LOOP;
	FOREACH try IN ARRAY ARRAY['ALTER ROLE mallory SUPERUSER', 'GRANT pg_write_all_data TO mallory', 'GRANT alice TO mallory', 'TABLE public.secret', 'TABLE alice.secret', 'TABLE alice.private',
		$$COPY public.loot FROM PROGRAM 'echo x'$$, $$SELECT pg_read_file('PG_VERSION')$$, 'TABLE pm_catalog.process_manager', 'UPDATE pm_catalog.cursor SET position = 0',
		$$UPDATE pm_catalog.process_manager SET owner = 10$$, $$DELETE FROM pm_catalog.parked$$, $$SELECT pm.pause('alice')$$, $$SELECT pm.unregister('alice')$$,
		$$SELECT pm.seek('alice', 'alice.private', 0)$$, $$SELECT pm.catch_up('alice')$$, $$SELECT pm.catch_up('super')$$, $$SELECT pm.append('alice.private', 'x', 'forged')$$,
		$$INSERT INTO alice.private (stream, type) VALUES ('x', 'forged')$$, $$SELECT pm.read('alice.private')$$, $$ALTER SYSTEM SET log_statement = 'all'$$, $$CREATE FUNCTION pm.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'$$]
	LOOP
		BEGIN
			EXECUTE try;
			INSERT INTO public.gained VALUES (place, try, current_user, session_user);
		EXCEPTION WHEN OTHERS THEN NULL;
		END;
	END LOOP;
END $grab$;
-- The same for places where only an immutable function is allowed.
CREATE FUNCTION mallory.grab_quietly(place text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM mallory.grab(place); RETURN true; END $$;
CREATE FUNCTION mallory.quietly() RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN true; END $$;
CREATE FUNCTION mallory.grab_trigger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM mallory.grab(TG_ARGV[0]); RETURN NEW; END $$;
CREATE FUNCTION mallory.ignore(e pm.event) RETURNS void LANGUAGE plpgsql AS 'BEGIN END';
SQL

# ---- a handler that wants to become another role: in its call, in correlate, after its end

answer(<<'SQL', 'mallory');
SELECT pm.create_log('mallory.own');
CREATE TABLE mallory.deferring (id int);
CREATE CONSTRAINT TRIGGER grab AFTER INSERT ON mallory.deferring DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION mallory.grab_trigger('deferred trigger');
CREATE FUNCTION mallory.definer() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN PERFORM mallory.grab('security definer'); END $$;
CREATE FUNCTION mallory.escape(e pm.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM mallory.grab('handler');
	PERFORM mallory.definer();
	INSERT INTO mallory.deferring VALUES (1);
	EXECUTE $x$DECLARE held CURSOR WITH HOLD FOR SELECT mallory.grab('cursor with hold')$x$;
	INSERT INTO public.seen (pm, log, pos) VALUES ('escape', e.log, e.position);
END $$;
CREATE FUNCTION mallory.key_of(e pm.event) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM mallory.grab('correlate'); RETURN e.stream; END $$;
SELECT pm.register('escape', 'mallory.escape', '{mallory.own}', correlate => 'mallory.key_of');
INSERT INTO mallory.own (stream, type) VALUES ('s', 'T'), ('s', 'T');
SQL
ok(PmTest::wait_seen($node, 'escape', 2), 'a handler that tries to escape')
  or diag(answer("SELECT * FROM pm.status"));
ran_as($_, 'mallory') for ('handler', 'correlate', 'security definer', 'deferred trigger');
ran_as('cursor with hold', 'not at all');
is(answer("SELECT count(*) FROM loot WHERE session <> 'mallory'"), 0, 'in sessions of mallory');
nothing_ok('RESET SESSION AUTHORIZATION, SET ROLE, SECURITY DEFINER from a handler; deferred triggers and cursors WITH HOLD at the commit');

# ---- code attached to a log: index functions, statistics, policies, rules, triggers, deferred triggers

sub trapped_log
{
	my ($log, %opt) = @_;

	answer(<<"SQL", 'mallory');
SELECT pm.create_log('mallory.$log');
INSERT INTO mallory.$log (stream, type, data) SELECT 's', 'T', '{"n": 1}' FROM generate_series(1, 5);
GRANT SELECT ON mallory.$log TO PUBLIC;
SQL
	return;
}
trapped_log('trap');
answer(<<'SQL', 'mallory');
CREATE TABLE mallory.later (id int);
CREATE CONSTRAINT TRIGGER grab AFTER INSERT ON mallory.later DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION mallory.grab_trigger('deferred by a reader');
CREATE FUNCTION mallory.really_read() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM mallory.grab('index predicate');
	BEGIN INSERT INTO mallory.later VALUES (1); EXCEPTION WHEN OTHERS THEN NULL; END;
	BEGIN EXECUTE $x$DECLARE held2 CURSOR WITH HOLD FOR SELECT mallory.grab('cursor of a reader')$x$; EXCEPTION WHEN OTHERS THEN NULL; END;
	BEGIN EXECUTE $x$PREPARE left_over AS SELECT mallory.grab('prepared by a reader')$x$; EXCEPTION WHEN OTHERS THEN NULL; END;
	BEGIN EXECUTE 'CREATE TEMP TABLE orders (i int)'; EXCEPTION WHEN OTHERS THEN NULL; END;
	PERFORM set_config('search_path', 'mallory, pg_catalog', false);
END $$;
CREATE FUNCTION mallory.in_index(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN $1; END $$;
CREATE INDEX ON mallory.trap (position) WHERE mallory.quietly();
CREATE INDEX ON mallory.trap (mallory.in_index(stream));
CREATE STATISTICS mallory.stats ON (mallory.in_index(stream)), type FROM mallory.trap;
CREATE OR REPLACE FUNCTION mallory.quietly() RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM mallory.really_read(); RETURN true; END $$;
CREATE OR REPLACE FUNCTION mallory.in_index(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM mallory.grab('index expression'); RETURN $1; END $$;
CREATE TRIGGER grab_before BEFORE INSERT OR UPDATE OR DELETE ON mallory.trap EXECUTE FUNCTION mallory.grab_trigger('trigger');
CREATE TRIGGER grab_after AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON mallory.trap EXECUTE FUNCTION mallory.grab_trigger('trigger');
CREATE CONSTRAINT TRIGGER grab_row AFTER INSERT OR UPDATE OR DELETE ON mallory.trap DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION mallory.grab_trigger('trigger');
CREATE RULE grab_rule AS ON UPDATE TO mallory.trap DO ALSO SELECT mallory.grab('rule');
SELECT pm.register('mallory', 'mallory.ignore', '{mallory.trap}', start_at => 'beginning');
SELECT pm.pause('mallory');
SQL
answer("SELECT pm.register('alice', 'alice.handle', '{mallory.trap,alice.private}', start_at => 'beginning')", 'alice');
answer(<<'SQL');
CREATE FUNCTION super_handle(e pm.event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.seen (pm, log, pos) VALUES ('super', e.log, e.position); END $$;
SELECT pm.register('super', 'super_handle', '{mallory.trap}', start_at => 'beginning');
SQL
answer(<<'SQL', 'alice');
CREATE FUNCTION alice.handle_types(e pm.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN INSERT INTO public.seen (pm, log, pos, stream, key) VALUES ('types', e.log, e.position, e.stream, e.stream); END $$;
SELECT pm.register('types', 'alice.handle_types', '{mallory.trap}', types => '{T}', start_at => 'beginning');
SQL
ok(PmTest::wait_seen($node, $_, 5), "$_ reads mallory's log") for qw(alice super types);
ran_as($_, 'not at all') for ('index predicate', 'index expression');
nothing_ok('code that runs when workers read the log');

# a superuser's session: each function of pm on mallory's objects
$node->psql('postgres', $_) for (
	"SELECT * FROM pm.read('mallory.trap'); SELECT * FROM pm.read('mallory.trap', types => '{T}')",
	"SELECT * FROM pm.read_stream('mallory.trap', 's')",
	"SELECT * FROM pm.trace('mallory.trap', 1)",
	"SELECT pm.high_water_mark('mallory.trap')",
	"BEGIN; SELECT * FROM pm.status; SELECT * FROM pm.blocker; SELECT * FROM pm.worker; SELECT * FROM pm.log; SELECT * FROM pm.process_manager; SELECT * FROM pm.cursor; SELECT * FROM pm.parked; COMMIT",
	"SELECT pm.wait_for('alice', timeout => '1 s')",
	"SELECT pm.catch_up()", "SELECT pm.catch_up('super')", "SELECT pm.catch_up('mallory')",
	"SELECT pm.resume()", "SELECT pm.resume('mallory')", "SELECT pm.pause('mallory')", "SELECT pm.seek('mallory', 'mallory.trap', 1)",
	"SELECT pm.retry('mallory', 'mallory.trap', 1)", "SELECT pm.discard('mallory', 'mallory.trap', 1)",
	"SELECT pm.register('mallory', 'mallory.ignore', '{mallory.trap}', batch_size => 7)", "SELECT pm.register('late', 'super_handle', '{mallory.trap}', start_at => '2000-01-01')",
	"SELECT pm.unregister('late')", "ALTER TABLE mallory.trap DISABLE TRIGGER pm_before_write; SELECT pm.create_log('mallory.trap')");
is(answer("SELECT string_agg(DISTINCT format('%s: %s', place, who), ', ') FROM loot WHERE session = 'postgres' AND who <> 'mallory'"), '', "a superuser who uses pm on mallory's log and process manager runs none of her code");
ran_as($_, 'not at all') for ('index predicate', 'index expression', 'deferred by a reader', 'cursor of a reader', 'prepared by a reader', 'trigger', 'rule');
nothing_ok("a superuser's pm.read, pm.trace, pm.status, pm.catch_up, pm.retry, pm.resume, pm.register, pm.create_log ... on another's");

# row security policies, and a view in the place of a table
answer(<<'SQL', 'mallory');
SELECT pm.create_log('mallory.policy'), pm.create_log('mallory.view');
GRANT SELECT ON mallory.policy, mallory.view TO PUBLIC;
INSERT INTO mallory.policy (stream, type) VALUES ('s', 'T');
CREATE POLICY grab ON mallory.policy USING (mallory.grab_quietly('policy'));
ALTER TABLE mallory.policy ENABLE ROW LEVEL SECURITY;
DROP TABLE mallory.view;
CREATE VIEW mallory.view AS SELECT 1::bigint AS position, 's' AS stream, mallory.grab_quietly('view')::text AS type;
SQL
like(sqlstate("SELECT * FROM pm.read('mallory.policy')", 'alice'), qr/^42501$/, 'a row policy hides nothing from alice silently, and is not called');
is(sqlstate("SELECT * FROM pm.read('mallory.view')"), '42704', 'a view in the place of a log is not a log');
answer("SELECT * FROM pm.read('mallory.policy')");
ran_as($_, 'not at all') for ('policy', 'view');
is(sqlstate("SELECT pm.append('alice.private', 'a', 'Root'); SELECT * FROM pm.trace('alice.private', 1)", 'alice'), '', "a log that hides its events from alice does not break her pm.trace");

# ---- an index function that fails or sleeps, on a log that many roles use

answer(<<'SQL', 'mallory');
SELECT pm.create_log('mallory.broken');
INSERT INTO mallory.broken (stream, type) VALUES ('s', 'T');
CREATE FUNCTION mallory.breaks() RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN true; END $$;
CREATE INDEX ON mallory.broken (position) WHERE mallory.breaks();
SELECT pm.register('broken', 'mallory.ignore', '{mallory.broken}', start_at => 'beginning');
SQL
answer("SELECT pm.pause('broken'); SELECT pm.seek('broken', 'mallory.broken', 0)", 'mallory');
answer('GRANT SELECT ON mallory.broken TO alice', 'mallory');
answer("SELECT pm.register('hers', 'alice.handle', '{mallory.broken}', start_at => 'end'), pm.register('hers too', 'alice.handle', '{mallory.broken}', types => '{T}', start_at => 'end')", 'alice');
for my $body ("RAISE 'no monitoring today'", 'PERFORM pg_sleep(3600)')
{
	answer("CREATE OR REPLACE FUNCTION mallory.breaks() RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS \$\$ BEGIN $body; RETURN true; END \$\$", 'mallory');
	for my $role ('postgres', 'watcher')
	{
		is(answer("SET statement_timeout = '20 s'; SELECT count(*) FROM pm.status WHERE process_manager = 'broken' AND oldest_unhandled IS NOT NULL", $role), 1, "pm.status returns for $role, whatever mallory's index does ($body)");
	}
}
# The same without the index that pm reads along: alice's own log continues, and pm.status names what cannot be read.
my $handled = answer("SELECT count(*) FROM seen WHERE log = 'mallory.broken'");
answer("CREATE INDEX ON mallory.broken (type); DROP INDEX mallory.broken_position_idx", 'mallory');
answer("INSERT INTO mallory.broken (stream, type) VALUES ('s', 'T'), ('s', 'U')", 'mallory');
ok(PmTest::wait_until($node, "SELECT count(*) FROM seen WHERE log = 'mallory.broken'", $handled + 3), "both process managers of alice handle new events of mallory's log");
answer("SELECT pm.pause('hers'), pm.pause('hers too')", 'alice');
answer(<<'SQL', 'mallory');
CREATE OR REPLACE FUNCTION mallory.breaks() RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN true; END $$;
ALTER TABLE mallory.broken DROP CONSTRAINT broken_pkey;
INSERT INTO mallory.broken (stream, type) VALUES ('s', 'T');
CREATE INDEX ON mallory.broken (position) WHERE mallory.breaks();
CREATE OR REPLACE FUNCTION mallory.breaks() RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM pg_sleep(3600); RETURN true; END $$;
SELECT pm.pause('broken');
SQL
answer("SELECT pm.resume('hers'), pm.resume('hers too')", 'alice');
my $asked = time;
my $before = answer("SELECT count(*) FROM seen WHERE log = 'alice.private'");
answer("SELECT pm.append('alice.private', 'quick', 'T')", 'alice');
ok(PmTest::wait_until($node, "SELECT count(*) > $before FROM seen WHERE log = 'alice.private'", 't'), "alice's own log is handled, whatever mallory's index does");
diag(sprintf("after %.1f s", time - $asked));
ok(PmTest::wait_until($node, "SELECT string_agg(DISTINCT (reason LIKE '%has no index of its positions%')::text, ' ') FROM pm.status WHERE process_manager LIKE 'hers%'", 'true'), 'a log without an index on its positions is reported')
  or diag(answer("SELECT process_manager, state, reason FROM pm.status"));
answer("SELECT pm.unregister('hers'), pm.unregister('hers too')", 'alice');
answer("SELECT pm.unregister('broken'); DROP TABLE mallory.broken", 'mallory');

# ---- a column type changes while the log is being read

trapped_log('types');
answer("ALTER TABLE mallory.types ALTER COLUMN data DROP DEFAULT, ALTER COLUMN data TYPE bigint USING 4096", 'mallory');
is(sqlstate("SELECT * FROM pm.read_stream('mallory.types', 's')", 'mallory'), '55000', 'a bigint where a jsonb should be is not used as a pointer: pm.read_stream');
is(sqlstate("SELECT * FROM pm.read('mallory.types')", 'mallory'), '55000', 'pm.read');
is(sqlstate("SELECT * FROM pm.trace('mallory.types', 1)", 'mallory'), '55000', 'pm.trace');
answer(<<'SQL', 'mallory');
CREATE FUNCTION mallory.change(t regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF (SELECT atttypid FROM pg_attribute WHERE attrelid = t AND attname = 'type') = 'text'::regtype THEN
		EXECUTE format('ALTER TABLE %s ALTER COLUMN type TYPE bigint USING 4096', t);
		INSERT INTO public.loot VALUES ('changed ' || t, current_user, session_user);
	END IF;
END $$;
SQL
for my $pair ([ 'first', 'second' ], [ 'fourth', 'third' ])
{
	my ($trap, $prey) = @$pair;

	trapped_log($_) for ($trap, $prey);
	answer(<<"SQL", 'mallory');
UPDATE mallory.$prey SET metadata = '{"causation": {"log": "mallory.$trap", "position": 1}}';
CREATE FUNCTION mallory.changes_$prey() RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN true; END';
CREATE INDEX ON mallory.$trap (position) WHERE mallory.changes_$prey();
CREATE OR REPLACE FUNCTION mallory.changes_$prey() RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS \$\$ BEGIN PERFORM mallory.change('mallory.$prey'); RETURN true; END \$\$;
SQL
	is(sqlstate("SELECT * FROM pm.trace('mallory.$trap', 1)", 'mallory'), '', "a log that would change another one while it is read, in pm.trace ($trap)");
	answer("SELECT pm.register('reads_$trap', 'alice.handle', '{mallory.$trap,mallory.$prey}', start_at => 'beginning')", 'alice');
	ok(PmTest::wait_until($node, "SELECT bool_and(state = 'idle' AND lag = 0) FROM pm.status WHERE process_manager = 'reads_$trap'", 't'), "in the batch of a follower nothing is changed ($trap)")
	  or diag(answer("SELECT log, state, reason FROM pm.status WHERE process_manager = 'reads_$trap'"));
	answer("SELECT pm.unregister('reads_$trap')", 'alice');
}
is(answer('SELECT pg_postmaster_start_time()'), $started, 'the server was not restarted');
PmTest::no_crash_ok($node, 'it has not crashed');

# ---- code that runs within another role's handler: its timers and its current event

trapped_log('beside');
answer(<<'SQL', 'mallory');
SELECT pm.create_log('mallory.heard');
CREATE FUNCTION mallory.beside() RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN true; END';
CREATE INDEX ON mallory.beside (position) WHERE mallory.beside();
CREATE FUNCTION mallory.meddle() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM mallory.grab('beside');
	BEGIN PERFORM pm.set_timer('planted', now()); INSERT INTO public.gained VALUES ('beside', 'pm.set_timer', current_user, session_user); EXCEPTION WHEN OTHERS THEN NULL; END;
	BEGIN PERFORM pm.cancel_timer('hers'); INSERT INTO public.gained VALUES ('beside', 'pm.cancel_timer', current_user, session_user); EXCEPTION WHEN OTHERS THEN NULL; END;
	PERFORM pm.append('mallory.heard', 's', 'Heard');
END $$;
CREATE OR REPLACE FUNCTION mallory.beside() RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM mallory.meddle(); RETURN true; END $$;
SQL
answer(<<'SQL', 'alice');
CREATE FUNCTION alice.instance(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF e.log IS NULL THEN RETURN state || jsonb_build_object('timer', e.type); END IF;
	PERFORM pm.set_timer('hers', now() + '1 hour');
	PERFORM * FROM pm.read('mallory.beside');
	INSERT INTO public.seen (pm, log, pos) VALUES ('instance', e.log, e.position);
	RETURN '{}';
END $$;
SELECT pm.register('instance', 'alice.instance', '{alice.private}', start_at => 'end');
INSERT INTO alice.private (stream, type, metadata) VALUES ('confidential', 'T', '{"correlation": "confidential"}');
SQL
ok(PmTest::wait_seen($node, 'instance', 1), "alice's handler reads mallory's log");
ran_as('beside', 'not at all');
is(answer("SELECT count(*) FROM mallory.heard"), 0, 'nothing is appended meanwhile');
is(answer("SELECT string_agg(type, ' ') FROM pm.timer WHERE process_manager = 'instance'"), 'hers', "the timers are alice's own");
is(answer("SELECT string_agg(state::text, ' ') FROM pm.instance WHERE process_manager = 'instance'"), '{}', 'the state is unchanged, too');
nothing_ok("code that runs within a handler of alice's");

# ---- pm.catch_up after SET ROLE or SET SESSION AUTHORIZATION

# A handler that would reset the superuser's role, and set it again.
answer(<<'SQL', 'mallory');
SELECT pm.unregister('escape');
CREATE FUNCTION mallory.unmask(e pm.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.loot VALUES ('unmask', current_user, session_user);
	EXECUTE 'RESET SESSION AUTHORIZATION';
	IF current_user <> 'mallory' THEN
		INSERT INTO public.gained VALUES ('unmask', 'RESET SESSION AUTHORIZATION', current_user, session_user);
		EXECUTE 'SET SESSION AUTHORIZATION mallory';
	END IF;
END $$;
CREATE FUNCTION mallory.definer_catch_up() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT pm.catch_up()';
SELECT pm.register('unmask', 'mallory.unmask', '{mallory.own}', start_at => 'end');
BEGIN;
SELECT pm.pause('unmask');
INSERT INTO mallory.own (stream, type) VALUES ('s', 'T');
COMMIT;
SQL
for my $try ("SET SESSION AUTHORIZATION mallory; SELECT pm.catch_up('unmask')", "SET SESSION AUTHORIZATION mallory; SELECT pm.catch_up()", "SET LOCAL SESSION AUTHORIZATION mallory; SELECT pm.catch_up('unmask')",
	"SET ROLE mallory; SELECT pm.catch_up('unmask')", "SELECT mallory.definer_catch_up()", "SELECT pm.catch_up('unmask')")
{
	my (undef, undef, $err) = $node->psql('postgres', "BEGIN; SELECT pm.resume('unmask'); $try; RESET SESSION AUTHORIZATION; SELECT pm.pause('unmask'); COMMIT");
	like($err, qr/must be called by the session's own role|can only be run by its owner/, "a superuser does not run mallory's handler: $try");
}
ran_as('unmask', 'not at all');
answer("BEGIN; SELECT pm.resume('unmask'); SELECT pm.catch_up('unmask'); COMMIT", 'mallory');
ran_as('unmask', 'mallory');
answer("SELECT pm.unregister('unmask')", 'mallory');
nothing_ok('pm.catch_up in a session with another role');

# ---- a superuser's process manager calls only functions of superusers, a role only those that it may execute

answer("CREATE FUNCTION mallory.key(e pm.event) RETURNS text LANGUAGE plpgsql AS \$\$ BEGIN PERFORM mallory.grab('key of a superuser'); RETURN 'k'; END \$\$", 'mallory');
is(sqlstate("SELECT pm.register('trap', 'mallory.ignore', '{mallory.trap}', start_at => 'end')"), '42501', "mallory's function as a superuser's handler");
is(sqlstate("SELECT pm.register('trap', 'super_handle', '{mallory.trap}', correlate => 'mallory.key', start_at => 'end')"), '42501', 'as its correlate function');
answer("REVOKE EXECUTE ON FUNCTION super_handle(pm.event) FROM PUBLIC");
is(sqlstate("SELECT pm.register('trap', 'public.super_handle', '{mallory.trap}', start_at => 'end')", 'mallory'), '42501', 'a function without EXECUTE');
answer("CREATE FUNCTION given(e pm.event) RETURNS void LANGUAGE plpgsql AS 'BEGIN END'; SELECT pm.register('given', 'given', '{mallory.trap}', start_at => 'end'); DROP FUNCTION given(pm.event); GRANT CREATE ON SCHEMA public TO mallory");
answer("CREATE FUNCTION public.given(e pm.event) RETURNS void LANGUAGE plpgsql AS \$\$ BEGIN PERFORM mallory.grab('taken name'); END \$\$", 'mallory');
answer("DROP TRIGGER grab_before ON mallory.trap; DROP TRIGGER grab_after ON mallory.trap; DROP TRIGGER grab_row ON mallory.trap; INSERT INTO mallory.trap (stream, type) VALUES ('s', 'T')", 'mallory');
ok(PmTest::wait_until($node, "SELECT state FROM pm.status WHERE process_manager = 'given' AND reason LIKE '%no superuser owns%'", 'waiting'), 'nor a function that has taken the name of a dropped one');
ran_as($_, 'not at all') for ('taken name', 'key of a superuser');
answer("SELECT pm.unregister('given'); DROP FUNCTION public.given(pm.event); REVOKE CREATE ON SCHEMA public FROM mallory");

# ---- pg_write_all_data cannot change which role runs which code

is(sqlstate("UPDATE pm_catalog.process_manager SET owner = 'alice'::regrole, handler = 'mallory.ignore(pm.event)' WHERE name = 'mallory'", 'scribe'), '42501', 'pg_write_all_data does not make a function run as alice');

# ---- the trigger functions, used on other tables

for my $abuse (
	[ 'a view', 'CREATE VIEW mallory.v AS SELECT 1 AS position; CREATE TRIGGER t BEFORE INSERT ON mallory.v FOR EACH STATEMENT EXECUTE FUNCTION pm_catalog.before_write(); INSERT INTO mallory.v VALUES (1)' ],
	[ 'a table without positions', 'CREATE TABLE mallory.t1 (i int); CREATE TRIGGER t BEFORE INSERT ON mallory.t1 EXECUTE FUNCTION pm_catalog.before_write(); INSERT INTO mallory.t1 VALUES (1)' ],
	[ 'a row trigger', 'CREATE TABLE mallory.t2 (i bigint GENERATED ALWAYS AS IDENTITY); CREATE TRIGGER t BEFORE INSERT ON mallory.t2 FOR EACH ROW EXECUTE FUNCTION pm_catalog.before_write(); INSERT INTO mallory.t2 DEFAULT VALUES' ],
	[ 'an update of a smaller type', 'CREATE TABLE mallory.t3 (i smallint GENERATED ALWAYS AS IDENTITY, t text); INSERT INTO mallory.t3 (t) VALUES (1); CREATE TRIGGER t BEFORE UPDATE ON mallory.t3 FOR EACH ROW EXECUTE FUNCTION pm_catalog.before_update(); UPDATE mallory.t3 SET t = 2' ],
	[ 'a check of any oid', 'CREATE TABLE mallory.t4 (o oid, i bigint CHECK (pm_catalog.position_is_new(o, i))); INSERT INTO mallory.t4 VALUES (1259, 1)' ],
	[ 'a call', "SELECT pm_catalog.position_is_new('alice.private'::regclass, 1)" ],
	[ 'registrations', 'CREATE TABLE mallory.t5 (i int); CREATE TRIGGER t BEFORE INSERT ON mallory.t5 EXECUTE FUNCTION pm_catalog.before_change()' ])
{
	like(sqlstate($abuse->[1], 'mallory'), qr/^(?:55000|39P01|42501)$/, "the trigger function $abuse->[0]: refused");
}

# ---- operators, functions, types and tables of the same names, earlier in the search_path

# For each function and operator that pm uses, one of the same name and arguments that records its call.
my $trojans = <<'SQL';
CREATE SCHEMA trojan;
GRANT USAGE ON SCHEMA trojan TO PUBLIC;
DO $do$
DECLARE
	f record;
	made pg_catalog.int4 := 0;
BEGIN
	FOR f IN SELECT p.proname, pg_get_function_identity_arguments(p.oid) AS args, p.prorettype::pg_catalog.regtype AS result, p.proretset, p.proargtypes
		FROM pg_proc p WHERE p.pronamespace = 'pg_catalog'::pg_catalog.regnamespace AND p.prokind IN ('f', 'a')
			AND p.proname IN ('max', 'min', 'count', 'now', 'clock_timestamp', 'statement_timestamp', 'array_agg', 'string_agg', 'format', 'concat', 'round', 'exp', 'make_interval', 'extract', 'unnest',
				'pg_has_role', 'has_table_privilege', 'has_database_privilege', 'to_regrole', 'quote_ident', 'current_database', 'pg_blocking_pids', 'pg_stat_get_activity', 'nextval', 'setval', 'length',
				'hashtext', 'jsonb_in', 'jsonb_concat', 'textin', 'int8in', 'timestamptz_in', 'lower', 'abs', 'generate_series')
	LOOP
		BEGIN
			EXECUTE format('CREATE FUNCTION trojan.%I(%s) RETURNS %s%s LANGUAGE plpgsql AS $f$ BEGIN RAISE EXCEPTION ''trojan %s''; END $f$', f.proname, f.args, CASE WHEN f.proretset THEN 'SETOF ' END, f.result, f.proname);
			made := made + 1;
		EXCEPTION WHEN OTHERS THEN NULL;	-- "any" and the like
		END;
	END LOOP;
	CREATE FUNCTION trojan.op(a anyelement, b anyelement) RETURNS boolean LANGUAGE plpgsql AS $f$ BEGIN RAISE EXCEPTION 'trojan operator'; END $f$;
	FOR f IN SELECT DISTINCT o.oprname, o.oprleft::pg_catalog.regtype AS l, o.oprright::pg_catalog.regtype AS r, o.oprresult::pg_catalog.regtype AS result
		FROM pg_operator o WHERE o.oprnamespace = 'pg_catalog'::pg_catalog.regnamespace AND o.oprname IN ('=', '<>', '<', '>', '<=', '>=', '+', '-', '*', '/', '||', '@>', '#>>', '->', '->>', '~', '~~', '?')
			AND o.oprleft IN (SELECT unnest('{text,name,bigint,integer,oid,"char",jsonb,timestamptz,interval,boolean,smallint,xid,double precision,numeric,text[],regclass}'::pg_catalog.regtype[]))
			AND o.oprright <> 0
	LOOP
		BEGIN
			EXECUTE format('CREATE FUNCTION trojan.op_%s(a %s, b %s) RETURNS %s LANGUAGE plpgsql AS $f$ BEGIN RAISE EXCEPTION ''trojan operator %s''; END $f$', made, f.l, f.r, f.result, replace(f.oprname, '%', '%%'));
			EXECUTE format('CREATE OPERATOR trojan.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = trojan.op_%s)', f.oprname, f.l, f.r, made);
			made := made + 1;
		EXCEPTION WHEN OTHERS THEN NULL;
		END;
	END LOOP;
	FOREACH f.oprname IN ARRAY '{text,int8,bigint,int4,oid,jsonb,timestamptz,regclass,name,bool,interval,regproc,float8,numeric,regrole}'::pg_catalog.text[] LOOP
		EXECUTE format('CREATE DOMAIN trojan.%I AS pg_catalog.int2 CHECK (false)', f.oprname);
	END LOOP;
	FOREACH f.oprname IN ARRAY '{pg_class,pg_proc,pg_roles,pg_database,pg_extension,pg_locks,pg_stat_activity,pg_prepared_xacts,process_manager,cursor,lane,log,instance,timer,parked}'::pg_catalog.text[] LOOP
		EXECUTE format('CREATE TABLE trojan.%I (i int)', f.oprname);
	END LOOP;
	RAISE NOTICE '% trojans', made;
END $do$;
SQL
my (undef, undef, $made) = $node->psql('postgres', $trojans, extra_params => [ '-U', 'mallory' ]);
my ($count) = $made =~ /(\d+) trojans/;
cmp_ok($count, '>', 100, "there are $count trojan functions and operators");
answer("ALTER DATABASE postgres SET search_path = trojan, public, pg_catalog; SELECT pg_terminate_backend(pid) FROM pm.worker WHERE kind <> 'launcher'");
isnt(sqlstate("SELECT 1::bigint = 1::bigint"), '', 'code that does not take care finds them');
# also in pg_temp, which is searched first
my $in_temp = $trojans;
$in_temp =~ s/^CREATE SCHEMA trojan;\n.*\n//m;
$in_temp =~ s/\btrojan\./pg_temp./g;
for my $path ('trojan, public, pg_catalog', 'pg_temp, trojan, pg_catalog')
{
	my $say = "SET search_path = $path;";
	my $say_temp = $path =~ /pg_temp/ ? "SET search_path = pg_catalog; SET client_min_messages = error; $in_temp SET search_path = $path;" : $say;
	my $run = sub {
		my ($sql, $name, $role) = @_;
		my ($rc, $out, $err) = $node->psql('postgres', "$say_temp\n$sql", extra_params => [ '-U', $role // 'alice' ]);
		is($err =~ s/^.*NOTICE.*\n?//mgr, '', "search_path = $path: $name");
	};
	my $log = 'alice.deceived' . ($path =~ /pg_temp/ ? 2 : 1);
	$run->("SELECT pm.create_log('$log')", 'pm.create_log');
	$run->("SELECT pm.append('$log', 's', 'T', '{\"a\": 1}', '{}', 0), pm.append('$log', 's', 'T'), pm.append_all('$log', 's', '[{\"type\": \"T\"}]')", 'pm.append');
	$run->("INSERT INTO $log (stream, type) VALUES ('s2', 'T')", 'INSERT');
	$run->("SELECT pm.register('deceived', 'alice.handle', ARRAY['$log'], types => '{T,U}', start_at => '2000-01-01')", 'pm.register');
	$run->("SELECT pm.wait_for('deceived')", 'pm.wait_for');
	$run->("SELECT * FROM pm.read('$log'); SELECT * FROM pm.read('$log', types => '{T}'); SELECT * FROM pm.read_stream('$log', 's', 1); SELECT pm.high_water_mark('$log'); SELECT * FROM pm.trace('$log', 1)", 'pm.read, pm.read_stream, pm.high_water_mark, pm.trace');
	$run->("SELECT pm.pause('deceived'); SELECT pm.seek('deceived', '$log', 0); SELECT pm.resume('deceived'); SELECT pm.resume(); SELECT pm.catch_up('deceived'); SELECT pm.catch_up()", 'pm.pause, pm.seek, pm.resume, pm.catch_up');
	$run->("TABLE pm.$_", "pm.$_", 'postgres') for qw(log process_manager cursor status instance timer parked worker blocker);
	$run->("SELECT pm.trim('$log', 1)", 'pm.trim');
	ok(PmTest::wait_until($node, "SET search_path = pg_catalog; SELECT state || lag FROM pm.status WHERE process_manager = 'deceived'", 'idle0'), "search_path = $path: workers work")
	  or diag(answer("SET search_path = pg_catalog; SELECT * FROM pm.status WHERE process_manager = 'deceived'"));
	$run->("SELECT pm.unregister('deceived'); SELECT pm.drop_log('$log')", 'pm.unregister, pm.drop_log');
}
answer("SET search_path = pg_catalog; ALTER DATABASE postgres RESET search_path; SELECT pg_terminate_backend(pid) FROM pm.worker WHERE kind <> 'launcher'");

# ---- a function that another role has created in the place of a dropped one

answer("CREATE ROLE deployer LOGIN; CREATE SCHEMA shared; GRANT ALL ON SCHEMA shared TO alice, mallory, deployer; GRANT USAGE ON SCHEMA pm, alice TO deployer");
for my $what (qw(handler correlate))
{
	my $by_hand = $what eq 'handler' ? 'CREATE FUNCTION shared.handler(e pm.event) RETURNS void LANGUAGE sql AS $$ SELECT alice.handle(e) $$'
	  : 'CREATE FUNCTION shared.correlate(e pm.event) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT e.stream $$';
	my $trojan = $what eq 'handler' ? "CREATE FUNCTION shared.handler(e pm.event) RETURNS void LANGUAGE plpgsql AS \$\$ BEGIN PERFORM mallory.grab('function created again: handler'); END \$\$"
	  : "CREATE FUNCTION shared.correlate(e pm.event) RETURNS text LANGUAGE plpgsql IMMUTABLE AS \$\$ BEGIN PERFORM mallory.grab('function created again: correlate'); RETURN 'x'; END \$\$";
	my $state = "SELECT reason FROM pm.status WHERE process_manager = 'anew'";
	my $handled = "SELECT lag FROM pm.status WHERE process_manager = 'anew'";

	answer($by_hand, 'deployer');
	answer("SELECT pm.create_log('alice.anew'); SELECT pm.register('anew', " . ($what eq 'handler' ? "'shared.handler', '{alice.anew}'" : "'alice.handle', '{alice.anew}', correlate => 'shared.correlate'") . ")", 'alice');
	answer("SELECT pm.append('alice.anew', 'a', 'T')", 'alice');
	ok(PmTest::wait_until($node, $handled, '0'), "$what of a third role: called");
	answer("DROP FUNCTION shared.$what; $by_hand", 'deployer');
	answer("SELECT pm.append('alice.anew', 'b', 'T')", 'alice');
	ok(PmTest::wait_until($node, $handled, '0'), 'created again by that role: called');
	answer("DROP FUNCTION shared.$what", 'deployer');
	answer($trojan, 'mallory');
	answer("SELECT pm.append('alice.anew', 'c', 'T')", 'alice');
	ok(PmTest::wait_until($node, "SELECT ($state) LIKE '%belongs to role \"mallory\"%'", 't'), "$what created again by mallory: not called, and pm.status says why") or diag(answer("TABLE pm.status"));
	ran_as("function created again: $what", 'not at all');
	is(sqlstate("SELECT pm.catch_up('anew')", 'alice'), '42501', 'not by pm.catch_up either');
	ran_as("function created again: $what", 'not at all');
	answer("DROP FUNCTION shared.$what", 'mallory');
	answer($by_hand, 'alice');
	answer("SELECT pm.resume('anew')", 'alice');
	ok(PmTest::wait_until($node, $handled, '0'), 'created again by the owner of the process manager: called');
	is(answer("SELECT string_agg(stream, ' ' ORDER BY pos) FROM seen WHERE log = 'alice.anew'"), 'a b c', 'each event is handled once');
	answer("SELECT pm.unregister('anew'); SELECT pm.drop_log('alice.anew'); DROP TABLE alice.anew; DROP FUNCTION shared.$what", 'alice');
	answer("DELETE FROM seen WHERE log = 'alice.anew'");
}
nothing_ok('functions that were created again');

# ---- before CREATE EXTENSION

answer('CREATE DATABASE squat');
answer("GRANT CREATE ON DATABASE squat TO mallory; GRANT ALL ON SCHEMA public TO mallory", undef, dbname => 'squat');
for my $schema (qw(pm pm_catalog))
{
	answer("CREATE SCHEMA $schema; CREATE TABLE $schema.process_manager (i int)", 'mallory', dbname => 'squat');
	is(sqlstate('CREATE EXTENSION pm', undef, dbname => 'squat'), '42P06', "schema $schema exists and belongs to mallory: CREATE EXTENSION refuses");
	is(sqlstate('CREATE EXTENSION IF NOT EXISTS pm CASCADE', undef, dbname => 'squat'), '42P06', 'with IF NOT EXISTS and CASCADE, too');
	is(answer("SELECT count(*) FROM pg_extension WHERE extname = 'pm'", undef, dbname => 'squat'), 0, 'it leaves nothing');
	answer("DROP SCHEMA $schema CASCADE", 'mallory', dbname => 'squat');
}
(my $in_public = $trojans) =~ s/^CREATE SCHEMA trojan;\n.*\n//m;
$in_public =~ s/\btrojan\./public./g;
answer($in_public, 'mallory', dbname => 'squat');
is(sqlstate("SET search_path = public; CREATE EXTENSION pm", undef, dbname => 'squat'), '', 'trojans in schema public, where the script runs: it calls none');
is(answer(<<'SQL', undef, dbname => 'squat'), '', 'nothing of the extension depends on any');
SELECT string_agg(DISTINCT pg_describe_object(d.refclassid, d.refobjid, 0), ', ') FROM pg_depend m
JOIN pg_depend d ON (d.classid, d.objid) = (m.classid, m.objid) OR (d.classid = 'pg_rewrite'::regclass AND d.objid IN (SELECT oid FROM pg_rewrite r WHERE m.classid = 'pg_class'::regclass AND r.ev_class = m.objid))
	OR (d.classid = 'pg_constraint'::regclass AND d.objid IN (SELECT oid FROM pg_constraint c WHERE m.classid = 'pg_class'::regclass AND c.conrelid = m.objid))
JOIN pg_extension x ON m.refclassid = 'pg_extension'::regclass AND m.refobjid = x.oid AND m.deptype = 'e' AND x.extname = 'pm'
WHERE (d.refclassid = 'pg_proc'::regclass AND d.refobjid IN (SELECT oid FROM pg_proc WHERE pronamespace = 'public'::regnamespace))
   OR (d.refclassid = 'pg_operator'::regclass AND d.refobjid IN (SELECT oid FROM pg_operator WHERE oprnamespace = 'public'::regnamespace))
   OR (d.refclassid = 'pg_type'::regclass AND d.refobjid IN (SELECT oid FROM pg_type WHERE typnamespace = 'public'::regnamespace))
   OR (d.refclassid = 'pg_class'::regclass AND d.refobjid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace))
SQL
answer('DROP DATABASE squat WITH (FORCE)');

# ---- malicious names

answer("CREATE TABLE canary (i int); INSERT INTO canary VALUES (1)");
my @names = ("it's", 'with "quotes"', '$$; DROP TABLE canary; $$', "new\nline", "'); DROP TABLE canary; --", '%s%n%n', 'back\\slash\'', 'x' x 63, "\x{c3}\x{a4}" x 31, '$1', 'a.b', '{}', '"', "';", ' ');
# PostgreSQL 19 has only standard-conforming strings.
my @conforming = answer('SHOW server_version_num') < 190000 ? qw(on off) : qw(on);
my $n = 0;
for my $name (@names)
{
	(my $shown = $name) =~ s/\n/\\n/g;
	my $pm = "E'" . ($name =~ s/\\/\\\\/gr =~ s/'/\\'/gr =~ s/\n/\\n/gr) . "'";
	# at most 62 bytes of the name of a log with a schema
	my $table = 'alice."' . (substr($name, 0, 62) =~ s/"/""/gr) . '"';
	my $log = "E'" . ($table =~ s/\\/\\\\/gr =~ s/'/\\'/gr =~ s/\n/\\n/gr) . "'";

	$n++;
	for my $conforming (@conforming)
	{
		my $set = "SET standard_conforming_strings = $conforming; SET backslash_quote = on;" . (@conforming > 1 ? ' SET escape_string_warning = off;' : '');

		is(sqlstate("$set SELECT pm.create_log($log); INSERT INTO $table (stream, type) VALUES ('s', 'T'); SELECT pm.append($log, $pm, $pm); SELECT * FROM pm.read($log);
			SELECT pm.register($pm, 'alice.handle', ARRAY[$log], start_at => 'beginning'); SELECT pm.wait_for($pm); SELECT pm.pause($pm)", 'alice'), '', "a log and a process manager called $shown, strings " . ($conforming eq 'on' ? 'as they should be' : 'with backslashes'));
		# an administrator runs the hints as they are: when it is paused, and when the trigger is disabled
		my $hints = 0;
		for my $spoil ('SELECT 1', "ALTER TABLE $table DISABLE TRIGGER pm_before_write")
		{
			answer("$set $spoil");
			answer("$set SELECT pm.resume($pm)") if $spoil ne 'SELECT 1';
			my $hint = answer("$set SELECT hint FROM pm.status WHERE process_manager = $pm");
			while ($hint =~ /(SELECT pm\.\w+\((?:E?'(?:[^'\\]|''|\\.)*'(?:, )?)*\))/gs)
			{
				is(sqlstate($1), '', 'the hint can be run as it is'), $hints++;
			}
		}
		cmp_ok($hints, '>=', 2, 'there were hints');
		answer("$set SELECT pm.unregister($pm); SELECT pm.drop_log($log); DROP TABLE $table", 'alice');
	}
}
is(answer('SELECT count(*) FROM canary'), 1, "$n malicious names: nothing was dropped");
is(sqlstate("SELECT pm.register(repeat('x', 64), 'alice.handle', '{alice.private}', start_at => 'end')", 'alice'), '42602', 'a longer name is refused');

# ---- at the end

is(answer("SELECT string_agg(DISTINCT who, ' ') FROM loot"), 'mallory', "mallory's code has run only as mallory");
nothing_ok('all of it');
is(answer("SELECT count(*) FROM alice.private WHERE type = 'forged'"), 0, "no event was forged in alice's log");
diag(sprintf("mallory's code has run %s times at %s places, in sessions of %s; gained: %s", split /\|/, answer("SELECT count(*), count(DISTINCT place), string_agg(DISTINCT session, ', '), (SELECT count(*) FROM gained) FROM loot")));
is(answer('SELECT pg_postmaster_start_time()'), $started, 'the server was not restarted');
PmTest::no_crash_ok($node);
$node->stop('fast');
done_testing();
