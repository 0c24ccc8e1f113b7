# pm.diagram: Graphviz draws it, for the gallery, and whatever the names are; a role sees only what it may see; and workers
# learn which handler appends to which log.
use strict;
use warnings FATAL => 'all';

use File::Basename qw(basename);
use IPC::Run ();
use PmTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $root = $ENV{PM_TEST_ROOT} // '.';
my $node = PmTest::node('diagram', conf => "pm.max_workers = 6\n");
my $dot = grep { -x "$_/dot" } split /:/, $ENV{PATH};
my $pictures = $ENV{PM_DIAGRAM_DIR};		# where the pictures are kept, to be looked at

diag('graphviz is not installed: the diagrams are not drawn') unless $dot;

sub answer
{
	my ($sql, $user, $dbname) = @_;
	return $node->safe_psql($dbname // 'postgres', $sql, extra_params => $user ? [ '-U', $user ] : []);
}

# What a diagram says: nodes by their labels' first lines, and the edges between these.
sub parse
{
	my ($text) = @_;
	my (%name, %label, @edges);

	while ($text =~ /^\t"((?:log|process manager) \d+)" \[.*?label="((?:[^"\\]|\\.)*)"/mg)
	{
		my ($id, $label) = ($1, $2);

		$label{$id} = $label;
		($name{$id} = $label) =~ s/(?<!\\)\\n.*//s;
	}
	push @edges, "$name{$1} > $name{$2}" while $text =~ /^\t"([^"]+)" -> "([^"]+)"/mg;
	return { names => \%name, labels => \%label, edges => [ sort @edges ] };
}

# Draws a diagram. Tests that the picture has exactly the nodes and edges of the text. Returns the picture.
sub drawn_ok
{
	my ($text, $name) = @_;
	my ($svg, $err) = ('', '');
	my $parsed = parse($text);

	return '' unless $dot;
	ok(IPC::Run::run([qw(dot -Tsvg)], '<', \$text, '>', \$svg, '2>', \$err) && $err eq '', "$name: dot draws it") or diag($err, $text);
	is(scalar(() = $svg =~ /class="node"/g), scalar keys %{ $parsed->{names} }, "$name: with all nodes and no others");
	is(scalar(() = $svg =~ /class="edge"/g), scalar @{ $parsed->{edges} }, "$name: and all edges");
	# An XML file that no parser refuses.
	unlike($svg, qr/[\x00-\x08\x0b\x0c\x0e-\x1f]/, "$name: without control characters");
	if ($pictures)
	{
		IPC::Run::run([ qw(dot -Tpng -Gdpi=80 -o), "$pictures/$name.png" ], '<', \$text) or diag("cannot write $pictures/$name.png");
	}
	return $svg;
}

# ---- the gallery

answer('CREATE ROLE reader LOGIN; GRANT CREATE ON DATABASE postgres TO reader; GRANT USAGE ON SCHEMA pm TO reader');
foreach my $example (sort glob("$root/examples/*.sql"))
{
	my $err = '';
	IPC::Run::run([ $node->installed_command('psql'), '-XqU', 'reader', '-d', $node->connstr('postgres'), '-f', $example ], '>', \my $out, '2>', \$err)
	  or BAIL_OUT("$example: $err");
}
# What pm.rehearse and pm.catch_up have done in the examples counts; workers append the rest.
my $text = answer('SELECT pm.diagram()', 'reader');
my $gallery = parse($text);
is(join("\n", @{ $gallery->{edges} }), join("\n", sort(
	'billing.contracts > billing', 'billing > billing.invoices',
	'billing.invoices > dunning', 'billing.payments > dunning', 'dunning > billing.invoices',
	'billing.invoices > revenue', 'billing.payments > revenue',
	'cinema.reservations > seats', 'cinema.shows > seats', 'seats > cinema.reservations', 'seats > cinema.seats',
	'bank.accounts > transfer', 'bank.transfers > transfer', 'transfer > bank.accounts', 'transfer > bank.transfers',
	'travel.notices > travel', 'travel.trips > travel', 'travel > travel.outbox', 'travel > travel.trips', 'travel.outbox > travel_sender',
	'shelf.orders > shelf')), 'the gallery: what follows what');
drawn_ok($text, 'gallery');

# ---- a role sees what is its own, pg_monitor everything

answer('CREATE ROLE watcher LOGIN IN ROLE pg_monitor; CREATE ROLE stranger LOGIN; GRANT USAGE ON SCHEMA pm TO watcher, stranger');
is(answer('SELECT pm.diagram()', 'watcher') =~ s/, \d+ \w+"//gr, $text =~ s/, \d+ \w+"//gr, 'pg_monitor sees all of it');
my $other = answer('SELECT pm.diagram()', 'stranger');
is(join('', %{ parse($other)->{names} }), '', 'another role sees nothing');
unlike($other, qr/bank|billing|travel/, 'not even a name');
drawn_ok($other, 'empty');

# ---- the demo, with an order whose quantity is wrong

answer('CREATE ROLE shopkeeper LOGIN; CREATE DATABASE demo OWNER shopkeeper');
answer('CREATE EXTENSION pm; CREATE SCHEMA shop AUTHORIZATION shopkeeper; GRANT USAGE ON SCHEMA pm TO shopkeeper; ALTER ROLE shopkeeper SET search_path = shop', undef, 'demo');
answer(slurp_file("$root/examples/demo/shop/$_.sql"), 'shopkeeper', 'demo') foreach qw(schema handler);
answer(<<'SQL', 'shopkeeper', 'demo');
SELECT pm.append('orders', 'o-1', 'order placed', '{"quantity": 2, "amount": 10, "pay_within": "0 s"}');
SELECT pm.append('orders', 'o-2', 'order placed', '{"quantity": "2 pcs", "amount": 10, "pay_within": "0 s"}');
SELECT pm.append('payments', 'p-3', 'payment received', '{"order": "o-3", "amount": 10, "valid_for": "0 s"}');
SQL
ok(PmTest::wait_until($node, q{SELECT appends_to FROM pm.process_manager WHERE name = 'order-fulfilment'}, '{orders,payments,warehouse}', dbname => 'demo'),
	'the demo: after its timers, the process manager has appended to all three logs');
$text = answer('SELECT pm.diagram()', 'shopkeeper', 'demo');
is(join("\n", @{ parse($text)->{edges} }), join("\n", sort('orders > order-fulfilment', 'payments > order-fulfilment', 'warehouse > order-fulfilment',
	'order-fulfilment > orders', 'order-fulfilment > payments', 'order-fulfilment > warehouse', 'orders > turnover', 'payments > turnover')), 'the demo: what follows what');
drawn_ok($text, 'demo');

# ---- hostile names

answer('CREATE DATABASE hostile');
answer('CREATE EXTENSION pm', undef, 'hostile');
my @names = ('"', '\\', 'a\\', '\\"', 'x"]; evil [label="', '<b>bold</b>', '<<table border="0">>', '&lt;&amp;', "two\nlines", "\t\r\x01\x7f", '\\N\\G\\l', '{a|b}',
	'x' x 63, "\x{e2}\x{80}\x{ae}txet", "\x{ef}\x{bf}\x{be}", '%s %1$s', '$body$', '-- */ /*', "'; DROP TABLE x; --", 'process manager 1', 'digraph pm {');
{
	my $sql = "SET standard_conforming_strings = on; CREATE FUNCTION nothing(e pm.event) RETURNS void LANGUAGE plpgsql AS 'BEGIN END';\n";

	foreach my $name (@names)
	{
		my $quoted = $name =~ s/'/''/gr;

		$sql .= "SELECT pm.create_log(quote_ident('$quoted')), pm.register('$quoted', 'nothing', ARRAY[quote_ident('$quoted')], start_at => 'beginning');\n";
	}
	my $run = PmTest::start_psql($node, $sql, dbname => 'hostile');
	my ($rc, undef, $err) = PmTest::finish_psql($run);
	is("$rc$err", '0', 'process managers and logs with such names are made');
}
$text = answer('SELECT pm.diagram()', undef, 'hostile');
my $hostile = parse($text);
is(scalar keys %{ $hostile->{names} }, 2 * @names, 'a node for each process manager and each log');
is(scalar @{ $hostile->{edges} }, scalar @names, 'and an edge for each pair');
cmp_ok(length((sort { length $b <=> length $a } values %{ $hostile->{labels} })[0]), '<', 300, 'no label is long');
my $svg = drawn_ok($text, 'hostile');
if ($dot)
{
	# As the picture shows them.
	my @shown = map { my $t = $_; $t =~ s/&#(\d+);/chr $1/ge; $t =~ s/&#160;|\x{a0}/ /g; $t =~ s/&quot;/"/g; $t =~ s/&lt;/</g; $t =~ s/&gt;/>/g; $t =~ s/&amp;/&/g; $t }
	  $svg =~ /<text [^>]*>(.*?)<\/text>/gs;
	foreach my $name ('"', '\\', 'a\\', 'x"]; evil [label="', '<b>bold</b>', '&lt;&amp;', '\\N\\G\\l', '{a|b}', 'two lines')
	{
		ok(scalar(grep { s/\xc2\xa0/ /gr eq $name } @shown), "the picture shows $name") or diag(join("\n", @shown));
	}
}

# Databases in other encodings.
foreach my $encoding (qw(LATIN1 SQL_ASCII EUC_JP))
{
	answer("CREATE DATABASE \"in_$encoding\" TEMPLATE template0 ENCODING '$encoding' LC_COLLATE 'C' LC_CTYPE 'C'");
	answer('CREATE EXTENSION pm', undef, "in_$encoding");
	is(answer(q{SELECT pm_catalog.diagram_text('a"b' || chr(10) || chr(126), 10) || (length(pm.diagram()) > 0)}, undef, "in_$encoding"), 'a\\"b ~true', "in $encoding");
}

# ---- workers: two lanes at once, a crash, deferred triggers, handlers that fail

answer('CREATE DATABASE work');
answer(<<'SQL', undef, 'work');
CREATE EXTENSION pm;
CREATE TABLE noted (n int);
CREATE FUNCTION later() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pm.append('deferred', 's', 'x'); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER later AFTER INSERT ON noted DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION later();
SELECT pm.create_log(l) FROM unnest('{input,output,deferred,never}'::text[]) l;
CREATE FUNCTION do_both(e pm.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pm.append('output', e.stream, 'x');
	INSERT INTO noted VALUES (1);
	IF e.type = 'fail' THEN PERFORM pm.append('never', 's', 'x'); RAISE 'no'; END IF;
END $$;
SELECT pm.register('both', 'do_both', '{input}', lanes => 4, max_attempts => 1);
SQL
answer(q{INSERT INTO input (stream, type) SELECT 's' || i % 50, CASE WHEN i % 10 = 0 THEN 'fail' ELSE 'ok' END FROM generate_series(1, 400) i}, undef, 'work');
ok(PmTest::wait_until($node, q{SELECT bool_and(state = 'idle' AND lag = 0) FROM pm.status}, 't', dbname => 'work'), 'four lanes handle events, some of which fail');
is(answer('SELECT appends_to FROM pm.process_manager', undef, 'work'), '{deferred,output}', 'what they append to is known; what was undone is not');
cmp_ok(answer('SELECT count(*) FROM pm_catalog.appends', undef, 'work'), '<=', 8, 'each lane has noted each log at most once');
$node->restart;
answer(q{INSERT INTO input (stream, type) VALUES ('new', 'ok')}, undef, 'work');
ok(PmTest::wait_until($node, q{SELECT bool_and(state = 'idle' AND lag = 0) FROM pm.status}, 't', dbname => 'work'), 'after a restart');
cmp_ok(answer('SELECT count(*) FROM pm_catalog.appends', undef, 'work'), '<=', 8, 'nothing is noted again');
my $label = (grep { /^both/ } values %{ parse(answer('SELECT pm.diagram()', undef, 'work'))->{labels} })[0];
is($label, 'both\n4 lanes\nidle\n' . answer(q{SELECT format('%s parked, %s dead', sum(parked), sum(dead)) FROM pm.status}, undef, 'work'), 'parked and dead events are counted over the lanes');

PmTest::no_crash_ok($node);
done_testing();
