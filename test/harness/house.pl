#!/usr/bin/env perl
# house.pl [ROOT]: checks the rules of the project that need no compiler. See "Where files belong" and
# "Code style" in CONTRIBUTING.md.
#
# Each finding is a line "file:line: what is wrong". Below the findings of a rule it says how to correct
# them. The exit status is 0 only if there are none. It takes a few seconds. house_test.sh shows that
# each rule finds what it should.
#
#   PM_CLANG_FORMAT=...   another clang-format (its version must be 14)
#   PM_LINT_COMMITS=50    how many commit subjects are checked
use strict;
use warnings;
use utf8;

use File::Basename qw(basename dirname);
use File::Find;

binmode STDOUT, ':utf8';
my $root = $ARGV[0] // dirname(__FILE__) . '/../..';
chdir $root or die "cannot enter $root: $!\n";

my @layers = qw(base shmem log manager dispatch worker);
my %layer = map { $layers[$_] => $_ + 1 } 0 .. $#layers;
my $top = @layers + 1;
my %loose = ('pm.h' => 0, 'compat.h' => 0, 'init.c' => $top);

my $columns = 100;
my $tab = 4;
my $file_lines = 500;
my $mean_function = 20;
my $subject = 72;
my $commits = $ENV{PM_LINT_COMMITS} // 50;
my $readme_words = 1800;

my @toplevel = qw(
  src sql expected test bench doc examples clients console monitoring debian packaging
  Makefile pm.control META.json README.md CHANGELOG.md CONTRIBUTING.md SECURITY.md LICENSE);

# ---- findings ----------------------------------------------------------------

my %findings;    # rule -> [text, ...]
my @rules;       # [rule, how to correct it], in the order in which they run

sub rule
{
	my ($name, $fix) = @_;
	push @rules, [ $name, $fix ];
	$findings{$name} = [];
	return sub { push @{ $findings{$name} }, "@_" };
}

# ---- the files ---------------------------------------------------------------

my %text;        # path -> its lines, without newlines
my %code;        # the same without comments and the contents of literals

# Blanks out comments and quoted text except in #include. Newlines stay.
sub blank
{
	my ($text) = @_;
	$text =~ s{
		( /\*.*?\*/ | //[^\n]* | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*' )
	}{
		my $found = $1;
		$found =~ /^"/ ? blank_literal($found) : $found =~ /^'/ ? "' '" : $found =~ s/[^\n]//gr . ' ';
	}gsex;
	return $text;
}

# The path of a header is kept, because the rules need it.
sub blank_literal
{
	my ($literal) = @_;
	return $literal =~ m{^"[\w./]+\.h"$} ? $literal : '" "';
}

find(
	{
		no_chdir => 1,
		wanted => sub {
			return unless -f && /\.[ch]$/;
			my $path = $_;
			open my $in, '<:utf8', $path or die "$path: $!\n";
			local $/;
			my $all = <$in>;
			$text{$path} = [ split /\n/, $all ];
			$code{$path} = [ split /\n/, blank($all) ];
		}
	},
	grep { -d } qw(src examples bench));

my @files = sort keys %text;
my @house = grep { m{^src/} } @files;
my %is_house = map { $_ => 1 } @house;

# ---- layers ------------------------------------------------------------------

# The number of a file's layer, or undef.
sub layer_of
{
	my ($path) = @_;
	return $path =~ m{^src/([^/]+)$} ? $loose{$1} : $path =~ m{^src/([^/]+)/[^/]+$} ? $layer{$1} : undef;
}

sub layer_name
{
	my ($path) = @_;
	my ($folder) = $path =~ m{^src/([^/]+)/};
	return $folder // basename($path);
}

my $misplaced = rule('files in the wrong place',
	"Put the file into the folder of its layer: @layers. Only pm.h, compat.h and init.c are in src/ itself.");
for my $path (@house)
{
	$misplaced->("$path:1: is on no layer") unless defined layer_of($path);
}

my $foreigner = rule('private headers outside their folder',
	"A header that says \"private to src/FOLDER\" has structures that other folders use only by functions.\n"
	  . 'Call one of these functions, or add one.');

# private header -> its folder
my %private;
for my $path (grep { /\.h$/ } @house)
{
	$private{$path} = $1 if join("\n", @{ $text{$path} }) =~ m{\bprivate to (src/\w+)\.};
}

my $upward = rule('includes that go up',
	'A file includes headers of its own layer or of one below (pm.h, compat.h < '
	  . join(' < ', @layers)
	  . " < init.c).\nMove what is needed down to a layer that both can see, pass what is needed as an argument,"
	  . "\nor let the upper layer register itself with the lower one.");
my $unknown = rule('includes of no file', 'Write includes of project headers as "layer/file.h".');
my %includes;    # node -> { node -> "file:line" }

# A .c file and its .h file are one node.
sub node_of { return $_[0] =~ s/\.[ch]$//r }

for my $path (@house)
{
	my $line = 0;
	for (@{ $code{$path} })
	{
		$line++;
		next unless /^\s*#\s*include\s+"([^"]+)"/;
		my $included = "src/$1";
		if (!$is_house{$included})
		{
			my $beside = dirname($path) . "/$1";
			my ($folder) = $1 =~ m{^([^/]+)/};
			$unknown->("$path:$line: \"$1\"") if $is_house{$beside} || $folder && $layer{$folder};
			next;
		}
		$foreigner->("$path:$line: \"$1\" (private to $private{$included})")
		  if $private{$included} && dirname($path) ne $private{$included};
		my ($from, $to) = (layer_of($path), layer_of($included));
		$upward->("$path:$line: \"$1\" (" . layer_name($path) . ' < ' . layer_name($included) . ')')
		  if defined $from && defined $to && $to > $from;
		$includes{ node_of($path) }{ node_of($included) } //= "$path:$line"
		  if node_of($path) ne node_of($included);
	}
}

# ---- circles -----------------------------------------------------------------

my $circle = rule('circles between files',
	"A .c and its .h count as one file. Of two that include each other, one has to be below the other:\n"
	  . 'move what both need into a file below them, or pass it as an argument or a callback.');

# Tarjan's strongly connected components.
{
	my ($count, @stack) = (0);
	my (%index, %low, %on_stack);
	my $visit;
	$visit = sub {
		my ($node) = @_;
		$index{$node} = $low{$node} = $count++;
		push @stack, $node;
		$on_stack{$node} = 1;
		for my $next (sort keys %{ $includes{$node} // {} })
		{
			if (!defined $index{$next})
			{
				$visit->($next);
				$low{$node} = $low{$next} if $low{$next} < $low{$node};
			}
			elsif ($on_stack{$next})
			{
				$low{$node} = $index{$next} if $index{$next} < $low{$node};
			}
		}
		return if $low{$node} != $index{$node};
		my @members;
		do
		{
			push @members, pop @stack;
			delete $on_stack{ $members[-1] };
		} while ($members[-1] ne $node);
		return if @members == 1;
		my %member = map { $_ => 1 } @members;
		for my $from (sort @members)
		{
			for my $to (sort grep { $member{$_} } keys %{ $includes{$from} })
			{
				$circle->("$includes{$from}{$to}: " . ($from =~ s{^src/}{}r) . ' -> ' . ($to =~ s{^src/}{}r)
					  . ' (a circle of ' . @members . ' files)');
			}
		}
	};
	for my $node (sort keys %includes) { $visit->($node) unless defined $index{$node}; }
}

# ---- headers -----------------------------------------------------------------

my $foreign = rule('headers that declare what others define',
	"A header declares what the .c of its name defines, nothing else. Move the declaration into the header\n"
	  . 'of the file that defines it (make one where there is none), or the definition into the .c.');

# The functions and variables that a .c file defines and that are not static.
sub defined_in
{
	my ($path) = @_;
	my %defined;
	my $static = 0;
	my $all = join "\n", @{ $code{$path} // [] };
	$all =~ s/^[ \t]*#(?:[^\n]*\\\n)*[^\n]*$//gm;
	# "type\nname(arguments)\n{"
	$defined{$1} = 1 while $all =~ /^(?:[A-Za-z_][^\n;{}()=]*\s[*]*)?(\w+)\((?:[^;{}()]|\([^;{}()]*\))*\)\s*\n\{/gm;
	# "type name;", "type name = ...", "type name[...] = ..."
	$defined{$1} = 1 while $all =~ /^(?!static\b|extern\b|typedef\b)[A-Za-z_][^\n;{}()=]*?[\s*](\w+)(?:\[[^\]]*\])*\s*(?:=|;)/gm;
	return \%defined;
}

for my $path (grep { /\.h$/ } @house)
{
	my $own = $path =~ s/\.h$/.c/r;
	my $defined = defined_in($own);
	my $all = join "\n", @{ $code{$path} };
	# Declarations in macros do not count here, but where the macro is used.
	$all =~ s/^[ \t]*#(?:[^\n]*\\\n)*[^\n]*$/"\n" x ($& =~ tr,\n,,)/gem;
	while ($all =~ /\bextern\b([^;{]*);/g)
	{
		my ($declaration, $line) = ($1, 1 + (substr($all, 0, $-[0]) =~ tr/\n//));
		my $name = declared($declaration);
		next if $defined->{$name};
		$foreign->("$path:$line: $name" . ($is_house{$own} ? " is not defined in $own" : ": there is no $own"));
	}
}

# The name that a declaration declares.
sub declared
{
	my ($declaration) = @_;
	$declaration =~ s/\b(?:pg_attribute_\w+|__attribute__|COMPAT_NORETURN)\b(?:\s*\((?:[^()]|\([^()]*\))*\))?//g;
	return $1 if $declaration =~ /^[\w\s*]*\(\s*\*\s*(\w+)/;       # a pointer to a function
	return $1 if $declaration =~ /(\w+)\s*\(/;
	return $1 if $declaration =~ /(\w+)\s*(?:\[[^\]]*\]\s*)*$/;
	return $declaration;
}

# ---- lengths -----------------------------------------------------------------

my $long_line = rule("lines over $columns columns",
	"With tabs of $tab. `make format` breaks code; break string literals and comments by hand (\"...\" \"...\").");
my $long_file = rule("files over $file_lines lines", 'Split the file by concept, one concept a file.');

for my $path (@files)
{
	my $line = 0;
	for (@{ $text{$path} })
	{
		$line++;
		my $expanded = '';
		for my $part (split /(\t)/)
		{
			$expanded .= $part eq "\t" ? ' ' x ($tab - length($expanded) % $tab) : $part;
		}
		$long_line->("$path:$line: " . length($expanded) . ' columns') if length($expanded) > $columns;
	}
	$long_file->("$path:" . ($file_lines + 1) . ": has $line lines") if $line > $file_lines;
}

# A function goes from the opening brace in the first column to the closing one.
my @functions;
for my $path (grep { /\.c$/ } @house)
{
	my ($start, $name, $line) = (0, '', 0);
	for (@{ $code{$path} })
	{
		$line++;
		$name = $1 if !$start && /^(\w+)\(/;
		$start = $line if $_ eq '{' && $name ne '';
		if ($_ eq '}' && $start)
		{
			push @functions, [ $line - $start + 1, "$path:$start", $name ];
			($start, $name) = (0, '');
		}
	}
}
@functions = sort { $b->[0] <=> $a->[0] } @functions;
my $lines = 0;
$lines += $_->[0] for @functions;
my $mean = @functions ? $lines / @functions : 0;
my $long_functions = rule('long functions',
	"Functions may have at most $mean_function lines on average. Make a step of one of these a function of its own.");
if ($mean > $mean_function)
{
	for (grep { defined } @functions[ 0 .. 9 ])
	{
		$long_functions->(sprintf '%s: %s has %d lines (the mean is %.1f)', @{$_}[ 1, 2, 0 ], $mean);
	}
}

# ---- words -------------------------------------------------------------------

my $words = rule('words',
	"Use the word of a PostgreSQL or messaging engineer: see \"Prose style\" in CONTRIBUTING.md.");
my $metaphor = qr/\b(?:crew|bury|buried|limbo|casualt\w+|condemn\w*|steer\w*|re-?cut|misfit\w*|mend(?:s|ed)?|dear)\b/i;
my $phrase = qr/\b(?:so many|of now)\b/i;
my $who = qr{(?:^\s*(?:/?\*+|--)\s*|[.:]\s+)Who\s[^?]*$};
for my $path (@house, sort glob('src/sql/*.sql'))
{
	my $all = $text{$path};
	if (!$all)
	{
		open my $in, '<:utf8', $path or die "$path: $!\n";
		$all = [ map { chomp; $_ } <$in> ];
	}
	my $line = 0;
	for (@$all)
	{
		$line++;
		$words->("$path:$line: \"$1\"") if /($metaphor|$phrase)/;
		$words->("$path:$line: begins a sentence with \"Who\"") if /$who/;
	}
}

# ---- the README ----------------------------------------------------------------

my $long_readme = rule("a README.md of more than $readme_words words",
	'It is for a first reader. Move what only some of them need to a page in doc/, or shorten it.');
if (open my $in, '<:utf8', 'README.md')
{
	my $count = 0;
	while (<$in>)
	{
		$count += () = /\S+/g;
		$long_readme->("README.md:$.: more than $readme_words words up to here"), last if $count > $readme_words;
	}
}

# ---- format ------------------------------------------------------------------

my $format = rule('clang-format', '`make format`, or clang-format -i FILE.');
my $clang_format = $ENV{PM_CLANG_FORMAT} // (-x '/usr/bin/clang-format-14' ? 'clang-format-14' : 'clang-format');
my ($version) = (`$clang_format --version 2>/dev/null` // '') =~ /version (\d+)/;
my $note = '';
if (!-e '.clang-format')
{
	$format->('.clang-format:1: is missing');
}
elsif (!defined $version)
{
	$format->("no $clang_format here: apt-get install clang-format");
}
elsif ($version != 14)
{
	# Each version formats slightly differently.
	$note = "\nThe format was not checked: this is clang-format $version, and the format is that of 14.";
}
elsif (@files)
{
	open my $out, '-|', "printf '%s\\0' @files | xargs -0 -n 20 -P 4 $clang_format --dry-run -Werror --ferror-limit=0 2>&1"
	  or die "$clang_format: $!\n";
	my @found;
	while (<$out>)
	{
		push @found, $1 if /^([^:]+:\d+:\d+): error: /;
	}
	close $out;
	$format->("$_: is formatted differently") for @found;
}

# ---- the tree and its history --------------------------------------------------

my $stray = rule('top-level files that do not belong there',
	'Move them into one of the folders. At the top level there may be: ' . join(' ', @toplevel) . ' and dot files.');
my $hosts = rule('lock files that name a host',
	'npm install --package-lock-only, with "omit-lockfile-registry-resolved=true" in the .npmrc beside it.');
my $subjects = rule("commit subjects over $subject characters",
	'git commit --amend, or git rebase -i: a short subject; the why goes into the body.');
if (-e '.git')
{
	my $git = 'git -c safe.directory=* ';
	my %allowed = map { $_ => 1 } @toplevel;
	my %seen;
	for (split /\0/, `${git}ls-files -z --cached --others --exclude-standard`)
	{
		my ($name) = m{^([^/]+)};
		$stray->("$name:1:") unless $name =~ /^\./ || $allowed{$name} || $seen{$name}++;
		next unless m{(^|/)package-lock\.json$} && open my $in, '<:utf8', $_;
		while (my $line = <$in>)
		{
			$hosts->("$_:$.:") if $line =~ /"resolved": *"https?:/;
		}
	}
	for (split /\n/, `${git}log -$commits --format='%h %s' 2>/dev/null`)
	{
		utf8::decode($_);
		my ($hash, $words) = split / /, $_, 2;
		$subjects->("$hash: " . length($words) . " characters: $words") if length($words) > $subject;
	}
}

# ---- the end -----------------------------------------------------------------

my $count = 0;
for (@rules)
{
	my ($name, $fix) = @$_;
	my @found = @{ $findings{$name} } or next;
	$count += @found;
	print "== $name: ", scalar @found, "\n";
	print "$_\n" for @found;
	print "-> $_\n" for split /\n/, $fix;
	print "\n";
}
my $longest = @functions ? "$functions[0][0] ($functions[0][2])" : 'none';
printf "Rules of the project: %d files, %d findings. Functions: %d, mean %.1f lines, longest %s.%s\n", scalar @files, $count,
  scalar @functions, $mean, $longest, $note;
exit($count > 0);
