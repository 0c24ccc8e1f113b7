// Consumers are killed with SIGKILL between fetch and effect, between effect and advance, and while they advance and commit; the
// server crashes and restarts meanwhile, and pgbouncer too. In the transaction, each effect is there once, in the order of its
// key. Outside nothing is lost, and what was delivered again has its attempt counted. With PM_SOAK, 50 kills of each kind.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { after, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { figure, pgCtl, pool, program, sql, until, value } from './helper.js';

const each = process.env.PM_SOAK ? 50 : 3;
const names = { inside: 'transaction', beside: 'outside' };
const kills = { 'inside before': 0, 'inside after': 0, 'inside later': 0, 'beside before': 0, 'beside after': 0, 'beside later': 0 };
const children = new Set();
let done = false;
let starts = 0;
const said = [];

after(async () => {
  done = true;
  for (const child of children) child.kill('SIGKILL');
  await pool.end();
});

/** Keeps a worker running. How it is to die changes each time, until it has died in each way often enough. */
async function keep(name, index) {
  for (let n = index; !done; n++) {
    const left = ['before', 'after', 'later'].filter((when) => kills[`${name} ${when}`] < each);
    const dies = left[n % left.length] ?? '';
    const pooled = n % 3 === 0;
    const child = program('worker.js', [], {
      NAME: name, EFFECTS: names[name], DIES: dies, ODDS: '8', BATCH: name === 'beside' ? '1' : '20',
      ...(pooled && { PGHOST: process.env.PM_TEST_POOLER }),
    });
    starts++;
    children.add(child);
    const [code, signal] = await child.ended;
    children.delete(child);
    said.push(child.text);
    if (signal === 'SIGKILL' && !done) kills[`${name} ${dies}`]++;
    else if (!done) assert.fail(`a worker of ${name} has ended by itself: ${code} ${signal} ${child.text}`);
    else if (child.text.startsWith('ready')) assert.equal(`${code} ${signal}`, '0 null', `SIGTERM ends a worker in good order: ${child.text}`);
  }
}

async function restartPooler() {
  const pid = Number(readFileSync(process.env.PM_TEST_POOLER_INI.replace('.ini', '.pid'), 'utf8'));
  process.kill(pid, 'SIGKILL');
  await until(() => { try { process.kill(pid, 0); return false; } catch { return true; } });
  execFileSync('pgbouncer', ['-d', '-q', process.env.PM_TEST_POOLER_INI], { stdio: 'ignore' });
}

test('kills, crashes, restarts', async () => {
  await sql(`SELECT pm.create_log('events')`);
  await sql(`SELECT pm.register('inside', NULL, '{events}', lease => '1 s', lanes => 2, max_attempts => 1000)`);
  await sql(`SELECT pm.register('beside', NULL, '{events}', lease => '1 s', lanes => 3, max_attempts => 1000)`);
  await sql('CREATE TABLE effect (n serial, name text, pos bigint, key text, attempt int)');
  await sql('CREATE TABLE call (n serial, name text, pos bigint, key text, attempt int)');

  const total = () => Object.values(kills).reduce((a, b) => a + b);
  const workers = [keep('inside', 0), keep('inside', 1), keep('beside', 0), keep('beside', 1), keep('beside', 2)];
  const failed = Promise.all(workers);
  const work = (async () => {
    const plan = [
      [each, () => pgCtl('restart', '-m', 'immediate')],
      [2 * each, restartPooler],
      [4 * each, () => pgCtl('restart', '-m', 'fast')],
    ];
    while (Object.values(kills).some((n) => n < each)) {
      // Not more than the workers can handle.
      await sql(`SELECT count(pm.append('events', 's-' || i % 20, 'T')) FROM generate_series(1, 10) i WHERE (SELECT sum(lag) < 100 FROM pm.status)`).catch(() => {});
      if (plan.length > 0 && total() >= plan[0][0]) await plan.shift()[1]();
      await delay(40);
    }
    assert.equal(plan.length, 0);
    await until(`SELECT coalesce(sum(lag), 1) = 0 FROM pm.status`);
    done = true;
    for (const child of children) child.kill('SIGTERM');
  })();
  await Promise.race([work, failed.then(() => work)]);
  await failed;

  for (const name of Object.keys(names)) {
    assert.equal(await value(`SELECT count(*) FROM events WHERE "position" NOT IN (SELECT pos FROM effect WHERE name = $1)`, [name]), '0', `${name}: none is missing`);
  }
  const first = `(SELECT DISTINCT ON (name, pos) * FROM effect ORDER BY name, pos, n) e`;
  assert.equal(await value(`SELECT count(*) FROM (SELECT pos < lag(pos) OVER (PARTITION BY name, key ORDER BY n) AS bad FROM ${first}) x WHERE bad`), '0', 'none is out of the order of its key');
  assert.equal(await value(`SELECT count(*) - count(DISTINCT pos) FROM effect WHERE name = 'inside'`), '0', 'in the transaction none is there twice');
  assert.equal(await value(`SELECT count(*) FROM pm.parked`), '0');
  // A worker may have killed itself just before the others were told to end: its lease runs out.
  await until(`SELECT count(*) = 0 FROM pm.consumer WHERE lease_until > now()`);
  // Outside, with one event at a time, each kill raises the attempt of that event by
  // one. A worker that is killed while it advances may have fetched the next event, of
  // which the table of calls then knows nothing.
  const steps = await sql(`SELECT attempt - lag(attempt, 1, 0) OVER (PARTITION BY pos ORDER BY n) AS step FROM call WHERE name = 'beside'`);
  const skipped = steps.reduce((sum, { step }) => sum + Math.max(step - 1, 0), 0);
  assert.ok(steps.every(({ step }) => step >= 0), 'an attempt never falls');
  const raised = Number(await value(`SELECT sum(most - 1) FROM (SELECT max(attempt) AS most FROM call WHERE name = 'beside' GROUP BY pos) x`));
  const killed = kills['beside before'] + kills['beside after'];
  const lapsed = said.join('').split('holds no lane').length + said.join('').split('does not hold').length - 2;
  assert.ok(raised >= killed && raised <= killed + kills['beside later'] + lapsed + 3, `each kill is an attempt: ${killed} kills, ${raised} attempts, ${lapsed} leases ran out besides`);
  assert.ok(skipped <= kills['beside later'] + lapsed + 3, `${skipped} attempts without a call`);
  const [{ events, twice }] = await sql(`SELECT count(DISTINCT pos) AS events, count(*) - count(DISTINCT pos) AS twice FROM effect WHERE name = 'beside'`);
  assert.ok(Number(twice) >= kills['beside after'], 'what was killed after its effect has it twice');
  figure(`${events} events; ${JSON.stringify(kills)}; outside ${twice} delivered again, ${raised} attempts; ${starts} starts`);
});
