# Each released version of the extension, in a database of its own: it is in use, each private table has rows, and workers
# run. ALTER EXTENSION pm UPDATE then has the same result as CREATE EXTENSION, compared object by object, everything that
# the tables contained is kept, and everything is handled once and in order.
use strict;
use warnings FATAL => 'all';

use PmCatalog;
use PmTest;
use PmUpgrade;
use PostgreSQL::Test::Utils;
use Test::More;

my $root = $ENV{PM_TEST_ROOT};
my ($current) = slurp_file("$root/pm.control") =~ /^default_version *= *'(.*)'/m;
my @released = map { /pm--(\d[^-]*)\.sql$/ } sort glob "$root/src/sql/released/*.sql";
my $node = PmTest::node('versions', extension => 0, conf => "max_connections = 40\n");

# The private tables and the views on them, except pm_catalog.parked: an update may store in another form what pm.parked
# shows.
my @relations = ((map { "pm_catalog.$_" } grep { $_ ne 'parked' } @PmUpgrade::tables), map { "pm.$_" } qw(log process_manager cursor instance timer parked));

# Their columns, in the version that a database has.
sub columns
{
	my ($db) = @_;
	my %columns;

	for (split /\n/, $node->safe_psql($db, "SELECT attrelid::regclass, quote_ident(attname) FROM pg_attribute
		WHERE attnum > 0 AND NOT attisdropped AND attrelid = ANY ('{@{[ join ',', @relations ]}}'::regclass[]) ORDER BY 1, attnum"))
	{
		my ($table, $column) = split /\|/;
		push @{ $columns{$table} }, $column;
	}
	# In 0.1.0, pm.parked had a retry_at even while a process manager was paused.
	$columns{'pm.parked'} = [ grep { $_ ne 'retry_at' } @{ $columns{'pm.parked'} } ];
	$columns{'pm_catalog.parked'} = [qw(id retry_at)];
	return \%columns;
}
sub contents
{
	my ($db, $columns) = @_;
	return $node->safe_psql($db, join('', map { "SELECT '$_', t FROM (SELECT " . join(', ', @{ $columns->{$_} }) . " FROM $_) t ORDER BY t::text COLLATE \"C\";\n" } sort keys %$columns));
}

$node->safe_psql('postgres', 'CREATE DATABASE fresh');
$node->safe_psql('fresh', 'CREATE EXTENSION pm; DO $$ BEGIN CREATE ROLE app LOGIN; END $$; GRANT USAGE ON SCHEMA pm TO app');
my $wanted = PmCatalog::describe($node, 'fresh');
cmp_ok(scalar(split /\n/, $wanted), '>', 300, 'there are many objects to compare');

ok(scalar @released, "released versions: @released");
for my $version (@released)
{
	my $db = 'from_' . $version =~ tr/./_/r;

	$node->safe_psql('postgres', "CREATE DATABASE $db");
	$node->safe_psql($db, "CREATE EXTENSION pm VERSION '$version'");
	PmUpgrade::fill($node, $db);

	# A writer, while the extension is updated.
	my $stop = PostgreSQL::Test::Utils::tempdir . '/stop';
	my $writer = PmTest::start_program($node, 'sh', '-c', "until [ -e '$stop' ]; do psql -X -q -d $db -U app -c \"INSERT INTO flow (stream, type) VALUES ('a', 'A'), ('b', 'B')\" || exit; done");
	my $handled = "SELECT count(*) FROM seen WHERE pm = 'plain' AND stream = 'a'";
	ok(PmTest::wait_until($node, "SELECT ($handled) > 5", 't', dbname => $db), "$version: the library $current serves it");
	$node->safe_psql($db, 'ALTER EXTENSION pm UPDATE');
	is($node->safe_psql($db, "SELECT extversion FROM pg_extension WHERE extname = 'pm'"), $current, "$version: updated");
	my $before = $node->safe_psql($db, $handled);
	ok(PmTest::wait_until($node, "SELECT ($handled) > $before + 5", 't', dbname => $db), "$version: events are handled after the update");
	append_to_file($stop, '');
	is((PmTest::finish_psql($writer))[2], '', "$version: the writer has met no error");
	ok(PmUpgrade::handled($node, $db), "$version: all is handled");
	PmUpgrade::rows_ok($node, $db, "$version: each private table still has rows");

	# What process managers have of their own is not the extension's.
	my $own = qr/^.*pm_process_manager\.\w+.*\n?/m;
	is(PmCatalog::differences(PmCatalog::describe($node, $db) =~ s/$own//gr, $wanted =~ s/$own//gr), '', "$version: updated, it is the same as a new one");
	PmUpgrade::append($node, $db, 30);
	PmUpgrade::finish_ok($node, $db);

	# Without anything that runs, the update changes no row of the private tables.
	my $still = "still_$db";
	$node->safe_psql('postgres', "CREATE DATABASE $still");
	$node->safe_psql($still, "CREATE EXTENSION pm VERSION '$version'");
	PmUpgrade::fill($node, $still);
	$node->safe_psql($still, "SELECT pm.pause(name) FROM pm.process_manager");
	# timers that were caused by events of a log that is no longer followed
	$node->safe_psql($still, q{UPDATE pm_catalog.timer SET metadata = jsonb_set(metadata, '{causation,log}', '"gone"') WHERE metadata -> 'causation' IS NOT NULL});
	my $columns = columns($still);
	my $contents = contents($still, $columns);
	$node->safe_psql($still, 'ALTER EXTENSION pm UPDATE');
	is(contents($still, $columns), $contents, "$version: the update keeps what the tables and views contain");
	is($node->safe_psql($still, <<'UPDATED'), 't|0', "$version: it is known which names of logs the process managers have used");
WITH used(name, process_manager) AS (SELECT log, process_manager FROM pm_catalog.cursor UNION SELECT metadata #>> '{causation,log}', process_manager FROM pm_catalog.timer),
	missing AS (SELECT * FROM used WHERE name IS NOT NULL EXCEPT SELECT * FROM pm_catalog.name_use)
SELECT (SELECT count(*) > 0 FROM pm_catalog.timer WHERE metadata #>> '{causation,log}' IS NOT NULL), count(*) FROM missing
UPDATED
}

PmTest::no_crash_ok($node);
$node->stop('fast');
done_testing();
