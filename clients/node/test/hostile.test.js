// Handlers, data and rights as one would rather not have them: queries that hang, times and errors of any kind, keys and
// numbers that JavaScript confuses with others, a server that is away, a role whose right is taken away.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Json } from '../index.js';
import { pgCtl, pool, sql, start, until, value } from './helper.js';

before(async () => {
  await sql(`CREATE TABLE effect (n serial, name text, pos bigint, key text)`);
});
after(() => pool.end());

async function make(name, options = '') {
  await sql(`SELECT pm.create_log('${name}')`);
  await sql(`SELECT pm.register('${name}', NULL, '{${name}}' ${options})`);
}
const append = (name, stream, type = 'T', data = {}) => sql('SELECT pm.append($1, $2, $3, $4)', [name, stream, type, data]);
const effect = (ctx, name, event) => ctx.tx.query('INSERT INTO effect (name, pos, key) VALUES ($1, $2, $3)', [name, event.position, event.key]);
const effects = async (name) => (await sql('SELECT key FROM effect WHERE name = $1 ORDER BY n', [name])).map((row) => row.key);
const idle = (name) => `SELECT coalesce(sum(lag), 0) = 0 FROM pm.status WHERE process_manager = '${name}'`;
const parked = (name) => sql(`SELECT key, message FROM pm.parked WHERE process_manager = $1 AND state <> 'behind' ORDER BY key`, [name]);

test('a query that hangs is canceled when the time of its handler is over, or the program stops', async () => {
  await make('hangs', `, backoff => '1 h'`);
  for (const key of ['a', 'b', 'c']) await append('hangs', key);
  const sleeping = `SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = 'hangs' AND wait_event = 'PgSleep'`;
  const handler = async (event, ctx) => {
    await effect(ctx, 'hangs', event);
    if (event.key === 'b') await ctx.tx.query('SELECT pg_sleep(600)');
  };
  let run = start({ name: 'hangs', handlerTimeout: 500 }, handler);
  await until(idle('hangs'));
  await run.stop();
  assert.deepEqual(await effects('hangs'), ['a', 'c']);
  assert.deepEqual(await parked('hangs'), [{ key: 'b', message: 'the handler has not returned within 500 ms' }]);

  await sql(`SELECT pm.retry('hangs', 'hangs', 2)`);
  run = start({ name: 'hangs', stopTimeout: 200 }, handler);
  await until(sleeping);
  await run.stop();
  await until(`SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'hangs'`);
  assert.equal(await value(`SELECT count(*) FROM pm.consumer WHERE process_manager = 'hangs'`), '0', 'the lease is released');
});

test('times and errors of any kind are failures, which are counted', async () => {
  const thrown = {
    bad: Object.assign(new Error('no'), { retryIn: 'soon' }),
    bare: Object.create(null),
    far: Object.assign(new Error('no'), { retryIn: 1e300 }),
    nan: Object.assign(new Error('no'), { retryIn: NaN }),
    negative: Object.assign(new Error('no'), { retryIn: -5 }),
    nothing: undefined,
    odd: Object.assign(new Error('no'), { message: { text: 1 }, code: {}, retryIn: {} }),
    symbol: Symbol('s'),
  };
  for (const mode of ['transaction', 'outside']) {
    const name = `throws_${mode}`;
    await make(name, `, backoff => '1 h'`);
    for (const key of [...Object.keys(thrown), 'defers']) await append(name, key);
    const { stop } = start({ name, effects: mode }, (event, ctx) => {
      if (event.key === 'defers') ctx.defer('never');
      throw thrown[event.key];
    });
    await until(idle(name));
    await stop();
    const rows = await parked(name);
    assert.deepEqual(rows.map((row) => row.key), [...Object.keys(thrown), 'defers'].sort(), mode);
    for (const { key, message } of rows)
      assert.equal(/retryIn is refused/.test(message), ['bad', 'defers', 'far', 'nan', 'negative', 'odd'].includes(key), `${key}: ${message}`);
    assert.equal(await value(`SELECT count(*) FROM pm.parked WHERE process_manager = $1 AND attempts = 1`, [name]), '9');
  }
});

test('a query after the transaction has ended is refused: it is not lost silently, and does not end the process', async () => {
  await make('late');
  await append('late', 'a');
  let go;
  let refused;
  const { stop, lines } = start({ name: 'late' }, async (event, ctx) => {
    await effect(ctx, 'late', event);
    new Promise((resolve) => (go = resolve)).then(() => {
      refused = true;
      void ctx.tx.query(`INSERT INTO effect (key) VALUES ('late')`); // nobody waits for this one
    });
  });
  await until(idle('late'));
  go();
  await until(() => refused);
  await delay(100);
  await stop();
  assert.equal(await value(`SELECT count(*) FROM effect WHERE key = 'late'`), '0');
  assert.match(lines.join('\n'), /a query is not executed: .*must await its queries/);
});

test('an event with which the connection is lost each time is a failure, which is counted', async () => {
  for (const mode of ['transaction', 'outside']) {
    const name = `loses_${mode}`;
    await make(name, `, lease => '1 h', backoff => '1 h'`);
    for (const key of ['a', 'b', 'c', 'b']) await append(name, key);
    const calls = [];
    const { stop } = start({ name, effects: mode }, async (event, ctx) => {
      if (mode === 'transaction') await effect(ctx, name, event);
      if (event.key !== 'b') return;
      calls.push(event.attempt);
      await sql('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1', [name]);
    });
    await until(idle(name));
    await stop();
    assert.deepEqual(await parked(name), [{ key: 'b', message: 'the connection to the database was lost while it was handled' }]);
    assert.equal(await value(`SELECT attempts FROM pm.parked WHERE process_manager = $1 AND state = 'failing'`, [name]), 1);
    if (mode === 'transaction') assert.deepEqual(await effects(name), ['a', 'c']);
    assert.ok(calls.length < 6, `${calls.length} calls`);
  }
});

test('if the server is away for longer than the lease, nothing more is begun', async () => {
  await make('away', `, lease => '1 s', max_attempts => 100`);
  for (let i = 0; i < 5; i++) await append('away', 'a');
  const calls = [];
  let reason;
  const { stop } = start({ name: 'away', effects: 'outside' }, async (event, ctx) => {
    calls.push(event.position);
    if (calls.length > 1) return;
    pgCtl('stop', '-m', 'immediate');
    await new Promise((resolve) => ctx.signal.addEventListener('abort', resolve));
    reason = ctx.signal.reason;
    await delay(300);
    calls.push('returned');
    pgCtl('start');
  });
  await until(() => calls.includes('returned'));
  await until(idle('away'));
  await stop();
  assert.equal(reason.name, 'LeaseLost');
  assert.deepEqual(calls, ['1', 'returned', '1', '2', '3', '4', '5']);
});

test('keys, positions, numbers and texts are what they are in the database', async () => {
  await make('odd', `, keep_ended => '1 day'`);
  await sql('ALTER TABLE odd ALTER position RESTART 9007199254740993');
  await sql(`SELECT pm.create_log('odd')`);
  const keys = ['__proto__', 'constructor', 'toString', '1', '01', '1.0', ' ', 'ä', '\u{1f600}', '"', "'", '\\', '\n', '{}', 'null'];
  for (const key of keys) await append('odd', key, 'T', '{"__proto__": {"polluted": true}, "n": 12345678901234567890, "x": 1e400}');
  await sql(`INSERT INTO odd (stream, type, data, recorded_at) VALUES ('infinity', 'T', '{}', 'infinity'), ('-infinity', 'T', 'null', '-infinity')`);
  const seen = {};
  const { stop, lines } = start({ name: 'odd' }, async (event, ctx) => {
    (seen[`key ${event.key}`] ??= []).push(event.position);
    await effect(ctx, 'odd', event);
    if (event.key.endsWith('infinity')) return assert.ok(Number.isNaN(event.recordedAt.getTime()));
    assert.equal({}.polluted, undefined);
    assert.equal(ctx.state, null);
    assert.match(event.dataText, /12345678901234567890/);
    ctx.save(new Json(event.dataText));
    ctx.save(ctx.state);
    ctx.save(new Json(event.dataText));
    ctx.setTimer(event.key, new Date(Date.now() + 3600e3), new Json('{"a": "\\ud83d\\ude00 \\\\u0000 \\n"}'));
    for (const bad of ['"\\u0000"', '"\\ud83d"', '"\\ude00\\ud83d"', '"\\\\\\u0000"']) assert.throws(() => ctx.save(new Json(bad)), /cannot store/);
  });
  await until(idle('odd'));
  await stop();
  assert.deepEqual(await parked('odd'), [], lines.join('\n'));
  assert.deepEqual((await effects('odd')).sort(), [...keys, 'infinity', '-infinity'].sort());
  assert.deepEqual(seen['key __proto__'], ['9007199254740993']);
  assert.equal(await value(`SELECT count(*) FROM pm.instance i JOIN odd e ON e.stream = i.key AND e.data::text = i.state::text WHERE process_manager = 'odd'`), String(keys.length));
  assert.equal(await value(`SELECT data ->> 'a' FROM pm.timer WHERE process_manager = 'odd' AND key = '1'`), '\u{1f600} \\u0000 \n');
});

test('a role whose right is taken away while it works is refused, with its effects; one that waits, too', async () => {
  await sql(`CREATE ROLE courier LOGIN; GRANT USAGE ON SCHEMA pm TO courier; CREATE ROLE couriers; GRANT couriers TO courier`);
  await sql(`GRANT INSERT ON effect TO courier; GRANT USAGE ON SEQUENCE effect_n_seq TO courier`);
  await make('rights', `, consumers => '{couriers}', lease => '1 s'`);
  await append('rights', 'a');
  const connection = { user: 'courier' };
  let run = start({ name: 'rights', connection }, async (event, ctx) => {
    await effect(ctx, 'rights', event);
    await sql('REVOKE couriers FROM courier');
  });
  await assert.rejects(run.running, { code: '42501' });
  assert.deepEqual(await effects('rights'), []);
  await assert.rejects(start({ name: 'rights', connection }, () => {}).running, { code: '42501' });

  await sql('GRANT couriers TO courier');
  run = start({ name: 'rights', connection }, (event, ctx) => effect(ctx, 'rights', event));
  await until(idle('rights'));
  await until(`SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = 'rights' AND wait_event_type = 'Extension'`);
  await sql('REVOKE couriers FROM courier');
  await append('rights', 'b');
  await assert.rejects(run.running, { code: '42501' });
  assert.deepEqual(await effects('rights'), ['a']);
});
