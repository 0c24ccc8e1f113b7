-- A handler that reads pm.instance sees what the batch has done so far, wherever the batches end.
\set SHOW_CONTEXT never
\getenv abs_srcdir PG_ABS_SRCDIR
\set no_workers :abs_srcdir '/sql/no_workers.inc'
\set ECHO none
\i :no_workers
\set ECHO all
SET client_min_messages = error;
SELECT pm.create_log('orders');
CREATE TABLE seen (n serial, by text, "position" bigint, instances text);
CREATE FUNCTION fan(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF e.type = 'look' THEN
		INSERT INTO seen (by, "position", instances)
			SELECT current_setting('test.by'), e."position", string_agg(key || '=' || (i.state->>'n'), ' ' ORDER BY key)
			FROM pm.instance i WHERE process_manager = 'fan';
		RETURN NULL;
	ELSIF e.type = 'one' THEN
		INSERT INTO seen (by, "position", instances)
			SELECT current_setting('test.by'), e."position", 'own: ' || (SELECT i.state->>'n' FROM pm.instance i WHERE process_manager = 'fan' AND key = e.stream);
	ELSIF e.type = 'close' THEN
		RETURN pm.done();
	END IF;
	RETURN jsonb_build_object('n', coalesce((state->>'n')::int, 0) + 1);
END $$;
INSERT INTO orders (stream, type) VALUES
	('a', 'open'), ('b', 'open'), ('looker', 'look'), ('a', 'more'), ('c', 'open'), ('looker', 'look'), ('b', 'close'),
	('looker', 'look'), ('b', 'open'), ('d', 'open'), ('d', 'close'), ('looker', 'look'), ('a', 'one'), ('e', 'one'),
	('a', 'close'), ('looker', 'look'), ('a', 'open'), ('c', 'more'), ('looker', 'look');
SELECT pm.register('fan', 'fan', '{orders}', start_at => 'beginning', batch_size => 1);
SET test.by = 'ones';
SELECT pm.catch_up('fan');
SELECT pm.seek('fan', 'orders', 0, reset => true);
SELECT pm.register('fan', 'fan', '{orders}', batch_size => 3);
SET test.by = 'threes';
SELECT pm.catch_up('fan');
SELECT pm.seek('fan', 'orders', 0, reset => true);
SELECT pm.register('fan', 'fan', '{orders}', batch_size => 100);
SET test.by = 'all';
SELECT pm.catch_up('fan');
SELECT "position", instances, string_agg(by, ', ' ORDER BY n) AS by FROM seen GROUP BY 1, 2 ORDER BY 1, 2;
SELECT process_manager, key, state FROM pm.instance ORDER BY key;
-- outside of a handler it is an index lookup
SET enable_seqscan = off;
EXPLAIN (COSTS OFF) SELECT state FROM (SELECT * FROM pm.instance) i WHERE process_manager = 'fan' AND key = 'a' \g |grep -c "Index Scan using instance_key"
RESET enable_seqscan;
-- a role that is not the owner does not see it, even within a handler
CREATE ROLE pending_spy;
GRANT USAGE ON SCHEMA pm TO pending_spy;
CREATE OR REPLACE FUNCTION fan(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE r text;
BEGIN
	SET LOCAL ROLE pending_spy;
	SELECT count(*) || ' ' || (SELECT count(*) FROM pm_catalog.pending_instances()) || ' ' || pm_catalog.pending('fan', 'x') FROM pm.instance INTO r;
	RESET ROLE;
	INSERT INTO seen (by, "position", instances) VALUES ('spy', e."position", r);
	RETURN '{"n": 0}';
END $$;
INSERT INTO orders (stream, type) VALUES ('x', 'open'), ('y', 'open');
SELECT pm.catch_up('fan');
SELECT instances FROM seen WHERE by = 'spy';
-- in a large batch the last lookup costs no more than the first
CREATE OR REPLACE FUNCTION fan(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF (SELECT count(*) FROM pm_catalog.pending_instances()) > 1 THEN RAISE 'too many'; END IF;
	PERFORM FROM pm.instance WHERE process_manager = 'fan' AND key = e.stream;
	RETURN '{"n": 0}';
END $$;
INSERT INTO orders (stream, type) SELECT 'g' || i, 'open' FROM generate_series(1, 1000) i;
SELECT pm.register('fan', 'fan', '{orders}', batch_size => 1000);
SELECT pm.catch_up('fan');
SELECT count(*) FROM pm.instance WHERE key LIKE 'g%';

SELECT pm.unregister('fan'), pm.drop_log('orders');
DROP TABLE orders, seen;
DROP FUNCTION fan(pm.event, jsonb);
REVOKE USAGE ON SCHEMA pm FROM pending_spy;
DROP ROLE pending_spy;
