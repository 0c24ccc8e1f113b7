-- transfer: money moves from one account to another in two steps, and comes back if the second is
-- refused.
--
--     psql -f examples/transfer.sql
--
-- in a database with pm, as a role that may create schemas in it. It creates the schema "bank"; run
-- it again to start over. Things to notice:
--
--   * bank.book() decides on the basis of the last event of an account, and appends with the version
--     of that event. If somebody else books to that account in the meantime, pm.append raises PM001, and
--     the worker calls the handler again. There is no retry loop, no lock, and no EXCEPTION block.
--   * Each step commits together with the state of the transfer, so none is lost or done twice.
--   * A request that makes no sense is refused when it is written, by a CHECK constraint: a log is
--     a table.
\set ON_ERROR_STOP on
\o /dev/null
SET client_min_messages = warning;
SELECT EXISTS (SELECT FROM pm.process_manager WHERE name = 'transfer') AS again \gset

BEGIN;
\if :again
SELECT pm.unregister('transfer');
DROP SCHEMA bank CASCADE;
\endif
CREATE SCHEMA bank;
SELECT pm.create_log('bank.accounts');      -- deposited, debited, credited, refunded; each account is a stream
SELECT pm.create_log('bank.transfers');     -- requested, completed, failed; each transfer is a stream

-- A request is complete, and the first event of its transfer.
ALTER TABLE bank.transfers ADD CONSTRAINT request_is_valid CHECK (
  type <> 'requested'
  OR (data ?& '{payer,payee,amount}' AND (data -> 'amount')::numeric > 0 AND version IS NOT DISTINCT FROM 1));

-- Books an amount to an account, or returns false. The first deposit opens an account. Each event
-- of an account has the balance after it, so the last one is all that a decision needs.
CREATE FUNCTION bank.book(account text, what text, amount numeric, transfer text DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
  last bank.accounts;
  balance numeric;
BEGIN
  SELECT * INTO last FROM bank.accounts
   WHERE stream = account AND version > 0 ORDER BY version DESC LIMIT 1;
  balance := coalesce((last.data -> 'balance')::numeric, 0) + amount;

  IF balance < 0 OR what = 'credited' AND last.version IS NULL THEN
    RETURN false;                           -- too little money; no such account
  END IF;
  PERFORM pm.append('bank.accounts', account, what,
                    jsonb_build_object('amount', amount, 'balance', balance, 'transfer', transfer),
                    expected_version => coalesce(last.version, 0));
  RETURN true;
END $$;

-- Which transfer an event belongs to. NULL: none, as for a deposit.
CREATE FUNCTION bank.transfer_of(e pm.event) RETURNS text LANGUAGE sql IMMUTABLE
RETURN CASE e.log WHEN 'bank.transfers' THEN e.stream ELSE e.data ->> 'transfer' END;

-- t: the request, from the debit until the end
CREATE FUNCTION bank.transfer(e pm.event, t jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  id text := pm.key();
  amount numeric := (coalesce(t, e.data) -> 'amount')::numeric;
  problem text;
BEGIN
  CASE e.type
    WHEN 'requested' THEN
      IF bank.book(e.data ->> 'payer', 'debited', -amount, id) THEN
        RETURN e.data;
      END IF;
      problem := 'not covered';

    WHEN 'debited' THEN
      IF NOT bank.book(t ->> 'payee', 'credited', amount, id) THEN
        PERFORM bank.book(t ->> 'payer', 'refunded', amount, id);        -- the compensation
        problem := 'no such account';
      END IF;
  END CASE;

  IF problem IS NULL THEN
    PERFORM pm.append('bank.transfers', id, 'completed');
    RETURN pm.done('{"outcome": "completed"}');
  END IF;
  PERFORM pm.append('bank.transfers', id, 'failed', jsonb_build_object('reason', problem));
  RETURN pm.done(jsonb_build_object('outcome', 'failed', 'reason', problem));
END $$;

-- Four lanes handle four transfers at a time. They conflict over accounts that many transfers use, which
-- costs a repeated call now and then. pm.ended shows each transfer for 90 days.
SELECT pm.register('transfer', 'bank.transfer', ARRAY['bank.transfers', 'bank.accounts'],
                   correlate => 'bank.transfer_of', types => ARRAY['requested', 'debited'],
                   lanes => 4, keep_ended => '90 days');

-- What an application calls. The id of a transfer is that of its event: a client that repeats a
-- request, because it has not seen the answer, gets the position of the first one, and there is one
-- transfer.
CREATE FUNCTION bank.request(id text, payer text, payee text, amount numeric) RETURNS bigint LANGUAGE sql AS $$
  SELECT pm.append('bank.transfers', id, 'requested',
                   jsonb_build_object('payer', payer, 'payee', payee, 'amount', amount),
                   expected_version => 0, id => id)
$$;
COMMIT;

-- ---- what happens -------------------------------------------------------------------------------

SELECT bank.book('alice', 'deposited', 100), bank.book('bob', 'deposited', 20);

SELECT bank.request('t-1', 'alice', 'bob', 70);
SELECT bank.request('t-1', 'alice', 'bob', 70);       -- again, after a timeout
SELECT bank.request('t-2', 'bob', 'carol', 15);       -- carol has no account
SELECT bank.request('t-3', 'bob', 'alice', 500);      -- bob has 90 at most

-- A worker does all of this by itself. pm.catch_up returns when it is done.
SELECT pm.catch_up('transfer');

\o
\echo The transfers:
SELECT stream AS transfer, type, data ->> 'reason' AS reason FROM bank.transfers ORDER BY stream, version;

\echo The accounts:
SELECT DISTINCT ON (stream) stream AS account, data -> 'balance' AS balance
  FROM bank.accounts ORDER BY stream, version DESC;

\echo The instances, all of which have ended:
SELECT key AS transfer, result FROM pm.ended WHERE process_manager = 'transfer' ORDER BY key;

\echo What the request t-2 has caused:
SELECT depth, event_log, stream, type
  FROM pm.trace('bank.transfers', (SELECT position FROM bank.transfers WHERE stream = 't-2' AND version = 1));
