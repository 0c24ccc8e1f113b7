-- Compares what the process managers have stored with the file, by SQL over the file itself.
-- Prints a line for each check, which begins with "ok" or "FAILED".
CREATE TEMP VIEW source AS
    SELECT c.log, line, stream, type, coalesce(data, '{}') AS data
    FROM replay.file f JOIN replay.context c ON c.in_file = f.log;

CREATE TEMP TABLE checks (n int GENERATED ALWAYS AS IDENTITY, what text, wrong bigint, detail text);

-- 1. The sessions have appended each line of the file once and unchanged.
INSERT INTO checks (what, wrong, detail)
SELECT 'the logs hold the file', count(*) FILTER (WHERE NOT right_), format('%s events, different %s',
       count(e.position), count(*) FILTER (WHERE NOT right_))
FROM source s FULL JOIN replay.events e USING (line),
     LATERAL (SELECT (s.log, s.stream, s.type, s.data) IS NOT DISTINCT FROM (e.log, e.stream, e.type, e.data)) AS r(right_);

-- 2. Each stream in the log has the order of the file.
INSERT INTO checks (what, wrong, detail)
SELECT 'each stream is in the file''s order', count(*) FILTER (WHERE back),
       format('%s streams, out of order %s', count(DISTINCT (log, stream)), count(*) FILTER (WHERE back))
FROM (SELECT log, stream, line < lag(line) OVER (PARTITION BY log, stream ORDER BY position) AS back
      FROM replay.events) x;

-- 3. Every event was handled once, in the order of its log.
INSERT INTO checks (what, wrong, detail)
SELECT 'each event handled exactly once', missing + twice + unknown + disordered,
       format('%s events, missing %s, twice %s, unknown %s, out of order %s', total, missing, twice, unknown, disordered)
FROM (SELECT count(*) FROM replay.events) AS a(total),
     (SELECT count(*) FROM (SELECT log, position FROM replay.events EXCEPT SELECT log, position FROM replay.handled) x) AS b(missing),
     (SELECT count(*) - count(DISTINCT (log, position)) FROM replay.handled) AS c(twice),
     (SELECT count(*) FROM (SELECT log, position FROM replay.handled EXCEPT SELECT log, position FROM replay.events) x) AS d(unknown),
     (SELECT count(*) FROM (SELECT position < lag(position) OVER (PARTITION BY log ORDER BY call) AS back
                            FROM replay.handled) x WHERE back) AS e(disordered);

-- 4. What follow-streams has stored of each stream agrees with the file.
INSERT INTO checks (what, wrong, detail)
SELECT 'follow-streams agrees with the file', count(*) FILTER (WHERE k IS DISTINCT FROM f),
       format('%s streams, wrong %s', count(*), count(*) FILTER (WHERE k IS DISTINCT FROM f))
FROM replay.stream_summary k
FULL JOIN (SELECT log, stream, count(*) AS events, (array_agg(type ORDER BY line))[1] AS first_type,
                  (array_agg(type ORDER BY line DESC))[1] AS last_type
           FROM source GROUP BY log, stream) f USING (log, stream);

-- 5. The counts of count-types agree with the file.
INSERT INTO checks (what, wrong, detail)
SELECT 'count-types agrees with the file', count(*) FILTER (WHERE k IS DISTINCT FROM f),
       format('%s types, wrong %s', count(*), count(*) FILTER (WHERE k IS DISTINCT FROM f))
FROM replay.type_count k
FULL JOIN (SELECT log, type, count(*) AS events FROM source GROUP BY log, type) f USING (log, type);

SELECT format('  %s  %s: %s', CASE wrong WHEN 0 THEN 'ok    ' ELSE 'FAILED' END, what, detail) FROM checks ORDER BY n;
