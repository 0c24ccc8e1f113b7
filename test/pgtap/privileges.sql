-- The privilege matrix: for every function and relation of the schemas pm and pm_catalog, the SQLSTATE and the visible rows
-- for a superuser, the owner, a member of the owner's role, another role with USAGE on schema pm and a role without it.
-- The matrix is compared with the catalog: anything new without an expectation fails.
BEGIN;
SELECT no_plan();

CREATE ROLE pmtest_alice LOGIN;
CREATE ROLE pmtest_bob LOGIN;			-- a member of alice
CREATE ROLE pmtest_carol LOGIN;			-- another role
CREATE ROLE pmtest_dave LOGIN;			-- without USAGE
CREATE ROLE pmtest_monitor LOGIN;
CREATE ROLE pmtest_reader LOGIN;		-- may SELECT one log
GRANT pmtest_alice TO pmtest_bob;
GRANT pg_monitor TO pmtest_monitor;
GRANT USAGE ON SCHEMA pm TO pmtest_alice, pmtest_carol, pmtest_monitor, pmtest_reader;
CREATE SCHEMA a AUTHORIZATION pmtest_alice;
CREATE SCHEMA su;
GRANT USAGE ON SCHEMA su TO PUBLIC;

CREATE FUNCTION su.nothing(e pm.event) RETURNS void LANGUAGE sql AS '';
SET LOCAL SESSION AUTHORIZATION pmtest_alice;
SELECT pm.create_log('a.orders');
SELECT pm.create_log('a.payments');
SELECT pm.create_log('a.loose');
CREATE FUNCTION a.handle(e pm.event) RETURNS void LANGUAGE sql AS '';
SELECT pm.append('a.orders', 'o-1', 'Placed', '{"secret": 1}');
SELECT pm.register('m', 'a.handle', '{a.orders,a.payments}', start_at => 'beginning');
-- with an instance, a timer and parked events
CREATE FUNCTION a.keep(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF e.type = 'Bad' THEN RAISE 'no secret %', e.data; END IF;
	PERFORM pm.set_timer('remind', '2100-01-01', e.data);
	RETURN e.data;
END $$;
SELECT pm.append('a.orders', 'o-2', 'Bad', '{"secret": 2}') AS bad, pm.append('a.orders', 'o-2', 'Placed', '{"secret": 3}') AS behind \gset
SELECT pm.register('i', 'a.keep', '{a.orders}', start_at => 'beginning', backoff => '1 hour');
RESET SESSION AUTHORIZATION;
-- What pm.catch_up('i', on_failure => 'policy') would leave. Only a session of alice's own may call that.
UPDATE pm_catalog.cursor SET "position" = :behind WHERE process_manager = 'i';
INSERT INTO pm_catalog.instance VALUES ('i', 'o-1', '{"secret": 1}', now(), now());
INSERT INTO pm_catalog.association VALUES ('i', 'order', 'secret', 'o-1'), ('si', 'order', 'secret', 'p-1');
INSERT INTO pm_catalog.ended VALUES ('i', 'o-0', now(), now(), '{"secret": 1}', '{"secret": 1}', NULL, NULL);
INSERT INTO pm_catalog.journal (process_manager, key, started_at, seq, type, handled_at, state) VALUES ('i', 'o-1', now(), 1, 'Placed', now(), '{"secret": 1}');
INSERT INTO pm_catalog.timer (process_manager, key, type, due, data, metadata) VALUES ('i', 'o-1', 'remind', '2100-01-01', '{"secret": 1}', '{}');
INSERT INTO pm_catalog.parked (process_manager, key, log, "position", state, stream, type, data, metadata, recorded_at, attempts, retry_at, message)
VALUES ('i', 'o-2', 'a.orders', :bad, 'failing', 'o-2', 'Bad', '{"secret": 2}', '{}', now(), 1, now() + '1 hour', 'no secret'),
	('i', 'o-2', 'a.orders', :behind, 'behind', 'o-2', 'Placed', '{"secret": 3}', '{}', now(), 0, NULL, NULL);
-- process managers for consumers: carol may be a consumer of one, and not of the other
SET LOCAL SESSION AUTHORIZATION pmtest_alice;
SELECT pm.register('c', NULL, '{a.payments}', start_at => 'end', consumers => '{pmtest_carol}');
SELECT pm.register('cc', NULL, '{a.payments}', start_at => 'end');
-- two events that instances wait for an answer to
SELECT pm.append('a.payments', 'asked', 't') AS asked, pm.append('a.loose', 'asked', 't') AS unread \gset
RESET SESSION AUTHORIZATION;
INSERT INTO pm_catalog.reply_to SELECT l, n, p.id, 'o-1', 't', '{}' FROM pm_catalog.process_manager p, (VALUES ('a.payments', :asked), ('a.loose', :unread)) v(l, n) WHERE p.name = 'i';
INSERT INTO pm_catalog.lease (process_manager, lane, consumer, role, since, until)
VALUES ('c', 0, 'w', 'pmtest_carol'::regrole, now(), 'infinity'), ('cc', 0, 'w', 'pmtest_alice'::regrole, now(), 'infinity');
SELECT pm.create_log('su.private');
-- logs over a table that another program made: attached by alice, who owns the table, and by carol, who may read it
SET LOCAL SESSION AUTHORIZATION pmtest_alice;
CREATE TABLE a.store (id bigserial PRIMARY KEY, stream text, type text, data jsonb);
SELECT pm.attach_log('a.attached', 'a.store', 'id', 'stream', 'type', 'data');
RESET SESSION AUTHORIZATION;
INSERT INTO pm_catalog.erasure (log, positions, replacement, done, waits_for, system_identifier, database)
SELECT l, '{1}', '{}', '{}', '{si}', 0, 0 FROM unnest('{a.orders,su.private,gone}'::text[]) l;
SELECT pm.append('su.private', 'p-1', 'Secret');
CREATE FUNCTION su.keep(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN PERFORM pm.set_timer('remind', '2100-01-01'); RETURN '{}'; END $$;
SELECT pm.register('s', 'su.nothing', '{su.private}', start_at => 'beginning');
SELECT pm.register('si', 'su.keep', '{su.private}', start_at => 'beginning', journal => true, keep_ended => '1 day');
SELECT pm.catch_up('si');
GRANT USAGE ON SCHEMA a TO pmtest_reader;
GRANT SELECT ON a.payments TO pmtest_reader;

-- The SQLSTATE of a statement that runs as this role. Its effects are undone.
CREATE FUNCTION pg_temp.attempt(role text, statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	IF role <> 'super' THEN
		EXECUTE format('SET LOCAL SESSION AUTHORIZATION %I', 'pmtest_' || role);
	END IF;
	EXECUTE statement;
	RAISE SQLSTATE 'PMOK0';
EXCEPTION WHEN OTHERS THEN
	RETURN CASE SQLSTATE WHEN 'PMOK0' THEN '00000' ELSE SQLSTATE END;
END $$;
-- The result of a query that runs as this role, as text.
CREATE FUNCTION pg_temp.answer(role text, query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	BEGIN
		IF role <> 'super' THEN
			EXECUTE format('SET LOCAL SESSION AUTHORIZATION %I', 'pmtest_' || role);
		END IF;
		EXECUTE query INTO result;
		RAISE SQLSTATE 'PMOK0';
	EXCEPTION
		WHEN SQLSTATE 'PMOK0' THEN NULL;
		WHEN OTHERS THEN result := SQLSTATE;
	END;
	RETURN result;
END $$;

CREATE TEMP TABLE matrix (n serial, statement text, super text, alice text, bob text, carol text, dave text);
INSERT INTO matrix (statement, super, alice, bob, carol, dave) VALUES
	($$SELECT pm.create_log('a.more')$$,					'00000', '00000', '00000', '42501', '42501'),
	($$SELECT pm.create_log('su.more')$$,					'00000', '42501', '42501', '42501', '42501'),
	($$SELECT pm.rename_log('a.loose', 'a.loose')$$,		'00000', '00000', '00000', '42501', '42501'),
	($$SELECT pm.rename_log('a.loose', 'su.loose')$$,		'00000', '42501', '42501', '42501', '42501'),
	($$SELECT pm.create_replica_log('a.replica')$$,			'00000', '00000', '00000', '42501', '42501'),
	($$SELECT pm.create_replica_log('su.replica')$$,		'00000', '42501', '42501', '42501', '42501'),
	($$SELECT pm.partition_log('a.loose', 0, 'p')$$,		'42501', '55000', '42501', '42501', '42501'),
	($$SELECT pm.drop_log('a.loose')$$,						'00000', '00000', '00000', '42501', '42501'),
	($$SELECT pm.drop_log('a.orders')$$,					'2BP01', '2BP01', '2BP01', '42501', '42501'),
	($$SELECT pm.attach_log('a.more', 'a.store', 'id', 'stream', 'type', 'data')$$,		'00000', '00000', '00000', '42501', '42501'),
	($$SELECT pm.attach_log('su.more', 'a.store', 'id', 'stream', 'type', 'data')$$,	'00000', '42501', '42501', '42501', '42501'),
	($$SELECT pm.attach_log('a.attached', 'a.store', 'id', 'stream', 'type', 'data')$$,	'00000', '00000', '00000', '42501', '42501'),
	($$SELECT pm.detach_log('a.attached')$$,				'00000', '00000', '00000', '42501', '42501'),
	($$SELECT pm.append('a.orders', 's', 't')$$,			'00000', '00000', '00000', '42501', '42501'),
	($$SELECT pm.append('su.private', 's', 't')$$,			'00000', '42501', '42501', '42501', '42501'),
	($$SELECT pm.rehearse('nosuch')$$,						'42704', '42501', '42501', '42501', '42501'),
	($$SELECT pm.append('a.orders', 's', 't', id => 'i')$$,	'00000', '00000', '00000', '42501', '42501'),
	($$SELECT pm.append_all('a.orders', 's', '[{"type": "t"}]')$$,	'00000', '00000', '00000', '42501', '42501'),
	($$SELECT pm.append('a.orders', 'o-1', 't', expected_version => 7)$$,	'PM001', 'PM001', 'PM001', '42501', '42501'),
	($$SELECT pm.read('a.orders')$$,						'00000', '00000', '00000', '42501', '42501'),
	($$SELECT pm.read('su.private')$$,						'00000', '42501', '42501', '42501', '42501'),
	($$SELECT pm.read_stream('a.orders', 'o-1')$$,			'00000', '00000', '00000', '42501', '42501'),
	($$SELECT pm.high_water_mark('a.orders')$$,				'00000', '00000', '00000', '42501', '42501'),
	($$SELECT pm.trace('a.orders', 1)$$,					'00000', '00000', '00000', '42501', '42501'),
	($$SELECT pm.trim('a.loose', 0)$$,						'00000', '00000', '00000', '42501', '42501'),
	($$SELECT pm.trim('a.orders', 1)$$,						'55000', '55000', '55000', '42501', '42501'),
	($$SELECT pm.keep_parked('a.loose', 0)$$,				'00000', '00000', '00000', '42501', '42501'),
	-- a superuser's process manager takes only handlers that a superuser owns
	($$SELECT pm.register('n', 'a.handle', '{a.orders}', start_at => 'end')$$,	'42501', '00000', '00000', '42501', '42501'),
	($$SELECT pm.register('n', 'su.nothing', '{a.orders}', start_at => 'end')$$,	'00000', '00000', '00000', '42501', '42501'),
	($$SELECT pm.register('n', 'su.nothing', '{su.private}', start_at => 'end')$$,	'00000', '42501', '42501', '42501', '42501'),
	($$SELECT pm.register('m', 'a.handle', '{a.orders,a.payments}')$$,	'00000', '00000', '00000', '42501', '42501'),
	($$SELECT pm.register('s', 'su.nothing', '{su.private}')$$,	'00000', '42501', '42501', '42501', '42501'),
	($$SELECT pm.alter('m', park_limit => 1)$$,				'00000', '00000', '00000', '42501', '42501'),
	($$SELECT pm.alter('s', park_limit => 1)$$,				'00000', '42501', '42501', '42501', '42501'),
	($$SELECT pm.unfollow('m', 'a.payments')$$,				'00000', '00000', '00000', '42501', '42501'),
	($$SELECT pm.unregister('m')$$,							'00000', '00000', '00000', '42501', '42501'),
	($$SELECT pm.unregister('s')$$,							'00000', '42501', '42501', '42501', '42501'),
	($$SELECT pm.pause('m')$$,								'00000', '00000', '00000', '42501', '42501'),
	($$SELECT pm.pause('s')$$,								'00000', '42501', '42501', '42501', '42501'),
	($$SELECT pm.resume('m')$$,								'00000', '00000', '00000', '42501', '42501'),
	($$SELECT pm.resume()$$,								'00000', '00000', '00000', '00000', '42501'),
	($$SELECT pm.set_owner('m', 'pmtest_bob')$$,			'00000', '42501', '00000', '42501', '42501'),
	($$SELECT pm.set_owner('s', 'pmtest_carol')$$,			'42501', '42501', '42501', '42501', '42501'),
	($$SELECT pm.seek('m', 'a.orders', 0)$$,				'00000', '00000', '00000', '42501', '42501'),
	($$SELECT pm.seek('s', 'su.private', 0)$$,				'00000', '42501', '42501', '42501', '42501'),
	($$SELECT pm.seek('i', 'a.orders', 0)$$,				'55000', '55000', '55000', '42501', '42501'),
	($$SELECT pm.seek('i', 'a.orders', 0, true)$$,			'00000', '00000', '00000', '42501', '42501'),
	-- other roles do not learn what is parked
	(format($$SELECT pm.retry('i', 'a.orders', %s)$$, :bad),	'00000', '00000', '00000', '42501', '42501'),
	(format($$SELECT pm.retry('i', 'a.orders', %s, 'o-2')$$, :bad),	'00000', '00000', '00000', '42501', '42501'),
	(format($$SELECT pm.discard('i', 'a.orders', %s, 'o-3')$$, :bad),	'42704', '42704', '42704', '42501', '42501'),
	(format($$SELECT pm.retry('i', 'a.orders', %s)$$, :behind),	'55000', '55000', '55000', '42501', '42501'),
	($$SELECT pm.retry('i', 'a.orders', 999999)$$,			'42704', '42704', '42704', '42501', '42501'),
	($$SELECT pm.retry('i', NULL, 999999)$$,				'42704', '42704', '42704', '42501', '42501'),
	($$SELECT pm.retry('s', 'su.private', 1)$$,				'42704', '42501', '42501', '42501', '42501'),
	(format($$SELECT pm.discard('i', 'a.orders', %s)$$, :bad),	'00000', '00000', '00000', '42501', '42501'),
	(format($$SELECT pm.discard('i', 'a.orders', %s)$$, :behind),	'00000', '00000', '00000', '42501', '42501'),
	($$SELECT pm.discard('i', 'a.orders', 999999)$$,		'42704', '42704', '42704', '42501', '42501'),
	($$SELECT pm.discard('i', NULL, 999999)$$,				'42704', '42704', '42704', '42501', '42501'),
	($$SELECT pm.discard('s', 'su.private', 1)$$,			'42704', '42501', '42501', '42501', '42501'),
	($$SELECT pm.retry('i')$$,								'00000', '00000', '00000', '42501', '42501'),
	($$SELECT pm.retry('s')$$,								'00000', '42501', '42501', '42501', '42501'),
	($$SELECT pm.discard('i')$$,							'00000', '00000', '00000', '42501', '42501'),
	($$SELECT pm.discard('s')$$,							'00000', '42501', '42501', '42501', '42501'),
	-- a role that may be a consumer
	($$SELECT pm.fetch('c', 'w')$$,							'00000', '00000', '00000', '00000', '42501'),
	($$SELECT pm.advance('c', 'w', 0)$$,					'00000', '00000', '00000', '00000', '42501'),
	($$SELECT pm.advance('c', 'other', 0)$$,				'PM002', 'PM002', 'PM002', 'PM002', '42501'),
	($$SELECT pm.extend('c', 'w')$$,						'00000', '00000', '00000', '00000', '42501'),
	($$SELECT pm.release('c', 'w')$$,						'00000', '00000', '00000', '00000', '42501'),
	($$SELECT pm.fail('c', 'w', 'a.payments', 1, 'e')$$,		'22003', '22003', '22003', '22003', '42501'),
	($$SELECT pm.save('c', 'w', 'k', '{}')$$,				'00000', '00000', '00000', '00000', '42501'),
	($$SELECT pm.finish('c', 'w', 'k')$$,					'42704', '42704', '42704', '42704', '42501'),
	($$SELECT pm.set_timer('t', '2100-01-01', '{}', 'c', 'w', 'k')$$,	'42704', '42704', '42704', '42704', '42501'),
	($$SELECT pm.cancel_timer('t', 'c', 'w', 'k')$$,			'00000', '00000', '00000', '00000', '42501'),
	(format($$SELECT pm.reply('a.payments', %s, 't')$$, :asked),	'00000', '00000', '00000', '00000', '42501'),
	($$SELECT pm.reply('a.payments', 999999, 't')$$,			'42704', '42704', '42704', '42704', '42501'),
	-- which no consumers follow
	(format($$SELECT pm.reply('a.loose', %s, 't')$$, :unread),	'42501', '42501', '42501', '42501', '42501'),
	($$DELETE FROM pm_catalog.reply_to$$,					'00000', '42501', '42501', '42501', '42501'),
	-- may not change the process manager
	($$SELECT pm.pause('c')$$,								'00000', '00000', '00000', '42501', '42501'),
	($$SELECT pm.resume('c')$$,								'00000', '00000', '00000', '42501', '42501'),
	($$SELECT pm.seek('c', 'a.payments', 0)$$,				'00000', '00000', '00000', '42501', '42501'),
	($$SELECT pm.alter('c', lease => '1 h')$$,				'00000', '00000', '00000', '42501', '42501'),
	($$SELECT pm.unregister('c')$$,							'00000', '00000', '00000', '42501', '42501'),
	($$SELECT pm.retry('c')$$,								'00000', '00000', '00000', '42501', '42501'),
	($$SELECT pm.discard('c')$$,							'00000', '00000', '00000', '42501', '42501'),
	-- and a stranger
	($$SELECT pm.fetch('cc', 'w')$$,						'00000', '00000', '00000', '42501', '42501'),
	($$SELECT pm.advance('cc', 'w', 0)$$,					'00000', '00000', '00000', '42501', '42501'),
	($$SELECT pm.extend('cc', 'w')$$,						'00000', '00000', '00000', '42501', '42501'),
	($$SELECT pm.release('cc', 'w')$$,						'00000', '00000', '00000', '42501', '42501'),
	($$SELECT pm.fail('cc', 'w', 'a.payments', 1, 'e')$$,	'22003', '22003', '22003', '42501', '42501'),
	($$SELECT pm.save('cc', 'w', 'k', '{}')$$,				'00000', '00000', '00000', '42501', '42501'),
	($$SELECT pm.finish('cc', 'w', 'k')$$,					'42704', '42704', '42704', '42501', '42501'),
	($$SELECT pm.set_timer('t', '2100-01-01', '{}', 'cc', 'w', 'k')$$,	'42704', '42704', '42704', '42501', '42501'),
	($$SELECT pm.cancel_timer('t', 'cc', 'w', 'k')$$,		'00000', '00000', '00000', '42501', '42501'),
	($$SELECT pm.fetch('m', 'w')$$,							'42809', '42809', '42809', '42501', '42501'),
	-- outside of a handler
	($$SELECT pm.set_timer('t', '2100-01-01')$$,			'55000', '55000', '55000', '55000', '42501'),
	($$SELECT pm.cancel_timer('t')$$,						'55000', '55000', '55000', '55000', '42501'),
	($$SELECT pm.done()$$,									'00000', '00000', '00000', '00000', '42501'),
	($$SELECT pm.defer('1 h')$$,							'PM004', 'PM004', 'PM004', 'PM004', '42501'),
	($$SELECT pm.fail_permanently('x')$$,					'PM003', 'PM003', 'PM003', 'PM003', '42501'),
	-- only the owner can run its handlers, and not in a session that has used SET SESSION AUTHORIZATION
	($$SELECT pm.catch_up('m')$$,							'42501', '42501', '42501', '42501', '42501'),
	($$SELECT pm.catch_up('s')$$,							'00000', '42501', '42501', '42501', '42501'),
	($$SELECT pm.catch_up()$$,								'00000', '42501', '42501', '42501', '42501'),
	($$SELECT pm.associate('a', 'b')$$,						'55000', '55000', '55000', '55000', '42501'),
	($$SELECT pm.dissociate('a', 'b')$$,					'55000', '55000', '55000', '55000', '42501'),
	($$SELECT pm.associated('a', 'b')$$,					'55000', '55000', '55000', '55000', '42501'),
	($$TABLE pm_catalog.association$$,						'00000', '42501', '42501', '42501', '42501'),
	($$SELECT pm.diagram()$$,								'00000', '00000', '00000', '00000', '42501'),
	($$SELECT pm.key()$$,									'00000', '00000', '00000', '00000', '42501'),
	($$SELECT pm.now()$$,									'00000', '00000', '00000', '00000', '42501'),
	-- this transaction has written to the logs
	($$SELECT pm.wait_for('m')$$,							'55000', '55000', '55000', '42501', '42501'),
	($$SELECT pm.wait_for('m', 'a.orders', 1, '0')$$,		'55000', '55000', '55000', '42501', '42501'),
	($$SELECT * FROM pm.log$$,								'00000', '00000', '00000', '00000', '42501'),
	($$SELECT * FROM pm.process_manager$$,					'00000', '00000', '00000', '00000', '42501'),
	($$SELECT * FROM pm.cursor$$,							'00000', '00000', '00000', '00000', '42501'),
	($$SELECT * FROM pm.status$$,							'00000', '00000', '00000', '00000', '42501'),
	($$SELECT * FROM pm.instance$$,							'00000', '00000', '00000', '00000', '42501'),
	($$SELECT * FROM pm.timer$$,							'00000', '00000', '00000', '00000', '42501'),
	($$SELECT pm.send('i', 'o-1', 't')$$,					'00000', '00000', '00000', '42501', '42501'),
	($$SELECT pm.send('si', 'p-1', 't')$$,					'00000', '42501', '42501', '42501', '42501'),
	-- the owner of the table itself: its triggers would run as the caller
	($$SELECT pm.erase('a.orders', 'o-1')$$,				'42501', '00000', '42501', '42501', '42501'),
	($$SELECT pm.erase('su.private', 'p-1')$$,				'00000', '42501', '42501', '42501', '42501'),
	($$SELECT pm.end_instance('i', 'o-1', 'r')$$,			'00000', '00000', '00000', '42501', '42501'),
	($$SELECT pm.end_instance('si', 'p-1', 'r')$$,			'00000', '42501', '42501', '42501', '42501'),
	($$SELECT pm.set_state('i', 'o-1', '{}', 'r')$$,		'00000', '00000', '00000', '42501', '42501'),
	($$SELECT pm.set_state('si', 'p-1', '{}', 'r')$$,		'00000', '42501', '42501', '42501', '42501'),
	($$SELECT pm.history('i', 'o-1')$$,						'00000', '00000', '00000', '42501', '42501'),
	($$SELECT pm.history('si', 'p-1')$$,					'00000', '42501', '42501', '42501', '42501'),
	($$SELECT * FROM pm_catalog.history_row$$,				'00000', '42501', '42501', '42501', '42501'),
	($$DELETE FROM pm_catalog.sent$$,						'00000', '42501', '42501', '42501', '42501'),
	($$SELECT * FROM pm.association$$,						'00000', '00000', '00000', '00000', '42501'),
	($$SELECT * FROM pm.ended$$,							'00000', '00000', '00000', '00000', '42501'),
	($$SELECT * FROM pm.journal$$,							'00000', '00000', '00000', '00000', '42501'),
	($$SELECT * FROM pm.parked$$,							'00000', '00000', '00000', '00000', '42501'),
	($$SELECT * FROM pm.worker$$,							'00000', '00000', '00000', '00000', '42501'),
	($$SELECT * FROM pm.consumer$$,							'00000', '00000', '00000', '00000', '42501'),
	($$SELECT * FROM pm.erasure$$,							'00000', '00000', '00000', '00000', '42501'),
	($$DELETE FROM pm_catalog.erasure$$,					'00000', '42501', '42501', '42501', '42501'),
	($$DELETE FROM pm_catalog.name_use$$,					'00000', '42501', '42501', '42501', '42501'),
	($$DELETE FROM pm_catalog.name_owner$$,					'00000', '42501', '42501', '42501', '42501'),
	($$SELECT * FROM pm.promotion$$,						'00000', '00000', '00000', '00000', '42501'),
	($$DELETE FROM pm_catalog.promotion$$,					'00000', '42501', '42501', '42501', '42501'),
	($$SELECT pm.timeline()$$,								'00000', '00000', '00000', '00000', '42501'),
	($$SELECT * FROM pm.stat$$,								'00000', '00000', '00000', '00000', '42501'),
	($$SELECT pm.stat_reset('m')$$,							'00000', '00000', '00000', '42501', '42501'),
	($$SELECT pm.stat_reset('s')$$,							'00000', '42501', '42501', '42501', '42501'),
	($$SELECT pm.stat_reset()$$,							'00000', '00000', '00000', '00000', '42501'),
	($$SELECT * FROM pm.blocker$$,							'00000', '00000', '00000', '00000', '42501'),
	($$SELECT NULL::pm.event$$,								'00000', '00000', '00000', '00000', '42501');
-- Only a superuser can use private relations, whatever their names. What a superuser gets is left open (NULL) where it
-- depends on the relation.
INSERT INTO matrix (statement, super, alice, bob, carol, dave)
SELECT format(x.statement, c.oid::regclass), x.super, '42501', '42501', '42501', '42501'
FROM pg_class c JOIN (VALUES ('r', 'SELECT * FROM %s', '00000'), ('r', 'DELETE FROM %s', '00000'), ('r', 'LOCK TABLE %s', '00000'),
		('r', 'TRUNCATE %s CASCADE', '00000'), ('r', 'INSERT INTO %s DEFAULT VALUES', NULL), ('r', 'CREATE TRIGGER mine BEFORE INSERT ON %s EXECUTE FUNCTION pm_catalog.before_truncate()', NULL),
		('v', 'SELECT * FROM %s', '00000'),
		('S', 'SELECT * FROM %s', '00000'), ('S', 'SELECT nextval(''%s'')', '00000'), ('S', 'SELECT setval(''%s'', 1)', '00000'), ('S', 'SELECT currval(''%s'')', NULL),
		-- from 18 on this returns NULL instead of an error
		('S', 'DO $$BEGIN IF pg_sequence_last_value(''%s'') IS NULL THEN RAISE insufficient_privilege; END IF; END$$', NULL))
	x(kind, statement, super) ON x.kind = c.relkind
WHERE c.relnamespace = 'pm_catalog'::regnamespace;
-- nothing can be written through a private view
INSERT INTO matrix (statement, super, alice, bob, carol, dave)
SELECT format(statement, oid::regclass), '55000', '55000', '55000', '55000', '55000'
FROM pg_class, unnest('{DELETE FROM %s,INSERT INTO %s DEFAULT VALUES}'::text[]) statement
WHERE relnamespace = 'pm_catalog'::regnamespace AND relkind = 'v';
SELECT is_empty($$ SELECT oid::regclass, relkind FROM pg_class WHERE relnamespace = 'pm_catalog'::regnamespace AND relkind NOT IN ('r', 'v', 'S', 'i') $$,
	'behind are tables, views, sequences and indexes, of each of which the matrix has all');
INSERT INTO matrix (statement, super, alice, bob, carol, dave) VALUES
	($$UPDATE pm_catalog.process_manager SET owner = 10$$,	'00000', '42501', '42501', '42501', '42501'),
	($$UPDATE pm_catalog.cursor SET "position" = 0$$,		'00000', '42501', '42501', '42501', '42501'),
	($$UPDATE pm_catalog.instance SET state = '{}'$$,		'00000', '42501', '42501', '42501', '42501'),
	($$UPDATE pm_catalog.timer SET due = now()$$,			'00000', '42501', '42501', '42501', '42501'),
	($$DELETE FROM pm_catalog.ended$$,						'00000', '42501', '42501', '42501', '42501'),
	($$DELETE FROM pm_catalog.journal$$,					'00000', '42501', '42501', '42501', '42501'),
	($$UPDATE pm_catalog.parked SET state = 'dead'$$,		'00000', '42501', '42501', '42501', '42501'),
	($$CREATE TABLE pm.mine (i int)$$,						'00000', '42501', '42501', '42501', '42501'),
	($$CREATE TABLE pm_catalog.mine (i int)$$,				'00000', '42501', '42501', '42501', '42501'),
	($$CREATE FUNCTION pm_catalog.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'$$,	'00000', '42501', '42501', '42501', '42501'),
	($$SELECT pm_catalog.announce()$$,						'00000', '42501', '42501', '42501', '42501'),
	($$SELECT pm_catalog.lane_of('a', 2)$$,					'00000', '42501', '42501', '42501', '42501'),
	($$UPDATE pm_catalog.former_lane SET "position" = 0$$,		'00000', '42501', '42501', '42501', '42501'),
	-- the trigger functions do nothing when they are called
	($$SELECT pm_catalog.before_write()$$,					'39P01', '39P01', '39P01', '39P01', '39P01'),
	($$SELECT pm_catalog.after_write()$$,					'39P01', '39P01', '39P01', '39P01', '39P01'),
	($$SELECT pm_catalog.before_update()$$,					'39P01', '39P01', '39P01', '39P01', '39P01'),
	($$SELECT pm_catalog.before_row()$$,					'39P01', '39P01', '39P01', '39P01', '39P01'),
	($$SELECT pm_catalog.before_truncate()$$,				'39P01', '39P01', '39P01', '39P01', '39P01'),
	($$SELECT pm_catalog.arrival_begin()$$,					'39P01', '39P01', '39P01', '39P01', '39P01'),
	($$SELECT pm_catalog.arrival()$$,						'39P01', '39P01', '39P01', '39P01', '39P01'),
	($$SELECT pm_catalog.arrival_end()$$,					'39P01', '39P01', '39P01', '39P01', '39P01'),
	($$SELECT pm_catalog.newest_event('a.orders', 1)$$,		'00000', '00000', '00000', '00000', '00000'),
	($$SELECT pm_catalog.before_change()$$,					'39P01', '42501', '42501', '42501', '42501'),
	($$SELECT pm_catalog.after_alter()$$,					'39P03', '42501', '42501', '42501', '42501'),
	($$SELECT pm_catalog.after_alter_table()$$,				'39P03', '42501', '42501', '42501', '42501'),
	($$SELECT pm_catalog.after_drop()$$,					'39P03', '42501', '42501', '42501', '42501'),
	($$SELECT pm_catalog.position_is_new('a.orders'::regclass, 1)$$,	'428C9', '428C9', '428C9', '42501', '42501'),
	($$SELECT pm_catalog.position_is_new(0::oid, 1)$$,		'55000', '55000', '55000', '55000', '55000'),
	-- every role may call these, and gets only what it may see: see below
	($$SELECT pm_catalog.library()$$,						'00000', '00000', '00000', '00000', '00000'),
	($$SELECT pm_catalog.version_problem()$$,				'00000', '00000', '00000', '00000', '00000'),
	($$SELECT pm_catalog.workers()$$,						'00000', '00000', '00000', '00000', '00000'),
	($$SELECT pm_catalog.log_state('su.private')$$,			'00000', '00000', '00000', '00000', '00000'),
	($$SELECT pm_catalog.log_denied('su.private', 10)$$,	'00000', '00000', '00000', '00000', '00000'),
	($$SELECT pm_catalog.mark_holders('su.private')$$,		'00000', '00000', '00000', '00000', '00000'),
	($$SELECT pm_catalog.oldest_unhandled('su.private', 0)$$,	'00000', '00000', '00000', '00000', '00000'),
	($$SELECT pm_catalog.events_after('su.private', 0)$$,		'00000', '00000', '00000', '00000', '00000'),
	($$SELECT pm_catalog.waiting('i', 0, 'a.orders', true, true, now())$$,	'00000', '00000', '00000', '00000', '00000'),
	($$SELECT pm_catalog.lane_waiting('i', 0, now())$$,		'00000', '00000', '00000', '00000', '00000'),
	($$SELECT pm_catalog.manager_owner('i', 10, 'x', true)$$,	'00000', '00000', '00000', '00000', '00000'),
	($$SELECT pm_catalog.counters()$$,						'00000', '00000', '00000', '00000', '00000'),
	($$SELECT pm_catalog.parked_event('su.private', 1, 10)$$,	'00000', '00000', '00000', '00000', '00000'),
	($$SELECT pm_catalog.pending('p', 'k')$$,		'00000', '00000', '00000', '00000', '00000'),
	($$SELECT pm_catalog.pending_instances()$$,		'00000', '00000', '00000', '00000', '00000'),
	($$SELECT pm_catalog.unit_now(1, 0, 10)$$,				'00000', '00000', '00000', '00000', '00000'),
	($$SELECT pm_catalog.advice('a.h(pm.event)', NULL, 10, '42P01', true, 'x')$$,	'00000', '00000', '00000', '00000', '00000'),
	($$SELECT pm_catalog.waits_for(1)$$,					'00000', '00000', '00000', '00000', '00000'),
	($$SELECT pm_catalog.diagram_text('a', 1)$$,			'00000', '00000', '00000', '00000', '00000'),
	($$SELECT pm_catalog.diagram_age('1 s')$$,				'00000', '00000', '00000', '00000', '00000'),
	($$SELECT pm_catalog.session(1)$$,						'00000', '00000', '00000', '00000', '00000'),
	($$SELECT pm_catalog.standby_hint()$$,				'00000', '00000', '00000', '00000', '00000'),
	($$SELECT pm_catalog.advice('f(pm.event)', NULL, 10, '42501', false, 'x')$$,	'00000', '00000', '00000', '00000', '00000'),
	($$SELECT pm_catalog.may_see(10)$$,						'00000', '00000', '00000', '00000', '00000');

SELECT is(pg_temp.attempt(r.role, m.statement), r.expected, format('%s: %s', r.role, m.statement))
FROM matrix m, LATERAL (VALUES ('super', m.super), ('alice', m.alice), ('bob', m.bob), ('carol', m.carol), ('dave', m.dave)) r(role, expected)
WHERE r.expected IS NOT NULL
ORDER BY m.n, r.role;
SELECT diag(format('the matrix: %s statements, %s expected results', count(*), count(super) + count(alice) + count(bob) + count(carol) + count(dave))) FROM matrix;
SELECT is_empty(
	$$ SELECT oid::regprocedure FROM pg_proc p WHERE pronamespace IN ('pm'::regnamespace, 'pm_catalog'::regnamespace)
		AND NOT EXISTS (SELECT FROM matrix WHERE statement LIKE '%' || pronamespace::regnamespace || '.' || proname || '(%') $$,
	'the matrix has every function');
SELECT is_empty(
	$$ SELECT pronamespace::regnamespace, proname FROM pg_proc WHERE pronamespace IN ('pm'::regnamespace, 'pm_catalog'::regnamespace) GROUP BY 1, 2
		HAVING count(*) > CASE WHEN proname IN ('retry', 'discard') THEN 2 ELSE 1 END $$,
	'only pm.retry and pm.discard have two forms, and the matrix has both');
SELECT is_empty(
	$$ SELECT oid::regclass FROM pg_class WHERE relnamespace IN ('pm'::regnamespace, 'pm_catalog'::regnamespace) AND relkind NOT IN ('i', 'c')
		AND NOT EXISTS (SELECT FROM matrix WHERE statement LIKE '% ' || relnamespace::regnamespace || '.' || relname) $$,
	'the matrix has every relation');
SELECT is_empty(
	$$ SELECT oid::regclass FROM pg_class WHERE relnamespace IN ('pm'::regnamespace, 'pm_catalog'::regnamespace) AND relkind = 'c' AND relname <> 'event' $$,
	'pm.event is the only composite type');
-- an unexpected function is noticed
SAVEPOINT unexpected;
CREATE FUNCTION pm_catalog.unexpected() RETURNS int LANGUAGE sql AS 'SELECT 1';
SELECT isnt_empty(
	$$ SELECT oid::regprocedure FROM pg_proc p WHERE pronamespace IN ('pm'::regnamespace, 'pm_catalog'::regnamespace)
		AND NOT EXISTS (SELECT FROM matrix WHERE statement LIKE '%' || pronamespace::regnamespace || '.' || proname || '(%') $$,
	'a function without an expectation is noticed');
ROLLBACK TO SAVEPOINT unexpected;

-- writing through a view would bypass the checks
SELECT ok(pg_temp.attempt(r, s) IN ('42501', '55000'), format('%s: %s', r, s))
FROM unnest('{alice,bob,carol,monitor}'::text[]) r,
	unnest(ARRAY['UPDATE pm.log SET "table" = 0', 'DELETE FROM pm.log', 'INSERT INTO pm.log (pos) VALUES (''x'')', 'UPDATE pm.process_manager SET owner = ''postgres''',
		'DELETE FROM pm.process_manager', 'UPDATE pm.cursor SET "position" = 0', 'DELETE FROM pm.status',
		'UPDATE pm.instance SET state = ''{}''', 'DELETE FROM pm.timer', 'DELETE FROM pm.parked', 'UPDATE pm.parked SET state = ''dead''']) s;

-- ---- visible rows -----------------------------------------------------------

CREATE TEMP TABLE visible (role text, process_managers text, cursors text, logs text, instances text, timers text, parked text);
INSERT INTO visible VALUES
	('super', '{c,cc,i,m,s,si}', '{c:a.payments,cc:a.payments,i:a.orders,m:a.orders,m:a.payments,s:su.private,si:su.private}', '{a.attached,a.loose,a.orders,a.payments,su.private}', '{i:o-1,si:p-1}', '{i:o-1:remind,si:p-1:remind}', '{i:o-2:behind,i:o-2:failing}'),
	('alice', '{c,cc,i,m}', '{c:a.payments,cc:a.payments,i:a.orders,m:a.orders,m:a.payments}', '{a.attached,a.loose,a.orders,a.payments}', '{i:o-1}', '{i:o-1:remind}', '{i:o-2:behind,i:o-2:failing}'),
	('bob', '{c,cc,i,m}', '{c:a.payments,cc:a.payments,i:a.orders,m:a.orders,m:a.payments}', '{a.attached,a.loose,a.orders,a.payments}', '{i:o-1}', '{i:o-1:remind}', '{i:o-2:behind,i:o-2:failing}'),
	('carol', '{}', '{}', '{}', '{}', '{}', '{}'),
	('reader', '{}', '{}', '{a.payments}', '{}', '{}', '{}'),
	-- pg_monitor sees all progress, but no contents of events and states
	('monitor', '{c,cc,i,m,s,si}', '{c:a.payments,cc:a.payments,i:a.orders,m:a.orders,m:a.payments,s:su.private,si:su.private}', '{a.attached,a.loose,a.orders,a.payments,su.private}', '{}', '{}', '{}');
SELECT is(pg_temp.answer(role, 'SELECT ARRAY(SELECT name FROM pm.process_manager ORDER BY 1)'), process_managers, 'pm.process_manager as ' || role) FROM visible;
SELECT is(pg_temp.answer(role, $$SELECT ARRAY(SELECT process_manager || ':' || log FROM pm.cursor ORDER BY 1)$$), cursors, 'pm.cursor as ' || role) FROM visible;
SELECT is(pg_temp.answer(role, $$SELECT ARRAY(SELECT process_manager || ':' || log FROM pm.status ORDER BY 1)$$), cursors, 'pm.status as ' || role) FROM visible;
SELECT is(pg_temp.answer(role, 'SELECT ARRAY(SELECT process_manager FROM pm.stat ORDER BY 1)'), process_managers, 'pm.stat as ' || role) FROM visible;
SELECT is(pg_temp.answer(role, 'SELECT ARRAY(SELECT name FROM pm.log ORDER BY 1)'), logs, 'pm.log as ' || role) FROM visible;
SELECT is(pg_temp.answer(role, $$SELECT ARRAY(SELECT process_manager || ':' || key FROM pm.instance ORDER BY 1)$$), instances, 'pm.instance as ' || role) FROM visible;
SELECT is(pg_temp.answer(role, $$SELECT ARRAY(SELECT process_manager || ':' || key || ':' || type FROM pm.timer ORDER BY 1)$$), timers, 'pm.timer as ' || role) FROM visible;
SELECT is(pg_temp.answer(role, $$SELECT ARRAY(SELECT process_manager || ':' || key || ':' || state FROM pm.parked ORDER BY 1)$$), parked, 'pm.parked as ' || role) FROM visible;
SELECT is(pg_temp.answer(role, 'SELECT ARRAY(SELECT process_manager FROM pm.consumer ORDER BY 1)'), consumers, 'pm.consumer as ' || role)
FROM (VALUES ('super', '{c,cc}'), ('alice', '{c,cc}'), ('bob', '{c,cc}'), ('carol', '{c}'), ('reader', '{}'), ('monitor', '{c,cc}')) v(role, consumers);
-- those of the logs that belong to the role; pg_monitor sees those of logs that are gone, too
SELECT is(pg_temp.answer(role, 'SELECT ARRAY(SELECT log FROM pm.erasure ORDER BY 1)'), logs, 'pm.erasure as ' || role)
FROM (VALUES ('super', '{a.orders,gone,su.private}'), ('alice', '{a.orders}'), ('bob', '{a.orders}'), ('carol', '{}'), ('reader', '{}'), ('monitor', '{a.orders,gone,su.private}')) v(role, logs);
SELECT is(pg_temp.answer(role, $$SELECT ARRAY(SELECT process_manager || ':' || key || ':' || kind FROM pm.association ORDER BY 1)$$), a, 'pm.association as ' || role)
FROM (VALUES ('super', '{i:o-1:order,si:p-1:order}'), ('alice', '{i:o-1:order}'), ('bob', '{i:o-1:order}'), ('carol', '{}'), ('reader', '{}'), ('monitor', '{}')) v(role, a);
-- the number of parked events is not confidential, but error messages are
SELECT is(pg_temp.answer('monitor', $$SELECT parked FROM pm.status WHERE process_manager = 'i'$$), '2', 'pg_monitor sees how many events are parked');
SELECT is(pg_temp.answer(role, $$SELECT count(*) FROM pm.status s WHERE s::text LIKE '%secret%'$$), '0', 'pm.status tells no secrets to ' || role) FROM visible WHERE role IN ('carol', 'reader', 'monitor');
-- this transaction holds back the marks: other roles do not see that
SELECT is(pg_temp.answer(role, 'SELECT ARRAY(SELECT DISTINCT log FROM pm.blocker ORDER BY 1)'), b, 'pm.blocker as ' || role)
FROM (VALUES ('carol', '{}'), ('reader', '{}')) v(role, b);
SELECT is(pg_temp.answer('carol', 'SELECT count(*) FROM pm.worker'), '0', 'pm.worker as carol');
-- other roles see no row of any view, and an owner and the members of its role see only the owner's rows
SELECT is(pg_temp.answer('carol', format('SELECT count(*) FROM %s', oid::regclass)), '0', format('%s shows carol no row', oid::regclass))
FROM pg_class WHERE relnamespace = 'pm'::regnamespace AND relkind IN ('v', 'r', 'm') AND relname <> 'consumer';
SELECT is(pg_temp.answer(r, format('SELECT count(*) FROM %s WHERE coalesce(%I, '''') NOT IN (''m'', ''i'', ''c'', ''cc'')', attrelid::regclass, attname)), '0', format('%s shows %s no row of another owner', attrelid::regclass, r))
FROM unnest('{alice,bob}'::text[]) r, pg_attribute
WHERE (attname = 'process_manager' OR (attrelid = 'pm.process_manager'::regclass AND attname = 'name'))
	AND attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'pm'::regnamespace AND relkind = 'v') AND attrelid NOT IN ('pm.worker'::regclass, 'pm.blocker'::regclass);
SELECT is(pg_temp.answer(r, $$SELECT count(*) FROM pm.log WHERE "table"::text NOT LIKE 'a.%'$$), '0', 'pm.log shows ' || r || ' no log of another owner') FROM unnest('{alice,bob}'::text[]) r;
SELECT is(pg_temp.answer(r, $$SELECT count(*) FROM pm.worker WHERE role IS DISTINCT FROM 'pmtest_alice'$$), '0', 'pm.worker shows ' || r || ' no worker of another role') FROM unnest('{alice,bob}'::text[]) r;
-- the table of a log was dropped while the event trigger was disabled
SAVEPOINT gone;
ALTER EVENT TRIGGER pm_after_drop DISABLE;
SET LOCAL SESSION AUTHORIZATION pmtest_alice;
DROP TABLE a.loose, a.payments CASCADE;
RESET SESSION AUTHORIZATION;
SELECT is(pg_temp.answer(r, 'SELECT ARRAY(SELECT name FROM pm.log ORDER BY 1)'), e, 'logs whose tables are gone, as ' || r)
FROM (VALUES ('carol', '{}'), ('reader', '{}'), ('bob', '{a.attached,a.orders,a.payments}'), ('monitor', '{a.attached,a.loose,a.orders,a.payments,su.private}')) v(r, e);
ROLLBACK TO SAVEPOINT gone;
-- a leaky function sees no rows of other roles either
CREATE FUNCTION pg_temp.leak(t text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$ BEGIN IF t IN ('s', 'si', 'su.private') THEN RAISE SQLSTATE 'PMLEA'; END IF; RETURN true; END $$;
SELECT is(pg_temp.answer('carol', 'SELECT count(*) FROM pm.process_manager WHERE pg_temp.leak(name)'), '0', 'no leak of pm.process_manager');
SELECT is(pg_temp.answer('carol', 'SELECT count(*) FROM pm.cursor WHERE pg_temp.leak(process_manager)'), '0', 'no leak of pm.cursor');
SELECT is(pg_temp.answer('carol', 'SELECT count(*) FROM pm.status WHERE pg_temp.leak(process_manager)'), '0', 'no leak of pm.status');
SELECT is(pg_temp.answer('carol', 'SELECT count(*) FROM pm.stat WHERE pg_temp.leak(process_manager)'), '0', 'no leak of pm.stat');
SELECT is(pg_temp.answer('carol', 'SELECT count(*) FROM pm.log WHERE pg_temp.leak(name)'), '0', 'no leak of pm.log');
-- nor what pg_monitor may not see
CREATE FUNCTION pg_temp.leak_any(t text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$ BEGIN RAISE SQLSTATE 'PMLEA'; END $$;
SELECT is(pg_temp.answer(r, format('SELECT count(*) FROM pm.%s v WHERE pg_temp.leak_any(v::text)', v)), '0', format('no leak of pm.%s to %s', v, r))
FROM unnest('{carol,monitor}'::text[]) r, unnest('{instance,timer,parked,ended,journal}'::text[]) v;
SELECT is(pg_temp.answer('alice', format('SELECT count(*) > 0 FROM pm.%s WHERE pg_temp.leak(process_manager)', v)), 'true', 'a function of alice sees only her rows of pm.' || v)
FROM unnest('{instance,timer,parked,ended,journal}'::text[]) v;

-- ---- internal functions tell other roles nothing -----------------------------

SELECT ok(coalesce(pg_temp.answer(r, q), '42501') IN ('42501', '42883', '0', 'false'), format('%s learns nothing from %s', r, q))
FROM unnest('{carol,dave}'::text[]) r,
	unnest(ARRAY[
		$$SELECT count(*) FROM pm_catalog.log_state('su.private') WHERE high_water_mark IS NOT NULL OR last_position IS NOT NULL$$,
		$$SELECT count(*) FROM pm_catalog.counters()$$,
		$$SELECT count(*) FROM pm_catalog.mark_holders('su.private')$$,
		$$SELECT pm_catalog.oldest_unhandled('su.private', 0)$$,
		$$SELECT coalesce(pm_catalog.events_after('su.private', 0), 0)$$,
		$$SELECT count(e.type) FROM generate_series(1, 20) i, pm_catalog.parked_event('su.private', i, 10) e$$,
		$$SELECT count(*) FROM pm_catalog.workers() WHERE process_manager IS NOT NULL OR log IS NOT NULL$$,
		$$SELECT count(*) FROM pm_catalog.waiting('i', 0, 'a.orders', true, true, 'infinity') WHERE parked > 0$$,
		$$SELECT count(*) FROM pm_catalog.waiting('i', 0, 'a.orders', true, true, 'infinity') WHERE overdue > 0$$,
		$$SELECT count(*) FROM pm_catalog.lane_waiting('i', 0, 'infinity') WHERE deferred + failing + behind + dead > 0$$,
		$$SELECT count(*) FROM pm_catalog.lane_waiting('i', 0, 'infinity') WHERE timers > 0$$,
		$$SELECT count(*) FROM pm_catalog.unit_now((SELECT min(id) FROM pm_catalog.process_manager), 0, 10)$$,
		$$SELECT count(*) FROM generate_series(1, 50) i, pm_catalog.unit_now(i, 0, 10)$$,
		$$SELECT count(*) FROM pg_stat_activity a, pm_catalog.session(a.pid) s WHERE a.usesysid IS DISTINCT FROM current_user::regrole
			AND s.wait_event_type <> 'Lock' AND s.wait_event <> 'SyncRep'$$,
		$$SELECT pm_catalog.may_see(10)$$]) q;
SELECT is(pg_temp.answer(r, q), '1', format('%s learns it', r))
FROM unnest('{alice,monitor}'::text[]) r,
	unnest(ARRAY[
		$$SELECT count(*) FROM pm_catalog.waiting('i', 0, 'a.orders', true, true, 'infinity') WHERE parked > 0 AND overdue > 0$$,
		$$SELECT count(*) FROM pm_catalog.lane_waiting('i', 0, 'infinity') WHERE failing + behind > 0 AND timers > 0$$]) q;
SELECT is_empty(
	$$ SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'pm_catalog'::regnamespace AND has_function_privilege('pmtest_carol', oid, 'EXECUTE')
		AND proname NOT IN ('before_write', 'before_update', 'before_row', 'before_truncate', 'after_write', 'arrival_begin', 'arrival', 'arrival_end', 'newest_event', 'position_is_new', 'library', 'version_problem', 'workers', 'log_state', 'log_denied', 'mark_holders', 'oldest_unhandled', 'events_after', 'waiting', 'lane_waiting', 'manager_owner', 'parked_event', 'counters', 'pending', 'pending_instances', 'may_see', 'unit_now', 'waits_for', 'session', 'standby_hint', 'advice', 'diagram_text', 'diagram_age') $$,
	'only internal functions known to be harmless can be executed');

-- ---- privileges -------------------------------------------------------------

SELECT ok(NOT has_schema_privilege('pmtest_dave', 'pm', 'USAGE'), 'USAGE on schema pm is not granted by default');
SELECT is_empty(
	$$ SELECT relname FROM pg_class WHERE relnamespace = 'pm'::regnamespace AND relkind = 'v'
		AND (NOT has_table_privilege('pmtest_carol', oid, 'SELECT') OR has_table_privilege('pmtest_carol', oid, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')) $$,
	'everybody has SELECT on the views, and no more');
SELECT is_empty(
	$$ SELECT relname FROM pg_class WHERE relnamespace = 'pm_catalog'::regnamespace AND relkind IN ('r', 'p', 'v')
		AND (has_table_privilege('pmtest_carol', oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER') OR has_table_privilege('pmtest_monitor', oid, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')) $$,
	'nobody has a right on the private tables');
-- pg_monitor cannot change anything
SELECT is(pg_temp.attempt('monitor', s), '42501', 'pg_monitor: ' || s)
FROM unnest(ARRAY[$$SELECT pm.pause('m')$$, $$SELECT pm.stat_reset('m')$$, $$SELECT pm.seek('m', 'a.orders', 0)$$, $$SELECT pm.unregister('m')$$, $$SELECT pm.read('a.orders')$$, $$SELECT pm.append('a.orders', 's', 't')$$,
	format($$SELECT pm.retry('i', 'a.orders', %s)$$, :bad), format($$SELECT pm.discard('i', 'a.orders', %s)$$, :bad)]) s;
-- pg_write_all_data cannot change which code runs as which role
CREATE ROLE pmtest_scribe LOGIN;
GRANT pg_write_all_data, pg_read_all_data TO pmtest_scribe;
SELECT is(pg_temp.attempt('scribe', s), '42501', 'pg_write_all_data: ' || s)
FROM unnest(ARRAY[$$UPDATE pm_catalog.process_manager SET owner = 'pmtest_alice'::regrole$$, $$UPDATE pm_catalog.process_manager SET handler = 'su.nothing(pm.event)' WHERE false$$,
	$$DELETE FROM pm_catalog.process_manager$$, $$INSERT INTO pm_catalog.process_manager SELECT * FROM pm_catalog.process_manager$$,
	$$COPY pm_catalog.process_manager FROM PROGRAM 'true'$$, $$MERGE INTO pm_catalog.process_manager p USING (SELECT 1) x ON true WHEN MATCHED THEN DELETE$$]) s;
-- pm.resume() resumes only what the role may resume
SELECT pm.pause('m');
SELECT pm.pause('s');
SET LOCAL SESSION AUTHORIZATION pmtest_carol;
SELECT pm.resume();
SET LOCAL SESSION AUTHORIZATION pmtest_bob;
SELECT pm.resume();
RESET SESSION AUTHORIZATION;
SELECT results_eq('SELECT name, paused FROM pm.process_manager ORDER BY name', $$ VALUES ('c', false), ('cc', false), ('i', false), ('m', false), ('s', true), ('si', false) $$, 'pm.resume() resumes only the caller''s own process managers');
-- a role that loses the membership loses the rights
REVOKE pmtest_alice FROM pmtest_bob;
GRANT USAGE ON SCHEMA pm TO pmtest_bob;
SELECT is(pg_temp.attempt('bob', $$SELECT pm.pause('m')$$), '42501', 'no longer a member: pm.pause is refused');
SELECT is(pg_temp.answer('bob', 'SELECT count(*) FROM pm.process_manager'), '0', 'no longer a member: sees no process manager');
SELECT is(pg_temp.answer('bob', 'SELECT (SELECT count(*) FROM pm.instance) + (SELECT count(*) FROM pm.timer) + (SELECT count(*) FROM pm.parked)'), '0', 'no longer a member: sees no instance, timer or parked event');
SELECT is(pg_temp.attempt('bob', format($$SELECT pm.discard('i', 'a.orders', %s)$$, :bad)), '42501', 'no longer a member: pm.discard is refused');

SELECT * FROM finish();
ROLLBACK;
