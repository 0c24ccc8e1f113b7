-- The test of seats.sql. Run that first, in a database with pgTAP; then, as the same role:
--
--     pg_prove -d DATABASE examples/test/seats.sql
BEGIN;
SELECT plan(6);

CREATE FUNCTION pg_temp.story(reservation text) RETURNS text LANGUAGE sql AS $$
  SELECT string_agg(type, ', ' ORDER BY recorded_at, version)
    FROM pm.read_stream('cinema.reservations', reservation)
$$;

-- given a show, three reservations and two payments
INSERT INTO cinema.shows (stream, version, type, data, recorded_at) VALUES
  ('gala', 1, 'announced', '{"begins": "2040-06-01 20:00Z"}', '2040-01-01');
INSERT INTO cinema.reservations (stream, version, type, data, recorded_at) VALUES
  ('test-1', 1, 'requested', '{"show": "gala", "seats": ["A1", "A2"]}', '2040-01-01 12:00'),
  ('test-2', 1, 'requested', '{"show": "gala", "seats": ["A2", "A3"]}', '2040-01-01 12:01'),
  ('test-3', 1, 'requested', '{"show": "gala", "seats": ["A2", "A3"]}', '2040-01-01 12:11'),
  ('test-3', 2, 'paid', '{}', '2040-01-01 12:20'),
  ('test-1', 2, 'paid', '{}', '2040-01-01 12:21');

-- when all of that is handled a day later
SELECT pm.catch_up('seats', as_of => '2040-01-02') \gset

-- then it is as if it had been handled in time
SELECT is(pg_temp.story('test-2'), 'requested, refused', 'a seat that is held is not given again');
SELECT is(pg_temp.story('test-1'), 'requested, held, expired, paid, refunded',
          'not paid in ten minutes: it expires, and a late payment goes back');
SELECT is(pg_temp.story('test-3'), 'requested, held, paid, confirmed',
          'its seats can be had again, and a payment in time wins');
SELECT is(cinema.sell('gala/A3'), NULL, 'the box office does not sell them');

-- when the show is canceled, then the money goes back
SELECT pm.append('cinema.shows', 'gala', 'cancelled') \gset
SELECT pm.catch_up('seats') \gset
SELECT is(count(*), 1::bigint, 'the show is canceled: the money goes back')
  FROM cinema.reservations WHERE stream = 'test-3' AND type = 'refunded';
SELECT is_empty($$SELECT * FROM pm.instance WHERE process_manager = 'seats' AND key LIKE 'test-%'$$,
                'no reservation is left');

SELECT * FROM finish();
ROLLBACK;
