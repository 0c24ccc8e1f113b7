# The documentation is correct: its SQL blocks run in the order in which a reader meets them and print
# what the page shows, its links work, and everything public has an entry in the reference.
# DocPage.pm describes the instructions to this test in the pages.
use strict;
use warnings FATAL => 'all';

use File::Basename qw(basename dirname);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use PmTest;
use DocPage;
use Test::More;

my $root = $ENV{PM_TEST_ROOT} // '.';
my @pages = map { DocPage->new("$root/$_") } qw(README.md SECURITY.md CONTRIBUTING.md),
  (map { s/^\Q$root\E\///r } sort(glob("$root/doc/*.md"), glob("$root/doc/*/*.md"))), 'examples/README.md', 'examples/c_handler/README.md',
  map { "clients/$_/README.md" } qw(node python psql);
my ($reference) = grep { basename($_->{file}) eq 'reference.md' } @pages;
my $node = PmTest::node('docs', conf => "timezone = 'UTC'\n", extension => 0);

# ---- what a reader would type ----

foreach my $page (@pages)
{
	my $name = $page->{file} =~ s/^\Q$root\E\///r;
	my $sql = grep { $_->{kind} eq 'sql' } @{ $page->{blocks} };
	my $shown = grep { defined $_->{output} } @{ $page->{blocks} };
	my (@failures, $seconds);

	next unless $sql;
	if (my $test = $page->left_to)
	{
		ok(-e "$root/test/t/$test.pl" && slurp_file("$root/test/t/$test.pl") =~ /\b\Q@{[ basename($name, '.md') ]}\E\b/,
			"$name: $test runs it");
		next;
	}
	$seconds = PmTest::seconds { @failures = $page->run($node) };
	ok(!@failures, "$name: $sql SQL blocks run, and $shown print what it shows");
	diag($_) foreach @failures;
	PmTest::figure(sprintf('%s: %d SQL blocks, %d left out, %d outputs, %.1f s', $name, $sql, $page->{left_out}, $shown, $seconds));
	clean_up();
}

# The next page starts with an empty server.
sub clean_up
{
	my $roles = q{SELECT string_agg(quote_ident(rolname), ', ') FROM pg_roles WHERE oid >= 16384};

	$node->safe_psql('postgres', "DROP DATABASE $_ WITH (FORCE)")
	  foreach split /\n/, $node->safe_psql('postgres', 'SELECT datname FROM pg_database WHERE oid >= 16384');
	$roles = $node->safe_psql('postgres', $roles);
	$node->safe_psql('postgres', "DROP ROLE $roles") if $roles ne '';
	return;
}

# ---- an entry for everything public ----

$node->safe_psql('postgres', 'CREATE EXTENSION pm');

# The text of a section of the reference, with its subsections.
sub entry
{
	my ($heading) = @_;
	my ($text, $level);

	foreach my $section (@{ $reference->{sections} })
	{
		undef $level if defined $level && $section->{level} <= $level;
		($text, $level) = ('', $section->{level}) if $section->{heading} eq $heading;
		$text .= $section->{text} if defined $level;
	}
	return $text;
}

sub fences
{
	my ($heading, $language) = @_;
	return grep { $_->{section}{heading} eq $heading && $_->{language} eq $language } @{ $reference->{fences} };
}

# Normalizes a signature as SQL prints it and as the reference has it, so that they can be compared.
sub plain_signature
{
	my ($text) = @_;

	$text =~ s/--.*//mg;
	$text =~ s/"//g;
	$text =~ s/\bint\b/integer/g;
	$text =~ s/\btimestamptz\b/timestamp with time zone/g;
	$text =~ s/'([0-9]+) s'/sprintf "'00:00:%02d'", $1/ge;
	$text =~ s/(DEFAULT (?:'[^']*'|NULL))::[a-z ]+(?:\[\])?/$1/g;
	$text =~ s/\s+/ /g;
	$text =~ s/TABLE \(/TABLE(/;
	$text =~ s/\( | \)/$& eq '( ' ? '(' : ')'/ge;
	$text =~ s/^ | $//g;
	return $text;
}

my $member = q{JOIN pg_depend d ON d.classid = '%s'::regclass AND d.objid = %s.oid AND d.deptype = 'e'
	AND d.refclassid = 'pg_extension'::regclass AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pm')};

my @functions = split /\n/, $node->safe_psql('postgres',
	q{SELECT p.proname || E'\t' || format('pm.%s(%s) RETURNS %s', p.proname, pg_get_function_arguments(p.oid), pg_get_function_result(p.oid))
	  FROM pg_proc p } . sprintf($member, 'pg_proc', 'p') . q{ WHERE p.pronamespace = 'pm'::regnamespace ORDER BY 1});
cmp_ok(scalar @functions, '>', 20, 'the extension has functions');
foreach (@functions)
{
	my ($name, $signature) = split /\t/;
	my $synopsis = plain_signature(join(' ', map { $_->{text} } fences("pm.$name", 'text')));
	my $plain = plain_signature($signature);

	ok(index($synopsis, $plain) >= 0, "the reference has pm.$name as it is") or diag("expected: $plain\nthere is: $synopsis");
	ok(scalar fences("pm.$name", 'sql'), "the reference has an example of pm.$name");
	like(entry("pm.$name") // '', qr/SQLSTATE|errors|Errors/, "the reference has the errors of pm.$name");
}

my @relations = split /\n/, $node->safe_psql('postgres',
	q{SELECT c.relname || E'\t' || string_agg(a.attname, ' ' ORDER BY a.attnum)
	  FROM pg_class c } . sprintf($member, 'pg_class', 'c') . q{
	  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
	  WHERE c.relnamespace = 'pm'::regnamespace AND c.relkind <> 'c' GROUP BY c.relname
	  UNION ALL
	  SELECT 'event' || E'\t' || string_agg(attname, ' ' ORDER BY attnum)
	  FROM pg_attribute WHERE attrelid = (SELECT typrelid FROM pg_type WHERE oid = 'pm.event'::regtype) ORDER BY 1});
cmp_ok(scalar @relations, '>', 8, 'the extension has views');
foreach (@relations)
{
	my ($name, $columns) = split /\t/;
	my $text = entry("pm.$name") // '';
	my @missing = grep { $text !~ /`$_`/ } split / /, $columns;

	is("@missing", '', "the reference has pm.$name with all of its columns");
	ok(scalar fences("pm.$name", 'sql'), "the reference has an example of pm.$name");
}

my $settings = entry('Settings') // '';
foreach my $name (split /\n/, $node->safe_psql('postgres', q{SELECT name FROM pg_settings WHERE name LIKE 'pm.%' ORDER BY 1}))
{
	like($settings, qr/^\| `\Q$name\E` \|/m, "the reference has the setting $name");
}

# ---- links, names of files and tests, words ----

my %anchors = map { Cwd::abs_path($_->{file}) => { map { $_->{anchor} => 1 } @{ $_->{sections} } } } @pages;
my %sources = map { basename($_) => 1 } glob("$root/src/*.[ch] $root/src/*/*.[ch] $root/src/sql/*.sql $root/examples/*/*.[ch]");

foreach my $page (@pages)
{
	my $name = $page->{file} =~ s/^\Q$root\E\///r;
	my $prose = join("\n", map { $_->[1] } @{ $page->{prose} });
	my @broken;

	while ($prose =~ /\]\(([^)\s]+)\)/g)
	{
		my $link = $1;
		my ($file, $anchor) = $link =~ /^([^#]*)#?(.*)$/;

		next if $file =~ /^https?:/;
		$file = $file eq '' ? $page->{file} : "$page->{dir}/$file";
		$file = Cwd::abs_path($file) if -e $file;
		push @broken, $link unless -e $file && ($anchor eq '' || !$anchors{$file} || $anchors{$file}{$anchor});
	}
	is("@broken", '', "$name: each link works");

	my %cited = map { $_ => 1 } map { /\b\w+\.[ch]\b/g } ($prose =~ /`([^`]*)`/g, $prose =~ /\[([^\]]*\.[ch])\]/g);
	is(join(' ', grep { !$sources{$_} } sort keys %cited), '', "$name: each source file that it names exists");

	my @tests = $prose =~ /`(\d\d\d_\w+)`/g;
	is(join(' ', grep { !-e "$root/test/t/$_.pl" } @tests), '', "$name: each test that it names exists");

	# Words that are hard to understand, and relative clauses as subjects.
	my @odd = $prose =~ /((?:^|[.!?:] |\| )Who(?:ever)? \w+ \w+|\bso many\b|\bdear(?:er|est)?\b|\bmend\w*|\bof now\b)/mg;
	is(join('; ', @odd), '', "$name: plain words");
}

my $testing = slurp_file("$root/doc/testing.md");
is(join(' ', grep { index($testing, "`$_`") < 0 } map { basename($_, '.pl') } glob("$root/test/t/*.pl")), '',
	'testing.md names each TAP test');

my $map = slurp_file("$root/doc/source.md");
is(join(' ', grep { index($map, "`$_`") < 0 } map { basename($_) } glob("$root/src/*.c $root/src/*/*.c")), '',
	'source.md has a line for each C file');

# The figures in the README are those of the page that they come from.
my ($fast) = map { $_->{text} } grep { $_->{heading} eq 'How fast it is' } @{ $pages[0]{sections} };
my $measured = slurp_file("$root/doc/performance.md");
my @figures = map { s/,000$/k/r } $fast =~ /\b(\d+,000|0\.\d+)\b/g;
is(join(' ', grep { $_ ne '1k' && index($measured, $_) < 0 } @figures), '', 'the figures in the README are in performance.md');

cmp_ok(scalar(split ' ', slurp_file("$root/README.md")), '<=', 1800, 'the README is short');

done_testing();
