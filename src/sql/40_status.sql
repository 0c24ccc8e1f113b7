-- What there is to look at. A role sees its own process managers (those whose owner it is a member of),
-- pg_monitor sees all of them, without payloads.

CREATE FUNCTION pm_catalog.library(OUT preloaded boolean, OUT launcher boolean, OUT recovery boolean, OUT version text,
								   OUT system_identifier bigint)
	RETURNS SETOF record LANGUAGE C STRICT ROWS 1 AS 'MODULE_PATHNAME', 'pm_status_library';
CREATE FUNCTION pm_catalog.workers(OUT pid integer, OUT kind text, OUT database oid, OUT role oid, OUT state text,
								   OUT since timestamptz, OUT process_manager text, OUT lane integer, OUT log text,
								   OUT "position" bigint, OUT overdue boolean, OUT started_at timestamptz)
	RETURNS SETOF record LANGUAGE C STRICT ROWS 10 AS 'MODULE_PATHNAME', 'pm_status_workers';
CREATE FUNCTION pm_catalog.log_state(log text, OUT high_water_mark bigint, OUT last_position bigint, OUT problem text,
									 OUT hint text)
	RETURNS SETOF record LANGUAGE C STRICT ROWS 1 AS 'MODULE_PATHNAME', 'pm_status_log';
CREATE FUNCTION pm_catalog.mark_holders(log text) RETURNS SETOF text
	LANGUAGE C STRICT ROWS 10 AS 'MODULE_PATHNAME', 'pm_status_holders';
CREATE FUNCTION pm_catalog.oldest_unhandled(log text, "position" bigint) RETURNS timestamptz
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'pm_status_oldest';

CREATE FUNCTION pm_catalog.may_see(owner oid) RETURNS boolean
	LANGUAGE sql STABLE
	RETURN pg_catalog.pg_has_role(owner, 'USAGE') OR pg_catalog.pg_has_role('pg_monitor', 'USAGE');

-- The registrations with their owner here: in a copy the OID is somebody else's, the owner goes by name.
CREATE VIEW pm_catalog.manager AS
SELECT p.name, p.id, p.owner_name, p.handler, p.correlate, p.types, p.on_failure, p.max_attempts, p.backoff,
	   p.handler_timeout, p.batch_size, p.lanes, p.park_limit, p.paused, p.registered_at, h.at_home,
	   CASE WHEN h.at_home THEN p.owner
			ELSE coalesce(pg_catalog.to_regrole(pg_catalog.quote_ident(p.owner_name))::pg_catalog.oid, 0) END AS owner
FROM pm_catalog.process_manager p
CROSS JOIN pm_catalog.library() lib
CROSS JOIN (SELECT oid FROM pg_catalog.pg_database
			WHERE datname OPERATOR(pg_catalog.=) pg_catalog.current_database()) here
CROSS JOIN LATERAL (SELECT p.system_identifier OPERATOR(pg_catalog.=) lib.system_identifier
						   AND p.database OPERATOR(pg_catalog.=) here.oid AS at_home) h;

CREATE VIEW pm.log WITH (security_barrier) AS
SELECT l.name, l.source AS "table", l.pos, l.stream, l.version, l.type, l.data, l.metadata, l.recorded_at, l.created_at
FROM pm_catalog.log l
-- Where the table is gone, who follows it still.
WHERE coalesce(pg_catalog.has_table_privilege(l.source, 'SELECT'), EXISTS (
		SELECT FROM pm_catalog.cursor c
		JOIN pm_catalog.manager p ON p.name OPERATOR(pg_catalog.=) c.process_manager
		WHERE c.log OPERATOR(pg_catalog.=) l.name AND pg_catalog.pg_has_role(p.owner, 'USAGE')))
   OR pg_catalog.pg_has_role('pg_monitor', 'USAGE');

CREATE VIEW pm.process_manager WITH (security_barrier) AS
SELECT p.name, coalesce(r.rolname, p.owner_name) AS owner, p.handler,
	   (SELECT pg_catalog.array_agg(DISTINCT c.log) FROM pm_catalog.cursor c
		WHERE c.process_manager OPERATOR(pg_catalog.=) p.name) AS logs,
	   p.correlate, p.types, p.on_failure, p.max_attempts, p.backoff, p.handler_timeout, p.batch_size, p.lanes,
	   p.park_limit, p.paused, p.registered_at
FROM pm_catalog.manager p
LEFT JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) p.owner
WHERE pm_catalog.may_see(p.owner);

CREATE VIEW pm.cursor WITH (security_barrier) AS
SELECT c.process_manager, c.log, c.lane, c."position", c.moved_at
FROM pm_catalog.cursor c
JOIN pm_catalog.manager p ON p.name OPERATOR(pg_catalog.=) c.process_manager
WHERE pm_catalog.may_see(p.owner);

-- What is in events and states is for the owner, not for pg_monitor.
CREATE VIEW pm.instance WITH (security_barrier) AS
SELECT i.process_manager, i.key, i.state, i.started_at, i.updated_at
FROM pm_catalog.instance i
JOIN pm_catalog.manager p ON p.name OPERATOR(pg_catalog.=) i.process_manager
WHERE pg_catalog.pg_has_role(p.owner, 'USAGE');

CREATE VIEW pm.timer WITH (security_barrier) AS
SELECT t.process_manager, t.key, t.type, t.due, t.data
FROM pm_catalog.timer t
JOIN pm_catalog.manager p ON p.name OPERATOR(pg_catalog.=) t.process_manager
WHERE pg_catalog.pg_has_role(p.owner, 'USAGE');

-- A timer has no position: its row's number stands in for one, to name it by.
CREATE VIEW pm.parked WITH (security_barrier) AS
SELECT k.process_manager, k.log, CASE WHEN k.log IS NULL THEN k.id ELSE k."position" END AS "position", k.key, k.state,
	   ROW(k.log, k."position", k.stream, k.version, k.type, k.data, k.metadata, k.recorded_at)::pm.event AS event,
	   k.attempts, k.message, k.detail, k.context, k.sqlstate, CASE k.retry_at WHEN '-infinity' THEN k.parked_at ELSE k.retry_at END AS retry_at, k.parked_at
FROM pm_catalog.parked k
JOIN pm_catalog.manager p ON p.name OPERATOR(pg_catalog.=) k.process_manager
WHERE pg_catalog.pg_has_role(p.owner, 'USAGE');

CREATE VIEW pm.worker WITH (security_barrier) AS
SELECT w.pid, w.kind, d.datname AS database, r.rolname AS role, w.state, w.since,
	   CASE WHEN w.database OPERATOR(pg_catalog.=) here.oid THEN w.process_manager END AS process_manager,
	   CASE WHEN w.database OPERATOR(pg_catalog.=) here.oid THEN w.lane END AS lane,
	   CASE WHEN w.database OPERATOR(pg_catalog.=) here.oid THEN w.log END AS log,
	   CASE WHEN w.database OPERATOR(pg_catalog.=) here.oid THEN w."position" END AS "position",
	   w.overdue, w.started_at
FROM pm_catalog.workers() w
CROSS JOIN (SELECT oid FROM pg_catalog.pg_database WHERE datname OPERATOR(pg_catalog.=) pg_catalog.current_database()) here
LEFT JOIN pg_catalog.pg_database d ON d.oid OPERATOR(pg_catalog.=) w.database
LEFT JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) w.role
WHERE pg_catalog.pg_has_role('pg_monitor', 'USAGE') OR
	  (w.role IS NOT NULL AND r.oid IS NOT NULL AND pg_catalog.pg_has_role(w.role, 'USAGE'));

-- Who has a unit's lock, and is no worker of ours.
CREATE VIEW pm_catalog.unit_holder AS
SELECT k.objid::pg_catalog.int8::integer AS id, k.objsubid::integer AS lane, k.pid, k.virtualtransaction
FROM pg_catalog.pg_locks k
WHERE k.locktype OPERATOR(pg_catalog.=) 'object' AND k.granted
  AND k.classid OPERATOR(pg_catalog.=) 'pm_catalog.process_manager'::pg_catalog.regclass
  AND k.database OPERATOR(pg_catalog.=) (SELECT oid FROM pg_catalog.pg_database
										 WHERE datname OPERATOR(pg_catalog.=) pg_catalog.current_database())
  AND NOT EXISTS (SELECT FROM pm_catalog.workers() w WHERE w.pid OPERATOR(pg_catalog.=) k.pid);

-- How it is with each unit, one row a cursor. The first condition that holds is the one that counts; what is
-- dear to find out comes last.
CREATE VIEW pm_catalog.unit_case AS
SELECT c.process_manager, c.log, c.lane, c."position", c.handled, c.rate, c.moved_at, p.owner, p.owner_name, r.rolname,
	   l.state, l.reason, l.hint, CASE WHEN l.message IS DISTINCT FROM l.reason THEN l.message END AS message, l.attempts, l.retry_at, l.errors, l.conflicts,
	   s.high_water_mark, s.last_position, s.problem, s.hint AS problem_hint, k.parked, k.next_retry,
	   CASE
		   WHEN NOT p.at_home THEN 'copy'
		   WHEN p.paused THEN 'paused'
		   WHEN l.state OPERATOR(pg_catalog.=) 'halted' THEN 'halted'
		   WHEN lib.recovery THEN 'recovery'
		   WHEN NOT lib.preloaded THEN 'library'
		   WHEN NOT lib.launcher THEN 'launcher'
		   WHEN lib.version OPERATOR(pg_catalog.<>) here.extversion THEN 'version'
		   WHEN here.datistemplate THEN 'template'
		   WHEN r.oid IS NULL THEN 'owner'
		   WHEN NOT r.rolcanlogin THEN 'login'
		   WHEN NOT pg_catalog.has_database_privilege(r.oid, here.oid, 'CONNECT') THEN 'connect'
		   WHEN l.state OPERATOR(pg_catalog.=) ANY (ARRAY['retrying', 'parking']) THEN 'retrying'
		   WHEN s.problem IS NOT NULL THEN 'problem'
		   WHEN l.state OPERATOR(pg_catalog.=) 'waiting' THEN 'waiting'
		   WHEN s.last_position OPERATOR(pg_catalog.<=) c."position" THEN 'idle'
		   WHEN s.high_water_mark OPERATOR(pg_catalog.<=) c."position" THEN 'held'
		   WHEN EXISTS (SELECT FROM pm_catalog.unit_holder h WHERE h.id OPERATOR(pg_catalog.=) p.id
						AND h.lane OPERATOR(pg_catalog.=) c.lane) THEN 'taken'
		   WHEN NOT EXISTS (SELECT FROM pm_catalog.workers() w
							WHERE w.kind OPERATOR(pg_catalog.=) 'dispatcher' AND w.database OPERATOR(pg_catalog.=) here.oid
							AND w.role OPERATOR(pg_catalog.=) p.owner AND w.pid IS NOT NULL) THEN 'dispatcher'
		   WHEN EXISTS (SELECT FROM pm_catalog.workers() w WHERE w.overdue AND w.database OPERATOR(pg_catalog.=) here.oid
						AND w.process_manager OPERATOR(pg_catalog.=) c.process_manager) THEN 'overdue'
		   ELSE 'running'
	   END AS kase
FROM pm_catalog.cursor c
JOIN pm_catalog.manager p ON p.name OPERATOR(pg_catalog.=) c.process_manager
JOIN pm_catalog.lane l ON l.process_manager OPERATOR(pg_catalog.=) c.process_manager
					  AND l.lane OPERATOR(pg_catalog.=) c.lane
CROSS JOIN pm_catalog.library() lib
CROSS JOIN (SELECT d.oid, d.datistemplate, x.extversion FROM pg_catalog.pg_database d, pg_catalog.pg_extension x
			WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()
			  AND x.extname OPERATOR(pg_catalog.=) 'pm') here
LEFT JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) p.owner
CROSS JOIN LATERAL pm_catalog.log_state(c.log) s
-- Timers belong to no log: they count with the first one.
CROSS JOIN LATERAL (
	SELECT pg_catalog.count(*) AS parked, pg_catalog.min(CASE k.retry_at WHEN '-infinity' THEN k.parked_at ELSE k.retry_at END) AS next_retry
	FROM pm_catalog.parked k
	WHERE k.process_manager OPERATOR(pg_catalog.=) c.process_manager AND k.lane OPERATOR(pg_catalog.=) c.lane
	  AND coalesce(k.log, (SELECT pg_catalog.min(f.log) FROM pm_catalog.cursor f
						   WHERE f.process_manager OPERATOR(pg_catalog.=) c.process_manager
							 AND f.lane OPERATOR(pg_catalog.=) c.lane)) OPERATOR(pg_catalog.=) c.log) k
WHERE pm_catalog.may_see(p.owner);

CREATE VIEW pm.status WITH (security_barrier) AS
SELECT u.process_manager, u.log, u.lane, u."position", u.high_water_mark,
	   CASE WHEN u.high_water_mark IS NOT NULL
			THEN greatest(u.high_water_mark OPERATOR(pg_catalog.-) u."position", 0) END AS lag,
	   CASE u.kase WHEN 'idle' THEN 'idle' WHEN 'running' THEN 'running' WHEN 'overdue' THEN 'running' WHEN 'paused' THEN 'paused'
				   WHEN 'halted' THEN 'halted' WHEN 'retrying' THEN 'retrying' ELSE 'waiting' END AS state,
	   CASE u.kase
		   WHEN 'copy' THEN 'this database is a copy'
		   WHEN 'paused' THEN 'it was paused with pm.pause'
		   WHEN 'recovery' THEN 'this server is in recovery'
		   WHEN 'library' THEN 'no worker runs, the library of pm is not preloaded'
		   WHEN 'launcher' THEN 'no worker runs, pm.launcher is off'
		   WHEN 'version' THEN 'no worker runs, the library and the extension are of different versions'
		   WHEN 'template' THEN 'no worker runs in a template database'
		   WHEN 'owner' THEN pg_catalog.format('its owner, role "%s", does not exist any more', u.owner_name)
		   WHEN 'login' THEN pg_catalog.format('its owner, role "%s", is not permitted to log in', u.rolname)
		   WHEN 'connect' THEN pg_catalog.format('its owner, role "%s", may not connect to this database', u.rolname)
		   WHEN 'problem' THEN u.problem
		   WHEN 'held' THEN 'a transaction that writes the log is still open'
		   WHEN 'taken' THEN 'another session has it in hand'
		   WHEN 'dispatcher' THEN pg_catalog.format('no dispatcher runs for role "%s"', u.rolname)
		   WHEN 'overdue' THEN 'the handler does not return, and does not heed its timeout'
		   WHEN 'idle' THEN p.reason
		   WHEN 'running' THEN p.reason
		   -- What a handler says may hold data: it is for the owner.
		   ELSE pg_catalog.concat(u.reason, CASE WHEN u.message IS NOT NULL AND pg_catalog.pg_has_role(u.owner, 'USAGE')
												 THEN pg_catalog.concat(': ', u.message) END)
	   END AS reason,
	   CASE u.kase
		   WHEN 'copy' THEN 'SELECT pm.resume() adopts it: from then on handlers run here too.'
		   WHEN 'paused' THEN pg_catalog.format('SELECT pm.resume(%L) ends that.', u.process_manager)
		   WHEN 'recovery' THEN 'Workers run on the primary.'
		   WHEN 'library' THEN 'Add pm to shared_preload_libraries and restart the server, or call pm.catch_up now and then.'
		   WHEN 'launcher' THEN 'Set pm.launcher = on and reload the configuration.'
		   WHEN 'version' THEN 'Run ALTER EXTENSION pm UPDATE, or restart the server with the new library.'
		   WHEN 'template' THEN 'Run ALTER DATABASE ... IS_TEMPLATE false.'
		   WHEN 'owner' THEN pg_catalog.format('SELECT pm.unregister(%L), and register it as another role.', u.process_manager)
		   WHEN 'login' THEN pg_catalog.format('Run ALTER ROLE %I LOGIN.', u.rolname)
		   WHEN 'connect' THEN pg_catalog.format('Run GRANT CONNECT ON DATABASE %I TO %I.', pg_catalog.current_database(), u.rolname)
		   WHEN 'problem' THEN u.problem_hint
		   WHEN 'held' THEN 'SELECT * FROM pm.blocker shows who it is.'
		   WHEN 'taken' THEN 'SELECT * FROM pm.blocker shows who it is.'
		   WHEN 'dispatcher' THEN 'One is being started; if that lasts, raise pm.max_workers or max_worker_processes.'
		   WHEN 'overdue' THEN 'A loop in C without CHECK_FOR_INTERRUPTS cannot be ended from outside but by a restart.'
		   WHEN 'idle' THEN p.hint
		   WHEN 'running' THEN p.hint
		   ELSE u.hint
	   END AS hint,
	   u.attempts, coalesce(u.retry_at, u.next_retry) AS retry_at, u.parked, u.handled, u.errors,
	   pg_catalog.round(now_rate.rate::pg_catalog.numeric, 1) AS rate,
	   CASE WHEN now_rate.rate OPERATOR(pg_catalog.>) 0.1 AND u.high_water_mark OPERATOR(pg_catalog.>) u."position"
			THEN pg_catalog.make_interval(secs => pg_catalog.round((
				 (u.high_water_mark OPERATOR(pg_catalog.-) u."position")::pg_catalog.float8
				 OPERATOR(pg_catalog./) now_rate.rate)::pg_catalog.numeric, 1)::pg_catalog.float8) END AS eta,
	   CASE WHEN u.last_position OPERATOR(pg_catalog.>) u."position"
			THEN pm_catalog.oldest_unhandled(u.log, u."position") END AS oldest_unhandled,
	   u.conflicts
FROM pm_catalog.unit_case u
CROSS JOIN LATERAL (SELECT CASE WHEN u.parked OPERATOR(pg_catalog.>) 0 THEN
						   pg_catalog.format('%s of its events are parked', u.parked) END AS reason,
						   CASE WHEN u.parked OPERATOR(pg_catalog.>) 0 THEN
						   pg_catalog.format('SELECT * FROM pm.parked WHERE process_manager = %L; then pm.retry or pm.discard.',
											 u.process_manager) END AS hint) p
CROSS JOIN LATERAL (SELECT u.rate OPERATOR(pg_catalog.*) pg_catalog.exp(OPERATOR(pg_catalog.-) least(greatest(
					extract(epoch FROM pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) u.moved_at)::pg_catalog.float8,
					0), 600) OPERATOR(pg_catalog./) 10) AS rate) now_rate;

CREATE VIEW pm.blocker WITH (security_barrier) AS
WITH seen AS (			-- the logs that the role may hear of
	SELECT l.name, l.source FROM pm_catalog.log l
	WHERE pg_catalog.pg_has_role('pg_monitor', 'USAGE') OR EXISTS (
		SELECT FROM pm_catalog.cursor c
		JOIN pm_catalog.manager p ON p.name OPERATOR(pg_catalog.=) c.process_manager
		WHERE c.log OPERATOR(pg_catalog.=) l.name AND pg_catalog.pg_has_role(p.owner, 'USAGE'))
), blocks AS (
	SELECT 'high-water mark' AS blocks, l.name AS log, NULL::text AS process_manager, h.vxid
	FROM seen l
	CROSS JOIN LATERAL pm_catalog.log_state(l.name) s
	CROSS JOIN LATERAL pm_catalog.mark_holders(l.name) h(vxid)
	WHERE s.last_position OPERATOR(pg_catalog.>) s.high_water_mark
	UNION ALL
	SELECT 'log', l.name, NULL, k.virtualtransaction
	FROM seen l
	JOIN pg_catalog.pg_locks k ON k.locktype OPERATOR(pg_catalog.=) 'relation'
		AND k.relation OPERATOR(pg_catalog.=) l.source::pg_catalog.oid
		AND k.mode OPERATOR(pg_catalog.=) 'AccessExclusiveLock' AND k.granted
	JOIN pg_catalog.pg_database d ON d.oid OPERATOR(pg_catalog.=) k.database
		AND d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()
	UNION ALL
	SELECT 'process manager', NULL, p.name, h.virtualtransaction
	FROM pm_catalog.unit_holder h
	JOIN pm_catalog.manager p ON p.id OPERATOR(pg_catalog.=) h.id
	WHERE pm_catalog.may_see(p.owner)
	UNION ALL
	SELECT 'dispatcher', w.log, w.process_manager, k.virtualtransaction
	FROM pm_catalog.workers() w
	CROSS JOIN LATERAL pg_catalog.unnest(pg_catalog.pg_blocking_pids(w.pid)) b(pid)
	JOIN pg_catalog.pg_locks k ON k.pid OPERATOR(pg_catalog.=) b.pid
		AND k.locktype OPERATOR(pg_catalog.=) 'virtualxid' AND k.granted
	WHERE w.kind OPERATOR(pg_catalog.=) 'dispatcher' AND w.pid IS NOT NULL AND pm_catalog.may_see(w.role)
)
SELECT b.blocks, b.log, b.process_manager, a.pid, x.gid, coalesce(a.usename, x.owner) AS role,
	   coalesce(a.xact_start, x.prepared) AS since, CASE WHEN x.gid IS NULL THEN a.state ELSE 'prepared' END AS state, a.query,
	   CASE WHEN x.gid IS NULL THEN pg_catalog.format('SELECT pg_terminate_backend(%s);', a.pid)
			ELSE pg_catalog.format('COMMIT PREPARED %L; or ROLLBACK PREPARED %L;', x.gid, x.gid) END AS hint
FROM (SELECT DISTINCT * FROM blocks) b
LEFT JOIN LATERAL (
	SELECT k.pid FROM pg_catalog.pg_locks k
	WHERE k.virtualtransaction OPERATOR(pg_catalog.=) b.vxid AND k.pid IS NOT NULL LIMIT 1) p ON true
LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid OPERATOR(pg_catalog.=) p.pid
LEFT JOIN LATERAL (
	SELECT x.gid, x.owner, x.prepared FROM pg_catalog.pg_locks k
	JOIN pg_catalog.pg_prepared_xacts x ON x.transaction OPERATOR(pg_catalog.=) k.transactionid
	WHERE p.pid IS NULL AND k.virtualtransaction OPERATOR(pg_catalog.=) b.vxid AND k.pid IS NULL
	  AND k.locktype OPERATOR(pg_catalog.=) 'transactionid' LIMIT 1) x ON true
WHERE a.pid IS NOT NULL OR x.gid IS NOT NULL;
