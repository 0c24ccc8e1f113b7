\echo Use "ALTER EXTENSION pm UPDATE TO '0.2.0'" to load this file. \quit

-- Each change here is also in a module of the install script, src/sql/*.sql: an updated extension has the same objects as a
-- new one (test/t/210_upgrade.pl compares them).

-- pm.trace also returns the causes.
COMMENT ON FUNCTION pm.trace(text, bigint) IS 'the causes of an event, and the tree of events that it has caused, as far as the caller may read the logs';

CREATE FUNCTION pm.rehearse(name text, handler text DEFAULT NULL, log text DEFAULT NULL, after bigint DEFAULT 0,
							max_count integer DEFAULT 1000)
	RETURNS TABLE (event_log text, pos bigint, key text, outcome text, error text, appended jsonb, state jsonb)
	LANGUAGE C AS 'MODULE_PATHNAME', 'pm_rehearse';
COMMENT ON FUNCTION pm.rehearse(text, text, text, bigint, integer) IS 'what a handler would do with events; everything is undone';

-- pm.append with an id.
CREATE TABLE pm_catalog.append_id (
	log             text NOT NULL,
	id              bytea NOT NULL,
	"position"      bigint NOT NULL,
	PRIMARY KEY (log, id)
);
CREATE INDEX append_id_position ON pm_catalog.append_id (log, "position");
SELECT pg_catalog.pg_extension_config_dump('pm_catalog.append_id', '');

DROP FUNCTION pm.append(text, text, text, jsonb, jsonb, bigint);
CREATE FUNCTION pm.append(log text, stream text, type text, data jsonb DEFAULT '{}', metadata jsonb DEFAULT '{}',
						  expected_version bigint DEFAULT NULL, id text DEFAULT NULL)
	RETURNS bigint LANGUAGE C AS 'MODULE_PATHNAME', 'pm_append';
COMMENT ON FUNCTION pm.append(text, text, text, jsonb, jsonb, bigint, text) IS 'append an event to a stream and return its position';

-- keep_ended, journal and pm.alter

ALTER TABLE pm_catalog.process_manager ADD COLUMN keep_ended interval;
ALTER TABLE pm_catalog.process_manager ADD COLUMN journal boolean NOT NULL DEFAULT false;

DROP FUNCTION pm.register(text, text, text[], text, text[], text, text, integer, interval, interval, integer, integer, integer);
CREATE FUNCTION pm.register(name text, handler text, logs text[], correlate text DEFAULT NULL,
							types text[] DEFAULT NULL, start_at text DEFAULT NULL,
							on_failure text DEFAULT 'park', max_attempts integer DEFAULT 5,
							backoff interval DEFAULT '1 s', handler_timeout interval DEFAULT '10 s',
							batch_size integer DEFAULT 100, lanes integer DEFAULT 1,
							park_limit integer DEFAULT 1000, keep_ended interval DEFAULT NULL,
							journal boolean DEFAULT false, lease interval DEFAULT '30 s',
							consumers text[] DEFAULT NULL, carry text[] DEFAULT NULL)
	RETURNS void LANGUAGE C AS 'MODULE_PATHNAME', 'pm_register';
-- NULL: as it is. reset names arguments that get their default again.
CREATE FUNCTION pm.alter(name text, handler text DEFAULT NULL, logs text[] DEFAULT NULL,
						 correlate text DEFAULT NULL, types text[] DEFAULT NULL,
						 start_at text DEFAULT NULL, on_failure text DEFAULT NULL,
						 max_attempts integer DEFAULT NULL, backoff interval DEFAULT NULL,
						 handler_timeout interval DEFAULT NULL, batch_size integer DEFAULT NULL,
						 lanes integer DEFAULT NULL, park_limit integer DEFAULT NULL,
						 keep_ended interval DEFAULT NULL, journal boolean DEFAULT NULL,
						 lease interval DEFAULT NULL, consumers text[] DEFAULT NULL,
						 carry text[] DEFAULT NULL, reset text[] DEFAULT NULL)
	RETURNS void LANGUAGE C AS 'MODULE_PATHNAME', 'pm_alter';
COMMENT ON FUNCTION pm.register(text, text, text[], text, text[], text, text, integer, interval, interval, integer, integer, integer, interval, boolean, interval, text[], text[])
	IS 'register a process manager, or change one';
COMMENT ON FUNCTION pm.alter(text, text, text[], text, text[], text, text, integer, interval, interval, integer, integer, integer, interval, boolean, interval, text[], text[], text[])
	IS 'change some settings of a process manager, and leave the others as they are';

CREATE OR REPLACE VIEW pm_catalog.manager AS
SELECT p.name, p.id, p.owner_name, p.handler, p.handler_kind, p.correlate, p.types, p.on_failure, p.max_attempts, p.backoff,
	   p.handler_timeout, p.batch_size, p.lanes, p.park_limit, p.paused, p.registered_at, h.at_home,
	   -- The owner of the shell type (src/manager/shell_type.c).
	   coalesce((SELECT t.typowner FROM pg_catalog.pg_type t
				 WHERE t.typname OPERATOR(pg_catalog.=) p.name::pg_catalog.name
				   AND t.typnamespace OPERATOR(pg_catalog.=) (
					   SELECT n.oid FROM pg_catalog.pg_namespace n
					   WHERE n.nspname OPERATOR(pg_catalog.=) 'pm_process_manager')
				   AND (h.at_home OR EXISTS (SELECT FROM pg_catalog.pg_roles r
											 WHERE r.oid OPERATOR(pg_catalog.=) t.typowner AND NOT r.rolsuper))),
				CASE WHEN h.at_home THEN p.owner
					 ELSE coalesce(pg_catalog.to_regrole(pg_catalog.quote_ident(p.owner_name))::pg_catalog.oid, 0) END) AS owner,
	   p.keep_ended, p.journal
FROM pm_catalog.process_manager p
CROSS JOIN pm_catalog.library() lib
CROSS JOIN (SELECT oid FROM pg_catalog.pg_database
			WHERE datname OPERATOR(pg_catalog.=) pg_catalog.current_database()) here
CROSS JOIN LATERAL (SELECT p.system_identifier OPERATOR(pg_catalog.=) lib.system_identifier
						   AND p.database OPERATOR(pg_catalog.=) here.oid AS at_home) h;

CREATE OR REPLACE VIEW pm.process_manager WITH (security_barrier) AS
SELECT p.name, coalesce(r.rolname, p.owner_name) AS owner, p.handler,
	   (SELECT pg_catalog.array_agg(DISTINCT c.log) FROM pm_catalog.cursor c
		WHERE c.process_manager OPERATOR(pg_catalog.=) p.name) AS logs,
	   p.correlate, p.types, p.on_failure, p.max_attempts, p.backoff, p.handler_timeout, p.batch_size, p.lanes,
	   p.park_limit, p.paused, p.registered_at, p.keep_ended, p.journal
FROM pm_catalog.manager p
LEFT JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) p.owner
WHERE pm_catalog.may_see(p.owner);

COMMENT ON COLUMN pm.process_manager.keep_ended IS 'how long ended instances and journals are kept';
COMMENT ON COLUMN pm.process_manager.journal IS 'whether each event and timer that an instance handles leaves an entry in pm.journal';

-- Ended instances and journals

ALTER TABLE pm_catalog.instance ADD COLUMN entries bigint NOT NULL DEFAULT 0;
ALTER TABLE pm_catalog.timer ADD COLUMN sent boolean NOT NULL DEFAULT false;
CREATE OR REPLACE VIEW pm.timer WITH (security_barrier) AS
SELECT t.process_manager, t.key, t.type, t.due, t.data
FROM pm_catalog.timer t
JOIN pm_catalog.manager p ON p.name OPERATOR(pg_catalog.=) t.process_manager
WHERE pg_catalog.pg_has_role(p.owner, 'USAGE') AND NOT t.sent;
CREATE FUNCTION pm.send(name text, key text, type text, data jsonb DEFAULT '{}') RETURNS void
	LANGUAGE C AS 'MODULE_PATHNAME', 'pm_send';
COMMENT ON FUNCTION pm.send(text, text, text, jsonb) IS 'send an event to one instance of a process manager, without a log';
-- A row for each event that was sent to an instance and is not yet among the timers of its unit (src/manager/sent.c).
CREATE TABLE pm_catalog.sent (
	id              bigint GENERATED BY DEFAULT AS IDENTITY,
	process_manager text NOT NULL,
	key             text NOT NULL,
	type            text NOT NULL,
	data            jsonb NOT NULL,
	metadata        jsonb NOT NULL,
	sent_at         timestamptz NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
CREATE INDEX sent_queue ON pm_catalog.sent (process_manager, id);

SELECT pg_catalog.pg_extension_config_dump('pm_catalog.sent', '');
SELECT pg_catalog.pg_extension_config_dump('pm_catalog.sent_id_seq', '');
-- A row for each instance that has ended, if its process manager keeps them.
CREATE TABLE pm_catalog.ended (
	process_manager text NOT NULL,
	key             text NOT NULL,
	started_at      timestamptz NOT NULL,
	ended_at        timestamptz NOT NULL,
	state           jsonb,				-- the last one; NULL: it ended in the call in which it began
	result          jsonb,
	reason          text,
	ended_by        text				-- a role; NULL: the instance itself
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.1);
CREATE INDEX ended_key ON pm_catalog.ended (process_manager, key, ended_at);
CREATE INDEX ended_at ON pm_catalog.ended (process_manager, ended_at);

-- A row for each event and timer that an instance has handled, if its process manager has a journal, and for each change
-- that a person has made (log, position and type are NULL). The ids of a key are in the order of handling.
CREATE TABLE pm_catalog.journal (
	id              bigint GENERATED BY DEFAULT AS IDENTITY (INCREMENT BY 100),	-- for up to 100 rows at once (bulk.h)
	process_manager text NOT NULL,
	key             text NOT NULL,
	started_at      timestamptz,		-- of the instance
	seq             bigint NOT NULL,
	log             text,
	"position"      bigint,
	type            text,
	handled_at      timestamptz NOT NULL,
	state           jsonb,				-- afterwards; NULL: the instance has ended
	appended        jsonb,
	timers          jsonb,
	by              text,				-- a role
	reason          text
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.1);
-- Each batch adds many entries. What is compared fast, and differs in most of them, comes first.
CREATE INDEX journal_key ON pm_catalog.journal (key, id, process_manager) WITH (deduplicate_items = off);
CREATE INDEX journal_handled_at ON pm_catalog.journal (process_manager, handled_at) WITH (deduplicate_items = off);
CREATE INDEX journal_event ON pm_catalog.journal ("position") WITH (deduplicate_items = off);

SELECT pg_catalog.pg_extension_config_dump('pm_catalog.ended', '');
SELECT pg_catalog.pg_extension_config_dump('pm_catalog.journal', '');
SELECT pg_catalog.pg_extension_config_dump('pm_catalog.journal_id_seq', '');

DROP FUNCTION pm.done();
CREATE FUNCTION pm.done(result jsonb DEFAULT NULL) RETURNS jsonb
	LANGUAGE C STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'pm_done';
COMMENT ON FUNCTION pm.done(jsonb) IS 'the value that the handler of an instance returns to end the instance, with its result';

CREATE VIEW pm.ended WITH (security_barrier) AS
SELECT e.process_manager, e.key, e.started_at, e.ended_at, e.state, e.result, e.reason, e.ended_by
FROM pm_catalog.ended e
JOIN pm_catalog.manager p ON p.name OPERATOR(pg_catalog.=) e.process_manager
WHERE pg_catalog.pg_has_role(p.owner, 'USAGE');

CREATE VIEW pm.journal WITH (security_barrier) AS
SELECT j.process_manager, j.key, j.started_at, j.seq, j.log, j."position", j.type, j.handled_at, j.state,
	   coalesce(j.appended, '[]') AS appended, coalesce(j.timers, '[]') AS timers, j.by, j.reason
FROM pm_catalog.journal j
JOIN pm_catalog.manager p ON p.name OPERATOR(pg_catalog.=) j.process_manager
WHERE pg_catalog.pg_has_role(p.owner, 'USAGE');

CREATE FUNCTION pm.erase(log text, stream text, replacement jsonb DEFAULT '{}') RETURNS bigint
	LANGUAGE C AS 'MODULE_PATHNAME', 'pm_erase';
COMMENT ON FUNCTION pm.erase(text, text, jsonb) IS 'replace the data of the events of a stream, in the log and wherever it is kept';
CREATE FUNCTION pm.end_instance(name text, key text, reason text) RETURNS void
	LANGUAGE C AS 'MODULE_PATHNAME', 'pm_end_instance';
CREATE FUNCTION pm.set_state(name text, key text, state jsonb, reason text) RETURNS void
	LANGUAGE C AS 'MODULE_PATHNAME', 'pm_set_state';
-- The columns of pm.history. A function that RETURNS TABLE cannot have an argument and a column that are both called key.
CREATE VIEW pm_catalog.history_row AS
SELECT j.process_manager, j.key, j.started_at, j.seq, j.log, j."position", j.type, j.handled_at, j.state, j.appended, j.timers,
	   j.by, j.reason, NULL::text AS status
FROM pm_catalog.journal j LIMIT 0;
CREATE FUNCTION pm.history(name text, key text) RETURNS SETOF pm_catalog.history_row
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'pm_history';

COMMENT ON FUNCTION pm.end_instance(text, text, text) IS 'end an instance by hand, with its timers and parked events';
COMMENT ON FUNCTION pm.set_state(text, text, jsonb, text) IS 'set the state of an instance by hand';
COMMENT ON FUNCTION pm.history(text, text) IS 'what an instance has been through, why it waits, and what will happen next';
COMMENT ON VIEW pm.ended IS 'instances that have ended, for as long as their process managers keep them';
COMMENT ON COLUMN pm.ended.process_manager IS 'name of the process manager';
COMMENT ON COLUMN pm.ended.key IS 'key of the instance';
COMMENT ON COLUMN pm.ended.started_at IS 'when the instance began';
COMMENT ON COLUMN pm.ended.ended_at IS 'when it ended';
COMMENT ON COLUMN pm.ended.state IS 'its last state; NULL if it ended in the call in which it began';
COMMENT ON COLUMN pm.ended.result IS 'what the handler gave to pm.done';
COMMENT ON COLUMN pm.ended.reason IS 'why it was ended by hand';
COMMENT ON COLUMN pm.ended.ended_by IS 'role that has ended it; NULL if it ended by itself';

COMMENT ON VIEW pm.journal IS 'the events and timers that instances have handled, and what people have changed';
COMMENT ON COLUMN pm.journal.process_manager IS 'name of the process manager';
COMMENT ON COLUMN pm.journal.key IS 'key of the instance';
COMMENT ON COLUMN pm.journal.started_at IS 'when the instance began';
COMMENT ON COLUMN pm.journal.seq IS 'number of the entry among those of the instance, from 1';
COMMENT ON COLUMN pm.journal.log IS 'log of the event; NULL if it was a timer or a person';
COMMENT ON COLUMN pm.journal."position" IS 'position of the event';
COMMENT ON COLUMN pm.journal.type IS 'type of the event or timer; NULL if it was a person';
COMMENT ON COLUMN pm.journal.handled_at IS 'when it was handled';
COMMENT ON COLUMN pm.journal.state IS 'state afterwards; NULL if the instance has ended';
COMMENT ON COLUMN pm.journal.appended IS 'log and position of each event that the handler has appended';
COMMENT ON COLUMN pm.journal.timers IS 'type and due time of each timer that the handler has set';
COMMENT ON COLUMN pm.journal.by IS 'role that sent the event or made the change';
COMMENT ON COLUMN pm.journal.reason IS 'why that role has done so';
GRANT SELECT ON pm.ended, pm.journal TO PUBLIC;

-- Parked events refer to their logs, and are read there. What 0.1.0 has copied is not needed any more.

ALTER TABLE pm_catalog.parked DROP CONSTRAINT parked_process_manager_log_position_key;
ALTER TABLE pm_catalog.parked ADD CONSTRAINT parked_event UNIQUE (process_manager, log, "position", key);
UPDATE pm_catalog.parked SET stream = NULL, version = NULL, type = NULL, data = NULL, metadata = NULL, recorded_at = NULL, too_large = 0
WHERE log IS NOT NULL;
CREATE FUNCTION pm_catalog.parked_event(log text, "position" bigint, owner oid) RETURNS pm.event
	LANGUAGE C STABLE STRICT AS 'MODULE_PATHNAME', 'pm_parked_event';
CREATE OR REPLACE VIEW pm.parked WITH (security_barrier) AS
SELECT k.process_manager, k.log, CASE WHEN k.log IS NULL THEN k.id ELSE k."position" END AS "position", k.key, k.state,
	   CASE WHEN k.log IS NULL
			THEN ROW(k.log, k."position", k.stream, k.version, k.type, k.data, k.metadata, k.recorded_at)::pm.event
			ELSE pm_catalog.parked_event(k.log, k."position", p.owner) END AS event,
	   k.attempts, k.message, k.detail, k.context, k.sqlstate,
	   -- -infinity: at once
	   CASE k.retry_at WHEN '-infinity' THEN k.parked_at ELSE k.retry_at END AS retry_at, k.parked_at,
	   pm_catalog.advice(p.handler, p.correlate, p.owner, k.sqlstate, true) AS hint
FROM pm_catalog.parked k
JOIN pm_catalog.manager p ON p.name OPERATOR(pg_catalog.=) k.process_manager
WHERE pg_catalog.pg_has_role(p.owner, 'USAGE');
COMMENT ON COLUMN pm.parked.event IS 'the event as it is in its log now';

-- Events that go to several keys

ALTER TABLE pm_catalog.lane ADD COLUMN key text;
DROP FUNCTION pm.retry(text, text, bigint);
DROP FUNCTION pm.discard(text, text, bigint);
CREATE FUNCTION pm.retry(name text, log text, pos bigint, key text DEFAULT NULL) RETURNS void
	LANGUAGE C AS 'MODULE_PATHNAME', 'pm_retry';
CREATE FUNCTION pm.discard(name text, log text, pos bigint, key text DEFAULT NULL) RETURNS void
	LANGUAGE C AS 'MODULE_PATHNAME', 'pm_discard';
CREATE FUNCTION pm.key() RETURNS text
	LANGUAGE C STABLE AS 'MODULE_PATHNAME', 'pm_key';
COMMENT ON FUNCTION pm.retry(text, text, bigint, text) IS 'retry a parked event now, and then the other events of its key';
COMMENT ON FUNCTION pm.discard(text, text, bigint, text) IS 'give up a parked event';
COMMENT ON FUNCTION pm.key() IS 'the key for which the handler is called; NULL outside of a handler';

-- Associations

-- A row for each value by which an instance is found, besides its key. A long value is stored as its hash, like a key.
CREATE TABLE pm_catalog.association (
	process_manager text NOT NULL,
	kind            text NOT NULL,
	value           text NOT NULL,
	key             text NOT NULL
);
-- Not UNIQUE, like cursor_key.
CREATE INDEX association_value ON pm_catalog.association (process_manager, kind, value, key);
CREATE INDEX association_key ON pm_catalog.association (process_manager, key);
SELECT pg_catalog.pg_extension_config_dump('pm_catalog.association', '');
CREATE FUNCTION pm.associate(kind text, value text) RETURNS void
	LANGUAGE C AS 'MODULE_PATHNAME', 'pm_associate';
CREATE FUNCTION pm.dissociate(kind text, value text) RETURNS boolean
	LANGUAGE C AS 'MODULE_PATHNAME', 'pm_dissociate';
CREATE FUNCTION pm.associated(kind text, value text) RETURNS text[]
	LANGUAGE C STABLE STRICT AS 'MODULE_PATHNAME', 'pm_associated';
COMMENT ON FUNCTION pm.associate(text, text) IS 'called by the handler of an instance: let pm.associated find the instance by this value';
COMMENT ON FUNCTION pm.dissociate(text, text) IS 'called by the handler of an instance: end an association; false if there is none';
COMMENT ON FUNCTION pm.associated(text, text) IS 'called by correlate: the keys of the instances that are found by this value';

-- Failures that say what they are

ALTER TABLE pm_catalog.parked ALTER COLUMN key DROP NOT NULL;
ALTER TABLE pm_catalog.parked DROP CONSTRAINT parked_state_check;
ALTER TABLE pm_catalog.parked ADD CONSTRAINT parked_state_check CHECK (state IN ('failing', 'deferred', 'behind', 'dead'));
DROP INDEX pm_catalog.parked_head;
CREATE INDEX parked_head ON pm_catalog.parked (process_manager, lane, id)
	WHERE state IN ('failing', 'deferred', 'dead');
CREATE FUNCTION pm.fail_permanently(reason text) RETURNS void
	LANGUAGE C AS 'MODULE_PATHNAME', 'pm_fail_permanently';
CREATE FUNCTION pm.defer(again_in interval, reason text DEFAULT NULL) RETURNS void
	LANGUAGE C AS 'MODULE_PATHNAME', 'pm_defer';
COMMENT ON FUNCTION pm.fail_permanently(text) IS 'in a handler: fail in a way that no retry can help';
COMMENT ON FUNCTION pm.defer(interval, text) IS 'in a handler: have the event handled again after some time, without a failure';
COMMENT ON COLUMN pm.status.conflicts IS 'number of lost races for a stream, serialization failures, deadlocks and lock timeouts that were retried and not counted as errors';
COMMENT ON COLUMN pm.parked.key IS 'key of the event, or NULL if correlate has failed permanently';
COMMENT ON COLUMN pm.parked.state IS 'failing: it is retried; deferred: its handler wants it later; behind: it waits for an earlier one; dead: it waits for a person';
COMMENT ON COLUMN pm.parked.message IS 'message of the last failure, or the reason for a deferral';
COMMENT ON COLUMN pm.parked.retry_at IS 'when it is tried next; NULL if it is behind or dead';
COMMENT ON VIEW pm.parked IS 'events and timers that are set aside because they, or an earlier one of their key, failed or were deferred';

-- Consumers

ALTER TABLE pm_catalog.process_manager ALTER COLUMN handler DROP NOT NULL;
ALTER TABLE pm_catalog.process_manager ADD COLUMN lease interval;
ALTER TABLE pm_catalog.process_manager ADD COLUMN consumers oid[];
ALTER TABLE pm_catalog.process_manager ADD COLUMN consumer_names name[];
ALTER TABLE pm_catalog.process_manager ADD COLUMN carry text[];

-- A row for each lane from which a consumer has fetched: who holds it, and until when.
CREATE TABLE pm_catalog.lease (
	process_manager text NOT NULL,
	lane            integer NOT NULL,
	consumer        text,				-- NULL: no one holds it
	role            oid,
	since           timestamptz,
	until           timestamptz,
	served_at       timestamptz,		-- when a consumer last got something from this lane
	parked          bigint[],			-- ids of parked events that were fetched and not advanced
	timers          bigint[],			-- ids of timers that were
	-- timers that had been fetched when a lease ran out, and how often
	tried_timers    bigint[],
	timer_tries     integer[],
	-- the event (log NULL: the timer) that was alone when the lease ran out for the last time allowed
	dead_log        text,
	dead_position   bigint,
	parked_last     boolean NOT NULL DEFAULT false	-- the last that was fetched were parked events
) WITH (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
CREATE INDEX lease_key ON pm_catalog.lease (process_manager, lane);	-- not UNIQUE, like cursor_key

-- A row for each lane and log from which a consumer has fetched.  All positions are after the lane's cursor.
CREATE TABLE pm_catalog.fetched (
	process_manager text NOT NULL,
	lane            integer NOT NULL,
	log             text NOT NULL,
	up_to           bigint NOT NULL,	-- all up to here has been fetched, parked, or is not for this lane
	events          bigint[],			-- positions of the events that were fetched and not advanced
	passed          bigint[],			-- positions of events that were parked, and are not fetched again
	-- up to which position the log had been fetched when a lease ran out, and how often
	tried_to        bigint[],
	tries           integer[]
) WITH (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
CREATE INDEX fetched_key ON pm_catalog.fetched (process_manager, lane, log);	-- not UNIQUE either

-- For consumers: programs outside that do the work of a process manager without a handler.
CREATE FUNCTION pm.fetch(name text, consumer text, max_count integer DEFAULT 100, wait interval DEFAULT '0 s')
	RETURNS TABLE (log text, "position" bigint, stream text, version bigint, type text, data jsonb, metadata jsonb,
				   recorded_at timestamptz, key text, attempt integer, state jsonb, lane integer,
				   lease_until timestamptz)
	LANGUAGE C ROWS 100 AS 'MODULE_PATHNAME', 'pm_fetch';
CREATE FUNCTION pm.advance(name text, consumer text, lane integer, log text DEFAULT NULL, up_to bigint DEFAULT NULL)
	RETURNS void LANGUAGE C AS 'MODULE_PATHNAME', 'pm_advance';
CREATE FUNCTION pm.extend(name text, consumer text) RETURNS timestamptz
	LANGUAGE C AS 'MODULE_PATHNAME', 'pm_extend';
CREATE FUNCTION pm.release(name text, consumer text) RETURNS void
	LANGUAGE C AS 'MODULE_PATHNAME', 'pm_release';
CREATE FUNCTION pm.fail(name text, consumer text, log text, pos bigint, error text, retry_in interval DEFAULT NULL,
						permanent boolean DEFAULT false, key text DEFAULT NULL)
	RETURNS void LANGUAGE C AS 'MODULE_PATHNAME', 'pm_fail';
CREATE FUNCTION pm.save(name text, consumer text, key text, state jsonb) RETURNS void
	LANGUAGE C AS 'MODULE_PATHNAME', 'pm_save';
CREATE FUNCTION pm.finish(name text, consumer text, key text, result jsonb DEFAULT NULL) RETURNS void
	LANGUAGE C AS 'MODULE_PATHNAME', 'pm_finish';
COMMENT ON FUNCTION pm.fetch(text, text, integer, interval) IS 'called by a consumer: lease a lane and return its next events and timers';
COMMENT ON FUNCTION pm.advance(text, text, integer, text, bigint) IS 'called by a consumer: what it has fetched from a lane is handled';
COMMENT ON FUNCTION pm.extend(text, text) IS 'called by a consumer: renew its leases, and return until when';
COMMENT ON FUNCTION pm.release(text, text) IS 'called by a consumer: give up its lanes';
COMMENT ON FUNCTION pm.fail(text, text, text, bigint, text, interval, boolean, text) IS 'called by a consumer: park an event or timer that it could not handle, or wants later';
COMMENT ON FUNCTION pm.save(text, text, text, jsonb) IS 'called by a consumer: keep the state of an instance';
COMMENT ON FUNCTION pm.finish(text, text, text, jsonb) IS 'called by a consumer: end an instance';

DROP FUNCTION pm.set_timer(text, timestamptz, jsonb);
DROP FUNCTION pm.cancel_timer(text);
CREATE FUNCTION pm.set_timer(type text, due timestamptz, data jsonb DEFAULT '{}', name text DEFAULT NULL,
							 consumer text DEFAULT NULL, key text DEFAULT NULL) RETURNS void
	LANGUAGE C AS 'MODULE_PATHNAME', 'pm_set_timer';
CREATE FUNCTION pm.cancel_timer(type text, name text DEFAULT NULL, consumer text DEFAULT NULL,
								key text DEFAULT NULL) RETURNS boolean
	LANGUAGE C AS 'MODULE_PATHNAME', 'pm_cancel_timer';
COMMENT ON FUNCTION pm.set_timer(text, timestamptz, jsonb, text, text, text) IS 'called by the handler of an instance, or by a consumer: set a timer, which comes back as an event of this type';
COMMENT ON FUNCTION pm.cancel_timer(text, text, text, text) IS 'called by the handler of an instance, or by a consumer: cancel a timer; false if there is none of this type';

CREATE OR REPLACE VIEW pm_catalog.manager AS
SELECT p.name, p.id, p.owner_name, p.handler, p.handler_kind, p.correlate, p.types, p.on_failure, p.max_attempts, p.backoff,
	   p.handler_timeout, p.batch_size, p.lanes, p.park_limit, p.paused, p.registered_at, h.at_home,
	   -- The owner of the shell type (src/manager/shell_type.c).
	   coalesce((SELECT t.typowner FROM pg_catalog.pg_type t
				 WHERE t.typname OPERATOR(pg_catalog.=) p.name::pg_catalog.name
				   AND t.typnamespace OPERATOR(pg_catalog.=) (
					   SELECT n.oid FROM pg_catalog.pg_namespace n
					   WHERE n.nspname OPERATOR(pg_catalog.=) 'pm_process_manager')
				   AND (h.at_home OR EXISTS (SELECT FROM pg_catalog.pg_roles r
											 WHERE r.oid OPERATOR(pg_catalog.=) t.typowner AND NOT r.rolsuper))),
				CASE WHEN h.at_home THEN p.owner
					 ELSE coalesce(pg_catalog.to_regrole(pg_catalog.quote_ident(p.owner_name))::pg_catalog.oid, 0) END) AS owner,
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
						   AND p.database OPERATOR(pg_catalog.=) here.oid AS at_home) h;

CREATE OR REPLACE VIEW pm.process_manager WITH (security_barrier) AS
SELECT p.name, coalesce(r.rolname, p.owner_name) AS owner, p.handler,
	   (SELECT pg_catalog.array_agg(DISTINCT c.log) FROM pm_catalog.cursor c
		WHERE c.process_manager OPERATOR(pg_catalog.=) p.name) AS logs,
	   p.correlate, p.types, p.on_failure, p.max_attempts, p.backoff, p.handler_timeout, p.batch_size, p.lanes,
	   p.park_limit, p.paused, p.registered_at, p.keep_ended, p.journal,
	   CASE WHEN p.handler IS NULL THEN p.lease END AS lease,
	   (SELECT pg_catalog.array_agg(c.rolname ORDER BY c.rolname) FROM pg_catalog.pg_roles c
		WHERE c.oid OPERATOR(pg_catalog.=) ANY (p.consumers)) AS consumers,
	   p.carry
FROM pm_catalog.manager p
LEFT JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) p.owner
WHERE pm_catalog.may_see(p.owner);
COMMENT ON COLUMN pm.process_manager.handler IS 'function that is called for each event; NULL: consumers do the work';
COMMENT ON COLUMN pm.process_manager.lease IS 'how long a consumer may hold a lane; NULL: it has a handler';
COMMENT ON COLUMN pm.process_manager.consumers IS 'roles that may be its consumers, beside members of the owner';
COMMENT ON COLUMN pm.process_manager.carry IS 'keys of metadata that appended events and timers inherit';

CREATE OR REPLACE VIEW pm_catalog.unit_row AS
SELECT c.process_manager, c.log, c.lane, c."position", c.handled, c.rate, c.moved_at,
	   p.id, p.owner, p.owner_name, r.rolname,
	   l.state, l.reason,
	   -- In state waiting, no handler was running, so its search_path is not the cause.
	   nullif(pg_catalog.concat_ws(' ', l.hint, pm_catalog.advice(p.handler, p.correlate, p.owner, l.sqlstate,
																  l.state OPERATOR(pg_catalog.<>) 'waiting')), '') AS hint,
	   CASE WHEN l.message IS DISTINCT FROM l.reason THEN l.message END AS message,
	   l.attempts, l.retry_at, l.errors, l.conflicts, s.high_water_mark, s.last_position,
	   coalesce(s.problem, d.problem) AS problem, coalesce(s.hint, d.hint) AS problem_hint, s.held_by,
	   k.parked OPERATOR(pg_catalog.+) kt.parked AS parked, k.dead OPERATOR(pg_catalog.+) kt.dead AS dead,
	   least(k.next_retry, kt.next_retry) AS next_retry, t.overdue, t.oldest, seen.at AS seen_at,
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
	   (coalesce(least(k.next_retry, kt.next_retry) OPERATOR(pg_catalog.<=) seen.at, false)
		OR t.overdue OPERATOR(pg_catalog.>) 0) AS queue_due,
	   coalesce(s.high_water_mark OPERATOR(pg_catalog.>) c."position", false) AS log_due
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
-- + 0 keeps the lane out of the index condition: parked_key would lead to the parked events of all logs, for each log.
CROSS JOIN LATERAL (
	SELECT pg_catalog.count(*) AS parked, pg_catalog.count(*) FILTER (WHERE k.state OPERATOR(pg_catalog.=) 'dead') AS dead,
		   pg_catalog.min(CASE k.retry_at WHEN '-infinity' THEN k.parked_at ELSE k.retry_at END) AS next_retry
	FROM pm_catalog.parked k
	WHERE k.process_manager OPERATOR(pg_catalog.=) c.process_manager AND k.log OPERATOR(pg_catalog.=) c.log
	  AND k.lane OPERATOR(pg_catalog.+) 0 OPERATOR(pg_catalog.=) c.lane) k
CROSS JOIN LATERAL (
	SELECT pg_catalog.count(*) AS parked, pg_catalog.count(*) FILTER (WHERE k.state OPERATOR(pg_catalog.=) 'dead') AS dead,
		   pg_catalog.min(CASE k.retry_at WHEN '-infinity' THEN k.parked_at ELSE k.retry_at END) AS next_retry
	FROM pm_catalog.parked k
	WHERE k.process_manager OPERATOR(pg_catalog.=) CASE WHEN c.first THEN c.process_manager END AND k.log IS NULL
	  AND k.lane OPERATOR(pg_catalog.+) 0 OPERATOR(pg_catalog.=) c.lane) kt
CROSS JOIN LATERAL (
	SELECT pg_catalog.count(*) AS overdue, pg_catalog.min(t.due) AS oldest
	FROM pm_catalog.timer t
	WHERE t.process_manager OPERATOR(pg_catalog.=)
		  CASE WHEN c.first AND p.handler_kind OPERATOR(pg_catalog.=) 's' THEN c.process_manager END
	  AND t.lane OPERATOR(pg_catalog.=) c.lane AND t.due OPERATOR(pg_catalog.<=) seen.at) t
WHERE pm_catalog.may_see(p.owner);

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
			ELSE pg_catalog.format('Start a consumer, which calls pm.fetch(%L, ...).', s.process_manager) END AS hint
FROM pm_catalog.lane s
LEFT JOIN pm_catalog.held_lane h ON h.process_manager OPERATOR(pg_catalog.=) s.process_manager
								AND h.lane OPERATOR(pg_catalog.=) s.lane;

CREATE OR REPLACE VIEW pm_catalog.unit_situation AS
SELECT u.*, n.situation AS now_situation, n.reason AS now_reason, n.hint AS now_hint,
	   CASE
		   WHEN u.stopped IS NOT NULL THEN u.stopped
		   WHEN u.state OPERATOR(pg_catalog.=) ANY (ARRAY['retrying', 'parking']) THEN 'retrying'
		   WHEN u.problem IS NOT NULL THEN 'problem'
		   WHEN u.state OPERATOR(pg_catalog.=) 'waiting' THEN 'waiting'
		   WHEN u.last_position IS NULL THEN 'hidden'
		   WHEN u.log_due OR u.queue_due THEN coalesce(n.situation, 'running')
		   WHEN u.last_position OPERATOR(pg_catalog.<=) u."position" THEN 'idle'
		   ELSE coalesce(u.held_by, 'running')
	   END AS situation
FROM pm_catalog.unit_row u
CROSS JOIN LATERAL (SELECT m.handler IS NULL AS consumed, u.stopped IS NULL AND (u.lane_due OR u.queue_due OR u.log_due) AS due
					FROM pm_catalog.process_manager m WHERE m.name OPERATOR(pg_catalog.=) u.process_manager) w
LEFT JOIN LATERAL (
	SELECT x.situation, x.reason, x.hint
	FROM pm_catalog.unit_now(CASE WHEN w.due AND NOT w.consumed THEN u.id END, u.lane, u.owner) x
	UNION ALL
	SELECT c.situation, c.reason, c.hint FROM pm_catalog.consumer_now c
	WHERE w.due AND w.consumed AND c.process_manager OPERATOR(pg_catalog.=) u.process_manager
	  AND c.lane OPERATOR(pg_catalog.=) u.lane) n ON true;

CREATE OR REPLACE VIEW pm.status WITH (security_barrier) AS
SELECT u.process_manager, u.log, u.lane, u."position", u.high_water_mark,
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
		   WHEN 'writer' THEN 'a transaction that may write the log is still open'
		   WHEN 'prepared' THEN 'a prepared transaction that may have written the log is still open'
		   WHEN 'standby' THEN 'a transaction that wrote the log waits for a synchronous standby'
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
		   WHEN 'standby' THEN 'Bring the standby back, or take it out of synchronous_standby_names and reload the configuration.'
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
	   CASE WHEN u.last_position OPERATOR(pg_catalog.>) u."position"
			THEN pm_catalog.oldest_unhandled(u.log, u."position") END AS oldest_unhandled,
	   u.conflicts, u.dead, u.overdue AS timers_overdue, u.oldest AS oldest_overdue,
	   -- Deferred timers are counted, like all parked timers, in the row of the first log.
	   CASE WHEN u.parked OPERATOR(pg_catalog.=) 0 THEN 0
			ELSE (SELECT pg_catalog.count(*) FROM pm_catalog.parked k
				  WHERE k.process_manager OPERATOR(pg_catalog.=) u.process_manager
					AND k.lane OPERATOR(pg_catalog.=) u.lane AND k.state OPERATOR(pg_catalog.=) 'deferred'
					AND coalesce(k.log, (SELECT pg_catalog.min(c.log) FROM pm_catalog.cursor c
										 WHERE c.process_manager OPERATOR(pg_catalog.=) u.process_manager
										   AND c.lane OPERATOR(pg_catalog.=) u.lane)) OPERATOR(pg_catalog.=) u.log) END AS deferred
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
					THEN 'a retry is due' END), '') AS reason,
		   CASE WHEN u.parked OPERATOR(pg_catalog.>) 0 THEN
				pg_catalog.format('SELECT * FROM pm.parked WHERE process_manager = %1$L shows them. A failing event is '
								  'tried again at its retry_at, or now with pm.retry(%1$L, log, position). '
								  'pm.retry(%1$L) retries the dead ones. pm.discard gives events up.', u.process_manager)
				WHEN u.overdue OPERATOR(pg_catalog.>) 0
				THEN 'They are handled in turn. SELECT * FROM pm.worker shows what its dispatcher is doing.'
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
					0), 600) OPERATOR(pg_catalog./) 10) AS rate) now_rate;
COMMENT ON COLUMN pm.status.deferred IS 'number of parked events that their handler has deferred';

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
COMMENT ON VIEW pm.consumer IS 'lanes that consumers hold, or whose lease has run out before everything was advanced';
COMMENT ON COLUMN pm.consumer.process_manager IS 'name of the process manager';
COMMENT ON COLUMN pm.consumer.lane IS 'number of the lane, from 0';
COMMENT ON COLUMN pm.consumer.consumer IS 'name of the consumer';
COMMENT ON COLUMN pm.consumer.role IS 'role that has fetched';
COMMENT ON COLUMN pm.consumer.since IS 'when it began to hold the lane';
COMMENT ON COLUMN pm.consumer.lease_until IS 'when its lease runs out';
COMMENT ON COLUMN pm.consumer.fetched IS 'number of events and timers that it has fetched and not advanced';
COMMENT ON COLUMN pm.consumer.oldest IS 'when the first of these was recorded or due';
GRANT SELECT ON pm.consumer TO PUBLIC;
-- End of consumers

-- pm.reply
-- Which instance has appended an event that consumers answer with pm.reply (src/log/reply_to.c).
CREATE TABLE pm_catalog.reply_to (
	log             text NOT NULL,
	"position"      bigint NOT NULL,
	process_manager integer NOT NULL,	-- its id
	key             text NOT NULL,
	type            text NOT NULL,
	metadata        jsonb NOT NULL,		-- what the answer inherits
	PRIMARY KEY (log, "position")
);
SELECT pg_catalog.pg_extension_config_dump('pm_catalog.reply_to', '');
CREATE FUNCTION pm.reply(log text, pos bigint, type text, data jsonb DEFAULT '{}') RETURNS void
	LANGUAGE C AS 'MODULE_PATHNAME', 'pm_reply';
COMMENT ON FUNCTION pm.reply(text, bigint, text, jsonb) IS 'called by a consumer: send an event to the instance whose handler has appended an event';

-- Stays last: all backends look again what the extension has.
SELECT pm_catalog.announce();
