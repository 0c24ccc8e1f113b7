# Whatever arguments the functions of pm get, the server survives, nothing hangs, and what is refused is refused with an
# SQLSTATE that says why: none of class XX (internal error). The functions and their arguments come from the catalog, so
# that new functions are included; the values are close to accepted ones. Workers run whatever gets registered, and the
# process manager of another role handles its events once and in order. In the end everything can be dropped by name.
#
# The statements depend only on the seed. PM_FUZZ_SECONDS: the duration (12; 600 in make soak). PM_FUZZ_SEED: the seed.
# PM_FUZZ_STATEMENTS: the number of statements instead of a duration, to repeat a run up to a certain statement.
use strict;
use warnings FATAL => 'all';
use utf8;

use PmTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $seconds = $ENV{PM_FUZZ_SECONDS} || ($ENV{PM_SOAK} ? 600 : 12);
my $seed = $ENV{PM_FUZZ_SEED} || int(time * 1000) % 1000000;
my $most = $ENV{PM_FUZZ_STATEMENTS} || 1e9;
my $batch_size = 120;
my $timeout_ms = 3000;

note("PM_FUZZ_SEED=$seed PM_FUZZ_SECONDS=$seconds");
srand($seed);

my $node = PmTest::node('fuzz', conf => <<'CONF');
pm.max_workers = 4
log_line_prefix = '%m [%p] %e %b '
log_min_error_statement = panic
max_connections = 40
fsync = off
restart_after_crash = on
CONF

$node->safe_psql('postgres', <<'SQL');
CREATE ROLE app LOGIN;
CREATE ROLE boss LOGIN SUPERUSER;
CREATE ROLE neighbor LOGIN;
GRANT USAGE ON SCHEMA pm TO app, neighbor;
GRANT CREATE ON SCHEMA public TO app, neighbor;
SQL
PmTest::create_seen($node);

# The handlers of the fuzzed process managers: ordinary ones, unusual ones, and some that must be refused.
my $functions = <<'SQL';
CREATE SCHEMA fz;
CREATE SCHEMA "s.p ""q""(";
CREATE FUNCTION fz.plain(pm.event) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION fz.inst(pm.event, jsonb) RETURNS jsonb LANGUAGE sql AS $$SELECT coalesce($2, '{}') || jsonb_build_object('n', $1.position)$$;
CREATE FUNCTION fz.batch(pm.event[]) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION fz.fails(pm.event) RETURNS void LANGUAGE plpgsql AS $$BEGIN RAISE 'no'; END$$;
CREATE FUNCTION fz.many(pm.event) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION fz.many(pm.event[]) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION fz.strict(pm.event, jsonb) RETURNS jsonb STRICT LANGUAGE sql AS 'SELECT $2';
CREATE FUNCTION fz.setof(pm.event) RETURNS SETOF text LANGUAGE sql AS $$SELECT 'a'$$;
CREATE FUNCTION fz.dflt(pm.event, jsonb DEFAULT '{}', int DEFAULT 1) RETURNS jsonb LANGUAGE sql AS 'SELECT $2';
CREATE FUNCTION fz.vari(VARIADIC pm.event[]) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION fz.outs(pm.event, OUT a text, OUT b text) LANGUAGE sql AS $$SELECT 'a', 'b'$$;
CREATE FUNCTION fz.poly(anyelement) RETURNS void LANGUAGE sql AS '';
CREATE PROCEDURE fz.proc(pm.event) LANGUAGE sql AS '';
CREATE FUNCTION fz.agg_add(int, pm.event) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE AGGREGATE fz.agg(pm.event) (sfunc = fz.agg_add, stype = int, initcond = 0);
CREATE FUNCTION fz.key(e pm.event) RETURNS text IMMUTABLE LANGUAGE sql AS $$SELECT e.data ->> 'key'$$;
CREATE FUNCTION fz.volkey(e pm.event) RETURNS text LANGUAGE sql AS $$SELECT coalesce(e.data ->> 'key', e.stream)$$;
CREATE FUNCTION fz.intkey(e pm.event) RETURNS int IMMUTABLE LANGUAGE sql AS $$SELECT 1$$;
CREATE FUNCTION "s.p ""q""("."f)('; --"(pm.event) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION fz."Ünï ☃ 🙂"(pm.event) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION fz."aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"(pm.event) RETURNS void LANGUAGE sql AS '';
-- Does what the event says, and returns the state that it contains.
CREATE FUNCTION fz.does(e pm.event, jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF e.data ? 'sql' THEN
		EXECUTE e.data ->> 'sql';
	END IF;
	RETURN coalesce(e.data -> 'state', $2, '{}');
END $$;
SQL
utf8::encode($functions);
$node->safe_psql('postgres', "SET client_encoding = utf8; $functions
ALTER FUNCTION fz.does(pm.event, jsonb) OWNER TO boss;
GRANT USAGE ON SCHEMA fz, \"s.p \"\"q\"\"(\" TO PUBLIC; GRANT CREATE ON SCHEMA fz TO app;");

# The process manager of another role, which must not be disturbed.
$node->safe_psql('postgres', "SELECT pm.create_log('quiet')", extra_params => [ '-U', 'neighbor' ]);
PmTest::create_handler($node, 'neighbor_pm', user => 'neighbor');
$node->safe_psql('postgres', "SELECT pm.register('neighbor_pm', 'neighbor_pm', '{quiet}')", extra_params => [ '-U', 'neighbor' ]);

# ---- values ------------------------------------------------------------------

sub pick { return $_[ int rand @_ ]; }
sub chance { return rand() < $_[0]; }
sub literal { my ($s) = @_; return 'NULL' unless defined $s; $s =~ s/'/''/g; return "'$s'"; }

my @logs = (('orders', 'fz.events', q{"it's"}) x 4, 'public.orders', 'fz.events', '"Odd.Log"', q{"it's"}, 'fz."a""b$$;--"', '"Ünï ☃"', 'nowhere', 'pg_class',
	'orders_position_seq', 'pm_catalog.log', 'a.b.c', '"l' . ('o' x 61) . '"');
my @managers = ('m1', 'm2', 'M 3', "it's", 'a"b', '$$;--', "new\nline", 'Ünï ☃ 🙂', 'x' x 63, 'nobody');
my @handlers = ('fz.plain', 'fz.inst', 'fz.batch', 'fz.fails', 'fz.many', 'fz.many(pm.event)', 'fz.strict', 'fz.setof', 'fz.dflt',
	'fz.vari', 'fz.outs', 'fz.poly', 'fz.proc', 'fz.agg', 'fz.key', 'fz.volkey', 'fz.intkey', 'plain', 'fz.inst(pm.event,jsonb)',
	'fz.batch( pm.event[] )', '"s.p ""q""("."f)(\'; --"', '"s.p ""q""("."f)(\'; --"(pm.event)', 'fz."Ünï ☃ 🙂"', 'fz.' . ('a' x 63),
	'fz.' . ('a' x 64), 'pg_catalog.now', 'now()', 'fz.plain(public.nothing)', 'fz.plain(,)', 'fz.plain(pm.event', 'postgres.fz.plain',
	'a.b.c.d', '-', '0', '16384', 'pm.append', 'jsonb_each', 'fz.plain(pm.event%TYPE)', 'fz.plain(setof pm.event)', 'count(*)');
my @starts = ('beginning', 'end', '0', '1', '-1', '+3', '99999999999999999999', '9223372036854775807', '0x10', '1.5', ' 2', '2 ', 'now',
	'yesterday', 'infinity', '-infinity', '2020-01-01', '294276-12-31 23:59:59+00', '294277-01-01', '4713-01-01 BC', '2024-02-30',
	'today 25:00', 'epoch', 'J0', '2020-01-01 00:00:00 Nowhere/Else', 'Beginning', '', '1-1', '--', '20200101T000000', 'allballs');
my @policies = ('park', 'halt', 'raise', 'policy', 'Park', '', 'skip');
my @words = ('a', 'A', 'order-1', 'placed', 'k', '');
my @pieces = ('"', "'", '.', '(', ')', ',', '[', ']', '{', '}', '$$', '$1', "\n", "\t", "\r", ' ', '\\', '%', '%s', '%n', '::', ':', ';', '--', '/*', '*',
	'☃', '🙂', "e\x{301}", "\x{202e}", "\x{feff}", "\x01", "\x7f", '0', '-', '+', 'e', 'pm.event', 'NULL', 'pm', '""', "''", 'U&"', '&', '|', '<', '=', '@', '~', '?',
	'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa');
my @ints = (0, 1, 2, 3, -1, 5, 10, 100, 1000, 255, 256, 257, 100000, 100001, 1000000, 2147483647, -2147483648, '2147483648', '9223372036854775807',
	'-9223372036854775808', '9223372036854775808', 4294967296, 4294967297);
my @intervals = ('1 s', '10 s', '0', '1 ms', '999 us', '1 us', '-1 s', '24 hours', '1 day', '1 month', '178000000 years', '-178000000 years',
	'2147483647 days', '1 day -24 hours', '1.5 s', '9223372036854775807 us', '1000000 hours', '', 'infinity', 'soon', 'P1Y', '1 s ago', '00:00:00.0000001');
my @times = ('now', 'infinity', '-infinity', '294276-12-31 23:59:59.999999+00', '4713-11-24 00:00:00+00 BC', '2020-01-01', '2100-01-01', 'tomorrow', 'never',
	'epoch');

sub mutate
{
	my ($s) = @_;

	for (1 .. 1 + int rand 3)
	{
		my $at = int rand(1 + length $s);
		my $how = int rand 6;

		if ($how == 0) { substr($s, $at, 0, pick(@pieces)); }
		elsif ($how == 1) { substr($s, $at, 1 + int rand 3, ''); }
		elsif ($how == 2 && $at < length $s) { substr($s, $at, 1, pick(@pieces)); }
		elsif ($how == 3) { $s .= substr($s, 0, $at); }
		elsif ($how == 4) { $s = chance(0.5) ? uc $s : lc $s; }
		else { $s = substr($s, $at) . substr($s, 0, $at); }
	}
	return $s;
}

sub noise
{
	return 'x' x pick(62, 63, 64, 127, 128, 254, 255, 256, 257, 1000, 2600, 2712, 2713, 3000, 8191, 8192, 20000) if chance(0.15);
	return '☃' x pick(20, 21, 22, 85, 86, 900, 3000) if chance(0.05);
	return join '', map { pick(@pieces, @words) } 1 .. int rand 8;
}

# One of these values, unchanged, mutated, or something else.
sub near
{
	my @known = @_;
	my $r = rand;

	return pick(@known) if $r < 0.75;
	return mutate(pick(@known)) if $r < 0.95;
	return noise() if $r < 0.99;
	return undef;
}

sub json_string
{
	my ($s) = @_;
	$s =~ s/(["\\])/\\$1/g;
	$s =~ s/([\x00-\x1f])/sprintf '\\u%04x', ord $1/ge;
	return "\"$s\"";
}

sub json
{
	my ($depth) = @_;
	my $r = rand;

	return pick('null', 'true', 'false', '0', '-0', '1e5', '1e400', '-1.5', '123456789012345678901234567890', '""', '{}', '[]') if $depth <= 0 || $r < 0.35;
	return json_string(chance(0.5) ? pick(@words) : noise()) if $r < 0.5;
	return '[' . join(',', map { json($depth - 1) } 1 .. int rand 4) . ']' if $r < 0.7;
	return '{' . join(',', map { json_string(chance(0.7) ? pick('type', 'data', 'metadata', 'key', 'causation', 'correlation', 'log', 'position', '$pm', 'state') : noise())
		  . ':' . json($depth - 1) } 1 .. int rand 5) . '}' if $r < 0.97;
	my $deep = pick(100, 1000, 4000, 8000);
	return ('[' x $deep) . (']' x $deep);
}

sub json_event
{
	my %field = (type => json_string(near(@words) // ''), data => json(2), metadata => '{}');

	$field{metadata} = json(2) if chance(0.2);
	delete $field{type} if chance(0.05);
	delete $field{data} if chance(0.3);
	delete $field{metadata} if chance(0.3);
	$field{type} = json(1) if exists $field{type} && chance(0.05);
	my @parts = map { "\"$_\": $field{$_}" } sort keys %field;
	push @parts, json_string(noise()) . ': 1' if chance(0.05);
	push @parts, '"type": "again"' if chance(0.05);
	return '{' . join(', ', @parts) . '}';
}

sub jsonb_value
{
	my ($arg) = @_;
	my $text;

	return undef if chance(0.03);
	if ($arg eq 'events')
	{
		$text = '[' . join(', ', map { chance(0.95) ? json_event() : json(2) } 1 .. pick(0, 1, 1, 2, 3, 10)) . ']';
		$text = json(3) if chance(0.08);
	}
	elsif (chance(0.6)) { $text = '{' . join(', ', map { json_string(pick(@words, 'key', 'correlation', 'causation')) . ': ' . json(2) } 1 .. int rand 4) . '}'; }
	else { $text = json(3); }
	$text = mutate($text) if chance(0.08);
	$text = '"\u0000"' if chance(0.01);
	return $text;
}

sub array_of
{
	my ($element) = @_;
	my $r = rand;
	my @list;

	return 'NULL' if $r < 0.03;
	return pick("'{}'", "'{NULL}'", "'{{orders,fz.events},{orders,orders}}'", "'[5:6]={orders,fz.events}'", "'{orders'", "'{\"\"}'", "'{{}}'") if $r < 0.12;
	@list = map { literal($element->()) } 1 .. pick(1, 1, 1, 2, 3, 20);
	return 'ARRAY[' . join(', ', @list) . ']::text[]';
}

# Accepted values, as far as that depends on the argument alone.
my %good = (name => [ map { literal($_) } @managers[ 0 .. 3 ] ], log => [ map { literal($_) } 'orders', 'fz.events', q{"it's"} ],
	logs => [q{'{orders,"\\"it''s\\""}'}], handler => [ map { literal($_) } 'fz.plain', 'fz.inst', 'fz.batch', 'fz.inst(pm.event, jsonb)' ],
	correlate => [ 'NULL', "'fz.key'" ], types => [ 'NULL', "'{a,placed}'" ], start_at => [ "'beginning'", "'end'" ], on_failure => [ "'park'", "'halt'" ],
	events => [q{'[{"type": "a", "data": {}}]'}], expected_version => ['NULL'], timeout => ["'0'"], backoff => ["'1 ms'"], handler_timeout => ["'1 s'"],
	lanes => [ 1, 2 ], batch_size => [10], park_limit => [10], max_attempts => [2], data => [q{'{"key": "k"}'}], metadata => [q{'{}'}]);

# An expression for an argument of this name and type.
sub value
{
	my ($arg, $type) = @_;

	if ($type eq 'text')
	{
		my @known = $arg eq 'log' ? @logs
		  : $arg eq 'name' ? @managers
		  : $arg eq 'handler' ? @handlers
		  : $arg eq 'correlate' ? ('fz.key', 'fz.key', 'fz.volkey', @handlers)
		  : $arg eq 'start_at' ? @starts
		  : $arg eq 'on_failure' ? @policies
		  : @words;
		# Signatures have the richest grammar.
		return literal(mutate(pick(@known))) if $arg =~ /^(?:handler|correlate)$/ && chance(0.5);
		return literal(near(@known));
	}
	return array_of(sub { near(@logs) }) if $type eq 'text[]' && $arg eq 'logs';
	return array_of(sub { near(@words) }) if $type eq 'text[]';
	return literal(jsonb_value($arg)) if $type eq 'jsonb';
	# pm.wait_for would wait for that long.
	return literal(chance(0.8) ? pick('0', '1 ms', '20 ms', '-1 s') : near(@intervals)) . '::interval' if $arg eq 'timeout';
	return literal(near(@intervals)) . '::interval' if $type eq 'interval';
	return literal(near(@times)) . '::timestamptz' if $type eq 'timestamp with time zone';
	return pick('true', 'false', 'NULL') if $type eq 'boolean';
	return (chance(0.03) ? 'NULL' : chance(0.65) ? pick(0 .. 5) : literal(pick(@ints))) . "::$type" if $type =~ /^(?:bigint|integer)$/;
	return "NULL::$type" if chance(0.1);
	return literal(noise()) . "::$type";
}

# ---- statements --------------------------------------------------------------

# Every function of pm: its name, the number of arguments with a default, names and types of the arguments.
my @api = map { my ($name, $defaults, @args) = split /\|/; { name => $name, defaults => $defaults, args => [ map { [ split /=/, $_, 2 ] } @args ] } }
  split /\n/, $node->safe_psql('postgres', <<'SQL');
SELECT concat_ws('|', p.proname, p.pronargdefaults, (SELECT string_agg(coalesce(p.proargnames[a.n], '') || '=' || format_type(a.t, NULL), '|' ORDER BY a.n)
	FROM unnest(p.proargtypes) WITH ORDINALITY a(t, n)))
FROM pg_proc p WHERE p.pronamespace = 'pm'::regnamespace ORDER BY p.proname, p.oid
SQL
my %api = map { $_->{name} => $_ } @api;
# Functions with much parsing come more often.
my @choice = (@api, grep { defined } @api{(('register') x 10, qw(append_all append_all append append create_log create_log attach_log read seek))});

sub call
{
	my ($function) = @_;
	my @args = @{ $function->{args} };
	my $required = @args - $function->{defaults};
	my @given;
	# In every second call only one argument is unusual.
	my $odd = chance(0.5) ? int rand @args : -1;

	for my $i (0 .. $#args)
	{
		my ($name, $type) = @{ $args[$i] };
		my $keep = $i < $required || $name eq 'timeout' || chance($function->{name} eq 'register' ? 0.25 : 0.5);

		next unless $keep || $i == $odd;
		push @given, "$name => " . ($odd >= 0 && $odd != $i && $good{$name} ? pick(@{ $good{$name} }) : value($name, $type));
	}
	return "pm.$function->{name}(" . join(', ', @given) . ')';
}

# One attempt: a list of statements, each of which may be refused.
sub attempt
{
	my $r = rand;
	my $call = call(pick(@choice));

	# in the handler of an instance
	return ('BEGIN',
		'SELECT pm.append(\'fz.events\', ' . literal(near(@words)) . ", 'do', jsonb_build_object('key', " . literal(near(@words)) . "::text, 'state', "
		  . literal(jsonb_value('data')) . "::jsonb, 'sql', " . literal('SELECT ' . call(pick(@choice, (@api{qw(set_timer cancel_timer append)}) x 3))) . '))',
		"SELECT pm.catch_up('does', max_count => 50)", 'ROLLBACK') if $r < 0.15;
	return ('BEGIN ISOLATION LEVEL ' . pick('REPEATABLE READ', 'SERIALIZABLE', 'READ COMMITTED READ ONLY'), "SELECT $call", 'ROLLBACK') if $r < 0.2;
	return ('BEGIN', 'SAVEPOINT s', "SELECT $call", 'ROLLBACK TO s', 'SELECT ' . call(pick(@choice)), 'ROLLBACK TO s', 'SELECT ' . call(pick(@choice)), pick('COMMIT', 'ROLLBACK')) if $r < 0.27;
	return ("SELECT * FROM $call x") if $r < 0.32;
	return ("SELECT $call");
}

# ---- the run -----------------------------------------------------------------

my (%state, @internal, @hung, @lost, @blind, @stuck);
my ($tries, $batches, $refused) = (0, 0, 0);

sub setup
{
	# With these objects a registration is accepted now and then.
	for my $log ('orders', 'fz.events', q{"it's"})
	{
		$node->safe_psql('postgres', 'SELECT pm.create_log(' . literal($log) . ')', extra_params => [ '-U', 'app' ]);
	}
	my @sql = "SELECT pm.register('does', 'fz.does', '{fz.events}', correlate => 'fz.volkey'); SELECT pm.pause('does');";
	my $nth = 0;
	for my $name (@managers)
	{
		next if $name eq 'nobody';
		my $handler = (qw(fz.plain fz.inst fz.batch fz.fails fz.does))[ $nth++ % 5 ];
		push @sql, 'SELECT pm.register(' . literal($name) . ", '$handler', ARRAY['orders', '\"it''s\"'], max_attempts => 2, backoff => '1 ms', lanes => " . (1 + $nth % 3) . ');';
	}
	my $sql = join "\n", @sql;
	utf8::encode($sql);
	$node->safe_psql('postgres', $sql, extra_params => [ '-U', 'app' ]);
	return;
}

# Whatever the name: it can be read, and dropped by that name.
sub clear
{
	my ($rc, $out, $err) = $node->psql('postgres', <<'SQL');
SELECT count(*) FROM (SELECT row(s.*)::text FROM pm.status s UNION ALL SELECT row(s.*)::text FROM pm.cursor s UNION ALL SELECT row(s.*)::text FROM pm.log s
	UNION ALL SELECT row(s.*)::text FROM pm.process_manager s UNION ALL SELECT row(s.*)::text FROM pm.instance s UNION ALL SELECT row(s.*)::text FROM pm.parked s
	UNION ALL SELECT row(s.*)::text FROM pm.timer s UNION ALL SELECT row(s.*)::text FROM pm.blocker s UNION ALL SELECT row(s.*)::text FROM pm.worker s) x;
SQL
	push @blind, $err if $rc != 0;
	($rc, $out, $err) = $node->psql('postgres', <<'SQL');
SET lock_timeout = '30s';
DO $$
DECLARE
	n text;
	t regclass;
BEGIN
	FOR n IN SELECT name FROM pm.process_manager WHERE name <> 'neighbor_pm' LOOP
		PERFORM pm.unregister(n);
	END LOOP;
	FOR n IN SELECT name FROM pm.log WHERE name <> 'quiet' LOOP
		PERFORM pm.drop_log(n);
	END LOOP;
	FOR t IN SELECT attrelid FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
		WHERE attname = 'recorded_at' AND relkind = 'r' AND relname <> 'quiet' AND relnamespace <> 'pm_catalog'::regnamespace LOOP
		EXECUTE format('DROP TABLE %s', t);
	END LOOP;
END $$;
SQL
	push @stuck, $err if $rc != 0;
	return;
}

sub shown
{
	my ($s) = @_;
	$s = substr($s, 0, 1000);
	utf8::encode($s);
	return $s;
}

sub batch
{
	my $user = chance(0.75) ? 'app' : 'boss';
	my (@statements, $run, $rc, $out, $err);
	my $script = "\\set ON_ERROR_STOP 0\n\\set VERBOSITY verbose\n\\set SHOW_CONTEXT never\n\\o /dev/null\nSET client_encoding = utf8;\nSET statement_timeout = $timeout_ms;\n"
	  . "SET client_min_messages = error;\n";

	for (1 .. $batch_size)
	{
		my @attempt = attempt();

		$tries++;
		push @statements, @attempt;
	}
	for my $i (0 .. $#statements)
	{
		$script .= "$statements[$i];\n\\echo \n\\echo state $i :SQLSTATE\n";
	}
	utf8::encode($script);
	$run = PmTest::start_psql($node, $script, user => $user);
	($rc, $out, $err) = PmTest::finish_psql($run);
	$batches++;

	my @got;
	while ($out =~ /^state (\d+) (\w+)$/mg)
	{
		$got[$1] = $2;
	}
	my @messages = $err =~ /ERROR:  (.*)/g;
	my $nth = -1;
	for my $i (0 .. $#statements)
	{
		my $code = $got[$i];

		if (!defined $code)
		{
			push @lost, shown(join "\n", @statements[ ($i > 2 ? $i - 2 : 0) .. $i ]) . ($err =~ /(.*server closed.*|FATAL.*)/ ? $1 : "status $rc");
			last;
		}
		next if $code eq '00000';
		$nth++;
		$refused++;
		$state{$code}++;
		my $said = (defined $messages[$nth] ? "$messages[$nth]\n" : '') . "as $user: " . shown($statements[$i]);
		push @internal, $said if $code =~ /^XX/;
		# pm.wait_for may wait
		push @hung, $said if $code eq '57014' && $statements[$i] !~ /pm\.wait_for/;
	}
	return;
}

setup();
my $until = time + $seconds;
my $appended = 0;
while (time < $until && $tries < $most)
{
	batch();
	last if @lost;
	$node->safe_psql('postgres', "INSERT INTO quiet (stream, type) SELECT 's', 'A' FROM generate_series(1, 5)");
	$appended += 5;
	if ($batches % 2 == 0)
	{
		clear();
		setup();
	}
}
if (@lost)
{
	PmTest::wait_until($node, 'SELECT NOT pg_is_in_recovery()');
}
else
{
	clear();
}

PmTest::figure("$tries tries in $batches batches, $refused refused: " . join(', ', map { "$_ $state{$_}" } sort keys %state));
is(scalar @lost, 0, 'no session was lost') or diag("seed $seed\n", join("\n\n", @lost));
is(scalar @internal, 0, 'every refusal has an SQLSTATE that is not an internal error') or diag("seed $seed\n", join("\n\n", @internal[ 0 .. ($#internal < 9 ? $#internal : 9) ]));
is(scalar @hung, 0, "nothing took $timeout_ms ms") or diag("seed $seed\n", join("\n\n", @hung[ 0 .. ($#hung < 9 ? $#hung : 9) ]));
is(scalar @blind, 0, 'the views can be read, whatever was registered') or diag("seed $seed\n", join("\n\n", @blind));
is(scalar @stuck, 0, 'everything can be taken away by its name') or diag("seed $seed\n", join("\n\n", @stuck));
cmp_ok($refused, '>', $tries / 10, 'many statements were refused');
cmp_ok($tries * 2 - $refused, '>', $tries / 10, 'many were accepted');
cmp_ok(scalar keys %state, '>=', 10, 'there were many different errors');

ok(PmTest::wait_seen($node, 'neighbor_pm', $appended), "the neighbor's events are handled");
PmTest::exactly_once_ok($node, 'neighbor_pm', 'quiet');
my @logged = grep { /^\S+ \S+ \S+ \[\d+\] XX\d{3} .*(?:ERROR|FATAL|PANIC):/ } split /\n/, slurp_file($node->logfile);
is(scalar @logged, 0, 'no worker reports an internal error') or diag("seed $seed\n", join("\n", @logged[ 0 .. ($#logged < 9 ? $#logged : 9) ]));
PmTest::no_crash_ok($node);
$node->stop;

done_testing();
