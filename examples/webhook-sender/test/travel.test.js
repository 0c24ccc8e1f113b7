// The travel process of the gallery (examples/travel.sql), with companies that are called: some refuse, some fail at first.
import assert from 'node:assert/strict';
import test from 'node:test';
import { killAll, psql, psqlFile, startSender, until } from './harness.js';
import { startServer } from './server.js';

test('travel', { timeout: 120000 }, async (t) => {
  const failed = new Set();
  const server = await startServer((call) => {
    if (call.path.endsWith('/cancel')) return { status: 204 };
    if (!failed.has(call.key)) {
      failed.add(call.key);
      return { status: 503, headers: { 'retry-after': '1' } };
    }
    if (call.body.wish === 'nothing') return { status: 409, body: { why: 'nothing is left' } };
    return { status: 201, body: { code: `${call.path.slice(1)}-${call.body.trip}` } };
  });

  t.after(() => {
    killAll();
    server.close();
  });
  await psqlFile('../../travel.sql');
  await psql(`
    UPDATE travel.companies SET url = '${server.url}/' || service;
    SELECT pm.alter('travel_sender', lanes => 3, backoff => '200 ms');
    SELECT travel.request('ok', '{"flight": "LIS", "hotel": "Grand", "car": "small"}', now() + '1 week');
    SELECT travel.request('full', '{"flight": "LIS", "hotel": "nothing", "car": "small"}', now() + '1 week');
  `);
  const sender = startSender({ PM_SENDER_NAME: 'travel_sender', PM_SENDER_HOSTS: `127.0.0.1:${server.port}`, PM_SENDER_NETWORKS: '127.0.0.1' });
  await until(`SELECT count(*) = 2 FROM travel.trips WHERE stream IN ('ok', 'full') AND type IN ('confirmed', 'failed')`);
  await until(`SELECT count(*) = 0 FROM pm.parked WHERE process_manager = 'travel_sender'`);
  await until(`SELECT sum(lag) = 0 FROM pm.status WHERE process_manager = 'travel_sender'`);

  assert.deepEqual(JSON.parse(await psql(`SELECT data FROM travel.trips WHERE stream = 'ok' AND type = 'confirmed'`)),
    { flight: 'flight-ok', hotel: 'hotel-ok', car: 'car-ok' });
  assert.equal(await psql(`SELECT data ->> 'reason' FROM travel.trips WHERE stream = 'full' AND type = 'failed'`), 'hotel refused');

  const calls = (trip) => server.calls.filter((call) => call.body.trip === trip);
  assert.deepEqual(calls('full').map((call) => call.path).filter((path) => path.startsWith('/flight')), ['/flight', '/flight', '/flight/cancel'],
    'it is canceled after it is booked');
  assert.deepEqual(calls('full').map((call) => call.path).filter((path) => path.startsWith('/hotel')), ['/hotel', '/hotel'], 'what was refused is not cancelled');
  for (const path of ['/flight', '/hotel', '/car']) {
    const [first, second, ...more] = calls('ok').filter((call) => call.path === path);

    assert.deepEqual([first.answer, second.answer, more.length], [503, 201, 0]);
    assert.equal(first.key, second.key);
    assert.equal(first.key, await psql(`SELECT 'travel.outbox/' || position FROM travel.outbox WHERE stream = 'ok${path}'`));
    assert.ok(second.at - first.at >= 990, 'Retry-After is heeded');
  }
  sender.kill('SIGTERM');
  assert.equal(await sender.exited, 0, 'it stops when it is asked to');
  assert.equal(await psql(`SELECT count(*) FROM pm.consumer WHERE process_manager = 'travel_sender' AND consumer IS NOT NULL`), '0', 'and has released its lanes');
});
