\echo Use "ALTER EXTENSION pm UPDATE TO '0.2.0'" to load this file. \quit

-- Each change here is also in a module of the install script, src/sql/*.sql: an updated extension has the same objects as a
-- new one (test/t/210_upgrade.pl compares them).

-- Kinds of logs, and their names
ALTER TABLE pm_catalog.log ADD COLUMN kind "char" NOT NULL DEFAULT 'o' CHECK (kind IN ('o', 'a', 'p', 'r'));
ALTER TABLE pm_catalog.log ADD COLUMN filter text;
ALTER TABLE pm_catalog.log ADD COLUMN attached_by oid;
ALTER TABLE pm_catalog.log ADD COLUMN attached_by_name name;
ALTER TABLE pm_catalog.log ADD COLUMN sequence_xmin xid;
ALTER TABLE pm_catalog.log ADD COLUMN title text;
CREATE TABLE pm_catalog.log_alias (
	name            text PRIMARY KEY,
	log             text NOT NULL		-- its first name
);
CREATE INDEX log_alias_log ON pm_catalog.log_alias (log);
SELECT pg_catalog.pg_extension_config_dump('pm_catalog.log_alias', '');
CREATE FUNCTION pm.rename_log(log text, new_name text) RETURNS void
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'pm_rename_log';
COMMENT ON FUNCTION pm.rename_log(text, text) IS 'give a log and its table another name or schema; process managers continue';

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
-- NULL leaves a setting as it is. reset names arguments that get their default again.
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
CREATE UNIQUE INDEX sent_queue ON pm_catalog.sent (process_manager, id);

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
-- Each batch adds many entries. A column that is fast to compare and usually differs comes first.
CREATE UNIQUE INDEX journal_key ON pm_catalog.journal (key, id, process_manager) WITH (deduplicate_items = off);
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
SELECT j.process_manager, j.key, j.started_at, j.seq,
	   coalesce((SELECT t.title FROM pm_catalog.log t WHERE t.name OPERATOR(pg_catalog.=) j.log), j.log) AS log, j."position", j.type, j.handled_at,
	   j.state, coalesce(j.appended, '[]') AS appended, coalesce(j.timers, '[]') AS timers, j.by, j.reason
FROM pm_catalog.journal j
JOIN pm_catalog.manager p ON p.name OPERATOR(pg_catalog.=) j.process_manager
WHERE pg_catalog.pg_has_role(p.owner, 'USAGE');

CREATE FUNCTION pm.erase(log text, stream text, replacement jsonb DEFAULT '{}') RETURNS bigint
	LANGUAGE C AS 'MODULE_PATHNAME', 'pm_erase';
COMMENT ON FUNCTION pm.erase(text, text, jsonb) IS 'replace the data of the events of a stream, in the log and wherever pm keeps it';
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

COMMENT ON FUNCTION pm.end_instance(text, text, text) IS 'end an instance, with its timers and parked events';
COMMENT ON FUNCTION pm.set_state(text, text, jsonb, text) IS 'set the state of an instance';
COMMENT ON FUNCTION pm.history(text, text) IS 'what an instance has been through, why it waits, and what will happen next';
COMMENT ON VIEW pm.ended IS 'instances that have ended, for as long as their process managers keep them';
COMMENT ON COLUMN pm.ended.process_manager IS 'name of the process manager';
COMMENT ON COLUMN pm.ended.key IS 'key of the instance';
COMMENT ON COLUMN pm.ended.started_at IS 'when the instance began';
COMMENT ON COLUMN pm.ended.ended_at IS 'when it ended';
COMMENT ON COLUMN pm.ended.state IS 'its last state; NULL if it ended in the call in which it began';
COMMENT ON COLUMN pm.ended.result IS 'what the handler gave to pm.done';
COMMENT ON COLUMN pm.ended.reason IS 'why the role in ended_by has ended it';
COMMENT ON COLUMN pm.ended.ended_by IS 'role that has ended it; NULL if it ended by itself';

COMMENT ON VIEW pm.journal IS 'the events and timers that instances have handled, and what people have changed';
COMMENT ON COLUMN pm.journal.process_manager IS 'name of the process manager';
COMMENT ON COLUMN pm.journal.key IS 'key of the instance';
COMMENT ON COLUMN pm.journal.started_at IS 'when the instance began';
COMMENT ON COLUMN pm.journal.seq IS 'number of the entry among those of the instance, from 1';
COMMENT ON COLUMN pm.journal.log IS 'log of the event; NULL for a timer or a change by a person';
COMMENT ON COLUMN pm.journal."position" IS 'position of the event';
COMMENT ON COLUMN pm.journal.type IS 'type of the event or timer; NULL for a change by a person';
COMMENT ON COLUMN pm.journal.handled_at IS 'when it was handled';
COMMENT ON COLUMN pm.journal.state IS 'state afterwards; NULL if the instance has ended';
COMMENT ON COLUMN pm.journal.appended IS 'log and position of each event that the handler has appended';
COMMENT ON COLUMN pm.journal.timers IS 'type and due time of each timer that the handler has set';
COMMENT ON COLUMN pm.journal.by IS 'role that sent the event or made the change';
COMMENT ON COLUMN pm.journal.reason IS 'why that role has made the change';
GRANT SELECT ON pm.ended, pm.journal TO PUBLIC;

-- Parked events refer to their logs, and are read there. What 0.1.0 has copied is not needed any more.

ALTER TABLE pm_catalog.parked DROP CONSTRAINT parked_process_manager_log_position_key;
ALTER TABLE pm_catalog.parked ADD CONSTRAINT parked_event UNIQUE (process_manager, log, "position", key);
UPDATE pm_catalog.parked SET stream = NULL, version = NULL, type = NULL, data = NULL, metadata = NULL, recorded_at = NULL, too_large = 0
WHERE log IS NOT NULL;
CREATE FUNCTION pm_catalog.parked_event(log text, "position" bigint, owner oid) RETURNS pm.event
	LANGUAGE C STABLE STRICT AS 'MODULE_PATHNAME', 'pm_parked_event';
ALTER TABLE pm_catalog.parked ADD COLUMN error_hint text;
CREATE FUNCTION pm_catalog.advice(handler text, correlate text, owner oid, sqlstate text, called boolean, message text) RETURNS text
	LANGUAGE C STABLE AS 'MODULE_PATHNAME', 'pm_advice';
CREATE OR REPLACE VIEW pm.parked WITH (security_barrier) AS
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
COMMENT ON COLUMN pm.parked.event IS 'the event as it is in its log now';
COMMENT ON COLUMN pm.parked.error_hint IS 'hint of the last failure, as the handler gave it';

-- Events that go to several keys

ALTER TABLE pm_catalog.lane ADD COLUMN key text;
ALTER TABLE pm_catalog.lane ADD COLUMN error_hint text;
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

-- A row for each value by which an instance is found, in addition to its key. A long value is stored as its hash, like a key.
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

CREATE VIEW pm.association WITH (security_barrier) AS
SELECT a.process_manager, a.key, a.kind, a.value
FROM pm_catalog.association a
JOIN pm_catalog.manager p ON p.name OPERATOR(pg_catalog.=) a.process_manager
WHERE pg_catalog.pg_has_role(p.owner, 'USAGE');
COMMENT ON VIEW pm.association IS 'values by which instances are found, in addition to their keys';
COMMENT ON COLUMN pm.association.process_manager IS 'name of the process manager';
COMMENT ON COLUMN pm.association.key IS 'key of the instance';
COMMENT ON COLUMN pm.association.kind IS 'what the value is';
COMMENT ON COLUMN pm.association.value IS 'the value; one of more than 1,000 bytes is replaced by its hash';
GRANT SELECT ON pm.association TO PUBLIC;

-- Kinds of failures

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
COMMENT ON FUNCTION pm.fail_permanently(text) IS 'in a handler: fail permanently, so that the event is dead at once';
COMMENT ON FUNCTION pm.defer(interval, text) IS 'in a handler: have the event handled again after some time, without a failure';
COMMENT ON COLUMN pm.status.conflicts IS 'number of lost races for a stream, serialization failures, deadlocks and lock timeouts that were retried and not counted as errors';
COMMENT ON COLUMN pm.parked.key IS 'key of the event, or NULL if correlate has failed permanently';
COMMENT ON COLUMN pm.parked.state IS 'failing: it is retried; deferred: its handler wants it later; behind: it waits for an earlier one; dead: it is retried only with pm.retry';
COMMENT ON COLUMN pm.parked.message IS 'message of the last failure, or the reason for a deferral';
COMMENT ON COLUMN pm.parked.retry_at IS 'when it is tried next; NULL if it is behind or dead, and while its process manager is paused, halted or in a copy';
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
	timers          bigint[],			-- ids of timers that were fetched and not advanced
	-- timers that had been fetched when a lease ran out, and how often
	tried_timers    bigint[],
	timer_tries     integer[],
	-- the event (log NULL: the timer) that was alone when the lease ran out for the last time allowed
	dead_log        text,
	dead_position   bigint,
	parked_last     boolean NOT NULL DEFAULT false	-- what was fetched last were parked events
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

-- For consumers: programs outside the database that do the work of a process manager without a handler.
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
COMMENT ON FUNCTION pm.advance(text, text, integer, text, bigint) IS 'called by a consumer: record that what it has fetched from a lane is handled';
COMMENT ON FUNCTION pm.extend(text, text) IS 'called by a consumer: renew its leases, and return when they run out';
COMMENT ON FUNCTION pm.release(text, text) IS 'called by a consumer: give up its lanes';
COMMENT ON FUNCTION pm.fail(text, text, text, bigint, text, interval, boolean, text) IS 'called by a consumer: park an event or timer that it could not handle, or wants to handle later';
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

CREATE FUNCTION pm_catalog.manager_owner(name text, owner oid, owner_name name, at_home boolean) RETURNS oid
	LANGUAGE C STABLE STRICT AS 'MODULE_PATHNAME', 'pm_registry_owner';
CREATE OR REPLACE VIEW pm_catalog.manager AS
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

-- pm.diagram
-- The logs to which the handler of each process manager has appended (src/log/appends.c).
CREATE TABLE pm_catalog.appends (
	process_manager text NOT NULL,
	log             text NOT NULL
);
CREATE INDEX appends_key ON pm_catalog.appends (process_manager, log);
SELECT pg_catalog.pg_extension_config_dump('pm_catalog.appends', '');

CREATE OR REPLACE VIEW pm.process_manager WITH (security_barrier) AS
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
COMMENT ON COLUMN pm.process_manager.keep_ended IS 'how long ended instances and journals are kept';
COMMENT ON COLUMN pm.process_manager.journal IS 'whether each event and timer that an instance handles leaves an entry in pm.journal';
COMMENT ON COLUMN pm.process_manager.handler IS 'function that is called for each event; NULL: consumers do the work';
COMMENT ON COLUMN pm.process_manager.lease IS 'how long a consumer may hold a lane; NULL: it has a handler';
COMMENT ON COLUMN pm.process_manager.consumers IS 'roles that may be its consumers, in addition to members of the owner';
COMMENT ON COLUMN pm.process_manager.carry IS 'keys of metadata that appended events and timers inherit';
COMMENT ON COLUMN pm.process_manager.appends_to IS 'logs to which its handler has appended';

CREATE FUNCTION pm_catalog.waiting(process_manager text, lane integer, log text, first boolean, timers boolean,
								   at timestamptz, OUT parked bigint, OUT dead bigint, OUT deferred bigint,
								   OUT next_retry timestamptz, OUT overdue bigint, OUT oldest timestamptz)
	RETURNS SETOF record LANGUAGE C STRICT ROWS 1 AS 'MODULE_PATHNAME', 'pm_status_waiting';
CREATE OR REPLACE VIEW pm_catalog.unit_row AS
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
DROP FUNCTION pm_catalog.advice(text, text, oid, text, boolean);

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
			WHEN h.fetched OPERATOR(pg_catalog.>) 0
			THEN pg_catalog.format('If the consumer still runs, it does not call pm.advance in time. If not, start it, or another '
								   'one: it gets the same events from pm.fetch(%L, ...).', s.process_manager)
			ELSE pg_catalog.format('Start a consumer, which calls pm.fetch(%L, ...).', s.process_manager) END AS hint
FROM pm_catalog.lane s
LEFT JOIN pm_catalog.held_lane h ON h.process_manager OPERATOR(pg_catalog.=) s.process_manager
								AND h.lane OPERATOR(pg_catalog.=) s.lane;

-- The subscriptions of replica logs

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

CREATE OR REPLACE VIEW pm_catalog.unit_situation AS
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

CREATE FUNCTION pm_catalog.events_after(log text, "position" bigint) RETURNS bigint
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'pm_status_events';
CREATE FUNCTION pm_catalog.standby_hint() RETURNS text
	LANGUAGE C STABLE AS 'MODULE_PATHNAME', 'pm_standby_hint';
CREATE OR REPLACE VIEW pm.status WITH (security_barrier) AS
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
COMMENT ON COLUMN pm.status.dead IS 'number of parked events that are dead: they are tried again only with pm.retry';
COMMENT ON COLUMN pm.status.deferred IS 'number of parked events that their handler has deferred';
COMMENT ON COLUMN pm.status.oldest_age IS 'age of oldest_unhandled';
COMMENT ON COLUMN pm.status.lag_events IS 'number of visible events above the cursor, counted up to 1000';

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
CREATE OR REPLACE VIEW pm.blocker WITH (security_barrier) AS
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
-- Which instance has appended an event that consumers can answer with pm.reply (src/log/reply_to.c).
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
COMMENT ON FUNCTION pm.reply(text, bigint, text, jsonb) IS 'called by a consumer: send an answer to the instance whose handler has appended an event';

-- Promotions
-- For each log, the timelines on which its sequence needs no further skip (src/log/promotion.c), and what it has skipped.
CREATE TABLE pm_catalog.promotion (
	source          regclass NOT NULL,
	system_identifier bigint NOT NULL,
	timeline        integer NOT NULL,
	skipped_from    bigint,			-- NULL: nothing was skipped
	skipped_to      bigint,
	skipped_at      timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);
CREATE INDEX promotion_source ON pm_catalog.promotion (source);
SELECT pg_catalog.pg_extension_config_dump('pm_catalog.promotion', '');
CREATE FUNCTION pm.timeline() RETURNS integer
	LANGUAGE C STABLE STRICT AS 'MODULE_PATHNAME', 'pm_timeline';
COMMENT ON FUNCTION pm.timeline() IS 'timeline on which this server writes; NULL in recovery';
-- The logs have been written on this timeline.
INSERT INTO pm_catalog.promotion (source, system_identifier, timeline)
SELECT l.source, c.system_identifier, pm.timeline() FROM pm_catalog.log l CROSS JOIN pg_catalog.pg_control_system() c;
-- For the roles that may see the log.
CREATE VIEW pm.promotion WITH (security_barrier) AS
SELECT l.name AS log, p.timeline, p.skipped_from, p.skipped_to, p.skipped_at
FROM pm_catalog.promotion p
JOIN pm.log l ON l."table" OPERATOR(pg_catalog.=) p.source
WHERE p.skipped_to IS NOT NULL;
COMMENT ON VIEW pm.promotion IS 'positions that logs have skipped after promotions, because the old primary may have drawn them';
COMMENT ON COLUMN pm.promotion.log IS 'name of the log';
COMMENT ON COLUMN pm.promotion.timeline IS 'timeline that the promotion began';
COMMENT ON COLUMN pm.promotion.skipped_from IS 'first position that was skipped';
COMMENT ON COLUMN pm.promotion.skipped_to IS 'last position that was skipped';
COMMENT ON COLUMN pm.promotion.skipped_at IS 'when they were skipped: at the first write after the promotion';
GRANT SELECT ON pm.promotion TO PUBLIC;
ALTER TABLE pm_catalog.lane ADD COLUMN timeline integer;
UPDATE pm_catalog.lane SET timeline = pm.timeline();
ALTER TABLE pm_catalog.lane ALTER COLUMN timeline SET DEFAULT pm.timeline();
ALTER TABLE pm_catalog.lane ADD COLUMN careful_to bigint;

-- After a promotion: a row for each item for which a function is about to be called (src/manager/note.c).
CREATE TABLE pm_catalog.noted (
	process_manager text NOT NULL,
	lane            integer NOT NULL,
	timeline        integer NOT NULL,
	what            text NOT NULL,		-- event, timer, parked; correlate: an event, but only that function is called
	log             text NOT NULL,		-- empty: a timer
	"position"      bigint NOT NULL,
	id              bigint NOT NULL,	-- of the timer or parked event, 0: none
	shared          boolean NOT NULL	-- other functions were called at the same time
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
CREATE INDEX noted_key ON pm_catalog.noted (process_manager, lane);	-- not UNIQUE, like cursor_key
-- End of promotions

-- pm.diagram, as in 45_diagram.sql
-- A user's text, as part of a quoted Graphviz string. There, a backslash and a quote are special, and so is an
-- ampersand, because labels may contain HTML entities. An SVG file cannot contain most control characters. Characters that
-- change the direction of writing could change how the text after them looks.
CREATE FUNCTION pm_catalog.diagram_text(value text, max_length integer) RETURNS text
	LANGUAGE sql IMMUTABLE STRICT
	RETURN (SELECT pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(
				   CASE WHEN pg_catalog.length(v.plain) OPERATOR(pg_catalog.>) max_length
						THEN pg_catalog.concat(pg_catalog.left(v.plain, max_length OPERATOR(pg_catalog.-) 3), '...')
						ELSE v.plain END,
				   '&', '&amp;'), E'\\', E'\\\\'), '"', E'\\"')
			FROM (SELECT pg_catalog.regexp_replace(value COLLATE pg_catalog."C",
						 E'[\\x01-\\x1f\\x7f\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069\\ufffe\\uffff]', ' ', 'g') AS plain) v);

CREATE FUNCTION pm_catalog.diagram_age(age interval) RETURNS text
	LANGUAGE sql IMMUTABLE STRICT
	RETURN (SELECT CASE WHEN a.seconds OPERATOR(pg_catalog.<) 120 THEN pg_catalog.format('%s s', a.seconds)
						WHEN a.seconds OPERATOR(pg_catalog.<) 7200 THEN pg_catalog.format('%s min', a.seconds OPERATOR(pg_catalog./) 60)
						WHEN a.seconds OPERATOR(pg_catalog.<) 172800 THEN pg_catalog.format('%s h', a.seconds OPERATOR(pg_catalog./) 3600)
						ELSE pg_catalog.format('%s days', a.seconds OPERATOR(pg_catalog./) 86400) END
			FROM (SELECT greatest(pg_catalog.floor(extract(epoch FROM age)), 0)::pg_catalog.int8 AS seconds) a);

-- Compiling the query would take longer than running it.
CREATE FUNCTION pm.diagram() RETURNS text LANGUAGE sql STABLE SET jit = off
BEGIN ATOMIC
	WITH status AS MATERIALIZED (
		SELECT s.process_manager, s.log, s.lane, s.lag, s.state, s.reason, s.parked, s.dead, s.timers_overdue, s.oldest_unhandled,
			   -- Of several lanes and logs, the one that most needs attention is shown.
			   pg_catalog.array_position(ARRAY['halted', 'waiting', 'retrying', 'paused', 'running', 'idle'], s.state) AS rank
		FROM pm.status s
	), manager AS (
		SELECT p.name, p.handler, p.lanes, p.appends_to, pg_catalog.row_number() OVER (ORDER BY p.name COLLATE pg_catalog."C") AS n,
			   u.state, u.reason, u.parked, u.dead, u.overdue, coalesce(h.held, 0) AS held
		FROM pm.process_manager p
		LEFT JOIN (
			SELECT s.process_manager, (pg_catalog.array_agg(s.state ORDER BY s.rank, s.lane, s.log))[1] AS state,
				   (pg_catalog.array_agg(s.reason ORDER BY s.rank, s.lane, s.log))[1] AS reason,
				   pg_catalog.sum(s.parked) AS parked, pg_catalog.sum(s.dead) AS dead, pg_catalog.sum(s.timers_overdue) AS overdue
			FROM status s GROUP BY s.process_manager) u ON u.process_manager OPERATOR(pg_catalog.=) p.name
		LEFT JOIN (
			SELECT c.process_manager, pg_catalog.count(*) AS held FROM pm.consumer c
			WHERE c.lease_until OPERATOR(pg_catalog.>) pg_catalog.clock_timestamp()
			GROUP BY c.process_manager) h ON h.process_manager OPERATOR(pg_catalog.=) p.name
	), follows AS (
		SELECT s.process_manager, s.log, pg_catalog.max(s.lag) AS lag,
			   pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) pg_catalog.min(s.oldest_unhandled) AS age
		FROM status s GROUP BY s.process_manager, s.log
	), appends AS (
		SELECT m.name AS process_manager, a.log FROM manager m CROSS JOIN LATERAL pg_catalog.unnest(m.appends_to) a(log)
	), log AS (
		SELECT l.log AS name, pg_catalog.row_number() OVER (ORDER BY l.log COLLATE pg_catalog."C") AS n
		FROM (SELECT f.log FROM follows f UNION SELECT a.log FROM appends a) l
	)
	SELECT pg_catalog.concat(
		E'digraph pm {\n',
		E'\tgraph [rankdir=LR, fontname="Helvetica,Arial,sans-serif"];\n',
		E'\tnode [fontname="Helvetica,Arial,sans-serif", fontsize=11, style=filled, fillcolor=white];\n',
		E'\tedge [fontname="Helvetica,Arial,sans-serif", fontsize=9];\n',
		(SELECT pg_catalog.string_agg(pg_catalog.format(
				E'\t"log %s" [shape=cylinder, label="%s", tooltip="log %s"];\n',
				l.n, pm_catalog.diagram_text(l.name, 40), pm_catalog.diagram_text(l.name, 300)), '' ORDER BY l.n)
		 FROM log l),
		(SELECT pg_catalog.string_agg(pg_catalog.format(
				E'\t"process manager %s" [shape=%s, style="%s", fillcolor="%s"%s, label="%s", tooltip="%s"];\n', m.n,
				CASE WHEN m.handler IS NULL THEN 'component' ELSE 'box' END,
				CASE WHEN m.handler IS NULL THEN 'filled' ELSE 'filled,rounded' END,
				CASE m.state WHEN 'running' THEN '#d9efd9' WHEN 'retrying' THEN '#fde3b8' WHEN 'waiting' THEN '#fbf3a6'
							 WHEN 'paused' THEN '#dbe4f5' WHEN 'halted' THEN '#f7c6c0' ELSE '#f2f2f2' END,
				CASE WHEN m.dead OPERATOR(pg_catalog.>) 0 OR m.state OPERATOR(pg_catalog.=) 'halted'
					 THEN ', color="#c0291c", penwidth=2' END,
				pg_catalog.concat_ws(E'\\n', pm_catalog.diagram_text(m.name, 40),
					CASE WHEN m.handler IS NULL AND m.held OPERATOR(pg_catalog.=) 0 THEN 'no consumer holds it'
						 WHEN m.handler IS NULL AND m.lanes OPERATOR(pg_catalog.>) 1
						 THEN pg_catalog.format('consumers hold %s of %s lanes', m.held, m.lanes)
						 WHEN m.handler IS NULL THEN 'a consumer holds it'
						 WHEN m.lanes OPERATOR(pg_catalog.>) 1 THEN pg_catalog.format('%s lanes', m.lanes) END,
					coalesce(m.state, 'follows no log'),
					CASE WHEN m.dead OPERATOR(pg_catalog.>) 0 THEN pg_catalog.format('%s parked, %s dead', m.parked, m.dead)
						 WHEN m.parked OPERATOR(pg_catalog.>) 0 THEN pg_catalog.format('%s parked', m.parked) END,
					CASE WHEN m.overdue OPERATOR(pg_catalog.=) 1 THEN '1 timer is overdue'
						 WHEN m.overdue OPERATOR(pg_catalog.>) 1 THEN pg_catalog.format('%s timers are overdue', m.overdue) END),
				pg_catalog.concat_ws(E'\\n', pg_catalog.concat('process manager ', pm_catalog.diagram_text(m.name, 300)),
					pm_catalog.diagram_text(m.reason, 300))), '' ORDER BY m.n)
		 FROM manager m),
		(SELECT pg_catalog.string_agg(pg_catalog.format(
				E'\t"log %s" -> "process manager %s"%s;\n', l.n, m.n,
				CASE WHEN f.lag OPERATOR(pg_catalog.>) 0
					 THEN pg_catalog.format(' [label="%s"]', pg_catalog.concat_ws(', ', pg_catalog.format('%s behind', f.lag),
																				   pm_catalog.diagram_age(f.age)))
					 WHEN f.lag IS NULL THEN ' [label="?"]' END), '' ORDER BY m.n, l.n)
		 FROM follows f
		 JOIN log l ON l.name OPERATOR(pg_catalog.=) f.log
		 JOIN manager m ON m.name OPERATOR(pg_catalog.=) f.process_manager),
		(SELECT pg_catalog.string_agg(pg_catalog.format(
				E'\t"process manager %s" -> "log %s" [color="#2d5fa8", arrowhead=empty];\n', m.n, l.n), '' ORDER BY m.n, l.n)
		 FROM appends a
		 JOIN log l ON l.name OPERATOR(pg_catalog.=) a.log
		 JOIN manager m ON m.name OPERATOR(pg_catalog.=) a.process_manager),
		E'}\n');
END;
COMMENT ON FUNCTION pm.diagram() IS 'which process managers follow and append to which logs, as text for Graphviz';

-- What pm.erase has left to do: a row for events of a log whose data was replaced, while process managers that may have
-- kept something of them were locked (src/log/erasure.c).
CREATE TABLE pm_catalog.erasure (
	log             text NOT NULL,		-- its name; it can have been dropped
	id              bigint GENERATED BY DEFAULT AS IDENTITY,
	positions       bigint[] NOT NULL,
	replacement     jsonb NOT NULL,
	done            integer[] NOT NULL,	-- ids of the process managers in which it is done
	waits_for       text[] NOT NULL,	-- names of those that were locked by others
	erased_at       timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	-- the cluster and database in which it is to be completed; they differ in a copy
	system_identifier bigint NOT NULL,
	database        oid NOT NULL,
	PRIMARY KEY (log, id)
);
SELECT pg_catalog.pg_extension_config_dump('pm_catalog.erasure', '');
SELECT pg_catalog.pg_extension_config_dump('pm_catalog.erasure_id_seq', '');
CREATE VIEW pm.erasure WITH (security_barrier) AS
SELECT coalesce(l.title, e.log) AS log, e.positions, e.erased_at, e.waits_for AS process_managers
FROM pm_catalog.erasure e
LEFT JOIN pm_catalog.log l ON l.name OPERATOR(pg_catalog.=) e.log
LEFT JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) l.source::pg_catalog.oid
WHERE pg_catalog.pg_has_role(c.relowner, 'USAGE') OR pg_catalog.pg_has_role('pg_monitor', 'USAGE');
COMMENT ON VIEW pm.erasure IS 'calls of pm.erase that are not complete yet';
COMMENT ON COLUMN pm.erasure.log IS 'log of the events';
COMMENT ON COLUMN pm.erasure.positions IS 'positions of the events whose data was replaced in the log';
COMMENT ON COLUMN pm.erasure.erased_at IS 'when it was replaced';
COMMENT ON COLUMN pm.erasure.process_managers IS 'process managers that were locked by others, and may still keep data of the events';
GRANT SELECT ON pm.erasure TO PUBLIC;

-- Which process managers may have kept something of a log's name (src/log/name_right.c).
CREATE TABLE pm_catalog.name_use (
	name            text NOT NULL,
	process_manager text NOT NULL
);
CREATE INDEX name_use_key ON pm_catalog.name_use (name, process_manager);
CREATE INDEX name_use_manager ON pm_catalog.name_use (process_manager);
CREATE TABLE pm_catalog.name_owner (
	name            text NOT NULL,
	owner           oid NOT NULL,		-- 0: not known
	owner_name      name NOT NULL,		-- for a copy in another cluster, where OIDs differ
	system_identifier bigint NOT NULL,
	dropped_at      timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);
CREATE INDEX name_owner_key ON pm_catalog.name_owner (name);
SELECT pg_catalog.pg_extension_config_dump('pm_catalog.name_use', '');
SELECT pg_catalog.pg_extension_config_dump('pm_catalog.name_owner', '');
-- Nothing was kept of former logs but timers.
INSERT INTO pm_catalog.name_use (name, process_manager)
SELECT c.log, c.process_manager FROM pm_catalog.cursor c
UNION
SELECT t.metadata OPERATOR(pg_catalog.->) 'causation' OPERATOR(pg_catalog.->>) 'log', t.process_manager
FROM pm_catalog.timer t
WHERE t.metadata OPERATOR(pg_catalog.->) 'causation' OPERATOR(pg_catalog.->>) 'log' IS NOT NULL
UNION
SELECT k.metadata OPERATOR(pg_catalog.->) 'causation' OPERATOR(pg_catalog.->>) 'log', k.process_manager
FROM pm_catalog.parked k
WHERE k.log IS NULL AND k.metadata OPERATOR(pg_catalog.->) 'causation' OPERATOR(pg_catalog.->>) 'log' IS NOT NULL;

-- pm.stat
-- The counters of the lanes (src/manager/stat_view.c).
CREATE FUNCTION pm_catalog.counters(OUT process_manager text, OUT lane integer, OUT events bigint, OUT calls bigint,
									OUT batches bigint, OUT total_time double precision, OUT max_time double precision,
									OUT failures bigint, OUT conflicts bigint, OUT reset_at timestamptz)
	RETURNS SETOF record LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'pm_stat_counters';

-- Only the owner sees the contents of events. How many there are is for pg_monitor, too.
CREATE FUNCTION pm_catalog.lane_waiting(process_manager text, lane integer, at timestamptz, OUT deferred bigint,
										OUT failing bigint, OUT behind bigint, OUT dead bigint, OUT timers bigint,
										OUT timers_overdue bigint)
	RETURNS SETOF record LANGUAGE C STRICT ROWS 1 AS 'MODULE_PATHNAME', 'pm_stat_waiting';
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
COMMENT ON FUNCTION pm.stat_reset(text) IS 'set the counters of pm.stat to zero: of one process manager, or of all that the caller may change';
COMMENT ON VIEW pm.stat IS 'what process managers have done since reset_at, and what is waiting, by lane';
COMMENT ON COLUMN pm.stat.process_manager IS 'name of the process manager';
COMMENT ON COLUMN pm.stat.lane IS 'number of the lane, from 0';
COMMENT ON COLUMN pm.stat.events IS 'events and timers that were handled';
COMMENT ON COLUMN pm.stat.calls IS 'calls of the handler; NULL for consumers';
COMMENT ON COLUMN pm.stat.batches IS 'transactions in which something was handled';
COMMENT ON COLUMN pm.stat.total_time IS 'time spent in the handler, in milliseconds; NULL for consumers';
COMMENT ON COLUMN pm.stat.max_time IS 'time of the longest call of the handler, in milliseconds; NULL for consumers';
COMMENT ON COLUMN pm.stat.failures IS 'failures';
COMMENT ON COLUMN pm.stat.conflicts IS 'deadlocks and similar errors that did not count as failures';
COMMENT ON COLUMN pm.stat.deferred IS 'parked events that their handler has deferred';
COMMENT ON COLUMN pm.stat.failing IS 'parked events that will be tried again';
COMMENT ON COLUMN pm.stat.behind IS 'parked events that wait for an earlier one of their key';
COMMENT ON COLUMN pm.stat.dead IS 'parked events that are not tried again';
COMMENT ON COLUMN pm.stat.timers IS 'timers that are set now, and sent events that a dispatcher has read';
COMMENT ON COLUMN pm.stat.timers_overdue IS 'how many of these are due';
COMMENT ON COLUMN pm.stat.oldest_unhandled IS 'age of the oldest event above the cursors';
COMMENT ON COLUMN pm.stat.reset_at IS 'when counting began';
GRANT SELECT ON pm.stat TO PUBLIC;
-- End of pm.stat

-- Kinds of logs
CREATE OR REPLACE VIEW pm.log WITH (security_barrier) AS
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
COMMENT ON COLUMN pm.log.kind IS 'ordinary, attached, partitioned or replica';
COMMENT ON COLUMN pm.log.filter IS 'condition for the rows of the table that are events of an attached log; NULL: all rows';

-- Attached logs
CREATE FUNCTION pm.attach_log(log text, source regclass, pos text, stream text, type text, data text, version text DEFAULT NULL,
						   metadata text DEFAULT NULL, recorded_at text DEFAULT NULL, filter text DEFAULT NULL)
	RETURNS void LANGUAGE C AS 'MODULE_PATHNAME', 'pm_attach_log';
CREATE FUNCTION pm.detach_log(log text) RETURNS void
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'pm_detach_log';
COMMENT ON FUNCTION pm.attach_log(text, regclass, text, text, text, text, text, text, text, text) IS 'use a table that another program writes as an event log';
COMMENT ON FUNCTION pm.detach_log(text) IS 'remove an attached log that no process manager follows, and keep its table';
-- Wakes the readers of an attached table, if its owner has attached it (src/log/attach_trigger.c).
CREATE FUNCTION pm_catalog.after_write() RETURNS trigger
	LANGUAGE C AS 'MODULE_PATHNAME', 'pm_attach_after_write';
CREATE FUNCTION pm_catalog.after_alter_table() RETURNS event_trigger
	LANGUAGE C AS 'MODULE_PATHNAME', 'pm_attach_after_alter_table';
REVOKE EXECUTE ON FUNCTION pm_catalog.after_alter_table() FROM PUBLIC;
CREATE EVENT TRIGGER pm_after_alter_table ON ddl_command_end WHEN TAG IN ('ALTER TABLE')
	EXECUTE FUNCTION pm_catalog.after_alter_table();
ALTER EVENT TRIGGER pm_after_alter_table ENABLE ALWAYS;
-- End of kinds of logs

-- Replica logs
CREATE TABLE pm_catalog.trimmed_origin (
	source          regclass NOT NULL,	-- the table of the log
	first           bigint NOT NULL,
	last            bigint NOT NULL,
	PRIMARY KEY (source, last)
);
SELECT pg_catalog.pg_extension_config_dump('pm_catalog.trimmed_origin', '');
CREATE FUNCTION pm.create_replica_log(log text) RETURNS void
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'pm_create_replica_log';
CREATE FUNCTION pm_catalog.arrival_begin() RETURNS trigger
	LANGUAGE C AS 'MODULE_PATHNAME', 'pm_replica_begin';
CREATE FUNCTION pm_catalog.arrival() RETURNS trigger
	LANGUAGE C AS 'MODULE_PATHNAME', 'pm_replica_row';
CREATE FUNCTION pm_catalog.arrival_end() RETURNS trigger
	LANGUAGE C AS 'MODULE_PATHNAME', 'pm_replica_end';
COMMENT ON FUNCTION pm.create_replica_log(text) IS 'create an event log that a subscription fills with the events of another server, or restore the guard of an existing one';
-- End of replica logs
-- Partitioned logs
DROP FUNCTION pm.create_log(text);
CREATE FUNCTION pm.create_log(log text, partitioned boolean DEFAULT false) RETURNS void
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'pm_create_log';
COMMENT ON FUNCTION pm.create_log(text, boolean) IS 'create an event log and its table, or restore the guard of an existing log';
CREATE FUNCTION pm_catalog.before_row() RETURNS trigger
	LANGUAGE C AS 'MODULE_PATHNAME', 'pm_guard_before_row';
CREATE TABLE pm_catalog.kept_event (
	log             text NOT NULL,
	"position"      bigint NOT NULL,
	stream          text,
	version         bigint,
	type            text,
	data            jsonb,
	metadata        jsonb,
	recorded_at     timestamptz,
	PRIMARY KEY (log, "position")
);
SELECT pg_catalog.pg_extension_config_dump('pm_catalog.kept_event', '');
CREATE FUNCTION pm.keep_parked(log text, up_to bigint) RETURNS bigint
	LANGUAGE C AS 'MODULE_PATHNAME', 'pm_keep_parked';
COMMENT ON FUNCTION pm.keep_parked(text, bigint) IS 'copy parked events, so that they can be deleted from their log';
CREATE FUNCTION pm.partition_log(log text, up_to bigint, partition text) RETURNS void
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'pm_partition_log';
COMMENT ON FUNCTION pm.partition_log(text, bigint, text) IS 'turn an ordinary log into a partitioned one; its table becomes the first partition';
-- End of partitioned logs

-- Names of renamed logs
CREATE OR REPLACE VIEW pm.cursor WITH (security_barrier) AS
SELECT c.process_manager, coalesce((SELECT t.title FROM pm_catalog.log t WHERE t.name OPERATOR(pg_catalog.=) c.log), c.log) AS log, c.lane,
	   c."position", c.moved_at
FROM pm_catalog.cursor c
JOIN pm_catalog.manager p ON p.name OPERATOR(pg_catalog.=) c.process_manager
WHERE pm_catalog.may_see(p.owner);
CREATE OR REPLACE VIEW pm.worker WITH (security_barrier) AS
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
-- End of names of renamed logs

-- Comments in plainer words
COMMENT ON COLUMN pm.process_manager.handler_timeout IS 'time after which a call of the handler is canceled';
COMMENT ON COLUMN pm.process_manager.lanes IS 'number of lanes that handle events in parallel';
COMMENT ON VIEW pm.status IS 'progress and state of each process manager in each of its logs, with the reason and a hint';
COMMENT ON COLUMN pm.parked.hint IS 'advice on the last failure';
COMMENT ON VIEW pm.blocker IS 'sessions and prepared transactions that block process managers and logs, and how to end them';
-- End of comments in plainer words

-- Replica identities, for publications FOR ALL TABLES
DROP INDEX pm_catalog.instance_key;
CREATE UNIQUE INDEX instance_key ON pm_catalog.instance (key, process_manager);
ALTER TABLE pm_catalog.instance REPLICA IDENTITY USING INDEX instance_key;
ALTER TABLE pm_catalog.timer REPLICA IDENTITY USING INDEX timer_id_key;
ALTER TABLE pm_catalog.sent REPLICA IDENTITY USING INDEX sent_queue;
ALTER TABLE pm_catalog.journal REPLICA IDENTITY USING INDEX journal_key;
ALTER TABLE pm_catalog.cursor REPLICA IDENTITY FULL;
ALTER TABLE pm_catalog.lane REPLICA IDENTITY FULL;
ALTER TABLE pm_catalog.noted REPLICA IDENTITY FULL;
ALTER TABLE pm_catalog.promotion REPLICA IDENTITY FULL;
ALTER TABLE pm_catalog.association REPLICA IDENTITY FULL;
ALTER TABLE pm_catalog.appends REPLICA IDENTITY FULL;
ALTER TABLE pm_catalog.ended REPLICA IDENTITY FULL;
ALTER TABLE pm_catalog.lease REPLICA IDENTITY FULL;
ALTER TABLE pm_catalog.fetched REPLICA IDENTITY FULL;
ALTER TABLE pm_catalog.name_use REPLICA IDENTITY FULL;
ALTER TABLE pm_catalog.name_owner REPLICA IDENTITY FULL;
-- End of replica identities

-- Stays last: it makes all backends look again which version the extension has.
SELECT pm_catalog.announce();
