# pm.stat over restarts, crashes and a damaged file; databases and extensions that are dropped; roles that share its room.
# Slow calls in the server's log, and what pg_stat_activity shows of workers.
use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use PmTest;
use Test::More;

my $node = PmTest::node('stat', conf => <<'CONF');
pm.max_stats = 16
restart_after_crash = on
max_connections = 20
max_worker_processes = 16
max_prepared_transactions = 2
CONF
my $file = $node->data_dir . '/pg_stat/pm.stat';

sub answer { my ($sql, %opt) = @_; return $node->safe_psql($opt{dbname} // 'postgres', $sql, extra_params => $opt{user} ? [ '-U', $opt{user} ] : []); }
sub counted { my ($sql, $expected, $name, %opt) = @_; return ok(PmTest::wait_until($node, $sql, $expected, %opt), $name) || diag(answer('TABLE pm.stat')); }

answer(<<'SQL');
SELECT pm.create_log('orders');
CREATE FUNCTION handle(e pm.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF e.type = 'Slow' THEN PERFORM pg_sleep(0.02); END IF;
	IF e.type = 'Gate' THEN PERFORM pg_advisory_xact_lock(1); END IF;
	IF e.type = 'Bad' THEN RAISE EXCEPTION 'bad'; END IF;
END $$;
SELECT pm.register('m', 'handle', '{orders}', backoff => '1 h', handler_timeout => '5 min');
SELECT count(pm.append('orders', 'o-' || i, 'Placed')) FROM generate_series(1, 20) i;
SELECT pm.append('orders', 'o-1', 'Bad');
SQL
my $columns = 'events, calls, batches, round(total_time::numeric, 3), round(max_time::numeric, 3), failures, conflicts';
counted('SELECT events, calls, failures, failing FROM pm.stat', '20|20|1|1', 'a dispatcher counts');

# ---- pg_stat_activity, and slow calls in the log ----

answer(q{ALTER SYSTEM SET pm.log_min_duration = '1ms'; SELECT pg_reload_conf()});
is(answer(q{SELECT string_agg(DISTINCT application_name, ',' ORDER BY application_name) FROM pg_stat_activity WHERE backend_type LIKE 'pm %'}),
	'pm dispatcher,pm launcher,pm scheduler', 'workers have an application_name');
my $gate = PmTest::session($node);
my $query = q{SELECT query FROM pg_stat_activity WHERE backend_type = 'pm dispatcher' AND state = 'active'};
$gate->do('SELECT pg_advisory_lock(1)');
my $slow = answer(q{SELECT pm.append('orders', 'the key', 'Gate', '{"secret": 4711}')});
counted($query, "process manager \"m\", lane 0: handles log \"orders\" from position $slow on", 'pg_stat_activity names what is handled');
is(answer('SELECT count(*) FROM pg_stat_activity WHERE query LIKE $$%4711%$$ AND backend_type LIKE $$pm %$$'), '0', 'but not the data of the event');
$gate->do('SELECT pg_advisory_unlock(1)');
ok(PmTest::wait_in_log($node, qr/LOG:  process manager "m" in database "postgres": the handler took \d+\.\d{3} ms at position $slow of log "orders", key "the key"$/m),
	'a slow call is logged');
unlike(slurp_file($node->logfile), qr/4711/, 'without the data of the event');
# each event that follows a call of a millisecond
$gate->do('SELECT pg_advisory_lock(1)');
answer(q{SELECT pm.append('orders', 'a', 'Slow'), pm.append('orders', 'b', 'Gate')});
counted($query, 'process manager "m", lane 0: handles log "orders" at position ' . ($slow + 2), 'and each event after a call that was not fast');
$gate->quit;
counted('SELECT max_time >= 20 AND max_time <= total_time FROM pm.stat', 't', 'the time of slow calls is counted');

# ---- a clean restart ----

counted('SELECT events FROM pm.stat', '23', 'all is handled');
my $before = answer("SELECT $columns, reset_at FROM pm.stat");
$node->restart;
is(answer("SELECT $columns, reset_at FROM pm.stat"), $before, 'a restart keeps the counters');
ok(!-e $file, 'the file is gone once it has been read');
answer(q{SELECT pm.append('orders', 'o-1', 'Placed')});	# parked behind
answer(q{SELECT pm.append('orders', 'o-2', 'Placed')});
counted('SELECT events FROM pm.stat', '24', 'counting continues');

# ---- shutdowns that are not clean ----

foreach my $how (qw(immediate crash))
{
	my $reset = answer('SELECT reset_at FROM pm.stat');

	if ($how eq 'immediate')
	{
		$node->stop('immediate');
		ok(!-e $file, 'an immediate shutdown leaves no file');
		$node->start;
	}
	else
	{
		my $pid = answer(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'pm dispatcher' LIMIT 1});
		ok(PmTest::crash($node, $pid), 'the server crashes');
	}
	is(answer("SELECT events, calls, total_time, failures, failing, reset_at > '$reset' FROM pm.stat"), '0|0|0|0|1|t', "$how: the counters are lost, and reset_at says so");
	answer(q{SELECT pm.append('orders', 'o-2', 'Placed')});
	counted('SELECT events FROM pm.stat', '1', "$how: counting continues");
}
# a file from before the crash that has come back, from a backup of the directory
$node->stop('fast');
my $old = slurp_file($file);
$node->start;
$node->stop('immediate');
append_to_file($file, $old);
$node->start;
is(answer('SELECT events FROM pm.stat'), '0', 'an old file is not read after a crash');
ok(!-e $file, 'and it is removed');

# ---- a damaged file ----

my %damage = (
	'a byte that has changed' => sub { substr($_[0], 121, 1) = chr(1); },
	'a cut' => sub { substr($_[0], -10) = ''; },
	'another format' => sub { substr($_[0], 4, 1) = chr(99); },
	'no content' => sub { $_[0] = ''; });
foreach my $what (sort keys %damage)
{
	my $offset = -s $node->logfile;

	answer(q{SELECT pm.append('orders', 'o-2', 'Placed')});
	counted('SELECT events > 0 FROM pm.stat', 't', "$what: counted before");
	$node->stop('fast');
	my $content = slurp_file($file);
	$damage{$what}->($content);
	unlink $file;
	append_to_file($file, $content);
	$node->start;
	is(answer('SELECT events FROM pm.stat'), '0', "$what: the file is ignored");
	like(slurp_file($node->logfile, $offset), qr{LOG:  file "pg_stat/pm.stat" is damaged or of another version, and was ignored}, "$what: the server's log says so");
}

# one that cannot be read must not be read later
{
	my $offset = -s $node->logfile;

	answer(q{SELECT pm.append('orders', 'o-2', 'Placed')});
	counted('SELECT events > 0 FROM pm.stat', 't', 'not readable: counted before');
	$node->stop('fast');
	chmod(0, $file) || die $!;
	$node->start;
	is(answer('SELECT events FROM pm.stat'), '0', 'not readable: the counters begin at zero');
	like(slurp_file($node->logfile, $offset), qr{LOG:  could not read file "pg_stat/pm.stat": Permission denied}, q{the server's log says so});
	ok(!-e $file, 'and the file is gone');
}

# ---- prepared transactions are not counted ----

answer(q{SELECT pm.pause('m'); SELECT pm.append('orders', 'o-3', 'Placed'); SELECT pm.stat_reset()});
answer(q{ALTER SYSTEM SET pm.launcher = off; SELECT pg_reload_conf()});
counted(q{SELECT count(*) FROM pm.worker WHERE kind <> 'launcher'}, '0', 'no workers');
answer(q{SELECT pm.resume('m')});
answer(q{BEGIN; SELECT pm.catch_up('m', on_failure => 'policy'); PREPARE TRANSACTION 'p'});
answer(q{COMMIT PREPARED 'p'});
is(answer('SELECT events FROM pm.stat'), '0', 'a prepared transaction is not counted');
answer(q{ALTER SYSTEM RESET pm.launcher; SELECT pg_reload_conf()});

# ---- what is gone, and comes back under the same name ----

sub make
{
	my ($db) = @_;

	answer(<<'SQL', dbname => $db);
CREATE EXTENSION IF NOT EXISTS pm;
CREATE OR REPLACE FUNCTION nothing(e pm.event) RETURNS void LANGUAGE sql AS '';
SELECT pm.create_log('things');
SELECT pm.register('same', 'nothing', '{things}', start_at => 'beginning');
SELECT pm.append('things', 's', 't');
SQL
	counted(q{SELECT events FROM pm.stat WHERE process_manager = 'same'}, '1', "$db: counted", dbname => $db);
	return;
}
answer('CREATE DATABASE other');
make('other');
answer('DROP EXTENSION pm CASCADE; DROP TABLE things', dbname => 'other');
counted(q{SELECT count(*) FROM pg_stat_activity WHERE datname = 'other'}, '0', 'the workers leave');
make('other');
# a copy of the database counts for itself
answer('CREATE DATABASE copy TEMPLATE other');
is(answer(q{SELECT events FROM pm.stat}, dbname => 'copy'), '0', 'a copy of the database begins at zero');
answer('DROP DATABASE copy');
# one that is dropped while no launcher runs that knew it
sub entries { return unpack('x12 L', slurp_file($file)); }
answer(q{ALTER SYSTEM SET pm.launcher = off});
$node->stop('fast');
is(entries(), 2, 'the file has the counters of both databases');
$node->start;
answer('DROP DATABASE other');
answer(q{ALTER SYSTEM RESET pm.launcher; SELECT pg_reload_conf()});
counted(q{SELECT count(*) FROM pm.worker WHERE kind = 'scheduler' AND database = 'postgres'}, '1', 'the launcher runs');
$node->stop('fast');
is(entries(), 1, 'and later only those of the other one');
$node->start;

# ---- each role has its share of the room ----

answer(q{SELECT pm.unregister('m'); GRANT CREATE ON SCHEMA public TO PUBLIC});
answer(q{SELECT count(pm.append('orders', 'x-' || i, 'Placed')) FROM generate_series(1, 2000) i});
foreach my $role (qw(greedy modest))
{
	my ($lanes, $least, $most) = $role eq 'greedy' ? (24, 14, 16) : (3, 3, 3);

	answer("CREATE ROLE $role LOGIN; GRANT USAGE ON SCHEMA pm TO $role; GRANT SELECT ON orders TO $role");
	answer("CREATE FUNCTION $role(e pm.event) RETURNS void LANGUAGE sql AS ''; SELECT pm.register('$role', '$role', '{orders}', start_at => 'beginning', lanes => $lanes)", user => $role);
	ok(PmTest::wait_idle($node), "$role: all is handled");
	counted("SELECT count(*) BETWEEN $least AND $most FROM pm.stat WHERE process_manager = '$role' AND events > 0", 't', "$role: $lanes lanes, $most of which have counters");
}
cmp_ok(answer(q{SELECT count(*) FROM pm.stat WHERE process_manager = 'greedy' AND events > 0}), '<=', 13, 'a role with many has the rest');
is(answer(q{SELECT count(*) FROM pm.stat WHERE process_manager = 'greedy'}), '24', 'lanes without counters are shown, too');

$node->stop;
done_testing();
