# report.pl: raw measurements to medians.tsv and, on standard output, the table of results.
#
#   perl report.pl ratios.tsv RESULTS_DIR
#
# ratios.tsv: label, numerator, denominator (or -), comparison and bound (or - -). Numerator and denominator are
# section/case/variant/metric; with max: or min: before them they may have * in them. A ratio is taken in each
# round, and the median of these is what counts: what slows a whole round down slows both sides.
use strict;
use warnings;

my ($ratios, $dir) = @ARGV;
my (%value, @keys, @lines);

sub median
{
	my @v = sort { $a <=> $b } @_;
	return undef unless @v;
	return @v % 2 ? $v[$#v / 2] : ($v[@v / 2 - 1] + $v[@v / 2]) / 2;
}

sub show
{
	my ($v) = @_;
	return 'none' unless defined $v;
	return sprintf('%.0f', $v) if abs($v) >= 100 || $v == int($v);
	return sprintf('%.3g', $v) if abs($v) < 0.1;
	return sprintf('%.2f', $v);
}

# Every row, aligned; the first column and, where asked, more of them to the left.
sub table
{
	my ($left, @rows) = @_;
	my @width;
	for my $row (@rows)
	{
		for my $i (0 .. $#$row)
		{
			$width[$i] = length $row->[$i] if !defined $width[$i] || length $row->[$i] > $width[$i];
		}
	}
	for my $row (@rows)
	{
		my $line = join '  ', map { sprintf($_ < $left ? "%-$width[$_]s" : "%$width[$_]s", $row->[$_]) } 0 .. $#$row;
		$line =~ s/\s+\z//;
		print "  $line\n";
	}
	return;
}

sub slurp
{
	my ($file) = @_;
	open my $fh, '<', $file or return ();
	chomp(my @l = <$fh>);
	return @l;
}

for (slurp("$dir/raw.tsv"))
{
	my ($section, $case, $variant, $metric, $round, $v) = split /\t/;
	next unless defined $v && $v =~ /^-?[\d.]+(?:e[-+]?\d+)?$/i;
	my $key = "$section/$case/$variant/$metric";
	push @keys, $key unless $value{$key};
	push @{ $value{$key}{$round} }, $v;
}

# A value of each round for a key, or for the largest or smallest of several.
sub by_round
{
	my ($spec) = @_;
	my ($how, $glob) = $spec =~ /^(?:(max|min):)?(.*)$/;
	my $re = join '.*', map { quotemeta } split /\*/, $glob, -1;
	my %all;
	for my $key (grep { /^$re$/ } @keys)
	{
		push @{ $all{$_} }, median(@{ $value{$key}{$_} }) for keys %{ $value{$key} };
	}
	return { map { my @v = sort { $a <=> $b } @{ $all{$_} }; ($_ => ($how // '') eq 'max' ? $v[-1] : $v[0]) } keys %all };
}

my (@shown, @checks);
for (slurp($ratios))
{
	next if /^\s*(?:#|$)/;
	my ($label, $above, $below, $op, $bound) = split /\t+/;
	my $n = by_round($above);
	my $ratio;
	if ($below eq '-')
	{
		$ratio = median(values %$n);
	}
	else
	{
		my $d = by_round($below);
		$ratio = median(map { $d->{$_} + 0 ? $n->{$_} / $d->{$_} : () } grep { exists $d->{$_} } keys %$n);
	}
	my $verdict = !defined $ratio ? 'not measured'
	  : $op eq '-' ? ''
	  : ($op eq '>=' ? $ratio >= $bound : $ratio <= $bound) ? 'ok' : 'MISSED';
	push @shown, [ $label, show($ratio), $op eq '-' ? '' : "$op $bound" ] if defined $ratio && $below ne '-';
	push @checks, "$label: " . (defined $ratio ? show($ratio) . " vs $op $bound: $verdict" : $verdict) if $op ne '-';
}

print "pm: results of the benchmark\n\n";
print map { "$_\n" } slurp("$dir/settings.txt");
print "\nRatios (medians of the ratios of each round)\n";
table(1, [ 'what', 'ratio', 'bound' ], @shown);

open my $tsv, '>', "$dir/medians.tsv" or die $!;
print $tsv join("\t", qw(section case variant metric median minimum maximum rounds)), "\n";
my (%section, @sections);
for my $key (@keys)
{
	my ($section, $case, $variant, $metric) = split m{/}, $key;
	my @v = sort { $a <=> $b } map { @$_ } values %{ $value{$key} };
	print $tsv join("\t", $section, $case, $variant, $metric, median(@v), $v[0], $v[-1], scalar @v), "\n";
	push @sections, $section unless $section{$section};
	my $s = $section{$section} //= { metrics => [], rows => [] };
	push @{ $s->{metrics} }, $metric unless grep { $_ eq $metric } @{ $s->{metrics} };
	push @{ $s->{rows} }, [ $case, $variant ] unless $s->{seen}{"$case/$variant"}++;
}
close $tsv;

# A column a metric, with the smallest and the largest beside the median where there are several rounds.
for my $section (@sections)
{
	my $s = $section{$section};
	my @rows = [ 'case', 'variant', @{ $s->{metrics} } ];
	for my $row (@{ $s->{rows} })
	{
		push @rows, [ @$row, map
			{
				my $rounds = $value{"$section/$row->[0]/$row->[1]/$_"};
				my @v = $rounds ? sort { $a <=> $b } map { @$_ } values %$rounds : ();
				!@v ? '' : @v == 1 ? show($v[0]) : show(median(@v)) . ' (' . show($v[0]) . '..' . show($v[-1]) . ')';
			} @{ $s->{metrics} } ];
	}
	print "\n\u$section: medians\n";
	table(2, @rows);
}

my @skipped = slurp("$dir/skipped.txt");
print "\nSkipped\n", map { "  $_\n" } @skipped if @skipped;
print "\nChecks\n", map { "  $_\n" } @checks;
