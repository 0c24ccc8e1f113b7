-- Two process managers that follow every log of the file, whatever its contents.

-- follow-streams, called once for each event.
CREATE FUNCTION replay.follow_stream(e pm.event) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO replay.handled (log, position) VALUES (e.log, e.position);

    INSERT INTO replay.stream_summary AS s (log, stream, events, first_type, last_type)
    VALUES (e.log, e.stream, 1, e.type, e.type)
    ON CONFLICT (log, stream) DO UPDATE SET events = s.events + 1, last_type = excluded.last_type;
END
$$;

-- count-types, called with an array of events.
CREATE FUNCTION replay.count_types(events pm.event[]) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO replay.type_count AS c (log, type, events)
    SELECT e.log, e.type, count(*) FROM unnest(events) AS e GROUP BY e.log, e.type
    ON CONFLICT (log, type) DO UPDATE SET events = c.events + excluded.events
$$;

SELECT pm.register('follow-streams', 'replay.follow_stream(pm.event)', array_agg(log)),
       pm.register('count-types', 'replay.count_types(pm.event[])', array_agg(log))
FROM replay.context;
