# Hints are followed, and help. Each hint is read from the error, from pm.status or from pm.parked; its SQL is run by the
# role that it names, and then the refused action succeeds. (164 does the same for problems of a log.)
# Also: where a worker looks for names, which is reported before anything fails and when it does.
use strict;
use warnings FATAL => 'all';

use PmTest;
use Test::More;

my $node = PmTest::node('hints', conf => "pm.max_workers = 4\n");

sub run
{
	my ($user, $sql) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', $sql, extra_params => [ '-U', $user ], on_error_stop => 1);
	return ($rc, $out, $err);
}
sub as { my ($user, $sql) = @_; my ($rc, $out, $err) = run($user, $sql); die "$sql: $err" if $rc != 0; return $out; }

as('postgres', <<'SQL');
CREATE ROLE shop LOGIN;
CREATE ROLE office LOGIN;
CREATE ROLE nobody_logs_in;
GRANT USAGE ON SCHEMA pm TO shop, office, nobody_logs_in;
CREATE SCHEMA shop AUTHORIZATION shop;
CREATE SCHEMA hidden;
CREATE FUNCTION hidden.far(e pm.event) RETURNS void LANGUAGE plpgsql AS 'BEGIN END';
CREATE SCHEMA hidden2;
CREATE FUNCTION hidden2.far(e pm.event) RETURNS void LANGUAGE plpgsql AS 'BEGIN END';
CREATE SCHEMA hidden3;
CREATE FUNCTION hidden3.far(e pm.event) RETURNS void LANGUAGE plpgsql AS 'BEGIN END';
CREATE FUNCTION public.boss(e pm.event) RETURNS void LANGUAGE plpgsql AS 'BEGIN END';
REVOKE EXECUTE ON FUNCTION public.boss FROM PUBLIC;
SQL
as('shop', <<'SQL');
SELECT pm.create_log('orders'), pm.create_log('refunds');
CREATE FUNCTION shop.ok(e pm.event) RETURNS void LANGUAGE plpgsql AS 'BEGIN END';
CREATE FUNCTION shop."Upper"(e pm.event) RETURNS void LANGUAGE plpgsql AS 'BEGIN END';
CREATE FUNCTION shop.ok2(e pm.event, s json) RETURNS json LANGUAGE sql AS 'SELECT s';
CREATE FUNCTION shop.two(e pm.event) RETURNS void LANGUAGE plpgsql AS 'BEGIN END';
CREATE FUNCTION shop.two(e pm.event[]) RETURNS void LANGUAGE plpgsql AS 'BEGIN END';
CREATE FUNCTION shop.key(e pm.event) RETURNS text LANGUAGE sql STABLE AS 'SELECT (e).stream';
CREATE FUNCTION shop.bad(e pm.event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE 'bad'; END $$;
SELECT pm.register('m', 'shop.ok', '{orders,refunds}');
SQL

# What is tried and by which role; the error; the hint (and which part of it is run, by which role), or the detail; and what
# succeeds then. Where no other action is given, the same one is tried again.
my @cases = (
	# [ name, role, SQL, message, hint or detail, role that follows it, SQL: if undef, $1 of the hint, tried again ]
	[ 'the sequence was set back', 'shop', "SELECT pm.append('orders', 'a', 'x'); SELECT pm.append('orders', 'a', 'x'); SELECT pm.append('orders', 'a', 'x'); SELECT pm.high_water_mark('orders');
		SELECT setval('orders_position_seq', 1); INSERT INTO orders (stream, type) VALUES ('a', 'x')", qr/cannot write position 2 into log "orders"/, qr/run (SELECT .*)\.$/m, 'shop', undef,
		"INSERT INTO shop.orders (stream, type) VALUES ('a', 'x'); SELECT pm.append('orders', 'a', 'x')" ],
	[ 'it was set back by one', 'shop', "SELECT pm.append('orders', 'a', 'x'); SELECT pm.append('orders', 'a', 'x'); SELECT pm.high_water_mark('orders');
		SELECT setval('orders_position_seq', (SELECT max(position) - 1 FROM orders)); INSERT INTO orders (stream, type) VALUES ('a', 'x')", qr/cannot write position/, qr/The sequence was set back\..*run (SELECT .*)\.$/m, 'shop', undef,
		"INSERT INTO shop.orders (stream, type) VALUES ('a', 'x'); SELECT pm.append('orders', 'a', 'x')" ],
	[ 'it was set to the last one, not called', 'shop', "SELECT pm.append('orders', 'a', 'x'); SELECT pm.append('orders', 'a', 'x'); SELECT pm.high_water_mark('orders');
		SELECT setval('orders_position_seq', (SELECT max(position) FROM orders), false); INSERT INTO orders (stream, type) VALUES ('a', 'x')", qr/cannot write position/, qr/The sequence was set back\..*run (SELECT .*)\.$/m, 'shop', undef,
		"INSERT INTO shop.orders (stream, type) VALUES ('a', 'x'); SELECT pm.append('orders', 'a', 'x')" ],
	[ 'set back by one, pm.append', 'shop', "SELECT pm.append('orders', 'a', 'x'); SELECT pm.append('orders', 'a', 'x'); SELECT pm.high_water_mark('orders');
		SELECT setval('orders_position_seq', (SELECT max(position) - 1 FROM orders)); SELECT pm.append('orders', 'a', 'x')", qr/cannot write position/, qr/The sequence was set back\..*run (SELECT .*)\.$/m, 'shop', undef,
		"INSERT INTO shop.orders (stream, type) VALUES ('a', 'x'); SELECT pm.append('orders', 'a', 'x')" ],
	[ 'set back in the transaction', 'shop', "BEGIN; SELECT pm.append('orders', 'a', 'x'); SELECT pm.append('orders', 'a', 'x'); SELECT pm.high_water_mark('orders');
		SELECT setval('orders_position_seq', (SELECT max(position) - 3 FROM orders)); INSERT INTO orders (stream, type) VALUES ('a', 'x')", qr/cannot write position/, qr/The sequence was set back\..*run (SELECT .*)\.$/m, 'shop', undef,
		"INSERT INTO shop.orders (stream, type) VALUES ('a', 'x'); SELECT pm.append('orders', 'a', 'x')" ],
	[ 'the last position is written', 'shop', "SELECT pm.append('orders', 'a', 'x'); SELECT pm.append('orders', 'a', 'x'); SELECT pm.high_water_mark('orders'); INSERT INTO orders (position, stream, type) OVERRIDING SYSTEM VALUE SELECT max(position), 'a', 'x' FROM orders", qr/cannot write position/, qr/Leave the position out/,
		'shop', "INSERT INTO shop.orders (stream, type) VALUES ('a', 'x')", 'SELECT 1' ],
	[ 'a position is written', 'shop', "INSERT INTO orders (position, stream, type) OVERRIDING SYSTEM VALUE VALUES (2, 'a', 'x')", qr/cannot write position 2/, qr/Leave the position out/,
		'shop', "INSERT INTO shop.orders (stream, type) VALUES ('a', 'x')", 'SELECT 1' ],
	[ 'CACHE', 'shop', "ALTER TABLE orders ALTER position SET CACHE 5; INSERT INTO orders (stream, type) VALUES ('a', 'x'); INSERT INTO orders (stream, type) VALUES ('b', 'x')", qr/cannot write position/, qr/run (ALTER .*)\.$/m, 'shop', undef,
		"INSERT INTO shop.orders (stream, type) VALUES ('a', 'x'); SELECT pm.append('orders', 'a', 'x')" ],
	[ 'the trigger is off', 'shop', "ALTER TABLE orders DISABLE TRIGGER pm_before_write; INSERT INTO orders (stream, type) VALUES ('a', 'x')", qr/without its trigger/, qr/run (ALTER TABLE .*) as the table's owner/, 'shop', undef,
		"INSERT INTO shop.orders (stream, type) VALUES ('a', 'x')" ],
	[ 'the check is gone', 'shop', "ALTER TABLE orders DROP CONSTRAINT pm_position_is_new; INSERT INTO orders (stream, type) VALUES ('a', 'x')", qr/is missing or changed/, qr/run (SELECT .*): it puts back/, 'shop', undef,
		"INSERT INTO shop.orders (stream, type) VALUES ('a', 'x')" ],
	[ 'no such handler', 'shop', "SELECT pm.register('n', 'ok2', '{orders}', start_at => 'end')", qr/no handler "ok2" exists/, qr/DETAIL:  There is shop.ok2\(pm.event,json\). Its second argument is of type json/,
		'shop', 'CREATE FUNCTION shop.ok2(e pm.event, s jsonb) RETURNS jsonb LANGUAGE sql AS $$SELECT s$$' ],
	[ 'its schema is missing', 'shop', "SET search_path = public; SELECT pm.register('n2', 'ok', '{orders}', start_at => 'end')", qr/no handler "ok" exists/, qr/DETAIL:  There is shop.ok\(pm.event\). Its schema is not in the search_path/,
		'shop', 'SELECT 1', "SELECT pm.register('n2', 'shop.ok', '{orders}', start_at => 'end')" ],
	[ 'its schema may not be used', 'shop', "SET search_path = hidden, public; SELECT pm.register('n3', 'far', '{orders}', start_at => 'end')", qr/no handler "far" exists/, qr/DETAIL:  There is hidden.far\(pm.event\). Role "shop" lacks USAGE on its schema/,
		'postgres', 'GRANT USAGE ON SCHEMA hidden TO shop' ],
	[ 'a schema that is named may not be used', 'shop', "SELECT pm.register('n3b', 'hidden2.far', '{orders}', start_at => 'end')", qr/permission denied for schema hidden2/, qr/Run (GRANT USAGE ON SCHEMA hidden2 TO shop)\.$/m, 'postgres', undef ],
	[ 'and with a signature', 'shop', "SELECT pm.register('n3c', 'hidden3.far(pm.event)', '{orders}', start_at => 'end')", qr/permission denied for schema hidden3/, qr/Run (GRANT USAGE ON SCHEMA hidden3 TO shop)\.$/m, 'postgres', undef ],
	[ 'upper case', 'shop', "SELECT pm.register('n4', 'Upper', '{orders}', start_at => 'end')", qr/no handler "Upper" exists/, qr/A name with upper-case letters must be given in double quotes/,
		'shop', 'SELECT 1', q{SELECT pm.register('n4', '"Upper"', '{orders}', start_at => 'end')} ],
	[ 'ambiguous', 'shop', "SELECT pm.register('n5', 'two', '{orders}', start_at => 'end')", qr/ambiguous/, qr/such as two\(pm.event\)/, 'shop', 'SELECT 1', "SELECT pm.register('n5', 'two(pm.event)', '{orders}', start_at => 'end')" ],
	[ 'EXECUTE', 'shop', "SELECT pm.register('n6', 'boss', '{orders}', start_at => 'end')", qr/may not execute/, qr/Run (GRANT .*)\.$/m, 'postgres', undef ],
	[ 'a superuser registers', 'postgres', "SELECT pm.register('n7', 'shop.ok', '{orders}', start_at => 'end')", qr/which no superuser owns/, qr/Register it as the function's owner/, 'shop', 'SELECT 1',
		"SET ROLE shop; SELECT pm.register('n7', 'shop.ok', '{orders}', start_at => 'end')" ],
	[ 'lanes', 'shop', "SELECT pm.register('n8', 'shop.ok', '{orders}', correlate => 'shop.key', start_at => 'end', lanes => 2)", qr/must be IMMUTABLE/, qr/run (ALTER FUNCTION .*)\.$/m, 'shop', undef ],
	[ 'types is empty', 'shop', "SELECT pm.register('n9', 'shop.ok', '{orders}', start_at => 'end', types => '{}')", qr/types must not be empty/, qr/omit types/, 'shop', 'SELECT 1', "SELECT pm.register('n9', 'shop.ok', '{orders}', start_at => 'end')" ],
	[ 'where to start', 'shop', "SELECT pm.register('n10', 'shop.ok', '{orders}')", qr/already has events/, qr/Use (start_at => 'beginning')/, 'shop', 'SELECT 1', "SELECT pm.register('n10', 'shop.ok', '{orders}', start_at => 'beginning')" ],
	[ 'a log is left out', 'shop', "SELECT pm.register('m', 'shop.ok', '{orders}')", qr/logs must name log/, qr/(SELECT pm.unfollow\(.*?\))/, 'shop', undef ],
	[ 'the only log', 'shop', "SELECT pm.unfollow('n10', 'orders')", qr/is the only one/, qr/(SELECT pm.unregister\(.*?\))/, 'shop', undef, 'SELECT 1' ],
	[ 'no LOGIN', 'postgres', "SET ROLE nobody_logs_in; SELECT pm.register('n11', 'hidden.far', '{orders}', start_at => 'end')", qr/permission denied for schema hidden|not permitted to log in/, qr/Run (ALTER ROLE nobody_logs_in LOGIN)/, 'postgres', undef,
		"GRANT USAGE ON SCHEMA hidden TO nobody_logs_in; GRANT USAGE ON SCHEMA shop TO nobody_logs_in; GRANT SELECT ON shop.orders TO nobody_logs_in; SET ROLE nobody_logs_in; SELECT pm.register('n11', 'hidden.far', '{orders}', start_at => 'end')" ],
	[ "no right to read", "office", "SELECT pm.high_water_mark('orders')", qr/may not read log/, qr/Run (GRANT .*)\.$/m, "shop", undef ],
	[ 'somebody waits in vain', 'shop', "BEGIN; SELECT pm.append('orders', 'w', 'x'); SELECT pm.wait_for('m', 'orders')", qr/which this transaction has written to/, qr/Commit first/, 'shop', 'SELECT 1', "SELECT pm.append('orders', 'w', 'x'); SELECT pm.wait_for('m', 'orders', timeout => '60 s')" ],
	[ 'isolation', 'shop', "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT pm.read('orders')", qr/REPEATABLE READ/, qr/Use READ COMMITTED/, 'shop', 'SELECT 1', "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT count(*) FROM pm.read('orders')" ],
	[ 'no such process manager', 'shop', "SELECT pm.pause('nm')", qr/does not exist/, qr/(SELECT name FROM pm.process_manager)/, 'shop', undef, "SELECT pm.pause('n'); SELECT pm.resume('n')" ],
	[ 'no such log', 'shop', "SELECT pm.append('ordres', 'a', 'x')", qr/does not exist/, qr/(SELECT name FROM pm.log)/, 'shop', undef, "SELECT pm.append('orders', 'a', 'x')" ],
	[ 'TRUNCATE', 'shop', 'TRUNCATE refunds', qr/cannot truncate/, qr/remove the log with pm.drop_log first/, 'shop', "SELECT pm.drop_log('refunds')" ],
);

for my $case (@cases)
{
	my ($name, $role, $sql, $message, $hint, $follower, $follow, $again) = @$case;
	my ($rc, undef, $err) = run($role, $sql);

	isnt($rc, 0, "$name: it is refused");
	like($err, $message, "$name: the error gives the reason");
	my $found = $err =~ $hint;
	my $run = $follow // $1;
	ok($found, "$name: the hint or detail says what helps") or diag($err);
	next unless $found && defined $run;
	($rc, undef, $err) = run($follower, $run);
	is($rc, 0, "$name: that can be done") or diag("$run: $err");
	($rc, undef, $err) = run($role, $again // $sql);
	is($rc, 0, "$name: following it helps") or diag($err);
}

# ---- in a worker

sub status { return as('postgres', "SELECT $_[1] FROM pm.status WHERE process_manager = '$_[0]'"); }

# USAGE on schema pm is revoked from an owner.
as('postgres', "REVOKE USAGE ON SCHEMA pm FROM shop; INSERT INTO shop.orders (stream, type) VALUES ('g', 'x')");
ok(PmTest::wait_until($node, "SELECT hint ~ 'GRANT' FROM pm.status WHERE process_manager = 'm'", 't'), 'no USAGE on schema pm: the hint of pm.status is the GRANT');
like(status('m', 'state || reason || hint'), qr/^waiting.*permission denied for schema pm.*Run (GRANT USAGE ON SCHEMA pm TO shop)\.$/, 'the reason says so');
as('postgres', status('m', "substring(hint FROM 'Run (GRANT.*)\\.\$')"));
ok(PmTest::wait_until($node, "SELECT state || lag FROM pm.status WHERE process_manager = 'm'", 'idle0'), 'the GRANT helps');

# USAGE on the handler's schema.
as('postgres', 'CREATE SCHEMA desk AUTHORIZATION office; GRANT USAGE ON SCHEMA shop TO office; GRANT SELECT ON shop.orders TO office; CREATE SCHEMA lent; GRANT USAGE, CREATE ON SCHEMA lent TO office');
as('office', "CREATE FUNCTION lent.note(e pm.event) RETURNS void LANGUAGE plpgsql AS 'BEGIN END'; SELECT pm.register('lent', 'lent.note', '{orders}', start_at => 'end')");
as('postgres', "REVOKE ALL ON SCHEMA lent FROM office; INSERT INTO shop.orders (stream, type) VALUES ('g', 'x')");
ok(PmTest::wait_until($node, "SELECT state, reason, hint FROM pm.status WHERE process_manager = 'lent'", 'waiting|permission denied for schema lent|Run GRANT USAGE ON SCHEMA lent TO office.'), "no USAGE on the handler's schema: pm.status has the GRANT")
  or diag(status('lent', '*'));
like(PostgreSQL::Test::Utils::slurp_file($node->logfile), qr/"lent" in database "postgres" waits: permission denied for schema lent\n[^\n]*HINT:  Run GRANT USAGE ON SCHEMA lent TO office\./, "and the server's log");
as('postgres', status('lent', "substring(hint FROM 'Run (GRANT.*)\\.\$')"));
ok(PmTest::wait_until($node, "SELECT state || lag FROM pm.status WHERE process_manager = 'lent'", 'idle0'), 'the GRANT helps');

# A handler that was dropped, or is another kind of function now: the hint does not speak of the search_path.
as('office', "DROP FUNCTION lent.note(pm.event)");
as('postgres', "GRANT CREATE ON SCHEMA lent TO office; INSERT INTO shop.orders (stream, type) VALUES ('g', 'x')");
ok(PmTest::wait_until($node, "SELECT state, reason, hint FROM pm.status WHERE process_manager = 'lent'", 'waiting|handler lent.note(pm.event) does not exist|Create it again, or register "lent" with another one.'), 'the handler was dropped: no hint about the search_path')
  or diag(status('lent', '*'));
as('office', "CREATE FUNCTION lent.note(e pm.event) RETURNS SETOF pm.event LANGUAGE plpgsql AS 'BEGIN END'");
ok(PmTest::wait_until($node, "SELECT state, reason, hint FROM pm.status WHERE process_manager = 'lent'", 'waiting|lent.note(pm.event) cannot be a handler: it returns a set|A handler is f(pm.event), f(pm.event, jsonb) RETURNS jsonb, or f(pm.event[]).'), 'it returns a set: pm.status says so')
  or diag(status('lent', '*'));
as('office', "DROP FUNCTION lent.note(pm.event); CREATE PROCEDURE lent.note(e pm.event) LANGUAGE plpgsql AS 'BEGIN END'");
ok(PmTest::wait_until($node, "SELECT reason FROM pm.status WHERE process_manager = 'lent'", 'lent.note(pm.event) cannot be a handler: it is a procedure'), 'or that it is a procedure');
as('office', "DROP PROCEDURE lent.note(pm.event); CREATE FUNCTION lent.next(s bigint, e pm.event) RETURNS bigint LANGUAGE sql AS 'SELECT s';
	CREATE AGGREGATE lent.note(pm.event) (SFUNC = lent.next, STYPE = bigint)");
ok(PmTest::wait_until($node, "SELECT reason FROM pm.status WHERE process_manager = 'lent'", 'lent.note(pm.event) cannot be a handler: it is an aggregate function'), 'or that it is an aggregate function');
as('office', "DROP AGGREGATE lent.note(pm.event); CREATE FUNCTION lent.note(e pm.event) RETURNS void LANGUAGE plpgsql AS 'BEGIN END'");
ok(PmTest::wait_until($node, "SELECT state || lag FROM pm.status WHERE process_manager = 'lent'", 'idle0'), 'with a plain function again, it continues');
# A correlate function that depends on the search_path, while the handler is missing.
as('office', "CREATE FUNCTION lent.key(e pm.event) RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN (e).stream; END'; SELECT pm.register('lent', 'lent.note', '{orders}', correlate => 'lent.key'); DROP FUNCTION lent.note(pm.event)");
as('postgres', "INSERT INTO shop.orders (stream, type) VALUES ('g', 'x')");
ok(PmTest::wait_until($node, "SELECT state, reason, hint FROM pm.status WHERE process_manager = 'lent'", 'waiting|handler lent.note(pm.event) does not exist|Create it again, or register "lent" with another one.'), 'no hint about the search_path, although its correlate function depends on it')
  or diag(status('lent', '*'));
unlike(PostgreSQL::Test::Utils::slurp_file($node->logfile), qr/lent\.note\(pm\.event\) does not exist\n[^\n]*HINT:[^\n]*looks for names/, "nor in the server's log");
as('office', "SELECT pm.unregister('lent')");

# A right that the handler needs: PostgreSQL names the table, and the hint the role. pm.status says how to retry.
as('office', "CREATE TABLE desk.till (pos bigint); CREATE FUNCTION desk.till(e pm.event) RETURNS void LANGUAGE plpgsql AS 'BEGIN INSERT INTO desk.till VALUES (e.position); END'; SELECT pm.register('till', 'desk.till', '{orders}', start_at => 'end', backoff => '1 hour')");
as('postgres', "ALTER TABLE desk.till OWNER TO shop; GRANT SELECT, DELETE ON desk.till TO office; INSERT INTO shop.orders (stream, type) VALUES ('t', 'x')");
ok(PmTest::wait_until($node, "SELECT state, message, hint FROM pm.parked WHERE process_manager = 'till'", 'failing|permission denied for table till|The handler runs as role "office". It lacks INSERT and UPDATE on desk.till: grant it those that the handler needs.'), 'the handler lacks rights: pm.parked names them, and the role')
  or diag(as('postgres', 'SELECT * FROM pm.parked'));
as('postgres', 'GRANT UPDATE ON desk.till TO office');
is(as('postgres', "SELECT hint FROM pm.parked WHERE process_manager = 'till'"), 'The handler runs as role "office". Run GRANT INSERT ON desk.till TO office.', 'it lacks one right: the hint is the GRANT');
as('postgres', 'CREATE SCHEMA other; CREATE TABLE other.till ()');
is(as('postgres', "SELECT hint FROM pm.parked WHERE process_manager = 'till'"), 'The handler runs as role "office". If that role lacks the right, grant it.', 'it may be one of two tables: none is named');
as('postgres', "DROP SCHEMA other CASCADE");
as('postgres', as('postgres', "SELECT substring(hint FROM 'Run (GRANT.*)\\.\$') FROM pm.parked WHERE process_manager = 'till'"));
like(status('till', 'hint'), qr/ A failing event is tried again at its retry_at, or now with pm\.retry\('till', log, position\)\. pm\.retry\('till'\) retries the dead ones\./, 'a failing event: pm.status says how to have it tried now');
is(as('office', "SELECT pm.retry('till')"), 0, 'pm.retry with the name only is for dead events');
my (undef, undef, $waited) = run('office', "SELECT pm.wait_for('till')");
like($waited, qr/has parked the event.*\nHINT:  Its owner sees in pm\.parked whether and when it is tried again\. (SELECT pm\.retry\('till', 'orders', \d+\)) tries it now\./, 'pm.wait_for says so, too');
as('office', $waited =~ /(SELECT pm\.retry\([^)]*\))/);
ok(PmTest::wait_until($node, 'SELECT (SELECT count(*) FROM desk.till), (SELECT count(*) FROM pm.parked)', '1|0'), 'after the GRANT, following it helps');
as('office', "SELECT pm.unregister('till')");

# Another correlate function, because it was left out.
as('office', "CREATE FUNCTION desk.keeps(e pm.event, s jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT ''{}''::jsonb'; CREATE FUNCTION desk.key(e pm.event) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT (e).stream';
	SELECT pm.register('keeps', 'desk.keeps', '{orders}', correlate => 'desk.key', start_at => 'end')");
as('postgres', "INSERT INTO shop.orders (stream, type) VALUES ('k', 'x')");
ok(PmTest::wait_until($node, "SELECT count(*) FROM pm.instance WHERE process_manager = 'keeps'", 1), 'there is an instance');
my (undef, undef, $refused) = run('office', "SELECT pm.register('keeps', 'desk.keeps', '{orders}')");
like($refused, qr/DETAIL:  So far it is desk\.key\(pm\.event\)\. There are instances: 1, .*\nHINT:  Name it again with (correlate => '[^']*'), or/, 'correlate was left out: the hint says to name it again');
as('office', "SELECT pm.register('keeps', 'desk.keeps', '{orders}', " . join('', $refused =~ /(correlate => '[^']*')/) . "); SELECT pm.unregister('keeps')");

# A worker does not use the search_path that was SET for pm.catch_up.
as('office', "CREATE TABLE desk.seen (pos bigint); CREATE FUNCTION desk.note(e pm.event) RETURNS void LANGUAGE plpgsql AS 'BEGIN INSERT INTO seen VALUES (e.position); END';
	CREATE FUNCTION desk.sets(e pm.event) RETURNS void LANGUAGE plpgsql SET search_path = desk AS 'BEGIN INSERT INTO seen VALUES (e.position); END';
	CREATE FUNCTION desk.parsed(e pm.event) RETURNS void LANGUAGE sql BEGIN ATOMIC INSERT INTO desk.seen VALUES ((e).position); END");
sub register
{
	my ($function, $before) = @_;
	my (undef, undef, $err) = run('office', ($before // '') . "SELECT pm.register('o', '$function', '{orders}', start_at => 'end', max_attempts => 1)");
	return $err;
}
is(register('desk.note'), '', "the session has the worker's search_path: no warning");
is(register('desk.note', 'SET search_path = "$user", public, nowhere, pg_temp;'), '', 'nor for an equivalent one');
like(register('note', 'SET search_path = desk, public;'), qr/WARNING:.*desk\.note\(pm\.event\).*\nDETAIL:.*looks for names in desk, public; a worker, as role "office", looks in public\.\nHINT:.*ALTER FUNCTION desk\.note\(pm\.event\) SET search_path FROM CURRENT/, 'a different one: the warning names it');
is(register('sets', 'SET search_path = desk, public;'), '', 'a handler with its own search_path: no warning');
is(register('parsed', 'SET search_path = desk, public;'), '', 'nor for a handler whose names are already resolved');
for my $setting ('ALTER ROLE office SET search_path = desk, public', 'ALTER DATABASE postgres SET search_path = desk, public', 'ALTER ROLE office IN DATABASE postgres SET search_path = desk, public')
{
	as('postgres', $setting);
	is(register('note', 'SET search_path = desk, public;'), '', "$setting: no warning if the session has the same");
	like(register('desk.note', 'SET search_path = public;'), qr/a worker, as role "office", looks in desk, public/, 'a warning if it has another one');
	(my $reset = $setting) =~ s/SET search_path.*/RESET search_path/;
	as('postgres', $reset);
}
register('desk.note');
as('postgres', "SELECT pg_terminate_backend(pid) FROM pm.worker WHERE role = 'office'; INSERT INTO shop.orders (stream, type) VALUES ('s', 'x')");
ok(PmTest::wait_until($node, "SELECT state FROM pm.parked WHERE process_manager = 'o'", 'dead'), 'a worker does not find the name');
like(as('postgres', "SELECT message, hint FROM pm.parked WHERE process_manager = 'o'"),
	qr/relation "seen" does not exist\|A worker, as role "office", looks for names in public\. .* (ALTER FUNCTION desk\.note\(pm\.event\) SET search_path FROM CURRENT) in a session/, 'pm.parked says where it looks');
as('office', 'SET search_path = desk, public; ALTER FUNCTION desk.note(pm.event) SET search_path FROM CURRENT; SELECT pm.retry(process_manager, log, position) FROM pm.parked');
ok(PmTest::wait_until($node, 'SELECT count(*) FROM desk.seen', 1), 'following it helps');
is(as('postgres', 'SELECT count(*) FROM pm.parked'), 0, 'nothing is parked any more');

# With 'halt', pm.status and the server's log say it.
as('office', "ALTER FUNCTION desk.note(pm.event) RESET search_path; SELECT pm.register('o', 'desk.note', '{orders}', max_attempts => 1, on_failure => 'halt')");
as('postgres', "INSERT INTO shop.orders (stream, type) VALUES ('s', 'x')");
ok(PmTest::wait_until($node, "SELECT state FROM pm.status WHERE process_manager = 'o'", 'halted'), "with on_failure => 'halt'");
like(status('o', 'hint'), qr/^Correct the handler, or the event in the log, then SELECT pm\.resume\('o'\)\. A worker, as role "office", looks for names in public\./, 'pm.status says it, too');
like(PostgreSQL::Test::Utils::slurp_file($node->logfile), qr/HINT:  A worker, as role "office", looks for names in public\./, "and the server's log");

# Hints about corrected data: with 'halt', the event is read from the log again.
as('postgres', "UPDATE shop.orders SET type = 'good' WHERE position = (SELECT max(position) FROM shop.orders)");
as('office', "CREATE OR REPLACE FUNCTION desk.note(e pm.event) RETURNS void LANGUAGE plpgsql AS \$\$ BEGIN IF e.type <> 'good' THEN RAISE 'not good'; END IF; INSERT INTO desk.seen VALUES (e.position); END \$\$; SELECT pm.resume('o')");
ok(PmTest::wait_until($node, 'SELECT count(*) FROM desk.seen', 2), 'halted: an event that was corrected in the log is handled');

# The log reports a failure before its consequence.
my $log = PostgreSQL::Test::Utils::slurp_file($node->logfile);
like($log, qr/"o" in database "postgres": the handler failed at position .*"o" in database "postgres" has halted/s, 'a failure, then that it is halted');
unlike($log, qr/"o" in database "postgres" has halted.*"o" in database "postgres": the handler failed at position/s, 'not in the other order');
as('shop', "SELECT pm.register('d', 'shop.bad', '{orders}', start_at => 'end', max_attempts => 2, backoff => '10 ms')");
as('postgres', "INSERT INTO shop.orders (stream, type) VALUES ('d', 'x')");
ok(PmTest::wait_until($node, "SELECT state FROM pm.parked WHERE process_manager = 'd'", 'dead'), 'a parked event is dead');
$log = PostgreSQL::Test::Utils::slurp_file($node->logfile);
like($log, qr/("d" in database "postgres": the handler failed.*){2}"d" in database "postgres": the event at position [0-9]+ of log "orders" is dead/s, 'each failure, then that the event is dead');
unlike($log, qr/"d" in database "postgres": the event at position [0-9]+ of log "orders" is dead.*"d" in database "postgres": the handler failed/s, 'no failure after that');
as('shop', "SELECT pm.unregister('d')");

# With 'halt', the hint fits the cause: a lock, a call that takes too long, a right, a consumer that does not advance.
as('office', "CREATE TABLE desk.busy (n int); INSERT INTO desk.busy VALUES (1); CREATE SEQUENCE desk.numbers;
	CREATE FUNCTION desk.waits(e pm.event) RETURNS void LANGUAGE plpgsql AS 'BEGIN UPDATE desk.busy SET n = n + 1; END';
	CREATE FUNCTION desk.sleeps(e pm.event) RETURNS void LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(60); END';
	CREATE FUNCTION desk.draws(e pm.event) RETURNS void LANGUAGE plpgsql AS 'BEGIN PERFORM nextval(''desk.numbers''); END'");
as('postgres', "ALTER SEQUENCE desk.numbers OWNER TO shop");
my $holder = PmTest::session($node, user => 'office');
$holder->do('BEGIN; UPDATE desk.busy SET n = 0');
as('office', "SELECT pm.register(f, 'desk.' || f, '{orders}', start_at => 'end', max_attempts => 1, on_failure => 'halt', handler_timeout => '300 ms') FROM unnest('{waits,sleeps,draws}'::text[]) f;
	SELECT pm.register('mailer', NULL, '{orders}', start_at => 'end', max_attempts => 1, on_failure => 'halt', lease => '100 ms')");
as('postgres', "INSERT INTO shop.orders (stream, type) VALUES ('s', 'good')");
ok(PmTest::wait_until($node, "SELECT count(*) FROM pm.status WHERE process_manager IN ('waits', 'sleeps', 'draws') AND state = 'halted'", 3), 'three are halted')
  or diag(as('postgres', 'SELECT * FROM pm.status'));
ok(PmTest::wait_until($node, "SELECT count(*) = 0 AND (SELECT state = 'halted' FROM pm.status WHERE process_manager = 'mailer') FROM pm.fetch('mailer', 'bridge-1')", 't'), 'a consumer that fetches and never advances: halted');
like(status('waits', 'reason || hint'), qr/it was waiting for a lockWhile a handler waits for a lock, SELECT \* FROM pm\.blocker shows which session holds it\..*then SELECT pm\.resume\('waits'\)/, 'a lock');
like(status('sleeps', 'reason || hint'), qr/within handler_timeout \(300 ms\)Make the handler faster, or give it more time with pm\.alter\('sleeps', handler_timeout => \.\.\.\), then SELECT pm\.resume\('sleeps'\)/, 'a long call');
like(status('draws', 'hint'), qr/^Grant the missing right, or correct the handler, then SELECT pm\.resume\('draws'\)\. The handler runs as role "office"\. Run GRANT USAGE ON SEQUENCE desk\.numbers TO office\.$/, 'a right');
like(status('mailer', 'reason || hint'), qr/^the event at position \d+ of log "orders" was fetched once, by consumer "bridge-1", and the lease ran out before it was advancedCorrect the consumer, whose lease lasts 100 ms, then SELECT pm\.resume\('mailer'\)\. A consumer has to call pm\.advance or pm\.fail for what it has fetched, or pm\.extend, before its lease ends\./, 'a consumer that does not advance')
  or diag(status('mailer', '*'));
$holder->do('ROLLBACK');
$holder->quit;
as('postgres', status('draws', "substring(hint FROM '(GRANT USAGE.*)\\.\$')"));
as('office', "SELECT pm.resume(name) FROM pm.process_manager WHERE name IN ('waits', 'draws')");
ok(PmTest::wait_until($node, "SELECT count(*) FROM pm.status WHERE process_manager IN ('waits', 'draws') AND state = 'idle' AND lag = 0", 2), 'what the hints say helps')
  or diag(as('postgres', 'SELECT * FROM pm.status'));
as('office', "SELECT pm.unregister(name) FROM pm.process_manager WHERE name IN ('waits', 'sleeps', 'draws', 'mailer')");

PmTest::no_crash_ok($node);
$node->stop;
done_testing();
