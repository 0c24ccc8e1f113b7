-- The process manager of orders.ts in PL/pgSQL, and what both have in common.
SELECT pm.create_log(l) FROM unnest('{orders,items,packages}'::text[]) l;
CREATE TABLE call (n bigserial, pm text, key text, log text, pos bigint, type text);
CREATE FUNCTION key_of(e pm.event) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT e.log || ' ' || e.stream $$;
DO $$ BEGIN FOR i IN 1 .. 22400 BY 100 LOOP EXECUTE format('CREATE SEQUENCE poison_%s', i + 6); END LOOP; END $$;

CREATE FUNCTION handle(e pm.event, s jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  eid int := (e.data ->> 'eid')::int;
BEGIN
  INSERT INTO call (pm, key, log, pos, type) VALUES ('plpgsql', pm.key(), e.log, e.position, e.type);
  IF e.log IS NOT NULL AND eid % 100 = 7 AND nextval('poison_' || eid) <= 2 THEN
    RAISE EXCEPTION 'poison %', eid;
  END IF;
  s := coalesce(s, '{"seen": {}, "last": 0, "rung": 0}');
  IF e.type = 'archive' THEN RETURN pm.done(s); END IF;
  s := jsonb_set(s, ARRAY['seen', e.type], to_jsonb(coalesce((s -> 'seen' ->> e.type)::int, 0) + 1));
  IF e.log IS NULL THEN
    s := jsonb_set(s, '{rung}', to_jsonb((s ->> 'rung')::int + 1));
    IF e.type = 'welcome' THEN s := jsonb_set(s, '{order,welcomed}', 'true'); END IF;
    RETURN s;
  END IF;
  s := jsonb_set(s, '{last}', to_jsonb(eid));
  CASE e.type
  WHEN 'place order' THEN
    s := jsonb_set(s, '{order}', jsonb_build_object('price', e.data -> 'price', 'items', jsonb_array_length(e.data -> 'items'), 'paid', false, 'welcomed', false));
    PERFORM pm.set_timer('welcome', e.recorded_at);
    PERFORM pm.set_timer('overdue', e.recorded_at + '1 hour');
  WHEN 'pay order' THEN
    s := jsonb_set(s, '{order,paid}', 'true');
    PERFORM pm.cancel_timer('overdue');
  WHEN 'payment reminder' THEN
    PERFORM pm.set_timer('reminded ' || eid, e.recorded_at + '200 ms', jsonb_build_object('of', eid));
  ELSE NULL;
  END CASE;
  RETURN s;
END $$;
SELECT pm.register('plpgsql', 'handle', '{orders,items,packages}', correlate => 'key_of', backoff => '50 ms', keep_ended => '1 day');
SELECT pm.register('typescript', NULL, '{orders,items,packages}', correlate => 'key_of', backoff => '50 ms', keep_ended => '1 day');
