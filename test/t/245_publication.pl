# A database with publications of all its tables, among them those of the extension, at wal_level = logical. PostgreSQL refuses
# UPDATE and DELETE on a published table without a replica identity, so each private table and each log must have one.
# What process managers and consumers do, and what owners do by hand, continues as without a publication, with rows from before it
# and after it. The WAL does not contain the old states of instances.
use strict;
use warnings FATAL => 'all';

use PmTest;
use PmUpgrade;
use Test::More;

my $node = PmTest::node('published', init => [ allows_streaming => 'logical' ], conf => "max_connections = 40\n");

sub answer { return $node->safe_psql('postgres', $_[0]); }

# The tables of the extension without a usable replica identity.
sub without_identity
{
	return answer(<<'SQL');
SELECT coalesce(string_agg(c.relname, ' ' ORDER BY c.relname), '')
FROM pg_class c
WHERE c.relnamespace = 'pm_catalog'::regnamespace AND c.relkind IN ('r', 'p') AND c.relreplident <> 'f' AND NOT EXISTS (
	SELECT FROM pg_index i
	WHERE i.indrelid = c.oid AND i.indisvalid AND CASE c.relreplident WHEN 'i' THEN i.indisreplident WHEN 'd' THEN i.indisprimary END)
SQL
}

# Has PostgreSQL plan an UPDATE and a DELETE of each table. Returns the errors.
sub refusals
{
	return answer(<<'SQL');
DO $$
DECLARE
	t regclass;
	command text;
BEGIN
	FOR t IN SELECT oid FROM pg_class WHERE relnamespace = 'pm_catalog'::regnamespace AND relkind IN ('r', 'p') LOOP
		FOREACH command IN ARRAY ARRAY[
			format('UPDATE %s SET %I = %2$I', t, (SELECT attname FROM pg_attribute WHERE attrelid = t AND attnum = 1)), format('DELETE FROM %s', t)] LOOP
			BEGIN
				EXECUTE 'EXPLAIN ' || command;
			EXCEPTION WHEN object_not_in_prerequisite_state THEN
				RAISE NOTICE '%', SQLERRM;
				PERFORM set_config('test.refused', concat_ws(' ', nullif(current_setting('test.refused', true), ''), t), false);
			END;
		END LOOP;
	END LOOP;
END $$;
SELECT coalesce(current_setting('test.refused', true), '');
SQL
}

my $tables = answer(q{SELECT count(*) FROM pg_class WHERE relnamespace = 'pm_catalog'::regnamespace AND relkind IN ('r', 'p')});
is(without_identity(), '', "each of the $tables private tables has a replica identity");

# ---- what is there before

$node->safe_psql('postgres', <<'SQL');
CREATE FUNCTION order_of(e pm.event, s jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	CASE e.type
		WHEN 'Bad' THEN RAISE EXCEPTION 'bad';
		WHEN 'Begin' THEN
			PERFORM pm.associate('item', e.stream || '-item');
			PERFORM pm.append('outbox', e.stream, 'Mail', id => e.stream);
			PERFORM pm.set_timer('soon', pm.now() + '10 ms');
			PERFORM pm.set_timer('never', pm.now() + '1 year');
			PERFORM pm.set_timer('cancelled', pm.now() + '1 year');
			PERFORM pm.cancel_timer('cancelled');
		WHEN 'Free' THEN PERFORM pm.dissociate('item', e.stream || '-item');
		WHEN 'End' THEN RETURN pm.done('"done"');
		ELSE NULL;
	END CASE;
	RETURN coalesce(s, '{}') || jsonb_build_object(e.type, true);
END $$;
SELECT pm.create_log('orders'), pm.create_log('outbox'), pm.create_log('parts', partitioned => true);
CREATE TABLE parts_0 PARTITION OF parts FOR VALUES FROM (1) TO (4);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (4) TO (1000);
SELECT pm.create_replica_log('remote');
SELECT pm.register('order', 'order_of', '{orders}', max_attempts => 2, backoff => '10 ms', keep_ended => '1 day', journal => true, lanes => 2);
SELECT pm.register('mailer', NULL, '{outbox}', lease => '1 min');
SELECT pm.register('part', NULL, '{parts}');
SQL

sub handled
{
	return PmTest::wait_until($node, q{SELECT count(*) FROM pm.status WHERE process_manager = 'order' AND lag > 0}, 0)
	  && PmTest::wait_until($node, q{SELECT count(*) FROM pm.timer WHERE due < clock_timestamp() + '1 h'}, 0)
	  && PmTest::wait_until($node, q{SELECT count(*) FROM pm.parked WHERE state NOT IN ('dead', 'behind')}, 0);
}

# The life of some instances, with all that process managers and consumers keep.
sub live
{
	my ($name) = @_;
	my $events = join ', ', map { my $type = $_; map { "('$name-$_', '$type')" } 1 .. 4 } qw(Begin Next Free);

	answer("SELECT pm.append('orders', stream, type) FROM (VALUES $events, ('$name-3', 'End'), ('$name-4', 'Bad'), ('$name-4', 'Next')) e(stream, type)");
	ok(handled(), "$name: events and timers are handled");
	is(answer("SELECT string_agg(DISTINCT key || ' ' || state, ', ') FROM pm.parked"), "$name-4 behind, $name-4 dead", "$name: events are parked, and a timer");
	answer("SELECT pm.retry('order', log, position) FROM pm.parked WHERE key = '$name-4' AND state = 'dead'");
	ok(handled(), "$name: retried");
	answer("SELECT pm.discard('order', log, position) FROM pm.parked WHERE key = '$name-4' AND state = 'dead'");
	ok(PmTest::wait_until($node, "SELECT count(*) FROM pm.parked", 0), "$name: discarded");
	answer("SELECT pm.send('order', '$name-1', 'Next'), pm.send('order', '$name-2', 'Next')");
	ok(PmTest::wait_until($node, "SELECT count(*) FROM pm_catalog.sent", 0) && handled(), "$name: sent");
	answer("SELECT pm.set_state('order', '$name-1', '{}', 'test')");
	answer("SELECT pm.end_instance('order', '$name-2', 'test')");

	is(answer("SELECT count(*) FROM pm.fetch('mailer', 'me', 2)"), 2, "$name: a consumer fetches");
	answer(<<"SQL");
SELECT pm.save('mailer', 'me', '$name-1', '{"n": 1}');
SELECT pm.set_timer('soon', pm.now(), '{}', 'mailer', 'me', '$name-1');
SELECT pm.advance('mailer', 'me', 0);
SELECT * FROM pm.fetch('mailer', 'me', 1);
SELECT pm.fail('mailer', 'me', 'outbox', (SELECT max(position) FROM pm.fetch('mailer', 'me', 1) WHERE log IS NOT NULL), 'no', permanent => true);
SELECT pm.advance('mailer', 'me', 0);
SELECT pm.finish('mailer', 'me', '$name-1');
SELECT pm.release('mailer', 'me');
SELECT pm.discard('mailer', log, position) FROM pm.parked WHERE process_manager = 'mailer';
SQL
	return;
}

live('before');

# ---- the publications

answer('CREATE PUBLICATION everything FOR ALL TABLES');
answer('CREATE PUBLICATION ours FOR TABLES IN SCHEMA pm_catalog');
answer(q{SELECT pg_create_logical_replication_slot('slot', 'pgoutput')});
is(refusals(), '', 'PostgreSQL refuses no UPDATE and no DELETE on them');

live('after');
is(answer(q{SELECT count(*) FROM pm.instance WHERE key LIKE 'before-%' AND process_manager = 'order'}), '2', 'instances from before are there');
answer(q{SELECT pm.append('orders', 'before-' || i, 'End') FROM generate_series(1, 4) i});
ok(handled(), 'and end');
is(answer(q{SELECT count(*) FROM pm.instance WHERE key LIKE 'before-%' AND process_manager = 'order'}), '0', 'all of them');

# ---- the owner's commands

answer(<<'SQL');
SELECT pm.erase('orders', 'after-1');
SELECT pm.pause('order');
SELECT pm.resume('order');
SELECT pm.register('order', 'order_of', '{orders}', max_attempts => 2, backoff => '10 ms', keep_ended => '0', journal => true, lanes => 3);
SELECT pm.append('outbox', 'x', 'Mail', id => 'x');
SQL
ok(PmTest::wait_until($node, 'SELECT count(*) FROM pm.ended', 0), 'what has ended is removed');
is(answer(q{SELECT count(*) FROM pm.journal WHERE key LIKE 'before-%'}), '0', 'with its journal');
answer(q{SELECT pm.unregister('mailer')});
cmp_ok(answer(q{SELECT pm.trim('outbox', (SELECT max(position) FROM outbox))}), '>', 0, 'a log is trimmed');
is(answer(q{SELECT count(*) FROM pm_catalog.append_id WHERE log = 'outbox'}), '0', 'and the ids of its events are forgotten');
answer(q{SELECT pm.rename_log('outbox', 'outgoing')});
answer(q{SELECT pm.append('outgoing', 'x', 'Mail')});
answer(q{SELECT pm.drop_log('outbox'); DROP TABLE outgoing});

# A partition goes, with a parked event.
answer(<<'SQL');
SELECT pm.append('parts', 's' || i, 'x') FROM generate_series(1, 5) i;
SELECT * FROM pm.fetch('part', 'me', 1);
SELECT pm.fail('part', 'me', 'parts', 1, 'no', permanent => true);
SELECT pm.advance('part', 'me', 0);
SELECT pm.keep_parked('parts', 3);
SELECT * FROM pm.fetch('part', 'me', 9);
SELECT pm.advance('part', 'me', 0);
DROP TABLE parts_0;
UPDATE parts SET data = '{"a": 1}' WHERE position = 4;
SELECT pm.erase('parts', 's4');
SELECT pm.discard('part', 'parts', 1);
SELECT pm.seek('part', 'parts', 4);
SELECT pm.unregister('part');
SELECT pm.trim('parts', 4);
SQL
is(answer('SELECT count(*) FROM parts'), '1', 'a partitioned log loses a partition and is trimmed');

# An ordinary log becomes a partitioned one. Its name in the publication must remain.
my $ordinary = 'CREATE INDEX ON orders (stream, version); ALTER TABLE orders ADD CONSTRAINT pm_up_to CHECK ("position" BETWEEN 1 AND 9999)';
answer($ordinary);
my (undef, undef, $err) = $node->psql('postgres', q{SELECT pm.partition_log('orders', 10000, 'orders_p0')});
like($err, qr/publication everything, which publishes partitions under their own names/, 'pm.partition_log names the publication');
answer('ALTER PUBLICATION everything SET (publish_via_partition_root = true)');
answer(q{SELECT pm.partition_log('orders', 10000, 'orders_p0')});
is(answer(q{SELECT kind FROM pm.log WHERE name = 'orders'}), 'partitioned', 'which it then allows');
answer(q{SELECT pm.append('orders', 'last', 'Begin'); SELECT pm.append('orders', 'last', 'End')});
ok(handled(), 'events of that log are handled');
answer(q{SELECT pm.erase('orders', 'last')});
answer(q{SELECT pm.unregister('order')});
is(answer(q{SELECT pm.trim('orders', 10)}), '10', 'and trimmed');
answer('DROP TABLE orders');
answer(q{SELECT pm.drop_log('remote'); DROP TABLE remote});
is(answer(q{SELECT string_agg(t, ' ') FROM unnest('{process_manager,cursor,lane,instance,timer,parked,association,appends,ended,journal,sent,lease,fetched,former_lane}'::text[]) t
	WHERE (xpath('/row/c/text()', query_to_xml('SELECT count(*) AS c FROM pm_catalog.' || t, false, true, '')))[1]::text <> '0'}), '', 'nothing is left of what was unregistered');

# ---- the rest

PmUpgrade::fill($node, 'postgres');
PmUpgrade::finish_ok($node, 'postgres');
cmp_ok(answer(q{SELECT count(*) FROM pg_logical_slot_peek_binary_changes('slot', NULL, NULL, 'proto_version', '1', 'publication_names', 'everything,ours')}),
	'>', 1000, 'all can be decoded');
is(answer(q{SELECT count(*) FROM pm.status WHERE reason IS NOT NULL}), '0', 'no process manager has a problem');
unlike(PostgreSQL::Test::Utils::slurp_file($node->logfile), qr/replica identity/, 'the server log does not mention replica identities');

# ---- the WAL of instances: an update does not have the old state

answer(q{SELECT pm.create_log('many')});
answer(q{CREATE FUNCTION big(e pm.event, s jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT jsonb_build_object('s', repeat(md5(e.position::text), 40)) $$});
answer(q{ALTER TABLE pm_catalog.instance ALTER COLUMN state SET STORAGE EXTERNAL});
answer(q{SELECT pm.register('big', 'big', '{many}', start_at => 'beginning')});
answer(q{SELECT pm.append('many', 's' || i, 'x') FROM generate_series(1, 200) i});
ok(PmTest::wait_until($node, q{SELECT count(*) FROM pm.status WHERE process_manager = 'big' AND lag > 0}, 0), 'instances with states of 1.3 kB');
answer(q{SELECT pm.pause('big')});
answer(q{SELECT pm.append('many', 's' || i, 'x') FROM generate_series(1, 200) i});
answer(q{CHECKPOINT});
my $from = answer('SELECT pg_current_wal_insert_lsn()');
answer(q{SELECT pm.resume('big')});
ok(PmTest::wait_until($node, q{SELECT count(*) FROM pm.status WHERE process_manager = 'big' AND lag > 0}, 0), 'are updated');
my $decoded = answer(q{SELECT sum(length(data)) FROM pg_logical_slot_get_binary_changes('slot', NULL, NULL, 'proto_version', '1', 'publication_names', 'ours')
	WHERE lsn > '} . $from . q{' AND get_byte(data, 0) = ascii('U')});
cmp_ok($decoded, '<', 200 * 1900, 'without their old states');
PmTest::figure("200 updates of instances with states of 1.3 kB: $decoded bytes are published");

PmTest::no_crash_ok($node);
done_testing();
