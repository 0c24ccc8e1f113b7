# Attached logs: writers that commit late, wake-ups with and without a trigger, a dump, and each assumption broken after the
# log was attached: the change is refused, or noticed before an event is skipped, and following the hint repairs the log.
use strict;
use warnings FATAL => 'all';

use PmTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PmTest::node('attach', conf => "max_connections = 60\npm.poll_interval = 100ms\npm.max_workers = 3\nmax_worker_processes = 20\n");

sub answer { my ($sql, %opt) = @_; return $node->safe_psql($opt{dbname} // 'postgres', $sql); }
sub wait_for
{
	my ($sql, $expected, $name, %opt) = @_;
	return ok(PmTest::wait_until($node, $sql, $expected, %opt), $name)
	  || diag(answer('SELECT process_manager, log, state, reason, position, lag FROM pm.status ORDER BY 1', %opt));
}
# the table's name in place of %s
sub name { my ($text, $table) = @_; return $text =~ s/%(?:1\$)?s/$table/gr; }
# how many events were missed, handled twice, or handled out of order
sub z
{
	my ($log, $table, $where) = @_;
	return "SELECT (SELECT count(*) FROM $table t WHERE $where AND NOT EXISTS (SELECT FROM seen s WHERE s.log = '$log' AND s.pos = t.id)), "
	  . "(SELECT count(*) - count(DISTINCT pos) FROM seen WHERE log = '$log'), "
	  . "(SELECT count(*) FROM (SELECT pos < lag(pos) OVER (ORDER BY n) AS bad FROM seen WHERE log = '$log') x WHERE bad)";
}

answer("CREATE ROLE app LOGIN; CREATE ROLE second LOGIN; CREATE ROLE third LOGIN; CREATE ROLE fourth LOGIN;
	GRANT USAGE ON SCHEMA pm TO PUBLIC; GRANT CREATE, USAGE ON SCHEMA public TO PUBLIC;
	CREATE TABLE seen (n bigserial, name text, log text, pos bigint); GRANT ALL ON seen, seen_n_seq TO PUBLIC;
	CREATE FUNCTION see(e pm.event) RETURNS void LANGUAGE sql AS \$\$ INSERT INTO seen (name, log, pos) VALUES (current_user, e.log, e.position) \$\$;
	CREATE TABLE store (id bigserial PRIMARY KEY, category text NOT NULL, kind text NOT NULL, body jsonb);
	GRANT SELECT ON store TO app, second, third, fourth");

# ---- late commits, eight writers, two logs over the table, an owner with a trigger
answer("SELECT pm.attach_log('all_of_it', 'store', 'id', 'category', 'kind', 'body');
	SELECT pm.attach_log('evens', 'store', 'id', 'category', 'kind', 'body', filter => \$\$category = 'even'\$\$);
	SELECT pm.register('all_of_it', 'see', '{all_of_it}', start_at => 'beginning');
	SELECT pm.register('evens', 'see', '{evens}', start_at => 'beginning');
	CREATE TABLE laned (log text, pos bigint);
	CREATE FUNCTION see_laned(e pm.event) RETURNS void LANGUAGE sql AS \$\$ INSERT INTO laned VALUES (e.log, e.position) \$\$;
	CREATE FUNCTION by_kind(e pm.event) RETURNS text IMMUTABLE LANGUAGE sql AS \$\$ SELECT e.type || e.position % 7 \$\$;
	SELECT pm.register('laned', 'see_laned', '{evens,all_of_it}', correlate => 'by_kind', lanes => 3, start_at => 'beginning')");
my $script = $node->basedir . '/writers.sql';
append_to_file($script, <<'SQL');
\set n random(1, 100)
\set ms random(0, 20)
BEGIN;
INSERT INTO store (category, kind) VALUES (CASE WHEN :n % 2 = 0 THEN 'even' ELSE 'odd' END, 'a'), ('even', 'b');
\sleep :ms ms
SAVEPOINT s;
INSERT INTO store (category, kind) VALUES ('even', 'c');
\if :n < 20
ROLLBACK TO SAVEPOINT s;
\endif
\if :n > 90
ROLLBACK;
\else
COMMIT;
\endif
SQL
$node->command_ok([ 'pgbench', '-n', '-c', 8, '-j', 2, '-t', 40, '-f', $script, 'postgres' ], 'eight writers');
wait_for(z('all_of_it', 'store', 'true'), '0|0|0', 'each event of the table is handled once, in order');
wait_for(z('evens', 'store', "t.category = 'even'"), '0|0|0', '... and of the category');
is(answer("SELECT count(*) FROM seen JOIN store USING (id) WHERE log = 'evens' AND category <> 'even'" =~ s/USING \(id\)/ON id = pos/r), 0, '... and nothing else');

ok(answer("SELECT pm.wait_for('laned', timeout => '30 s')") eq 't', 'pm.wait_for');
is(answer("SELECT (SELECT count(*) FROM laned) - (SELECT count(*) FROM store) - (SELECT count(*) FROM store WHERE category = 'even'), (SELECT count(*) - count(DISTINCT (log, pos)) FROM laned)"), '0|0', 'three lanes follow both logs over the table');
answer("SELECT pm.unregister('laned')");

# ---- without a trigger: roles that do not own the table, and more roles than places
answer('DROP TRIGGER pm_after_write ON store');
for my $role (qw(app second third fourth))
{
	answer("SET SESSION AUTHORIZATION $role; SELECT pm.attach_log('log_$role', 'store', 'id', 'category', 'kind', 'body');
		CREATE FUNCTION see_$role(e pm.event) RETURNS void LANGUAGE sql AS \$\$ INSERT INTO seen (name, log, pos) VALUES (current_user, e.log, e.position) \$\$;
		SELECT pm.register('pm_$role', 'see_$role', '{log_$role}', start_at => 'end')");
}
wait_for("SELECT count(*) FROM pm.status WHERE lag > 0", 0, 'all are idle');
for my $round (1 .. 2)
{
	my $id = answer("INSERT INTO store (category, kind) VALUES ('even', 'polled') RETURNING id");
	wait_for("SELECT count(*) FROM seen WHERE pos = $id", 6, "round $round: found without a trigger, by each of five roles");
}
answer("SET SESSION AUTHORIZATION app; SELECT pm.attach_log('log_app', 'store', 'id', 'category', 'kind', 'body')");
is(answer("SELECT count(*) FROM pg_trigger WHERE tgname = 'pm_after_write'"), 0, 'a role that does not own the table makes no trigger');

# ---- with the trigger, followers are woken and need not poll, also after writes with session_replication_role = replica
answer("SELECT pm.attach_log('evens', 'store', 'id', 'category', 'kind', 'body', filter => \$\$category = 'even'\$\$)");
is(answer("SELECT tgenabled FROM pg_trigger WHERE tgname = 'pm_after_write'"), 'A', 'the same call makes the trigger again');
# if it is dropped while all sleep until they are woken, they poll at once, and not after a minute
for my $command ('DROP TRIGGER pm_after_write ON store', 'ALTER TABLE store DISABLE TRIGGER pm_after_write')
{
	my $id = answer("INSERT INTO store (category, kind) VALUES ('even', 'woken') RETURNING id");

	wait_for("SELECT count(*) FROM seen WHERE pos = $id", 6, 'all have been woken');
	wait_for("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pm dispatcher' AND state <> 'idle'", 0, 'and sleep');
	sleep 3;
	answer($command);
	$id = answer("INSERT INTO store (category, kind) VALUES ('even', 'polled') RETURNING id");
	ok(PmTest::wait_until($node, "SELECT count(*) FROM seen WHERE pos = $id", 6, timeout => 40), "$command: found by each of five roles");
	answer("SELECT pm.attach_log('evens', 'store', 'id', 'category', 'kind', 'body', filter => \$\$category = 'even'\$\$)");
}
answer("SELECT pm.unregister('pm_' || r), pm.detach_log('log_' || r) FROM unnest('{app,second,third,fourth}'::text[]) r; ALTER SYSTEM SET pm.poll_interval = '1h'; SELECT pg_reload_conf()");
for my $role (qw(origin replica))
{
	my $id = answer("SET session_replication_role = $role; INSERT INTO store (category, kind) VALUES ('even', 'woken') RETURNING id");
	wait_for("SELECT count(*) FROM seen WHERE pos = $id", 2, "woken by the trigger: session_replication_role = $role");
}
answer("ALTER SYSTEM RESET pm.poll_interval; SELECT pg_reload_conf()");
# the other roles are gone, so each has a dispatcher, which also looks by itself
answer('ALTER TABLE store DISABLE TRIGGER pm_after_write');
my $disabled = answer("INSERT INTO store (category, kind) VALUES ('even', 'disabled') RETURNING id");
wait_for("SELECT count(*) FROM seen WHERE pos = $disabled", 2, 'the trigger is off: found all the same');

# ---- attaching does not wait for writers, nor writers for attaching
answer("CREATE TABLE busy (id bigserial PRIMARY KEY, k text, j jsonb)");
my $writer = PmTest::session($node);
$writer->do("BEGIN; INSERT INTO busy (k) VALUES ('a')");
my ($rc, $out, $err) = $node->psql('postgres', "SELECT pm.attach_log('busy', 'busy', 'id', 'k', 'k', 'j')");
like($err, qr/is in use, so it gets no trigger/, 'a table that is written: no trigger, and no waiting');
is(answer("INSERT INTO busy (k) VALUES ('b') RETURNING id"), 2, '... writers go on');
is(answer("SELECT pm.high_water_mark('busy')"), 0, 'the open transaction holds back the mark');
answer("SELECT pm.register('busy', 'see', '{busy}', start_at => 'beginning')");
$writer->do('COMMIT');
wait_for("SELECT string_agg(pos::text, ' ' ORDER BY n) FROM seen WHERE log = 'busy'", '1 2', 'late commits are in order');

# ---- a partitioned table: statements that name a partition hold back the mark, and are found without a trigger
answer("CREATE TABLE lists (id bigserial, category text NOT NULL, j jsonb, PRIMARY KEY (id, category)) PARTITION BY LIST (category);
	CREATE TABLE lists_a PARTITION OF lists FOR VALUES IN ('a'); CREATE TABLE lists_b PARTITION OF lists FOR VALUES IN ('b');
	SELECT pm.attach_log('lists', 'lists', 'id', 'category', 'category', 'j'); SELECT pm.register('lists', 'see', '{lists}')");
$writer->do("BEGIN; INSERT INTO lists_a (category) VALUES ('a')");
answer("INSERT INTO lists (category) VALUES ('b'); INSERT INTO lists_b (category) VALUES ('b')");
is(answer("SELECT pm.high_water_mark('lists')"), 0, 'a transaction that has written a partition holds back the mark');
($rc, $out, $err) = $node->psql('postgres', "CREATE TABLE lists_c AS SELECT 1::bigint AS id, 'c'::text AS category, NULL::jsonb AS j; ALTER TABLE lists_c ALTER id SET NOT NULL, ALTER category SET NOT NULL; ALTER TABLE lists ATTACH PARTITION lists_c FOR VALUES IN ('c')");
like($err, qr/because it has rows/, 'a partition with rows is refused');
$writer->do('COMMIT');
wait_for("SELECT string_agg(pos::text, ' ' ORDER BY n) FROM seen WHERE log = 'lists'", '1 2 3', 'its rows are found, in order');
answer("ALTER TABLE lists DETACH PARTITION lists_b; CREATE TABLE lists_d PARTITION OF lists FOR VALUES IN ('b')");
$writer->do("BEGIN; INSERT INTO lists_d (category) VALUES ('b')");
answer("INSERT INTO lists_a (category) VALUES ('a')");
is(answer("SELECT pm.high_water_mark('lists')"), 3, 'also one that has written a new partition');
$writer->do('COMMIT');
wait_for("SELECT string_agg(pos::text, ' ' ORDER BY n) FROM seen WHERE log = 'lists'", '1 2 3 4 5', '... in order');

# A partition that is partitioned itself is locked: the dispatcher goes on with other logs.
answer("CREATE TABLE lists_sub PARTITION OF lists FOR VALUES IN ('s', 't') PARTITION BY LIST (category); CREATE TABLE lists_s PARTITION OF lists_sub FOR VALUES IN ('s')");
wait_for("SELECT count(*) FROM pm.status WHERE log = 'lists' AND lag > 0", 0, 'lists: idle');
$writer->do('BEGIN; LOCK TABLE ONLY lists_sub IN ACCESS EXCLUSIVE MODE');
answer("CREATE TABLE lists_z PARTITION OF lists FOR VALUES IN ('z')");
answer("INSERT INTO lists (category) VALUES ('z')");
wait_for("SELECT state, reason ~ 'partition of log \"lists\", or its sequence, is locked' FROM pm.status WHERE log = 'lists'", 'waiting|t', 'pm.status says that a partition is locked');
my $meanwhile = answer("INSERT INTO store (category, kind) VALUES ('even', 'meanwhile') RETURNING id");
wait_for("SELECT count(*) FROM seen WHERE pos = $meanwhile AND log = 'evens'", 1, 'another log is read meanwhile');
$writer->do('COMMIT');
wait_for("SELECT count(*) FROM seen WHERE log = 'lists'", 6, 'then all is handled');

# ---- assumptions that are broken after the log was attached
my @broken = (
	# what breaks the assumption, the reason in pm.status, and what is done besides following the hints
	[ 'CACHE', 'ALTER SEQUENCE %s_id_seq CACHE 10', qr/has CACHE 10/, undef, 1 ],
	[ 'CYCLE', 'ALTER SEQUENCE %s_id_seq CYCLE', qr/CYCLE/, undef, 1 ],
	[ 'RESTART', 'ALTER SEQUENCE %s_id_seq RESTART', qr/was changed, restarted or replaced/, undef, 0 ],
	[ 'replaced sequence', 'CREATE SEQUENCE %s_other; ALTER TABLE %1$s ALTER id SET DEFAULT nextval($$%1$s_other$$)', qr/was changed, restarted or replaced/, 'SELECT setval($$%s_other$$, 100)', 0 ],
	[ 'default dropped', 'ALTER TABLE %s ALTER id DROP DEFAULT', qr/is not filled from a sequence/, 'ALTER TABLE %s ALTER id SET DEFAULT nextval($$%1$s_id_seq$$)', 0 ],
	[ 'UNLOGGED', 'ALTER TABLE %s SET UNLOGGED', qr/cannot be attached/, 'ALTER TABLE %s SET LOGGED', 1 ],
	[ 'column renamed', 'ALTER TABLE %s RENAME k TO kind', qr/has no column "k"/, 'ALTER TABLE %s RENAME kind TO k', 1 ],
	[ 'column of the filter dropped', 'ALTER TABLE %s DROP f', qr/has no column "f"/, 'ALTER TABLE %s ADD f text DEFAULT $$yes$$', 1 ],
	[ 'made a partition', 'CREATE TABLE %s_p (LIKE %1$s) PARTITION BY RANGE (id); ALTER TABLE %1$s_p ATTACH PARTITION %1$s DEFAULT', qr/cannot be attached/, 'ALTER TABLE %s_p DETACH PARTITION %1$s', 1 ],
	[ 'type changed', 'ALTER TABLE %s ALTER j TYPE bytea USING NULL', qr/column "j" of table "%s" is of type bytea/, 'ALTER TABLE %s ALTER j TYPE jsonb USING NULL', 1 ],
	[ 'index dropped', 'ALTER TABLE %s DROP CONSTRAINT %1$s_pkey', qr/has no unique index of its own/, undef, 1 ],
	[ 'setval', 'SELECT setval($$%s_id_seq$$, 2)', qr/was set back to 2, behind position 3/, undef, 0 ],
);
my $n = 0;
for my $case (@broken)
{
	my $t = 'broken_' . ++$n;
	answer("CREATE TABLE $t (id bigserial PRIMARY KEY, k varchar(10), f text NOT NULL DEFAULT 'yes', j jsonb);
		SELECT pm.attach_log('$t', '$t', 'id', 'k', 'k', 'j', filter => \$\$f <> 'no'\$\$);
		SELECT pm.register('$t', 'see', '{$t}');
		INSERT INTO $t (k) VALUES ('a'), ('b'), ('c')");
}
wait_for("SELECT count(*) FROM pm.status WHERE log LIKE 'broken%' AND position = 3", scalar @broken, 'all are handled before');
# A session that keeps positions in its cache.
my $cached = PmTest::session($node);
$cached->do("INSERT INTO broken_1 (k) VALUES ('d')");
for my $i (1 .. @broken)
{
	my ($name, $sql, $reason, $solve) = @{ $broken[$i - 1] };
	my $t = "broken_$i";

	answer(name($sql, $t));
}
$cached->do("INSERT INTO broken_1 (k) VALUES ('e')");
for my $i (1 .. @broken)
{
	my ($name, $sql, $reason, $solve, $writes) = @{ $broken[$i - 1] };
	my $t = "broken_$i";
	my $pattern = name("$reason", $t);

	if ($writes)
	{
		my $column = $name eq 'column renamed' ? 'kind' : 'k';
		answer("INSERT INTO $t ($column) VALUES ('late')");
	}
	ok(PmTest::wait_until($node, "SELECT state FROM pm.status WHERE log = '$t'", 'waiting'), "$name: waiting");
	my $got = answer("SELECT reason FROM pm.status WHERE log = '$t'");
	like($got, qr/$pattern/, "$name: the reason");
	answer(name($solve, $t)) if defined $solve;
	# follow the hints
	for my $try (1 .. 4)
	{
		last if answer("SELECT state FROM pm.status WHERE log = '$t'") ne 'waiting';
		my $hint = answer("SELECT hint FROM pm.status WHERE log = '$t'");
		if ($hint =~ /^Run (ALTER SEQUENCE .*? NO CYCLE)\./) 
		{
			answer("$1; INSERT INTO $t (k) VALUES ('beyond')");
			# the session still has positions in its cache, which readers must not pass
			wait_for("SELECT reason ~ 'was changed, restarted or replaced' FROM pm.status WHERE log = '$t'", 't', "$name: setting it back is not enough");
			$cached->do("INSERT INTO $t (k) VALUES ('cached')");
		}
		elsif ($hint =~ /(SELECT pg_catalog\.setval\(.*?\))\.$/) { answer($1); }
		elsif ($hint =~ /(ALTER TABLE .*? ADD UNIQUE \(id\))/) { answer($1); }
		elsif ($hint =~ /(SELECT pm\.attach_log\(.*\)), which/)
		{
			my $call = $1;
			if ($name eq 'CACHE') { $cached->quit; }
			my ($rc, $out, $err) = $node->psql('postgres', $call);
			$cached = PmTest::session($node) if $name eq 'CACHE';
			if ($rc != 0)
			{
				like($err, qr/Run (SELECT pg_catalog\.setval\(.*?\)), then/, "$name: the sequence must be set forward first");
				answer($1) if $err =~ /Run (SELECT pg_catalog\.setval\(.*?\)), then/;
				next;
			}
		}
		else { last; }
		PmTest::wait_until($node, "SELECT state <> 'waiting' OR hint IS DISTINCT FROM \$h\$$hint\$h\$ FROM pm.status WHERE log = '$t'", 't', timeout => 3);
	}
	answer("INSERT INTO $t (k) VALUES ('after')");
	wait_for(z($t, $t, "f <> 'no'"), '0|0|0', "$name: nothing is missing, twice or out of order");
	wait_for("SELECT state FROM pm.status WHERE log = '$t'", 'idle', "$name: idle again");
}
$cached->quit;

# ---- a dump
answer('CREATE DATABASE copy');
my $dump = $node->basedir . '/dump.sql';
$node->command_ok([ 'pg_dump', '-f', $dump, 'postgres' ], 'pg_dump');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', 'copy', '-f', $dump ], 'restored');
my $logs = "SELECT name, \"table\", pos, stream, version, type, data, filter, kind FROM pm.log ORDER BY name COLLATE \"C\"";
is(answer($logs, dbname => 'copy'), answer($logs), 'the copy has the logs');
my $copied = answer("INSERT INTO store (category, kind) VALUES ('even', 'copied') RETURNING id", dbname => 'copy');
is(answer("SELECT count(*) FROM pm.read('evens', $copied - 1)", dbname => 'copy'), 1, 'which can be read');
is(answer("SELECT DISTINCT reason FROM pm.status WHERE process_manager = 'evens'", dbname => 'copy'), 'this database is a copy', 'and are not followed yet');
answer("SELECT pm.resume('evens')", dbname => 'copy');
wait_for("SELECT count(*) FROM seen WHERE pos = $copied AND log = 'evens'", 1, 'but after pm.resume', dbname => 'copy');
answer("SELECT pm.unregister('evens'); SELECT pm.detach_log('evens')", dbname => 'copy');
answer('DROP DATABASE copy WITH (FORCE)');

# ---- the table is dropped
answer("SELECT pm.attach_log('busy_too', 'busy', 'id', 'k', 'k', 'j')");
($rc, $out, $err) = $node->psql('postgres', 'DROP TABLE busy');
isnt($rc, 0, 'a followed table is not dropped without CASCADE');
answer('DROP TABLE busy CASCADE');
is(answer("SELECT count(*) FROM pm.log WHERE name LIKE 'busy%'"), 0, 'both logs are gone');
$node->stop;
done_testing();
