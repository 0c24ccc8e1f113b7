# The files of make image work wherever they are: a server finds them with extension_control_path and
# dynamic_library_path, also after they have been moved. PostgreSQL 18 and later.
use strict;
use warnings FATAL => 'all';

use PmTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $root = $ENV{PM_TEST_ROOT};
my ($major) = `"\$PG_CONFIG" --version` =~ /(\d+)/;
plan skip_all => "PostgreSQL $major finds extensions in its own folders only; extension_control_path came with 18" if $major < 18;

my ($dest) = slurp_file($ENV{TEMP_CONFIG}) =~ /^extension_control_path = '(.*?)\/usr\/share/m;
plan skip_all => 'pm is not installed in a folder of its own here' unless $dest;

# ---- the files, below a path that nobody knows in advance

my $somewhere = PostgreSQL::Test::Utils::tempdir . '/' . join('', map { chr(97 + rand 26) } 1 .. 12);
system_or_bail('bash', "$root/packaging/image.sh", '--from', $dest, "$somewhere/one");
is(join(' ', sort map { s/^\Q$somewhere\E\/one\///r } glob "$somewhere/one/* $somewhere/one/*/*"),
	'Containerfile lib lib/pm.so licenses licenses/pm share share/extension', 'the layout of an image volume');
my ($path) = slurp_file("$somewhere/one/share/extension/pm.control") =~ /^module_pathname = '(.*)'/m;
is($path, '$libdir/pm', 'the control file does not say where the library is');

# ---- a server that knows no other place for pm; TEMP_CONFIG names one, and later lines win

my $node = PmTest::node('volume', preload => 0, extension => 0, start => 0);

sub found_in
{
	my ($dir) = @_;
	$node->append_conf('postgresql.conf', <<"CONF");
extension_control_path = '\$system:$dir/share'
dynamic_library_path = '\$libdir:$dir/lib'
shared_preload_libraries = 'pm'
CONF
	return;
}

# The library that a backend has loaded.
sub loaded
{
	return $node->safe_psql('postgres',
		q{SELECT DISTINCT regexp_replace(line, '^.* ', '') FROM regexp_split_to_table(pg_read_file('/proc/self/maps'), '\n') line WHERE line ~ '/pm\.so$'});
}

sub a_process_works
{
	my ($name) = @_;
	$node->safe_psql('postgres', <<"SQL");
SELECT pm.create_log('$name');
CREATE TABLE ${name}_seen (position bigint);
CREATE FUNCTION ${name}_see(e pm.event) RETURNS void LANGUAGE sql AS 'INSERT INTO public.${name}_seen SELECT e.position';
SELECT pm.register('$name', '${name}_see', '{$name}');
SELECT pm.append('$name', 's', 'A') FROM generate_series(1, 3);
SQL
	ok(PmTest::wait_until($node, "SELECT count(*) = 3 FROM ${name}_seen", 't'), "$name: a worker handles events");
	return;
}

found_in("$somewhere/one");
$node->start;
is($node->safe_psql('postgres', "SELECT default_version IS NOT NULL FROM pg_available_extensions WHERE name = 'pm'"), 't', 'the extension is available');
$node->safe_psql('postgres', 'CREATE EXTENSION pm');
is(loaded(), "$somewhere/one/lib/pm.so", 'the library is that of the volume');
a_process_works('first');

# ---- the volume is mounted elsewhere

$node->stop;
rename "$somewhere/one", "$somewhere/two" or die "$!";
found_in("$somewhere/two");
$node->start;
is(loaded(), "$somewhere/two/lib/pm.so", 'after a move the library is found at the new place');
a_process_works('second');
$node->safe_psql('postgres', "SELECT pm.append('first', 's', 'A')");
ok(PmTest::wait_until($node, 'SELECT count(*) = 4 FROM first_seen', 't'), 'what was registered before the move continues');

# ---- without one of the settings

$node->append_conf('postgresql.conf', "dynamic_library_path = '\$libdir'\n");
$node->stop;
is($node->start(fail_ok => 1), 0, 'without dynamic_library_path the server does not start');
like(slurp_file($node->logfile), qr/could not access file "pm"/, 'and says which library is missing');

done_testing();
