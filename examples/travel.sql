-- travel: a trip needs a flight, a hotel and a car, each from a different company. It is confirmed
-- when all have said yes. If one of them refuses, does not answer within an hour, or withdraws later,
-- the others are canceled.
--
--     psql -f examples/travel.sql
--
-- in a database with pm, as a role that may create schemas in it. It creates the schema "travel";
-- run it again to start over. Things to notice:
--
--   * The handler calls nobody. What must happen outside the database is an event in the log
--     "outbox", which commits together with the state of the trip. A sender, a program outside the
--     database, fetches it, calls the company, and sends the answer to the trip (pm.reply). It is a
--     consumer: examples/webhook-sender is one that is ready to use, and its test runs this process.
--   * A sender that is killed after a call, but before it has recorded the answer, makes the call
--     once more. So each call has an id (log and position of the event), which companies take as an
--     idempotency key. The answer is written in the transaction that advances: it comes once.
--   * An airline that withdraws a flight knows only its own booking code. The trip is found by it
--     (pm.associate).
--   * A cancellation follows the booking in the same stream of the outbox. So a trip that fails can
--     end at once: what is booked late is canceled too.
\set ON_ERROR_STOP on
\o /dev/null
SET client_min_messages = warning;
SELECT EXISTS (SELECT FROM pm.process_manager WHERE name = 'travel') AS again \gset

BEGIN;
\if :again
SELECT pm.unregister('travel'), pm.unregister('travel_sender');
DROP SCHEMA travel CASCADE;
\endif
CREATE SCHEMA travel;
SELECT pm.create_log('travel.trips');       -- requested, confirmed, failed; each trip is a stream
SELECT pm.create_log('travel.outbox');      -- book, cancel; each service of a trip is a stream: t-1/flight
SELECT pm.create_log('travel.notices');     -- withdrawn; each booking code is a stream

ALTER TABLE travel.trips ADD CONSTRAINT request_is_valid CHECK (
  type <> 'requested'
  OR (jsonb_typeof(data -> 'services') = 'object' AND data ? 'home' AND version IS NOT DISTINCT FROM 1));

CREATE TABLE travel.companies (service text PRIMARY KEY, url text);
INSERT INTO travel.companies
  SELECT s, 'https://' || s || '.example.com/bookings' FROM unnest('{flight,train,hotel,car}'::text[]) s;

-- Times at which a company cannot be called.
CREATE TABLE travel.maintenance (service text, during tstzrange);

-- The trip that an event belongs to. A company that sends a notice of its own names only its booking
-- code. If no trip has that code, the event is parked as dead, so that a person sees it, and nothing
-- waits behind it.
CREATE FUNCTION travel.trip_of(e pm.event) RETURNS text[] LANGUAGE plpgsql STABLE AS $$
DECLARE
  trips text[] := ARRAY[e.stream];
BEGIN
  IF e.log = 'travel.notices' THEN
    trips := pm.associated('code', e.stream);
    IF trips = '{}' THEN
      PERFORM pm.fail_permanently(format('no trip has the booking code %s', e.stream));
    END IF;
  END IF;
  RETURN trips;
END $$;

-- The call that a sender makes for a service of a trip: see examples/webhook-sender. That a hotel is
-- full (409) is an answer, not a failure. Nothing waits for the answer to a cancellation.
CREATE FUNCTION travel.to_book(trip text, service text, wish jsonb) RETURNS void LANGUAGE sql AS $$
  SELECT pm.append('travel.outbox', trip || '/' || service, 'book',
                   jsonb_build_object('url', url, 'body', jsonb_build_object('trip', trip, 'wish', wish),
                                      'accept', '[409]'::jsonb, 'reply', 'answered'))
    FROM travel.companies c WHERE c.service = to_book.service
$$;
CREATE FUNCTION travel.to_cancel(trip text, service text) RETURNS void LANGUAGE sql AS $$
  SELECT pm.append('travel.outbox', trip || '/' || service, 'cancel',
                   jsonb_build_object('url', url || '/cancel', 'body', jsonb_build_object('trip', trip)))
    FROM travel.companies c WHERE c.service = to_cancel.service
$$;

-- t: the booking code of each service, null while there is no answer
CREATE FUNCTION travel.book(e pm.event, t jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  trip text := pm.key();
  what text := e.type;
  service text;
BEGIN
  IF what = 'requested' THEN
    IF (e.data -> 'services') - ARRAY(SELECT c.service FROM travel.companies c) <> '{}' THEN
      PERFORM pm.fail_permanently('there is a service that nobody offers');   -- no retry will help
    END IF;
    -- Not now: no failure, but called again when the company is back.
    PERFORM pm.defer(upper(during) - pm.now(), m.service || ' is in maintenance')
       FROM travel.maintenance m WHERE e.data -> 'services' ? m.service AND during @> pm.now();

    PERFORM travel.to_book(trip, s, wish) FROM jsonb_each(e.data -> 'services') AS x(s, wish);
    PERFORM pm.set_timer('no answer', pm.now() + '1 hour');
    PERFORM pm.set_timer('over', (e.data ->> 'home')::timestamptz);
    RETURN (SELECT jsonb_object_agg(s, NULL) FROM jsonb_object_keys(e.data -> 'services') s);
  END IF;

  IF t IS NULL THEN             -- an answer for a trip that has failed: its cancellation is on its way
    RETURN NULL;
  END IF;

  IF what = 'answered' THEN     -- the reply to a call: event, status and body
    service := substr(e.data #>> '{event,stream}', length(trip) + 2);
    what := CASE e.data ->> 'status' WHEN '409' THEN 'refused' ELSE 'booked' END;
  ELSIF what = 'withdrawn' THEN
    service := (SELECT s FROM jsonb_each_text(t) AS x(s, code) WHERE code = e.stream);
  END IF;

  CASE what
    WHEN 'booked' THEN
      t := t || jsonb_build_object(service, e.data #> '{body,code}');
      PERFORM pm.associate('code', e.data #>> '{body,code}');
      IF NOT jsonb_path_exists(t, '$.* ? (@ == null)') THEN
        PERFORM pm.append('travel.trips', trip, 'confirmed', t);
        PERFORM pm.cancel_timer('no answer');
      END IF;
      RETURN t;

    WHEN 'over' THEN                        -- a timer
      RETURN pm.done('{"outcome": "travelled"}');

    WHEN 'refused', 'withdrawn', 'no answer' THEN       -- the last one is a timer
      PERFORM travel.to_cancel(trip, s) FROM jsonb_object_keys(t) s WHERE s IS DISTINCT FROM service;
      PERFORM pm.append('travel.trips', trip, 'failed',
                        jsonb_build_object('reason', concat_ws(' ', service, what)));
      RETURN pm.done(jsonb_build_object('outcome', 'failed', 'reason', concat_ws(' ', service, what)));
  END CASE;
END $$;

-- With a journal, pm.history shows what each trip has been through.
SELECT pm.register('travel', 'travel.book', ARRAY['travel.trips', 'travel.notices'],
                   correlate => 'travel.trip_of', types => ARRAY['requested', 'withdrawn'],
                   keep_ended => '1 year', journal => true);

-- The process manager of the sender has no handler. A call that fails is retried, and if the last
-- attempt fails too, the event waits for a person.
SELECT pm.register('travel_sender', NULL, ARRAY['travel.outbox'], lease => '30 s', max_attempts => 10);

-- What an application calls.
CREATE FUNCTION travel.request(trip text, services jsonb, home timestamptz) RETURNS bigint LANGUAGE sql AS $$
  SELECT pm.append('travel.trips', trip, 'requested', jsonb_build_object('services', services, 'home', home),
                   expected_version => 0, id => trip)
$$;

-- The sender is a program outside the database. It would do, in a loop, what this does, and call a
-- company where this makes an answer up: a request for "nothing" is refused, and one for "silence" gets no
-- answer.
CREATE FUNCTION travel.send() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  me text := 'session ' || pg_backend_pid();
  wish text;
  f record;
BEGIN
  FOR f IN SELECT * FROM pm.fetch('travel_sender', me) LOOP
    wish := f.data #>> '{body,wish}';
    IF f.type = 'book' AND wish <> 'silence' THEN
      PERFORM pm.reply(f.log, f.position, f.data ->> 'reply',
                       jsonb_build_object('event', jsonb_build_object('stream', f.stream),
                                          'status', CASE wish WHEN 'nothing' THEN 409 ELSE 201 END,
                                          'body', jsonb_build_object('code', upper(left(md5(f.stream), 6)))));
    END IF;
  END LOOP;
  IF FOUND THEN
    PERFORM pm.advance('travel_sender', me, f.lane);
    PERFORM pm.release('travel_sender', me);
  END IF;
END $$;
COMMIT;

-- ---- what happens -------------------------------------------------------------------------------

SELECT travel.request('t-1', '{"flight": "LIS", "hotel": "Grand", "car": "small"}', now() + '2 weeks');
SELECT travel.request('t-2', '{"flight": "LIS", "hotel": "nothing", "car": "small"}', now() + '2 weeks');
SELECT travel.request('t-3', '{"flight": "OSL", "hotel": "Fjord"}', now() + '1 week');
SELECT travel.request('t-4', '{"flight": "OSL", "boat": "Fram"}', now() + '1 week');
INSERT INTO travel.maintenance VALUES ('train', tstzrange(now(), now() + '30 minutes'));
SELECT travel.request('t-5', '{"train": "Flam", "hotel": "Fjord"}', now() + '1 week');

-- A worker does all of this by itself, and the sender is a program. Here they take turns.
SELECT pm.catch_up('travel', on_failure => 'policy');
SELECT travel.send();
SELECT pm.catch_up('travel', on_failure => 'policy');

-- The airline withdraws the flight of t-3, and one that nobody knows.
SELECT pm.append('travel.notices', state ->> 'flight', 'withdrawn')
  FROM pm.instance WHERE process_manager = 'travel' AND key = 't-3';
SELECT pm.append('travel.notices', 'XK4711', 'withdrawn');
SELECT pm.catch_up('travel', on_failure => 'policy');
SELECT travel.send();

\o
\echo What has become of the trips:
SELECT stream AS trip, type, data FROM travel.trips WHERE type <> 'requested' ORDER BY stream, version;

\echo What was sent:
SELECT stream, string_agg(type, ', ' ORDER BY version) AS calls
  FROM travel.outbox GROUP BY stream ORDER BY stream;

\echo What trip t-1 has been through, and what comes next:
SELECT seq, log, type, status, state, jsonb_array_length(appended) AS appended
  FROM pm.history('travel', 't-1');

\echo What waits for a person, or for half an hour:
SELECT key AS trip, state, message FROM pm.parked WHERE process_manager = 'travel' ORDER BY log, position;
