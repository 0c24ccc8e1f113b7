-- In a READ ONLY transaction nothing changes: each function that would change something raises an error.
\set SHOW_CONTEXT never
\getenv abs_srcdir PG_ABS_SRCDIR
\set no_workers :abs_srcdir '/sql/no_workers.inc'
\set ECHO none
\i :no_workers
\set ECHO all
SET client_min_messages = error;
SELECT pm.create_log('orders');
CREATE TABLE handled ("position" bigint);
CREATE FUNCTION note(e pm.event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN NULL; END $$;
SELECT pm.register('m', 'note', '{orders}');
SELECT pm.append('orders', 's', 't');
CREATE FUNCTION attempt(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
	RETURN 'done';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || ' ' || SQLERRM;
END $$;
BEGIN READ ONLY;
SELECT statement, attempt('SELECT ' || statement) FROM unnest(ARRAY[
	$$pm.catch_up('m')$$, $$pm.catch_up()$$, $$pm.create_log('o2')$$, $$pm.drop_log('orders')$$, $$pm.append('orders', 's', 't')$$,
	$$pm.append_all('orders', 's', '[{"type": "t"}]')$$, $$pm.trim('orders', 0)$$, $$pm.register('m', 'note', '{orders}')$$,
	$$pm.unfollow('m', 'orders')$$, $$pm.unregister('m')$$, $$pm.pause('m')$$, $$pm.resume('m')$$, $$pm.resume()$$,
	$$pm.seek('m', 'orders', 0)$$, $$pm.retry('m', 'orders', 1)$$, $$pm.discard('m', 'orders', 1)$$,
	$$pm.retry('m')$$, $$pm.discard('m')$$, $$pm.set_owner('m', current_user::text)$$]) WITH ORDINALITY s(statement, n) ORDER BY n;
-- reading is allowed
SELECT count(*) FROM pm.read('orders');
SELECT count(*) FROM pm.read_stream('orders', 's');
SELECT pm.high_water_mark('orders');
SELECT state FROM pm.status;
SELECT pm.wait_for('m', timeout => '0');
ROLLBACK;
SELECT "position" FROM pm.cursor;
-- a handler that makes the transaction read-only
CREATE OR REPLACE FUNCTION note(e pm.event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN SET LOCAL transaction_read_only = on; END $$;
SELECT pm.catch_up('m');
SELECT "position" FROM pm.cursor;

SELECT pm.unregister('m'), pm.drop_log('orders');
DROP TABLE orders, handled;
DROP FUNCTION note(pm.event), attempt(text);
