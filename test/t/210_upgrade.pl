# Upgrades. The library is replaced and the server restarted while the extension in the database still has the
# previous version: writers, readers and workers continue, and new features are refused with a hint that helps.
# ALTER EXTENSION pm UPDATE, under load, has the same result as CREATE EXTENSION in a new database, compared object
# by object. Nothing is lost, handled twice or out of order, and the times of the effects show the longest time
# during which nothing was handled. The extension is updated an hour of events later: as many as come in an hour at the
# rate of the writer, or an hour of the clock. The comparison finds whatever an upgrade script omits.
#
#   PM_SOAK=1                   the previous extension is served for ten minutes, or for
#   PM_UPGRADE_SECONDS=3600     this time, while the writer writes
#
# The next version is built here: the current sources plus test/upgrade/.
use strict;
use warnings FATAL => 'all';

use PmCatalog;
use PmTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $root = $ENV{PM_TEST_ROOT};
my $work = PostgreSQL::Test::Utils::tempdir;
my ($current) = slurp_file("$root/pm.control") =~ /^default_version *= *'(.*)'/m;
my $next = $current =~ s/^(\d+)\.(\d+)\..*/"$1." . ($2 + 1) . '.0'/er;

# Where the server looks for extensions before it looks in its own folders.
my $conf = slurp_file($ENV{TEMP_CONFIG});
my ($dest) = $conf =~ /^(?:extension_destdir = '(.+)'|extension_control_path = '(.+?)\/usr)/m ? ($1 // $2) : ();
plan skip_all => 'this server finds extensions in its own folders only' unless defined $dest;
my $next_dest = "$work/dest";

# ---- a released version does not change

my $frozen = "$root/src/sql/released/pm--$current.sql";
SKIP:
{
	skip "version $current is not released", 1 unless -e $frozen;
	is(slurp_file("$root/pm--$current.sql"), slurp_file($frozen), "the install script of $current is the released one");
}

# ---- the next version

system_or_bail('cp', '-a', "$root/.", "$work/src");
system_or_bail('cp', "$root/test/upgrade/next.c", "$root/test/upgrade/next.h", "$work/src/src/manager/");
system_or_bail('cp', "$root/test/upgrade/next.sql", "$work/src/src/sql/95_next.sql");
system_or_bail('mkdir', '-p', "$work/src/src/sql/upgrade", "$work/src/src/sql/released");
system_or_bail('cp', "$root/test/upgrade/next.sql", "$work/src/src/sql/upgrade/pm--$current--$next.sql");
system_or_bail('cp', "$root/pm--$current.sql", "$work/src/src/sql/released/");
system_or_bail('sed', '-i', "s/^\\(#define PM_VERSION[[:space:]]\\).*/\\1\"$next\"/", "$work/src/src/pm.h");
system_or_bail('sed', '-i', "s/^default_version.*/default_version = '$next'/", "$work/src/pm.control");

# What a developer of the next version changes: a column in three private tables, and an argument of pm.pause.
sub edit
{
	my ($file, %edits) = @_;
	my $path = "$work/src/src/manager/$file";
	my $text = slurp_file($path);

	for my $before (keys %edits)
	{
		my @parts = split /\Q$before\E/, $text, -1;
		die "$file does not contain this once: $before\n" if @parts != 2;
		$text = $parts[0] . $edits{$before} . $parts[1];
	}
	unlink $path;
	append_to_file($path, $text);
	return;
}
# A column becomes the last one of a list of columns by number.
sub edit_columns
{
	my ($prefix, $column, $header, $source) = @_;
	my ($last) = slurp_file("$work/src/src/manager/$header") =~ /#define ${prefix}_COLUMNS\s+(\w+)/ or die;

	edit($header, "\t$last\n};" => "\t$last,\n\t${prefix}_\U$column\E\n};");
	system_or_bail('sed', '-i', "s/^\\(#define ${prefix}_COLUMNS[[:space:]]\\).*/\\1${prefix}_\U$column/", "$work/src/src/manager/$header");
	my ($entry) = slurp_file("$work/src/src/manager/$source") =~ /(\n\t\[$last - 1\] = "\w+",)/ or die;
	edit($source, $entry => "$entry\n\t[${prefix}_\U$column\E - 1] = \"$column\",");
	return;
}
edit_columns('CURSOR', 'next_moves', 'cursor.c', 'cursor.c');
edit('cursor.c',
	"#include \"manager/cursor.h\"\n" => "#include \"manager/cursor.h\"\n#include \"manager/next.h\"\n",
	"\tcursor_scan_log(&scan, pm, lane, cursor->log, RowExclusiveLock);\n" =>
	  "\tnext_batch(pm->name, handled);\n\tcursor_scan_log(&scan, pm, lane, cursor->log, RowExclusiveLock);\n",
	"\t\tcursor_set(&scan, replace, CURSOR_HANDLED," =>
	  "\t\tcursor_set(&scan, replace, CURSOR_NEXT_MOVES, Int64GetDatum(DatumGetInt64(scan.values[CURSOR_NEXT_MOVES - 1]) + 1));\n"
	  . "\t\tcursor_set(&scan, replace, CURSOR_HANDLED,");
edit_columns('LANE', 'next_writes', 'lane_row.h', 'lane_row.c');
edit('lane_row.c', "\tRowScan *scan = &row->scan;\n\n" => "\tRowScan *scan = &row->scan;\n\n\tif (row->write)\n\t\tlane_row_add(row, LANE_NEXT_WRITES, 1);\n");
edit('registration.h', "\tREGISTRATION_COLUMNS\n" => "\tREGISTRATION_NEXT_NOTE,\n\tREGISTRATION_COLUMNS\n");
edit('registration.c', "\n};\n\nStaticAssertDecl" =>
	  "\n\t[REGISTRATION_NEXT_NOTE] = {\"next_note\", TEXTOID, REGISTRATION_SETTING, SINCE(\"$next\")},\n};\n\nStaticAssertDecl");
edit('register.c', "\trow.values[REGISTRATION_NAME] =" =>
	  "\trow.values[REGISTRATION_NEXT_NOTE] = CStringGetTextDatum(\"registered by the next version\");\n\trow.values[REGISTRATION_NAME] =");
edit('pause.c',
	"#include \"manager/manager_lock.h\"\n" => "#include \"manager/manager_lock.h\"\n#include \"manager/next.h\"\n",
	"\t(void) exec_as_owner(&pause, values, NULL);\n" => "\tif (PG_NARGS() > 1 && !PG_ARGISNULL(1))\n"
	  . "\t\tnext_set_note(pm->name, text_to_cstring(PG_GETARG_TEXT_PP(1)));\n\t(void) exec_as_owner(&pause, values, NULL);\n");
# Only these object files change, so the others are not rebuilt.
my %touched = map { $_ => 1 } qw(registration.h lane_row.h);
system_or_bail('touch', '-r', "$root/src/pm.h", map { "$work/src/src/$_" } 'pm.h', map { "manager/$_" } 'next.h', keys %touched);
unlink map { s/\.c$/.o/r }
  grep { slurp_file($_) =~ /PM_VERSION|PM_OLDEST_SERVED|REGISTRATION_|LaneRow|next_/ } glob "$work/src/src/*.c $work/src/src/*/*.c";
my @make = ('make', '-s', '-C', "$work/src", 'with_llvm=no', 'PM_STRICT=1');
system_or_bail(@make, 'all');
system_or_bail(@make, "DESTDIR=$next_dest", 'install');
system_or_bail('chmod', '-R', 'go+rX', $work);

# ---- a database in use

my $node = PmTest::node('main', conf => "max_connections = 40\n");
my $log_at = 0;
PmTest::create_seen($node);
PmTest::create_handler($node, 'plain');
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE app LOGIN;
GRANT USAGE ON SCHEMA pm TO app;
CREATE SCHEMA app AUTHORIZATION app;
SQL
$node->safe_psql('postgres', <<'SQL', extra_params => [ '-U', 'app' ]);
CREATE FUNCTION app.keep(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF e.type = 'bad' THEN RAISE EXCEPTION 'not this one'; END IF;
	IF e.type = 'later' THEN PERFORM pm.set_timer('ring', pm.now() + interval '1 day'); END IF;
	RETURN coalesce(state, '{}') || jsonb_build_object('n', coalesce((state ->> 'n')::int, 0) + 1);
END $$;
SELECT pm.create_log('app.orders');
SELECT pm.create_log('app.old');
SELECT pm.register('keep', 'app.keep', '{app.orders}', lanes => 2, max_attempts => 2, backoff => '1 h');
SELECT pm.append('app.orders', 's' || i % 7, CASE i WHEN 20 THEN 'bad' WHEN 30 THEN 'later' ELSE 'plain' END) FROM generate_series(1, 40) i;
SELECT pm.catch_up('keep', on_failure => 'policy');
SELECT pm.register('keep', 'app.keep', '{app.orders}', lanes => 3, max_attempts => 2, backoff => '1 h');
SELECT pm.append('app.old', 'gone', 'plain') FROM generate_series(1, 3);
SELECT pm.trim('app.old', 3);
SQL
$node->safe_psql('postgres', "SELECT pm.create_log('flow'); SELECT pm.register('plain', 'plain', '{flow}')");

# Rows that must still exist afterwards. (Former lanes have rows only while the lanes are at different positions.)
my %rows = map { $_ => $node->safe_psql('postgres', "SELECT count(*) FROM pm_catalog.$_") }
  qw(log process_manager cursor lane instance timer parked trimmed);
ok($rows{$_} > 0, "pm_catalog.$_ has rows: $rows{$_}") for sort keys %rows;

my $seconds = $ENV{PM_UPGRADE_SECONDS} // ($ENV{PM_SOAK} ? 600 : 0);
my $began = $node->safe_psql('postgres', 'SELECT clock_timestamp()');

# A writer that continues whatever happens to the server, until it is told to stop.
my $stop = "$work/stop";
my $writer = PmTest::start_program($node, 'sh', '-c',
	"while [ -d '$work' ] && [ ! -e '$stop' ]; do psql -X -q -d postgres -c \"INSERT INTO flow (stream, type) VALUES ('a', 'A'), ('b', 'B')\" >/dev/null 2>&1 || sleep 0.02; done");
sub handled { return $node->safe_psql('postgres', 'SELECT count(*) FROM seen'); }
sub goes_on
{
	my ($what) = @_;
	my $before = handled();
	ok(PmTest::wait_until($node, "SELECT count(*) > $before + 20 FROM seen", 't'), $what);
	return;
}
goes_on('events are handled');

# ---- the library is replaced

# The server finds the library under this folder from now on.
sub use_library
{
	my ($to) = @_;

	$log_at = -s $node->logfile;
	$node->stop('fast');
	$node->append_conf('postgresql.conf', join("\n", grep { /^(extension|dynamic)/ } split /\n/, $conf =~ s/\Q$dest\E/$to/gr) . "\n");
	$node->start;
	return;
}
my $down = time;
use_library($next_dest);
is($node->safe_psql('postgres', 'SELECT version, fits FROM pm_catalog.library()'), "$next|t", 'the library is the next one');
goes_on('an extension of the previous version works');
PmTest::figure(sprintf 'the library replaced: %.1f s from the stop to 20 events handled', time - $down);
is($node->safe_psql('postgres', "SELECT count(*) FROM pm.status WHERE process_manager = 'plain' AND state IN ('idle', 'running')"), '1',
	'pm.status shows no problem');
is($node->safe_psql('postgres', 'SELECT extversion FROM pg_extension WHERE extname = \'pm\''), $current, 'the extension still has the previous version');
like(substr(slurp_file($node->logfile), $log_at), qr/the extension pm of database "postgres" has version \Q$current\E, and the library has version \Q$next\E/,
	'the log names both versions');

# Everything that a user does still works.
$node->safe_psql('postgres', <<'SQL', extra_params => [ '-U', 'app' ]);
SELECT pm.append('app.orders', 's1', 'plain');
SELECT pm.wait_for('keep', 'app.orders', 1);
SELECT pm.pause('keep'); SELECT pm.resume('keep');
SELECT pm.register('keep', 'app.keep', '{app.orders}', lanes => 3, max_attempts => 3, backoff => '1 h');
SELECT count(*) FROM pm.status; SELECT count(*) FROM pm.parked; SELECT count(*) FROM pm.timer; SELECT count(*) FROM pm.instance;
SQL

# Sessions that have used the tables as they are now continue after the update.
my %session = map { $_ => PmTest::session($node, user => $_ eq 'app' ? 'app' : undef) } qw(app admin);
my $register = "SELECT pm.register('keep', 'app.keep', '{app.orders}', lanes => 3, max_attempts => 3, backoff => '1 h')";
$node->safe_psql('postgres', "CREATE FUNCTION public.early() RETURNS text LANGUAGE C AS 'pm', 'pm_next_feature';
	CREATE FUNCTION public.early_note(text) RETURNS text LANGUAGE C AS 'pm', 'pm_next_note'");
$session{app}->do($register);
is($session{app}->do("SELECT public.early_note('keep')"), '', 'a column that is not there yet is NULL');
my $dispatcher = $node->safe_psql('postgres', "SELECT string_agg(pid::text, ',' ORDER BY pid) FROM pm.worker WHERE kind = 'dispatcher'");
my (undef, undef, $refused) = $node->psql('postgres', 'SELECT public.early()');
like($refused, qr/pm\.next_feature needs version \Q$next\E of the extension pm\n.*\nHINT:  Run ALTER EXTENSION pm UPDATE\./, 'a new feature is refused, and the hint says what to do');

# ---- an hour of events

my $rate = $node->safe_psql('postgres', "SELECT count(*) / extract(epoch FROM max(at) - '$began') FROM seen WHERE pm = 'plain'");
my $hour = $seconds ? 0 : int(3600 * $rate);
my $chunk = 5000;
for (my $written = 0; $written < $hour; $written += $chunk)
{
	# Not more than the dispatcher handles, so that the writer's events are handled at once, too.
	$node->safe_psql('postgres', "INSERT INTO flow (stream, type) SELECT 'h' || i % 50, 'H' FROM generate_series(1, $chunk) i; SELECT pm.wait_for('plain', timeout => '60 s')");
}
sleep $seconds;
my $events = $node->safe_psql('postgres', "SELECT count(*) FROM seen WHERE pm = 'plain'");
cmp_ok($events, '>=', $hour, "an hour of events has been handled: $events");
my $served = $node->safe_psql('postgres', 'SELECT clock_timestamp()');

# ---- the extension is updated, under load

$node->safe_psql('postgres', 'ALTER EXTENSION pm UPDATE');
is($node->safe_psql('postgres', 'SELECT extversion FROM pg_extension WHERE extname = \'pm\''), $next, 'updated');
is($node->safe_psql('postgres', 'SELECT public.early()'), 'the next version', 'the new feature works: the hint has helped');
goes_on('events are handled after the update');
is($node->safe_psql('postgres', "SELECT string_agg(pid::text, ',' ORDER BY pid) FROM pm.worker WHERE kind = 'dispatcher'"), $dispatcher,
	'by the same dispatchers');
ok(PmTest::wait_until($node, "SELECT next_moves > 0 FROM pm_catalog.cursor WHERE process_manager = 'plain'"), 'which write the new column of pm_catalog.cursor');
ok(PmTest::wait_until($node, "SELECT count(*) > 0 FROM pm_catalog.next_batch WHERE process_manager = 'plain'"), 'and the new table');
$session{app}->do($register);
is($session{app}->do("SELECT public.early_note('keep')"), 'registered by the next version', 'a session writes and reads the new column of pm_catalog.process_manager');
is($session{admin}->do("SELECT bool_and(next_writes > 0) FROM pm_catalog.lane WHERE process_manager = 'keep'"), 't', 'and that of pm_catalog.lane');
$session{app}->do("SELECT pm.pause('keep', 'a reason')");
is($session{app}->do("SELECT public.early_note('keep')"), 'a reason', 'a function has its new argument');
$session{app}->do("SELECT pm.resume('keep')");
$session{$_}->quit for keys %session;

# The extension of the previous version again, in a session that knows the next one.
$node->safe_psql('postgres', 'CREATE DATABASE again');
$node->safe_psql('again', "CREATE EXTENSION pm");
PmTest::create_seen($node, dbname => 'again');
PmTest::create_handler($node, 'plain', dbname => 'again');
my $again = PmTest::session($node, dbname => 'again');
for my $version ($next, $current)
{
	$again->do("SELECT pm.create_log('flow'); SELECT pm.register('plain', 'plain', '{flow}');
		INSERT INTO flow (stream, type) SELECT 'a', 'A' FROM generate_series(1, 10);
		SELECT pm.catch_up('plain')");
	is($again->do("SELECT count(*) FROM public.seen"), $version eq $next ? '10' : '20', "$version: events are handled");
	is($again->do("SELECT count(*) FROM pg_attribute WHERE attrelid = 'pm_catalog.cursor'::regclass AND attname = 'next_moves'"), $version eq $next ? '1' : '0',
		"$version is there");
	last if $version eq $current;
	$again->do("DROP EXTENSION pm CASCADE; DROP TABLE flow; CREATE EXTENSION pm VERSION '$current'");
	PmTest::create_handler($node, 'plain', dbname => 'again');
}
$again->do("ALTER EXTENSION pm UPDATE; SELECT pm.pause('plain', 'updated')");
is($again->do("SELECT next_note FROM pm_catalog.process_manager"), 'updated', 'and is updated');
$again->quit;

is($node->safe_psql('postgres', "SELECT count(*) >= $rows{$_} FROM pm_catalog.$_"), 't', "pm_catalog.$_ has kept its rows") for sort keys %rows;

$node->safe_psql('postgres', 'CREATE DATABASE fresh');
$node->safe_psql('fresh', 'CREATE EXTENSION pm; GRANT USAGE ON SCHEMA pm TO app');
my $wanted = PmCatalog::describe($node, 'fresh');
# The types of process managers are created by pm.register, not by the extension.
my $types = qr/^.*pm_process_manager\.\w+.*\n?/m;
cmp_ok(scalar(split /\n/, $wanted), '>', 300, 'there are many objects to compare');
is(PmCatalog::differences(PmCatalog::describe($node, 'postgres') =~ s/$types//gr, $wanted =~ s/$types//gr), '',
	'an updated extension is the same as a new one');

my $ended = $node->safe_psql('postgres', 'SELECT clock_timestamp()');

# ---- the library is older than the extension: it waits, and says what to do

use_library($dest);
ok(PmTest::wait_in_log($node, qr/pm does not run in database "postgres"\n.*has version \Q$next\E, and the library is older: \Q$current\E\.\n.*HINT: .*Install version \Q$next\E of the library and restart the server\./),
	'the log says that the library is older, and what to do');
is($node->safe_psql('postgres', "SELECT DISTINCT state, reason, hint FROM pm.status WHERE process_manager = 'plain'"),
	"waiting|no worker runs, because the library of pm has version $current, which is older than version $next of the extension|Install version $next of the library and restart the server.",
	'pm.status says it too');
my $stands = handled();
my $written = $node->safe_psql('postgres', 'SELECT count(*) FROM flow');
ok(PmTest::wait_until($node, "SELECT count(*) > $written + 20 FROM flow", 't'), 'writers continue');
(undef, undef, $refused) = $node->psql('postgres', "SELECT pm.catch_up('plain')");
like($refused, qr/the library of pm is older than the extension pm of this database\n.*\nHINT:  Install version \Q$next\E of the library and restart the server\./, 'a session is told the same');
is(handled(), $stands, 'nothing is handled');
is(scalar(() = substr(slurp_file($node->logfile), $log_at) =~ /pm does not run in database "postgres"/g), 1, 'the log says it once');
use_library($next_dest);
goes_on('with the new library, events are handled again');

# ---- the check

append_to_file($stop, '');
PmTest::finish_psql($writer);
is($node->safe_psql('postgres', "SELECT pm.wait_for('plain', timeout => '60 s')"), 't', 'all is handled');
PmTest::exactly_once_ok($node, 'plain', 'flow');

# The longest time during which nothing was handled, although there was always something to handle.
sub standstill
{
	my ($from, $to) = @_;
	return $node->safe_psql('postgres', <<"SQL");
SELECT round(extract(epoch FROM max(gap)), 2) FROM (
	SELECT at - lag(at, 1, '$from') OVER (ORDER BY at) AS gap FROM seen WHERE pm = 'plain' AND at BETWEEN '$from' AND '$to'
) g
SQL
}
my ($replaced, $updated) = (standstill($began, $served), standstill($served, $ended));
PmTest::figure(sprintf 'the longest standstill: %s s while the library was replaced, %s s while the extension was updated, after %d events (%.0f/s)',
	$replaced, $updated, $events, $rate);
cmp_ok($replaced, '<', 20, 'the longest standstill when the library was replaced and the server restarted');
cmp_ok($updated, '<', 10, 'the longest standstill when the extension was updated');

# ---- an incomplete upgrade script is noticed

my $script = slurp_file("$root/test/upgrade/next.sql");
my $installed = (glob "$next_dest/usr/share/postgresql/*/extension/pm--$current--$next.sql")[0]
  // (split /\n/, `find $next_dest -name 'pm--$current--$next.sql'`)[0];
my %forgotten = (
	'a GRANT' => qr/^GRANT SELECT ON pm\.next_view.*\n/m,
	'a COMMENT' => qr/^COMMENT ON FUNCTION.*\n/m,
	'a default' => qr/^ALTER TABLE .* SET DEFAULT.*\n/m,
	'a column' => qr/^ALTER TABLE .* ADD COLUMN.*\n|^ALTER TABLE .* SET DEFAULT.*\n|^CREATE VIEW.*\n|^.*pm\.next_view.*\n/m,
	'the configuration for pg_dump' => qr/^SELECT pg_catalog.pg_extension_config_dump.*\n/m);
for my $what (sort keys %forgotten)
{
	my $mutant = $script =~ s/$forgotten{$what}//gr;

	isnt($mutant, $script, "$what is removed from the upgrade script");
	unlink $installed;
	append_to_file($installed, $mutant);
	$node->safe_psql('postgres', 'DROP DATABASE IF EXISTS mutant');
	$node->safe_psql('postgres', 'CREATE DATABASE mutant');
	$node->safe_psql('mutant', "CREATE EXTENSION pm VERSION '$current'; ALTER EXTENSION pm UPDATE");
	isnt(PmCatalog::differences(PmCatalog::describe($node, 'mutant'), $wanted), '', "it is noticed that $what is missing");
}

PmTest::no_crash_ok($node);
$node->stop('fast');
done_testing();
