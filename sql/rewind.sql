-- A sequence that was set back: no event can be written where readers have already been, whatever
-- the writing session or the reading session has seen.
\set SHOW_CONTEXT never
\getenv abs_srcdir PG_ABS_SRCDIR
\set no_workers :abs_srcdir '/sql/no_workers.inc'
\set ECHO none
\i :no_workers
\set ECHO all
SELECT pm.create_log('orders');
CREATE TABLE handled (pos bigint);
CREATE FUNCTION note(e pm.event) RETURNS void LANGUAGE sql AS $$ INSERT INTO handled VALUES (e.position) $$;
SELECT pm.register('m', 'note', '{orders}');
-- positions 1 to 5 are used, 6 to 10 are gaps, 11 is used
INSERT INTO orders (stream, type) SELECT 's', 't' FROM generate_series(1, 5);
BEGIN;
INSERT INTO orders (stream, type) SELECT 's', 't' FROM generate_series(1, 5);
ROLLBACK;
INSERT INTO orders (stream, type) VALUES ('s', 't');
SELECT pm.catch_up('m');
SELECT setval('orders_position_seq', 5);
INSERT INTO orders (stream, type) VALUES ('lost', 't');
\connect -
SET client_min_messages = error;
INSERT INTO orders (stream, type) VALUES ('lost', 't');
SELECT pm.catch_up('m');
-- two positions were drawn and refused: the sequence is set past the last one that was read
SELECT setval('orders_position_seq', 11);
INSERT INTO orders (stream, type) VALUES ('found', 't');
SELECT pm.catch_up('m');
SELECT array_agg(pos ORDER BY pos) FROM handled;
-- during a statement, positions of this transaction do not count as read
CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pm.catch_up('m'); RETURN NEW; END $$;
CREATE TRIGGER meddle BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION meddle();
INSERT INTO orders (stream, type) VALUES ('meddled', 't');
DROP TRIGGER meddle ON orders;
-- nor can a position be written again after this transaction has handled its event
BEGIN;
INSERT INTO orders (stream, type) VALUES ('kept', 't');
SAVEPOINT a;
INSERT INTO orders (stream, type) VALUES ('undone', 't') RETURNING position AS undone \gset
ROLLBACK TO a;
SELECT pm.catch_up('m');
INSERT INTO orders (position, stream, type) OVERRIDING SYSTEM VALUE VALUES (:undone, 'lost', 't');
ROLLBACK;

SELECT pm.unregister('m'), pm.drop_log('orders');
DROP TABLE orders, handled;
DROP FUNCTION note(pm.event), meddle();
