// The console without a browser: who may talk to it, that it changes nothing without --write, and that what it returns
// is what is in the database.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Database, repeated } from '../lib/database.js';
import { act, ask, bulk, end, send, session, shop, sql, startConsole, until, value } from './helper.js';

let reader;
let writer;
let reading;
let writing;

before(async () => {
  await shop();
  [reader, writer] = await Promise.all([startConsole(), startConsole(['--write'])]);
  [reading, writing] = await Promise.all([session(reader), session(writer)]);
});
after(async () => {
  await Promise.all([reader.stop(), writer.stop()]);
  await end();
});

const refused = async (options, status, message) => {
  const answer = await send(reader.origin, options);
  assert.equal(answer.status, status, `${message}: ${answer.text}`);
  assert.ok(!/fulfilment|order-1/u.test(answer.text), message);
  return answer;
};

test('it listens on 127.0.0.1 only, and needs the token', async () => {
  const { port } = new URL(reader.origin);
  await assert.rejects(send(`http://127.0.0.2:${port}`), /ECONNREFUSED/u);
  const json = { 'content-type': 'application/json', origin: reader.origin };
  for (const body of ['{"token": "x"}', '{}', '{"token": null}', '{"token": ["x"]}']) {
    await refused({ method: 'POST', path: '/session', headers: json, body }, 401, body);
  }
  await refused({ method: 'POST', path: '/session', headers: json, body: 'no JSON' }, 400, 'no JSON');
  await refused({ method: 'POST', path: '/session', headers: { ...json, 'content-type': 'text/plain' }, body: '{}' }, 415, 'a form can send this');
  await refused({ method: 'POST', path: '/session', headers: json, body: `{"token": "${'x'.repeat(2e6)}"}` }, 413, 'too long');
  // Of another console.
  await refused({ method: 'POST', path: '/session', headers: json, body: JSON.stringify({ token: writer.token }) }, 401, 'another token');
});

test('a request needs both the cookie and the key', async () => {
  const path = '/api/overview';
  assert.equal((await send(reader.origin, { path, headers: reading })).status, 200);
  const { cookie, ...noCookie } = reading;
  const { 'x-pm-console': key, ...noKey } = reading;
  await refused({ path }, 401, 'neither');
  await refused({ path, headers: noCookie }, 401, 'no cookie');
  await refused({ path, headers: noKey }, 401, 'no key: another port of this machine gets the cookie, too');
  await refused({ path, headers: { ...reading, cookie: `${cookie}x` } }, 401, 'another cookie');
  await refused({ path, headers: { ...reading, 'x-pm-console': key.slice(1) } }, 401, 'another key');
  await refused({ path, headers: { ...writing, origin: reader.origin } }, 401, 'those of another console');
  const answer = await send(reader.origin, { method: 'POST', path: '/session', headers: { 'content-type': 'application/json', origin: reader.origin }, body: JSON.stringify({ token: reader.token }) });
  assert.match(answer.headers['set-cookie'][0], /; Path=\/; HttpOnly; SameSite=Strict$/u);
});

test('other hosts, other pages and other methods are refused', async () => {
  const path = '/api/overview';
  // DNS rebinding: the name of somebody else's page, which has come to mean 127.0.0.1.
  for (const host of ['evil.example', 'evil.example:80', '127.0.0.1.evil.example', 'localhost.evil.example', '', '127.0.0.1@evil.example']) {
    await refused({ path, headers: { ...reading, host } }, 403, `Host: ${host}`);
    await refused({ path: '/', headers: { host } }, 403, `Host: ${host}`);
  }
  for (const origin of ['http://evil.example', 'null', reader.origin.replace('http:', 'https:'), writer.origin]) {
    await refused({ path, headers: { ...reading, origin } }, 403, `Origin: ${origin}`);
    await refused({ method: 'POST', path: '/api/act', headers: { ...reading, origin }, body: '{}' }, 403, `POST, Origin: ${origin}`);
  }
  for (const site of ['cross-site', 'same-site', 'none']) {
    await refused({ path, headers: { ...reading, 'sec-fetch-site': site } }, 403, `Sec-Fetch-Site: ${site}`);
  }
  const { origin, ...noOrigin } = reading;
  await refused({ method: 'POST', path: '/api/act', headers: noOrigin, body: '{}' }, 403, 'POST without Origin');
  for (const method of ['PUT', 'DELETE', 'OPTIONS', 'PATCH', 'HEAD']) {
    const answer = await send(reader.origin, { method, path, headers: reading });
    assert.ok([403, 404].includes(answer.status), method);
    assert.equal(answer.headers['access-control-allow-origin'], undefined);
  }
});

test('only the files of the page are there, with headers that let them do little', async () => {
  for (const path of ['/../package.json', '/..%2fpackage.json', '/%2e%2e/lib/server.js', '/lib/server.js', '/node_modules/pg/package.json', '//etc/passwd', '/index.html/', '/pages', '/pages/']) {
    const answer = await send(reader.origin, { path });
    assert.ok([401, 404].includes(answer.status), path);
  }
  const page = await send(reader.origin, { path: '/' });
  assert.equal(page.status, 200);
  assert.doesNotMatch(page.text, /https?:\/\//u);
  const policy = page.headers['content-security-policy'];
  for (const part of ["default-src 'none'", "connect-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"]) assert.ok(policy.includes(part), part);
  assert.doesNotMatch(policy, /'unsafe-inline'|'unsafe-eval'|\*|https?:/u);
  assert.equal(page.headers['x-content-type-options'], 'nosniff');
  assert.equal(page.headers['cache-control'], 'no-store');
  assert.equal((await send(reader.origin, { path: '/library/viz.js' })).headers['content-type'], 'text/javascript; charset=utf-8');
});

test('without --write nothing can be changed', async () => {
  const parked = await value('SELECT count(*) FROM pm.parked');
  const group = { manager: 'fulfilment', state: 'failing', group: '', until: 'infinity' };
  for (const action of ['retry', 'discard', 'retry_group', 'discard_group', 'retry_dead', 'discard_dead', 'pause', 'resume', 'send', 'set_state', 'end_instance']) {
    const answer = await act(reader, reading, action, { ...group, log: 'orders', position: '4', key: 'order-2', type: 't', data: '{}', reason: 'r' });
    assert.equal(answer.status, 403, action);
    assert.match(answer.error.message, /read-only/u);
  }
  assert.equal(await value('SELECT count(*) FROM pm.parked'), parked);
  // And the server would refuse it: all transactions are READ ONLY, whatever the role's default.
  await sql('CREATE TABLE seen (setting text)');
  await sql(`ALTER DATABASE ${await value('SELECT quote_ident(current_database())')} SET default_transaction_read_only = off`);
  const { Database } = await import('../lib/database.js');
  const database = new Database({ user: process.env.PGUSER });
  await assert.rejects(database.read((query) => query(`INSERT INTO public.seen VALUES ('x')`)), { code: '25006' });
  await assert.rejects(database.read(async (query) => { await query('SELECT 1'); await query('SET TRANSACTION READ WRITE'); }), { code: '25001' });
  await assert.rejects(database.change(() => {}), /read-only/u);
  assert.deepEqual(await database.read((query) => query(`SELECT current_setting('search_path') AS path, current_setting('transaction_isolation') AS level`)), [{ path: 'pg_catalog, pg_temp', level: 'read committed' }]);
  await assert.rejects(database.read((query) => query('SELECT pg_sleep(10)'), { timeout: 100 }), { code: '57014' });
  await database.end();
});

test('with --write it does what is asked, and says what the server says', async () => {
  const manager = 'fulfilment';
  const events = async () => (await ask(writer, writing, 'parked', { name: manager })).events;
  const [failing] = (await events()).filter((event) => event.key === 'order-4');
  await sql(`ALTER FUNCTION fulfil RENAME TO fulfil_strictly`);
  await sql(`CREATE FUNCTION fulfil(e pm.event, o jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
    BEGIN IF e.type = 'end' THEN RETURN pm.done('"by itself"'); END IF; RETURN coalesce(o, '{}') || jsonb_build_object(e.type, e.data); END $$`);

  assert.equal((await act(writer, writing, 'retry', { manager, ...failing })).status, 200);
  await until(`SELECT count(*) = 1 FROM pm.instance WHERE key = 'order-4'`);
  const again = await act(writer, writing, 'retry', { manager, ...failing });
  assert.deepEqual([again.status, again.error.code], [422, '42704']);
  const behind = (await events()).find((event) => event.state === 'behind');
  assert.equal((await act(writer, writing, 'retry', { manager, ...behind })).error.code, '55000');
  assert.equal((await act(writer, writing, 'discard', { manager, ...behind })).status, 200);
  assert.equal((await events()).length, 1);

  assert.equal((await act(writer, writing, 'pause', { manager })).status, 200);
  assert.equal(await value(`SELECT paused FROM pm.process_manager WHERE name = 'fulfilment'`), true);
  assert.equal((await act(writer, writing, 'resume', { manager })).status, 200);
  assert.equal((await act(writer, writing, 'resume', { manager: 'nobody' })).error.code, '42704');

  const set = await act(writer, writing, 'set_state', { manager, key: 'new', state: '{"n": 12345678901234567890.5}', reason: 'why not' });
  assert.match(set.notices[0].message, /instance/u);
  assert.equal((await act(writer, writing, 'set_state', { manager, key: 'new', state: '{', reason: 'r' })).error.code, '22P02');
  assert.equal((await act(writer, writing, 'send', { manager, key: 'order-9', type: 'called', data: '' })).status, 200);
  await until(`SELECT count(*) = 1 FROM pm.instance WHERE key = 'order-9'`);
  assert.equal((await act(writer, writing, 'end_instance', { manager, key: 'order-9', reason: 'a mistake' })).status, 200);
  const { entries } = await ask(writer, writing, 'journal', { name: manager, key: 'order-9' });
  assert.deepEqual(entries.map((entry) => [entry.type, entry.reason]), [[null, 'a mistake'], ['called', null]]);

  for (const bad of [{}, { manager: 1 }, { manager: 'x\0' }, { manager: 'x\ud800' }]) {
    assert.equal((await act(writer, writing, 'pause', bad)).status, 400, JSON.stringify(bad));
  }
  for (const position of ['1.5', '99999999999999999999', '', '1; DROP', null, 7]) {
    assert.equal((await act(writer, writing, 'retry', { manager, log: 'orders', position })).status, 400, String(position));
  }
  for (const action of ['constructor', '__proto__', 'toString', 'drop', undefined]) {
    assert.equal((await act(writer, writing, action, { manager })).status, 400, String(action));
  }
});

test('a group is retried or discarded in steps, and nothing else is', async () => {
  await bulk(1200);
  const { groups, counted } = await ask(writer, writing, 'parked-groups', { name: 'bulk' });
  assert.equal(counted, 1200);
  const [dead, failing] = groups;
  assert.deepEqual([failing.message_group, failing.events], ['no room for …', 840]);
  assert.deepEqual([dead.sqlstate, dead.message_group, dead.events], ['PM003', 'item … is missing', 360]);

  const steps = async (action, { state, message_group, last }) => {
    let place;
    let done = 0;
    for (let n = 0; n < 20; n++) {
      const step = await act(writer, writing, action, { manager: 'bulk', state, group: message_group, until: last, place });
      assert.equal(step.status, 200, JSON.stringify(step));
      done += step.done;
      place = step.place;
      if (!step.more) return done;
    }
    return assert.fail('there is no end');
  };
  assert.equal(await steps('discard_group', dead), 360);
  assert.equal(await value(`SELECT count(*) FROM pm.parked WHERE process_manager = 'bulk'`), '840');
  assert.equal(await steps('retry_group', failing), 840);
  await until(`SELECT count(*) = 0 FROM pm.parked WHERE process_manager = 'bulk'`);
  assert.equal((await act(writer, writing, 'retry_group', { manager: 'bulk', state: 'behind', group: '', until: 'infinity' })).status, 400);
});

test('numbers do not change on the way', async () => {
  const { event } = await ask(reader, reading, 'event', { log: 'orders', position: '1' });
  assert.match(event.data, /12345678901234567890\.12345678901234567890/u);
  await sql(`SELECT pm.create_log('far'); SELECT setval(pg_get_serial_sequence('far', 'position'), 9007199254740992);`);
  await sql(`SELECT pm.append('far', 's', 'first', '{"n": 1e400}'), pm.append('far', 's', 'second')`);
  const { events } = await ask(reader, reading, 'tail', { name: 'far' });
  assert.deepEqual(events.map((found) => found.position), ['9007199254740994', '9007199254740993']);
  const far = await ask(reader, reading, 'event', { log: 'far', position: '9007199254740993' });
  assert.equal(far.event.type, 'first');
  assert.ok(far.event.data.length > 400);
});

test('each question has an answer, and an error says what is wrong', async () => {
  const questions = {
    about: {}, overview: {}, diagram: {}, manager: { name: 'fulfilment' }, 'parked-groups': { name: 'fulfilment' }, parked: { name: 'fulfilment' },
    instances: { name: 'fulfilment' }, source: { name: 'fulfilment' }, timers: { name: 'fulfilment' }, instance: { name: 'fulfilment', key: 'order-2' }, pending: { name: 'fulfilment', key: 'order-2' },
    journal: { name: 'fulfilment', key: 'order-1' }, event: { log: 'orders', position: '1' }, trace: { log: 'orders', position: '1' }, logs: {}, log: { name: 'orders' },
    tail: { name: 'orders' }, streams: { name: 'orders' }, stream: { name: 'orders', stream: 'order-1' }, workers: {}, find: { text: 'order-1' },
  };
  for (const [path, params] of Object.entries(questions)) {
    const answer = await ask(reader, reading, path, params);
    assert.equal(answer.status, 200, `${path}: ${JSON.stringify(answer.error)}`);
  }
  const { events } = await ask(reader, reading, 'trace', { log: 'payments', position: '1' });
  assert.deepEqual(events.map((found) => [found.depth, found.type]), [[0, 'paid'], [1, 'shipped']]);
  const found = await ask(reader, reading, 'find', { text: 'order-1' });
  assert.deepEqual(found.streams.map((row) => row.log), ['orders']);
  assert.deepEqual(found.keys.map((row) => row.process_manager), ['fulfilment']);

  const nobody = await ask(reader, reading, 'manager', { name: 'nobody' });
  assert.equal(nobody.status, 404);
  assert.equal((await ask(reader, reading, 'tail', { name: 'nothing' })).error.code, '42704');
  assert.equal((await ask(reader, reading, 'event', { log: 'orders', position: '9223372036854775807' })).event, null);
  for (const position of ['x', '-', '9223372036854775808']) assert.equal((await ask(reader, reading, 'event', { log: 'orders', position })).status, 400);
  assert.equal((await ask(reader, reading, 'nothing')).status, 404);
});

test('functions, far timers and the hint of an error are shown', async () => {
  await sql(`CREATE SCHEMA "of its own";
    CREATE FUNCTION "of its own".gift(e pm.event, s jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
    BEGIN
      IF e.type = 'bad' THEN RAISE 'it does not fit' USING HINT = 'Ask the shop: ' || repeat('x', 9000); END IF;
      PERFORM pm.set_timer(e.type, now() + (e.data ->> 'in')::interval);
      RETURN '{}';
    END $$;
    SELECT pm.create_log('gifts'), pm.register('gifts', '"of its own".gift', '{gifts}', on_failure => 'park', max_attempts => 1);
    SELECT pm.append('gifts', 'g1', 'soon', '{"in": "3 days"}'), pm.append('gifts', 'g1', 'far', '{"in": "1000 years"}'), pm.append('gifts', 'g2', 'bad')`);
  await until(`SELECT count(*) = 2 FROM pm.timer WHERE process_manager = 'gifts'`);
  const { handler, correlate } = await ask(reader, reading, 'source', { name: 'gifts' });
  assert.match(handler.source, /CREATE OR REPLACE FUNCTION "of its own"\.gift\(e pm\.event, s jsonb\)[^]*RAISE 'it does not fit'/u);
  assert.deepEqual([handler.language, correlate], ['plpgsql', null]);
  const ours = await ask(reader, reading, 'source', { name: 'fulfilment' });
  assert.match(ours.correlate.source, /coalesce\(e\.data/u);
  assert.equal((await ask(reader, reading, 'source', { name: 'nobody' })).status, 404);
  const { timers, far, furthest } = await ask(reader, reading, 'timers', { name: 'gifts' });
  assert.deepEqual([timers.map((timer) => timer.far), far, furthest.map((timer) => timer.type)], [[false, true], 1, ['far']]);
  await until(`SELECT count(*) = 1 FROM pm.parked WHERE process_manager = 'gifts' AND state = 'dead'`);
  const [parked] = (await ask(reader, reading, 'instance', { name: 'gifts', key: 'g2' })).parked;
  assert.match(parked.error_hint, /^Ask the shop: x+$/u);
  assert.ok(Number(parked.error_hint_length) < 8300, 'it is bounded');
  await sql(`DROP FUNCTION "of its own".gift`);
  assert.equal((await ask(reader, reading, 'source', { name: 'gifts' })).handler.source, null);
  await sql(`SELECT pm.unregister('gifts')`);
});

test('repeated queries are planned once, and also answered behind a pooler and after a change of what they read', async () => {
  const planned = `SELECT count(*) FILTER (WHERE generic_plans > 0) FROM pg_prepared_statements WHERE name LIKE 'pm_console_%'`;
  const query = repeated('SELECT n FROM public.answers');
  await sql('CREATE VIEW answers AS SELECT 1 AS n');
  const database = new Database({});
  const read = () => database.read((run) => run(query));
  try {
    for (let n = 0; n < 3; n++) assert.deepEqual(await read(), [{ n: 1 }]);
    assert.deepEqual(await database.read((run) => run(planned)), [{ count: '1' }]);
    await sql(`DROP VIEW answers; CREATE VIEW answers AS SELECT 'one'::text AS n`);
    assert.deepEqual(await read(), [{ n: 'one' }]);
  } finally {
    await database.end();
  }

  // A pooler gives each transaction another session: one without the plan, or one that has it from another client.
  const pooled = new Database({ host: process.env.PM_TEST_POOLER });
  const another = new Database({ host: process.env.PM_TEST_POOLER });
  try {
    const asked = [pooled.read((run) => run(query)), another.read((run) => run(query))];
    for (let n = 0; n < 4; n++) asked.push(pooled.read((run) => run(query)), another.read((run) => run(query)));
    for (const rows of await Promise.all(asked)) assert.deepEqual(rows, [{ n: 'one' }]);
    assert.equal(await pooled.read(async (run) => (await another.read((inner) => inner(query))).length + (await run(query)).length), 2);
  } finally {
    await Promise.all([pooled.end(), another.end()]);
  }
  await sql('DROP VIEW answers');
});

test('it ends when it is told to, and says why it cannot start', async () => {
  const other = await startConsole();
  await other.stop('SIGINT');
  await assert.rejects(startConsole(['--port', 'x']), /--port x is not a port/u);
  await assert.rejects(startConsole(['dbname=nowhere_at_all']), /cannot connect: .*nowhere_at_all/u);
  await assert.rejects(startConsole(['nothing=1']), /unknown keyword "nothing"/u);
});
