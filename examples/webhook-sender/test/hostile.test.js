// Whatever is in the outbox, and whatever the other side answers, the sender continues:
// an event that cannot be sent is dead with a message that says why, and an answer
// arrives in a form that jsonb can hold.
import assert from 'node:assert/strict';
import test from 'node:test';
import { allOutput, killAll, psql, startSender, until } from './harness.js';
import { startServer } from './server.js';

const BAD = [
  ['null', /not an object/], ['[]', /not an object/], ['"https://x"', /not an object/], ['0', /not an object/], ['{}', /"url" is missing/],
  ['{"url": null}', /"url" is missing/], ['{"url": "file:///etc/passwd"}', /neither https: nor/], ['{"url": "http://evil.test/"}', /not in PM_SENDER_HOSTS/],
  ['{"url": "http://169.254.169.254/latest/meta-data/"}', /not in PM_SENDER_HOSTS/],
  ['{"url": "SERVER", "method": "TRACE"}', /"method"/], ['{"url": "SERVER", "method": "GET / HTTP/1.1\\r\\nX: y\\r\\n\\r\\n"}', /"method"/],
  ['{"url": "SERVER\\r\\nX: y"}', /control characters/], ['{"url": "SERVER", "headers": {"X": "a\\r\\nY: b"}}', /the header "X"/],
  ['{"url": "SERVER", "headers": {"Host": "internal"}}', /set by the sender/], ['{"url": "SERVER", "headers": {"content-length": "0"}}', /set by the sender/],
  ['{"url": "SERVER", "headers": {"Transfer-Encoding": "chunked"}}', /set by the sender/], ['{"url": "SERVER", "headers": ["X: y"]}', /"headers" is not an object/],
  ['{"url": "SERVER", "headers": {"__proto__": {"a": 1}, "constructor": "x"}}', /the header "__proto__"/],
  [`{"url": "SERVER", "body": "${'x'.repeat(3000)}"}`, /more than 2000 bytes/], [`{"url": "SERVER", "x": "${'x'.repeat(100000)}"}`, /too large/], ['{"url": "SERVER", "accept": {"length": 1}}', /"accept"/],
  ['{"url": "SERVER", "reply": {"type": "x"}}', /"reply"/], ['{"url": "SERVER/400"}', /answered with 400: no .*thanks/], ['{"url": "SERVER/302"}', /redirects are not followed/],
  // Nobody waits for the answer.
  ['{"url": "SERVER/200", "reply": "answered"}', /no instance waits/],
];
const ANSWERS = ['{"id": 12345678901234567890, "price": 1.10}', '"\\u0000"', '"\\ud800"', '1e99999', '1e400', `${'['.repeat(100000)}${']'.repeat(100000)}`, `${'['.repeat(400)}${']'.repeat(400)}`,
  '9'.repeat(9000), '{"a": }', '\0\0', '\ufffe', '{"a": 1, "a": 2}', 'x'.repeat(2000000), ''];

test('hostile events and answers', { timeout: 120000 }, async (t) => {
  const server = await startServer(({ path }) => {
    if (path === '/302') return { status: 302, headers: { location: 'http://127.0.0.1:1/' } };
    if (path === '/400') return { status: 400, text: 'no\r\n\0thanks' };
    return { status: 200, text: path.startsWith('/answer/') ? ANSWERS[Number(path.slice(8))] : '{}' };
  });

  t.after(() => {
    killAll();
    server.close();
  });
  await psql(`
    SELECT pm.create_log('outbox');
    SELECT pm.create_log('jobs');
    SELECT pm.register('sender', NULL, ARRAY['outbox'], max_attempts => 3, backoff => '100 ms');
    CREATE FUNCTION ask(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
    BEGIN
      IF e.type <> 'job' THEN RETURN e.data; END IF;
      PERFORM pm.append('outbox', e.stream, 'call', jsonb_build_object('url', '${server.url}/answer/' || e.stream, 'reply', 'answered'));
      RETURN '{}';
    END $$;
    SELECT pm.register('asker', 'ask', ARRAY['jobs'], types => ARRAY['job']);
    INSERT INTO outbox (stream, type, data) VALUES ${BAD.map(([data], i) => `('bad-${i}', 'call', $json$${data.replace('SERVER', server.url)}$json$)`).join(', ')};
    INSERT INTO jobs (stream, type) SELECT i, 'job' FROM generate_series(0, ${ANSWERS.length - 1}) i;
    -- An event of another kind, and calls that are as they should be, behind all of that.
    SELECT pm.send('sender', 'bad-timer', 'call', '{"url": "${server.url}"}');
  `);
  await until(`SELECT count(*) = ${BAD.length + ANSWERS.length} FROM outbox`);
  const sender = startSender({ PM_SENDER_HOSTS: `127.0.0.1:${server.port}`, PM_SENDER_NETWORKS: '127.0.0.0/8', PM_SENDER_MAX_BODY: '2000', PM_SENDER_MAX_ANSWER: '1000000' });
  let ended = false;

  sender.exited.then(() => { ended = true; });
  await until(`SELECT sum(lag) = 0 FROM pm.status WHERE process_manager IN ('sender', 'asker')`);
  await until(`SELECT count(*) = ${ANSWERS.length} FROM pm.instance WHERE process_manager = 'asker' AND state ? 'status'`);
  await until(`SELECT bool_and(state = 'dead') FROM pm.parked`);
  assert.equal(ended, false, 'the sender still runs');

  const messages = JSON.parse(await psql(`SELECT json_object_agg(key, message) FROM pm.parked`));
  for (const [i, [data, message]] of BAD.entries()) {
    assert.match(messages[`bad-${i}`] ?? '', message, data);
    delete messages[`bad-${i}`];
  }
  assert.match(messages['bad-timer'], /only events of a log are sent/);
  assert.equal(Object.keys(messages).length, 1, 'nothing else is dead');

  const bodies = JSON.parse(await psql(`SELECT json_object_agg(key, json_build_object('type', jsonb_typeof(state -> 'body'), 'text', left(state ->> 'body', 100), 'large', state -> 'too_large')) FROM pm.instance`));
  assert.deepEqual(ANSWERS.map((_, i) => bodies[i].type), ['object', 'string', 'string', 'string', 'number', 'string', 'array', 'number', 'string', 'string', 'string', 'object', 'null', 'null']);
  assert.match(bodies[0].text, /12345678901234567890/);
  assert.match(bodies[0].text, /1\.10/);
  assert.equal(bodies[12].large, true);
  assert.equal(bodies[13].large, null);
  assert.equal(allOutput().split('\n').every((line) => line.length < 2000), true, 'lines of its output are bounded');
  sender.kill('SIGTERM');
  assert.equal(await sender.exited, 0);
});
