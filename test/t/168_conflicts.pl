# pm.status.conflicts: deadlocks, serialization failures and lock timeouts after which a batch was retried
# without counting an error. They are counted for each lane, and survive a restart.
use strict;
use warnings FATAL => 'all';

use PmTest;
use Test::More;

my $node = PmTest::node('conflicts', conf => "pm.max_workers = 2\n");

sub answer { return $node->safe_psql('postgres', $_[0]); }

sub conflicts
{
	my ($name) = @_;
	return answer("SELECT string_agg(conflicts || '/' || errors, ' ' ORDER BY lane) FROM pm.status WHERE process_manager = '$name'");
}

# A handler that fails this many times, in each of the three ways in turn. The count is in a sequence, which no rollback undoes.
answer(<<'SQL');
CREATE SEQUENCE tries;
SELECT pm.create_log('orders');
CREATE FUNCTION contend(e pm.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF nextval('tries') <= (e.data ->> 'conflicts')::int THEN
		RAISE EXCEPTION 'again' USING ERRCODE = (ARRAY['40001', '40P01', '55P03'])[1 + currval('tries') % 3];
	END IF;
END $$;
SELECT pm.register('contender', 'contend', '{orders}', max_attempts => 1);
SELECT pm.append('orders', 'a', 'x', '{"conflicts": 7}');
SQL
ok(PmTest::wait_idle($node), 'the event is handled in the end');
is(conflicts('contender'), '7/0', 'each conflict is counted, and none as an error');

# More than ten in a row count as a failure, which is not one of the conflicts.
answer(q{SELECT setval('tries', 1, false); SELECT pm.append('orders', 'b', 'x', '{"conflicts": 11}')});
ok(PmTest::wait_until($node, q{SELECT state FROM pm.parked}, 'dead'), 'more than ten in a row: a failure');
is(conflicts('contender'), '17/1', 'ten more conflicts, and an error');

$node->restart;
is(conflicts('contender'), '17/1', 'they survive a restart');
answer(q{SELECT pm.pause('contender'); SELECT pm.resume('contender'); SELECT pm.register('contender', 'contend', '{orders}', lanes => 3)});
is(conflicts('contender'), '17/1 0/0 0/0', 'they survive pm.resume and a change of the number of lanes');
answer(q{UPDATE pm_catalog.lane SET conflicts = lane WHERE lane > 0; SELECT pm.register('contender', 'contend', '{orders}')});
is(conflicts('contender'), '20/1', 'fewer lanes: the conflicts of the removed lanes are added to the first');

# pm.catch_up counts the conflicts after which it retries.
$node->append_conf('postgresql.conf', "pm.launcher = off\n");
$node->reload;
ok(PmTest::wait_until($node, "SELECT count(*) FROM pm.worker WHERE kind <> 'launcher'", 0), 'no worker runs');
answer(q{SELECT setval('tries', 1, false); SELECT pm.append('orders', 'c', 'x', '{"conflicts": 4}')});
is(answer(q{SELECT pm.catch_up('contender', on_failure => 'policy')}), 1, 'pm.catch_up handles the event');
is(conflicts('contender'), '24/1', 'it counts the conflicts');
answer(q{SELECT pm.unregister('contender'); SELECT pm.register('contender', 'contend', '{orders}', start_at => 'end')});
is(conflicts('contender'), '0/0', 'a new registration starts without any');

PmTest::no_crash_ok($node);
$node->stop;
done_testing();
