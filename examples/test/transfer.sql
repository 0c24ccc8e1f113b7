-- The test of transfer.sql. Run that first, in a database with pgTAP; then, as the same role:
--
--     pg_prove -d DATABASE examples/test/transfer.sql
BEGIN;
SELECT plan(5);

-- given two accounts
SELECT bank.book('dora', 'deposited', 100), bank.book('emil', 'deposited', 0) \gset

-- when a transfer is requested, then the money arrives
SELECT bank.request('test-1', 'dora', 'emil', 30) \gset
SELECT pm.catch_up('transfer') \gset
SELECT results_eq(
  $$SELECT type, data -> 'balance' FROM pm.read_stream('bank.accounts', 'emil')$$,
  $$VALUES ('deposited', '0'::jsonb), ('credited', '30')$$,
  'the money arrives');

-- when nobody has the account, then the money comes back
SELECT bank.request('test-2', 'dora', 'nobody', 30) \gset
SELECT pm.catch_up('transfer') \gset
SELECT results_eq(
  $$SELECT type, data -> 'balance' FROM pm.read_stream('bank.accounts', 'dora', after_version => 2)$$,
  $$VALUES ('debited', '40'::jsonb), ('refunded', '70')$$,
  'no such account: the money comes back');

-- when it is not covered, then it fails
SELECT bank.request('test-3', 'dora', 'emil', 71) \gset
SELECT pm.catch_up('transfer') \gset
SELECT is(result ->> 'reason', 'not covered', 'not covered: it fails')
  FROM pm.ended WHERE process_manager = 'transfer' AND key = 'test-3';

-- when a request is repeated, then there is nothing to do
SELECT bank.request('test-1', 'dora', 'emil', 30) \gset
SELECT is(pm.catch_up('transfer'), 0::bigint, 'a repeated request: nothing to do');

SELECT throws_ok($$SELECT bank.request('test-4', 'dora', 'emil', -5)$$, '23514', NULL,
                 'a negative amount is refused');

SELECT * FROM finish();
ROLLBACK;
