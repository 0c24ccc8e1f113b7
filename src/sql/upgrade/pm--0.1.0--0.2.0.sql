\echo Use "ALTER EXTENSION pm UPDATE TO '0.2.0'" to load this file. \quit

-- Each change here is also in a module of the install script, src/sql/*.sql: an updated extension has the same objects as a
-- new one (test/t/210_upgrade.pl compares them).

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
							journal boolean DEFAULT false)
	RETURNS void LANGUAGE C AS 'MODULE_PATHNAME', 'pm_register';
-- NULL: as it is. reset names arguments that get their default again.
CREATE FUNCTION pm.alter(name text, handler text DEFAULT NULL, logs text[] DEFAULT NULL,
						 correlate text DEFAULT NULL, types text[] DEFAULT NULL,
						 start_at text DEFAULT NULL, on_failure text DEFAULT NULL,
						 max_attempts integer DEFAULT NULL, backoff interval DEFAULT NULL,
						 handler_timeout interval DEFAULT NULL, batch_size integer DEFAULT NULL,
						 lanes integer DEFAULT NULL, park_limit integer DEFAULT NULL,
						 keep_ended interval DEFAULT NULL, journal boolean DEFAULT NULL,
						 reset text[] DEFAULT NULL)
	RETURNS void LANGUAGE C AS 'MODULE_PATHNAME', 'pm_alter';
COMMENT ON FUNCTION pm.register(text, text, text[], text, text[], text, text, integer, interval, interval, integer, integer, integer, interval, boolean)
	IS 'register a process manager, or change one';
COMMENT ON FUNCTION pm.alter(text, text, text[], text, text[], text, text, integer, interval, interval, integer, integer, integer, interval, boolean, text[])
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
	id              bigint GENERATED BY DEFAULT AS IDENTITY,
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
-- Each batch adds many entries. What differs in most of them comes first, and no two are the same.
CREATE INDEX journal_key ON pm_catalog.journal (key, process_manager, id) WITH (deduplicate_items = off);
CREATE INDEX journal_handled_at ON pm_catalog.journal (process_manager, handled_at) WITH (deduplicate_items = off);
CREATE INDEX journal_event ON pm_catalog.journal ("position", log) WITH (deduplicate_items = off);

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

-- Stays last: all backends look again what the extension has.
SELECT pm_catalog.announce();
