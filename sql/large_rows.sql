-- Journals and ended instances with states of any size: rows that are stored out of line are found by their indexes, too
\getenv abs_srcdir PG_ABS_SRCDIR
\set no_workers :abs_srcdir '/sql/no_workers.inc'
\set ECHO none
\i :no_workers
\set ECHO all

SELECT pm.create_log('sizes');
CREATE FUNCTION size(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF e.type = 'end' THEN RETURN pm.done(state); END IF;
	RETURN (SELECT jsonb_object_agg('k' || i, md5(e.stream || i)) FROM generate_series(1, (e.data ->> 'n')::int) i);
END $$;
SELECT pm.register('m', 'size', '{sizes}', keep_ended => '1 day', journal => true);
SELECT pm.append('sizes', 's' || n, 'begin', jsonb_build_object('n', n)) FROM unnest('{1,5,10,20,30,50,100,200,1000,20000}'::int[]) n \g /dev/null
SELECT pm.catch_up('m');
SELECT pm.append('sizes', 's' || n, 'end') FROM unnest('{1,5,10,20,30,50,100,200,1000,20000}'::int[]) n \g /dev/null
SELECT pm.catch_up('m');
SET enable_seqscan = off;
SELECT e.key, (SELECT count(*) FROM jsonb_object_keys(e.state)) AS size, e.state = e.result AS same FROM unnest('{1,5,10,20,30,50,100,200,1000,20000}'::int[]) n, LATERAL (SELECT * FROM pm.ended WHERE process_manager = 'm' AND key = 's' || n) e ORDER BY 2;
SELECT j.key, j.type, (SELECT count(*) FROM jsonb_object_keys(j.state)) AS size FROM unnest('{1,5,10,20,30,50,100,200,1000,20000}'::int[]) n, LATERAL (SELECT * FROM pm.journal WHERE process_manager = 'm' AND key = 's' || n) j ORDER BY n, j.seq;
RESET enable_seqscan;

SELECT pm.unregister('m');
DROP TABLE sizes;
DROP FUNCTION size;
