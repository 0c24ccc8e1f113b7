#!/usr/bin/env perl
# versions.pl [--release] [COMMIT]: the version and the addresses are in several files, because several tools read them.
# This checks that they agree, in the working tree or in a commit. Each disagreement is a line, and then the exit status is
# 1. With --release it also checks what people read: the pages, and the date in CHANGELOG.md.
#
# The version is that of pm.control. Addresses are those of META.json.
use strict;
use warnings;
use utf8;

use File::Basename qw(dirname);
use JSON::PP qw(decode_json);

binmode STDOUT, ':utf8';
chdir dirname(__FILE__) . '/..' or die "$!\n";
my $release = @ARGV && $ARGV[0] eq '--release' && shift @ARGV;
my ($commit) = @ARGV;
my $faults = 0;
my @months = qw(Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec);

sub file
{
	my ($name) = @_;
	my @read = $commit ? ('git', '-c', 'safe.directory=*', 'show', "$commit:$name") : ('cat', $name);
	open my $in, '-|', @read or die "$read[0]: $!\n";
	local $/;
	my $text = <$in> // '';
	close $in or die "$name cannot be read\n";
	return $text;
}

# Checks what a pattern finds in a file.
sub agrees
{
	my ($name, $pattern, $expected) = @_;
	my ($found) = file($name) =~ $pattern;
	return if defined $found && $found eq $expected;
	print "$name: ", defined $found ? "\"$found\"" : 'nothing', ", not \"$expected\"\n";
	$faults++;
	return;
}

# ---- the version

my ($version) = file('pm.control') =~ /^default_version *= *'(.*)'/m or die "pm.control has no version\n";
my $meta = decode_json(file('META.json'));
agrees('src/pm.h', qr/^#define PM_VERSION\s+"(.*)"/m, $version);
agrees('META.json', qr/^   "version": "(.*)"/m, $version);
agrees('META.json', qr/^         "version": "(.*)"/m, $version);
agrees('clients/node/package.json', qr/^  "version": "(.*)"/m, $version);
agrees('clients/python/pm_consumer/_version.py', qr/^__version__ = "(.*)"/m, $version);
agrees('console/package.json', qr/^  "version": "(.*)"/m, $version);
agrees('debian/changelog', qr/\A.*\((.*)-[^-]*\)/, $version);
agrees('packaging/pm.spec', qr/^Version:\s+(.*)/m, $version);

# ---- what people read

my $date;
if ($release)
{
	agrees('README.md', qr/^Version (\d+\.\d+\.\d+)[.,]/m, $version);
	agrees('SECURITY.md', qr/version (\d+\.\d+\.\d+)[.,]/, $version);
	agrees('doc/reference.md', qr/^For version (\d+\.\d+\.\d+)\./m, $version);
	agrees('doc/how-it-works.md', qr/describes version (\d+\.\d+\.\d+)\./, $version);

	# The date of a release is that of its section in CHANGELOG.md.
	($date) = file('CHANGELOG.md') =~ /^## \[\d[^\]]*\] - (\d{4}-\d\d-\d\d)$/m;
	agrees('CHANGELOG.md', qr/^## \[(\d[^\]]*)\] - \d{4}-\d\d-\d\d$/m, $version);
	if (defined $date)
	{
		my ($year, $month, $day) = split /-/, $date;
		$month = $months[ $month - 1 ];
		agrees('debian/changelog', qr/^ -- .*  \w+, (.*) \d\d:\d\d:\d\d \+0000$/m, "$day $month $year");
		agrees('packaging/pm.spec', qr/^%changelog\n\* \w+ (\w+ \d+ \d+) /m, "$month $day $year");
	}
}

# ---- the addresses

my $contact = $meta->{maintainer};
my $name = $contact =~ s/ <.*//r;
agrees('debian/control.in', qr/^Maintainer: (.*)/m, $contact);
agrees('debian/control', qr/^Maintainer: (.*)/m, $contact);
agrees('debian/changelog', qr/^ -- (.*)  \w+,/m, $contact);
agrees('debian/copyright', qr/^Upstream-Contact: (.*)/m, $contact);
agrees('packaging/pm.spec', qr/^URL:\s+(.*)/m, $meta->{resources}{homepage});
agrees('packaging/pm.spec', qr/^%changelog\n\* \w+ \w+ \d+ \d+ (.*) - /m, $contact);
agrees('META.json', qr/"generated_by": "(.*)"/, $name);

my ($runbooks) = file('monitoring/pm.rules.yml') =~ /runbook_url: (\S+?)\/blob\//;
if (($runbooks // '') ne $meta->{resources}{repository}{web})
{
	print "monitoring/pm.rules.yml: the runbooks are not at $meta->{resources}{repository}{web}\n";
	$faults++;
}

print "version $version", defined $date ? ", $date" : '', $faults ? ": $faults places disagree\n" : ": all places agree\n";
# They have to be replaced before packages are published: META.json first.
print "note: the addresses are placeholders at example.org\n" if file('META.json') =~ /example\.org/;
exit($faults ? 1 : 0);
