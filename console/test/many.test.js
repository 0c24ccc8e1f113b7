// Much of everything: pages stay quick, and send little. Long form (PM_SOAK): more of it.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { openBrowser, openPage } from './browser.js';
import { ask, bulk, end, figure, session, shop, sql, startConsole, until, value } from './helper.js';

const soak = Boolean(process.env.PM_SOAK);
let browser;
let writer;
let headers;

before(async () => {
  [browser] = await Promise.all([openBrowser(), shop()]);
  await bulk(10_000);
  writer = await startConsole(['--write']);
  headers = await session(writer);
});
after(async () => {
  await browser.close();
  await writer.stop();
  await end();
});

/** Asks, and says how long it took and how much came. */
async function measured(path, params, limit = 200_000) {
  const began = performance.now();
  const answer = await ask(writer, headers, path, params);
  const ms = Math.round(performance.now() - began);
  const size = JSON.stringify(answer).length;
  assert.equal(answer.status, 200, JSON.stringify(answer.error));
  assert.ok(size < limit, `${path}: ${size} bytes`);
  figure(`${path} ${Object.values(params ?? {}).filter((v) => String(v).length < 20).join(' ')}: ${ms} ms, ${size} bytes`);
  return answer;
}

test('10,000 parked events', async () => {
  const page = await openPage(browser, writer.url);
  const dialog = page.getByRole('dialog');
  const main = page.locator('main');
  await page.visit('#/process-manager/bulk');
  const groups = page.getByRole('table', { name: 'parked events by message' });
  await groups.getByText('no room for "s').waitFor();
  assert.equal(await groups.locator('tbody tr').count(), 2);
  await main.getByText('10,000', { exact: true }).first().waitFor();
  const list = page.getByRole('table', { name: 'parked events', exact: true });
  await list.locator('tbody tr').nth(24).waitFor();
  assert.equal(await list.locator('tbody tr').count(), 25);
  // The last page, then one event of the group that is dead.
  await groups.getByRole('button', { name: /item/u }).click();
  await main.getByText('Events of this group').waitFor();
  await main.getByRole('button', { name: 'Next →' }).first().click();
  await main.getByText('26 to 50').waitFor();
  await list.getByRole('button', { name: /^bulk@/u }).first().click();
  await main.locator('.detail').getByText('It was looked for in three warehouses').waitFor();
  assert.ok((await page.evaluate(() => document.querySelectorAll('*').length)) < 4000, 'the page stays small');
  await page.fine('10,000 parked events');

  // All of a group, in steps.
  await groups.getByRole('row', { name: /item/u }).getByRole('button', { name: 'Discard' }).click();
  await dialog.getByRole('button', { name: 'Discard 3,000 events' }).click();
  await page.locator('.said', { hasText: 'Discarded: 3,000 events.' }).waitFor({ timeout: 60_000 });
  assert.equal(await value(`SELECT count(*) FROM pm.parked WHERE process_manager = 'bulk' AND state = 'failing'`), '7000');
  await page.close();

  await measured('overview');
  await measured('manager', { name: 'bulk' });
  await measured('parked-groups', { name: 'bulk' });
  await measured('parked', { name: 'bulk', offset: '6950' });
  await measured('parked-event', { name: 'bulk', log: 'bulk', position: '3', key: 's3' });
  await measured('event', { log: 'bulk', position: '3' });
  await measured('find', { text: 's3' });
  const retried = await value(`SELECT pm.retry('bulk', log, position) IS NOT NULL FROM pm.parked WHERE process_manager = 'bulk' LIMIT 1`);
  assert.equal(retried, true);
});

test('a page that nobody looks at asks nothing', async () => {
  const page = await openPage(browser, writer.url);
  await page.getByRole('link', { name: 'bulk' }).waitFor();
  await page.close();
  const queries = () => value(`SELECT max(query_start)::text FROM pg_stat_activity WHERE application_name = 'pm console' AND datname = current_database()`);
  // What is under way ends.
  let last;
  await until(async () => { const now = await queries(); const same = now === last; last = now; await new Promise((resolve) => setTimeout(resolve, 1500)); return same; });
  assert.equal(await queries(), last);
});

test('a journal of many entries, and a long stream', async () => {
  await sql(`INSERT INTO pm_catalog.journal (process_manager, key, started_at, seq, log, position, type, handled_at, state)
             SELECT 'fulfilment', 'long', now(), i, 'orders', i, 'counted', now() + i * interval '1 ms', jsonb_build_object('n', i) FROM generate_series(1, 5000) i;
             INSERT INTO orders (stream, type) SELECT 'long', 'counted' FROM generate_series(1, 5000)`);
  const page = await openPage(browser, writer.url);
  await page.visit('#/process-manager/fulfilment/instance/long');
  await page.locator('.entry').nth(39).waitFor();
  assert.equal(await page.locator('.entry').count(), 40);
  await page.getByRole('button', { name: 'Next →' }).click();
  await page.getByText('41 to 80').waitFor();
  await page.visit('#/log/orders/stream/long');
  await page.locator('.entry').nth(99).waitFor();
  await page.getByRole('button', { name: 'More' }).click();
  await page.locator('.entry').nth(1999).waitFor();
  await page.fine('long');
  await page.close();
});

test('a large event is not read', async () => {
  await sql(`SELECT pm.append('orders', 'large', 'large', jsonb_build_object('x', (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 100000) i)))`);
  const position = await value(`SELECT max(position) FROM orders`);
  const { event } = await measured('event', { log: 'orders', position });
  assert.equal(event.data, null);
  assert.ok(Number(event.data_size) > 200_000);
  const page = await openPage(browser, writer.url);
  await page.visit(`#/log/orders/event/${position}`);
  await page.getByText('too large to be shown here').waitFor();
  await page.fine('large');
  await page.close();
});

test('5,000 logs, 2,000 process managers, a log of a million events', { skip: !soak && 'only in the long form' }, async () => {
  for (let n = 0; n < 5000; n += 250) await sql(`SELECT pm.create_log('l' || i) FROM generate_series(${n + 1}, ${n + 250}) i`);
  await sql(`CREATE FUNCTION nothing(e pm.event) RETURNS void LANGUAGE sql AS ''`);
  for (let n = 0; n < 2000; n += 100) await sql(`SELECT pm.register('m' || i, 'nothing', ARRAY['l' || i, 'l' || i + 1]) FROM generate_series(${n + 1}, ${n + 100}) i`);
  await sql(`INSERT INTO l5000 (stream, type, data) SELECT 's' || i % 1000, 't', jsonb_build_object('n', i) FROM generate_series(1, 1000000) i; ANALYZE l5000`);
  const { managers, found, every } = await measured('overview');
  assert.deepEqual([managers.length, found], [50, 2003]);
  figure(`overview of 2,003 process managers: asked again every ${every} ms`);
  await measured('overview', { text: 'm19', offset: '50' });
  await measured('logs', { offset: '4900' });
  await measured('tail', { name: 'l5000' });
  await measured('tail', { name: 'l5000', before: '500000', type: 'other' });
  await measured('streams', { name: 'l5000' });
  await measured('stream', { name: 'l5000', stream: 's7' });
  await measured('event', { log: 'l5000', position: '777777' });
  await measured('find', { text: 's7' });
  await measured('manager', { name: 'm1000' });
  const { dot } = await measured('diagram');
  assert.equal(dot, null);
  assert.match((await measured('diagram', { around: 'm1000' })).dot, /l1001/u);
  const trace = await ask(writer, headers, 'trace', { log: 'l5000', position: '777777' });
  figure(`trace over 5,000 logs without an index: ${trace.status === 200 ? 'answered' : trace.error.message}`);

  const page = await openPage(browser, writer.url);
  await page.getByText('1 to 50 of 2,003').waitFor({ timeout: 60_000 });
  for (const hash of ['#/', '#/topology', '#/logs', '#/log/l5000', '#/workers']) {
    await page.visit(hash);
    await page.waitForTimeout(500);
    await page.fine(hash);
  }
  await page.close();
});
