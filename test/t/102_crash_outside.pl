# P4: an event at which the server crashes while no handler runs is detected, too. The crash happens when the event is read,
# when its key is computed, when it is parked, when its state is saved, or when its batch commits or rolls back. After a few
# restarts the event is dead, or its process manager has halted before it. The events before it are handled, and other
# process managers continue.
#
# No action of an ordinary role is known to crash the server there. So the test causes the crashes as a
# superuser, with a trigger and an index in C on the private tables, and a damaged page of a log.
use strict;
use warnings FATAL => 'all';

use PmTest;
use Test::More;
use Time::HiRes qw(sleep time);

# As long as this file exists, slow commits last.
my $hold = PostgreSQL::Test::Utils::tempdir . '/hold';
my $module = PmTest::build_library('crash_outside', PmTest::crash_source() . qq{#define HOLD "$hold"\n} . <<'C');
#include <unistd.h>

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "storage/bufmgr.h"
#include "storage/pmsignal.h"
#include "utils/builtins.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(crash_at_row);
PG_FUNCTION_INFO_V1(crash_at_key);
PG_FUNCTION_INFO_V1(crash_correlate);
PG_FUNCTION_INFO_V1(crash_now);
PG_FUNCTION_INFO_V1(at_end);
PG_FUNCTION_INFO_V1(damage);

/* Ends the server, without a core file, if public.armed has a row. */
static void
crash_if_armed(void)
{
	if (SPI_connect() != SPI_OK_CONNECT || SPI_execute("SELECT FROM public.armed", false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not look");
	if (SPI_processed > 0)
		crash_at_once();
	SPI_finish();
}

/* A trigger: ends the server at a row whose key is 'bad'. */
Datum
crash_at_row(PG_FUNCTION_ARGS)
{
	TriggerData *data = (TriggerData *) fcinfo->context;
	HeapTuple	row = TRIGGER_FIRED_BY_UPDATE(data->tg_event) ? data->tg_newtuple : data->tg_trigtuple;
	char	   *key = SPI_getvalue(row, RelationGetDescr(data->tg_relation),
								   SPI_fnumber(RelationGetDescr(data->tg_relation), "key"));

	if (strcmp(key, "bad") == 0)
		crash_if_armed();
	return PointerGetDatum(row);
}

/* A function for an index: does so for such a key. */
Datum
crash_at_key(PG_FUNCTION_ARGS)
{
	if (strcmp(TextDatumGetCString(PG_GETARG_DATUM(0)), "bad") == 0)
		crash_if_armed();
	PG_RETURN_DATUM(PG_GETARG_DATUM(0));
}

/* A correlate function that does so for such a stream. */
Datum
crash_correlate(PG_FUNCTION_ARGS)
{
	bool		isnull;
	Datum		stream = GetAttributeByName(PG_GETARG_HEAPTUPLEHEADER(0), "stream", &isnull);

	if (strcmp(TextDatumGetCString(stream), "bad") == 0)
		crash_if_armed();
	PG_RETURN_DATUM(stream);
}

/* Does so whenever it is called. */
Datum
crash_now(PG_FUNCTION_ARGS)
{
	crash_if_armed();
	PG_RETURN_VOID();
}

static int	end_how = 0;

static void
end_callback(XactEvent event, void *arg)
{
	int			how = end_how;

	while (event == XACT_EVENT_PRE_COMMIT && how == 3 && access(HOLD, F_OK) == 0 && PostmasterIsAlive())
		pg_usleep(10000L);
	if ((event == XACT_EVENT_PRE_COMMIT && how == 1) || (event == XACT_EVENT_ABORT && how == 2))
		crash_at_once();
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT)
		end_how = 0;
}

/*
 * The transaction ends the server when it commits (1) or is undone (2), or takes as long to
 * commit as the test likes (3).
 */
Datum
at_end(PG_FUNCTION_ARGS)
{
	static bool registered = false;

	if (!registered)
		RegisterXactCallback(end_callback, NULL);
	registered = true;
	end_how = PG_GETARG_INT32(0);
	PG_RETURN_VOID();
}

/* Makes a column of a row on disk claim to be half a gigabyte long: who looks at what comes after it crashes. */
Datum
damage(PG_FUNCTION_ARGS)
{
	Relation	rel = table_open(PG_GETARG_OID(0), AccessShareLock);
	ItemPointer tid = (ItemPointer) PG_GETARG_POINTER(1);
	Buffer		buffer = ReadBuffer(rel, ItemPointerGetBlockNumber(tid));
	HeapTupleData tuple;
	ItemId		item;
	bool		isnull;
	struct varlena *value;

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	item = PageGetItemId(BufferGetPage(buffer), ItemPointerGetOffsetNumber(tid));
	tuple.t_data = (HeapTupleHeader) PageGetItem(BufferGetPage(buffer), item);
	tuple.t_len = ItemIdGetLength(item);
	value = (struct varlena *) DatumGetPointer(heap_getattr(&tuple, PG_GETARG_INT32(2), RelationGetDescr(rel), &isnull));
	if (isnull || !VARATT_IS_4B_U(value))
		elog(ERROR, "the column must be a long one");
	SET_VARSIZE(value, 512 * 1024 * 1024);
	MarkBufferDirty(buffer);
	UnlockReleaseBuffer(buffer);
	table_close(rel, AccessShareLock);
	PG_RETURN_VOID();
}
C

# No VACUUM or ANALYZE may read the damaged row.
my $node = PmTest::node('outside', conf => "restart_after_crash = on\nautovacuum = off\n");
$node->safe_psql('postgres', <<"SQL");
CREATE ROLE other LOGIN;
GRANT USAGE ON SCHEMA pm TO other;
GRANT CREATE ON SCHEMA public TO other;
CREATE TABLE armed AS SELECT true AS yes;
GRANT SELECT ON armed TO PUBLIC;
SELECT pm.create_log(l) FROM unnest('{theirs,aside,behind,saved,asked,torn,again,traced,commits,undone,slow}'::text[]) l;
GRANT SELECT ON theirs TO other;
CREATE FUNCTION crash_at_row() RETURNS trigger LANGUAGE C AS '$module';
CREATE FUNCTION crash_at_key(text) RETURNS text LANGUAGE C IMMUTABLE STRICT AS '$module';
CREATE FUNCTION crash_correlate(pm.event) RETURNS text LANGUAGE C IMMUTABLE AS '$module';
CREATE FUNCTION crash_now() RETURNS void LANGUAGE C AS '$module';
CREATE FUNCTION at_end(int) RETURNS void LANGUAGE C AS '$module';
CREATE FUNCTION damage(regclass, tid, int) RETURNS void LANGUAGE C STRICT AS '$module';
CREATE TABLE ill (pm text);
CREATE FUNCTION keep(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS \$\$
BEGIN
	INSERT INTO seen (pm, log, pos, stream, key) VALUES ('keep', e.log, e.position, e.stream, e.stream);
	RETURN coalesce(state, '[]') || to_jsonb(e.position);
END \$\$;
SQL
PmTest::create_seen($node);
PmTest::create_handler($node, 'other', user => 'other', after => 'PERFORM pg_sleep(0.002);');
$node->safe_psql('postgres', "SELECT pm.register('other', 'other', '{theirs}')", extra_params => [ '-U', 'other' ]);
PmTest::create_handler($node, $_, before => qq{IF e.stream = 'bad' AND EXISTS (SELECT FROM ill WHERE pm = '$_') THEN RAISE 'ill'; END IF;}) for qw(aside behind asked torn again);

sub answer
{
	my ($sql) = @_;
	return $node->safe_psql('postgres', $sql);
}

# The state of a lane, read without reading logs.
sub lane
{
	my ($pm) = @_;
	return "SELECT l.state || ' ' || coalesce(l.position::text, '') || ' ' || coalesce(l.message, '') || ' ' || min(c.position) FROM pm_catalog.lane l JOIN pm_catalog.cursor c USING (process_manager) WHERE process_manager = '$pm' GROUP BY l.state, l.position, l.message";
}

# Appends events of good keys, one of the bad key, and others. The server may crash before this session gets its answer.
my $theirs = 0;
sub append
{
	my ($log, $bad) = @_;

	$theirs += 50;
	eval { answer("INSERT INTO theirs (stream, type) SELECT 's', 't' FROM generate_series(1, 50)"); 1 } or $theirs -= 50;
	eval { answer("INSERT INTO $log (stream, type, data) SELECT CASE WHEN i = ANY ('{$bad}') THEN 'bad' ELSE 's' || i % 5 END, 't', jsonb_build_object('long', repeat('x', 500)) FROM generate_series(1, 40) i"); 1 }
	  or $@ =~ /connection error/ or die $@;
	return;
}

# The number of crashes since the last call, once the process manager of another role has handled all.
my $crashes = 0;
sub crashes_ok
{
	my ($least, $most, $name) = @_;

	ok(PmTest::wait_until($node, "SELECT count(DISTINCT pos) = (SELECT count(*) FROM theirs) FROM seen WHERE pm = 'other'", 't'), "$name: another role's process manager continues");
	my $now = PmTest::restarts_in_log($node);
	my $new = $now - $crashes;
	$crashes = $now;
	cmp_ok($new, '>=', $least, "$name: the server crashed");
	cmp_ok($new, '<=', $most, "$name: at most $most times");
	PmTest::figure("$name: $new restarts of the server");
	return;
}

# ---- while parking an event

answer("CREATE INDEX crash ON pm_catalog.parked (crash_at_key(key)); INSERT INTO ill VALUES ('aside'), ('behind')");
answer("SELECT pm.register('aside', 'aside', '{aside}', backoff => '50 ms')");
append('aside', '20');
ok(PmTest::wait_until($node, lane('aside'), 'halted 20 the server crashed while the event was read or set aside 19'), 'parking: its process manager halts before the event');
is(answer("SELECT count(*), count(DISTINCT pos), max(pos) FROM seen WHERE pm = 'aside'"), '19|19|19', 'parking: the events before it are handled once');
crashes_ok(2, 2, 'parking');
like(answer("SELECT reason || ' ' || hint FROM pm.status WHERE process_manager = 'aside'"), qr/position 20 .* could not be read or set aside.*pm\.seek\('aside', 'aside', 20\)/s, 'parking: pm.status says what happened, and what to do');
# the hint is followed
answer("SELECT pm.seek('aside', 'aside', 20); SELECT pm.resume('aside')");
ok(PmTest::wait_until($node, "SELECT count(*), count(DISTINCT pos) FROM seen WHERE pm = 'aside'", '39|39'), 'parking: after pm.seek the others are handled');

# ---- while parking an event behind another of its key

answer('DELETE FROM armed');
answer("SELECT pm.register('behind', 'behind', '{behind}', max_attempts => 1)");
append('behind', '10');
ok(PmTest::wait_until($node, "SELECT count(*) FROM pm.parked WHERE process_manager = 'behind' AND state = 'dead'", 1), 'behind: a key is parked');
ok(PmTest::wait_until($node, lane('behind'), 'ok   40'), 'behind: the others are handled');
answer('INSERT INTO armed VALUES (true)');
append('behind', '7');
ok(PmTest::wait_until($node, lane('behind'), 'halted 47 the server crashed while the event was read or set aside 46'), 'behind: its process manager halts before the event');
crashes_ok(2, 2, 'behind');
# after the correction it continues
answer('DELETE FROM armed; DELETE FROM ill');
answer("SELECT pm.resume('behind'), pm.retry('behind', 'behind', 10)");
ok(PmTest::wait_until($node, "SELECT count(*), count(DISTINCT pos) FROM seen WHERE pm = 'behind'", '80|80'), 'behind: corrected and resumed, all is handled');
answer('DROP INDEX pm_catalog.crash');

# ---- while saving the state

answer("CREATE TRIGGER crash BEFORE INSERT OR UPDATE ON pm_catalog.instance FOR EACH ROW EXECUTE FUNCTION crash_at_row(); INSERT INTO armed VALUES (true)");
answer("SELECT pm.register('keep', 'keep', '{saved}', backoff => '50 ms')");
append('saved', '15,30');
ok(PmTest::wait_until($node, "SELECT string_agg(position || ' ' || state, ',' ORDER BY position) FROM pm.parked WHERE process_manager = 'keep'", '15 dead,30 behind'), 'saving: the event is dead, and the others of its key are behind it');
ok(PmTest::wait_until($node, "SELECT count(*), count(DISTINCT pos) FROM seen WHERE pm = 'keep'", '38|38'), 'saving: all others are handled once');
is(answer("SELECT sum(jsonb_array_length(state)), count(*) FROM pm.instance WHERE process_manager = 'keep'"), '38|5', 'saving: their states are kept');
crashes_ok(2, 3, 'saving');
answer('DELETE FROM armed');
answer("SELECT pm.retry('keep', 'saved', 15)");
ok(PmTest::wait_until($node, "SELECT state FROM pm.instance WHERE process_manager = 'keep' AND key = 'bad'", '[15, 30]'), 'saving: corrected and retried, they are handled in order');
answer('DROP TRIGGER crash ON pm_catalog.instance; INSERT INTO armed VALUES (true)');

# ---- while computing the key

answer("SELECT pm.register('asked', 'asked', '{asked}', correlate => 'crash_correlate')");
append('asked', '25');
ok(PmTest::wait_until($node, lane('asked'), 'halted 25 the server crashed while correlate ran 24'), 'key: its process manager halts before the event');
is(answer("SELECT count(*), count(DISTINCT pos), max(pos) FROM seen WHERE pm = 'asked'"), '24|24|24', 'key: the events before it are handled once');
crashes_ok(2, 2, 'key');

# ---- a handler that reads a log: its own event is blamed, not the one that it reads

answer("CREATE FUNCTION mine(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN \$1; END'; CREATE INDEX ON traced (mine(stream))");
PmTest::create_handler($node, 'traces', before => q{IF e.stream = 'bad' THEN PERFORM pm.trace('traced', 3); PERFORM crash_now(); END IF;});
answer("SELECT pm.register('traces', 'traces', '{traced}')");
append('traced', '25');
ok(PmTest::wait_until($node, "SELECT string_agg(position || ' ' || state, ',') FROM pm.parked WHERE process_manager = 'traces'", '25 dead'), 'traces: its event is dead');
ok(PmTest::wait_until($node, "SELECT count(*), count(DISTINCT pos) FROM seen WHERE pm = 'traces'", '39|39'), 'traces: all others are handled once');
crashes_ok(2, 2, 'traces');

# ---- while its batch commits or rolls back

PmTest::create_handler($node, 'commits', before => q{IF e.stream = 'bad' AND EXISTS (SELECT FROM armed) THEN PERFORM at_end(1); END IF;});
PmTest::create_handler($node, 'undone', before => q{IF e.stream = 'bad' AND EXISTS (SELECT FROM armed) THEN PERFORM at_end(2); RAISE 'ill'; END IF;});
for my $pm (qw(commits undone))
{
	answer("SELECT pm.register('$pm', '$pm', '{$pm}', backoff => '50 ms')");
	append($pm, '17');
	ok(PmTest::wait_until($node, "SELECT string_agg(position || ' ' || state, ',') FROM pm.parked WHERE process_manager = '$pm'", '17 dead'), "$pm: the event is dead")
	  or do { answer('ALTER SYSTEM SET pm.launcher = off'); $node->stop('immediate'); $node->start; diag(answer('TABLE pm_catalog.lane')); };
	ok(PmTest::wait_until($node, "SELECT count(*), count(DISTINCT pos) FROM seen WHERE pm = '$pm'", '39|39'), "$pm: all others are handled once");
	crashes_ok(2, 3, $pm);
}
answer('DELETE FROM armed; SELECT pm.retry(process_manager, log, position) FROM pm.parked WHERE process_manager ~ $$^(commits|undone)$$');
ok(PmTest::wait_until($node, "SELECT count(*), count(DISTINCT (pm, pos)) FROM seen WHERE pm ~ '^(commits|undone)\$'", '80|80'), 'corrected and retried, they are handled');
answer('INSERT INTO armed VALUES (true)');

# ---- a batch that is committing when the server is killed from outside: no event is blamed

PmTest::create_handler($node, 'slow', before => q{IF e.type = 'slow' THEN PERFORM at_end(3); END IF;});
answer("SELECT pm.register('slow', 'slow', '{slow}', on_failure => 'halt', max_attempts => 1)");
for my $end ('crash of another session', 'immediate stop', 'kill of the postmaster')
{
	PostgreSQL::Test::Utils::append_to_file($hold, '');
	answer("INSERT INTO slow (stream, type) SELECT 's', CASE i WHEN 3 THEN 'slow' ELSE 't' END FROM generate_series(1, 3) i");
	ok(PmTest::wait_until($node, "SELECT count(*) FROM pm.worker WHERE role = 'postgres' AND state = 'committing'", 1), "$end: a batch is committing");
	if ($end =~ /^crash/)
	{
		my $s = PmTest::session($node);
		PmTest::crash($node, $s->do('SELECT pg_backend_pid()'));
		$crashes++;
	}
	elsif ($end =~ /^immediate/) { $node->stop('immediate'); $node->start; }
	else { PmTest::kill_postmaster($node); }
	unlink($hold) or die "$hold: $!";
	ok(PmTest::wait_until($node, "SELECT state || lag || errors FROM pm.status WHERE process_manager = 'slow'", 'idle00'), "$end: it is handled, and no event is blamed");
}
PmTest::exactly_once_ok($node, 'slow', 'slow');

# ---- while reading

answer("SELECT pm.register('torn', 'torn', '{torn}'); SELECT pm.pause('torn')");
append('torn', '33');
answer('CHECKPOINT');
answer("SELECT damage('torn', ctid, (SELECT attnum FROM pg_attribute WHERE attrelid = 'torn'::regclass AND attname = 'data')) FROM torn WHERE position = 33; CHECKPOINT");
eval { answer("SELECT pm.resume('torn')") };
ok(PmTest::wait_until($node, lane('torn'), 'halted 33 the server crashed while the event was read or set aside 32'), 'reading: its process manager halts before the event');
is(answer("SELECT count(*), count(DISTINCT pos), max(pos) FROM seen WHERE pm = 'torn'"), '32|32|32', 'reading: the events before it are handled once');
crashes_ok(2, 2, 'reading');
answer("SELECT pm.seek('torn', 'torn', 33); SELECT pm.resume('torn')");
ok(PmTest::wait_until($node, "SELECT count(*), count(DISTINCT pos) FROM seen WHERE pm = 'torn'", '39|39'), 'reading: after pm.seek the others are handled');

# ---- while reading a parked event

answer("INSERT INTO ill VALUES ('again'); SELECT pm.register('again', 'again', '{again}', backoff => '1 h')");
append('again', '12,20');
ok(PmTest::wait_until($node, "SELECT count(*), (SELECT count(*) FROM seen WHERE pm = 'again') FROM pm_catalog.parked WHERE process_manager = 'again'", '2|38'), 'parked: a key is parked');
answer("CHECKPOINT; DELETE FROM ill WHERE pm = 'again'");
answer("SELECT damage('again', ctid, (SELECT attnum FROM pg_attribute WHERE attrelid = 'again'::regclass AND attname = 'data')) FROM again WHERE position = 12; CHECKPOINT");
eval { answer("SELECT pm.retry('again', 'again', 12)") };
ok(PmTest::wait_until($node, "SELECT string_agg(concat_ws(' ', position, state), ', ' ORDER BY position) FROM pm_catalog.parked WHERE process_manager = 'again'", '12 dead, 20 behind'), 'parked: the event is dead');
like(answer("SELECT message FROM pm_catalog.parked WHERE process_manager = 'again' AND position = 12"), qr/^the server crashed while/, 'parked: with the reason');
crashes_ok(2, 2, 'parked');
is(answer("SELECT count(*) FROM seen WHERE pm = 'again'"), 38, 'parked: nothing is handled meanwhile');
# It is deleted from the log, so there is nothing left to try. Those behind it are handled.
answer('DELETE FROM again WHERE position = 12');
answer("SELECT pm.retry('again', 'again', 12)");
ok(PmTest::wait_until($node, "SELECT count(*), (SELECT count(*) FROM seen WHERE pm = 'again'), (SELECT count(*) FROM seen WHERE pm = 'again' AND pos = 20) FROM pm_catalog.parked WHERE process_manager = 'again'", '0|39|1'), 'parked: an event that is gone from its log is discarded, and the others of its key are handled');
like(PostgreSQL::Test::Utils::slurp_file($node->logfile), qr/process manager "again" in database "postgres": the parked event at position 12 of log "again" was discarded, because it is gone from the log/, 'parked: the server\'s log says so');
is(PmTest::restarts_in_log($node), $crashes, 'reading: the server has not crashed again');

$node->stop;
done_testing();
