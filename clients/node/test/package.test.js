// The package as npm publishes it, in a directory of its own: it has all that it needs, and the README's example runs with it.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { pool, sql, until } from './helper.js';

const client = new URL('..', import.meta.url).pathname;
const dir = mkdtempSync(path.join(os.tmpdir(), 'pm-consumer-'));
after(async () => {
  rmSync(dir, { recursive: true });
  await pool.end();
});

/** The first block of the README in this language. */
const block = (language) => readFileSync(path.join(client, 'README.md'), 'utf8').split(`\n\`\`\`${language}\n`)[1].split('\n```\n')[0];

test('the package has what it needs, and the README runs with it', async () => {
  const env = { ...process.env, npm_config_cache: path.join(dir, 'cache'), npm_config_update_notifier: 'false' };
  const [packed] = JSON.parse(execFileSync('npm', ['pack', '--json', '--pack-destination', dir], { cwd: client, env, stdio: ['ignore', 'pipe', 'ignore'] }));
  const lib = readdirSync(path.join(client, 'lib')).map((name) => `lib/${name}`);
  assert.deepEqual(packed.files.map((file) => file.path).sort(), ['LICENSE', 'README.md', 'index.d.ts', 'index.js', 'package.json', ...lib].sort());
  assert.equal(readFileSync(path.join(client, 'LICENSE'), 'utf8'), readFileSync(path.join(process.env.PM_TEST_ROOT, 'LICENSE'), 'utf8'));

  // As npm install does. Its dependencies are there already.
  const modules = path.join(dir, 'node_modules');
  mkdirSync(path.join(modules, 'pm-consumer'), { recursive: true });
  execFileSync('tar', ['-xzf', path.join(dir, packed.filename), '-C', path.join(modules, 'pm-consumer'), '--strip-components=1']);
  for (const name of readdirSync(path.join(client, 'node_modules'))) {
    if (!name.startsWith('.') && name !== 'typescript') symlinkSync(path.join(client, 'node_modules', name), path.join(modules, name));
  }

  await sql(`CREATE ROLE mail_role LOGIN; CREATE TABLE mails (recipient text, position bigint); GRANT INSERT ON mails TO mail_role;
    SELECT pm.create_log('outbox'); GRANT USAGE ON SCHEMA pm TO mail_role`);
  await sql(block('sql'));
  await sql(`SELECT pm.append('outbox', 'ann', 'mail', '{"to": "ann@example.com"}'), pm.append('outbox', 'nobody', 'mail')`);
  const example = block('js').replace(`'postgresql://mail_role@db/shop'`, `{ user: 'mail_role' }`);
  assert.match(example, /user: 'mail_role'/);
  writeFileSync(path.join(dir, 'example.mjs'), example);
  const child = spawn(process.execPath, ['example.mjs'], { cwd: dir, stdio: ['ignore', 'ignore', 'pipe'] });
  let text = '';
  child.stderr.on('data', (data) => (text += data));
  const ended = once(child, 'exit');
  await until(`SELECT count(*) = 1 FROM pm.parked WHERE process_manager = 'mailer' AND state = 'dead' AND message = 'no address'`);
  await until(`SELECT state = '{"sent": 1}' FROM pm.instance WHERE process_manager = 'mailer' AND key = 'ann'`);
  child.kill('SIGTERM');
  assert.deepEqual(await ended, [0, null], text);
  assert.deepEqual(await sql('SELECT * FROM mails'), [{ recipient: 'ann@example.com', position: '1' }]);
  assert.deepEqual(await sql(`SELECT key, type FROM pm.timer WHERE process_manager = 'mailer'`), [{ key: 'ann', type: 'remind' }]);
});
