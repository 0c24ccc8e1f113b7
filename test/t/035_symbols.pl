# The symbols that the library exports: the C functions of SQL functions, the entry points of the workers, and what
# PostgreSQL looks up in every library. Any other name could collide with that of another library.
use strict;
use warnings FATAL => 'all';

use FindBin;
use PostgreSQL::Test::Utils;
use Test::More;

my $library = "$FindBin::RealBin/../../pm.so";

plan skip_all => 'nm is not installed (package binutils)' if system('nm --version >/dev/null 2>&1') != 0;
plan skip_all => 'pm.so is not built in this tree' unless -e $library;

my ($names, $errors) = run_command([ 'nm', '-D', '--defined-only', '--format=posix', $library ]);
my %exported = map { (split)[0] => 1 } split /\n/, $names;
my @functions = map { /^pg_finfo_(.*)/ ? $1 : () } keys %exported;

is($errors, '', 'nm reads the library');
cmp_ok(scalar @functions, '>', 20, 'it exports C functions of SQL functions');
is_deeply([ sort grep { !/^pm_[a-z_]+$/ } @functions ], [], 'their names begin with pm_');

delete $exported{$_} for @functions, map { "pg_finfo_$_" } @functions;
is_deeply(
	[ sort keys %exported ],
	[qw(Pg_magic_func _PG_init pm_dispatcher_main pm_launcher_main pm_scheduler_main)],
	'other than these, it exports only what PostgreSQL looks up');

# A database whose extension is older calls the functions that its script names.
my @scripts = glob "$FindBin::RealBin/../../src/sql/released/*.sql $FindBin::RealBin/../../src/sql/upgrade/*.sql";
my %named = map { $_ => 1 } map { slurp_file($_) =~ /'MODULE_PATHNAME',\s*'(\w+)'/g } @scripts;
my %there = map { $_ => 1 } @functions;
cmp_ok(scalar keys %named, '>', 40, 'the scripts of released versions name functions');
is_deeply([ sort grep { !$there{$_} } keys %named ], [], 'the library still has each of them');
is_deeply([ grep { slurp_file($_) !~ /^SELECT pm_catalog\.announce\(\);\s*\z/m } glob "$FindBin::RealBin/../../src/sql/upgrade/*.sql" ],
	[], 'upgrade scripts end with pm_catalog.announce(), so that all backends learn of the new version');

done_testing();
