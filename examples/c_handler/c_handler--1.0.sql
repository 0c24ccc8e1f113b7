\echo Use "CREATE EXTENSION c_handler" to load this file. \quit

-- One row an event, in the order of handling. (log, position) needs no unique key for each event to be there once:
-- a row commits together with the cursor.
CREATE TABLE handled (
	id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	log        text NOT NULL,
	"position" bigint NOT NULL,
	stream     text NOT NULL,
	type       text NOT NULL,
	amount     numeric,
	role       name NOT NULL DEFAULT session_user,
	pid        integer NOT NULL DEFAULT pg_catalog.pg_backend_pid()
);

-- STRICT spares the function a look at whether it was called with NULL. A worker never does that.
CREATE FUNCTION record_event(event pm.event) RETURNS void
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'record_event';
