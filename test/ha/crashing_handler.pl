# A handler that crashes the server, on three nodes with restart_after_crash = off: at most two servers are lost, then the event
# is dead. All other events are handled, also those of process managers that were busy when a server was lost. With and
# without synchronous replication.
use strict;
use warnings FATAL => 'all';

use PmHa;
use PmHaLoad;
use PmTest;
use Test::More;
use Time::HiRes qw(sleep time);

my $module = PmTest::build_library('ha_crash', <<'C');
#include "postgres.h"

#include "executor/executor.h"
#include "fmgr.h"
#include "utils/builtins.h"

PG_MODULE_MAGIC;
PG_FUNCTION_INFO_V1(ha_crash);

/* A handler that ends the server if the type of the event is 'abort'. */
Datum
ha_crash(PG_FUNCTION_ARGS)
{
	bool isnull;
	Datum type = GetAttributeByName(PG_GETARG_HEAPTUPLEHEADER(0), "type", &isnull);

	if (strcmp(TextDatumGetCString(type), "abort") == 0)
		abort();
	PG_RETURN_VOID();
}
C

for my $synchronous (0, 1)
{
	my $name = $synchronous ? 'synchronous' : 'asynchronous';
	my $ha = PmHa->new("crash_$name", synchronous => $synchronous);
	PmHaLoad::create($ha);
	$ha->safe_psql('postgres', "CREATE FUNCTION crashes(pm.event) RETURNS void LANGUAGE C AS '$module', 'ha_crash'; GRANT EXECUTE ON FUNCTION crashes TO app");
	$ha->safe_psql('postgres', "SELECT pm.register('crashes', 'crashes', '{orders}')", user => 'app');
	my $writers = $ha->writers(4, log => 'orders', pause => 0.02);
	my $consumer = PmHaLoad::consumer($ha);

	ok(PmHa::wait_for(60, sub { $ha->ask($ha->leader, "SELECT count(*) FROM seen WHERE at > now() - interval '1 s'") > 20 }), "$name: events are handled");
	my %died;
	my $began = time;
	$ha->safe_psql('postgres', "INSERT INTO orders (stream, type) VALUES ('bad', 'abort')");
	my $dead = PmHa::wait_for(300, sub {
		my $n = eval { $ha->leader(timeout => 1) } // return 0;
		return eval { $ha->ask($n, "SELECT count(*) FROM pm.parked WHERE process_manager = 'crashes' AND state = 'dead' AND (event).type = 'abort'") eq '1' };
	});
	ok($dead, "$name: the event is dead") or diag($ha->safe_psql('postgres', 'SELECT * FROM pm.status'));
	my $took = time - $began;
	my $crashes = 0;
	for my $n (1 .. PmHa::NODES)
	{
		open my $f, '<', "$ha->{dir}/node$n/patroni.log" or die;
		my $count = grep { /was terminated by signal 6/ } <$f>;
		$crashes += $count;
		$died{$n} = $count if $count;
	}
	cmp_ok($crashes, '>=', 1, "$name: the handler has crashed a server");
	cmp_ok($crashes, '<=', 2, "$name: at most two servers died of it");
	ok(PmHa::wait_for(60, sub { eval { $ha->ask($ha->leader, "SELECT count(*) FROM seen WHERE at > now() - interval '1 s'") > 20 } }), "$name: the others' events go on");
	PmTest::figure(sprintf('%s: %d crashes, on nodes %s; the event is dead after %.1f s', $name, $crashes, join(' and ', sort keys %died), $took));
	my @told = $writers->stop;
	$ha->wait_members(PmHa::NODES);
	is($ha->safe_psql('postgres', "SELECT count(*) FROM pm.parked WHERE process_manager <> 'crashes'"), 0, "$name: no event of the others is parked");
	is($ha->safe_psql('postgres', "SELECT string_agg(DISTINCT (event).type, ' ') FROM pm.parked WHERE process_manager = 'crashes' AND state = 'dead'"), 'abort', "$name: no other event is dead");
	$ha->safe_psql('postgres', "SELECT pm.discard('crashes', log, position) FROM pm.parked WHERE process_manager = 'crashes' AND state = 'dead'", user => 'app');
	PmHaLoad::agrees_ok($ha);
	$consumer->stop;
	$ha->stop;
}
done_testing();
