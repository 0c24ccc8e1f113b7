-- handlers.sql: the handlers that are compared: an empty one, and one with an INSERT, in C, SQL and PL/pgSQL; one
-- with a state; one of arrays.
RESET ROLE;
CREATE FUNCTION bench.noop_c(pm.event) RETURNS void LANGUAGE c AS 'pm_bench_cloop', 'bench_noop';
CREATE FUNCTION bench.insert_c(pm.event) RETURNS void LANGUAGE c AS 'pm_bench_cloop', 'bench_insert';

SET ROLE bench;
CREATE FUNCTION bench.noop_sql(e pm.event) RETURNS void LANGUAGE sql AS 'SELECT NULL::void';
CREATE FUNCTION bench.noop_plpgsql(e pm.event) RETURNS void LANGUAGE plpgsql AS 'BEGIN END';

CREATE FUNCTION bench.insert_sql(e pm.event) RETURNS void LANGUAGE sql AS $$
  INSERT INTO bench.effect (position, stream, amount) VALUES (e.position, e.stream, (e.data ->> 'amount')::int)
$$;
CREATE FUNCTION bench.insert_plpgsql(e pm.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO bench.effect (position, stream, amount) VALUES (e.position, e.stream, (e.data ->> 'amount')::int);
END $$;

-- Keeps a count for each stream.
CREATE FUNCTION bench.instance_plpgsql(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  RETURN jsonb_build_object('n', coalesce((state ->> 'n')::int, 0) + 1);
END $$;

CREATE FUNCTION bench.batch_sql(events pm.event[]) RETURNS void LANGUAGE sql AS $$
  INSERT INTO bench.effect (position, stream, amount)
  SELECT position, stream, (data ->> 'amount')::int FROM unnest(events)
$$;

CREATE FUNCTION bench.batch_plpgsql(events pm.event[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO bench.effect (position, stream, amount)
  SELECT position, stream, (data ->> 'amount')::int FROM unnest(events);
END $$;

-- For latency: records which event it was and when it was sent.
CREATE FUNCTION bench.see(e pm.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO bench.seen (position, sent_at) VALUES (e.position, (e.data ->> 'sent_at')::timestamptz);
END $$;

CREATE FUNCTION bench.see_batch(events pm.event[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO bench.seen (position, sent_at) SELECT position, (data ->> 'sent_at')::timestamptz FROM unnest(events);
END $$;

-- For growth: a handler with a state that counts and records when it was called; one with a timer that does not become due; one
-- that fails when the event says so. For lanes: one that only computes, for some tenths of a millisecond.
CREATE FUNCTION bench.instance_see(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO bench.seen (position, sent_at) VALUES (e.position, (e.data ->> 'sent_at')::timestamptz);
  RETURN jsonb_build_object('n', coalesce((state ->> 'n')::int, 0) + 1);
END $$;

CREATE FUNCTION bench.instance_timer(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  IF state IS NULL THEN
    PERFORM pm.set_timer('later', now() + '1 year');
  END IF;
  RETURN jsonb_build_object('n', coalesce((state ->> 'n')::int, 0) + 1);
END $$;

CREATE FUNCTION bench.insert_unless_bad(e pm.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF (e.data ->> 'bad')::boolean THEN
    RAISE EXCEPTION 'this one is bad';
  END IF;
  INSERT INTO bench.effect (position, stream, amount) VALUES (e.position, e.stream, (e.data ->> 'amount')::int);
END $$;

CREATE FUNCTION bench.compute(e pm.event) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  x text := e.stream;
BEGIN
  FOR i IN 1 .. 200 LOOP
    x := md5(x);
  END LOOP;
END $$;
