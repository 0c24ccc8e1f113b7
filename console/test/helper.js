// What the tests share: the database of the environment (PGHOST, PGDATABASE, PGDATA), process managers to look at, and
// the console as a program.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { request } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';

/** A pool that outlives restarts of the server. */
export const pool = new pg.Pool({ max: 4 });
pool.on('error', () => {});

export async function sql(text, values) {
  return (await pool.query(text, values)).rows;
}

export async function value(text, values) {
  const [row] = (await pool.query({ text, values, rowMode: 'array' })).rows;
  return row?.[0];
}

/** Waits until a function, or a query, returns true. */
export async function until(what, { seconds = 60, message = String(what) } = {}) {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    const found = await (async () => (typeof what === 'string' ? value(what) : what()))().catch(() => false);
    if (found === true) return;
    assert.ok(Date.now() < end, `not within ${seconds} s: ${message}`);
    await delay(50);
  }
}

export function pgCtl(...args) {
  execFileSync('pg_ctl', ['-D', process.env.PGDATA, '-l', process.env.PM_TEST_SERVER_LOG, '-s', '-w', ...args], { stdio: 'ignore' });
}

export function figure(text) {
  console.log(`# figure: ${text}`);
}

const programs = [];

/** Starts the console; returns its address and how to end it. */
export async function startConsole(args = [], env = {}) {
  const program = new URL('../pm-console.js', import.meta.url).pathname;
  const child = spawn(process.execPath, [program, '--port', '0', ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
  });
  programs.push(child);
  let said = '';
  child.stdout.on('data', (data) => (said += data));
  child.stderr.on('data', (data) => (said += data));
  const exited = once(child, 'exit');
  const end = Date.now() + 30_000;
  while (!/#token=\S+\n/u.test(said) && child.exitCode === null && Date.now() < end) await delay(10);
  // What it has said before it ended may still be on its way.
  if (child.exitCode !== null) await delay(50);
  assert.match(said, /#token=\S+\n/u, `the console has not started: ${said}`);
  const [, origin, token] = /(http:\/\/127\.0\.0\.1:\d+)\/#token=(\S+)/u.exec(said);
  return {
    origin,
    token,
    url: `${origin}/#token=${token}`,
    output: () => said,
    async stop(signal = 'SIGTERM') {
      child.kill(signal);
      await exited;
    },
  };
}

/** A request that the test builds itself, with any headers. */
export function send(origin, { method = 'GET', path = '/', headers = {}, body } = {}) {
  const { hostname, port } = new URL(origin);
  return new Promise((resolve, reject) => {
    const sent = request({ hostname, port, method, path, headers, setHost: headers.host === undefined && !('noHost' in headers) }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (part) => (text += part));
      response.on('end', () => resolve({ status: response.statusCode, headers: response.headers, text, json: () => JSON.parse(text) }));
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

/** The headers of a page that has exchanged the token. */
export async function session({ origin, token }) {
  const answer = await send(origin, {
    method: 'POST',
    path: '/session',
    headers: { 'content-type': 'application/json', origin },
    body: JSON.stringify({ token }),
  });
  assert.equal(answer.status, 200, answer.text);
  return { cookie: answer.headers['set-cookie'][0].split(';')[0], 'x-pm-console': answer.json().key, origin, 'content-type': 'application/json' };
}

/** Asks the console with a session. */
export async function ask({ origin }, headers, path, params = {}) {
  const query = new URLSearchParams(Object.entries(params).filter(([, v]) => v !== null && v !== undefined));
  const answer = await send(origin, { path: `/api/${path}?${query}`, headers });
  return { status: answer.status, ...answer.json() };
}

export async function act({ origin }, headers, action, values) {
  const answer = await send(origin, { method: 'POST', path: '/api/act', headers, body: JSON.stringify({ action, ...values }) });
  return { status: answer.status, ...answer.json() };
}

export async function end() {
  for (const program of programs) program.kill('SIGKILL');
  await pool.end();
}

// ---- process managers to look at

/** An order's way: placed, paid, shipped, as in the README, with a journal; one order cannot be understood. */
export async function shop() {
  await sql(`
    SELECT pm.create_log('orders');
    SELECT pm.create_log('payments');
    CREATE FUNCTION order_of(e pm.event) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT coalesce(e.data ->> 'order', e.stream) $$;
    CREATE FUNCTION fulfil(e pm.event, o jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
    BEGIN
      IF e.type = 'overdue' THEN
        PERFORM pm.append('orders', e.stream, 'cancelled');
        RETURN pm.done('{"cancelled": true}');
      END IF;
      IF e.data ? 'amount' THEN PERFORM (e.data ->> 'amount')::numeric; END IF;
      o := coalesce(o, '{}') || jsonb_build_object(e.type, e.data);
      IF o ?& '{placed,paid}' THEN
        PERFORM pm.append('orders', pm.key(), 'shipped', '{"carrier": "north"}');
        RETURN pm.done(jsonb_build_object('shipped', true));
      END IF;
      IF e.type = 'placed' THEN PERFORM pm.set_timer('overdue', e.recorded_at + '14 days'); END IF;
      RETURN o;
    END $$;
    SELECT pm.register('fulfilment', 'fulfil', '{orders,payments}', correlate => 'order_of', types => '{placed,paid}',
                       backoff => '1 hour', keep_ended => '1 year', journal => true);
    CREATE TABLE counted (type text PRIMARY KEY, n int);
    CREATE FUNCTION count_types(e pm.event) RETURNS void LANGUAGE sql AS $$
      INSERT INTO counted VALUES (e.type, 1) ON CONFLICT (type) DO UPDATE SET n = counted.n + 1 $$;
    SELECT pm.register('counter', 'count_types', '{orders,payments}');
    SELECT pm.append('orders', 'order-1', 'placed', '{"amount": 12.50, "big": 12345678901234567890.12345678901234567890}');
    SELECT pm.append('payments', 'payment-1', 'paid', '{"order": "order-1", "amount": 12.50}');
    SELECT pm.append('orders', 'order-2', 'placed', '{"amount": 20}');
    SELECT pm.append('orders', 'order-3', 'placed', '{"amount": "12,50"}');
    SELECT pm.append('payments', 'payment-3', 'paid', '{"order": "order-3", "amount": 12.50}');
    SELECT pm.append('orders', 'order-4', 'placed', '{"amount": "twelve"}');`);
  await until(`SELECT count(*) = 3 FROM pm.parked`);
  await until(`SELECT count(*) = 1 FROM pm.instance WHERE key = 'order-2'`);
  await until(`SELECT count(*) = 2 FROM pm.journal WHERE key = 'order-1'`);
}

/** SQL for a process manager with this many parked events: failing ones and, three in ten, dead ones. It would handle them now. */
export const bulkSql = (n) => [
  `SELECT pm.create_log('bulk');
    CREATE FUNCTION bulk(e pm.event) RETURNS void LANGUAGE sql AS '';
    INSERT INTO bulk (stream, type, data) SELECT 's' || i, 'counted', jsonb_build_object('n', i) FROM generate_series(1, ${n}) i;`,
  `SELECT pm.register('bulk', 'bulk', '{bulk}', start_at => 'end', park_limit => 1000000);
    INSERT INTO pm_catalog.parked (process_manager, key, log, "position", state, attempts, retry_at, message, detail, sqlstate, parked_at)
    SELECT 'bulk', stream, 'bulk', position, x.state, 3, CASE x.state WHEN 'failing' THEN now() + interval '1 hour' END,
           CASE x.state WHEN 'failing' THEN format('no room for "%s"', stream) ELSE format('item %s is missing', position) END,
           'It was looked for in three warehouses.', CASE x.state WHEN 'failing' THEN 'P0001' ELSE 'PM003' END, now() - position * interval '1 ms'
    FROM bulk, LATERAL (SELECT CASE WHEN position % 10 < 3 THEN 'dead' ELSE 'failing' END AS state) x;`,
];

export async function bulk(n) {
  for (const statement of bulkSql(n)) await sql(statement);
}
