# P6: no role can take the slots for marks in shared memory that another role needs. When all are in
# use, the role with the most slots gives some back. Logs without a slot share their wake-ups; their events
# are neither lost nor handled twice. Slots that are not used any more are given back without a restart.
use strict;
use warnings FATAL => 'all';

use PmTest;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = PmTest::node('share', conf => "pm.max_logs = 64\npm.poll_interval = '6s'\n");

PmTest::create_seen($node);
for my $role (qw(hog other))
{
	$node->safe_psql('postgres', "CREATE ROLE $role LOGIN; GRANT USAGE ON SCHEMA pm TO $role; CREATE SCHEMA $role AUTHORIZATION $role;
		GRANT CREATE ON SCHEMA public TO $role");
	PmTest::create_handler($node, "keep_$role", user => $role);
}
sub as { my ($role, $sql) = @_; return $node->safe_psql('postgres', $sql, extra_params => [ '-U', $role ]); }

# Appends an event to each of the logs in turn. Returns the longest time until it was handled, in seconds.
sub slowest
{
	my ($role, $seen, @logs) = @_;
	my $slowest = 0;

	for my $log (@logs)
	{
		my $appended = as($role, "SELECT extract(epoch FROM clock_timestamp()) FROM pm.append('$role.$log', 's', 't')");
		PmTest::wait_seen($node, "keep_$role", ++$$seen) or return 99;
		my $took = PmTest::handled_at($node, "pm = 'keep_$role'") - $appended;
		$slowest = $took if $took > $slowest;
	}
	return $slowest;
}

as('hog', "SELECT count(pm.create_log('hog.l' || i)) FROM generate_series(1, 100) i");
as('hog', "SELECT pm.register('hog', 'keep_hog', (SELECT array_agg(name) FROM pm.log))");
as('hog', "SELECT count(pm.append('hog.l' || i, 's', 't')) FROM generate_series(1, 100) i");
ok(PmTest::wait_seen($node, 'keep_hog', 100), 'a role with more logs than there are slots is served');

as('other', "SELECT count(pm.create_log('other.l' || i)) FROM generate_series(1, 20) i");
as('other', "SELECT pm.register('other', 'keep_other', (SELECT array_agg(name) FROM pm.log WHERE name ~ '^other'))");
my $seen = 0;
my $slowest = slowest('other', \$seen, map { "l$_" } 1 .. 20);
cmp_ok($slowest, '<', 3, 'another role is woken by each of its logs');
PmTest::figure(sprintf('64 places, 100 logs of one role; another role: slowest of 20 events after %.0f ms', 1000 * $slowest));

# Both roles at once, again and again: slots move between them.
my @writers = map
{
	my $role = $_;
	PmTest::start_psql($node, join('', map { "SELECT pm.append('$role.l' || (1 + i % @{[ $role eq 'hog' ? 100 : 20 ]}), 's', 'u') FROM generate_series($_ * 7, $_ * 7 + 6) i;\n" } 1 .. 100), user => $role)
} qw(hog other);
is((PmTest::finish_psql($_))[0], 0, 'no writer fails') for @writers;
ok(PmTest::wait_seen($node, 'keep_hog', 800), 'all events of the one role are handled');
ok(PmTest::wait_seen($node, 'keep_other', 720), 'so are those of the other');
is($node->safe_psql('postgres', 'SELECT count(*) - count(DISTINCT (log, pos)) FROM seen'), 0, 'no event is handled twice');
is($node->safe_psql('postgres', 'SELECT count(*) FROM (SELECT pos < lag(pos) OVER (PARTITION BY pm, log ORDER BY seq) AS bad FROM seen) x WHERE bad'),
	0, 'no event is out of order');

# The slots of dropped logs are given back.
as('hog', "SELECT pm.unregister('hog')");
as('hog', "SELECT count(pm.drop_log('hog.l' || i)) FROM generate_series(1, 100) i");
as('other', "SELECT count(pm.create_log('other.l' || i)) FROM generate_series(21, 60) i");
as('other', "SELECT pm.register('other', 'keep_other', (SELECT array_agg(name) FROM pm.log WHERE name ~ '^other'))");
$seen = 720;
cmp_ok(slowest('other', \$seen, map { "l$_" } 41 .. 60), '<', 3, 'the slots of dropped logs are used again');
PmTest::no_crash_ok($node);

done_testing();
