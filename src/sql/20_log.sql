-- The functions that create, read and trim logs, and the guard of their positions.

CREATE FUNCTION pm.create_log(log text, partitioned boolean DEFAULT false) RETURNS void
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'pm_create_log';
CREATE FUNCTION pm.drop_log(log text) RETURNS void
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'pm_drop_log';
CREATE FUNCTION pm.attach_log(log text, source regclass, pos text, stream text, type text, data text, version text DEFAULT NULL,
						   metadata text DEFAULT NULL, recorded_at text DEFAULT NULL, filter text DEFAULT NULL)
	RETURNS void LANGUAGE C AS 'MODULE_PATHNAME', 'pm_attach_log';
CREATE FUNCTION pm.detach_log(log text) RETURNS void
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'pm_detach_log';
CREATE FUNCTION pm.rename_log(log text, new_name text) RETURNS void
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'pm_rename_log';
CREATE FUNCTION pm.partition_log(log text, up_to bigint, partition text) RETURNS void
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'pm_partition_log';
CREATE FUNCTION pm.read(log text, after bigint DEFAULT 0, max_count integer DEFAULT 100, types text[] DEFAULT NULL)
	RETURNS SETOF pm.event LANGUAGE C ROWS 100 AS 'MODULE_PATHNAME', 'pm_read';
CREATE FUNCTION pm.read_stream(log text, stream text, after_version bigint DEFAULT 0, max_count integer DEFAULT NULL)
	RETURNS SETOF pm.event LANGUAGE C ROWS 100 AS 'MODULE_PATHNAME', 'pm_read_stream';
CREATE FUNCTION pm.high_water_mark(log text) RETURNS bigint
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'pm_high_water_mark';
CREATE FUNCTION pm.trim(log text, up_to bigint, max_count integer DEFAULT 10000) RETURNS bigint
	LANGUAGE C AS 'MODULE_PATHNAME', 'pm_trim';
CREATE FUNCTION pm.keep_parked(log text, up_to bigint) RETURNS bigint
	LANGUAGE C AS 'MODULE_PATHNAME', 'pm_keep_parked';

CREATE FUNCTION pm.append(log text, stream text, type text, data jsonb DEFAULT '{}', metadata jsonb DEFAULT '{}',
						  expected_version bigint DEFAULT NULL, id text DEFAULT NULL)
	RETURNS bigint LANGUAGE C AS 'MODULE_PATHNAME', 'pm_append';
CREATE FUNCTION pm.append_all(log text, stream text, events jsonb, expected_version bigint DEFAULT NULL)
	RETURNS bigint[] LANGUAGE C AS 'MODULE_PATHNAME', 'pm_append_all';

CREATE FUNCTION pm.trace(log text, pos bigint)
	RETURNS TABLE (depth integer, event_log text, "position" bigint, stream text, type text, recorded_at timestamptz,
				   cause_log text, cause_position bigint)
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'pm_trace';

CREATE FUNCTION pm.timeline() RETURNS integer
	LANGUAGE C STABLE STRICT AS 'MODULE_PATHNAME', 'pm_timeline';
-- A new lane has nothing in hand.
ALTER TABLE pm_catalog.lane ALTER COLUMN timeline SET DEFAULT pm.timeline();

-- The guard of a log's positions: three triggers and a check on the table (src/log/guard.c explains why).
CREATE FUNCTION pm_catalog.before_write() RETURNS trigger
	LANGUAGE C AS 'MODULE_PATHNAME', 'pm_guard_before_write';
CREATE FUNCTION pm_catalog.before_update() RETURNS trigger
	LANGUAGE C AS 'MODULE_PATHNAME', 'pm_guard_before_update';
-- The row trigger of a partitioned log (src/log/guard_row.c).
CREATE FUNCTION pm_catalog.before_row() RETURNS trigger
	LANGUAGE C AS 'MODULE_PATHNAME', 'pm_guard_before_row';
CREATE FUNCTION pm_catalog.before_truncate() RETURNS trigger
	LANGUAGE C AS 'MODULE_PATHNAME', 'pm_guard_before_truncate';
CREATE FUNCTION pm_catalog.position_is_new(log oid, "position" bigint) RETURNS boolean
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'pm_guard_position_is_new';

-- Wakes the readers of an attached table, if its owner has attached it (src/log/attach_trigger.c).
CREATE FUNCTION pm_catalog.after_write() RETURNS trigger
	LANGUAGE C AS 'MODULE_PATHNAME', 'pm_attach_after_write';

-- Replica logs: a subscription fills the table (src/log/replica_guard.c).
CREATE FUNCTION pm.create_replica_log(log text) RETURNS void
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'pm_create_replica_log';
CREATE FUNCTION pm_catalog.arrival_begin() RETURNS trigger
	LANGUAGE C AS 'MODULE_PATHNAME', 'pm_replica_begin';
CREATE FUNCTION pm_catalog.arrival() RETURNS trigger
	LANGUAGE C AS 'MODULE_PATHNAME', 'pm_replica_row';
CREATE FUNCTION pm_catalog.arrival_end() RETURNS trigger
	LANGUAGE C AS 'MODULE_PATHNAME', 'pm_replica_end';
