-- The process manager of orders.py in PL/pgSQL, and what both have in common. An instance is an order: what is known of it,
-- of its items, and of the packages that they are in.
SELECT pm.create_log(l) FROM unnest('{orders,items,packages}'::text[]) l;
CREATE TABLE corrected (yes bool);

-- To which orders each stream belongs.
CREATE TABLE belongs (log text, stream text, orders text[], PRIMARY KEY (log, stream));
INSERT INTO belongs SELECT DISTINCT 'orders', stream, ARRAY[stream] FROM source WHERE log = 'orders';
INSERT INTO belongs SELECT 'items', item, ARRAY[stream] FROM source, jsonb_array_elements_text(data -> 'items') item WHERE type = 'place order';
INSERT INTO belongs SELECT 'packages', s.stream, array_agg(DISTINCT b.orders[1])
FROM source s, jsonb_array_elements_text(data -> 'items') item JOIN belongs b ON b.log = 'items' AND b.stream = item WHERE s.type = 'create package' GROUP BY 2;
ANALYZE belongs;
-- The table does not change any more, so the result depends on the event alone.
CREATE FUNCTION orders_of(e pm.event) RETURNS text[] LANGUAGE sql IMMUTABLE AS
$$ SELECT orders FROM belongs b WHERE b.log = e.log AND b.stream = e.stream $$;

-- One event in a hundred fails twice, and one in a thousand until somebody has corrected something.
DO $$ BEGIN FOR i IN 0 .. 223 LOOP EXECUTE format('CREATE SEQUENCE poison_%s', 100 * i + 7); END LOOP; END $$;
CREATE PROCEDURE poison(e pm.event) LANGUAGE plpgsql AS $$
DECLARE
  eid int := (e.data ->> 'eid')::int;
BEGIN
  IF eid % 1000 = 507 AND NOT EXISTS (SELECT FROM corrected) THEN PERFORM pm.fail_permanently('not corrected'); END IF;
  IF eid % 100 = 7 AND nextval('poison_' || eid) <= 2 THEN RAISE EXCEPTION 'poison %', eid; END IF;
END $$;

CREATE FUNCTION handle(e pm.event, s jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  eid jsonb := e.data -> 'eid';
BEGIN
  IF e.type = 'close' THEN RETURN pm.done(s); END IF;
  s := coalesce(s, '{"events": {"orders": [], "items": [], "packages": []}, "items": {}, "packages": {}, "reminders": 0}');
  IF e.log IS NOT NULL THEN
    CALL poison(e);
    s := jsonb_set(s, ARRAY['events', e.log], (s -> 'events' -> e.log) || eid);
  END IF;
  CASE e.type
  WHEN 'place order' THEN
    s := s || jsonb_build_object('placed', e.data -> 'items');
    PERFORM pm.set_timer('audit', pm.now() + '50 ms');
    PERFORM pm.set_timer('unpaid', pm.now() + '30 days');
  WHEN 'confirm order' THEN s := s || jsonb_build_object('confirmed', eid);
  WHEN 'pay order' THEN
    s := s || jsonb_build_object('paid', eid);
    PERFORM pm.cancel_timer('unpaid');
  WHEN 'payment reminder' THEN s := s || jsonb_build_object('reminders', (s ->> 'reminders')::int + 1);
  WHEN 'create package' THEN s := jsonb_set(s, ARRAY['packages', e.stream], jsonb_build_object('items', e.data -> 'items'));
  WHEN 'send package', 'failed delivery', 'package delivered' THEN s := jsonb_set(s, ARRAY['packages', e.stream, e.type], eid);
  WHEN 'audit' THEN s := s || '{"audited": true}';
  -- pick item, item out of stock, reorder item
  ELSE s := jsonb_set(s, ARRAY['items', e.stream], coalesce(s -> 'items' -> e.stream, '{}') || jsonb_build_object(e.type, eid));
  END CASE;
  IF s ?& '{placed,confirmed,paid,audited}'
    AND NOT EXISTS (SELECT FROM jsonb_array_elements_text(s -> 'placed') i WHERE NOT coalesce(s -> 'items' -> i ? 'pick item', false))
    AND NOT EXISTS (SELECT jsonb_array_elements_text(s -> 'placed')
                    EXCEPT SELECT jsonb_array_elements_text(value -> 'items') FROM jsonb_each(s -> 'packages') WHERE value ? 'package delivered')
  THEN
    PERFORM pm.set_timer('close', pm.now());
  END IF;
  RETURN s;
END $$;

SELECT pm.register('plpgsql', 'handle', '{orders,items,packages}', correlate => 'orders_of', backoff => '50 ms', keep_ended => '1 day');
SELECT pm.register('python', NULL, '{orders,items,packages}', correlate => 'orders_of', backoff => '50 ms', keep_ended => '1 day', lease => '3 s', lanes => 2);
