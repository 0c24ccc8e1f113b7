# report.pl: computes medians.tsv from the raw measurements, and prints the results.
#
#   perl report.pl RESULTS_DIR                 everything, as text
#   perl report.pl --markdown RESULTS_DIR      the tables for doc/performance.md: ratios.tsv and figures.tsv
#   perl report.pl --into FILE RESULTS_DIR     inserts these into FILE, between its two marker lines
#
# ratios.tsv: label, numerator, denominator (or -), comparison and bound (or - -). Numerator and denominator are
# section/case/variant/metric; after max: or min: they may contain *. A ratio is computed in each round, and the
# median of these counts: if a whole round is slow, both sides are.
# figures.tsv: its format is described there.
use strict;
use warnings;
use FindBin;

my $mode = @ARGV && $ARGV[0] =~ /^--/ ? shift : '';
my $into = $mode eq '--into' ? shift : undef;
my ($dir) = @ARGV;
my $here = $FindBin::Bin;
my (%value, @keys);

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

sub show_range
{
	my @v = sort { $a <=> $b } @_;
	return !@v ? '' : @v == 1 ? show($v[0]) : show(median(@v)) . ' (' . show($v[0]) . '..' . show($v[-1]) . ')';
}

# All rows, aligned; this number of columns from the left are left-aligned.
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

# The measurements of a key: one value for each round.
sub values_of
{
	my ($key) = @_;
	return map { median(@$_) } values %{ $value{$key} // {} };
}

# The value of each round for a key, or for the largest or smallest of several keys.
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

# The rows of ratios.tsv: label, value with its range, bound, verdict.
sub ratios
{
	my @rows;
	for (slurp("$here/ratios.tsv"))
	{
		next if /^\s*(?:#|$)/;
		my ($label, $above, $below, $op, $bound) = split /\t+/;
		my $n = by_round($above);
		my $d = $below eq '-' ? undef : by_round($below);
		my @v = !$d ? values %$n : map { $d->{$_} ? $n->{$_} / $d->{$_} : () } grep { exists $d->{$_} } keys %$n;
		my $v = median(@v);
		my $verdict = $op eq '-' ? '' : !@v ? 'not measured' : ($op eq '>=' ? $v >= $bound : $v <= $bound) ? 'ok' : 'MISSED';
		my ($section) = $above =~ m{^(?:\w+:)?(\w+/)};
		push @rows, [ $label, show_range(@v), $op eq '-' ? '' : "$op $bound", $verdict ]
		  if @v || ($op ne '-' && grep { /^$section/ } @keys);
	}
	return @rows;
}

sub settings { return slurp("$dir/settings.txt"); }
sub skipped { my %seen; return grep { !$seen{$_}++ } slurp("$dir/skipped.txt"); }

sub medians_file
{
	open my $tsv, '>', "$dir/medians.tsv" or die $!;
	print $tsv join("\t", qw(section case variant metric median minimum maximum rounds)), "\n";
	for my $key (@keys)
	{
		my @v = sort { $a <=> $b } values_of($key);
		print $tsv join("\t", split(m{/}, $key), median(@v), $v[0], $v[-1], scalar @v), "\n";
	}
	close $tsv;
	return;
}

# ---- text ----

sub text
{
	print "pm: results of the benchmark\n\n";
	print map { "$_\n" } settings();
	print "\nWhat counts: medians over the rounds, ratios taken within each round (smallest..largest)\n";
	table(1, [ 'what', 'measured', 'bound', '' ], ratios());
	my @skipped = skipped();
	print "\nLeft out, or wrong\n", map { "  $_\n" } @skipped if @skipped;

	my (%section, @sections);
	for my $key (@keys)
	{
		my ($section, $case, $variant, $metric) = split m{/}, $key;
		push @sections, $section unless $section{$section};
		my $s = $section{$section} //= { metrics => [], rows => [] };
		push @{ $s->{metrics} }, $metric unless grep { $_ eq $metric } @{ $s->{metrics} };
		push @{ $s->{rows} }, [ $case, $variant ] unless $s->{seen}{"$case/$variant"}++;
	}
	for my $section (@sections)
	{
		my $s = $section{$section};
		print "\n\u$section: medians (smallest..largest)\n\n";
		# The comment at the top of the section's script explains its results.
		for (slurp("$here/$section.sh"))
		{
			last unless /^#/;
			print "  $_\n" if !/shellcheck/ && s/^# ?//;
		}
		print "\n";
		table(2, [ 'case', 'variant', @{ $s->{metrics} } ],
			map { my $row = $_; [ @$row, map { show_range(values_of("$section/$row->[0]/$row->[1]/$_")) } @{ $s->{metrics} } ] } @{ $s->{rows} });
	}
	return;
}

# ---- Markdown ----

sub row { return '| ' . join(' | ', @_) . " |\n"; }

sub head { return row(@_) . '|---' . ('|---:' x $#_) . "|\n"; }

# 1234567 -> 1,235k: more digits are not needed.
sub short
{
	my ($v) = @_;
	return '' unless defined $v;
	return show($v) if $v < 10000;
	my $s = sprintf '%.0f', $v / 1000;
	1 while $s =~ s/^(\d+)(\d{3})/$1,$2/;
	return "${s}k";
}

sub markdown
{
	my $out = join('', map { "$_  \n" } grep { !/^settings/ } settings()) . "\n";
	$out .= head('what', 'measured', 'goal');
	$out .= row($_->[0], $_->[1] || $_->[3], $_->[2] . ($_->[3] eq 'MISSED' ? ' (missed)' : '')) for ratios();
	my @templates;
	for (slurp("$here/figures.tsv"))
	{
		next if /^#/ || /^\s*$/;
		my ($what, @f) = split /\t+/;
		if ($what eq 'title') { $out .= "\n**$f[0]**\n\n"; }
		elsif ($what eq 'columns') { $out .= head(@f); }
		elsif ($what eq 'cells') { @templates = @f; }
		else
		{
			my $with = $f[0] // $what;
			my @cells = map { (my $key = $_) =~ s/%/$with/; short(median(values_of($key))) } @templates;
			$out .= row($what, @cells) if grep { $_ ne '' } @cells;
		}
	}
	my @skipped = skipped();
	$out .= "\nLeft out: " . join('; ', @skipped) . ".\n" if @skipped;
	return $out;
}

if (defined $into)
{
	my $all = join '', map { "$_\n" } slurp($into);
	my $new = markdown();
	$all =~ s/^(<!-- figures begin.*?-->\n).*?^(<!-- figures end)/$1\n$new\n$2/ms or die "$into has no marker lines\n";
	open my $fh, '>', $into or die "$into: $!\n";
	print $fh $all;
	close $fh;
}
elsif ($mode eq '--markdown') { print markdown(); }
else { medians_file(); text(); }
