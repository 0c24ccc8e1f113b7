# A table that has the triggers of a log but is not one: one schema of a dump restored where pm
# exists, CREATE TABLE LIKE a log, what DROP EXTENSION and pm.drop_log have left. pm.create_log
# makes it a log, with its rows and with positions that continue, and pm.drop_log removes the
# triggers. Only its owner may do so.
use strict;
use warnings FATAL => 'all';

use PmTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $from = PmTest::node('from');
my $to = PmTest::node('to');
my $dir = PostgreSQL::Test::Utils::tempdir;

for my $node ($from, $to)
{
	$node->safe_psql('postgres', 'CREATE ROLE app LOGIN; CREATE ROLE other LOGIN; GRANT USAGE ON SCHEMA pm TO app, other; GRANT CREATE ON DATABASE postgres TO app');
	PmTest::create_seen($node);
}
PmTest::create_handler($to, 'keep');

sub answer
{
	my ($sql, $role) = @_;
	my ($rc, $out, $err) = $to->psql('postgres', $sql, on_error_stop => 1, extra_params => [ '-v', 'VERBOSITY=verbose', '-U', $role // 'app' ]);
	return $rc == 0 ? $out : $err;
}

# Tests that positions continue after the existing ones, nothing is lost, and all of it is handled.
sub is_log
{
	my ($log, $table, $rows, $version, $name) = @_;

	is(answer("SELECT count(*) FROM pm.read('$log', 0, NULL)"), $rows, "$name: its rows are events");
	my $max = answer("SELECT max(position) FROM $table");
	is(answer("SELECT pm.append('$log', 'new', 't')"), $max + 1, "$name: positions continue");
	is(answer("SELECT pm.append('$log', 'v', 't', expected_version => $version)"), $max + 2, "$name: so do versions");
	like(answer("INSERT INTO $table (position, stream, type) OVERRIDING SYSTEM VALUE VALUES (2, 's', 't')"), qr/428C9|23505/, "$name: the triggers are complete");
	answer("GRANT SELECT ON $table TO postgres; GRANT USAGE ON SCHEMA " . ($table =~ s/\..*//r) . ' TO postgres') if $table =~ /\./;
	is(answer("SELECT pm.register('keep', 'keep', '{$log}', start_at => 'beginning')", 'postgres'), '', "$name: it can be followed");
	ok(PmTest::wait_seen($to, 'keep', $rows + 2), "$name: it is handled");
	answer("SELECT pm.unregister('keep'); TRUNCATE seen", 'postgres');
	return;
}

# ---- one schema of a dump

$from->safe_psql('postgres', <<'SQL', extra_params => [ '-U', 'app' ]);
CREATE SCHEMA sales;
SELECT pm.create_log('sales.orders'), pm.create_log('sales."Odd Name"');
SELECT pm.append('sales.orders', 'v', 't'), pm.append('sales.orders', 'v', 't');
INSERT INTO sales.orders (stream, type) SELECT 's', 't' FROM generate_series(1, 8);
BEGIN;
INSERT INTO sales.orders (stream, type) SELECT 'gap', 't' FROM generate_series(1, 5);
ROLLBACK;
SQL
$from->command_ok([ 'pg_dump', '-n', 'sales', '-f', "$dir/sales.sql", $from->connstr('postgres') ], 'pg_dump of one schema');
$to->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $to->connstr('postgres'), '-f', "$dir/sales.sql" ], 'restored where pm exists');
is(answer("SELECT count(*) FROM pm.log; SELECT count(*) FROM pg_trigger WHERE tgrelid = 'sales.orders'::regclass"), "0\n3", 'the tables have the triggers and are not logs');
answer("INSERT INTO sales.orders (stream, type) VALUES ('s', 'before')");
like(answer("SELECT pm.create_log('sales.orders')", 'other'), qr/42501/, 'another role cannot make it a log');
like(answer("SELECT pm.drop_log('sales.orders')", 'other'), qr/ERROR:  42/, 'nor remove its triggers');
is(answer("SELECT pm.create_log('sales.orders')"), '', 'dump: its owner makes it a log');
is_log('sales.orders', 'sales.orders', 11, 2, 'dump');
like(answer("SELECT pm.create_log('sales.orders')"), qr/42710/, 'dump: only once');
answer('TRUNCATE sales."Odd Name"');
is(answer(q{SELECT pm.drop_log('sales."Odd Name"')}), '', 'the triggers of the other table are removed');
is(answer(q{TRUNCATE sales."Odd Name"; INSERT INTO sales."Odd Name" (position, stream, type) OVERRIDING SYSTEM VALUE VALUES (7, 's', 't'); SELECT count(*) FROM sales."Odd Name"}), 1, 'it is a plain table');
is(answer(q{SELECT (SELECT count(*) FROM pg_trigger WHERE tgrelid = 'sales."Odd Name"'::regclass), (SELECT count(*) FROM pg_constraint WHERE contype = 'c' AND conrelid = 'sales."Odd Name"'::regclass)}), '0|0', 'nothing of the log is left');
like(answer(q{SELECT pm.drop_log('sales."Odd Name"')}), qr/42704/, 'once');

# ---- LIKE a log

answer('CREATE TABLE sales.copy (LIKE sales.orders INCLUDING ALL)');
my $refused = answer("INSERT INTO sales.copy (stream, type) VALUES ('s', 't')");
like($refused, qr/55000.*pm\.create_log\('sales\.copy'\).*pm\.drop_log\('sales\.copy'\)/s, 'a table LIKE a log refuses rows, with a hint');
is(answer("BEGIN; SELECT pm.create_log('sales.copy'); SELECT pm.append('sales.copy', 's', 't') > 0; ROLLBACK"), "\nt", 'pm.create_log makes it a log');
is(answer("SELECT pm.drop_log('sales.copy'); INSERT INTO sales.copy OVERRIDING SYSTEM VALUE SELECT * FROM sales.orders"), '', 'without its triggers it accepts all rows of the log');
is(answer("SELECT pm.create_log('sales.copy')"), '', 'LIKE: it becomes a log');
is_log('sales.copy', 'sales.copy', 13, 3, 'LIKE');
answer("SELECT pm.drop_log('sales.copy')");
is(answer("SELECT pm.create_log('sales.copy')"), '', 'a table left by pm.drop_log becomes a log again');
is(answer("SELECT max(position) FROM sales.copy; SELECT pm.append('sales.copy', 'v', 't', expected_version => 4) - max(position) FROM sales.copy") =~ s/.*\n//r, 1, '... and continues');

# ---- tables that cannot become a log

my @lacks = (
	[ 'without the identity', 'CREATE TABLE sales.x (LIKE sales.orders INCLUDING ALL EXCLUDING IDENTITY)', qr/42P07.*not GENERATED ALWAYS AS IDENTITY.*ADD GENERATED/s,
		'ALTER TABLE sales.x ALTER COLUMN position ADD GENERATED ALWAYS AS IDENTITY' ],
	[ 'without the indexes', 'CREATE TABLE sales.x (LIKE sales.orders INCLUDING ALL EXCLUDING INDEXES)', qr/42P07.*ADD PRIMARY KEY/s,
		'ALTER TABLE sales.x ADD PRIMARY KEY (position); ALTER TABLE sales.x ADD UNIQUE (stream, version)' ],
	[ 'with nulls', 'CREATE TABLE sales.x (LIKE sales.orders INCLUDING ALL); ALTER TABLE sales.x ALTER data DROP NOT NULL', qr/42P07.*ALTER COLUMN data SET NOT NULL/s,
		'ALTER TABLE sales.x ALTER COLUMN data SET NOT NULL' ],
	[ 'unlogged', 'CREATE UNLOGGED TABLE sales.x (LIKE sales.orders INCLUDING ALL)', qr/42P07.*ordinary, permanent/s, 'ALTER TABLE sales.x SET LOGGED' ],
	[ 'with another type', 'CREATE TABLE sales.x (LIKE sales.orders INCLUDING ALL); ALTER TABLE sales.x ALTER type TYPE varchar', qr/42P07.*"type" is generated or not of type text/s,
		'ALTER TABLE sales.x ALTER type TYPE text' ],
	[ 'with a cache', 'CREATE TABLE sales.x (LIKE sales.orders INCLUDING ALL); ALTER TABLE sales.x ALTER position SET CACHE 10', qr/55000.*CACHE 10/s,
		'ALTER TABLE sales.x ALTER position SET CACHE 1' ]);
# A server that was built without ICU has no such collation.
if (answer(q{CREATE COLLATION sales.ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false)}) eq '')
{
	push @lacks, [ 'with equal streams that differ', 'CREATE TABLE sales.x (LIKE sales.orders INCLUDING ALL); ALTER TABLE sales.x ALTER stream TYPE text COLLATE sales.ci',
		qr/42P07.*"stream" has a nondeterministic collation.*COLLATE "default"/s, 'ALTER TABLE sales.x ALTER COLUMN stream TYPE text COLLATE "default"' ];
}
else
{
	diag('no nondeterministic collation can be created here, so none is tested');
}
for my $lack (@lacks)
{
	my ($name, $make, $reason, $mend) = @$lack;

	answer($make);
	like(answer("SELECT pm.create_log('sales.x')"), $reason, "$name: refused, with the reason");
	answer($mend);
	is(answer("SELECT pm.create_log('sales.x'); SELECT pm.append('sales.x', 's', 't')"), "\n1", "$name: the hint helps");
	answer("DROP TABLE sales.x");
}
answer("CREATE TABLE sales.x (LIKE sales.orders INCLUDING ALL EXCLUDING CONSTRAINTS); INSERT INTO sales.x (position, stream, type) OVERRIDING SYSTEM VALUE VALUES (-3, 's', 't')");
like(answer("SELECT pm.create_log('sales.x')"), qr/55000.*not above 0/s, 'a position that would never be handled is refused');
is(answer("SELECT count(*) FROM pm.log WHERE name = 'sales.x'; SELECT count(*) FROM pg_trigger WHERE tgrelid = 'sales.x'::regclass"), "0\n0", 'nothing is changed');
# an index that runs code does not run as the role that repairs
answer(<<'SQL');
TRUNCATE sales.x;
CREATE TABLE sales.ran (who text);
GRANT INSERT ON sales.ran TO PUBLIC;
CREATE FUNCTION sales.grab() RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN INSERT INTO sales.ran VALUES (current_user); RETURN true; EXCEPTION WHEN OTHERS THEN RETURN true; END $$;
CREATE INDEX ON sales.x (stream) WHERE sales.grab();
TRUNCATE sales.ran;
SQL
is(answer("SELECT pm.create_log('sales.x')", 'postgres'), '', 'a superuser makes the table of another role a log');
is(answer("SELECT count(*) FROM sales.ran WHERE who = 'postgres'"), 0, 'and runs nothing of his') or diag(answer('SELECT * FROM sales.ran'));

# ---- after DROP EXTENSION

answer('SET client_min_messages = error; DROP EXTENSION pm CASCADE; CREATE EXTENSION pm; GRANT USAGE ON SCHEMA pm TO app', 'postgres');
PmTest::create_handler($to, 'keep');
is(answer("INSERT INTO sales.orders (stream, type) VALUES ('s', 'between'); SELECT pm.create_log('sales.orders')"), '', 'DROP EXTENSION: its tables become logs again');
is(answer("SELECT count(*) FROM pm.read('sales.orders', 0, NULL)"), 14, 'with all events');

PmTest::no_crash_ok($_) for $from, $to;
$_->stop('fast') for $from, $to;
done_testing();
