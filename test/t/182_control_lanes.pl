# P3, P7: pm.pause, pm.seek and pm.unregister of a process manager with many lanes wait for the running batches, not for a
# batch of each lane in turn. Concurrent with pm.catch_up they cause no deadlock.
use strict;
use warnings FATAL => 'all';

use PmTest;
use Test::More;

my $node = PmTest::node('steer', conf => "pm.max_workers = 1\n");
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE app LOGIN;
GRANT USAGE ON SCHEMA pm TO app;
GRANT CREATE ON SCHEMA public TO app;
SQL
PmTest::create_seen($node);

sub answer
{
	my ($sql) = @_;
	return $node->safe_psql('postgres', $sql, extra_params => [ '-U', 'app' ]);
}

PmTest::create_handler($node, 'slow', user => 'app', after => "PERFORM pg_sleep(0.3);");
answer("SELECT pm.create_log('orders'); SELECT pm.register('slow', 'slow', '{orders}', lanes => 8, batch_size => 1)");
answer("INSERT INTO orders (stream, type) SELECT 's' || i, 't' FROM generate_series(1, 200) i");
my $first = "SELECT count(*) FROM pm.worker WHERE process_manager = 'slow' AND lane = 0 AND state = 'handling'";
for my $steer ("pm.pause('slow')", "pm.seek('slow', 'orders', 0)", "pm.unregister('slow')")
{
	ok(PmTest::wait_until($node, $first, 1, every => 0.01), "$steer: the first lane is running");
	# In one session: on a busy machine, events are handled while another one starts.
	my @seen = grep { length } split /\n/, answer("SELECT count(*) FROM seen; SELECT $steer; SELECT count(*) FROM seen");
	cmp_ok($seen[-1] - $seen[0], '<=', 2, "$steer waits for what runs already");
	answer("SELECT pm.resume('slow')") if $steer =~ /pause/;
}

PmTest::create_handler($node, 'fast', user => 'app');
answer("SELECT pm.register('fast', 'fast', '{orders}', start_at => 'end', lanes => 8, batch_size => 2)");
my @runs = map { PmTest::start_psql($node, $_ x 20, user => 'app') } (
	"SELECT pm.seek('fast', 'orders', 50);\nSELECT pm.resume('fast');\n", "SELECT pm.resume('fast');\nSELECT pm.catch_up();\n",
	"BEGIN;\nSELECT pm.catch_up('fast', max_count => 5);\nSELECT pm.seek('fast', 'orders', 0);\nCOMMIT;\n") x 2;
my @errors = map { my (undef, undef, $err) = PmTest::finish_psql($_); grep { /ERROR/ } split /\n/, $err } @runs;
is("@errors", '', 'with concurrent calls of pm.catch_up there is no deadlock');

PmTest::no_crash_ok($node);
$node->stop('fast');
done_testing();
