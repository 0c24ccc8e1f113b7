-- tables.sql: what every database of the benchmark has, those of the peers too: a schema of the ordinary role
-- bench, the tables into which handlers write and in which loops without pm keep their cursors, and a log
-- without pm. No index where there need not be one: the time is to go into what is compared.
CREATE SCHEMA bench AUTHORIZATION bench;

SET ROLE bench;
-- The effect of an event.
CREATE TABLE bench.effect (position bigint, stream text, amount int);
-- The effect where it is asked how late it comes.
CREATE TABLE bench.seen (position bigint, sent_at timestamptz);
CREATE TABLE bench.cursor (name text PRIMARY KEY, position bigint NOT NULL) WITH (fillfactor = 10);

-- What pm.create_log makes, without pm: the same columns and the same indexes.
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

-- n events of about 200 bytes, of so many streams.
CREATE PROCEDURE bench.fill(log text, n bigint, streams bigint DEFAULT 1000, begin_at bigint DEFAULT 1) LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format($sql$
    INSERT INTO %s (stream, type, data)
    SELECT 'stream-' || i %% $2, 'placed', jsonb_build_object('amount', i %% 100, 'note', repeat('x', 100))
    FROM generate_series($3, $3 + $1 - 1) i$sql$, log) USING n, streams, begin_at;
END $$;
