# P6: a role without any right on pm makes changes in a loop after which dispatchers load what they run again: it changes its own
# password, or disables and enables a trigger of a table of its own that calls a function of the extension. 300 process managers
# that follow the same log go on, with a delay.
use strict;
use warnings FATAL => 'all';

use PmTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $managers = 300;
my $node = PmTest::node('loop');

sub answer { return $node->safe_psql('postgres', $_[0]); }

# The time in which this number of events is appended and handled, one after the other.
sub handled
{
	my ($events) = @_;
	return PmTest::seconds { answer(q{SELECT pm.append('orders', 's', 'x'); SELECT pm.wait_for('m1');} x $events) };
}

answer(q{CREATE FUNCTION h(e pm.event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN END $$; SELECT pm.create_log('orders')});
answer(qq{SELECT pm.register('m' || i, 'h', '{orders}') FROM generate_series(1, $managers) i});
answer('CREATE ROLE stranger LOGIN; CREATE SCHEMA AUTHORIZATION stranger');
$node->safe_psql('postgres', 'CREATE TABLE t (a integer); CREATE TRIGGER t BEFORE INSERT ON t EXECUTE FUNCTION pm_catalog.before_truncate()', extra_params => [ '-U', 'stranger' ]);
handled(10);
my $before = handled(10);

my %loop = (password => "ALTER ROLE stranger PASSWORD 'x';\n", trigger => "ALTER TABLE t DISABLE TRIGGER t;\nALTER TABLE t ENABLE TRIGGER t;\n");
for my $what (sort keys %loop)
{
	my $script = $node->basedir . "/$what.bench";

	append_to_file($script, $loop{$what});
	my $run = PmTest::start_program($node, 'pgbench', '-n', '-U', 'stranger', '-T', 600, '-f', $script, 'postgres');
	ok(PmTest::wait_until($node, q{SELECT count(*) FROM pg_stat_activity WHERE usename = 'stranger'}, 1), "$what: the loop runs");
	my $seconds = handled(10);
	PmTest::figure(sprintf '%s: 10 events in %.2f s, without the loop in %.2f s', $what, $seconds, $before);
	cmp_ok($seconds, '<', 2 + 10 * $before, 'events are handled meanwhile');
	$run->{h}->kill_kill;
}

PmTest::no_crash_ok($node);
done_testing();
