// The pages in a Chromium: each of them, each action, the keyboard, a server that restarts.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { openBrowser, openPage } from './browser.js';
import { end, pgCtl, shop, sql, startConsole, until, value } from './helper.js';

let browser;
let reader;
let writer;

before(async () => {
  [browser] = await Promise.all([openBrowser(), shop()]);
  [reader, writer] = await Promise.all([startConsole(), startConsole(['--write'])]);
});
after(async () => {
  await browser.close();
  await Promise.all([reader.stop(), writer.stop()]);
  await end();
});

const order = (key) => `#/process-manager/fulfilment/instance/${key}`;
const narrow = { width: 390, height: 844 };
const wide = { width: 1280, height: 900 };

test('the token leaves the address, and a page without it sees nothing', async () => {
  const stranger = await openPage(browser, reader.origin, { expected: [/401/u] });
  await stranger.getByText('This page has no session').waitFor();
  assert.doesNotMatch(await stranger.locator('body').innerText(), /fulfilment/u);
  await stranger.close();

  const page = await openPage(browser, reader.url);
  await page.getByRole('link', { name: 'fulfilment' }).waitFor();
  assert.equal(page.url(), `${reader.origin}/#/`);
  assert.equal(await page.evaluate(() => document.cookie), '');
  // Another tab has the session, too.
  const second = await openPage(browser, `${reader.origin}/#/logs`);
  await second.getByRole('link', { name: 'payments' }).waitFor();
  await second.fine('second tab');
  await second.close();
  await page.fine('first tab');
  await page.close();
});

test('each page, wide and narrow, light and dark', async () => {
  const page = await openPage(browser, reader.url);
  const pages = {
    '#/': ['fulfilment', 'counter', 'Handled', '3 events are parked', 'idle'],
    '#/topology': ['Refresh'],
    '#/topology/counter': ['Show all'],
    '#/logs': ['orders', 'payments', 'public', 'Mark'].slice(0, 2),
    '#/log/orders': ['order-1', 'placed', 'high-water mark', 'fulfilment', 'Newest events'],
    '#/log/orders/stream/order-1': ['version 1', '12345678901234567890.12345678901234567890', 'shipped'],
    '#/log/orders/event/1': ['this event', 'order-1', 'handled or passed over', 'Metadata'],
    '#/log/payments/event/1': ['this event', 'shipped', 'Causes and effects'],
    '#/log/orders/event/99': ['There is no such event', 'above the high-water mark'],
    '#/process-manager/fulfilment': ['invalid input syntax for type numeric: "12,50"', 'order-3', 'order-4', 'Settings', 'order_of', 'Next timers', 'overdue', 'order-2'],
    [order('order-1')]: ['ended', 'by itself', 'shipped', 'placed', 'paid', 'State before and after'],
    [order('order-2')]: ['live', 'timer', 'overdue', '"amount": 20', 'Started'].slice(0, 4),
    [order('order-3')]: ['no instance', 'failing', 'behind', 'invalid input syntax', '1 attempt'],
    [order('nothing')]: ['no instance', 'Nothing is parked'],
    '#/workers': ['dispatcher', 'launcher', 'pm.max_workers', 'Nothing is blocked'],
    '#/find/order': ['Keys that begin or end with it', 'order-2', 'order-4'],
    '#/find/order-3': ['What it waits for'],
    '#/nowhere/at/all': ['There is no such page'],
  };
  for (const size of [wide, narrow]) {
    await page.setViewportSize(size);
    for (const [address, texts] of Object.entries(pages)) {
      await page.visit(address);
      for (const text of texts) await page.locator('main').getByText(text, { exact: false }).first().waitFor({ state: 'attached' }).catch((error) => assert.fail(`${address} has no "${text}": ${error}`));
      await page.fine(`${address} at ${size.width}`);
    }
  }
  // Times are those of the reader's zone, which is Tokyo here.
  await page.visit('#/log/orders/event/1');
  const { at, shown } = await page.locator('main time').first().evaluate((element) => ({ at: element.dateTime, shown: element.textContent }));
  const hour = (new Date(at).getUTCHours() + 9) % 24;
  assert.match(shown, new RegExp(`(^|, )${String(hour).padStart(2, '0')}:`, 'u'));
  for (const colorScheme of ['dark', 'light']) {
    await page.emulateMedia({ colorScheme });
    const [text, ground] = await page.evaluate(() => [getComputedStyle(document.documentElement).color, getComputedStyle(document.documentElement).backgroundColor]);
    const bright = (color) => Number(/\d+/u.exec(color)[0]) > 128;
    assert.equal(bright(text), colorScheme === 'dark', text);
    assert.equal(bright(ground), colorScheme === 'light', ground);
  }
  await page.setViewportSize(wide);
  await page.visit('#/topology');
  await page.locator('.graph svg a').first().waitFor();
  assert.ok((await page.locator('.graph svg a').count()) >= 4, 'two logs and two process managers');
  await page.locator('.graph svg a[aria-label="process manager counter"]').click();
  await page.locator('h1', { hasText: 'counter' }).waitFor();
  await page.fine('topology');
  await page.close();
});

test('the overview is live, and can be used from the keyboard alone', async () => {
  const page = await openPage(browser, reader.url);
  const row = page.getByRole('row', { name: /counter/u });
  await row.waitFor();
  await sql(`INSERT INTO orders (stream, type, data) SELECT 'busy', 'seen', '{}' FROM generate_series(1, 3000)`);
  await page.waitForFunction(() => [...document.querySelectorAll('tr')].some((tr) => /counter/u.test(tr.textContent) && /[1-9][\d,.]*\/s/u.test(tr.textContent)));
  assert.match(await page.locator('.chart').first().getAttribute('aria-label'), /^Handled: /u);

  // The search, by "/"; it leads to the one instance with this key.
  await page.keyboard.press('/');
  await page.keyboard.type('order-2');
  await page.keyboard.press('Enter');
  await page.locator('h1', { hasText: 'order-2' }).waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.tagName), 'H1', 'the new page has the focus');
  // A dialog takes the focus and gives it back.
  const send = page.getByRole('button', { name: 'Send an event' });
  await send.focus();
  await page.keyboard.press('Enter');
  await page.getByRole('dialog').waitFor();
  await page.getByText('This console is read-only').waitFor();
  assert.equal(await page.evaluate(() => document.querySelector('dialog').contains(document.activeElement)), true);
  await page.getByLabel('Type', { exact: true }).fill("it's");
  assert.equal(await page.locator('dialog .statement').innerText(), "SELECT pm.send('fulfilment', 'order-2', 'it''s', '{}');");
  await page.getByRole('button', { name: 'Copy SQL' }).click();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), "SELECT pm.send('fulfilment', 'order-2', 'it''s', '{}');");
  assert.equal(await page.getByRole('dialog').getByRole('button', { name: 'Send', exact: true }).count(), 0);
  await page.keyboard.press('Escape');
  assert.equal(await send.evaluate((element) => element === document.activeElement), true);
  // From the top: each stop of the tab key can be seen.
  await page.visit('#/');
  await page.reload();
  await row.waitFor();
  const stops = [];
  for (let n = 0; n < 12; n++) {
    await page.keyboard.press('Tab');
    stops.push(await page.evaluate(() => { const e = document.activeElement; const s = getComputedStyle(e); return [e.textContent.trim() || e.getAttribute('aria-label'), s.outlineStyle !== 'none']; }));
  }
  assert.ok(stops.some(([text]) => text === 'Skip to content') && stops.some(([text]) => text === 'Logs'), JSON.stringify(stops));
  assert.ok(stops.every(([, outlined]) => outlined), JSON.stringify(stops));
  await page.fine('keyboard');
  await page.close();
});

test('each action', async () => {
  const page = await openPage(browser, writer.url, { expected: [/422/u] });
  const dialog = page.getByRole('dialog');
  const confirm = async (name, fields = {}) => {
    await dialog.waitFor();
    for (const [label, text] of Object.entries(fields)) await dialog.getByLabel(label, { exact: true }).fill(text);
    await dialog.getByRole('button', { name, exact: true }).click();
  };
  const said = (text) => page.locator('.said', { hasText: text }).waitFor();

  await page.visit(order('order-2'));
  await page.getByRole('button', { name: 'Set the state' }).click();
  await confirm('Set', { 'State (JSON)': '{"amount": ', Reason: 'by mistake' });
  await dialog.getByText('invalid input syntax for type json').waitFor();
  await confirm('Set', { 'State (JSON)': '{"placed": {}, "note": "corrected"}' });
  await said('The state is set.');
  await page.locator('main').getByText('corrected').first().waitFor();
  await page.getByText('state set manually').waitFor();
  await page.getByRole('button', { name: 'State before and after' }).first().click();
  await page.locator('.side-by-side td.changed, .side-by-side td.only').first().waitFor();
  await page.getByRole('button', { name: 'Send an event' }).click();
  await confirm('Send', { Type: 'called', 'Data (JSON)': '{"by": "eve"}' });
  await said('Sent.');
  await page.locator('.journal').getByText('called').waitFor();
  await page.getByRole('button', { name: 'End', exact: true }).click();
  await confirm('End it', { Reason: 'the customer has called' });
  await said('Ended.');
  await page.getByText('ended manually').waitFor();
  assert.equal(await value(`SELECT reason FROM pm.ended WHERE key = 'order-2'`), 'the customer has called');

  await page.visit('#/process-manager/counter');
  await page.getByRole('button', { name: 'Pause', exact: true }).click();
  await confirm('Pause this process manager');
  await said('Paused.');
  await page.getByRole('button', { name: 'Resume', exact: true }).click();
  await confirm('Resume this process manager');
  await said('Resumed.');
  await until(`SELECT NOT paused FROM pm.process_manager WHERE name = 'counter'`);

  // One event: it fails again, and says so. Then a group is discarded.
  await page.visit(order('order-4'));
  await page.getByRole('button', { name: 'Data and context' }).click();
  await page.locator('.detail').getByText('"amount": "twelve"').waitFor();
  await page.getByRole('button', { name: 'Retry' }).click();
  await confirm(/^Retry/u);
  await said('Retried.');
  await page.visit('#/process-manager/fulfilment');
  const group = page.getByRole('table', { name: 'parked events by message' }).getByRole('row', { name: /twelve|12,50/u });
  await group.getByRole('button', { name: /invalid input/u }).click();
  await page.getByText('Events of this group').waitFor();
  await group.getByRole('button', { name: 'Discard' }).click();
  await dialog.getByText('This cannot be undone').waitFor();
  await confirm('Discard 2 events');
  await said('Discarded: 2 events.');
  await until(`SELECT count(*) = 0 FROM pm.parked`);
  await page.getByText('Nothing is parked.').first().waitFor();

  // What is dead, all at once.
  await sql(`SELECT pm.alter('fulfilment', max_attempts => 1)`);
  await sql(`SELECT pm.append('orders', 'order-5', 'placed', '{"amount": "five"}')`);
  await until(`SELECT count(*) = 1 FROM pm.parked WHERE state = 'dead'`);
  await page.getByRole('button', { name: 'Retry all dead' }).click();
  await confirm('Retry all dead events');
  await said('Retried: 1 dead event.');
  await until(`SELECT count(*) = 1 FROM pm.parked WHERE state = 'dead'`);
  await page.getByRole('button', { name: 'Discard all dead' }).click();
  await confirm('Discard all dead events');
  await said('Discarded: 1 dead event.');
  await until(`SELECT count(*) = 0 FROM pm.parked`);
  await page.fine('actions');
  await page.close();
});

test('what blocks has the SQL of the hint', async () => {
  const { default: pg } = await import('pg');
  const session = new pg.Client();
  await session.connect();
  await session.query(`BEGIN; INSERT INTO payments (stream, type) VALUES ('late', 'paid')`);
  await sql(`INSERT INTO payments (stream, type, data) VALUES ('p', 'seen', '{}')`);
  const page = await openPage(browser, reader.url);
  await page.visit('#/workers');
  await page.getByText('high-water mark').first().waitFor();
  await page.getByRole('button', { name: /^Copy: SELECT pg_terminate_backend/u }).first().click();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), `SELECT pg_terminate_backend(${session.processID});`);
  await page.visit('#/');
  await page.getByText('a transaction that may write to the log is still open').first().waitFor();
  // The hint leads to the page that shows the same, and so does the log's page.
  await page.getByRole('link', { name: '→ Workers' }).first().waitFor();
  await page.visit('#/log/payments');
  await page.getByText('The mark is held back').waitFor();
  await page.getByRole('button', { name: /^Copy: SELECT pg_terminate_backend/u }).first().waitFor();
  await page.visit('#/');
  await session.query('ROLLBACK');
  await session.end();
  await page.getByText('a transaction that may write to the log is still open').first().waitFor({ state: 'detached' });
  await page.fine('blockers');
  await page.close();
});

test('the source, how long calls take, timers in a thousand years, and a pause', async () => {
  await sql(`SELECT pm.alter('fulfilment', backoff => '1 s', max_attempts => 20), pm.append('orders', 'order-7', 'placed', '{"amount": "seven"}')`);
  await until(`SELECT count(*) = 1 FROM pm.parked WHERE key = 'order-7'`);
  await sql(`SELECT pm.pause('fulfilment')`);
  await sql(`UPDATE pm_catalog.timer SET due = now() + interval '1000 years' WHERE process_manager = 'fulfilment'`);
  await sql(`INSERT INTO pm_catalog.timer (process_manager, lane, key, type, due, data, metadata) SELECT 'fulfilment', 0, 'order-8', 'overdue', now() + interval '1000 years', '{}', '{}'`);
  await until(`SELECT max(retry_at) < now() FROM pm_catalog.parked WHERE key = 'order-7'`);
  const page = await openPage(browser, reader.url);
  const main = page.locator('main');
  for (const size of [narrow, wide]) {
    await page.setViewportSize(size);
    await page.visit('#/process-manager/fulfilment');
    await main.getByText('A call takes').waitFor();
    await main.getByText('longest').first().waitFor();
    await main.getByText('when resumed').first().waitFor();
    await main.getByText('due in more than a year').waitFor();
    await main.getByText('in 1,000 years').first().waitFor();
    await main.getByRole('button', { name: 'Show the functions' }).click();
    await main.getByText('CREATE OR REPLACE FUNCTION public.fulfil(e pm.event, o jsonb)').waitFor();
    await main.getByText('CREATE OR REPLACE FUNCTION public.order_of(e pm.event)').waitFor();
    await page.fine(`process manager at ${size.width}`);
    await page.visit(order('order-7'));
    await main.getByText('when resumed').first().waitFor();
    await page.visit(order('order-8'));
    await main.getByText('far off').first().waitFor();
    await page.fine(`instance at ${size.width}`);
  }
  // Paused comes before idle with parked events; charts are not cut on a narrow screen.
  await page.setViewportSize(narrow);
  await page.visit('#/');
  const charts = page.locator('.chart');
  await charts.nth(2).waitFor();
  for (let n = 0; n < 3; n++) {
    const box = await charts.nth(n).boundingBox();
    assert.ok(box.x >= 0 && box.x + box.width <= 390, `chart ${n}: ${JSON.stringify(box)}`);
  }
  // A search does not stay on other pages.
  const search = page.getByRole('searchbox', { name: /^Find an instance/u });
  await search.fill('order');
  await search.press('Enter');
  await main.getByText('Keys that begin or end with it').waitFor();
  assert.equal(await search.inputValue(), 'order');
  await page.visit('#/logs');
  assert.equal(await search.inputValue(), '');
  await page.fine('search');
  await page.close();
  await sql(`DELETE FROM pm_catalog.timer WHERE key = 'order-8'; SELECT pm.resume('fulfilment')`);
});

test('attached, partitioned and replica logs', async () => {
  await sql(`
    CREATE TABLE messages (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, category text NOT NULL, name text NOT NULL, body jsonb NOT NULL, kind text NOT NULL, version bigint NOT NULL);
    INSERT INTO messages (category, name, body, kind, version) VALUES ('order', 'order-1', '{"n": 1}', 'placed', 1), ('other', 'x', '{}', 'hidden', 1);
    SELECT pm.attach_log('store', 'messages', pos => 'id', stream => 'name', type => 'kind', data => 'body', version => 'version', filter => $$category = 'order'$$);
    SELECT pm.create_log('ranges', partitioned => true);
    CREATE TABLE ranges_1 PARTITION OF ranges FOR VALUES FROM (1) TO (1001);
    SELECT pm.append('ranges', 'r', 'first');
    SELECT pm.create_replica_log('far_away');`);
  const page = await openPage(browser, reader.url);
  const main = page.locator('main');
  const pages = {
    '#/logs': ['attached', 'partitioned', 'replica', 'ordinary'],
    '#/log/store': ['Another program owns and writes this table', "category = 'order'", 'placed', 'order-1'],
    '#/log/ranges': ['partitioned by range of position', 'ranges_1', 'FROM', 'first'],
    '#/log/far_away': ['those of arrival here', 'No subscription fills it'],
    '#/log/store/event/1': ['placed'],
  };
  for (const size of [wide, narrow]) {
    await page.setViewportSize(size);
    for (const [address, texts] of Object.entries(pages)) {
      await page.visit(address);
      for (const text of texts) await main.getByText(text).first().waitFor({ state: 'attached' }).catch((error) => assert.fail(`${address} has no "${text}": ${error}`));
      assert.equal(await main.getByText('hidden', { exact: true }).count(), 0);
      await page.fine(`${address} at ${size.width}`);
    }
  }
  await page.close();
});

test('a connection that is lost comes back by itself', async () => {
  const page = await openPage(browser, writer.url, { expected: [/503|ERR_CONNECTION_REFUSED|Failed to load/u] });
  await page.getByRole('link', { name: 'fulfilment' }).first().waitFor();
  pgCtl('-m', 'immediate', 'stop');
  await page.getByText('There is no connection to the database').waitFor();
  // What was there stays.
  assert.equal(await page.getByRole('link', { name: 'fulfilment' }).count() > 0, true);
  await page.visit('#/process-manager/counter');
  await page.locator('.wait').first().waitFor();
  pgCtl('start');
  await page.locator('.health').waitFor({ state: 'detached' });
  await page.getByRole('button', { name: 'Pause' }).waitFor();
  await page.fine('restart');
  // And if the console itself ends, the page says so.
  await writer.stop('SIGKILL');
  await page.getByText('The console does not answer').waitFor();
  await page.close();
});
