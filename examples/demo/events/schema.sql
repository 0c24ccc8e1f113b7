-- The unchanged contents of the file, and a log for each name in its column "log".
-- The logs are in a schema of their own, so that their names cannot collide with those of other tables of the demo.
CREATE SCHEMA logs;
ALTER ROLE replay SET search_path = logs, replay;
SET search_path = logs, replay;

CREATE TABLE replay.file (
    line        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    log         text NOT NULL,
    stream      text NOT NULL,
    type        text NOT NULL,
    occurred_at timestamptz,
    data        jsonb
);
\copy replay.file (log, stream, type, occurred_at, data) FROM pstdin (FORMAT csv, HEADER match)
-- The version of each event in its stream.
ALTER TABLE replay.file ADD version bigint;
UPDATE replay.file f SET version = x.version
FROM (SELECT line, row_number() OVER (PARTITION BY log, stream ORDER BY line) AS version FROM replay.file) x
WHERE f.line = x.line;
VACUUM ANALYZE replay.file;

-- The name of a log is also that of its table: in lower case, only letters, digits and _, and a letter first.
CREATE TABLE replay.context AS
    SELECT log AS in_file,
           regexp_replace(regexp_replace(left(lower(log), 50), '\W', '_', 'g'), '^(?=\d)', 'log_') AS log,
           count(*) AS events
    FROM replay.file GROUP BY log;
ALTER TABLE replay.context ADD UNIQUE (log);

SELECT pm.create_log(log) FROM replay.context ORDER BY log;

-- All logs in one view.
SELECT 'CREATE VIEW replay.events AS '
    || string_agg(format('SELECT %L AS log, position, stream, type, data, (metadata ->> %L)::bigint AS line FROM logs.%I',
                         log, 'line', log), ' UNION ALL ')
FROM replay.context \gexec

-- The table of follow-streams: a row for each stream.
CREATE TABLE replay.stream_summary (
    log        text,
    stream     text,
    events     bigint NOT NULL,
    first_type text NOT NULL,
    last_type  text NOT NULL,
    PRIMARY KEY (log, stream)
);

-- The table of count-types: a row for each type.
CREATE TABLE replay.type_count (
    log    text,
    type   text,
    events bigint NOT NULL,
    PRIMARY KEY (log, type)
);

-- For the checks: the events for which follow-streams was called, in the order of the calls. There is no key, so that
-- an event that was handled twice would be here twice.
CREATE TABLE replay.handled (
    call     bigint GENERATED ALWAYS AS IDENTITY,
    log      text NOT NULL,
    position bigint NOT NULL
);
