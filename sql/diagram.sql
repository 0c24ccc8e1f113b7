-- pm.diagram, and to which logs a process manager appends
\set SHOW_CONTEXT never
\getenv abs_srcdir PG_ABS_SRCDIR
\set no_workers :abs_srcdir '/sql/no_workers.inc'
\set ECHO none
\i :no_workers
\set ECHO all

-- Nothing is registered.
SELECT pm.create_log('orders'), pm.create_log('by_append'), pm.create_log('by_insert'), pm.create_log('by_trigger'),
	pm.create_log('undone'), pm.create_log('unwritten'), pm.create_log('dropped');
\t on
\a
SELECT pm.diagram();
\t off
\a

-- Does what the type says, with the log in the data.
CREATE FUNCTION go(e pm.event) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	log text := e.data ->> 'log';
BEGIN
	CASE e.type
		WHEN 'append' THEN PERFORM pm.append(log, 's', 'x');
		WHEN 'append_all' THEN PERFORM pm.append_all(log, 's', '[{"type": "x"}]');
		WHEN 'insert' THEN EXECUTE format('INSERT INTO %I (stream, type) VALUES (''s'', ''x'')', log);
		WHEN 'insert nothing' THEN EXECUTE format('INSERT INTO %I (stream, type) SELECT ''s'', ''x'' WHERE false', log);
		WHEN 'read' THEN PERFORM FROM pm.read_stream(log, 's');
		WHEN 'update' THEN EXECUTE format('UPDATE %I SET metadata = ''{}''', log);
		WHEN 'delete' THEN EXECUTE format('DELETE FROM %I', log);
		WHEN 'undo' THEN
			BEGIN
				PERFORM pm.append(log, 's', 'x');
				RAISE EXCEPTION 'undo';
			EXCEPTION WHEN raise_exception THEN NULL;
			END;
		WHEN 'fail' THEN
			PERFORM pm.append(log, 's', 'x');
			RAISE EXCEPTION 'fail';
	END CASE;
END $$;
CREATE FUNCTION also() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pm.append('by_trigger', 's', 'x'); RETURN NULL; END $$;
CREATE TRIGGER also AFTER INSERT ON by_insert FOR EACH ROW EXECUTE FUNCTION also();
CREATE FUNCTION tell(type text, log text) RETURNS void LANGUAGE sql AS $$ SELECT pm.append('orders', type, type, jsonb_build_object('log', log)) $$;
CREATE VIEW appended AS SELECT name, appends_to FROM pm.process_manager ORDER BY name;

SELECT pm.register('m', 'go', '{orders}', start_at => 'beginning', max_attempts => 1);
TABLE appended;
-- what does not append
SELECT tell(t, 'unwritten') FROM unnest('{read,update,delete}'::text[]) t;
SELECT tell('undo', 'undone');
SELECT pm.catch_up('m');
TABLE appended;
-- what fails: the batch is undone, the event is parked
SELECT tell('fail', 'undone');
SELECT pm.catch_up('m', on_failure => 'policy');
TABLE appended;
-- a batch that the caller undoes
SELECT tell('append', 'by_append');
BEGIN;
SELECT pm.catch_up('m');
TABLE appended;
ROLLBACK;
BEGIN;
SAVEPOINT s;
SELECT pm.catch_up('m');
ROLLBACK TO s;
TABLE appended;
COMMIT;
SELECT pm.catch_up('m');
TABLE appended;
-- once for each log, and also what triggers append
SELECT tell(t, 'by_append') FROM unnest('{append,append_all,append}'::text[]) t;
SELECT pm.catch_up('m');
SELECT tell('insert', 'by_insert');
SELECT pm.catch_up('m');
TABLE appended;
SELECT count(*) FROM pm_catalog.appends;
-- not what the session does outside of a handler, nor what a rehearsal does
INSERT INTO unwritten (stream, type) VALUES ('s', 'x');
SELECT tell('append', 'unwritten');
SELECT outcome FROM pm.rehearse('m', after => NULL);
TABLE appended;
UPDATE orders SET type = 'read' WHERE data ->> 'log' = 'unwritten';
SELECT pm.catch_up('m');

-- A log that is dropped is forgotten, even if it is made again.
SELECT tell('append', 'dropped');
SELECT pm.catch_up('m');
TABLE appended;
SELECT pm.drop_log('dropped'), pm.create_log('dropped');
TABLE appended;
SELECT tell('append', 'dropped');
SELECT pm.catch_up('m');
TABLE appended;
SELECT pm.drop_log('dropped');
DROP TABLE dropped;

-- The same handler keeps what is known, and another one does not.
SELECT pm.register('m', 'go', '{orders}', max_attempts => 1), pm.alter('m', batch_size => 10);
TABLE appended;
CREATE FUNCTION go_too(e pm.event) RETURNS void LANGUAGE sql AS $$ SELECT go(e) $$;
SELECT pm.alter('m', handler => 'go_too');
TABLE appended;
SELECT tell('append', 'by_append');
SELECT pm.catch_up('m');
TABLE appended;

-- The picture: a parked event, lanes, consumers, another state.
SELECT pm.register('lanes', 'go', '{by_append,by_insert}', start_at => 'beginning', types => '{nothing}', lanes => 2);
SELECT pm.register('mailer', NULL, '{by_append}', start_at => 'beginning', lanes => 2);
SELECT pm.register('paused', 'go', '{orders}', start_at => 'end');
SELECT pm.pause('paused');
SELECT pm.append('orders', 'o', 'nothing');
SELECT count(*) > 0 AS fetched FROM pm.fetch('mailer', 'one');
UPDATE pm_catalog.cursor SET moved_at = now();
\t on
\a
SELECT regexp_replace(pm.diagram(), ', \d+ s"', ', N s"', 'g');
\t off
\a

-- Names cannot leave their quotes.
SELECT pm_catalog.diagram_text(E'a"b\\c&lt;\n\t<b>\x7f \u202e', 100), pm_catalog.diagram_text(repeat('x', 50), 10), pm_catalog.diagram_text(E'""""""\\', 6);
SELECT pm_catalog.diagram_age(a::interval) FROM unnest('{-1 s,0,90.7 s,3 min,5 h,20 days,-infinity}'::text[]) WITH ORDINALITY u(a, n) WHERE a <> '-infinity' ORDER BY n;

SELECT pm.release('mailer', 'one');
SELECT pm.unregister(name) FROM pm.process_manager ORDER BY name;
SELECT count(*) FROM pm_catalog.appends;
DROP VIEW appended;
DROP FUNCTION go, go_too, tell;
SELECT pm.drop_log(name) FROM pm.log ORDER BY name;
DROP TABLE orders, by_append, by_insert, by_trigger, undone, unwritten;
DROP FUNCTION also;
