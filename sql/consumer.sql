-- Consumers: fetch, advance, extend, release
\set SHOW_CONTEXT never
\getenv abs_srcdir PG_ABS_SRCDIR
\set no_workers :abs_srcdir '/sql/no_workers.inc'
\set ECHO none
\i :no_workers
\set ECHO all

SELECT pm.create_log('outbox');
SELECT pm.create_log('other');
SELECT count(pm.append('outbox', 's-' || i % 3, CASE i % 4 WHEN 0 THEN 'Note' ELSE 'Mail' END, jsonb_build_object('i', i))) FROM generate_series(1, 12) i;
SELECT pm.register('mailer', NULL, '{outbox}', start_at => 'beginning', types => '{Mail}', max_attempts => 3, lease => '1 h');
SELECT name, handler, logs, lease, consumers FROM pm.process_manager;
-- lets all leases run out now
CREATE FUNCTION run_out() RETURNS void LANGUAGE sql AS $$ UPDATE pm_catalog.lease SET until = clock_timestamp() $$;

-- one consumer at a time
SELECT log, "position", stream, version, type, data, key, attempt, state, lane, lease_until > now() AS leased FROM pm.fetch('mailer', 'one', 3);
SELECT count(*) FROM pm.fetch('mailer', 'two');
SELECT process_manager, lane, consumer, role = current_user AS me, since <= now() AS since, lease_until > now() AS leased, fetched, oldest = (SELECT recorded_at FROM outbox WHERE "position" = 1) AS oldest FROM pm.consumer;
SELECT log, "position", state, reason, hint FROM pm.status;
-- the same events again, whatever has been appended since, and however many are asked for
SELECT "position", attempt FROM pm.fetch('mailer', 'one', 3);
SELECT "position", attempt FROM pm.fetch('mailer', 'one');
-- fewer: the others no longer count as fetched
SELECT "position", attempt FROM pm.fetch('mailer', 'one', 2);
SELECT pm.advance('mailer', 'one', 0, 'outbox', 3);
SELECT pm.advance('mailer', 'two', 0);
SELECT pm.advance('mailer', 'one', 1);
SELECT pm.advance('mailer', 'one', 0, 'other');
SELECT pm.advance('mailer', 'one', 0, NULL, 1);
SELECT pm.advance('mailer', 'one', 0, 'outbox', 1);
SELECT "position", attempt FROM pm.fetch('mailer', 'one');
SELECT pm.advance('mailer', 'one', 0);
SELECT "position" FROM pm.cursor;
SELECT handled, lag FROM pm.status;
SELECT "position", type, attempt FROM pm.fetch('mailer', 'one');
-- events of other types are passed with the last one that was fetched
SELECT pm.advance('mailer', 'one', 0, 'outbox', 11);
SELECT "position" FROM pm.cursor;
SELECT count(*) FROM pm.fetch('mailer', 'one');
SELECT "position" FROM pm.cursor;
-- nothing was fetched, but the lease has not run out
SELECT fetched, oldest FROM pm.consumer;
SELECT pm.advance('mailer', 'one', 0);
SELECT pm.release('mailer', 'one');
SELECT * FROM pm.consumer;
SELECT pm.advance('mailer', 'one', 0);
SELECT pm.extend('mailer', 'one');
-- an empty fetch leases nothing
SELECT count(*) FROM pm.fetch('mailer', 'one');
SELECT * FROM pm.consumer;

-- a lease that runs out: the tries are counted, and from max_attempts on events come one at a time
SELECT count(pm.append('outbox', 's-' || i % 3, 'Mail', jsonb_build_object('i', i))) FROM generate_series(13, 16) i;
SELECT "position", attempt FROM pm.fetch('mailer', 'one');
SELECT run_out();
SELECT fetched, lease_until <= clock_timestamp() AS out FROM pm.consumer;
SELECT state, reason, hint FROM pm.status;
\set VERBOSITY terse
SELECT pm.advance('mailer', 'one', 0);
\set VERBOSITY default
SELECT pm.extend('mailer', 'one');
SELECT "position", attempt FROM pm.fetch('mailer', 'two', 2);
SELECT pm.advance('mailer', 'one', 0);
SELECT run_out();
-- those that were fetched twice come alone, the others do not
SELECT "position", attempt FROM pm.fetch('mailer', 'two');
SELECT pm.advance('mailer', 'two', 0);
SELECT "position", attempt FROM pm.fetch('mailer', 'two');
-- an event comes alone, and for the last time
SELECT run_out();
SELECT "position", attempt FROM pm.fetch('mailer', 'two');
SELECT log, "position", key, state, attempts, message, sqlstate FROM pm.parked;
SELECT pm.advance('mailer', 'two', 0);
SELECT "position", handled, errors, parked, dead FROM pm.status;
-- later events of its key wait behind it
SELECT count(pm.append('outbox', 's-' || i % 3, 'Mail', jsonb_build_object('i', i))) FROM generate_series(17, 19) i;
SELECT "position", key, attempt FROM pm.fetch('mailer', 'one');
SELECT count(*) FROM pm.fetch('mailer', 'two');
SELECT pm.release('mailer', 'two');
SELECT "position", key, attempt FROM pm.fetch('mailer', 'one');
SELECT "position", state FROM pm.parked ORDER BY 1;
SELECT pm.advance('mailer', 'one', 0);
-- a person retries it: it comes alone, then the events behind it
SELECT pm.retry('mailer');
SELECT "position", key, attempt FROM pm.fetch('mailer', 'one');
SELECT "position", key, attempt FROM pm.fetch('mailer', 'one');
SELECT fetched FROM pm.consumer;
SELECT pm.advance('mailer', 'one', 0, 'outbox', 14);
SELECT "position", state FROM pm.parked ORDER BY 1;
SELECT "position", key, attempt FROM pm.fetch('mailer', 'one');
SELECT pm.advance('mailer', 'one', 0);
SELECT * FROM pm.parked;
SELECT handled, errors FROM pm.status;

-- release counts nothing
SELECT pm.append('outbox', 's', 'Mail');
SELECT "position", attempt FROM pm.fetch('mailer', 'one');
SELECT pm.release('mailer', 'one');
SELECT "position", attempt FROM pm.fetch('mailer', 'two');
SELECT pm.extend('mailer', 'two') > now() + '59 min';

-- what changes a process manager
SELECT pm.pause('mailer');
SELECT count(*) FROM pm.fetch('mailer', 'two');
SELECT state, reason FROM pm.status;
SELECT pm.advance('mailer', 'two', 0);
SELECT pm.resume('mailer');
SELECT pm.append('outbox', 's', 'Mail');
SELECT "position", attempt FROM pm.fetch('mailer', 'two');
SELECT pm.seek('mailer', 'outbox', 18);
SELECT pm.advance('mailer', 'two', 0);
SELECT "position", attempt FROM pm.fetch('mailer', 'two');
SELECT pm.alter('mailer', lanes => 2);
SELECT pm.advance('mailer', 'two', 0);
SELECT DISTINCT lane, count(*) FROM pm.fetch('mailer', 'two') GROUP BY lane;
SELECT count(*) > 0 AS other_lane FROM pm.fetch('mailer', 'one');
SELECT lane, consumer FROM pm.consumer ORDER BY lane;
SELECT pm.advance('mailer', 'one', lane) FROM pm.consumer WHERE consumer = 'one';
SELECT pm.advance('mailer', 'two', lane) FROM pm.consumer WHERE consumer = 'two';
SELECT sum(handled) FROM pm.status;
SELECT pm.unregister('mailer');
SELECT count(*) FROM pm_catalog.lease;
SELECT count(*) FROM pm_catalog.fetched;

-- correlate, which runs as the owner; NULL: not for it
CREATE FUNCTION key_of(e pm.event) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	IF e.data ? 'fail' THEN
		RAISE 'no key for %', e."position";
	END IF;
	RETURN e.data ->> 'key';
END $$;
SELECT pm.register('keyed', NULL, '{other}', 'key_of');
SELECT pm.append('other', 's', 't', '{"key": "a"}'), pm.append('other', 's', 't'), pm.append('other', 's', 't', '{"key": "b"}'), pm.append('other', 's', 't', '{"fail": 1}'), pm.append('other', 's', 't', '{"key": "c"}');
SELECT "position", key FROM pm.fetch('keyed', 'c');
SELECT pm.advance('keyed', 'c', 0);
SELECT "position", key FROM pm.fetch('keyed', 'c');
SELECT "position", state, reason FROM pm.status;
UPDATE other SET data = '{"key": "d"}' WHERE "position" = 4;
SELECT pm.resume('keyed');
SELECT "position", key FROM pm.fetch('keyed', 'c');
SELECT pm.unregister('keyed');

-- arguments
CREATE FUNCTION handle(e pm.event) RETURNS void LANGUAGE plpgsql AS 'BEGIN END';
SELECT pm.register('handled', 'handle', '{other}', consumers => ARRAY[current_user::text]);
SELECT pm.register('handled', 'handle', '{other}', start_at => 'end');
SELECT pm.alter('handled', consumers => ARRAY[current_user::text]);
SELECT * FROM pm.fetch('handled', 'c');
SELECT pm.register('mailer', NULL, '{other}', start_at => 'end', consumers => '{no_such_role}');
SELECT pm.register('mailer', NULL, '{other}', start_at => 'end', lease => '0');
SELECT pm.register('mailer', NULL, '{other}', start_at => 'end', lease => '1 day');
SELECT pm.register('mailer', NULL, '{other}', start_at => 'end');
SELECT lease FROM pm.process_manager WHERE name = 'mailer';
SELECT * FROM pm.fetch(NULL, 'c');
SELECT * FROM pm.fetch('mailer', NULL);
SELECT * FROM pm.fetch('mailer', '');
SELECT * FROM pm.fetch('mailer', repeat('x', 201));
SELECT * FROM pm.fetch('mailer', 'c', 0);
SELECT * FROM pm.fetch('mailer', 'c', NULL);
SELECT * FROM pm.fetch('nothing', 'c');
SELECT pm.advance('mailer', 'c', NULL);
SELECT pm.catch_up('mailer');
SELECT pm.catch_up();
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT * FROM pm.fetch('mailer', 'c');
ROLLBACK;
-- from a handler to consumers, and back
SELECT pm.register('handled', NULL, '{other}');
SELECT pm.append('other', 's', 't');
SELECT count(*) FROM pm.fetch('handled', 'c');
SELECT pm.register('handled', 'handle', '{other}');
SELECT pm.advance('handled', 'c', 0);
SELECT * FROM pm.consumer;

-- an error while it waits ends the statement, and nothing else of the session
CREATE ROLE regress_pm_waits LOGIN;
GRANT USAGE ON SCHEMA pm TO regress_pm_waits;
GRANT SELECT ON other TO regress_pm_waits;
SET ROLE regress_pm_waits;
SELECT pm.register('waiting', NULL, '{other}', start_at => 'beginning');
RESET ROLE;
REVOKE SELECT ON other FROM regress_pm_waits;
SELECT count(*) FROM pm.fetch('waiting', 'c', wait => '10 s');
SELECT count(*) FROM pm.fetch('handled', 'c');
SELECT pm.unregister('waiting');
REVOKE USAGE ON SCHEMA pm FROM regress_pm_waits;
DROP ROLE regress_pm_waits;

SELECT pm.unregister(name) FROM pm.process_manager ORDER BY name;
DROP FUNCTION run_out, key_of, handle;
SELECT pm.drop_log('outbox'), pm.drop_log('other');
DROP TABLE outbox, other;
