-- The corrected function: order-fulfilment should have had it from the beginning.
CREATE OR REPLACE FUNCTION quantity_of(e pm.event) RETURNS int
LANGUAGE sql AS $$
    SELECT substring(e.data ->> 'quantity' FROM '\d+')::int
$$;
