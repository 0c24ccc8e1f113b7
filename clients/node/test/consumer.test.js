// What a handler can do, one feature after the other: order, state, timers, failures, and how a consumer ends.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Consumer, Json, PermanentFailure } from '../index.js';
import { pool, sql, start, until, value } from './helper.js';

before(async () => {
  await sql(`CREATE TABLE effect (n serial, name text, pos bigint, key text, attempt int)`);
});
after(() => pool.end());

/** A log and a process manager of this name. */
async function make(name, options = '', types = '') {
  await sql(`SELECT pm.create_log('${name}')`);
  await sql(`SELECT pm.register('${name}', NULL, '{${name}}' ${options})`);
}
const append = (name, stream, type, data = {}) => sql('SELECT pm.append($1, $2, $3, $4)', [name, stream, type, data]);
const effect = (ctx, name, event) =>
  ctx.tx.query('INSERT INTO effect (name, pos, key, attempt) VALUES ($1, $2, $3, $4)', [name, event.position, event.key, event.attempt]);
const effects = async (name) =>
  (await sql('SELECT pos, key FROM effect WHERE name = $1 ORDER BY n', [name])).map((row) => `${row.key}:${row.pos}`);
const idle = (name) => `SELECT coalesce(sum(lag), 0) = 0 FROM pm.status WHERE process_manager = '${name}'`;

test('events come as they are, in order within each key, and effects commit with the advance', async () => {
  await make('plain');
  await sql(`SELECT pm.append('plain', 's-' || i % 7, 'T', jsonb_build_object('i', i), '{"m": "é"}') FROM generate_series(1, 500) i`);
  const seen = [];
  const { stop } = start({ name: 'plain' }, async (event, ctx) => {
    seen.push(event);
    await effect(ctx, 'plain', event);
  });
  await until(idle('plain'));
  await stop();
  assert.equal(seen.length, 500);
  const { recordedAt, ...event } = seen.find((e) => e.position === '8');
  assert.deepEqual(event, {
    kind: 'event', log: 'plain', position: '8', stream: 's-1', version: '2', type: 'T', data: { i: 8 }, metadata: { m: 'é' }, key: 's-1', attempt: 1,
  });
  assert.ok(recordedAt instanceof Date && Math.abs(recordedAt - Date.now()) < 3600e3);
  assert.equal(await value(`SELECT count(*) FROM effect WHERE name = 'plain'`), '500');
  assert.equal(await value(`SELECT count(*) FROM (SELECT pos < lag(pos) OVER (PARTITION BY key ORDER BY n) AS bad FROM effect WHERE name = 'plain') x WHERE bad`), '0');
  assert.equal(await value(`SELECT count(*) FROM pm.consumer`), '0', 'the lease is released');
});

test('a batch that fails is rolled back, and only the failing event and its key are parked', async () => {
  await make('partly', `, backoff => '1 h'`);
  for (let i = 1; i <= 30; i++) await append('partly', `s-${i % 5}`, i === 12 ? 'bad' : 'T');
  const { stop, lines } = start({ name: 'partly' }, async (event, ctx) => {
    await effect(ctx, 'partly', event);
    if (event.type === 'bad') throw Object.assign(new Error('no stock'), { code: 'XX123' });
  });
  await until(idle('partly'));
  await stop();
  const expected = [];
  for (let i = 1; i <= 30; i++) if (i % 5 !== 2 || i < 12) expected.push(`s-${i % 5}:${i}`);
  assert.deepEqual((await effects('partly')).sort(), expected.sort());
  assert.deepEqual(await sql(`SELECT key, state, position, attempts, message FROM pm.parked WHERE process_manager = 'partly' AND state <> 'behind'`), [
    { key: 's-2', state: 'failing', position: '12', attempts: 1, message: 'no stock (SQLSTATE XX123)' },
  ]);
  assert.match(lines.join('\n'), /partly: partly\/12 of s-2 has failed: no stock/);
});

test('what was parked comes again, in order, with its attempt', async () => {
  await make('again', `, backoff => '100 ms'`);
  for (let i = 1; i <= 6; i++) await append('again', `s-${i % 2}`, 'T');
  const attempts = [];
  const { stop } = start({ name: 'again' }, async (event, ctx) => {
    if (event.position === '3') attempts.push(event.attempt);
    await effect(ctx, 'again', event);
    if (event.position === '3' && event.attempt < 3) throw new Error('not yet');
  });
  await until(`SELECT count(*) = 6 FROM effect WHERE name = 'again'`);
  await stop();
  assert.deepEqual((await effects('again')).filter((e) => e.startsWith('s-1')), ['s-1:1', 's-1:3', 's-1:5']);
  // In the batch, alone, and twice again: the first two are the first attempt.
  assert.deepEqual([...new Set(attempts)], [1, 2, 3]);
  assert.equal(await value(`SELECT count(*) FROM pm.parked WHERE process_manager = 'again'`), '0');
});

test('a permanent failure and a deferral, even if the handler catches what they throw', async () => {
  await make('words', `, backoff => '1 h'`);
  const handler = async (event, ctx) => {
    if (event.type === 'throw') throw new PermanentFailure('never');
    try {
      if (event.type === 'never') ctx.failPermanently('never ever');
      if (event.type === 'later' && event.attempt === 1 && Date.now() - event.recordedAt < 1500) ctx.defer(2000);
      if (event.type === 'soon' && event.attempt === 1) throw Object.assign(new Error('busy'), { retryIn: 100 });
      if (event.type === 'month') ctx.defer('1 month');
    } catch (error) {
      if (error.message === 'busy') throw error;
      // Caught on purpose.
    }
    await effect(ctx, 'words', event).catch(() => {});
  };
  await append('words', 'a', 'throw');
  await append('words', 'b', 'never');
  await append('words', 'c', 'later');
  await append('words', 'd', 'month');
  await append('words', 'e', 'soon');
  const { stop } = start({ name: 'words' }, handler);
  await until(`SELECT count(*) = 2 FROM effect WHERE name = 'words'`);
  await stop();
  assert.deepEqual(await effects('words'), ['e:5', 'c:3']);
  assert.deepEqual(await sql(`SELECT key, state, message FROM pm.parked WHERE process_manager = 'words' ORDER BY key`), [
    { key: 'a', state: 'dead', message: 'never' },
    { key: 'b', state: 'dead', message: 'never ever' },
    { key: 'd', state: 'deferred', message: null },
  ]);
  assert.equal(await value(`SELECT attempts FROM pm.parked WHERE process_manager = 'words' AND key = 'd'`), 0);
});

for (const mode of ['transaction', 'outside']) {
  test(`state and timers (${mode})`, async () => {
    const name = `state_${mode}`;
    await make(name, `, keep_ended => '1 day'`);
    const long = 'k'.repeat(1500);
    for (const stream of ['a', 'b', long]) {
      await append(name, stream, 'begin', { n: 5 });
      await append(name, stream, 'more', { n: 7 });
    }
    await append(name, 'b', 'finish');
    await append(name, 'b', 'begin', { n: 1 });
    const rung = [];
    const { stop } = start({ name, effects: mode }, async (event, ctx) => {
      switch (event.type) {
        case 'begin':
          assert.equal(ctx.state, null);
          ctx.setTimer('soon', new Date(event.recordedAt.getTime() + 300), { of: event.key.slice(0, 1) });
          ctx.setTimer('never', new Date(Date.now() + 3600e3));
          ctx.save({ sum: event.data.n });
          break;
        case 'more':
          ctx.state.sum += event.data.n;
          ctx.save(ctx.state);
          break;
        case 'finish':
          ctx.finish({ total: ctx.state.sum });
          break;
        case 'soon':
          assert.equal(event.kind, 'timer');
          rung.push([event.key.slice(0, 2), event.data.of, ctx.state.sum]);
          ctx.cancelTimer('never');
          ctx.save({ sum: ctx.state.sum, rung: true });
      }
    });
    await until(() => rung.length === 3);
    await until(idle(name));
    await stop();
    assert.deepEqual(rung.sort(), [['a', 'a', 12], ['b', 'b', 1], ['sh', 's', 12]]);
    const states = await sql(`SELECT left(key, 2) AS key, state FROM pm.instance WHERE process_manager = '${name}' ORDER BY key`);
    assert.deepEqual(states.map((s) => [s.key, s.state]), [
      ['a', { sum: 12, rung: true }],
      ['b', { sum: 1, rung: true }],
      ['sh', { sum: 12, rung: true }],
    ].sort());
    assert.deepEqual(await sql(`SELECT key, result FROM pm.ended WHERE process_manager = '${name}'`), [{ key: 'b', result: { total: 12 } }]);
    assert.equal(await value(`SELECT count(*) FROM pm.timer WHERE process_manager = '${name}'`), '0');
  });
}

test('a timer that an event of the same batch cancels is not handled; what is sent is', async () => {
  await make('bells');
  const seen = [];
  const handler = async (event, ctx) => {
    seen.push(`${event.type} ${event.kind}`);
    if (event.type === 'set') {
      ctx.save({});
      ctx.setTimer('ring', new Date(event.recordedAt.getTime() + 2000));
    }
    if (event.type === 'end') ctx.finish();
  };
  await append('bells', 'a', 'set');
  let run = start({ name: 'bells' }, handler);
  await until(`SELECT count(*) = 1 FROM pm.timer WHERE process_manager = 'bells'`);
  await run.stop();
  await append('bells', 'a', 'end');
  await until(`SELECT due < clock_timestamp() FROM pm.timer WHERE process_manager = 'bells'`);
  await sql(`SELECT pm.send('bells', 'a', 'note', '{}')`);
  // The event was recorded before the timer was due: both are fetched together.
  run = start({ name: 'bells' }, handler);
  await until(() => seen.includes('note sent'));
  await run.stop();
  assert.deepEqual(seen, ['set event', 'end event', 'note sent']);
});

for (const mode of ['transaction', 'outside']) {
  test(`a reply goes unchanged to the instance that has appended the event (${mode})`, async () => {
    const name = `answers_${mode}`;
    await make(name);
    await make(`asks_${mode}`);
    await sql(`CREATE FUNCTION ask_${mode}(e pm.event, s jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
      BEGIN
        IF e.type = 'T' THEN PERFORM pm.append('${name}', 'x', 'question', e.data); END IF;
        RETURN coalesce(s, '{}') || jsonb_build_object(e.type, e.data);
      END $$`);
    await sql(`SELECT pm.register('asking_${mode}', 'ask_${mode}', '{asks_${mode}}')`);
    await sql(`SELECT pm.append('asks_${mode}', 'me', 'T', '{"id": 12345678901234567890}')`);
    const { stop } = start({ name, effects: mode }, (event, ctx) => ctx.reply('answer', new Json(event.dataText)));
    await until(`SELECT count(*) = 1 FROM pm.instance WHERE key = 'me' AND process_manager = 'asking_${mode}' AND state ? 'answer'`);
    await stop();
    assert.equal(await value(`SELECT state -> 'answer' ->> 'id' FROM pm.instance WHERE process_manager = 'asking_${mode}'`), '12345678901234567890');
  });
}

test('effects outside: a reply that nobody waits for is not a reason to do them again', async () => {
  await make('unasked');
  for (const key of ['a', 'b', 'c']) await append('unasked', key, 'T');
  const calls = [];
  const { stop } = start({ name: 'unasked', effects: 'outside' }, (event, ctx) => {
    calls.push(event.key);
    if (event.key === 'b') ctx.reply('answer');
  });
  await until(idle('unasked'));
  await stop();
  assert.deepEqual(calls.sort(), ['a', 'b', 'c']);
  const parked = await sql(`SELECT key, state, message FROM pm.parked WHERE process_manager = 'unasked'`);
  assert.deepEqual(parked.map(({ key, state }) => [key, state]), [['b', 'dead']]);
  assert.match(parked[0].message, /no instance waits/);
});

test('an event for several keys fails for one of them', async () => {
  await sql(`CREATE FUNCTION keys(e pm.event) RETURNS text[] LANGUAGE sql IMMUTABLE AS $$ SELECT ARRAY(SELECT jsonb_array_elements_text(e.data)) $$`);
  for (const mode of ['transaction', 'outside']) {
    const name = `several_${mode}`;
    await make(name, `, correlate => 'keys', backoff => '1 h'`);
    for (let i = 0; i < 6; i++) await append(name, 's', 'T', JSON.stringify(['a', 'b', 'c']));
    const sums = {};
    const { stop } = start({ name, effects: mode, batchSize: 4 }, async (event, ctx) => {
      if (event.key === 'b' && event.position === '3') throw new Error('b cannot');
      ctx.save({ n: (ctx.state?.n ?? 0) + 1 });
    });
    await until(idle(name));
    await stop();
    assert.deepEqual(
      await sql(`SELECT key, state FROM pm.instance WHERE process_manager = '${name}' ORDER BY key`),
      [{ key: 'a', state: { n: 6 } }, { key: 'b', state: { n: 2 } }, { key: 'c', state: { n: 6 } }],
      mode,
    );
    assert.deepEqual(await sql(`SELECT DISTINCT key FROM pm.parked WHERE process_manager = '${name}'`), [{ key: 'b' }]);
  }
});

test('on_failure halt: the event is tried in its place, and nothing after it is done or saved twice', async () => {
  for (const mode of ['transaction', 'outside']) {
    const name = `halt_${mode}`;
    await make(name, `, on_failure => 'halt', backoff => '100 ms', max_attempts => 100`);
    for (let i = 1; i <= 20; i++) await append(name, `s-${i % 4}`, 'T');
    let failures = 0;
    const { stop } = start({ name, effects: mode }, async (event, ctx) => {
      if (ctx.signal.aborted) throw ctx.signal.reason;
      if (event.position === '10' && Date.now() - event.recordedAt < 1000) {
        failures++;
        throw new Error('stuck');
      }
      ctx.save({ n: (ctx.state?.n ?? 0) + 1 });
    });
    await until(idle(name));
    await stop();
    assert.ok(failures >= 1);
    assert.deepEqual(
      await sql(`SELECT key, state FROM pm.instance WHERE process_manager = '${name}' ORDER BY key`),
      [0, 1, 2, 3].map((i) => ({ key: `s-${i}`, state: { n: 5 } })),
      mode,
    );
  }
});

test('effects outside: in order within each key, and the keys of a batch at the same time', async () => {
  await make('outside');
  for (let i = 1; i <= 40; i++) await append('outside', `s-${i % 8}`, 'T');
  let now = 0;
  let most = 0;
  const seen = {};
  const { stop } = start({ name: 'outside', effects: 'outside', concurrency: 4 }, async (event, ctx) => {
    most = Math.max(most, ++now);
    assert.throws(() => ctx.tx, /effects: 'transaction'/);
    await delay(Math.random() * 20);
    (seen[event.key] ??= []).push(Number(event.position));
    now--;
  });
  await until(idle('outside'));
  await stop();
  assert.equal(most, 4);
  assert.equal(Object.values(seen).flat().length, 40);
  for (const positions of Object.values(seen)) assert.deepEqual(positions, [...positions].sort((a, b) => a - b));
});

test('the timeline of the server, where it is asked for', async () => {
  await make('timeline');
  const seen = [];
  for (const timeline of [true, false]) {
    await append('timeline', 'a', 'T');
    const { stop } = start({ name: 'timeline', effects: 'outside', timeline }, async (event) => void seen.push(event.timeline));
    await until(idle('timeline'));
    await stop();
  }
  assert.deepEqual(seen, [1, undefined]);
});

test('the lease is renewed while a handler works, and PM002 drops the batch', async () => {
  await make('long', `, lease => '1 s', max_attempts => 100`);
  await append('long', 'a', 'T');
  let attempts = [];
  let run = start({ name: 'long' }, async (event, ctx) => {
    attempts.push(event.attempt);
    await effect(ctx, 'long', event);
    await delay(3500);
  });
  await until(`SELECT count(*) = 1 FROM effect WHERE name = 'long'`);
  await run.stop();
  assert.deepEqual(attempts, [1], 'once, though it took longer than the lease');

  await append('long', 'a', 'T');
  attempts = [];
  run = start({ name: 'long', effects: 'transaction' }, async (event, ctx) => {
    attempts.push(event.attempt);
    await effect(ctx, 'long', event);
    if (attempts.length > 1) return;
    await sql(`SELECT pm.seek('long', 'long', 1)`); // ends all leases
    await new Promise((resolve) => ctx.signal.addEventListener('abort', resolve));
    assert.equal(ctx.signal.reason.code, 'PM002');
  });
  await until(`SELECT count(*) = 2 FROM effect WHERE name = 'long'`);
  await run.stop();
  assert.equal(attempts.length, 2);
  assert.deepEqual(await effects('long'), ['a:1', 'a:2']);
  assert.match(run.lines.join('\n'), /holds no lane|does not hold/);
});

test('a handler that never returns fails after its time', async () => {
  await make('hung', `, backoff => '1 h'`);
  await append('hung', 'a', 'T');
  await append('hung', 'b', 'T');
  let aborted = 0;
  const { stop } = start({ name: 'hung', handlerTimeout: 300 }, (event, ctx) => {
    if (event.key === 'b') return effect(ctx, 'hung', event);
    ctx.signal.addEventListener('abort', () => aborted++);
    return new Promise(() => {});
  });
  await until(idle('hung'));
  await stop();
  assert.deepEqual(await effects('hung'), ['b:2']);
  assert.equal(await value(`SELECT message FROM pm.parked WHERE process_manager = 'hung'`), 'the handler has not returned within 300 ms');
  assert.ok(aborted > 0);
});

test('nothing is swallowed: errors that the handler catches, queries that it does not wait for', async () => {
  await make('careless', `, backoff => '1 h'`);
  for (const stream of ['caught', 'floating', 'good', 'nul', 'text']) await append('careless', stream, 'T');
  const { stop } = start({ name: 'careless' }, async (event, ctx) => {
    await effect(ctx, 'careless', event);
    if (event.key === 'caught') await ctx.tx.query('SELECT 1 / $1::int', [0]).catch(() => {});
    if (event.key === 'floating') void ctx.tx.query('SELECT nonsense');
    if (event.key === 'nul') ctx.save('a\0b');
    if (event.key === 'text') throw 'a text'; // eslint-disable-line
  });
  await until(idle('careless'));
  await stop();
  assert.deepEqual(await effects('careless'), ['good:3']);
  assert.deepEqual(await sql(`SELECT key, message FROM pm.parked WHERE process_manager = 'careless' ORDER BY key`), [
    { key: 'caught', message: 'division by zero (SQLSTATE 22012)' },
    { key: 'floating', message: 'column "nonsense" does not exist (SQLSTATE 42703)' },
    { key: 'nul', message: "the state has a character that PostgreSQL's jsonb cannot store" },
    { key: 'text', message: 'a text' },
  ]);
});

test('a deferred constraint, which fails at COMMIT, is noticed', async () => {
  await sql('CREATE TABLE once (key text UNIQUE DEFERRABLE INITIALLY DEFERRED)');
  await make('commit', `, backoff => '1 h'`);
  for (const key of ['a', 'b', 'c']) await append('commit', key, 'T');
  await sql(`INSERT INTO once VALUES ('b')`);
  const { stop } = start({ name: 'commit' }, (event, ctx) => ctx.tx.query('INSERT INTO once VALUES ($1)', [event.key]));
  await until(idle('commit'));
  await stop();
  assert.deepEqual(await sql('SELECT key FROM once ORDER BY key'), [{ key: 'a' }, { key: 'b' }, { key: 'c' }]);
  assert.match(await value(`SELECT message FROM pm.parked WHERE process_manager = 'commit'`), /duplicate key.*23505/);
});

test('a lost race is not a failure', async () => {
  await make('race');
  await append('race', 'a', 'T');
  let calls = 0;
  const { stop } = start({ name: 'race' }, async (event, ctx) => {
    await effect(ctx, 'race', event);
    if (++calls < 5) throw Object.assign(new Error('deadlock'), { code: '40P01' });
  });
  await until(idle('race'));
  await stop();
  assert.equal(calls, 5);
  assert.deepEqual(await effects('race'), ['a:1']);
  assert.equal(await value(`SELECT count(*) FROM pm.parked WHERE process_manager = 'race'`), '0');
});

test('run() rejects for what does not go away, and options are checked', async () => {
  await assert.rejects(start({ name: 'nobody' }, () => {}).running, { code: '42704' });
  await assert.rejects(start({ name: 'plain', connection: { database: 'nowhere' } }, () => {}).running, { code: '3D000' });
  assert.throws(() => new Consumer({ name: 'x', batchSize: 0 }), RangeError);
  assert.throws(() => new Consumer({ name: 'x', batch: 10 }), /no option batch/);
  assert.throws(() => new Consumer({ name: 'x', effects: 'none' }), TypeError);
});

test('it stops at once while it waits, and gives back what it cannot end', async () => {
  await make('stops');
  const run = start({ name: 'stops' }, () => {});
  await until(`SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = 'stops' AND wait_event_type = 'Extension'`);
  let since = Date.now();
  await run.stop();
  assert.ok(Date.now() - since < 5000);
  await append('stops', 'a', 'T');
  for (const mode of ['transaction', 'outside']) {
    const busy = start({ name: 'stops', effects: mode, stopTimeout: 200 }, () => new Promise(() => {}));
    await until(`SELECT count(*) = 1 FROM pm.consumer WHERE process_manager = 'stops' AND fetched = 1`);
    since = Date.now();
    await busy.stop();
    assert.ok(Date.now() - since < 5000);
    assert.equal(await value('SELECT attempt FROM pm.fetch($1, $2)', ['stops', 'other']), 1, 'no attempt is counted');
    await sql(`SELECT pm.release('stops', 'other')`);
  }
  const controller = new AbortController();
  const consumer = new Consumer({ name: 'stops', signals: [] });
  const running = consumer.run((event, ctx) => effect(ctx, 'stops', event), { signal: controller.signal });
  await until(idle('stops'));
  controller.abort();
  await running;
  assert.deepEqual(await effects('stops'), ['a:1']);
});
