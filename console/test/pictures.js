// pictures.js DIR: takes the pictures of doc/console.md, and in DIR/all one of each page, wide and narrow, light and dark,
// to be looked at before a release. The data is that of the demonstration, with an order that is stuck, and in a
// second database, which is dropped at the end, 10,000 parked events.
//
//   make demo KEEP=1        prints where its server listens
//   PGHOST=/tmp/pm-demo... PGUSER=shop PGDATABASE=demo node console/test/pictures.js doc/console
//
// In console/, npm ci must have run; a Chromium and pngquant are needed.
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';

const directory = process.argv[2];
const warehouse = 'warehouse';
const superuser = process.env.PM_SUPERUSER ?? 'postgres';

const admin = new pg.Client({ user: superuser, database: 'postgres' });
await admin.connect();
await admin.query(`DROP DATABASE IF EXISTS ${warehouse} WITH (FORCE)`);
await admin.query(`CREATE DATABASE ${warehouse}`);

const { openBrowser, openPage } = await import('./browser.js');
const demo = await import('./helper.js');
const wide = { width: 1280, height: 900 };
const narrow = { width: 390, height: 844 };

// ---- the data

// Other orders each time.
const first = (Math.floor(Date.now() / 1000) % 90_000) * 1000 + 1_000_000;
const order = `order-${first}`;

/** Orders and payments, some hundred each, and what the warehouse answers; one order wants too many pieces. */
async function traffic(seconds) {
  await demo.sql(`SELECT pm.alter('order-fulfilment', journal => true, keep_ended => '1 day')`);
  const end = Date.now() + seconds * 1000;
  for (let n = 0; Date.now() < end; n++) {
    await demo.sql(
      `SELECT pm.append('orders', o.name, 'order placed', jsonb_build_object('amount', 20 + i, 'quantity', 1 + i % 4, 'pay_within', '3 days')),
              pm.append('payments', 'payment-' || o.name, 'payment received', jsonb_build_object('order', o.name, 'amount', 20 + i, 'valid_for', '3 days'))
       FROM generate_series(1, $1::int) i, LATERAL (SELECT 'order-' || $2::int + i AS name) o`,
      [15 + Math.round(10 * Math.random()), first + n * 25],
    );
    for (const [type, before] of [['stock reserved', 2], ['parcel sent', 4]]) {
      await demo.sql(
        `SELECT pm.append('warehouse', o.name, $2) FROM generate_series(1, 15) i, LATERAL (SELECT 'order-' || $1::int + i AS name) o WHERE $3`,
        [first + (n - before) * 25, type, n >= before],
      );
    }
    if (n === 12) {
      await demo.sql(`SELECT pm.append('orders', $1, 'order placed', '{"amount": 12.50, "quantity": "30000000000 pcs", "pay_within": "3 days"}')`, [order]);
      await demo.sql(`SELECT pm.append('payments', 'payment-' || $1::text, 'payment received', jsonb_build_object('order', $1::text, 'amount', 12.50, 'valid_for', '3 days'))`, [order]);
    }
    await delay(1000);
  }
}

const second = new pg.Client({ user: superuser, database: warehouse });
await second.connect();
await second.query('CREATE EXTENSION pm');
for (const statement of demo.bulkSql(10_000)) await second.query(statement);

// ---- the pages

const shop = await demo.startConsole();
const store = await demo.startConsole([], { PGUSER: superuser, PGDATABASE: warehouse });
const browser = await openBrowser({ timezoneId: 'Europe/Vienna' });
process.on('uncaughtException', (error) => { console.error(error); finish(1); });
const page = await openPage(browser, shop.url);
const stored = await openPage(browser, store.url);
await traffic(40);
await delay(20_000);
const done = await demo.value(`SELECT key FROM pm.journal WHERE process_manager = 'order-fulfilment' GROUP BY key HAVING count(*) > 2 ORDER BY max(handled_at) DESC LIMIT 1`);
const instance = (key) => `#/process-manager/order-fulfilment/instance/${encodeURIComponent(key)}`;
const position = await demo.value(`SELECT max(position) FROM orders WHERE stream = $1`, [done]);
const event = `#/log/orders/event/${position}`;

async function finish(status) {
  await browser.close();
  await demo.end();
  await second.end();
  await admin.query(`DROP DATABASE ${warehouse} WITH (FORCE)`);
  await admin.end();
  process.exit(status);
}

async function picture(where, name, hash, { size = wide, height, scheme = 'light', prepare } = {}) {
  await where.setViewportSize(height ? { ...size, height } : size);
  await where.emulateMedia({ colorScheme: scheme });
  await where.visit(hash);
  // What the page asks for has come, and what is drawn is drawn.
  await where.waitForLoadState('networkidle').catch(() => {});
  await where.waitForFunction(() => !document.querySelector('main .wait'), undefined, { timeout: 60_000 });
  await prepare?.(where);
  await delay(1000);
  await where.evaluate(() => document.activeElement?.blur());
  await where.screenshot({ path: join(directory, `${name}.png`), fullPage: name.startsWith('all/') });
  await where.fine(name);
}

// At the second visit it may be open already.
const press = (name, done) => async (where) => {
  const buttons = where.getByRole('button', { name: new RegExp(`${name}|${done}`, 'u') });
  await buttons.first().waitFor();
  if ((await where.getByRole('button', { name: done }).count()) === 0) await buttons.first().click();
};
const opened = press('Data and context', 'Less');
const states = press('State before and after', 'Hide the states');

mkdirSync(join(directory, 'all'), { recursive: true });
await picture(page, 'overview', '#/', { height: 560 });
await picture(page, 'overview-narrow', '#/', { size: narrow });
await picture(page, 'process-manager', '#/process-manager/order-fulfilment', { height: 1000 });
await picture(page, 'instance-hangs', instance(order), { height: 860, prepare: opened });
await picture(page, 'instance', instance(done), { height: 860, prepare: states });
await picture(page, 'event', event, { height: 800 });
await picture(page, 'log', '#/log/orders', { height: 800 });
await picture(page, 'topology', '#/topology', { height: 460, scheme: 'dark' });
await picture(page, 'workers', '#/workers', { height: 640 });
await picture(stored, 'overview-parked', '#/', { height: 500, scheme: 'dark' });
await picture(stored, 'parked', '#/process-manager/bulk', { height: 1180 });
await picture(stored, 'parked-narrow', '#/process-manager/bulk', { size: narrow });

const all = {
  overview: [page, '#/'], topology: [page, '#/topology'], around: [page, '#/topology/turnover'], manager: [page, '#/process-manager/order-fulfilment'],
  hangs: [page, instance(order), opened], instance: [page, instance(done), states], event: [page, event], logs: [page, '#/logs'], log: [page, '#/log/orders'],
  stream: [page, `#/log/orders/stream/${encodeURIComponent(done)}`], workers: [page, '#/workers'], find: [page, `#/find/${order.slice(0, 8)}`], nothing: [page, '#/find/nothing-of-this-name'],
  'parked-overview': [stored, '#/'], 'parked-manager': [stored, '#/process-manager/bulk'], 'parked-instance': [stored, '#/process-manager/bulk/instance/s10', opened],
  'parked-workers': [stored, '#/workers'], 'parked-log': [stored, '#/log/bulk'],
};
for (const [name, [where, hash, prepare]] of Object.entries(all)) {
  for (const [size, px] of [['wide', wide], ['narrow', narrow]]) {
    for (const scheme of ['light', 'dark']) await picture(where, `all/${name}-${size}-${scheme}`, hash, { size: px, scheme, prepare });
  }
}

for (const name of readdirSync(directory).filter((file) => file.endsWith('.png'))) execFileSync('pngquant', ['--force', '--ext', '.png', join(directory, name)]);
await finish(0);
