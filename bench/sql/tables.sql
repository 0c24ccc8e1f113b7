-- tables.sql: what every database of the benchmark contains, including those of the peers: a schema of the ordinary
-- role bench, the tables into which handlers write, the table of cursors of the loops without pm, and a log
-- without pm. There are no unnecessary indexes, so that the time is spent on what is compared.
CREATE SCHEMA bench AUTHORIZATION bench;

SET ROLE bench;
-- The effect of an event.
CREATE TABLE bench.effect (position bigint, stream text, amount int);
-- The effect of an event where its latency is measured.
CREATE TABLE bench.seen (position bigint, sent_at timestamptz);
CREATE TABLE bench.cursor (name text PRIMARY KEY, position bigint NOT NULL) WITH (fillfactor = 10);

-- What pm.create_log creates, without pm: the same columns and the same indexes.
CREATE PROCEDURE bench.create_bare(name text) LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format($sql$
    CREATE TABLE %s (
      position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
      stream text NOT NULL,
      version bigint,
      type text NOT NULL,
      data jsonb NOT NULL DEFAULT '{}',
      metadata jsonb NOT NULL DEFAULT '{}',
      recorded_at timestamptz NOT NULL DEFAULT statement_timestamp(),
      UNIQUE (stream, version))$sql$, name);
END $$;

-- n events of about 200 bytes, of this number of streams.
CREATE PROCEDURE bench.fill(log text, n bigint, streams bigint DEFAULT 1000, begin_at bigint DEFAULT 1) LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format($sql$
    INSERT INTO %s (stream, type, data)
    SELECT 'stream-' || i %% $2, 'placed', jsonb_build_object('amount', i %% 100, 'note', repeat('x', 100))
    FROM generate_series($3, $3 + $1 - 1) i$sql$, log) USING n, streams, begin_at;
END $$;
