-- Attached logs: logs over tables that another program made and writes
\set SHOW_CONTEXT never
\i sql/no_workers.inc

-- a table like that of message-db, with a dropped column and a generated one
CREATE SCHEMA store;
CREATE TABLE store.messages (
	global_position bigserial PRIMARY KEY,
	gone int,
	position bigint NOT NULL,
	time timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'utc'),
	stream_name text NOT NULL,
	type text NOT NULL,
	data jsonb,
	metadata jsonb,
	id uuid NOT NULL DEFAULT gen_random_uuid(),
	large boolean GENERATED ALWAYS AS (length(data::text) > 100) STORED
);
ALTER TABLE store.messages DROP COLUMN gone;
CREATE UNIQUE INDEX messages_stream ON store.messages (stream_name, position);
INSERT INTO store.messages (stream_name, position, type, data, time) VALUES ('order-1', 0, 'Placed', '{"n": 1}', '2026-01-01 12:00'), ('payment-1', 0, 'Paid', NULL, '2026-01-01 13:00');

SELECT pm.attach_log('messages', 'store.messages', 'global_position', 'stream_name', 'type', 'data', 'position + 1', 'metadata', 'time');
SELECT pm.attach_log('order_category', 'store.messages', 'global_position', 'stream_name', 'type', 'data', 'position + 1', 'metadata', 'time', filter => $$split_part(stream_name, '-', 1) = 'order'$$);
SELECT pm.attach_log('payment_category', 'store.messages', 'global_position', $$split_part(stream_name, '-', 2)$$, 'upper(type)', $$jsonb_build_object('was', coalesce(data, '{}'), 'id', id::text IS NOT NULL)$$, filter => $$stream_name LIKE 'payment-%'$$);
SELECT name, "table", pos, stream, version, type, data, metadata, recorded_at, kind, filter FROM pm.log ORDER BY name;
SELECT tgname, tgenabled, pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = 'store.messages'::regclass;

SET timezone = 'UTC';
SELECT * FROM pm.read('messages');
SELECT * FROM pm.read('order_category');
SELECT log, position, stream, version, type, data, metadata, recorded_at FROM pm.read('payment_category');
INSERT INTO store.messages (stream_name, position, type, data) VALUES ('order-1', 1, 'Shipped', '{"n": 2}'), ('order-2', 0, 'Placed', '{"n": 3}'), ('payment-1', 1, 'Paid', '{}');
SELECT position, stream, version, type, data FROM pm.read('order_category', types => '{Placed}');
SELECT position, stream, version, type FROM pm.read_stream('order_category', 'order-1');
SELECT position, stream, version, type FROM pm.read_stream('order_category', 'order-1', 1);
SELECT position, stream, version, type FROM pm.read_stream('order_category', 'payment-1');
-- without versions, and with a computed stream
SELECT position, stream, version, type FROM pm.read_stream('payment_category', '1');
SELECT position, stream, version, type FROM pm.read_stream('payment_category', '1', 1);
SELECT pm.high_water_mark('messages'), pm.high_water_mark('order_category');

-- process managers
CREATE TABLE seen (id serial, name text, log text, pos bigint, key text, data jsonb);
CREATE FUNCTION see(e pm.event) RETURNS void LANGUAGE sql AS $$ INSERT INTO seen (name, log, pos, key, data) VALUES ('see', e.log, e."position", pm.key(), e.data) $$;
CREATE FUNCTION fail(e pm.event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN IF e.data->>'n' = '3' THEN RAISE 'no 3'; END IF; INSERT INTO seen (name, log, pos, key, data) VALUES ('fail', e.log, e."position", pm.key(), e.data); END $$;
SELECT pm.register('two', 'see', ARRAY['order_category', 'payment_category'], start_at => 'beginning');
SELECT pm.register('failing', 'fail', ARRAY['order_category'], start_at => '2026-01-01 00:00:00+00', max_attempts => 1);
SELECT pm.register('late', 'see', ARRAY['messages'], start_at => 'end');
SELECT pm.register('typed', 'see', ARRAY['messages'], types => '{Shipped}', start_at => '0');
SELECT pm.catch_up('two'), pm.catch_up('late'), pm.catch_up('typed');
SELECT pm.catch_up('failing', on_failure => 'policy');
SELECT name, log, pos, key, data FROM seen ORDER BY id;
SELECT process_manager, log, "position", state FROM pm.parked;
-- the row is corrected
UPDATE store.messages SET data = '{"n": 4}' WHERE data = '{"n": 3}';
SELECT pm.retry('failing');
SELECT pm.catch_up('failing');
SELECT name, log, pos, data FROM seen WHERE name = 'fail' ORDER BY id;
SELECT process_manager, log, "position" FROM pm.cursor ORDER BY 1, 2;
-- pm.catch_up handles what its own transaction has written, but nothing while a statement is writing
BEGIN;
INSERT INTO store.messages (stream_name, position, type) VALUES ('order-3', 0, 'Placed');
SELECT pm.catch_up('two');
ROLLBACK;
CREATE FUNCTION catch_up() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pm.catch_up('two'); RETURN NEW; END $$;
CREATE TRIGGER inside BEFORE INSERT ON store.messages FOR EACH ROW EXECUTE FUNCTION catch_up();
INSERT INTO store.messages (stream_name, position, type) VALUES ('order-3', 0, 'Placed');
DROP TRIGGER inside ON store.messages;
SELECT pm.seek('two', 'order_category', 0);
SELECT pm.catch_up('two');
SELECT process_manager, log, lag_events, state FROM pm.status ORDER BY 1, 2;

-- a consumer
SELECT pm.register('outside', NULL, ARRAY['payment_category'], start_at => 'beginning');
SELECT log, position, stream, type, data FROM pm.fetch('outside', 'me');
SELECT pm.advance('outside', 'me', 0);
SELECT pm.unregister('outside');

-- what is refused
SELECT pm.append('messages', 'order-1', 'Placed');
SELECT pm.append_all('messages', 'order-1', '[{"type": "x"}]');
SELECT pm.trim('messages', 1);
SELECT pm.erase('messages', 'order-1');
SELECT pm.drop_log('messages');
SELECT pm.detach_log('messages');
SELECT pm.create_log('messages');
SELECT pm.create_log('store.messages');
SELECT pm.detach_log('nothing');
SELECT pm.attach_log('order_category', 'store.messages', 'global_position', 'stream_name', 'type', 'data');
SELECT pm.attach_log('x', 'store.messages', NULL, 'stream_name', 'type', 'data');
SELECT pm.attach_log('a.b.c', 'store.messages', 'global_position', 'stream_name', 'type', 'data');
SELECT pm.attach_log('seen', 'store.messages', 'global_position', 'stream_name', 'type', 'data');
-- the same call once more changes nothing
SELECT pm.attach_log('messages', 'store.messages', 'global_position', 'stream_name', 'type', 'data', 'position + 1', 'metadata', 'time');

-- a log that was renamed and whose sequence was changed is accepted again
SELECT pm.attach_log('first', 'store.messages', 'global_position', 'stream_name', 'type', 'data');
SELECT pm.rename_log('first', 'renamed');
ALTER SEQUENCE store.messages_global_position_seq CACHE 1;
SELECT count(*) FROM pm.read('renamed');
SELECT pm.attach_log('renamed', 'store.messages', 'global_position', 'stream_name', 'type', 'data');
SELECT count(*) FROM pm.read('renamed');
SELECT pm.attach_log('messages', 'store.messages', 'global_position', 'stream_name', 'type', 'data', 'position + 1', 'metadata', 'time');
SELECT pm.attach_log('order_category', 'store.messages', 'global_position', 'stream_name', 'type', 'data', 'position + 1', 'metadata', 'time', filter => $$split_part(stream_name, '-', 1) = 'order'$$);
SELECT pm.attach_log('payment_category', 'store.messages', 'global_position', $$split_part(stream_name, '-', 2)$$, 'upper(type)', $$jsonb_build_object('was', coalesce(data, '{}'), 'id', id::text IS NOT NULL)$$, filter => $$stream_name LIKE 'payment-%'$$);
SELECT pm.detach_log('renamed');

-- expressions
CREATE FUNCTION mine(text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT $1';
CREATE DOMAIN mydomain AS text CHECK (mine(VALUE) <> 'x');
CREATE FUNCTION try(expression text, what text DEFAULT 'filter') RETURNS text LANGUAGE plpgsql AS $$
DECLARE d text; h text;
BEGIN
	PERFORM pm.attach_log('tried', 'store.messages', CASE what WHEN 'pos' THEN expression ELSE 'global_position' END, CASE what WHEN 'stream' THEN expression ELSE 'stream_name' END, 'type',
		CASE what WHEN 'data' THEN expression ELSE 'data' END, CASE what WHEN 'version' THEN expression END, recorded_at => CASE what WHEN 'recorded_at' THEN expression END, filter => CASE what WHEN 'filter' THEN expression END);
	PERFORM pm.detach_log('tried');
	RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS d = PG_EXCEPTION_DETAIL;
	RETURN concat_ws(': ', SQLSTATE, SQLERRM, nullif(d, ''));
END $$;
SELECT x, try(x) FROM unnest(ARRAY[
	'true', $$type = 'a' OR NOT large AND position > 3$$, $$type IN ('a', 'b')$$, $$type LIKE 'a%'$$, $$starts_with(type, 'a')$$, $$CASE type WHEN 'a' THEN true ELSE false END$$,
	$$coalesce(data->>'n', '') <> ''$$, $$data @> '{"n": 1}'$$, $$id = '00000000-0000-0000-0000-000000000001'$$, $$time > '2026-01-01'$$, $$id::text IS NOT NULL$$, $$lower(trim(type)) = 'a'$$,
	$$substring(type from 1 for 2) = 'ab'$$, $$type IS DISTINCT FROM 'a'$$, $$nullif(type, 'a') IS NULL$$, $$position BETWEEN 1 AND 3$$]) x;
SELECT x, try(x) FROM unnest(ARRAY[
	'', 'type', 'true, true', 'true; DROP TABLE seen', 'true FROM seen', 'true AS x', '(SELECT true)', 'EXISTS (SELECT FROM seen)', 'mine(type) IS NULL', 'public.mine(type) IS NULL', $$pg_sleep(1) IS NULL$$, $$repeat(type, 10) = ''$$,
	$$type ~ 'a'$$, $$type LIKE '%a%'$$, $$type LIKE data::text$$, $$regexp_replace(type, 'a', 'b') = ''$$, 'now() > time', 'current_user IS NULL', 'pg_read_file(type) IS NULL', 'count(*) > 1', 'row_number() OVER () > 1',
	'generate_series(1, 2) > 1', 'unnest(ARRAY[true])', $$type OPERATOR(public.=) 'a'$$, $$'x'::mydomain = 'x'$$, $$'x'::public.mydomain = 'x'$$, 'messages.type IS NULL', 'ctid IS NULL', 'tableoid = 1', 'nothing = 1', 'gone = 1', '$1', 'ROW(type) IS NULL',
	$$type = ANY (ARRAY['a'])$$, $$type COLLATE "C" = 'a'$$, $$'a\b' = type$$, $$type < 'a'$$, $$length(md5(type)) > 1$$, $$factorial(1000) > 1$$, $$type = $$, $$type::regclass IS NULL$$, $$split_part(type, stream_name, 1) = ''$$, $$data::text::xml IS NULL$$, $$time::text = ''$$]) x;
-- what depends on settings, or on the time
SELECT x, try(x) FROM unnest(ARRAY[
	$$time > '2026-01-31 12:00'$$, $$time > '2026-01-31T12:00:00.5'$$, $$time AT TIME ZONE 'UTC' > '2026-01-31 12:00 +01'$$, $$time > timestamp '2026-01-31 12:00:00'$$, $$time AT TIME ZONE 'Europe/Berlin' > '2026-01-31 12:00:00Z'$$,
	$$time > NULL$$, $$time > 'now'$$, $$time > 'yesterday'$$, $$time > timestamp 'today'$$, $$time > '1/2/2026'$$, $$time > '2026-01-31 EST'$$, $$time AT TIME ZONE 'UTC' > '2026-01-31 12:00 EST'$$, $$time > '2026-01-31'
	' 12:00 EST'$$, $$time > '2026-01-31' -- x
	' 12:00 EST'$$, $$time > E'2026-01-31'$$, $$time > U&'2026-01-31'$$, $$time > 'infinity'$$, $$time > '2026-13-01'$$,
	$$time AT TIME ZONE 'EST' > '2026-01-31'$$, $$time AT TIME ZONE type > '2026-01-31'$$, $$time AT TIME ZONE 'No/Where' > '2026-01-31'$$, $$time AT TIME ZONE '+02' > '2026-01-31'$$]) x;
SELECT try('nothing', 'pos'), try('global_position + 1', 'pos'), try('position', 'pos'), try('type', 'pos');
SELECT x, try(x, 'data') FROM unnest(ARRAY['type', $$data::json$$, $$jsonb_build_object('t', time)$$, $$to_jsonb(id)$$, $$'{}'$$, 'position', $$'{'$$, $$data || '{}'$$]) x;
SELECT x, try(x, 'recorded_at') FROM unnest(ARRAY['time', $$time AT TIME ZONE 'Europe/Berlin'$$, 'to_timestamp(position)', 'type', 'to_timestamp(position::float8 / 1000)']) x;
SELECT x, try(x, 'stream') FROM unnest(ARRAY['id', 'position', 'large', 'data', $$'one'$$, $$type || '-' || id::text$$, 'time']) x;
SELECT try('type', 'version'), try('position', 'version');
SELECT try('type = ''' || repeat('x', 5000) || ''''), try(repeat('NOT ', 900) || 'true'), try(repeat('(', 1500) || 'true' || repeat(')', 1500));

-- expressions mean the same in each session
CREATE TABLE zoned (id bigserial PRIMARY KEY, k text, at timestamptz);
INSERT INTO zoned (k, at) VALUES ('before', '2025-12-31 23:30:00Z'), ('after', '2026-01-01 00:30:00Z'), (NULL, '2026-03-01 00:00:00Z');
SELECT pm.attach_log('zoned', 'zoned', 'id', 'k', $$CASE WHEN k = NULL THEN 'null' ELSE U&'st!006fne' UESCAPE '!' END$$, 'NULL', filter => $$at >= '2026-01-01'$$);
SELECT position, stream, type FROM pm.read('zoned');
\c
SET timezone = 'Asia/Tokyo'; SET datestyle = 'German'; SET intervalstyle = 'iso_8601'; SET transform_null_equals = on;
-- PostgreSQL 19 has only strings that conform to the standard.
DO $$
BEGIN
	IF current_setting('server_version_num')::int < 190000 THEN
		SET standard_conforming_strings = off;
		SET escape_string_warning = off;
	END IF;
END $$;
SELECT position, stream, type FROM pm.read('zoned');
\c
SET timezone = 'America/Los_Angeles';
SELECT position, stream, type FROM pm.read('zoned');
SHOW timezone;
\c
SET client_min_messages = error;
SET timezone = 'UTC';
SELECT pm.detach_log('zoned');
DROP TABLE zoned;

-- a row that cannot be read holds up the rows after it, but not other logs
CREATE TABLE texts (id int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, kind varchar(20), body text, at timestamptz);
SELECT pm.attach_log('texts', 'texts', 'id', 'kind', 'kind', 'body', recorded_at => 'at');
INSERT INTO texts (kind, body) VALUES ('a', '{"n": 1}'), ('a', 'no JSON'), (NULL, NULL);
SELECT * FROM pm.read('texts');
SELECT * FROM pm.read('texts', 0, 1);
SELECT pm.register('texts', 'see', ARRAY['texts', 'payment_category'], start_at => 'beginning');
TRUNCATE seen;
SELECT pm.catch_up('texts', on_failure => 'policy');
SELECT log, pos, data FROM seen ORDER BY id;
SELECT process_manager, log, state, reason, hint FROM pm.status WHERE process_manager = 'texts' ORDER BY log;
SELECT count(*) >= 0 FROM pm.trace('messages', 1);
UPDATE texts SET body = '{"n": 2}' WHERE id = 2;
SELECT pm.catch_up('texts');
SELECT log, pos, key, data FROM seen WHERE log = 'texts' ORDER BY id;
SELECT * FROM pm.read_stream('texts', '');

-- tables that cannot be attached
CREATE VIEW v AS SELECT * FROM store.messages;
CREATE TABLE parts (id bigint GENERATED ALWAYS AS IDENTITY, a text, j jsonb) PARTITION BY RANGE (id);
CREATE TABLE part PARTITION OF parts DEFAULT;
CREATE UNLOGGED TABLE unlogged (id bigserial PRIMARY KEY, a text, j jsonb);
CREATE TEMP TABLE temporary (id bigserial PRIMARY KEY, a text, j jsonb);
CREATE TABLE nopos (id bigint PRIMARY KEY, a text, j jsonb);
CREATE TABLE noindex (id bigserial, a text, j jsonb);
CREATE TABLE mayben (id bigint UNIQUE DEFAULT nextval('noindex_id_seq'), a text, j jsonb);
CREATE TABLE cached (id bigint GENERATED ALWAYS AS IDENTITY (CACHE 10) PRIMARY KEY, a text, j jsonb);
CREATE TABLE cycling (id bigint GENERATED ALWAYS AS IDENTITY (CYCLE) PRIMARY KEY, a text, j jsonb);
CREATE TABLE behind (id bigserial PRIMARY KEY, a text, j jsonb);
INSERT INTO behind VALUES (10, 'a', '{}');
CREATE TABLE negative (id bigserial PRIMARY KEY, a text, j jsonb);
INSERT INTO negative VALUES (0, 'a', '{}');
CREATE TABLE small (id smallserial PRIMARY KEY, a text, j jsonb);
SELECT pm.create_log('own');
SET client_min_messages = notice;
DO $$
DECLARE t text; d text; h text;
BEGIN
	FOREACH t IN ARRAY '{v,parts,part,unlogged,temporary,nopos,noindex,mayben,cached,cycling,behind,negative,small}'::text[] LOOP
		BEGIN
			PERFORM pm.attach_log('x', t, 'id', 'a', 'a', 'j');
			RAISE NOTICE '%: attached', t;
		EXCEPTION WHEN OTHERS THEN
			GET STACKED DIAGNOSTICS d = PG_EXCEPTION_DETAIL, h = PG_EXCEPTION_HINT;
			RAISE NOTICE '%: % %| % | %', t, SQLSTATE, SQLERRM, d, h;
		END;
	END LOOP;
END $$;
SET client_min_messages = error;
SELECT pm.attach_log('x', 'own', 'position', 'stream', 'type', 'data');
SELECT pm.create_log('nopos');
SELECT pm.attach_log('x', 0, 'id', 'a', 'a', 'j');

-- partitioned tables: any key, partitions with their columns in another order, statements that name a partition
CREATE TABLE lists (id bigserial, category text NOT NULL, j jsonb, PRIMARY KEY (id, category)) PARTITION BY LIST (category);
CREATE TABLE lists_a PARTITION OF lists FOR VALUES IN ('a');
CREATE TABLE lists_b (j jsonb, gone int, category text NOT NULL, id bigint NOT NULL DEFAULT nextval('lists_id_seq'));
ALTER TABLE lists_b DROP COLUMN gone;
ALTER TABLE lists ATTACH PARTITION lists_b FOR VALUES IN ('b');
SELECT pm.attach_log('lists', 'lists', 'id', 'category', $$coalesce(j->>'type', 'none')$$, 'j');
SELECT pm.attach_log('list_b', 'lists', 'id', 'category', 'category', 'j', filter => $$category = 'b'$$);
INSERT INTO lists (category, j) VALUES ('a', '{"type": "one"}'), ('b', '{}');
INSERT INTO lists_b (category, j) VALUES ('b', '{"type": "direct"}');
INSERT INTO lists_a (category, j) VALUES ('a', '{"type": "direct"}');
SELECT position, stream, type, data FROM pm.read('lists');
SELECT position, stream, type, data FROM pm.read('list_b');
SELECT position, stream, type FROM pm.read_stream('lists', 'b');
SELECT pm.register('lists', 'see', '{lists,list_b}', start_at => 'beginning');
SELECT pm.catch_up('lists');
SELECT log, pos, key FROM seen WHERE log LIKE 'list%' ORDER BY id;
BEGIN;
INSERT INTO lists_b (category) VALUES ('b');
SELECT pm.catch_up('lists');
ROLLBACK;
-- a new partition may have no rows
CREATE TABLE lists_c (LIKE lists INCLUDING DEFAULTS);
INSERT INTO lists_c VALUES (2, 'c', '{}');
ALTER TABLE lists ATTACH PARTITION lists_c FOR VALUES IN ('c');
CREATE TABLE lists_d (LIKE lists INCLUDING DEFAULTS) PARTITION BY RANGE (id);
ALTER TABLE lists_d ATTACH PARTITION lists_c DEFAULT;
ALTER TABLE lists ATTACH PARTITION lists_d FOR VALUES IN ('c');
DELETE FROM lists_c;
ALTER TABLE lists ATTACH PARTITION lists_d FOR VALUES IN ('c');
INSERT INTO lists_c (category) VALUES ('c');
SELECT pm.catch_up('lists');
SELECT log, pos, key FROM seen WHERE log LIKE 'list%' ORDER BY id DESC LIMIT 1;
SELECT pm.attach_log('x', 'lists_c', 'id', 'category', 'category', 'j');
-- a partition has the table's default for positions, or none
ALTER TABLE lists_c ALTER id SET DEFAULT 7;
SELECT * FROM pm.read('lists');
ALTER TABLE lists_c ALTER id SET DEFAULT nextval('noindex_id_seq');
SELECT * FROM pm.read('lists');
ALTER TABLE lists_c ALTER id DROP DEFAULT;
SELECT count(*) FROM pm.read('lists');
CREATE UNLOGGED TABLE lists_e (LIKE lists);
ALTER TABLE lists ATTACH PARTITION lists_e FOR VALUES IN ('e');
SELECT * FROM pm.read('lists');
ALTER TABLE lists DETACH PARTITION lists_e;
ALTER TABLE lists DROP CONSTRAINT lists_pkey;
SELECT * FROM pm.read('lists');
CREATE INDEX ON lists (id);
SELECT count(*) FROM pm.read('lists');
SELECT pm.unregister('lists');
SELECT pm.detach_log('lists'), pm.detach_log('list_b');
INSERT INTO lists_e VALUES (1, 'e', '{}');
ALTER TABLE lists ATTACH PARTITION lists_e FOR VALUES IN ('e');
DROP TABLE lists;

-- a type without a collation of its own
CREATE TABLE mixed (id bigserial PRIMARY KEY, a text COLLATE "C", b text COLLATE "POSIX");
SELECT pm.attach_log('mixed', 'mixed', 'id', 'a', 'a || b', 'NULL');
INSERT INTO mixed (a, b) VALUES ('x', 'y'), ('x', 'z');
SELECT "position", type FROM pm.read('mixed', types => '{xz}');
SELECT pm.detach_log('mixed');
DROP TABLE mixed;

-- rights
CREATE ROLE att_reader;
GRANT USAGE ON SCHEMA pm, store TO att_reader;
GRANT CREATE, USAGE ON SCHEMA public TO att_reader;
SET ROLE att_reader;
SELECT pm.attach_log('readers', 'store.messages', 'global_position', 'stream_name', 'type', 'data');
RESET ROLE;
GRANT SELECT ON store.messages TO att_reader;
SET ROLE att_reader;
SELECT pm.attach_log('store.readers', 'store.messages', 'global_position', 'stream_name', 'type', 'data');
SELECT pm.attach_log('readers', 'store.messages', 'global_position', 'stream_name', 'type', 'data');
SELECT pm.rename_log('readers', 'store.readers');
SELECT pm.attach_log('pg_temp.readers', 'store.messages', 'global_position', 'stream_name', 'type', 'data');
SELECT pm.detach_log('order_category');
SELECT pm.attach_log('payment_category', 'store.messages', 'global_position', 'stream_name', 'type', 'data');
SELECT count(*) FROM pm.read('readers');
SELECT pm.detach_log('readers');
RESET ROLE;

-- detaching
SELECT pm.unregister(name) FROM pm.process_manager ORDER BY name;
SELECT pm.detach_log('messages');
SELECT count(*) FROM pm.read('order_category');
SELECT tgname FROM pg_trigger WHERE tgrelid = 'store.messages'::regclass;
SELECT pm.detach_log('order_category'), pm.detach_log('payment_category');
SELECT tgname FROM pg_trigger WHERE tgrelid = 'store.messages'::regclass;
DROP TABLE texts;
SELECT name FROM pm.log;
SELECT pm.drop_log('own');
DROP SCHEMA store CASCADE;
DROP TABLE own, parts, unlogged, temporary, nopos, mayben, noindex, cached, cycling, behind, negative, small, seen;
DROP FUNCTION see, fail, catch_up, try;
DROP DOMAIN mydomain;
DROP FUNCTION mine;
REVOKE ALL ON SCHEMA pm, public FROM att_reader;
DROP ROLE att_reader;
