-- The views. A role sees its own process managers: those whose owner it is a member of. pg_monitor sees all process
-- managers, without the contents of events and states.

CREATE FUNCTION pm_catalog.library(OUT preloaded boolean, OUT launcher boolean, OUT recovery boolean, OUT version text,
								   OUT fits boolean, OUT system_identifier bigint, OUT served boolean)
	RETURNS SETOF record LANGUAGE C STRICT ROWS 1 AS 'MODULE_PATHNAME', 'pm_status_library';
CREATE FUNCTION pm_catalog.version_problem(OUT reason text, OUT hint text)
	RETURNS SETOF record LANGUAGE C STRICT ROWS 1 AS 'MODULE_PATHNAME', 'pm_status_version_problem';
CREATE FUNCTION pm_catalog.workers(OUT pid integer, OUT kind text, OUT database oid, OUT role oid, OUT state text,
								   OUT since timestamptz, OUT process_manager text, OUT lane integer, OUT log text,
								   OUT "position" bigint, OUT overdue boolean, OUT started_at timestamptz,
								   OUT wait_event_type text, OUT wait_event text)
	RETURNS SETOF record LANGUAGE C STRICT ROWS 10 AS 'MODULE_PATHNAME', 'pm_status_workers';
CREATE FUNCTION pm_catalog.log_state(log text, OUT high_water_mark bigint, OUT last_position bigint, OUT problem text,
									 OUT hint text, OUT held_by text)
	RETURNS SETOF record LANGUAGE C STRICT ROWS 1 AS 'MODULE_PATHNAME', 'pm_status_log';
CREATE FUNCTION pm_catalog.log_denied(log text, reader oid, OUT problem text, OUT hint text)
	RETURNS SETOF record LANGUAGE C STRICT ROWS 1 AS 'MODULE_PATHNAME', 'pm_status_denied';
CREATE FUNCTION pm_catalog.mark_holders(log text, OUT virtualtransaction text, OUT pid integer)
	RETURNS SETOF record LANGUAGE C STRICT ROWS 1 AS 'MODULE_PATHNAME', 'pm_status_holders';
CREATE FUNCTION pm_catalog.oldest_unhandled(log text, "position" bigint) RETURNS timestamptz
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'pm_status_oldest';
CREATE FUNCTION pm_catalog.events_after(log text, "position" bigint) RETURNS bigint
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'pm_status_events';
CREATE FUNCTION pm_catalog.waiting(process_manager text, lane integer, log text, first boolean, timers boolean,
								   at timestamptz, OUT parked bigint, OUT dead bigint, OUT deferred bigint,
								   OUT next_retry timestamptz, OUT overdue bigint, OUT oldest timestamptz)
	RETURNS SETOF record LANGUAGE C STRICT ROWS 1 AS 'MODULE_PATHNAME', 'pm_status_waiting';
CREATE FUNCTION pm_catalog.lane_waiting(process_manager text, lane integer, at timestamptz, OUT deferred bigint,
										OUT failing bigint, OUT behind bigint, OUT dead bigint, OUT timers bigint,
										OUT timers_overdue bigint)
	RETURNS SETOF record LANGUAGE C STRICT ROWS 1 AS 'MODULE_PATHNAME', 'pm_stat_waiting';
CREATE FUNCTION pm_catalog.unit_now(manager integer, lane integer, owner oid, OUT situation text, OUT reason text,
									OUT hint text)
	RETURNS SETOF record LANGUAGE C STRICT ROWS 1 AS 'MODULE_PATHNAME', 'pm_status_unit';
CREATE FUNCTION pm_catalog.waits_for(pid integer, OUT virtualtransaction text, OUT blocker integer)
	RETURNS SETOF record LANGUAGE C STRICT ROWS 1 AS 'MODULE_PATHNAME', 'pm_blocker_waits_for';
CREATE FUNCTION pm_catalog.standby_hint() RETURNS text
	LANGUAGE C STABLE AS 'MODULE_PATHNAME', 'pm_standby_hint';
CREATE FUNCTION pm_catalog.session(pid integer, OUT worker text, OUT wait_event_type text, OUT wait_event text)
	RETURNS SETOF record LANGUAGE C STRICT ROWS 1 AS 'MODULE_PATHNAME', 'pm_blocker_session';

CREATE FUNCTION pm_catalog.advice(handler text, correlate text, owner oid, sqlstate text, called boolean, message text) RETURNS text
	LANGUAGE C STABLE AS 'MODULE_PATHNAME', 'pm_advice';

-- By the owner of the shell type (src/manager/shell_type.c).
CREATE FUNCTION pm_catalog.manager_owner(name text, owner oid, owner_name name, at_home boolean) RETURNS oid
	LANGUAGE C STABLE STRICT AS 'MODULE_PATHNAME', 'pm_registry_owner';

CREATE FUNCTION pm_catalog.may_see(owner oid) RETURNS boolean
	LANGUAGE sql STABLE
	RETURN pg_catalog.pg_has_role(owner, 'USAGE') OR pg_catalog.pg_has_role('pg_monitor', 'USAGE');

-- The registrations, with the owner that each has in this database. In a copy, the stored OID can be that of another
-- role. If a superuser has restored a dump without its owners, the owner is found by name.
CREATE VIEW pm_catalog.manager AS
SELECT p.name, p.id, p.owner_name, p.handler, p.handler_kind, p.correlate, p.types, p.on_failure, p.max_attempts, p.backoff,
	   p.handler_timeout, p.batch_size, p.lanes, p.park_limit, p.paused, p.registered_at, h.at_home,
	   o.owner,
	   p.keep_ended, p.journal, p.lease,
	   -- The roles that may be consumers; in a copy, by their names.
	   CASE WHEN h.at_home THEN p.consumers
			ELSE ARRAY(SELECT r.oid FROM pg_catalog.pg_roles r
					   WHERE r.rolname OPERATOR(pg_catalog.=) ANY (p.consumer_names)) END AS consumers,
	   p.carry
FROM pm_catalog.process_manager p
CROSS JOIN pm_catalog.library() lib
CROSS JOIN (SELECT oid FROM pg_catalog.pg_database
			WHERE datname OPERATOR(pg_catalog.=) pg_catalog.current_database()) here
CROSS JOIN LATERAL (SELECT p.system_identifier OPERATOR(pg_catalog.=) lib.system_identifier
						   AND p.database OPERATOR(pg_catalog.=) here.oid AS at_home) h
-- OFFSET 0: the owner is found once for each row, however often it is used.
CROSS JOIN LATERAL (SELECT pm_catalog.manager_owner(p.name, p.owner, p.owner_name, h.at_home) AS owner OFFSET 0) o;

CREATE VIEW pm.log WITH (security_barrier) AS
SELECT coalesce(l.title, l.name) AS name, l.source AS "table", l.pos, l.stream, l.version, l.type, l.data, l.metadata, l.recorded_at, l.created_at,
	   CASE WHEN l.kind OPERATOR(pg_catalog.=) 'o' THEN 'ordinary' WHEN l.kind OPERATOR(pg_catalog.=) 'a' THEN 'attached'
			WHEN l.kind OPERATOR(pg_catalog.=) 'p' THEN 'partitioned' ELSE 'replica' END AS kind, l.filter
FROM pm_catalog.log l
-- If the table has been dropped, the owners of the process managers that still follow the log see it.
WHERE coalesce(pg_catalog.has_table_privilege(l.source, 'SELECT'), EXISTS (
		SELECT FROM pm_catalog.cursor c
		JOIN pm_catalog.manager p ON p.name OPERATOR(pg_catalog.=) c.process_manager
		WHERE c.log OPERATOR(pg_catalog.=) l.name AND pg_catalog.pg_has_role(p.owner, 'USAGE')))
   OR pg_catalog.pg_has_role('pg_monitor', 'USAGE');

CREATE VIEW pm.process_manager WITH (security_barrier) AS
SELECT p.name, coalesce(r.rolname, p.owner_name) AS owner, p.handler,
	   (SELECT pg_catalog.array_agg(DISTINCT coalesce(t.title, c.log)) FROM pm_catalog.cursor c
		LEFT JOIN pm_catalog.log t ON t.name OPERATOR(pg_catalog.=) c.log
		WHERE c.process_manager OPERATOR(pg_catalog.=) p.name) AS logs,
	   p.correlate, p.types, p.on_failure, p.max_attempts, p.backoff, p.handler_timeout, p.batch_size, p.lanes,
	   p.park_limit, p.paused, p.registered_at, p.keep_ended, p.journal,
	   CASE WHEN p.handler IS NULL THEN p.lease END AS lease,
	   (SELECT pg_catalog.array_agg(c.rolname ORDER BY c.rolname) FROM pg_catalog.pg_roles c
		WHERE c.oid OPERATOR(pg_catalog.=) ANY (p.consumers)) AS consumers,
	   p.carry,
	   (SELECT pg_catalog.array_agg(DISTINCT coalesce(t.title, a.log)) FROM pm_catalog.appends a
		LEFT JOIN pm_catalog.log t ON t.name OPERATOR(pg_catalog.=) a.log
		WHERE a.process_manager OPERATOR(pg_catalog.=) p.name) AS appends_to
FROM pm_catalog.manager p
LEFT JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) p.owner
WHERE pm_catalog.may_see(p.owner);

CREATE VIEW pm.cursor WITH (security_barrier) AS
SELECT c.process_manager, coalesce((SELECT t.title FROM pm_catalog.log t WHERE t.name OPERATOR(pg_catalog.=) c.log), c.log) AS log, c.lane,
	   c."position", c.moved_at
FROM pm_catalog.cursor c
JOIN pm_catalog.manager p ON p.name OPERATOR(pg_catalog.=) c.process_manager
WHERE pm_catalog.may_see(p.owner);

-- The contents of events and states are for the owner, not for pg_monitor.
-- In a handler, what its batch has not written yet is taken from memory (src/manager/pending.c).
CREATE FUNCTION pm_catalog.pending(process_manager text, key text) RETURNS boolean
	LANGUAGE C STABLE STRICT AS 'MODULE_PATHNAME', 'pm_pending';
CREATE FUNCTION pm_catalog.pending_instances(OUT process_manager text, OUT key text, OUT state jsonb,
											 OUT started_at timestamptz, OUT updated_at timestamptz)
	RETURNS SETOF record LANGUAGE C STABLE STRICT ROWS 1 AS 'MODULE_PATHNAME', 'pm_pending_instances';
CREATE VIEW pm.instance WITH (security_barrier) AS
SELECT i.process_manager, i.key, i.state, i.started_at, i.updated_at
FROM (SELECT s.process_manager, s.key, s.state, s.started_at, s.updated_at FROM pm_catalog.instance s
	  WHERE NOT pm_catalog.pending(s.process_manager, s.key)
	  UNION ALL
	  SELECT n.process_manager, n.key, n.state, n.started_at, n.updated_at FROM pm_catalog.pending_instances() n) i
JOIN pm_catalog.manager p ON p.name OPERATOR(pg_catalog.=) i.process_manager
WHERE pg_catalog.pg_has_role(p.owner, 'USAGE');

CREATE VIEW pm.association WITH (security_barrier) AS
SELECT a.process_manager, a.key, a.kind, a.value
FROM pm_catalog.association a
JOIN pm_catalog.manager p ON p.name OPERATOR(pg_catalog.=) a.process_manager
WHERE pg_catalog.pg_has_role(p.owner, 'USAGE');

CREATE VIEW pm.ended WITH (security_barrier) AS
SELECT e.process_manager, e.key, e.started_at, e.ended_at, e.state, e.result, e.reason, e.ended_by
FROM pm_catalog.ended e
JOIN pm_catalog.manager p ON p.name OPERATOR(pg_catalog.=) e.process_manager
WHERE pg_catalog.pg_has_role(p.owner, 'USAGE');

CREATE VIEW pm.journal WITH (security_barrier) AS
SELECT j.process_manager, j.key, j.started_at, j.seq,
	   coalesce((SELECT t.title FROM pm_catalog.log t WHERE t.name OPERATOR(pg_catalog.=) j.log), j.log) AS log, j."position", j.type, j.handled_at,
	   j.state, coalesce(j.appended, '[]') AS appended, coalesce(j.timers, '[]') AS timers, j.by, j.reason
FROM pm_catalog.journal j
JOIN pm_catalog.manager p ON p.name OPERATOR(pg_catalog.=) j.process_manager
WHERE pg_catalog.pg_has_role(p.owner, 'USAGE');

-- The columns of pm.history. A function that RETURNS TABLE cannot have an argument and a column that are both called key.
CREATE VIEW pm_catalog.history_row AS
SELECT j.process_manager, j.key, j.started_at, j.seq, j.log, j."position", j.type, j.handled_at, j.state, j.appended, j.timers,
	   j.by, j.reason, NULL::text AS status
FROM pm_catalog.journal j LIMIT 0;
CREATE FUNCTION pm.history(name text, key text) RETURNS SETOF pm_catalog.history_row
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'pm_history';

CREATE VIEW pm.timer WITH (security_barrier) AS
SELECT t.process_manager, t.key, t.type, t.due, t.data
FROM pm_catalog.timer t
JOIN pm_catalog.manager p ON p.name OPERATOR(pg_catalog.=) t.process_manager
WHERE pg_catalog.pg_has_role(p.owner, 'USAGE') AND NOT t.sent;

-- A timer has no position. It is named by the number of its row instead. An event is shown as it is in its log now.
CREATE FUNCTION pm_catalog.parked_event(log text, "position" bigint, owner oid) RETURNS pm.event
	LANGUAGE C STABLE STRICT AS 'MODULE_PATHNAME', 'pm_parked_event';
CREATE VIEW pm.parked WITH (security_barrier) AS
SELECT k.process_manager, coalesce((SELECT t.title FROM pm_catalog.log t WHERE t.name OPERATOR(pg_catalog.=) k.log), k.log) AS log,
	   CASE WHEN k.log IS NULL THEN k.id ELSE k."position" END AS "position", k.key, k.state,
	   CASE WHEN k.log IS NULL
			THEN ROW(k.log, k."position", k.stream, k.version, k.type, k.data, k.metadata, k.recorded_at)::pm.event
			ELSE pm_catalog.parked_event(k.log, k."position", p.owner) END AS event,
	   k.attempts, k.message, k.detail, k.context, k.sqlstate,
	   -- As in pm.status: nothing is tried again before somebody resumes it. -infinity: at once.
	   CASE WHEN k.retry_at IS NULL OR p.paused OR NOT p.at_home
				 OR EXISTS (SELECT FROM pm_catalog.lane l
							WHERE l.process_manager OPERATOR(pg_catalog.=) k.process_manager AND l.lane OPERATOR(pg_catalog.=) k.lane
							  AND l.state OPERATOR(pg_catalog.=) 'halted') THEN NULL
			WHEN k.retry_at OPERATOR(pg_catalog.=) '-infinity' THEN k.parked_at
			ELSE k.retry_at END AS retry_at, k.parked_at,
	   pm_catalog.advice(p.handler, p.correlate, p.owner, k.sqlstate, true, k.message) AS hint, k.error_hint
FROM pm_catalog.parked k
JOIN pm_catalog.manager p ON p.name OPERATOR(pg_catalog.=) k.process_manager
WHERE pg_catalog.pg_has_role(p.owner, 'USAGE');

CREATE VIEW pm.worker WITH (security_barrier) AS
SELECT w.pid, w.kind, d.datname AS database, r.rolname AS role, w.state, w.since,
	   CASE WHEN w.database OPERATOR(pg_catalog.=) here.oid THEN w.process_manager END AS process_manager,
	   CASE WHEN w.database OPERATOR(pg_catalog.=) here.oid THEN w.lane END AS lane,
	   CASE WHEN w.database OPERATOR(pg_catalog.=) here.oid
			THEN coalesce((SELECT t.title FROM pm_catalog.log t WHERE t.name OPERATOR(pg_catalog.=) w.log), w.log) END AS log,
	   CASE WHEN w.database OPERATOR(pg_catalog.=) here.oid THEN w."position" END AS "position",
	   w.overdue, w.started_at, w.wait_event_type, w.wait_event
FROM pm_catalog.workers() w
CROSS JOIN (SELECT oid FROM pg_catalog.pg_database WHERE datname OPERATOR(pg_catalog.=) pg_catalog.current_database()) here
LEFT JOIN pg_catalog.pg_database d ON d.oid OPERATOR(pg_catalog.=) w.database
LEFT JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) w.role
WHERE pg_catalog.pg_has_role('pg_monitor', 'USAGE') OR
	  (w.role IS NOT NULL AND r.oid IS NOT NULL AND pg_catalog.pg_has_role(w.role, 'USAGE'));

-- The sessions that hold the lock of a unit and are not workers of pm.
CREATE VIEW pm_catalog.unit_holder AS
SELECT k.objid::pg_catalog.int8::integer AS id, k.objsubid::integer AS lane, k.pid, k.virtualtransaction
FROM pg_catalog.pg_locks k
WHERE k.locktype OPERATOR(pg_catalog.=) 'object' AND k.granted
  AND k.classid OPERATOR(pg_catalog.=) 'pm_catalog.process_manager'::pg_catalog.regclass
  AND k.database OPERATOR(pg_catalog.=) (SELECT oid FROM pg_catalog.pg_database
										 WHERE datname OPERATOR(pg_catalog.=) pg_catalog.current_database())
  AND NOT EXISTS (SELECT FROM pm_catalog.workers() w WHERE w.pid OPERATOR(pg_catalog.=) k.pid);

-- What is known about each unit, with one row for each cursor. A timer belongs to no log, so it is counted in the row of the
-- first log.
CREATE VIEW pm_catalog.unit_row AS
SELECT c.process_manager, c.log, c.lane, c."position", c.handled, c.rate, c.moved_at,
	   p.id, p.owner, p.owner_name, r.rolname,
	   l.state, l.reason,
	   -- In state waiting, no handler was running, so its search_path is not the cause.
	   nullif(pg_catalog.concat_ws(' ', l.hint, pm_catalog.advice(p.handler, p.correlate, p.owner, l.sqlstate,
																  l.state OPERATOR(pg_catalog.<>) 'waiting', l.message)), '') AS hint,
	   CASE WHEN l.message IS DISTINCT FROM l.reason THEN l.message END AS message,
	   l.attempts, l.retry_at, l.errors, l.conflicts, s.high_water_mark, s.last_position,
	   coalesce(s.problem, d.problem) AS problem, coalesce(s.hint, d.hint) AS problem_hint, s.held_by,
	   k.parked, k.dead, k.next_retry, k.overdue, k.oldest, seen.at AS seen_at,
	   -- What keeps the unit from running until a person changes it, whether it has work or not.
	   CASE
		   WHEN NOT p.at_home THEN 'copy'
		   WHEN p.paused THEN 'paused'
		   WHEN l.state OPERATOR(pg_catalog.=) 'halted' THEN 'halted'
		   WHEN lib.recovery THEN 'recovery'
		   -- Consumers need no worker.
		   WHEN p.handler IS NULL THEN CASE WHEN r.oid IS NULL THEN 'owner' END
		   WHEN NOT lib.preloaded THEN 'library'
		   WHEN NOT lib.launcher THEN 'launcher'
		   WHEN NOT lib.fits THEN 'version'
		   -- Workers that run already are not stopped.
		   WHEN here.datistemplate AND NOT lib.served THEN 'template'
		   WHEN NOT here.datallowconn AND NOT lib.served THEN 'closed'
		   WHEN r.oid IS NULL THEN 'owner'
		   WHEN r.rolcanlogin AND pg_catalog.has_database_privilege(r.oid, here.oid, 'CONNECT') THEN NULL
		   -- A dispatcher that runs already is not stopped either.
		   WHEN EXISTS (SELECT FROM pm_catalog.workers() w
						WHERE w.kind OPERATOR(pg_catalog.=) 'dispatcher' AND w.pid IS NOT NULL
						  AND w.role OPERATOR(pg_catalog.=) r.oid AND w.database OPERATOR(pg_catalog.=) here.oid) THEN NULL
		   WHEN NOT r.rolcanlogin THEN 'login'
		   ELSE 'connect'
	   END AS stopped,
	   -- Is there work now, because of the unit's state, in its queues, or in the log?
	   (l.state OPERATOR(pg_catalog.=) ANY (ARRAY['retrying', 'parking', 'waiting']) AND
		coalesce(l.retry_at, seen.at) OPERATOR(pg_catalog.<=) seen.at) AS lane_due,
	   (coalesce(k.next_retry OPERATOR(pg_catalog.<=) seen.at, false)
		OR k.overdue OPERATOR(pg_catalog.>) 0) AS queue_due,
	   coalesce(s.high_water_mark OPERATOR(pg_catalog.>) c."position", false) AS log_due,
	   k.deferred, p.handler IS NULL AS consumed
FROM (SELECT f.*, pg_catalog.min(f.log) OVER (PARTITION BY f.process_manager, f.lane) OPERATOR(pg_catalog.=) f.log AS first
	  FROM pm_catalog.cursor f) c
JOIN pm_catalog.manager p ON p.name OPERATOR(pg_catalog.=) c.process_manager
JOIN pm_catalog.lane l ON l.process_manager OPERATOR(pg_catalog.=) c.process_manager
					  AND l.lane OPERATOR(pg_catalog.=) c.lane
CROSS JOIN pm_catalog.library() lib
CROSS JOIN (SELECT d.oid, d.datistemplate, d.datallowconn
			FROM pg_catalog.pg_database d
			WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()) here
CROSS JOIN (SELECT pg_catalog.clock_timestamp() AS at OFFSET 0) seen
LEFT JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) p.owner
CROSS JOIN LATERAL pm_catalog.log_state(c.log) s
LEFT JOIN LATERAL pm_catalog.log_denied(CASE WHEN s.problem IS NULL THEN c.log END, r.oid) d ON true
CROSS JOIN LATERAL pm_catalog.waiting(c.process_manager, c.lane, c.log, c.first, p.handler_kind OPERATOR(pg_catalog.=) 's',
									  seen.at) k
WHERE pm_catalog.may_see(p.owner);

-- What consumers hold, and how much they have fetched and not advanced.
CREATE VIEW pm_catalog.held_lane AS
SELECT l.process_manager, l.lane, l.consumer, l.role, l.since, l.until, l.parked, l.timers,
	   l.until OPERATOR(pg_catalog.>) pg_catalog.clock_timestamp() AS held,
	   coalesce(pg_catalog.cardinality(l.parked), 0) OPERATOR(pg_catalog.+) coalesce(pg_catalog.cardinality(l.timers), 0)
	   OPERATOR(pg_catalog.+) f.events AS fetched, f.oldest
FROM pm_catalog.lease l
CROSS JOIN LATERAL (
	SELECT coalesce(pg_catalog.sum(pg_catalog.cardinality(f.events)), 0)::integer AS events,
		   pg_catalog.min(pm_catalog.oldest_unhandled(f.log, f.events[1] OPERATOR(pg_catalog.-) 1)) AS oldest
	FROM pm_catalog.fetched f
	WHERE f.process_manager OPERATOR(pg_catalog.=) l.process_manager AND f.lane OPERATOR(pg_catalog.=) l.lane
	  AND pg_catalog.cardinality(f.events) OPERATOR(pg_catalog.>) 0) f
WHERE l.consumer IS NOT NULL;

-- Why there is still work in a lane of a process manager for consumers.
CREATE VIEW pm_catalog.consumer_now AS
SELECT s.process_manager, s.lane,
	   CASE WHEN h.held THEN 'fetched' ELSE 'unfetched' END AS situation,
	   CASE WHEN h.held AND h.fetched OPERATOR(pg_catalog.>) 0
			THEN pg_catalog.format('consumer "%s" has fetched %s of its events', h.consumer, h.fetched)
			WHEN h.held THEN pg_catalog.format('consumer "%s" holds it', h.consumer)
			WHEN h.fetched OPERATOR(pg_catalog.>) 0
			THEN pg_catalog.format('the lease of consumer "%s" has run out, and no other consumer fetches its events', h.consumer)
			ELSE 'no consumer fetches its events' END AS reason,
	   CASE WHEN h.held THEN 'SELECT * FROM pm.consumer shows what it holds.'
			WHEN h.fetched OPERATOR(pg_catalog.>) 0
			THEN pg_catalog.format('If the consumer still runs, it does not call pm.advance in time. If not, start it, or another '
								   'one: it gets the same events from pm.fetch(%L, ...).', s.process_manager)
			ELSE pg_catalog.format('Start a consumer, which calls pm.fetch(%L, ...).', s.process_manager) END AS hint
FROM pm_catalog.lane s
LEFT JOIN pm_catalog.held_lane h ON h.process_manager OPERATOR(pg_catalog.=) s.process_manager
								AND h.lane OPERATOR(pg_catalog.=) s.lane;

-- What the subscriptions of replica logs do.
CREATE FUNCTION pm_catalog.newest_event(log text, worker integer) RETURNS timestamptz
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'pm_status_newest';

-- A row for each replica log. standstill: nothing arrives; reason: NULL if the subscription works, and has nothing to catch up.
CREATE VIEW pm_catalog.replica_state AS
SELECT l.name AS log,
	   pg_catalog.bool_and(x.situation OPERATOR(pg_catalog.=) ANY (ARRAY['none', 'disabled', 'down', 'locked', 'silent'])) AS standstill,
	   pg_catalog.string_agg(
		   CASE x.situation
			   WHEN 'none' THEN 'no subscription fills it'
			   WHEN 'disabled' THEN pg_catalog.format('subscription "%s" is disabled', s.subname)
			   WHEN 'down' THEN pg_catalog.format('subscription "%s" has no worker', s.subname)
			   WHEN 'copy' THEN pg_catalog.format('subscription "%s" is copying the publisher''s table', s.subname)
			   WHEN 'locked' THEN pg_catalog.format('subscription "%s" waits for a lock', s.subname)
			   WHEN 'silent' THEN pg_catalog.format('subscription "%s" has heard nothing from the publisher for %s s', s.subname,
						pg_catalog.round(extract(epoch FROM seen.at OPERATOR(pg_catalog.-) w.heard)))
			   WHEN 'behind' THEN pg_catalog.format('subscription "%s" applies events that were recorded %s s ago', s.subname,
						pg_catalog.round(extract(epoch FROM seen.at OPERATOR(pg_catalog.-) x.newest)))
		   END, '; ' ORDER BY s.subname) AS reason,
	   pg_catalog.min(
		   CASE x.situation
			   WHEN 'none' THEN 'Run CREATE SUBSCRIPTION, for a publication that has a table of this name.'
			   WHEN 'disabled' THEN pg_catalog.format('Run ALTER SUBSCRIPTION %I ENABLE. If an error has disabled it, the '
						'server''s log has the error.', s.subname)
			   WHEN 'down' THEN 'Either the publisher cannot be reached, or it does not have the replication slot, or a '
						'change cannot be applied, or max_logical_replication_workers is too low: the server''s log says which. It is tried again after '
						'wal_retrieve_retry_interval.'
			   WHEN 'copy' THEN 'The events can be handled when the copy is complete.'
			   WHEN 'locked' THEN pg_catalog.format('SELECT pg_blocking_pids(%s) shows the sessions that hold it.', w.pid)
			   WHEN 'silent' THEN 'Check the publisher and the network.'
			   WHEN 'behind' THEN 'It catches up by itself.'
		   END) AS hint
FROM pm_catalog.log l
LEFT JOIN (pg_catalog.pg_subscription_rel r JOIN pg_catalog.pg_subscription s ON s.oid OPERATOR(pg_catalog.=) r.srsubid)
	ON r.srrelid OPERATOR(pg_catalog.=) l.source::pg_catalog.oid
CROSS JOIN (SELECT pg_catalog.clock_timestamp() AS at OFFSET 0) seen
-- The worker that applies changes. Those that copy a table have a row with its OID.
LEFT JOIN LATERAL (
	SELECT pg_catalog.min(a.pid) AS pid, pg_catalog.max(a.last_msg_receipt_time) AS heard
	FROM pg_catalog.pg_stat_get_subscription(s.oid) a WHERE a.relid IS NULL) w ON true
LEFT JOIN LATERAL pm_catalog.session(w.pid) t ON true
CROSS JOIN LATERAL (
	SELECT n.newest,
		   CASE WHEN s.oid IS NULL THEN 'none'
				WHEN NOT s.subenabled THEN 'disabled'
				WHEN w.pid IS NULL THEN 'down'
				WHEN r.srsubstate OPERATOR(pg_catalog.<>) ALL (ARRAY['r', 's']::pg_catalog."char"[]) THEN 'copy'
				WHEN t.wait_event_type OPERATOR(pg_catalog.=) 'Lock' THEN 'locked'
				-- A worker that has nothing to do asks the publisher for a reply every wal_receiver_timeout / 2.
				WHEN w.heard OPERATOR(pg_catalog.<) (seen.at OPERATOR(pg_catalog.-) '45 s'::pg_catalog.interval) THEN 'silent'
				WHEN n.newest OPERATOR(pg_catalog.<) (seen.at OPERATOR(pg_catalog.-) '2 s'::pg_catalog.interval) THEN 'behind'
				ELSE 'works' END AS situation
	FROM (SELECT pm_catalog.newest_event(l.name, w.pid) AS newest OFFSET 0) n) x
WHERE l.kind OPERATOR(pg_catalog.=) 'r'
GROUP BY l.name;

-- The situation of each row: the first condition that holds. For a unit that has work, unit_now says which worker
-- handles it, or why none does (now_...).
CREATE VIEW pm_catalog.unit_situation AS
SELECT u.process_manager, u.log, u.lane, u."position", u.handled, u.rate, u.moved_at, u.id, u.owner, u.owner_name, u.rolname,
	   u.state, u.reason, u.hint, u.message, u.attempts, u.retry_at, u.errors, u.conflicts, u.high_water_mark,
	   u.last_position, u.problem, u.problem_hint, u.held_by, u.parked, u.dead, u.next_retry, u.overdue, u.oldest, u.seen_at,
	   u.stopped, u.lane_due, u.queue_due, u.log_due,
	   coalesce(n.situation, f.situation) AS now_situation, coalesce(n.reason, f.reason) AS now_reason,
	   coalesce(n.hint, f.hint) AS now_hint,
	   CASE
		   WHEN u.stopped IS NOT NULL THEN u.stopped
		   WHEN u.state OPERATOR(pg_catalog.=) ANY (ARRAY['retrying', 'parking']) THEN 'retrying'
		   WHEN u.problem IS NOT NULL THEN 'problem'
		   WHEN u.state OPERATOR(pg_catalog.=) 'waiting' THEN 'waiting'
		   WHEN u.last_position IS NULL THEN 'hidden'
		   WHEN u.log_due OR u.queue_due THEN coalesce(n.situation, f.situation, 'running')
		   WHEN u.last_position OPERATOR(pg_catalog.<=) u."position"
		   THEN CASE WHEN rs.standstill THEN 'replica' ELSE 'idle' END
		   ELSE coalesce(u.held_by, 'running')
	   END AS situation,
	   rs.reason AS replica_reason, rs.hint AS replica_hint, u.deferred
FROM pm_catalog.unit_row u
LEFT JOIN pm_catalog.replica_state rs ON rs.log OPERATOR(pg_catalog.=) u.log
CROSS JOIN LATERAL (SELECT u.stopped IS NULL AND (u.lane_due OR u.queue_due OR u.log_due) AS due) w
LEFT JOIN LATERAL pm_catalog.unit_now(CASE WHEN w.due AND NOT u.consumed THEN u.id END, u.lane, u.owner) n ON true
LEFT JOIN pm_catalog.consumer_now f ON w.due AND u.consumed AND f.process_manager OPERATOR(pg_catalog.=) u.process_manager
								   AND f.lane OPERATOR(pg_catalog.=) u.lane;

CREATE VIEW pm.status WITH (security_barrier) AS
SELECT u.process_manager, coalesce((SELECT t.title FROM pm_catalog.log t WHERE t.name OPERATOR(pg_catalog.=) u.log), u.log) AS log, u.lane,
	   u."position", u.high_water_mark,
	   CASE WHEN u.last_position IS NOT NULL
			THEN greatest(u.last_position OPERATOR(pg_catalog.-) u."position", 0) END AS lag,
	   CASE WHEN u.situation OPERATOR(pg_catalog.=) ANY (ARRAY['idle', 'running', 'paused', 'halted', 'retrying'])
			THEN u.situation
			WHEN u.situation OPERATOR(pg_catalog.=) ANY (ARRAY['stuck', 'overdue', 'fetched']) THEN 'running'
			ELSE 'waiting' END AS state,
	   CASE u.situation
		   WHEN 'copy' THEN 'this database is a copy'
		   WHEN 'paused' THEN 'it was paused with pm.pause'
		   WHEN 'recovery' THEN 'this server is in recovery'
		   WHEN 'library' THEN 'no worker runs, because the library of pm is not preloaded'
		   WHEN 'launcher' THEN 'no worker runs, because pm.launcher is off'
		   WHEN 'version' THEN (SELECT v.reason FROM pm_catalog.version_problem() v)
		   WHEN 'template' THEN 'no worker runs in a template database'
		   WHEN 'closed' THEN 'no worker runs, because this database does not accept connections'
		   WHEN 'owner' THEN pg_catalog.format('its owner, role "%s", no longer exists', u.owner_name)
		   WHEN 'login' THEN pg_catalog.format('its owner, role "%s", is not permitted to log in', u.rolname)
		   WHEN 'connect' THEN pg_catalog.format('its owner, role "%s", may not connect to this database', u.rolname)
		   WHEN 'problem' THEN u.problem
		   WHEN 'hidden' THEN pg_catalog.format('its owner, role "%s", may not read the log', u.rolname)
		   WHEN 'writer' THEN 'a transaction that may write to the log is still open'
		   WHEN 'prepared' THEN 'a prepared transaction that may have written to the log is still open'
		   WHEN 'standby' THEN 'a transaction that wrote to the log waits for a synchronous standby'
		   WHEN 'replica' THEN p.reason
		   WHEN 'idle' THEN p.reason
		   WHEN 'running' THEN p.reason
		   WHEN 'taken' THEN u.now_reason
		   WHEN 'dispatcher' THEN u.now_reason
		   WHEN 'busy' THEN u.now_reason
		   WHEN 'stuck' THEN u.now_reason
		   WHEN 'overdue' THEN u.now_reason
		   WHEN 'fetched' THEN u.now_reason
		   WHEN 'unfetched' THEN u.now_reason
		   -- The message of a handler may contain data, so only the owner sees it.
		   ELSE pg_catalog.concat(u.reason, CASE WHEN u.message IS NOT NULL AND pg_catalog.pg_has_role(u.owner, 'USAGE')
												 THEN pg_catalog.concat(': ', u.message) END, d.due)
	   END AS reason,
	   CASE u.situation
		   WHEN 'copy' THEN 'SELECT pm.resume() adopts the copy. From then on, handlers run here, too.'
		   WHEN 'paused' THEN pg_catalog.format('SELECT pm.resume(%L) ends the pause.', u.process_manager)
		   WHEN 'recovery' THEN 'Workers run on the primary.'
		   WHEN 'library' THEN 'Add pm to shared_preload_libraries and restart the server, or call pm.catch_up regularly.'
		   WHEN 'launcher' THEN 'Set pm.launcher = on and reload the configuration.'
		   WHEN 'version' THEN (SELECT v.hint FROM pm_catalog.version_problem() v)
		   WHEN 'template' THEN pg_catalog.format('Run ALTER DATABASE %I IS_TEMPLATE false.', pg_catalog.current_database())
		   WHEN 'closed' THEN pg_catalog.format('Run ALTER DATABASE %I ALLOW_CONNECTIONS true.', pg_catalog.current_database())
		   WHEN 'owner' THEN pg_catalog.format(
			   'A superuser can give it to another role with SELECT pm.set_owner(%L, ...).', u.process_manager)
		   WHEN 'login' THEN pg_catalog.format('Run ALTER ROLE %I LOGIN.', u.rolname)
		   WHEN 'connect' THEN pg_catalog.format('Run GRANT CONNECT ON DATABASE %I TO %I.',
												 pg_catalog.current_database(), u.rolname)
		   WHEN 'problem' THEN u.problem_hint
		   WHEN 'hidden' THEN pg_catalog.format('Run GRANT SELECT on its table, and GRANT USAGE on its schema, TO %I.', u.rolname)
		   WHEN 'writer' THEN 'SELECT * FROM pm.blocker shows which session it is.'
		   WHEN 'prepared' THEN 'SELECT * FROM pm.blocker shows which one it is.'
		   WHEN 'standby' THEN pm_catalog.standby_hint()
		   WHEN 'replica' THEN u.replica_hint
		   WHEN 'idle' THEN p.hint
		   WHEN 'running' THEN p.hint
		   WHEN 'taken' THEN u.now_hint
		   WHEN 'dispatcher' THEN u.now_hint
		   WHEN 'busy' THEN u.now_hint
		   WHEN 'stuck' THEN u.now_hint
		   WHEN 'overdue' THEN u.now_hint
		   WHEN 'fetched' THEN u.now_hint
		   WHEN 'unfetched' THEN u.now_hint
		   ELSE CASE WHEN d.due IS NULL OR u.now_hint IS NULL THEN u.hint ELSE u.now_hint END
	   END AS hint,
	   u.attempts,
	   -- For a unit that waits, the time of the next attempt is not always stored, so a time in the past says nothing.
	   CASE WHEN u.situation OPERATOR(pg_catalog.=) ANY (ARRAY['copy', 'paused', 'halted']) THEN NULL
			WHEN u.state OPERATOR(pg_catalog.=) 'waiting' AND u.lane_due THEN u.next_retry
			ELSE coalesce(u.retry_at, u.next_retry) END AS retry_at,
	   u.parked, u.handled, u.errors,
	   pg_catalog.round(now_rate.rate::pg_catalog.numeric, 1) AS rate,
	   -- A unit that makes no progress has no eta.
	   CASE WHEN u.situation OPERATOR(pg_catalog.=) ANY (ARRAY['running', 'fetched']) AND now_rate.rate OPERATOR(pg_catalog.>) 0.1
				 AND u.high_water_mark OPERATOR(pg_catalog.>) u."position"
				 AND u.seen_at OPERATOR(pg_catalog.-) u.moved_at OPERATOR(pg_catalog.<) '10 s'::pg_catalog.interval
			THEN pg_catalog.make_interval(secs => pg_catalog.round(least(
				 (u.high_water_mark OPERATOR(pg_catalog.-) u."position")::pg_catalog.float8
				 OPERATOR(pg_catalog./) now_rate.rate, 1e11)::pg_catalog.numeric, 1)::pg_catalog.float8) END AS eta,
	   old.at AS oldest_unhandled,
	   u.conflicts, u.dead, u.overdue AS timers_overdue, u.oldest AS oldest_overdue,
	   u.deferred,
	   -- A log can contain any time, and the age of an infinite one is an error.
	   CASE WHEN pg_catalog.isfinite(old.at)
			THEN greatest(u.seen_at OPERATOR(pg_catalog.-) old.at, '0'::pg_catalog.interval) END AS oldest_age,
	   CASE WHEN u.last_position OPERATOR(pg_catalog.<=) u."position" THEN 0
			WHEN u.last_position IS NOT NULL THEN pm_catalog.events_after(u.log, u."position") END AS lag_events
FROM pm_catalog.unit_situation u
CROSS JOIN LATERAL (
	SELECT nullif(pg_catalog.concat_ws('; ',
			   CASE WHEN u.oldest OPERATOR(pg_catalog.<) (u.seen_at OPERATOR(pg_catalog.-) '1 s'::pg_catalog.interval)
					THEN CASE u.overdue WHEN 1 THEN '1 timer is overdue'
						 ELSE pg_catalog.format('%s timers are overdue', u.overdue) END END,
			   CASE WHEN u.parked OPERATOR(pg_catalog.=) 0 THEN NULL
					WHEN u.parked OPERATOR(pg_catalog.=) 1
					THEN CASE u.dead WHEN 1 THEN '1 event is parked and dead' ELSE '1 event is parked' END
					WHEN u.dead OPERATOR(pg_catalog.=) 0 THEN pg_catalog.format('%s events are parked', u.parked)
					ELSE pg_catalog.format('%s events are parked, %s of them dead', u.parked, u.dead) END,
			   CASE WHEN u.next_retry OPERATOR(pg_catalog.<) (u.seen_at OPERATOR(pg_catalog.-) '1 s'::pg_catalog.interval)
					THEN 'a retry is due' END,
			   u.replica_reason), '') AS reason,
		   CASE WHEN u.parked OPERATOR(pg_catalog.>) 0 THEN
				pg_catalog.format('SELECT * FROM pm.parked WHERE process_manager = %1$L shows them. A failing event is '
								  'tried again at its retry_at, or now with pm.retry(%1$L, log, position). '
								  'pm.retry(%1$L) retries the dead ones. pm.discard gives events up.', u.process_manager)
				WHEN u.overdue OPERATOR(pg_catalog.>) 0
				THEN 'They are handled in turn. SELECT * FROM pm.worker shows what its dispatcher is doing.'
				ELSE u.replica_hint
		   END AS hint) p
-- What to add to the reason if a retry or the next attempt is due, but the unit does not run yet.
CROSS JOIN LATERAL (
	SELECT CASE WHEN NOT u.lane_due OR u.stopped IS NOT NULL THEN NULL
				WHEN u.now_situation OPERATOR(pg_catalog.=) ANY (ARRAY['stuck', 'overdue'])
				THEN pg_catalog.concat('; it is being tried again: ', u.now_reason)
				WHEN u.now_reason IS NOT NULL THEN pg_catalog.concat('; it is due, but ', u.now_reason)
				WHEN u.state OPERATOR(pg_catalog.<>) 'waiting'
					 AND u.retry_at OPERATOR(pg_catalog.<) (u.seen_at OPERATOR(pg_catalog.-) '1 s'::pg_catalog.interval)
				THEN '; it is due and waits for its dispatcher' END AS due) d
CROSS JOIN LATERAL (SELECT u.rate OPERATOR(pg_catalog.*) pg_catalog.exp(OPERATOR(pg_catalog.-) least(greatest(
					extract(epoch FROM u.seen_at OPERATOR(pg_catalog.-) u.moved_at)::pg_catalog.float8,
					0), 600) OPERATOR(pg_catalog./) 10) AS rate) now_rate
CROSS JOIN LATERAL (SELECT CASE WHEN u.last_position OPERATOR(pg_catalog.>) u."position"
								THEN pm_catalog.oldest_unhandled(u.log, u."position") END AS at OFFSET 0) old;

-- The counters of the lanes (src/manager/stat_view.c).
CREATE FUNCTION pm_catalog.counters(OUT process_manager text, OUT lane integer, OUT events bigint, OUT calls bigint,
									OUT batches bigint, OUT total_time double precision, OUT max_time double precision,
									OUT failures bigint, OUT conflicts bigint, OUT reset_at timestamptz)
	RETURNS SETOF record LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'pm_stat_counters';

-- Only the owner sees the contents of events. How many there are is for pg_monitor, too.
CREATE VIEW pm.stat WITH (security_barrier) AS
SELECT l.process_manager, l.lane, s.events,
	   -- Nobody knows what consumers call, or how long it takes.
	   CASE WHEN p.handler IS NOT NULL THEN s.calls END AS calls, s.batches,
	   CASE WHEN p.handler IS NOT NULL THEN s.total_time END AS total_time,
	   CASE WHEN p.handler IS NOT NULL THEN s.max_time END AS max_time,
	   s.failures, s.conflicts, k.deferred, k.failing, k.behind, k.dead, k.timers, k.timers_overdue,
	   CASE WHEN o.oldest IS NOT NULL
			THEN greatest(seen.at OPERATOR(pg_catalog.-) o.oldest, '0'::pg_catalog.interval) END AS oldest_unhandled,
	   CASE WHEN s.reset_at IS NOT NULL THEN greatest(s.reset_at, p.registered_at) END AS reset_at
FROM pm_catalog.lane l
JOIN pm_catalog.manager p ON p.name OPERATOR(pg_catalog.=) l.process_manager
LEFT JOIN pm_catalog.counters() s ON s.process_manager OPERATOR(pg_catalog.=) l.process_manager
								 AND s.lane OPERATOR(pg_catalog.=) l.lane
CROSS JOIN (SELECT pg_catalog.clock_timestamp() AS at OFFSET 0) seen
CROSS JOIN LATERAL pm_catalog.lane_waiting(l.process_manager, l.lane, seen.at) k
-- A log can contain any time, and the age of an infinite one is an error.
CROSS JOIN LATERAL (
	SELECT pg_catalog.min(y.oldest) FILTER (WHERE pg_catalog.isfinite(y.oldest)) AS oldest
	FROM (SELECT pm_catalog.oldest_unhandled(x.log, x."position") AS oldest FROM pm_catalog.cursor x
		  WHERE x.process_manager OPERATOR(pg_catalog.=) l.process_manager AND x.lane OPERATOR(pg_catalog.=) l.lane
		  OFFSET 0) y) o
WHERE pm_catalog.may_see(p.owner);
CREATE FUNCTION pm.stat_reset(name text DEFAULT NULL) RETURNS void
	LANGUAGE C AS 'MODULE_PATHNAME', 'pm_stat_reset';

-- Members of the owner see the consumers, and so do the roles that may be consumers.
CREATE VIEW pm.consumer WITH (security_barrier) AS
SELECT h.process_manager, h.lane, h.consumer, r.rolname AS role, h.since, h.until AS lease_until, h.fetched,
	   least(h.oldest,
			 (SELECT pg_catalog.min(t.due) FROM pm_catalog.timer t WHERE t.id OPERATOR(pg_catalog.=) ANY (h.timers)),
			 (SELECT pg_catalog.min(coalesce(k.recorded_at, k.parked_at)) FROM pm_catalog.parked k
			  WHERE k.id OPERATOR(pg_catalog.=) ANY (h.parked))) AS oldest
FROM pm_catalog.held_lane h
JOIN pm_catalog.manager p ON p.name OPERATOR(pg_catalog.=) h.process_manager
LEFT JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) h.role
WHERE p.at_home AND (h.held OR h.fetched OPERATOR(pg_catalog.>) 0)
  AND (pm_catalog.may_see(p.owner)
	   OR EXISTS (SELECT FROM pg_catalog.pg_roles c WHERE c.oid OPERATOR(pg_catalog.=) ANY (p.consumers)
				  AND pg_catalog.pg_has_role(c.oid, 'USAGE')));

-- For the owner of the log, and pg_monitor.
CREATE VIEW pm.erasure WITH (security_barrier) AS
SELECT coalesce(l.title, e.log) AS log, e.positions, e.erased_at, e.waits_for AS process_managers
FROM pm_catalog.erasure e
LEFT JOIN pm_catalog.log l ON l.name OPERATOR(pg_catalog.=) e.log
LEFT JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) l.source::pg_catalog.oid
WHERE pg_catalog.pg_has_role(c.relowner, 'USAGE') OR pg_catalog.pg_has_role('pg_monitor', 'USAGE');

-- For the roles that may see the log.
CREATE VIEW pm.promotion WITH (security_barrier) AS
SELECT l.name AS log, p.timeline, p.skipped_from, p.skipped_to, p.skipped_at
FROM pm_catalog.promotion p
JOIN pm.log l ON l."table" OPERATOR(pg_catalog.=) p.source
WHERE p.skipped_to IS NOT NULL;

-- It begins with the locks, because there are few of them on logs, and there can be thousands of logs.
CREATE VIEW pm.blocker WITH (security_barrier) AS
WITH RECURSIVE locked AS MATERIALIZED (			-- the relations of this database that are locked
	SELECT k.relation, k.mode, k.virtualtransaction, k.pid
	FROM pg_catalog.pg_locks k
	WHERE k.locktype OPERATOR(pg_catalog.=) 'relation'
	  AND k.database OPERATOR(pg_catalog.=) (SELECT oid FROM pg_catalog.pg_database
											 WHERE datname OPERATOR(pg_catalog.=) pg_catalog.current_database())
), direct AS (
	-- A mark is held back only by transactions that hold a lock that a writer can take.
	SELECT 'high-water mark' AS blocks, l.name AS log, NULL::text AS process_manager, h.virtualtransaction AS vxid, h.pid
	FROM (SELECT DISTINCT k.relation FROM locked k
		  WHERE k.mode OPERATOR(pg_catalog.<>) ALL (ARRAY['AccessShareLock', 'RowShareLock', 'ShareLock'])) k
	JOIN pm_catalog.log l ON l.source OPERATOR(pg_catalog.=) k.relation::pg_catalog.regclass
	CROSS JOIN LATERAL pm_catalog.log_state(l.name) s
	CROSS JOIN LATERAL pm_catalog.mark_holders(l.name) h
	WHERE s.last_position OPERATOR(pg_catalog.>) s.high_water_mark AND (pg_catalog.pg_has_role('pg_monitor', 'USAGE') OR EXISTS (
		SELECT FROM pm_catalog.cursor c
		JOIN pm_catalog.manager p ON p.name OPERATOR(pg_catalog.=) c.process_manager
		WHERE c.log OPERATOR(pg_catalog.=) l.name AND pg_catalog.pg_has_role(p.owner, 'USAGE')))
	UNION ALL
	-- Sessions that hold this lock on a log's table or sequence, and those that wait for it, because later sessions queue
	-- behind those that wait.
	SELECT 'log', l.name, NULL, k.virtualtransaction, k.pid
	FROM locked k
	CROSS JOIN LATERAL (
		SELECT k.relation AS relid
		UNION ALL
		SELECT d.refobjid FROM pg_catalog.pg_depend d
		WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
		  AND d.objid OPERATOR(pg_catalog.=) k.relation AND d.deptype OPERATOR(pg_catalog.=) 'i'
		  AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
		  AND EXISTS (SELECT FROM pg_catalog.pg_sequence s WHERE s.seqrelid OPERATOR(pg_catalog.=) d.objid)) t
	JOIN pm_catalog.log l ON l.source OPERATOR(pg_catalog.=) t.relid::pg_catalog.regclass
	WHERE k.mode OPERATOR(pg_catalog.=) 'AccessExclusiveLock' AND (pg_catalog.pg_has_role('pg_monitor', 'USAGE') OR EXISTS (
		SELECT FROM pm_catalog.cursor c
		JOIN pm_catalog.manager p ON p.name OPERATOR(pg_catalog.=) c.process_manager
		WHERE c.log OPERATOR(pg_catalog.=) l.name AND pg_catalog.pg_has_role(p.owner, 'USAGE')))
	UNION ALL
	SELECT 'process manager', NULL, p.name, h.virtualtransaction, h.pid
	FROM pm_catalog.unit_holder h
	JOIN pm_catalog.manager p ON p.id OPERATOR(pg_catalog.=) h.id
	WHERE pm_catalog.may_see(p.owner)
	UNION ALL
	SELECT 'dispatcher', w.log, w.process_manager, b.virtualtransaction, b.blocker
	FROM pm_catalog.workers() w
	CROSS JOIN LATERAL pm_catalog.waits_for(w.pid) b
	WHERE w.kind OPERATOR(pg_catalog.=) 'dispatcher' AND pm_catalog.may_see(w.role)
	  AND w.database OPERATOR(pg_catalog.=) (SELECT oid FROM pg_catalog.pg_database
											 WHERE datname OPERATOR(pg_catalog.=) pg_catalog.current_database())
	UNION ALL
	-- Dispatchers that wait for a synchronous standby, for each process manager of which they hold the lock of a unit.
	SELECT 'dispatcher', NULL, u.name, u.virtualtransaction, w.pid
	FROM pm_catalog.workers() w
	LEFT JOIN LATERAL (
		SELECT p.name, k.virtualtransaction
		FROM pg_catalog.pg_locks k
		JOIN pm_catalog.manager p ON p.id OPERATOR(pg_catalog.=) k.objid::pg_catalog.int8::integer
		WHERE k.pid OPERATOR(pg_catalog.=) w.pid AND k.locktype OPERATOR(pg_catalog.=) 'object' AND k.granted
		  AND k.classid OPERATOR(pg_catalog.=) 'pm_catalog.process_manager'::pg_catalog.regclass
		  AND k.database OPERATOR(pg_catalog.=) w.database AND pm_catalog.may_see(p.owner)) u ON true
	WHERE w.kind OPERATOR(pg_catalog.=) 'dispatcher' AND pm_catalog.may_see(w.role)
	  AND w.wait_event OPERATOR(pg_catalog.=) 'SyncRep'
	  AND w.database OPERATOR(pg_catalog.=) (SELECT oid FROM pg_catalog.pg_database
											 WHERE datname OPERATOR(pg_catalog.=) pg_catalog.current_database())
), blocks AS (			-- and the transactions for which these wait themselves
	SELECT * FROM direct
	UNION
	SELECT x.blocks, x.log, x.process_manager, b.virtualtransaction, b.blocker
	FROM blocks x CROSS JOIN LATERAL pm_catalog.waits_for(x.pid) b
), prepared AS (
	SELECT k.virtualtransaction AS vxid, x.gid, x.owner, x.prepared
	FROM pg_catalog.pg_prepared_xacts x
	JOIN pg_catalog.pg_locks k ON k.transactionid OPERATOR(pg_catalog.=) x.transaction
		AND k.locktype OPERATOR(pg_catalog.=) 'transactionid' AND k.granted AND k.pid IS NULL
)
SELECT b.blocks, coalesce((SELECT t.title FROM pm_catalog.log t WHERE t.name OPERATOR(pg_catalog.=) b.log), b.log) AS log,
	   b.process_manager, a.pid, x.gid, coalesce(a.usename, x.owner) AS role,
	   coalesce(a.xact_start, x.prepared) AS since, CASE WHEN x.gid IS NULL THEN a.state ELSE 'prepared' END AS state, a.query,
	   CASE
		   WHEN x.gid IS NOT NULL THEN pg_catalog.format('COMMIT PREPARED %L; or ROLLBACK PREPARED %L;', x.gid, x.gid)
		   WHEN a.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()
		   THEN 'It is this session. COMMIT or ROLLBACK its transaction.'
		   WHEN s.wait_event OPERATOR(pg_catalog.=) 'SyncRep'
		   THEN pg_catalog.concat('Its transaction is committed and waits for a synchronous standby. ', pm_catalog.standby_hint())
		   WHEN s.wait_event_type OPERATOR(pg_catalog.=) 'Lock' AND s.worker IS NOT NULL
		   THEN 'It is a worker of pm that waits for another session, which has a row here, too. Do not terminate the '
				'worker: that would count as a failure of its event.'
		   WHEN s.worker IS NOT NULL
		   THEN 'It is a worker of pm, and its transaction ends by itself. Do not terminate the worker: that would '
				'count as a failure of its event.'
		   WHEN s.wait_event_type OPERATOR(pg_catalog.=) 'Lock' THEN 'It waits for another session, which has a row here, too.'
		   WHEN a.usesysid IS NULL THEN 'It is a process of the server, and its transaction ends by itself.'
		   WHEN pg_catalog.pg_has_role(a.usesysid, 'USAGE') OR (pg_catalog.pg_has_role('pg_signal_backend', 'USAGE')
				AND NOT (SELECT r.rolsuper FROM pg_catalog.pg_roles r WHERE r.oid OPERATOR(pg_catalog.=) a.usesysid))
		   THEN pg_catalog.format('SELECT pg_terminate_backend(%s);', a.pid)
		   ELSE pg_catalog.format('Have role "%s" end its transaction, '
								  'or have a superuser run SELECT pg_terminate_backend(%s).', a.usename, a.pid)
	   END AS hint,
	   s.wait_event_type, s.wait_event
FROM (SELECT DISTINCT * FROM blocks) b
LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid OPERATOR(pg_catalog.=) b.pid
LEFT JOIN LATERAL pm_catalog.session(b.pid) s ON true
LEFT JOIN prepared x ON b.pid IS NULL AND x.vxid OPERATOR(pg_catalog.=) b.vxid
WHERE a.pid IS NOT NULL OR x.gid IS NOT NULL;
