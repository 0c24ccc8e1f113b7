# The documentation is true: its SQL blocks run in the order in which a reader meets them and print
# what it shows, its links lead somewhere, and everything public has an entry in the reference.
# DocPage.pm says how a page tells the test what a reader need not know.
use strict;
use warnings FATAL => 'all';

use File::Basename qw(basename dirname);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use PmTest;
use DocPage;
use Test::More;

my $root = $ENV{PM_TEST_ROOT} // '.';
my @pages = map { DocPage->new($_) } "$root/README.md", "$root/SECURITY.md", sort glob("$root/doc/*.md");
my ($reference) = grep { basename($_->{file}) eq 'reference.md' } @pages;
my $node = PmTest::node('docs', conf => "timezone = 'UTC'\n", extension => 0);

# ---- what a reader would type ----

foreach my $page (@pages)
{
	my $name = basename($page->{file});
	my $sql = grep { $_->{kind} eq 'sql' } @{ $page->{blocks} };
	my $shown = grep { defined $_->{output} } @{ $page->{blocks} };
	my (@failures, $seconds);

	next unless $sql;
	next if $name eq 'reference.md';    # not yet
	$seconds = PmTest::seconds { @failures = $page->run($node) };
	ok(!@failures, "$name: $sql SQL blocks run, and $shown print what it shows");
	diag($_) foreach @failures;
	PmTest::figure(sprintf('%s: %d SQL blocks, %d outputs, %.1f s', $name, $sql, $shown, $seconds));
	clean_up();
}

# The next page begins with nothing.
sub clean_up
{
	my $roles = q{SELECT string_agg(quote_ident(rolname), ', ') FROM pg_roles WHERE oid >= 16384};

	$node->safe_psql('postgres', "DROP DATABASE $_ WITH (FORCE)")
	  foreach split /\n/, $node->safe_psql('postgres', 'SELECT datname FROM pg_database WHERE oid >= 16384');
	$roles = $node->safe_psql('postgres', $roles);
	$node->safe_psql('postgres', "DROP ROLE $roles") if $roles ne '';
	return;
}

# ---- links, names of files, words ----

my %anchors = map { Cwd::abs_path($_->{file}) => { map { $_->{anchor} => 1 } @{ $_->{sections} } } } @pages;
my %sources = map { basename($_) => 1 } glob("$root/src/*.[ch] $root/src/*/*.[ch] $root/src/sql/*.sql");

foreach my $page (@pages)
{
	my $name = basename($page->{file});
	my $prose = join("\n", map { $_->[1] } @{ $page->{prose} });
	my @broken;

	while ($prose =~ /\]\(([^)\s]+)\)/g)
	{
		my ($file, $anchor) = $1 =~ /^([^#]*)#?(.*)$/;

		next if $file =~ /^https?:/;
		$file = $file eq '' ? $page->{file} : "$page->{dir}/$file";
		$file = Cwd::abs_path($file) if -e $file;
		push @broken, $1 unless -e $file && ($anchor eq '' || !$anchors{$file} || $anchors{$file}{$anchor});
	}
	is("@broken", '', "$name: each link leads somewhere");

	my %cited = map { $_ => 1 } map { /\b\w+\.[ch]\b/g } ($prose =~ /`([^`]*)`/g, $prose =~ /\[([^\]]*\.[ch])\]/g);
	next if $name eq 'source.md';       # not yet
	is(join(' ', grep { !$sources{$_} } sort keys %cited), '', "$name: each source file that it names exists");
}

cmp_ok(scalar(split ' ', slurp_file("$root/README.md")), '<=', 1800, 'the README is short');

done_testing();
