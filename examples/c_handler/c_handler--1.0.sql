\echo Use "CREATE EXTENSION c_handler" to load this file. \quit

-- A row for each event, in the order of handling. No unique key on (log, position) is needed to have each event
-- once: a row commits together with the cursor.
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

-- With STRICT the function need not check for NULL. A worker never passes NULL.
CREATE FUNCTION record_event(event pm.event) RETURNS void
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'record_event';
