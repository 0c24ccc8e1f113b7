#!/usr/bin/env perl
# coverage.pl FILE.info: prints an lcov file as text: the total, one line for each source file, and for each file the
# lines that were not executed.
use strict;
use warnings;

my (%lines, $file);
while (<>)
{
	$file = $1 if /^SF:(.*)/;
	$lines{$file}{$1} += $2 if /^DA:(\d+),(\d+)/;
}

# [3, 4, 5, 9] as "3-5 9". Lines without code are in neither list, so a range may contain them.
sub ranges
{
	my ($never, $all) = @_;
	my %never = map { $_ => 1 } @$never;
	my @ranges;
	my $open = 0;
	for my $line (@$all)
	{
		if (!$never{$line}) { $open = 0; }
		elsif ($open) { $ranges[-1][1] = $line; }
		else { push @ranges, [ $line, $line ]; $open = 1; }
	}
	return join ' ', map { $_->[0] == $_->[1] ? $_->[0] : "$_->[0]-$_->[1]" } @ranges;
}

my ($total, $ran) = (0, 0);
my @rows;
for my $path (sort keys %lines)
{
	my @all = sort { $a <=> $b } keys %{ $lines{$path} };
	my @never = grep { $lines{$path}{$_} == 0 } @all;
	$total += @all;
	$ran += @all - @never;
	push @rows, { path => $path, all => scalar @all, never => scalar @never, ranges => ranges(\@never, \@all) };
}
printf "%.1f %% of %d lines ran, %d never did.\n\n", $total ? 100 * $ran / $total : 0, $total, $total - $ran;
printf "%-36s %6.1f %%  %4d of %4d never ran\n", $_->{path}, 100 * (1 - $_->{never} / ($_->{all} || 1)), $_->{never},
  $_->{all}
  for @rows;
print "\nLines that never ran:\n";
for (grep { $_->{never} } @rows)
{
	print "$_->{path}: $_->{ranges}\n";
}
