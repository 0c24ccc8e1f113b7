-- seats: a reservation holds seats for ten minutes. If it is not paid by then, they are free again.
--
--     psql -f examples/seats.sql
--
-- in a database with pm, as a role that may create schemas in it. It creates the schema "cinema";
-- run it again to start over. Things to notice:
--
--   * The deadline is a timer. It is compared with the time at which a payment was recorded: a
--     payment that was made in time wins, even if the server was down at the deadline and both are
--     handled an hour later.
--   * A reservation gets all of its seats or none. If the box office sells one of them at the same
--     moment, pm.append raises PM001, nothing of the call remains, and the worker calls the handler
--     again, which then sees the seat sold.
--   * A show that is canceled is one event, which goes to each reservation for it (pm.associate,
--     pm.associated).
\set ON_ERROR_STOP on
\o /dev/null
SET client_min_messages = warning;
SELECT EXISTS (SELECT FROM pm.process_manager WHERE name = 'seats') AS again \gset

BEGIN;
\if :again
SELECT pm.unregister('seats');
DROP SCHEMA cinema CASCADE;
\endif
CREATE SCHEMA cinema;
-- Each show, each seat of a show (tonight/A1) and each reservation is a stream.
SELECT pm.create_log('cinema.shows');           -- announced, cancelled
SELECT pm.create_log('cinema.seats');           -- held, sold, released
SELECT pm.create_log('cinema.reservations');    -- requested, held or refused, paid, confirmed, expired, ...

ALTER TABLE cinema.reservations ADD CONSTRAINT request_is_valid CHECK (
  type <> 'requested'
  OR (data ? 'show' AND jsonb_typeof(data -> 'seats') = 'array' AND version IS NOT DISTINCT FROM 1));

-- The last event of each of these seats. A seat that nobody has asked for yet has version 0, and is
-- free.
CREATE FUNCTION cinema.look(seats text[]) RETURNS TABLE (seat text, version bigint, free boolean)
LANGUAGE sql STABLE AS $$
  SELECT s, coalesce(e.version, 0), coalesce(e.type = 'released', true)
    FROM unnest(seats) s
    LEFT JOIN LATERAL (SELECT * FROM cinema.seats e
                        WHERE e.stream = s AND e.version > 0 ORDER BY e.version DESC LIMIT 1) e ON true
$$;

-- When a show begins. NULL: it is not announced, or it is canceled.
CREATE FUNCTION cinema.begins(show text) RETURNS timestamptz LANGUAGE sql STABLE AS $$
  SELECT min(data ->> 'begins')::timestamptz FROM cinema.shows WHERE stream = show
  HAVING bool_and(type = 'announced')
$$;

-- The reservations that an event is for: all of a show, or the one whose stream it is in.
CREATE FUNCTION cinema.reservations_of(e pm.event) RETURNS text[] LANGUAGE sql STABLE
RETURN CASE e.log WHEN 'cinema.shows' THEN pm.associated('show', e.stream) ELSE ARRAY[e.stream] END;

-- r: the request and the time at which the show begins, from the hold until the show is over; with
-- "paid" once it is paid
CREATE FUNCTION cinema.reserve(e pm.event, r jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  id text := pm.key();
  seats text[] := ARRAY(SELECT DISTINCT format('%s/%s', coalesce(r, e.data) ->> 'show', s)
                          FROM jsonb_array_elements_text(coalesce(r, e.data) -> 'seats') s);
  begins timestamptz;
  versions jsonb;
  all_free boolean;
BEGIN
  IF e.type = 'requested' THEN
    begins := cinema.begins(e.data ->> 'show');
    -- One query, so that the decision and the expected versions are of the same moment.
    SELECT jsonb_object_agg(seat, version), bool_and(free) INTO versions, all_free FROM cinema.look(seats);
    IF all_free AND e.recorded_at < begins THEN
      PERFORM pm.append('cinema.seats', seat, 'held', jsonb_build_object('reservation', id),
                        expected_version => v::bigint)
         FROM jsonb_each_text(versions) AS x(seat, v);
      PERFORM pm.append('cinema.reservations', id, 'held');
      PERFORM pm.associate('show', e.data ->> 'show');
      PERFORM pm.set_timer('expired', e.recorded_at + '10 minutes');
      RETURN e.data || jsonb_build_object('begins', begins);
    END IF;
    PERFORM pm.append('cinema.reservations', id, 'refused');
    RETURN pm.done('{"outcome": "refused"}');
  END IF;

  IF r IS NULL OR e.type = 'paid' AND r ? 'paid' THEN       -- too late, or for the second time
    IF e.type = 'paid' THEN
      PERFORM pm.append('cinema.reservations', id, 'refunded');
    END IF;
    RETURN r;
  END IF;

  CASE e.type
    WHEN 'paid' THEN
      PERFORM pm.append('cinema.seats', seat, 'sold', jsonb_build_object('reservation', id))
         FROM unnest(seats) seat;
      PERFORM pm.append('cinema.reservations', id, 'confirmed');
      PERFORM pm.cancel_timer('expired');
      PERFORM pm.set_timer('over', (r ->> 'begins')::timestamptz);
      RETURN r || '{"paid": true}';

    WHEN 'more time' THEN                                   -- a person has sent it, see below
      IF pm.cancel_timer('expired') THEN
        PERFORM pm.set_timer('expired', e.recorded_at + (e.data ->> 'time')::interval);
      END IF;
      RETURN r;

    WHEN 'expired' THEN                                     -- a timer
      PERFORM pm.append('cinema.seats', seat, 'released') FROM unnest(seats) seat;
      PERFORM pm.append('cinema.reservations', id, 'expired');
      RETURN pm.done('{"outcome": "expired"}');

    WHEN 'cancelled' THEN                                   -- the show
      PERFORM pm.append('cinema.reservations', id, CASE WHEN r ? 'paid' THEN 'refunded' ELSE 'cancelled' END);
      RETURN pm.done('{"outcome": "cancelled"}');

    WHEN 'over' THEN                                        -- a timer: the show begins
      RETURN pm.done('{"outcome": "seen"}');
  END CASE;
END $$;

SELECT pm.register('seats', 'cinema.reserve', ARRAY['cinema.shows', 'cinema.reservations'],
                   correlate => 'cinema.reservations_of', types => ARRAY['requested', 'paid', 'cancelled'],
                   keep_ended => '30 days');

-- What an application calls. A request that is repeated, with the same id, is one reservation.
CREATE FUNCTION cinema.request(id text, show text, seats text[]) RETURNS bigint LANGUAGE sql AS $$
  SELECT pm.append('cinema.reservations', id, 'requested', jsonb_build_object('show', show, 'seats', seats),
                   expected_version => 0, id => id)
$$;

-- What the box office calls: sells a seat over the counter. NULL: it is taken.
CREATE FUNCTION cinema.sell(place text) RETURNS bigint LANGUAGE sql AS $$
  SELECT pm.append('cinema.seats', seat, 'sold', expected_version => version)
    FROM cinema.look(ARRAY[place]) WHERE free
$$;
COMMIT;

-- ---- what happens -------------------------------------------------------------------------------

SELECT pm.append('cinema.shows', show, 'announced', jsonb_build_object('begins', now() + '6 hours'))
  FROM unnest(ARRAY['matinee', 'tonight']) show;

-- r-1 was requested eleven minutes ago, and not paid.
INSERT INTO cinema.reservations (stream, version, type, data, recorded_at)
  VALUES ('r-1', 1, 'requested', '{"show": "tonight", "seats": ["A1", "A2"]}',
          now() - interval '11 minutes');
SELECT cinema.request('r-2', 'tonight', '{A2,A3}');
SELECT cinema.request('r-3', 'tonight', '{A3,A4}');
SELECT cinema.request('r-4', 'tonight', '{B1}');
SELECT cinema.request('r-5', 'matinee', '{A1}');
SELECT cinema.request('r-6', 'matinee', '{A2}');

-- A worker does all of this by itself. pm.catch_up returns when it is done.
SELECT pm.catch_up('seats');

SELECT pm.append('cinema.reservations', r, 'paid') FROM unnest(ARRAY['r-1', 'r-2', 'r-5']) r;
SELECT pm.append('cinema.shows', 'matinee', 'cancelled');
-- The customer of r-4 has called. Somebody gives her half an hour.
SELECT pm.send('seats', 'r-4', 'more time', '{"time": "30 minutes"}');
SELECT pm.catch_up('seats');
SELECT cinema.sell('tonight/A1'), cinema.sell('tonight/A2');     -- A2 is taken

\o
\echo The reservations:
SELECT stream AS reservation, string_agg(type, ', ' ORDER BY version) AS events
  FROM cinema.reservations GROUP BY stream ORDER BY stream;

\echo The seats of tonight:
SELECT stream AS seat, string_agg(concat_ws(' ', type, data ->> 'reservation'), ', ' ORDER BY version) AS events
  FROM cinema.seats WHERE stream LIKE 'tonight/%' GROUP BY stream ORDER BY stream;

\echo Open reservations, and what comes next if nothing happens:
SELECT key AS reservation, state -> 'seats' AS seats, type AS next,
       5 * round(extract(epoch FROM due - now()) / 300) AS "in minutes"
  FROM pm.instance JOIN pm.timer USING (process_manager, key) WHERE process_manager = 'seats' ORDER BY key;

\echo Those that have ended:
SELECT key AS reservation, result ->> 'outcome' AS outcome
  FROM pm.ended WHERE process_manager = 'seats' ORDER BY key;
