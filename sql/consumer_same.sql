-- What works the same with consumers as with a handler; and a lease cannot be taken from another consumer
\set SHOW_CONTEXT never
\getenv abs_srcdir PG_ABS_SRCDIR
\set no_workers :abs_srcdir '/sql/no_workers.inc'
\set ECHO none
\i :no_workers
\set ECHO all

SELECT pm.create_log('steps');
SELECT pm.append('steps', key, 'T') FROM unnest('{a,b,a}'::text[]) key;
SELECT pm.register('m', NULL, '{steps}', start_at => 'beginning', lease => '1 h', backoff => '1 h', keep_ended => '1 day');

-- pm.wait_for: what is fetched is not handled, what is advanced is
SELECT "position" FROM pm.fetch('m', 'c');
SELECT pm.wait_for('m', 'steps', 2, '0');
SELECT pm.advance('m', 'c', 0, 'steps', 2);
SELECT pm.wait_for('m', 'steps', 2, '0');
SELECT pm.wait_for('m', timeout => '0');
SELECT pm.fail('m', 'c', 'steps', 3, 'no');
SELECT pm.advance('m', 'c', 0);
SELECT pm.wait_for('m', timeout => '0');
SELECT pm.retry('m', 'steps', 3);
SELECT "position", attempt FROM pm.fetch('m', 'c');
BEGIN;
SELECT pm.save('m', 'c', 'a', '{"n": 2}');
SELECT pm.set_timer('t', '2100-01-01', '{}', 'm', 'c', 'a');
SELECT pm.advance('m', 'c', 0);
COMMIT;
SELECT pm.wait_for('m', timeout => '0');

-- replay: the instances begin again, and nobody holds what was fetched before
SELECT pm.append('steps', 'b', 'T');
SELECT "position" FROM pm.fetch('m', 'c');
SELECT pm.seek('m', 'steps', 0);
SELECT pm.seek('m', 'steps', 0, reset => true);
SELECT pm.advance('m', 'c', 0);
SELECT key FROM pm.instance;
SELECT key FROM pm.timer;
SELECT "position", key, attempt, state FROM pm.fetch('m', 'c');
SELECT pm.advance('m', 'c', 0);
-- again, without instances
SELECT pm.seek('m', 'steps', 0);
SELECT "position" FROM pm.fetch('m', 'c', 1);
SELECT pm.release('m', 'c');

-- an event that was sent; paused
SELECT pm.seek('m', 'steps', 4);
SELECT pm.pause('m');
SELECT pm.send('m', 'a', 'Sent', '{"x": 1}');
SELECT count(*) FROM pm.fetch('m', 'c');
SELECT pm.resume('m');
SELECT log, version, type, data, key, state FROM pm.fetch('m', 'c');
SELECT pm.advance('m', 'c', 0);
-- an instance that is changed by hand
BEGIN;
SELECT pm.set_state('m', 'b', '{"by": "hand"}', 'test');
COMMIT;
SELECT pm.append('steps', 'b', 'T');
SELECT key, state FROM pm.fetch('m', 'c');
SELECT pm.advance('m', 'c', 0);
SELECT pm.end_instance('m', 'b', 'test');
SELECT key, state, reason FROM pm.ended;

-- associations are for handlers
SELECT pm.associate('parcel', '1');
SELECT pm.associated('parcel', '1');
-- and so are the functions that run handlers
SELECT pm.catch_up('m');
SELECT pm.rehearse('m');

-- ---- a lease of another consumer cannot be taken -----------------------------------------------------

SELECT pm.release('m', 'c');
CREATE ROLE consumer_same_one;
CREATE ROLE consumer_same_two;
CREATE ROLE consumer_same_stranger;
GRANT USAGE ON SCHEMA pm TO consumer_same_one, consumer_same_two, consumer_same_stranger;
SELECT pm.alter('m', consumers => '{consumer_same_one,consumer_same_two}');
SELECT pm.append('steps', 'a', 'T');
SET ROLE consumer_same_one;
SELECT "position" FROM pm.fetch('m', 'c');
SET ROLE consumer_same_two;
\set VERBOSITY sqlstate
SELECT "position" FROM pm.fetch('m', 'c');
SELECT pm.advance('m', 'c', 0);
SELECT pm.extend('m', 'c');
SELECT pm.fail('m', 'c', 'steps', 6, 'no');
SELECT pm.save('m', 'c', 'a', '{}');
SELECT pm.finish('m', 'c', 'a');
SELECT pm.set_timer('t', '2100-01-01', '{}', 'm', 'c', 'a');
SELECT pm.release('m', 'c');
SELECT process_manager, consumer, role FROM pm.consumer;
SET ROLE consumer_same_stranger;
SELECT "position" FROM pm.fetch('m', 'c');
SELECT pm.advance('m', 'c', 0);
SELECT pm.release('m', 'c');
SELECT process_manager, consumer, role FROM pm.consumer;
SELECT name FROM pm.process_manager;
SET ROLE consumer_same_one;
SELECT pm.advance('m', 'c', 0);
RESET ROLE;
\set VERBOSITY default

SELECT pm.unregister('m');
DROP OWNED BY consumer_same_one, consumer_same_two, consumer_same_stranger;
DROP ROLE consumer_same_one, consumer_same_two, consumer_same_stranger;
SELECT pm.drop_log('steps');
DROP TABLE steps;
