-- A process manager is registered again while pm.catch_up runs: events that were read under the
-- old settings are not handled under the new ones.
\set SHOW_CONTEXT never
\getenv abs_srcdir PG_ABS_SRCDIR
\set no_workers :abs_srcdir '/sql/no_workers.inc'
\set ECHO none
\i :no_workers
\set ECHO all
SET client_min_messages = error;
SELECT pm.create_log('orders');
CREATE TABLE handled (n serial, "position" bigint, type text);
CREATE FUNCTION note(e pm.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF e.data ? 'bad' THEN RAISE 'bad'; END IF;
	INSERT INTO handled ("position", type) VALUES (e."position", e.type);
END $$;
-- corrects the event, and registers the process manager that failed on it again
CREATE FUNCTION correct(e pm.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF e.data ? 'bad' THEN
		UPDATE orders SET data = '{}' WHERE "position" = e."position";
		EXECUTE current_setting('test.again');
	END IF;
END $$;

-- another number of lanes
INSERT INTO orders (stream, type, data)
	SELECT 's' || i, CASE WHEN i % 2 = 0 THEN 'even' ELSE 'odd' END, CASE i WHEN 15 THEN '{"bad": true}' ELSE '{}' END::jsonb
	FROM generate_series(1, 30) i;
SELECT pm.register('b', 'note', '{orders}', on_failure => 'halt', backoff => '10 s', lanes => 2, start_at => 'beginning');
SELECT pm.register('a', 'correct', '{orders}', start_at => 'beginning');
SET test.again = $$SELECT pm.register('b', 'note', '{orders}', on_failure => 'halt', backoff => '10 s', lanes => 3)$$;
SELECT pm.catch_up(on_failure => 'policy') > 0 AS caught_up;
SELECT count(*), count(DISTINCT "position") FROM handled;
SELECT lane, "position" FROM pm.cursor WHERE process_manager = 'b' ORDER BY lane;

-- other types
TRUNCATE handled;
INSERT INTO orders (stream, type, data)
	SELECT 's' || i, CASE WHEN i % 2 = 0 THEN 'even' ELSE 'odd' END, CASE i WHEN 15 THEN '{"bad": true}' ELSE '{}' END::jsonb
	FROM generate_series(1, 30) i;
SELECT pm.register('b', 'note', '{orders}', on_failure => 'halt', backoff => '10 s', types => '{odd}');
SET test.again = $$SELECT pm.register('b', 'note', '{orders}', on_failure => 'halt', backoff => '10 s', types => '{odd,even}')$$;
SELECT pm.catch_up(on_failure => 'policy') > 0 AS caught_up;
SELECT type, count(*), count(DISTINCT "position") FROM handled GROUP BY type ORDER BY type;

-- another correlate
TRUNCATE handled;
CREATE FUNCTION odd_ones(e pm.event) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT 'all' WHERE e.type = 'odd' $$;
SELECT pm.register('b', 'note', '{orders}', on_failure => 'halt', backoff => '10 s', lanes => 2);
INSERT INTO orders (stream, type, data)
	SELECT 's' || i, CASE WHEN i % 2 = 0 THEN 'even' ELSE 'odd' END, CASE i WHEN 1 THEN '{"bad": true}' ELSE '{}' END::jsonb
	FROM generate_series(1, 30) i;
SET test.again = $$SELECT pm.unregister('b'), pm.register('b', 'note', '{orders}', correlate => 'odd_ones', lanes => 2, start_at => '60')$$;
SELECT pm.catch_up(on_failure => 'policy') > 0 AS caught_up;
SELECT pm.catch_up('b', on_failure => 'policy') >= 0 AS caught_up;
SELECT count(*) FILTER (WHERE type = 'odd') AS odd FROM (SELECT DISTINCT "position", type FROM handled) h;

SELECT pm.unregister('a'), pm.unregister('b'), pm.drop_log('orders');
DROP TABLE orders, handled;
DROP FUNCTION note(pm.event), correct(pm.event), odd_ones(pm.event);
