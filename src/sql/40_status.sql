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

CREATE VIEW pm.log WITH (security_barrier) AS
SELECT l.name, l.source AS "table", l.pos, l.stream, l.version, l.type, l.data, l.metadata, l.recorded_at, l.created_at
FROM pm_catalog.log l
WHERE coalesce(pg_catalog.has_table_privilege(l.source, 'SELECT'), true) OR pg_catalog.pg_has_role('pg_monitor', 'USAGE');

CREATE VIEW pm.process_manager WITH (security_barrier) AS
SELECT p.name, coalesce(r.rolname, p.owner_name) AS owner, p.handler,
	   (SELECT pg_catalog.array_agg(DISTINCT c.log) FROM pm_catalog.cursor c
		WHERE c.process_manager OPERATOR(pg_catalog.=) p.name) AS logs,
	   p.correlate, p.types, p.on_failure, p.max_attempts, p.backoff, p.handler_timeout, p.batch_size, p.lanes,
	   p.park_limit, p.paused, p.registered_at
FROM pm_catalog.process_manager p
LEFT JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) p.owner
WHERE pm_catalog.may_see(p.owner);

CREATE VIEW pm.cursor WITH (security_barrier) AS
SELECT c.process_manager, c.log, c.lane, c."position", c.moved_at
FROM pm_catalog.cursor c
JOIN pm_catalog.process_manager p ON p.name OPERATOR(pg_catalog.=) c.process_manager
WHERE pm_catalog.may_see(p.owner);

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

-- A row a cursor. The first condition that holds says how it is with its unit.
CREATE VIEW pm.status WITH (security_barrier) AS
SELECT c.process_manager, c.log, c.lane, c."position", s.high_water_mark,
	   greatest(s.high_water_mark OPERATOR(pg_catalog.-) c."position", 0) AS lag,
	   u.state, u.reason, u.hint, l.attempts, l.retry_at, c.handled, l.errors,
	   pg_catalog.round(now_rate.rate::pg_catalog.numeric, 1) AS rate,
	   CASE WHEN now_rate.rate OPERATOR(pg_catalog.>) 0.1 AND s.high_water_mark OPERATOR(pg_catalog.>) c."position"
			THEN pg_catalog.make_interval(secs =>
				 pg_catalog.round((((s.high_water_mark OPERATOR(pg_catalog.-) c."position")::pg_catalog.float8
				 OPERATOR(pg_catalog./) now_rate.rate))::pg_catalog.numeric, 1)::pg_catalog.float8) END AS eta,
	   CASE WHEN s.last_position OPERATOR(pg_catalog.>) c."position"
			THEN pm_catalog.oldest_unhandled(c.log, c."position") END AS oldest_unhandled
FROM pm_catalog.cursor c
JOIN pm_catalog.process_manager p ON p.name OPERATOR(pg_catalog.=) c.process_manager
JOIN pm_catalog.lane l ON l.process_manager OPERATOR(pg_catalog.=) c.process_manager
					  AND l.lane OPERATOR(pg_catalog.=) c.lane
CROSS JOIN pm_catalog.library() lib
CROSS JOIN (SELECT oid, datistemplate FROM pg_catalog.pg_database
			WHERE datname OPERATOR(pg_catalog.=) pg_catalog.current_database()) here
LEFT JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) p.owner
CROSS JOIN LATERAL pm_catalog.log_state(c.log) s
CROSS JOIN LATERAL (SELECT c.rate OPERATOR(pg_catalog.*) pg_catalog.exp(- least(greatest(extract(epoch FROM
					pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) c.moved_at)::pg_catalog.float8, 0), 600)
					OPERATOR(pg_catalog./) 10) AS rate) now_rate
CROSS JOIN LATERAL (
	SELECT v.state, v.reason, v.hint
	FROM (VALUES
		(1, p.system_identifier OPERATOR(pg_catalog.<>) lib.system_identifier OR p.database OPERATOR(pg_catalog.<>) here.oid,
		 'waiting', 'this database is a copy',
		 'SELECT pm.resume() adopts it: from then on handlers run here too.'),
		(2, p.paused,
		 'paused', 'it was paused with pm.pause',
		 pg_catalog.format('SELECT pm.resume(%L) ends that.', p.name)),
		(3, l.state OPERATOR(pg_catalog.=) 'halted',
		 'halted', l.reason, l.hint),
		(4, lib.recovery,
		 'waiting', 'this server is in recovery',
		 'Workers run on the primary.'),
		(5, NOT lib.preloaded,
		 'waiting', 'no worker runs, the library of pm is not preloaded',
		 'Add pm to shared_preload_libraries and restart the server, or call pm.catch_up now and then.'),
		(6, NOT lib.launcher,
		 'waiting', 'no worker runs, pm.launcher is off',
		 'Set pm.launcher = on and reload the configuration.'),
		(7, lib.version OPERATOR(pg_catalog.<>) (SELECT extversion FROM pg_catalog.pg_extension
												 WHERE extname OPERATOR(pg_catalog.=) 'pm'),
		 'waiting', pg_catalog.format('the library is of version %s, the extension of another', lib.version),
		 'Run ALTER EXTENSION pm UPDATE, or restart the server with the new library.'),
		(8, here.datistemplate,
		 'waiting', 'no worker runs in a template database',
		 'Run ALTER DATABASE ... IS_TEMPLATE false.'),
		(9, r.oid IS NULL,
		 'waiting', pg_catalog.format('its owner, role "%s", does not exist any more', p.owner_name),
		 pg_catalog.format('SELECT pm.unregister(%L), and register it as another role.', p.name)),
		(10, NOT r.rolcanlogin,
		 'waiting', pg_catalog.format('its owner, role "%s", is not permitted to log in', r.rolname),
		 pg_catalog.format('Run ALTER ROLE %I LOGIN.', r.rolname)),
		(11, NOT pg_catalog.has_database_privilege(r.oid, here.oid, 'CONNECT'),
		 'waiting', pg_catalog.format('its owner, role "%s", may not connect to this database', r.rolname),
		 pg_catalog.format('Run GRANT CONNECT ON DATABASE %I TO %I.', pg_catalog.current_database(), r.rolname)),
		(12, l.state OPERATOR(pg_catalog.=) 'retrying',
		 'retrying', l.reason, l.hint),
		(13, s.problem IS NOT NULL,
		 'waiting', s.problem, s.hint),
		(14, l.state OPERATOR(pg_catalog.=) 'waiting',
		 'waiting', l.reason, l.hint),
		(15, s.high_water_mark OPERATOR(pg_catalog.>) c."position" AND NOT EXISTS (
			 SELECT FROM pm_catalog.workers() w
			 WHERE w.kind OPERATOR(pg_catalog.=) 'dispatcher' AND w.database OPERATOR(pg_catalog.=) here.oid
			   AND w.role OPERATOR(pg_catalog.=) p.owner),
		 'waiting', pg_catalog.format('no dispatcher runs for role "%s"', r.rolname),
		 'One is being started; if that lasts, raise pm.max_workers or max_worker_processes.'),
		(16, s.high_water_mark OPERATOR(pg_catalog.>) c."position",
		 'running', NULL, NULL),
		(17, s.last_position OPERATOR(pg_catalog.>) s.high_water_mark,
		 'waiting', 'a transaction that writes the log is still open',
		 'SELECT * FROM pm.blocker shows who it is.'),
		(18, true, 'idle', NULL, NULL)
	) v(n, holds, state, reason, hint)
	WHERE v.holds
	ORDER BY v.n
	LIMIT 1) u
WHERE pm_catalog.may_see(p.owner);

CREATE VIEW pm.blocker WITH (security_barrier) AS
WITH held AS (
	SELECT l.name AS log, h.vxid
	FROM pm_catalog.log l
	CROSS JOIN LATERAL pm_catalog.log_state(l.name) s
	CROSS JOIN LATERAL pm_catalog.mark_holders(l.name) h(vxid)
	WHERE s.last_position OPERATOR(pg_catalog.>) s.high_water_mark
	  AND (pg_catalog.pg_has_role('pg_monitor', 'USAGE') OR EXISTS (
		   SELECT FROM pm_catalog.cursor c
		   JOIN pm_catalog.process_manager p ON p.name OPERATOR(pg_catalog.=) c.process_manager
		   WHERE c.log OPERATOR(pg_catalog.=) l.name AND pg_catalog.pg_has_role(p.owner, 'USAGE')))
), locks AS (
	SELECT k.* FROM pg_catalog.pg_locks k WHERE k.virtualtransaction IN (SELECT vxid FROM held)
)
SELECT 'high-water mark' AS blocks, h.log, NULL::text AS process_manager,
	   a.pid, NULL::text AS gid, a.usename AS role, a.xact_start AS since, a.state, a.query,
	   pg_catalog.format('SELECT pg_terminate_backend(%s);', a.pid) AS hint
FROM held h
JOIN pg_catalog.pg_stat_activity a ON a.pid OPERATOR(pg_catalog.=) (
	SELECT k.pid FROM locks k WHERE k.virtualtransaction OPERATOR(pg_catalog.=) h.vxid AND k.pid IS NOT NULL LIMIT 1)
UNION ALL
SELECT 'high-water mark', h.log, NULL, NULL, x.gid, x.owner, x.prepared, 'prepared', NULL,
	   pg_catalog.format('COMMIT PREPARED %L; or ROLLBACK PREPARED %L;', x.gid, x.gid)
FROM held h
JOIN locks k ON k.virtualtransaction OPERATOR(pg_catalog.=) h.vxid AND k.pid IS NULL
			AND k.locktype OPERATOR(pg_catalog.=) 'transactionid'
JOIN pg_catalog.pg_prepared_xacts x ON x.transaction OPERATOR(pg_catalog.=) k.transactionid
UNION ALL
SELECT 'dispatcher', w.log, w.process_manager, a.pid, NULL, a.usename, a.xact_start, a.state, a.query,
	   pg_catalog.format('SELECT pg_terminate_backend(%s);', a.pid)
FROM pm_catalog.workers() w
CROSS JOIN LATERAL pg_catalog.unnest(pg_catalog.pg_blocking_pids(w.pid)) b(pid)
JOIN pg_catalog.pg_stat_activity a ON a.pid OPERATOR(pg_catalog.=) b.pid
WHERE w.kind OPERATOR(pg_catalog.=) 'dispatcher' AND w.pid IS NOT NULL
  AND (pg_catalog.pg_has_role('pg_monitor', 'USAGE') OR pg_catalog.pg_has_role(w.role, 'USAGE'));
