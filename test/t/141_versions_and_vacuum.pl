# The versions of trimmed streams survive a dump, and a function that an autovacuum worker calls
# cannot write to a log.
use strict;
use warnings FATAL => 'all';

use PmTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PmTest::node('main', conf => "autovacuum_naptime = 1s\n");

# ---- a dump ---------------------------------------------------------------------------------

$node->safe_psql('postgres', q{
	SELECT pm.create_log('orders');
	SELECT pm.append_all('orders', 'order-1', '[{"type": "opened"}, {"type": "closed"}]', 0);
	SELECT pm.append('orders', repeat('x', 9000), 'opened');
	SELECT pm.trim('orders', 3);
	CREATE DATABASE copy;
});
my $dump = $node->basedir . '/dump.sql';
$node->command_ok([ 'pg_dump', '-f', $dump, 'postgres' ], 'dumped');
$node->command_ok([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', 'copy', '-f', $dump ], 'restored');
for my $db ('copy', 'postgres')
{
	my ($rc, $out, $err) = $node->psql($db, q{SELECT pm.append('orders', 'order-1', 'opened', expected_version => 0)});
	like($err, qr/Expected version 0, actual version 2; the events up to that have been trimmed/, "$db: an old expected version is refused");
	is($node->safe_psql($db, q{SELECT pm.append('orders', repeat('x', 9000), 'on'); SELECT version FROM orders}), "4\n2", "$db: versions continue");
}

# ---- an autovacuum worker -------------------------------------------------------------------

# It tries 65 logs, in one transaction, the first one last: a transaction has 64 hints (slot_hint.c).
$node->safe_psql('postgres', q{
	SELECT count(pm.create_log('log' || i)) FROM generate_series(1, 65) i;
	CREATE FUNCTION do_write() RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		IF current_setting('application_name') = '' THEN
			FOR i IN 1 .. 65 LOOP EXECUTE format('INSERT INTO public.log%s (stream, type) VALUES (''worker'', ''t'')', 66 - i); END LOOP;
		END IF;
	END $$;
	CREATE FUNCTION writes(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM public.do_write(); RETURN n; END $$;
	SET application_name = 'test';
	CREATE TABLE items (n int) WITH (autovacuum_analyze_threshold = 10, autovacuum_analyze_scale_factor = 0);
	CREATE INDEX ON items (writes(n));
	INSERT INTO items SELECT generate_series(1, 1000);
});
my $refused = qr/cannot write log "log\d+" in a vacuum, an automatic analyze or a concurrent index build/;
my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
my $log;
do { sleep 1 if defined $log; $log = slurp_file($node->logfile); } until ($log =~ $refused || time > $deadline);
like($log, $refused, 'the worker is refused');
is($node->safe_psql('postgres', q{SELECT count(*) FROM log1 WHERE stream = 'worker'}), '0', 'it has written nothing');

$node->stop;
done_testing();
