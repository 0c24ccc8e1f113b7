// outbox.sql as it is, but for the hosts. Then: no more calls at once than permitted, and a sender that has to stop lets its
// calls end first.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'node:test';
import { killAll, psql, startSender, until } from './harness.js';
import { startServer } from './server.js';

test.afterEach(killAll);

test('outbox.sql', { timeout: 60000 }, async (t) => {
  const server = await startServer((call) => (call.body.order === 2 ? { status: 402, body: { why: 'no money' } } : { status: 201 }));
  const sql = readFileSync(new URL('../outbox.sql', import.meta.url), 'utf8');

  t.after(server.close);
  await psql(sql.replaceAll(/https:\/\/\w+\.example\.com/g, server.url));
  // A role that may do nothing else.
  await psql(`
    SELECT count(*) = 0 AS missing FROM pg_roles WHERE rolname = 'pm_test_sender' \\gset
    \\if :missing
      CREATE ROLE pm_test_sender LOGIN;
    \\endif
    GRANT USAGE ON SCHEMA pm TO pm_test_sender;
    SELECT pm.alter('sender', consumers => ARRAY['pm_test_sender']);
  `);
  const sender = startSender({ PGUSER: 'pm_test_sender', PM_SENDER_HOSTS: `127.0.0.1:${server.port}`, PM_SENDER_NETWORKS: '127.0.0.1', PM_SENDER_KEY_PREFIX: 'test:' });

  await until(`SELECT state ? 'answer' FROM pm.instance WHERE process_manager = 'charging'`);
  assert.deepEqual(JSON.parse(await psql('SELECT state FROM pm.instance')), { charged: false, answer: { why: 'no money' } });
  await until(`SELECT sum(lag) = 0 FROM pm.status`);
  assert.deepEqual(server.calls.filter(({ path }) => path.endsWith('1') || path === '/charges').map(({ key, method, path, body }) => [key, method, path, body])
    .sort(([a], [b]) => (a < b ? -1 : 1)), [
    ['test:outbox/1', 'POST', '/charges', { order: 1, amount: '19.90' }],
    ['test:outbox/2', 'PUT', '/orders/1', { to: 'Lisbon' }],
    ['test:outbox/3', 'POST', '/charges', { order: 2, amount: '5.00' }],
  ]);
  assert.ok(server.calls.findIndex(({ key }) => key.endsWith('/1')) < server.calls.findIndex(({ key }) => key.endsWith('/2')));
  assert.equal(server.calls[0].headers['x-tenant'], 'north');
  assert.equal(await psql('SELECT count(*) FROM pm.parked'), '0', 'nothing has failed');
  sender.kill('SIGTERM');
  assert.equal(await sender.exited, 0);
});

test('at most three calls at once, and they may end', { timeout: 60000 }, async (t) => {
  let now = 0;
  let most = 0;
  let release;
  let reached;
  const held = new Promise((resolve) => { release = resolve; });
  const three = new Promise((resolve) => { reached = resolve; });
  const server = await startServer(async ({ body }) => {
    most = Math.max(most, ++now);
    if (now === 3) reached();
    await (body === 'last' ? held : three);
    await sleep(5);
    now--;
    return { status: 200 };
  });

  t.after(server.close);
  await psql(`
    SELECT pm.create_log('many');
    SELECT pm.register('many', NULL, ARRAY['many'], lease => '1 min');
    INSERT INTO many (stream, type, data) SELECT 's' || i, 'call', '{"url": "${server.url}", "body": {}}' FROM generate_series(1, 30) i;
  `);
  const settings = { PM_SENDER_NAME: 'many', PM_SENDER_HOSTS: `127.0.0.1:${server.port}`, PM_SENDER_NETWORKS: '127.0.0.1', PM_SENDER_CONCURRENCY: '3' };
  const sender = startSender(settings);

  await until(`SELECT sum(lag) = 0 FROM pm.status WHERE process_manager = 'many'`);
  assert.equal(server.calls.length, 30);
  assert.equal(most, 3);
  assert.equal(await psql('SELECT count(*) FROM pm.parked'), '0', 'nothing has failed');

  await psql(`INSERT INTO many (stream, type, data) VALUES ('s', 'call', '{"url": "${server.url}", "body": "\\"last\\"", "headers": {"Content-Type": "application/json"}}')`);
  await until(() => now === 1);
  sender.kill('SIGTERM');
  setTimeout(release, 300);
  assert.equal(await sender.exited, 0);
  assert.equal(await psql(`SELECT sum(lag) FROM pm.status WHERE process_manager = 'many'`), '0', 'the last call is advanced');
  assert.equal(await psql(`SELECT count(*) FROM pm.consumer`), '0', 'its lane is released');
});

test('settings that are wrong', async () => {
  for (const settings of [{}, { PM_SENDER_HOSTS: 'x.test', PM_SENDER_TIMEOUT: 'soon' }, { PM_SENDER_HOSTS: 'x.test', PM_SENDER_NAME: 'nobody' }]) {
    const sender = startSender(settings);

    assert.equal(await sender.exited, 1);
    assert.match(sender.output, /^error: .*(PM_SENDER_HOSTS|PM_SENDER_TIMEOUT|nobody)/m);
  }
});
