# A page of the documentation: runs its SQL blocks in the order in which a reader meets them, and
# compares the output with what is printed below them.
#
#   my $page = DocPage->new("$root/README.md");
#   my @failures = $page->run($node);       # an empty list if the page is correct
#
# A block that begins with ```sql is run by psql. If the next block has no language, and only blank
# lines are between them, it is the expected output, or the end of it. Footers such as
# "(1 row)" may be omitted. An ERROR or a WARNING that the page does not show is a failure; a
# NOTICE is not.
#
# HTML comments, which a reader does not see, are instructions to the test:
#
#   <!-- test: run SQL -->             run this first; several lines are possible
#   <!-- test: wait until SQL -->      wait until this query returns true
#   <!-- test: as ROLE -->             continue in a new session of that role
#   <!-- test: database NAME -->       continue in that database, as a superuser; it is created if necessary
#   <!-- test: include PAGE#HEADING -->   run the blocks of that section first, without comparing outputs
#   <!-- test: may differ: a, b -->    these columns of the next output are not compared
#   <!-- test: tuples only -->         run the next block with psql -At
#   <!-- test: needs EXTENSION -->     skip the next block if that extension is not available
#   <!-- test: left to TEST -->        200_docs leaves the page to that test, which prepares what it needs
package DocPage;

use strict;
use warnings FATAL => 'all';

use Cwd ();
use File::Basename ();
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Time::HiRes qw(sleep time);

sub new
{
	my ($class, $file) = @_;
	my $self = bless { file => $file, dir => File::Basename::dirname($file) }, $class;

	$self->{lines} = [ split /\n/, slurp_file($file) ];
	$self->parse;
	return $self;
}

# The anchor of a heading in links.
sub anchor
{
	my ($heading) = @_;
	my $anchor = lc $heading;

	$anchor =~ s/`//g;
	$anchor =~ s/\[([^\]]*)\]\([^)]*\)/$1/g;
	$anchor =~ s/[^\w\- ]//g;
	$anchor =~ s/ /-/g;
	return $anchor;
}

# Parses the page into:
#   blocks    what is run: { kind => 'sql' or 'test', line, section, text, output }
#   sections  { level, heading, anchor, text }, in order; the text is without code blocks
#   fences    all code blocks: { language, section, text }
#   prose     the text outside of code blocks and comments, [line, text]
sub parse
{
	my ($self) = @_;
	my @lines = @{ $self->{lines} };
	my $section = { level => 0, heading => '', anchor => '', text => '' };
	my $last;    # the SQL block to which an output may belong

	$self->{$_} = [] foreach qw(blocks fences prose);
	$self->{sections} = [$section];
	for (my $i = 0; $i < @lines; $i++)
	{
		my $line = $lines[$i];
		my $at = $i + 1;

		if ($line =~ /^```(\w*)\s*$/)
		{
			my ($language, $text) = ($1, '');

			while (++$i < @lines && $lines[$i] !~ /^```\s*$/) { $text .= "$lines[$i]\n"; }
			die "$self->{file}:$at: a code block without an end\n" if $i >= @lines;
			push @{ $self->{fences} }, { language => $language, section => $section, text => $text };
			if ($language eq 'sql')
			{
				$last = { kind => 'sql', line => $at, section => $section, text => $text };
				push @{ $self->{blocks} }, $last;
			}
			else
			{
				$last->{output} = $text if defined $last && $language eq '';
				undef $last;
			}
		}
		elsif ($line =~ /^<!--/)
		{
			$line .= "\n" . $lines[ ++$i ] while $line !~ /-->/ && $i + 1 < @lines;
			push @{ $self->{blocks} }, { kind => 'test', line => $at, section => $section, text => $1 }
			  if $line =~ /^<!-- test: (.*?)\s*-->/s;
		}
		elsif ($line =~ /^(#+) (.*)/)
		{
			$section = { level => length $1, heading => $2, anchor => anchor($2), text => '' };
			push @{ $self->{sections} }, $section;
			push @{ $self->{prose} }, [ $at, $2 ];
			undef $last;
		}
		elsif ($line =~ /\S/)
		{
			$section->{text} .= "$line\n";
			push @{ $self->{prose} }, [ $at, $line ];
			undef $last;
		}
		else
		{
			$section->{text} .= "\n";
			push @{ $self->{prose} }, [ $at, '' ];
		}
	}
	return;
}

# The test to which 200_docs leaves the page, or undef.
sub left_to
{
	my ($self) = @_;
	my ($test) = map { $_->{text} =~ /^left to (\w+)$/ } @{ $self->{blocks} };

	return $test;
}

# The blocks of a section and of its subsections.
sub section_blocks
{
	my ($self, $anchor) = @_;
	my ($in, @names);

	foreach my $section (@{ $self->{sections} })
	{
		undef $in if defined $in && $section->{level} <= $in->{level};
		$in //= $section if $section->{anchor} eq $anchor;
		push @names, $section if defined $in;
	}
	die "$self->{file}: no section #$anchor\n" unless @names;
	return grep { my $b = $_; grep { $_ == $b->{section} } @names } @{ $self->{blocks} };
}

# Runs the page. Returns the differences from what it says.
sub run
{
	my ($self, $node) = @_;

	$self->{node} = $node;
	$self->{failures} = [];
	$self->{next} = {};
	$self->{left_out} = 0;
	$self->start_psql;
	$self->use_database('docs');
	foreach my $block (@{ $self->{blocks} })
	{
		if ($block->{kind} eq 'sql') { $self->run_block($block); }
		else { $self->run_directive($block); }
	}
	$self->{psql}{in} .= "\\q\n";
	$self->{psql}{h}->finish;
	return @{ $self->{failures} };
}

sub failure
{
	my ($self, $block, $text) = @_;

	push @{ $self->{failures} }, File::Basename::basename($self->{file}) . " line $block->{line}: $text";
	return;
}

sub run_directive
{
	my ($self, $block) = @_;
	local $_ = $block->{text};

	if (/^run\s+(.*)/s) { $self->must_run($block, $1); }
	elsif (/^wait until\s+(.*)/s) { $self->wait_until($block, $1); }
	elsif (/^as (\w+)$/) { $self->connect($self->{dbname}, $1); }
	elsif (/^database (\w+)$/) { $self->use_database($1); }
	elsif (/^include ([^#]+)#(\S+)$/) { $self->include($block, "$self->{dir}/$1", $2); }
	elsif (/^may differ: (.*)/) { $self->{next}{differ} = [ split /,\s*/, $1 ]; }
	elsif (/^left to \w+$/) { }
	elsif (/^tuples only$/) { $self->{next}{tuples_only} = 1; }
	elsif (/^needs (\w+)$/) { $self->{next}{left_out} = 1 unless $self->has_extension($1); }
	else { $self->failure($block, "no such instruction: $_"); }
	return;
}

sub run_block
{
	my ($self, $block) = @_;
	my %how = %{ $self->{next} };
	my ($before, $after) = $how{tuples_only} ? ("\\t on\n\\a\n", "\\t off\n\\a\n") : ('', '');
	my ($shown, $found, $all);

	$self->{next} = {};
	return $self->{left_out}++ if $how{left_out};
	$shown = normal($block->{output} // '');
	$found = normal($self->psql("$before$block->{text}$after"), $shown);
	foreach my $line (@$found)
	{
		next unless $line =~ /(?:ERROR|FATAL|WARNING|PANIC|invalid command)/;
		next if grep { $_ eq $line } @$shown;
		return $self->failure($block, "the page does not show\n" . join("\n", @$found));
	}
	return unless defined $block->{output};

	$all = join("\n", @$found);
	$found = [ @$found[ @$found - @$shown .. $#$found ] ] if @$shown < @$found;
	if ($how{differ})
	{
		my @masked = map { mask($_, $how{differ}) } $shown, $found;

		return $self->failure($block, "no output has the columns @{$how{differ}}") if grep { !defined } @masked;
		($shown, $found) = @masked;
	}
	$self->failure($block, "the page shows\n" . join("\n", @$shown) . "\nand psql prints\n$all")
	  if join("\n", @$shown) ne join("\n", @$found);
	return;
}

# Lines without trailing blanks, without footers and, if the page shows none, without notices.
sub normal
{
	my ($text, $shown) = @_;
	my @lines = grep { $_ ne '' && !/^\(\d+ rows?\)$/ } map { s/\s+$//r } split /\n/, $text;

	if (defined $shown && !grep { /^(?:NOTICE|WARNING|ERROR):/ } @$shown)
	{
		my ($in, @kept) = (0);

		foreach my $line (@lines)
		{
			$in = $1 eq 'NOTICE' if $line =~ /^(NOTICE|WARNING|ERROR):/;
			$in = 0 if $in && $line !~ /^(?:NOTICE|DETAIL|HINT|CONTEXT|drop cascades to|and \d+ other)/;
			push @kept, $line unless $in;
		}
		@lines = @kept;
	}
	return \@lines;
}

# An output with a * for each value of these columns, or undef if it does not have them.
sub mask
{
	my ($lines, $columns) = @_;
	my (@masked, %at, %seen);

	for (my $i = 0; $i < @$lines; $i++)
	{
		my @cells = map { s/^\s+|\s+$//gr } split /\|/, $lines->[$i], -1;

		if ($lines->[$i] =~ /^-[-+]*$/)
		{
			push @masked, '---';
			next;
		}
		if (($lines->[ $i + 1 ] // '') =~ /^-[-+]*$/)
		{
			%at = ();
			for my $n (0 .. $#cells)
			{
				next unless grep { $_ eq $cells[$n] } @$columns;
				$at{$n} = $seen{ $cells[$n] } = 1;
			}
		}
		else
		{
			$cells[$_] = '*' foreach grep { $_ < @cells } keys %at;
		}
		push @masked, join(' | ', @cells);
	}
	return keys %seen == @$columns ? \@masked : undef;
}

sub must_run
{
	my ($self, $block, $sql) = @_;
	my $out = $self->psql("$sql\n;\n");

	$self->failure($block, $out) if $out =~ /(?:ERROR|FATAL|PANIC):/;
	return;
}

sub wait_until
{
	my ($self, $block, $sql) = @_;

	$self->failure($block, "waited in vain for: $sql")
	  unless PmTest::wait_until($self->{node}, $sql, 't', dbname => $self->{dbname});
	return;
}

sub include
{
	my ($self, $block, $file, $anchor) = @_;
	my $page = DocPage->new(Cwd::abs_path($file));

	foreach my $other ($page->section_blocks($anchor))
	{
		if ($other->{kind} eq 'sql') { $self->must_run($block, $other->{text}); }
		elsif ($other->{text} =~ /^(?:run|wait until|as) /) { $self->run_directive($other); }
	}
	return;
}

sub has_extension
{
	my ($self, $name) = @_;

	return $self->{node}->safe_psql('postgres', "SELECT count(*) FROM pg_available_extensions WHERE name = '$name'");
}

sub use_database
{
	my ($self, $name) = @_;
	my $node = $self->{node};

	$node->safe_psql('postgres', "CREATE DATABASE $name")
	  unless $node->safe_psql('postgres', "SELECT count(*) FROM pg_database WHERE datname = '$name'");
	$self->connect($name, $node->safe_psql('postgres', 'SELECT current_user'));
	return;
}

sub connect
{
	my ($self, $dbname, $role) = @_;

	$self->{dbname} = $dbname;
	$self->psql("\\c $dbname $role\n");
	return;
}

# Starts one psql for the page, so that settings of one block hold for the next one.
sub start_psql
{
	my ($self) = @_;
	my $run = { in => '', out => '', n => 0 };
	my @cmd = ($self->{node}->installed_command('psql'), '-Xq', '-d', $self->{node}->connstr('postgres'));

	$run->{h} = IPC::Run::start(\@cmd, '<', \$run->{in}, '>&', \$run->{out});
	$self->{psql} = $run;
	return;
}

# Runs text in that psql, and returns the output.
sub psql
{
	my ($self, $text) = @_;
	my $run = $self->{psql};
	my $end = 'end of block ' . ++$run->{n};
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
	my $out;

	$run->{in} .= "$text\n\\echo\n\\echo $end\n";
	until ($run->{out} =~ /^\Q$end\E$/m)
	{
		die "$self->{file}: psql has ended, or does not answer:\n$text\n$run->{out}\n"
		  if time > $deadline || !$run->{h}->pumpable;
		$run->{h}->pump_nb;
		sleep 0.002;
	}
	($out = $run->{out}) =~ s/\n?^\Q$end\E\n//m;
	$run->{out} = '';
	return $out;
}

1;
