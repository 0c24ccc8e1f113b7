// Senders are killed while they call. Process manager `asker` appends the calls to the outbox and waits for the answers.
// The server fails, hangs, resets connections and asks for patience. At the end each event is answered or dead; no call was
// made before the one before it of the same key was answered; an answered call was made again only if its sender was killed,
// with the same idempotency key; and each answer reached its instance once.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { killAll, psql, startSender, until } from './harness.js';
import { startServer } from './server.js';

const SOAK = Boolean(process.env.PM_SOAK);
const EVENTS = SOAK ? 10000 : 400;
const KEYS = EVENTS / 10;
const KILLS = SOAK ? 20 : 4;
const TIMEOUT = 1500;
const LIMIT = SOAK ? 1500000 : 150000;

test(`${EVENTS} events, ${KILLS} kills`, { timeout: LIMIT }, async (t) => {
  const answered = new Map();     // idempotency key: the call that was answered for good
  const events = new Map();       // idempotency key: key and number in the body
  const done = new Map();         // key: the last number that was answered for good
  const again = [];               // answered calls that were made again
  const wrong = [];
  const counts = {};
  const senders = new Map();      // all, by name
  const running = [];
  const killed = new Set();
  const secrets = mkdtempSync(path.join(os.tmpdir(), 'sender-'));
  let killAt = Math.floor(EVENTS / (KILLS + 1));

  const server = await startServer((call) => {
    const { key, n } = call.body;
    const event = `${key}/${n}`;

    if (!Number.isInteger(n) || !call.headers['x-sender']) wrong.push(`not a call: ${JSON.stringify(call)}`);
    if ((events.get(call.key) ?? event) !== event) wrong.push(`${call.key} is ${event} and ${events.get(call.key)}`);
    events.set(call.key, event);
    if (n > (done.get(key) ?? 0) + 1) wrong.push(`${event} after ${done.get(key)}`);
    if (answered.has(call.key)) again.push({ key: call.key, first: answered.get(call.key).headers['x-sender'], sender: call.headers['x-sender'] });
    if (server.calls.length >= killAt) killOne();

    const answer = answerTo(call.path);
    const name = answer.status ?? answer;
    counts[name] = (counts[name] ?? 0) + 1;
    if (answer.status === 200 || answer.status === 404) {
      answered.set(call.key, call);
      done.set(key, Math.max(n, done.get(key) ?? 0));
    }
    return answer;
  });

  function answerTo(path) {
    const dice = Math.random();

    if (dice < 0.01) return 'hang';
    if (dice < 0.06) return { status: dice < 0.035 ? 500 : 503 };
    if (dice < 0.07) return { status: 429, headers: { 'retry-after': '1' } };
    if (dice < 0.075) return 'reset';
    return path === '/gone' ? { status: 404 } : { status: 200, body: { ok: true } };
  }

  // Each sender says which one it is.
  function start() {
    const name = `sender-${senders.size}`;
    const file = path.join(secrets, name);

    writeFileSync(file, JSON.stringify({ [server.url]: { 'X-Sender': name } }));
    running.push(name);
    senders.set(name, startSender({
      PM_SENDER_HOSTS: `127.0.0.1:${server.port}`, PM_SENDER_NETWORKS: '127.0.0.1', PM_SENDER_TIMEOUT: String(TIMEOUT), PM_SENDER_SECRETS: file,
    }));
  }

  // While a call is on its way.
  function killOne() {
    const [name] = running.splice(Math.floor(Math.random() * running.length), 1);

    senders.get(name).kill('SIGKILL');
    killed.add(name);
    killAt = killed.size < KILLS ? server.calls.length + Math.floor(EVENTS / (KILLS + 1)) : Infinity;
    start();
  }

  t.after(() => {
    killAll();
    server.close();
    rmSync(secrets, { recursive: true });
  });

  await psql(`
    SELECT pm.create_log('jobs');
    SELECT pm.create_log('outbox');
    SELECT pm.register('sender', NULL, ARRAY['outbox'], lanes => 4, lease => '${SOAK ? 8 : 3} s', max_attempts => 1000,
                       backoff => '100 ms', park_limit => 1000000);
    CREATE FUNCTION ask(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
    BEGIN
      IF e.type = 'job' THEN
        PERFORM pm.append('outbox', e.stream, 'call', jsonb_build_object(
          'url', '${server.url}/' || CASE WHEN e.data ? 'gone' THEN 'gone' ELSE 'hook' END,
          'body', jsonb_build_object('key', e.stream, 'n', e.data -> 'n'), 'reply', 'answered'));
        RETURN coalesce(state, '[]');
      END IF;
      RETURN state || jsonb_build_array(e.data #> '{event,position}');
    END $$;
    SELECT pm.register('asker', 'ask', ARRAY['jobs'], types => ARRAY['job']);
    INSERT INTO jobs (stream, type, data)
      SELECT 's-' || i % ${KEYS}, 'job',
             jsonb_build_object('n', i / ${KEYS} + 1) || CASE WHEN i % 97 = 0 THEN '{"gone": true}' ELSE '{}' END::jsonb
        FROM generate_series(0, ${EVENTS - 1}) i;
  `);
  await until(`SELECT count(*) = ${EVENTS} FROM outbox`, LIMIT);

  const began = Date.now();

  start();
  start();
  // A person gives up what is dead, again and again, so that what waits behind it is
  // handled.
  let dead = 0;
  await until(async () => {
    const [given, left] = (await psql(`
      SELECT pm.discard('sender') || ' ' || ((SELECT count(*) FROM pm.parked) + (SELECT sum(lag) FROM pm.status))`)).split(' ').map(Number);

    dead += given;
    return killed.size >= KILLS && given === 0 && left === 0;
  }, LIMIT);

  const seconds = (Date.now() - began) / 1000;
  const { gone, twice, missing } = JSON.parse(await psql(`
    SELECT json_build_object(
      'gone', (SELECT count(*) FROM jobs WHERE data ? 'gone'),
      'twice', (SELECT count(*) FROM (SELECT FROM pm.instance, jsonb_array_elements(state) p WHERE process_manager = 'asker' GROUP BY p HAVING count(*) > 1) x),
      'missing', (SELECT count(*) FROM outbox o WHERE data ->> 'url' LIKE '%/hook' AND NOT EXISTS
                    (SELECT FROM pm.instance i WHERE process_manager = 'asker' AND key = o.stream AND state @> to_jsonb(o.position))))`));
  // On a very slow machine, an answer can come too late, or a lease run out. Then the sender says so.
  const says = ({ first }, text) => !killed.has(first) && new RegExp(text).test(senders.get(first).output);
  const late = again.filter((call) => says(call, `${call.key} .*no answer within`));
  const lost = again.filter((call) => !late.includes(call) && says(call, 'does not hold|holds no lane'));
  const unexplained = again.filter((call) =>
    !(killed.has(call.first) && call.first !== call.sender) && !late.includes(call) && !lost.includes(call));

  assert.deepEqual(wrong, [], 'each call after those before it of its key, and each idempotency key always for the same event');
  assert.equal(answered.size, EVENTS, 'each event was answered for good');
  assert.equal(dead, gone, 'dead are those that the server does not know');
  assert.deepEqual({ twice, missing }, { twice: 0, missing: 0 }, 'each answer is there once');
  assert.deepEqual(unexplained, [], 'again only if the sender was killed');
  console.log(`# figure: ${EVENTS} events, ${server.calls.length} calls (${JSON.stringify(counts)}), ${killed.size} kills, ` +
    `${again.length} answered calls made again, ${late.length} of them because the answer was late, ${lost.length} because the lease ran out, ${dead} dead, ${seconds.toFixed(1)} s`);
});
