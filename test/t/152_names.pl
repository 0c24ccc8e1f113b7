# Names of logs, handlers and correlate functions follow the rules of SQL and are never truncated: names of 63
# bytes work however they are written, and longer ones are refused, also with multi-byte characters.
use strict;
use warnings FATAL => 'all';

use PmTest;
use Test::More;

my $node = PmTest::node('names', conf => "pm.poll_interval = '200ms'\n");

sub answer
{
	my ($sql) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', "SET client_min_messages = error;\n$sql", on_error_stop => 1, extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	return $rc == 0 ? $out : $err;
}

sub ident { my ($name) = @_; $name =~ s/"/""/g; return qq("$name"); }
sub literal { my ($text) = @_; $text =~ s/'/''/g; return "'$text'"; }

PmTest::create_seen($node);

my $e = "\x{c3}\x{a9}";		# two bytes
my $euro = "\x{e2}\x{82}\x{ac}";	# three
my %names = (
	'63 letters' => 'l' x 63,
	'63 bytes in capitals' => 'U' x 63,
	'63 bytes of two a character' => 'x' . $e x 31,
	'63 bytes of three a character' => $euro x 21,
	'dots' => 'a.b.c',
	'quotes' => 'say "when" now',
	'63 quotes' => '"' x 63,
	'a parenthesis' => 'f(x)',
	'spaces at the ends' => ' in between ');

answer('CREATE SCHEMA ' . ident('"' x 63) . '; CREATE SCHEMA ' . ident('s' x 63));
for my $what (sort keys %names)
{
	my $name = $names{$what};
	my @written = (ident($name), ident('s' x 63) . '.' . ident($name), ident('"' x 63) . '.' . ident($name));

	push @written, $name, "public.$name" if $name =~ /^\w+$/ && $name eq lc $name;
	push @written, "Public.$name" if $name =~ /^l+$/;
	for my $written (@written)
	{
		my $log = literal($written);
		my $func = $written;
		my $shown = length $written > 40 ? substr($written, 0, 12) . '...' : $written;

		is(answer("SELECT pm.create_log($log)"), '', "$what: a log, written as $shown");
		answer("CREATE FUNCTION $func(e pm.event) RETURNS void LANGUAGE sql AS \$\$ INSERT INTO public.seen (pm, log, pos, key) VALUES ('n', e.log, e.position, e.stream) \$\$");
		my $key = $func;
		$key =~ s/"\z/_k"/ and length $name < 60 or $key = 'public.k';
		answer("CREATE FUNCTION $key(e pm.event) RETURNS text IMMUTABLE LANGUAGE sql AS \$\$ SELECT 'key ' || e.stream \$\$");
		is(answer("SELECT pm.register('n', " . literal($func) . ", ARRAY[$log], correlate => " . literal($key) . ')'), '', "$what: a handler, written as $shown");
		is(answer("SELECT pm.register('n', " . literal("$func(pm.event)") . ", ARRAY[$log], correlate => " . literal("$key(pm.event)") . ')'), '', '... with its signature');
		is(answer("SELECT pm.append($log, 's', 't')"), 1, '... an event is appended');
		is(answer("SELECT pm.wait_for('n', $log, timeout => '20 s')"), 't', '... which is handled');
		is(answer("SELECT count(*) FROM seen s JOIN pm.log l ON l.name = s.log"), 1, '... under the name of the log');
		is(answer("SELECT pm.unregister('n'); SELECT pm.drop_log($log); DROP TABLE $written; DROP FUNCTION $func(pm.event), $key(pm.event); TRUNCATE seen; SELECT count(*) FROM pm.log"), "\n\n0", '... all of it can be dropped');
	}
}

# ---- too long: refused, not truncated

my %long = (
	'64 letters' => 'l' x 64,
	'64 bytes of two a character' => $e x 32,
	'66 bytes of three a character' => $euro x 22,
	'a hundred quotes' => '"' x 100);
answer("CREATE FUNCTION " . ident(substr($_, 0, 62)) . "(e pm.event) RETURNS void LANGUAGE sql AS ''") for 'l' x 64;
answer("SELECT pm.create_log('ok')");
for my $what (sort keys %long)
{
	for my $written (ident($long{$what}), 'public.' . ident($long{$what}), ident($long{$what}) . '.x', $long{$what} =~ /"/ ? () : $long{$what})
	{
		my $name = literal($written);

		for my $call ("pm.create_log($name)", "pm.append($name, 's', 't')", "pm.read($name)", "pm.drop_log($name)", "pm.register('n', $name, '{ok}')",
			"pm.register('n', " . literal("$written(pm.event)") . ", '{ok}')", "pm.register('n', 'h', ARRAY[$name])")
		{
			like(answer("SELECT $call"), qr/ERROR:  42622: identifier is too long/, "$what: too long") or note($call);
		}
	}
}
like(answer("SELECT pm.register('" . ('p' x 64) . "', 'h', '{ok}')"), qr/ERROR:  42602/, 'nor is the name of a process manager truncated');

# ---- names that PostgreSQL derives from a long name may be truncated

my $table = 't' x 63;
is(answer("SELECT pm.create_log('$table'); SELECT pm.create_log('public.' || overlay('$table' placing 'u' from 63 for 1)); SELECT count(*) FROM pm.log WHERE name LIKE '%ttttt%'"), "\n\n2", 'two logs whose names differ in the last byte');
is(answer("SELECT pm.append('$table', 's', 't'), pm.append_all('$table', 's', '[{\"type\": \"t\"}]'); SELECT count(*) FROM pm.read('$table')"), "1|{2}\n2", 'events are appended to one of them and read');
is(answer("ALTER TABLE $table DISABLE TRIGGER pm_before_write; SELECT pm.create_log('$table'); ALTER SEQUENCE " . substr('t' x 63, 0, 50) . "_position_seq RESTART 100; SELECT pm.create_log('$table'); SELECT pm.append('$table', 's', 't')"), "\n\n100", 'a disabled trigger of it is repaired');

for my $bad ('', ' ', '.', 'a.', '.a', 'a..b', '"', '""', 'a."', '"a"b', 'a b')
{
	like(answer('SELECT pm.create_log(' . literal($bad) . ')'), qr/ERROR:  42602/, "no name: '$bad'");
}

PmTest::no_crash_ok($node);
$node->stop('fast');
done_testing();
