# Many roles, few places. Roles with little to do are served soon: among each other, and among
# roles that have more to do than they can finish, which continue all the same. No process serves
# two roles.
#
#   PM_SOAK=1        200 roles on 4 places for two minutes instead of 24 on 2 for a few seconds
use strict;
use warnings FATAL => 'all';

use PmTest;
use Test::More;
use Time::HiRes qw(sleep time);

my ($roles, $places, $seconds) = $ENV{PM_SOAK} ? (200, 4, 120) : (24, 2, 4);
my $node = PmTest::node('roles', conf => <<CONF);
pm.max_workers = $places
max_worker_processes = 16
max_locks_per_transaction = 256
CONF

sub answer { my ($sql) = @_; return $node->safe_psql('postgres', $sql); }

# Roles NAME_1 to NAME_n with a log and a process manager each, whose handler first does this.
sub make
{
	my ($name, $n, $before) = @_;

	answer(<<"SQL");
DO \$do\$ DECLARE r text; BEGIN FOR i IN 1 .. $n LOOP
	r := '${name}_' || i;
	EXECUTE format('CREATE ROLE %1\$I LOGIN; GRANT USAGE ON SCHEMA pm TO %1\$I; CREATE SCHEMA AUTHORIZATION %1\$I; SET ROLE %1\$I;
		CREATE FUNCTION %1\$I.see(e pm.event) RETURNS void LANGUAGE plpgsql AS
			''BEGIN $before INSERT INTO public.seen (pm, log, pos) VALUES (''''%1\$s'''', e.log, e.position); END''', r);
	PERFORM pm.create_log(r || '.log'), pm.register(r, r || '.see', ARRAY[r || '.log']);
	RESET ROLE;
END LOOP; END \$do\$
SQL
	return;
}

# How late events of these roles were handled, in seconds: median, and the greatest lag.
sub lags
{
	my ($name) = @_;
	return split /\|/, answer(<<"SQL");
SELECT round(percentile_disc(0.5) WITHIN GROUP (ORDER BY lag)::numeric, 3), round(max(lag)::numeric, 3)
FROM (SELECT extract(epoch FROM s.at - t.at) AS lag FROM seen s JOIN sent t USING (log, pos) WHERE s.log ~ '^$name') x
SQL
}

PmTest::create_seen($node);
answer('CREATE TABLE sent (log text, pos bigint, at timestamptz)');
make('light', $roles, '');

# ---- roles with little to do

my $session = PmTest::session($node);
my ($sent, $until) = (0, time + $seconds);
while (time < $until)
{
	my $log = 'light_' . (1 + $sent * 7 % $roles) . '.log';
	$session->do("INSERT INTO sent SELECT '$log', pm.append('$log', 's', 't'), clock_timestamp()");
	$sent++;
	sleep 0.1;
}
ok(PmTest::wait_until($node, "SELECT count(*) FROM seen", $sent), "$roles roles on $places places: all events are handled")
  or diag(answer("SELECT process_manager, lag, state, reason FROM pm.status WHERE lag > 0"), answer('TABLE pm.worker'));
my ($median, $max) = lags('light');
cmp_ok($median, '<', 1, 'soon');
PmTest::figure(sprintf('%d roles on %d places, %d events in %d s: handled after %.0f ms (median), %.0f ms at most', $roles, $places, $sent, $seconds, 1000 * $median, 1000 * $max));

# ---- among roles with much to do

my $heavy = 8 * $places;
make('heavy', $heavy, 'PERFORM pg_sleep(0.01);');
$session->do("INSERT INTO heavy_$_.log (stream, type) SELECT 's', 't' FROM generate_series(1, 100000)") for 1 .. $heavy;
ok(PmTest::wait_until($node, "SELECT count(*) FROM (SELECT FROM seen WHERE pm ~ '^heavy' GROUP BY pm HAVING count(DISTINCT pid) > 1) x", $heavy), "each of $heavy roles with much to do has its turn, twice")
  or diag(answer('TABLE pm.worker'));
answer('TRUNCATE sent');
my $slowest = 0;
for my $i (1 .. 5)
{
	my $log = "light_$i.log";
	my $position = $session->do("INSERT INTO sent SELECT '$log', pm.append('$log', 's', 't'), clock_timestamp() RETURNING pos");
	ok(PmTest::wait_until($node, "SELECT count(*) FROM seen WHERE log = '$log' AND pos = $position", 1), "an event of a role with little to do is handled");
	sleep 0.3;
}
($median, $max) = lags('light');
# How long a role with much to do waits from one turn to the next.
my $turns = answer(<<'SQL');
SELECT round(percentile_disc(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM began - before))::numeric, 3)
FROM (SELECT began, lag(began) OVER (PARTITION BY pm ORDER BY began) AS before
	FROM (SELECT pm, min(at) AS began FROM seen WHERE pm ~ '^heavy' GROUP BY pm, pid) x) y
SQL
cmp_ok($median, '<', $turns / 2, 'soon: it does not wait until all others have had their turn');
PmTest::figure(sprintf('beside %d roles with much to do, on %d places: handled after %.0f ms (median), %.0f ms at most; the others have a turn every %.0f ms', $heavy, $places, 1000 * $median, 1000 * $max, 1000 * $turns));
my $before = answer("SELECT count(*) FROM seen WHERE pm ~ '^heavy'");
ok(PmTest::wait_until($node, "SELECT count(*) > $before + 100 FROM seen WHERE pm ~ '^heavy'", 't'), 'the others continue');

is(answer('SELECT count(*) FROM (SELECT FROM seen GROUP BY pid HAVING count(DISTINCT pm) > 1) x'), 0, 'no process has served two roles');
is(answer('SELECT count(*) - count(DISTINCT (log, pos)) FROM seen'), 0, 'no event is handled twice');
$session->quit;
PmTest::no_crash_ok($node);
$node->stop('immediate');
done_testing();
