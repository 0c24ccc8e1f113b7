-- The test of travel.sql. Run that first, in a database with pgTAP; then, as the same role:
--
--     pg_prove -d DATABASE examples/test/travel.sql
BEGIN;
SELECT plan(6);

CREATE FUNCTION pg_temp.sent(trip text) RETURNS text LANGUAGE sql AS $$
  SELECT string_agg(split_part(stream, '/', 2) || ' ' || type, ', ' ORDER BY position)
    FROM travel.outbox WHERE data #>> '{body,trip}' = trip
$$;
CREATE FUNCTION pg_temp.answer(trip text, service text, status int) RETURNS void LANGUAGE sql AS $$
  SELECT pm.reply('travel.outbox', position, 'answered',
                  jsonb_build_object('event', jsonb_build_object('stream', stream), 'status', status,
                                     'body', jsonb_build_object('code', trip || service)))
    FROM travel.outbox WHERE stream = trip || '/' || service AND type = 'book'
$$;

-- given three trips
SELECT travel.request('test-' || n, '{"flight": "LIS", "hotel": "Grand"}', now() + '1 week')
  FROM generate_series(1, 3) n \g /dev/null
SELECT pm.catch_up('travel') \gset

-- when the hotel refuses, then the flight is canceled
SELECT pg_temp.answer('test-1', 'flight', 201), pg_temp.answer('test-1', 'hotel', 409) \gset
SELECT pm.catch_up('travel') \gset
SELECT is(pg_temp.sent('test-1'), 'hotel book, flight book, flight cancel', 'refused: the other is canceled');

-- when all say yes, then the trip is confirmed
SELECT pg_temp.answer('test-2', 'flight', 201), pg_temp.answer('test-2', 'hotel', 201) \gset
SELECT pm.catch_up('travel') \gset
SELECT results_eq($$SELECT type FROM pm.read_stream('travel.trips', 'test-2')$$,
                  ARRAY['requested', 'confirmed'], 'all say yes: confirmed');

-- when the airline withdraws later, then the hotel is canceled
SELECT pm.append('travel.notices', 'test-2flight', 'withdrawn') \gset
SELECT pm.catch_up('travel') \gset
SELECT is(pg_temp.sent('test-2'), 'hotel book, flight book, hotel cancel', 'withdrawn: the other is canceled');

-- when nobody answers for an hour, then both are canceled, and a late answer changes nothing
SELECT pm.catch_up('travel', as_of => now() + '61 minutes') \gset
SELECT is(pg_temp.sent('test-3'), 'hotel book, flight book, hotel cancel, flight cancel',
          'no answer: both are canceled');
SELECT pg_temp.answer('test-3', 'hotel', 201) \gset
SELECT pm.catch_up('travel') \gset
SELECT is_empty($$SELECT * FROM pm.instance WHERE process_manager = 'travel' AND key = 'test-3'$$,
                'a late answer changes nothing');

-- when the hotel is in maintenance, then the request waits
INSERT INTO travel.maintenance VALUES ('hotel', tstzrange(now(), now() + '1 hour'));
SELECT travel.request('test-4', '{"hotel": "Grand"}', now() + '1 week') \gset
SELECT pm.catch_up('travel', on_failure => 'policy') \gset
SELECT is(state, 'deferred', 'maintenance: the request waits')
  FROM pm.parked WHERE process_manager = 'travel' AND key = 'test-4';

SELECT * FROM finish();
ROLLBACK;
