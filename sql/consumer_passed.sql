-- Events that pm.fail has parked after the cursor are not fetched again when the leases have ended
\set SHOW_CONTEXT never
\getenv abs_srcdir PG_ABS_SRCDIR
\set no_workers :abs_srcdir '/sql/no_workers.inc'
\set ECHO none
\i :no_workers
\set ECHO all

SELECT pm.create_log('steps');
CREATE TABLE done (n serial, pos bigint, key text);
SELECT pm.register('m', NULL, '{steps}', lease => '1 h', backoff => '1 h');
-- handles what there is, in all lanes
CREATE PROCEDURE work() LANGUAGE plpgsql AS $$
DECLARE
	l int;
BEGIN
	FOR i IN 1 .. 20 LOOP
		INSERT INTO done (pos, key) SELECT "position", key FROM pm.fetch('m', 'c');
		FOR l IN SELECT lane FROM pm.consumer LOOP PERFORM pm.advance('m', 'c', l); END LOOP;
		PERFORM pm.release('m', 'c');
	END LOOP;
END $$;
SELECT pm.append('steps', key, 'T') FROM unnest('{a,b,c,b,d,a}'::text[]) key;
SELECT "position" FROM pm.fetch('m', 'c');
SELECT pm.fail('m', 'c', 'steps', 2, 'no');
SELECT "position", key, state FROM pm.parked ORDER BY 1;
SELECT "position" FROM pm.cursor;
-- they are parked in the lanes of their keys, and are handled there once
SELECT pm.alter('m', lanes => 3);
CALL work();
SELECT "position", key, state FROM pm.parked ORDER BY 1;
SELECT pm.retry('m');
CALL work();
SELECT count(*) FROM pm.parked;
SELECT count(*), count(DISTINCT pos) FROM done;
SELECT key, array_agg(pos ORDER BY n) FROM done GROUP BY key ORDER BY key;

-- retried before anything is fetched: what came before is handled first
TRUNCATE done;
SELECT pm.append('steps', key, 'T') FROM unnest('{a,b,c,b,d,a}'::text[]) key;
SELECT pm.alter('m', lanes => 1);
SELECT "position" FROM pm.fetch('m', 'c');
SELECT pm.fail('m', 'c', 'steps', 8, 'no');
SELECT pm.alter('m', lanes => 3);
SELECT pm.retry('m');
CALL work();
SELECT count(*), count(DISTINCT pos) FROM done;
SELECT key, array_agg(pos ORDER BY n) FROM done GROUP BY key ORDER BY key;
SELECT count(*) FROM pm.parked;

SELECT pm.unregister('m');
DROP PROCEDURE work;
SELECT pm.drop_log('steps');
DROP TABLE steps, done;
