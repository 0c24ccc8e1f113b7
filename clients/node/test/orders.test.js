// A process manager in TypeScript, and the same in PL/pgSQL, over 22,367 events of an order management system: one instance for
// each order, item and package, with state and timers. One event in a hundred fails twice. Both must end with the same states.
// Without PM_SOAK, only the first 5,000 events.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { after, test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import typescript from 'typescript';
import { figure, pool, program, sql, until, value } from './helper.js';

const file = `${process.env.PM_TEST_DATA}/order-management.csv.gz`;
if (!existsSync(file)) {
  console.log('skipped: it needs an event log that is not part of pm; doc/testing.md says which');
  process.exit(77);
}
after(() => pool.end());
const psql = (args, input) => execFileSync('psql', ['-XqAt', '-v', 'ON_ERROR_STOP=1', ...args], { input, encoding: 'utf8' });
const here = (name) => new URL(name, import.meta.url).pathname;

test('the package compiles with its types, and keeps the promises of the one in PL/pgSQL', async () => {
  // The types are checked, too, but that takes a long time.
  if (process.env.PM_SOAK) execFileSync(process.execPath, [here('../node_modules/typescript/bin/tsc'), '-p', here('tsconfig.json')], { stdio: 'inherit' });
  const { outputText } = typescript.transpileModule(readFileSync(here('orders.ts'), 'utf8'), { compilerOptions: { module: 'esnext', target: 'es2022' } });
  writeFileSync(here('orders.built.js'), outputText);

  psql(['-f', here('orders.sql')]);
  psql(['-c', 'CREATE TABLE source (n bigserial PRIMARY KEY, log text, stream text, type text, occurred_at timestamptz, data jsonb)']);
  psql(['-c', '\\copy source (log, stream, type, occurred_at, data) FROM pstdin (FORMAT csv, HEADER)'], gunzipSync(readFileSync(file)));
  assert.equal(await value('SELECT count(*) FROM source'), '22367');
  const count = process.env.PM_SOAK ? 22367 : 5000;
  await sql('DELETE FROM source WHERE n > $1', [count]);
  const poisoned = Math.floor((count - 7) / 100) + 1;

  const consumer = program('orders.built.js');
  let stopped = false;
  const ended = consumer.ended.then(([code, signal]) => assert.ok(stopped && code === 0, `it has ended: ${code} ${signal} ${consumer.text}`));
  ended.catch(() => {});
  const since = Date.now();
  for (let n = 0; n < count; n += 1000) {
    await sql(
      `WITH s AS (SELECT * FROM source WHERE n > $1 AND n <= $1 + 1000 ORDER BY n),
            o AS (INSERT INTO orders (stream, type, data) SELECT stream, type, data FROM s WHERE log = 'orders' ORDER BY n),
            i AS (INSERT INTO items (stream, type, data) SELECT stream, type, data FROM s WHERE log = 'items' ORDER BY n)
       INSERT INTO packages (stream, type, data) SELECT stream, type, data FROM s WHERE log = 'packages' ORDER BY n`, [n]);
  }
  const idle = `SELECT (SELECT sum(lag) = 0 FROM pm.status) AND NOT EXISTS (SELECT FROM pm.parked) AND NOT EXISTS (SELECT FROM pm.timer WHERE type <> 'overdue')`;
  await until(() => Promise.race([ended, value(idle)]), { seconds: 120, message: 'all is handled' });
  const seconds = (Date.now() - since) / 1000;
  for (const log of ['orders', 'items', 'packages']) {
    await sql(`INSERT INTO ${log} (stream, type, data) SELECT DISTINCT stream, 'archive', '{"eid": 0}'::jsonb FROM source WHERE log = '${log}'`);
  }
  await until(() => Promise.race([ended, value(`SELECT sum(lag) = 0 AND (SELECT count(*) FROM pm.instance) = 0 FROM pm.status`)]), { seconds: 120, message: 'all instances have ended' });
  stopped = true;
  consumer.kill('SIGTERM');
  await ended;

  const states = (name) => `SELECT key, result FROM pm.ended WHERE process_manager = '${name}'`;
  assert.equal(await value(`SELECT count(*) FROM (${states('typescript')}) x`), await value('SELECT count(DISTINCT (log, stream)) FROM source'));
  assert.equal(await value(`SELECT count(*) FROM ((${states('plpgsql')}) EXCEPT (${states('typescript')})) x`), '0', 'the same states');
  assert.equal(await value(`SELECT count(*) FROM ((${states('typescript')}) EXCEPT (${states('plpgsql')})) x`), '0', 'and no others');
  // What is known of the source.
  const facts = await sql(`
    SELECT count(*) FILTER (WHERE (result -> 'order' ->> 'paid')::bool) AS paid, count(*) FILTER (WHERE (result -> 'order' ->> 'welcomed')::bool) AS welcomed,
           sum((result -> 'seen' ->> 'payment reminder')::int) AS reminders, sum((result ->> 'rung')::int) AS rung
    FROM pm.ended WHERE process_manager = 'typescript'`);
  assert.deepEqual(facts, await sql(`
    SELECT count(*) FILTER (WHERE type = 'pay order') AS paid, count(*) FILTER (WHERE type = 'place order') AS welcomed,
           count(*) FILTER (WHERE type = 'payment reminder') AS reminders, count(*) FILTER (WHERE type IN ('place order', 'payment reminder')) AS rung
    FROM source`));
  if (process.env.PM_SOAK) assert.deepEqual(facts, [{ paid: '2000', welcomed: '2000', reminders: '514', rung: '2514' }]);
  // In the table, with no unique key, each event is there once, in the order of its key.
  for (const name of ['typescript', 'plpgsql']) {
    assert.equal(await value(`SELECT count(*) FROM call WHERE pm = $1 AND log IS NOT NULL AND type <> 'archive'`, [name]), String(count));
    assert.equal(await value(`SELECT count(*) - count(DISTINCT (log, pos)) FROM call WHERE pm = $1 AND log IS NOT NULL`, [name]), '0');
    assert.equal(await value(`SELECT count(*) FROM (SELECT pos < lag(pos) OVER (PARTITION BY key ORDER BY n) AS bad FROM call WHERE pm = $1 AND log IS NOT NULL) x WHERE bad`, [name]), '0');
  }
  const errors = await value(`SELECT sum(errors) FROM (SELECT DISTINCT lane, errors FROM pm.status WHERE process_manager = 'typescript') x`);
  assert.equal(errors, String(2 * poisoned), 'each poisoned event has failed twice');
  figure(`${count} events, ${poisoned} of them fail twice: written and handled by both in ${seconds.toFixed(1)} s`);
});
