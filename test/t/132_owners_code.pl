# P6: code that an owner attaches to a log's table does not run in the sessions of other roles and takes no time there:
# reading and trimming go along an index, without a query. Code that a DELETE would run is only run for the owner.
use strict;
use warnings FATAL => 'all';

use PmTest;
use Test::More;

my $node = PmTest::node('owners_code', conf => "pm.poll_interval = '200ms'\nmax_connections = 40\n");

sub ask
{
	my ($sql, $role) = @_;
	my (undef, $out, $err) = $node->psql('postgres', "SET statement_timeout = '120 s';\n$sql", extra_params => $role ? [ '-U', $role ] : []);

	return ($out, $err);
}

sub answer
{
	my ($out, $err) = ask(@_);

	die "$_[0]\n$err" if $err =~ /ERROR|FATAL/;
	return $out;
}

answer(<<'SQL');
CREATE ROLE alice LOGIN;
CREATE ROLE mallory LOGIN;
GRANT USAGE ON SCHEMA pm TO alice, mallory;
CREATE SCHEMA mallory AUTHORIZATION mallory;
CREATE SCHEMA alice AUTHORIZATION alice;
GRANT USAGE ON SCHEMA mallory TO alice;
CREATE TABLE loot (place text, who text, session text);
GRANT INSERT, SELECT ON loot TO PUBLIC;
SQL
PmTest::create_seen($node);
answer(<<'SQL', 'alice');
SELECT pm.create_log('alice.own');
CREATE FUNCTION alice.handle(e pm.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN INSERT INTO public.seen (pm, log, pos, stream) VALUES ('alice', e.log, e.position, e.stream); END $$;
CREATE FUNCTION alice.handle_types(e pm.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN INSERT INTO public.seen (pm, log, pos, stream) VALUES ('types', e.log, e.position, e.stream); END $$;
SQL

# A log whose index predicate does harm to a session that plans a query over it.
answer(<<'SQL', 'mallory');
SELECT pm.create_log('mallory.trap');
INSERT INTO mallory.trap (stream, type, metadata) SELECT 's' || i % 2, chr(97 + i % 3), '{"causation": {"log": "mallory.trap", "position": 1}}' FROM generate_series(1, 9) i;
SELECT pm.append('mallory.trap', 'versions', 'a', metadata => '{"causation": {"log": "mallory.trap", "position": 2}}') FROM generate_series(1, 3);
GRANT SELECT, DELETE ON mallory.trap TO alice;
CREATE FUNCTION mallory.harm(place text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.loot VALUES (place, current_user, session_user);
	PERFORM pg_advisory_unlock_all();
	BEGIN EXECUTE 'FETCH 1 FROM readers'; EXCEPTION WHEN OTHERS THEN NULL; END;
END $$;
CREATE FUNCTION mallory.predicate() RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN true; END';
CREATE INDEX ON mallory.trap (position) WHERE mallory.predicate();
CREATE OR REPLACE FUNCTION mallory.predicate() RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM mallory.harm('predicate'); RETURN true; END $$;
CREATE INDEX ON mallory.trap USING gin (metadata jsonb_path_ops);
SQL
for my $role ('postgres', 'alice')
{
	for my $read ("count(*) FROM pm.read('mallory.trap')", "count(*) FROM pm.read('mallory.trap', types => '{b}')", "count(*) FROM pm.read_stream('mallory.trap', 's1')",
		"count(*) FROM pm.trace('mallory.trap', 1)", "pm.high_water_mark('mallory.trap')", "count(*) FROM pm.status", "count(*) FROM pm.blocker")
	{
		my ($out, $err) = ask(<<"SQL", $role);
BEGIN;
SELECT pg_advisory_lock(7);
DECLARE readers CURSOR FOR SELECT generate_series(1, 3);
SELECT $read;
FETCH 1 FROM readers;
SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory';
SHOW enable_seqscan;
COMMIT;
SQL
		like($out, qr/\A\n?\d+\n1\n1\non\z/, "$role: $read: cursors, advisory locks and settings are the reader's own") or diag($err);
	}
}
is(answer('SELECT count(*) FROM loot'), 0, "no code of mallory's has run");

# The functions read the right events.
is(answer("SELECT string_agg(position::text, ' ') FROM pm.read('mallory.trap', 3, 4)", 'alice'), '4 5 6 7', 'pm.read');
is(answer("SELECT string_agg(position::text, ' ') FROM pm.read('mallory.trap', max_count => 2, types => '{b,nosuch,NULL}')", 'alice'), '1 4', 'pm.read with types and max_count');
is(answer("SELECT string_agg(position::text, ' ') FROM pm.read('mallory.trap', max_count => 0)", 'alice'), '', 'pm.read with types that do not occur');
is(answer("SELECT string_agg(version || ':' || position, ' ') FROM pm.read_stream('mallory.trap', 'versions', 1)", 'alice'), '2:11 3:12', 'pm.read_stream by version');
is(answer("SELECT string_agg(position::text, ' ') FROM pm.read_stream('mallory.trap', 's1')", 'alice'), '1 3 5 7 9', 'pm.read_stream for events without a version');
is(answer("SELECT string_agg(position::text, ' ') FROM pm.read_stream('mallory.trap', 's1', 1)", 'alice'), '', 'they come only at the beginning of the stream');
is(answer("SELECT string_agg(depth || ':' || position, ' ') FROM pm.trace('mallory.trap', 1)", 'alice'), '0:1 1:2 1:3 1:4 1:5 1:6 1:7 1:8 1:9 2:10 2:11 2:12', 'pm.trace with the index on the metadata');
answer('DROP INDEX mallory.trap_metadata_idx; ALTER TABLE mallory.trap DROP CONSTRAINT trap_stream_version_key', 'mallory');
is(answer("SELECT string_agg(depth || ':' || position, ' ') FROM pm.trace('mallory.trap', 1)", 'alice'), '0:1 1:2 1:3 1:4 1:5 1:6 1:7 1:8 1:9 2:10 2:11 2:12', 'pm.trace without that index');
is(answer("SELECT string_agg(version || ':' || position, ' ') FROM pm.read_stream('mallory.trap', 'versions', 1, 1)", 'alice'), '2:11', 'pm.read_stream without an index of the streams');
is(answer("SELECT string_agg(position::text, ' ') FROM pm.read_stream('mallory.trap', 's1')", 'alice'), '1 3 5 7 9', 'also for events without a version');
is(answer("BEGIN; INSERT INTO alice.own (stream, type) VALUES ('mine', 'T'); SELECT count(*) FROM pm.read_stream('alice.own', 'mine'); ROLLBACK", 'alice'), 1, 'pm.read_stream shows what the caller has written');

# A predicate of built-in functions that the planner would compute slowly each time.
answer(<<'SQL', 'mallory');
SELECT pm.create_log('mallory.slow');
GRANT SELECT ON mallory.slow TO alice;
INSERT INTO mallory.slow (stream, type) VALUES ('s', 'T');
DO $$ BEGIN EXECUTE (SELECT 'CREATE INDEX ON mallory.slow (type) WHERE ' || string_agg('factorial(12000 - ' || i || ') > 0', ' AND ') FROM generate_series(1, 2) i); END $$;
SQL
answer("SELECT pm.register('alice', 'alice.handle', '{alice.own}', start_at => 'end'), pm.register('types', 'alice.handle_types', '{mallory.slow,mallory.trap}', types => '{T,a}', start_at => '2000-01-01')", 'alice');
answer("SELECT pm.append('alice.own', 's', 'T')", 'alice');
ok(PmTest::wait_seen($node, 'alice', 1), "alice's own log is handled");
ok(PmTest::wait_seen($node, 'types', 7), 'pm.read with types, for logs with such an index');
my $took = 0;
for (1 .. 5)
{
	my ($seconds, undef, $out) = PmTest::timed_psql($node, "SELECT count(*) FROM pm.read('mallory.slow', types => '{T}')", user => 'alice');
	is($out, 1, 'pm.read');
	$took += $seconds;
}
cmp_ok($took, '<', 2, sprintf('soon: five times in %.2f s', $took));
is(answer('SELECT count(*) FROM loot'), 0, "no code of mallory's has run");

# pm.trim deletes along an index: no code of the owner's runs, and the session is unchanged.
my $disturbed = 'FETCH 1 FROM readers; SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = \'advisory\'';
my $trims = sub {
	my ($trim) = @_;
	return "BEGIN; SELECT pg_advisory_lock(7); DECLARE readers CURSOR FOR SELECT generate_series(1, 3); SELECT $trim; $disturbed; COMMIT";
};
answer("SELECT pm.unregister('types')", 'alice');
answer(<<'SQL', 'mallory');
CREATE INDEX ON mallory.trap ((mallory.predicate()));
CREATE STATISTICS mallory.stats ON (mallory.predicate()), (position + 1) FROM mallory.trap;
SQL
answer('TRUNCATE loot');
for my $role ('postgres', 'alice')
{
	my ($out, $err) = ask($trims->("pm.trim('mallory.trap', 100, 2)"), $role);
	like($out, qr/\A\n?2\n1\n1\z/, "pm.trim by $role: cursors and advisory locks are the trimmer's own") or diag($err);
}
is(answer('SELECT count(*) FROM loot'), 0, "no code of mallory's has run");
is(answer("SELECT string_agg(position::text, ' ') FROM pm.read('mallory.trap', max_count => 2)", 'alice'), '5 6', 'the oldest events are gone');

# Code that a DELETE would run is only run for the owner.
answer(<<'SQL', 'mallory');
CREATE FUNCTION mallory.trigger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM mallory.harm('trigger'); RETURN OLD; END $$;
CREATE TABLE mallory.refers (position bigint REFERENCES mallory.trap);
SQL
my %attach = (
	'a trigger' => [ 'CREATE TRIGGER t BEFORE DELETE ON mallory.trap FOR EACH ROW EXECUTE FUNCTION mallory.trigger()', 'DROP TRIGGER t ON mallory.trap', 'has trigger "t" for DELETE' ],
	'a trigger of statements' => [ 'CREATE TRIGGER t AFTER DELETE OR INSERT ON mallory.trap FOR EACH STATEMENT EXECUTE FUNCTION mallory.trigger()', 'DROP TRIGGER t ON mallory.trap', 'has trigger "t" for DELETE' ],
	'a trigger of replicas' => [ 'CREATE TRIGGER t AFTER DELETE ON mallory.trap FOR EACH ROW EXECUTE FUNCTION mallory.trigger(); ALTER TABLE mallory.trap ENABLE REPLICA TRIGGER t', 'DROP TRIGGER t ON mallory.trap', 'has trigger "t" for DELETE' ],
	'a deferred trigger' => [ 'CREATE CONSTRAINT TRIGGER t AFTER DELETE ON mallory.trap DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION mallory.trigger()', 'DROP TRIGGER t ON mallory.trap', 'has trigger "t" for DELETE' ],
	'a rule' => [ 'CREATE RULE r AS ON DELETE TO mallory.trap DO INSTEAD SELECT mallory.harm(\'rule\')', 'DROP RULE r ON mallory.trap', 'has a rule for DELETE' ],
);
for my $what ("a foreign key that refers to it", sort keys %attach)
{
	my ($attach, $off, $why) = @{ $attach{$what} // [ 'SELECT 1', 'DROP TABLE mallory.refers', 'foreign key of table "refers"' ] };

	answer($attach, 'mallory');
	for my $role ('postgres', 'alice')
	{
		my ($out, $err) = ask($trims->("pm.trim('mallory.trap', 100, 1)"), $role);
		like($err, qr/can only be trimmed by the owner of its table\nDETAIL:  .*$why.*\nHINT:  Connect as "mallory"/, "$what: refused to $role");
	}
	answer($off, 'mallory');
}
is(answer("SELECT (SELECT count(*) FROM loot WHERE session <> 'mallory'), (SELECT count(*) FROM pm.read('mallory.trap'))"), '0|8', 'none of it has run, and nothing was deleted');
answer('TRUNCATE loot');
answer('CREATE TRIGGER t BEFORE DELETE ON mallory.trap FOR EACH ROW EXECUTE FUNCTION mallory.trigger()', 'mallory');
is(answer("SELECT pm.trim('mallory.trap', 100, 2)", 'mallory'), 2, 'the owner can trim the log');
is(answer("SELECT DISTINCT place || ' ' || who || ' ' || session FROM loot WHERE place = 'trigger'"), 'trigger mallory mallory', 'the trigger runs as the owner');
answer('ALTER TABLE mallory.trap DISABLE TRIGGER t', 'mallory');
is(answer("SELECT pm.trim('mallory.trap', 100, 1)"), 1, 'a disabled trigger does not matter');
answer('REVOKE DELETE ON mallory.trap FROM alice', 'mallory');
like((ask("SELECT pm.trim('mallory.trap', 100, 2)", 'alice'))[1], qr/permission denied/, "pm.trim needs the caller's right, too");

# What a DELETE checks and does besides: for a publication of deletes it needs a replica identity.
answer(<<'SQL', 'mallory');
SELECT pm.create_log('mallory.no_identity');
INSERT INTO mallory.no_identity (stream, type) VALUES ('s', 'T');
SQL
answer('ALTER TABLE mallory.no_identity REPLICA IDENTITY NOTHING; CREATE PUBLICATION p FOR TABLE mallory.no_identity');
like((ask("SELECT pm.trim('mallory.no_identity', 1)"))[1], qr/does not have a replica identity and publishes deletes/, 'a published log without a replica identity is refused, as with DELETE');
answer("DROP PUBLICATION p; SELECT pm.drop_log('mallory.no_identity'); DROP TABLE mallory.no_identity");

# A virtual generated column would be read as NULL from the table, and computed by the owner's expression.
SKIP:
{
	skip 'virtual generated columns come with PostgreSQL 18', 3 if answer('SHOW server_version_num') < 180000;
	answer(<<'SQL', 'mallory');
SELECT pm.create_log('mallory.virtual');
GRANT SELECT ON mallory.virtual TO alice;
SELECT pm.append('mallory.virtual', 's', 'T');
ALTER TABLE mallory.virtual DROP COLUMN metadata;
ALTER TABLE mallory.virtual ADD COLUMN metadata jsonb GENERATED ALWAYS AS ('{"owner": "says so"}'::jsonb) VIRTUAL;
SQL
	for my $call ("SELECT * FROM pm.read('mallory.virtual')", "SELECT * FROM pm.read_stream('mallory.virtual', 's')", "SELECT pm.register('virtual', 'alice.handle', '{mallory.virtual}', start_at => 'beginning')")
	{
		like((ask($call, 'alice'))[1], qr/virtual generated column|not of the type that it must have/, "a virtual generated column is refused: $call");
	}
	answer("SELECT pm.drop_log('mallory.virtual'); DROP TABLE mallory.virtual", 'mallory');
}

# Checking the sequence of a copied log runs no code of its owner.
answer(<<'SQL', 'mallory');
CREATE OR REPLACE FUNCTION mallory.trigger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN OLD; END $$;
CREATE OR REPLACE FUNCTION mallory.predicate() RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM pg_sleep(3600); RETURN true; END $$;
SQL
answer("TRUNCATE loot; UPDATE pm_catalog.log SET system_identifier = 1; UPDATE pm_catalog.process_manager SET system_identifier = 1; SELECT pg_terminate_backend(pid) FROM pm.worker WHERE kind <> 'launcher'");
is(answer("SELECT count(*) FROM pm.status"), 1, 'pm.status of a copy returns');
is(answer('SELECT pm.resume()'), '', 'pm.resume() adopts all logs');
is(answer("SELECT count(*) FROM pm_catalog.log WHERE system_identifier = 1"), 0, "mallory's logs too");
is(answer('SELECT count(*) FROM loot'), 0, 'none of their code has run');

# The library's hooks run in every database. In one without the extension, any role may use its names.
answer('CREATE ROLE leaver; CREATE DATABASE nopm OWNER mallory');
$node->safe_psql('nopm', <<'SQL', extra_params => [ '-U', 'mallory' ]);
CREATE SCHEMA pm;
CREATE SCHEMA pm_process_manager;
CREATE SCHEMA pm_catalog;
CREATE TABLE pm_catalog.loot (who text);
CREATE FUNCTION pm_catalog.f() RETURNS text LANGUAGE plpgsql AS $$ BEGIN INSERT INTO pm_catalog.loot VALUES (current_user); RETURN 'x'; END $$;
CREATE VIEW pm_catalog.process_manager AS SELECT 'x'::text AS name, 1 AS id, 0::oid AS owner, 0::bigint AS system_identifier, 0::oid AS database, rolname AS owner_name, '{}'::text[] AS logs
	FROM pg_roles WHERE pm_catalog.f() IS NULL;
CREATE VIEW pm_catalog.log AS SELECT 'x'::text AS name, 0::regclass AS source FROM pg_roles WHERE pm_catalog.f() IS NULL;
CREATE VIEW pm_catalog.cursor AS SELECT 'x'::text AS process_manager, 'x'::text AS log FROM pg_roles WHERE pm_catalog.f() IS NULL;
CREATE TABLE t (i int);
SQL
$node->safe_psql('nopm', 'REASSIGN OWNED BY leaver TO postgres; DROP OWNED BY leaver; ALTER TABLE t RENAME TO t2; DROP TABLE t2; DROP SCHEMA pm_process_manager');
is($node->safe_psql('nopm', 'SELECT count(*) FROM pm_catalog.loot'), 0, 'without the extension, no code in schemas of its names is run');

PmTest::no_crash_ok($node);
$node->stop('fast');
done_testing();
