// The pages in a Chromium: text of somebody who means harm, and roles with few rights.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { openBrowser, openPage } from './browser.js';
import { end, shop, sql, startConsole, until, value } from './helper.js';

let browser;
let writer;

before(async () => {
  [browser] = await Promise.all([openBrowser(), shop()]);
  writer = await startConsole(['--write']);
});
after(async () => {
  await browser.close();
  await writer.stop();
  await end();
});

const instance = (key) => `#/process-manager/evil/instance/${encodeURIComponent(key)}`;
const narrow = { width: 390, height: 844 };
const wide = { width: 1280, height: 900 };

test('hostile text is text', async () => {
  const hostile = [
    '<script>window.pwned = 1</script>',
    '"><img src=x onerror="window.pwned = 2">',
    "'; DROP TABLE orders; --",
    '\u202Egnp.exe\u202C \u2066isolated\u200B\u200D',
    'line\nbreak\ttab\u0001\u001b[31m',
    '{{constructor.constructor("window.pwned = 3")()}} ${window.pwned = 4} %s %n',
    '/../..%2f..?#&=+%',
    'javascript:window.pwned=5',
    '\u{1F469}\u200D\u{1F680} \u{10FFFF} zalgo e\u0301\u0302\u0303\u0304',
    'x'.repeat(5000),
    ' ',
    '\\"]; evil [URL="javascript:window.pwned=6"',
  ];
  await sql(`
    SELECT pm.create_log('evil');
    CREATE FUNCTION evil(e pm.event, s jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
    BEGIN
      IF e.type = 'keep' THEN PERFORM pm.set_timer(left(e.stream, 200), now() + '1 day', e.data); RETURN e.data; END IF;
      RAISE EXCEPTION USING MESSAGE = e.stream, DETAIL = e.stream, HINT = e.stream, ERRCODE = 'PM003';
    END $$;
    SELECT pm.register('evil', 'evil', '{evil}', journal => true)`);
  for (const text of hostile) {
    await sql(`SELECT pm.append('evil', $1, 'keep', jsonb_build_object($1::text, $1::text)), pm.append('evil', $1, $2, jsonb_build_object('v', $1::text))`, [text, text.slice(0, 900)]);
  }
  const names = ['<b onmouseover="window.pwned=7">bold</b>', '"]; x [label=<<b>y</b>>', 'a\\" -> \n\u202Eb'];
  for (const name of names) await sql(`SELECT pm.register($1, 'evil', '{evil}', start_at => 'end')`, [name]);
  await until(`SELECT count(*) = ${hostile.length} FROM pm.parked WHERE process_manager = 'evil' AND state = 'dead'`);

  const page = await openPage(browser, writer.url, { expected: [/422/u] });
  const main = page.locator('main');
  for (const size of [narrow, wide]) {
    await page.setViewportSize(size);
    await page.visit('#/');
    await main.getByText('<b onmouseover="window.pwned=7">bold</b>').first().waitFor();
    await page.fine(`overview at ${size.width}`);
    await page.visit('#/process-manager/evil');
    await main.getByText(hostile[0]).first().waitFor();
    await page.fine(`process manager at ${size.width}`);
    await page.visit('#/log/evil');
    await main.getByText(hostile[1]).first().waitFor();
    await page.fine(`log at ${size.width}`);
    // The widest of them suffice on a narrow screen.
    for (const text of size === wide ? hostile : [hostile[3], hostile[9]]) {
      await page.visit(instance(text));
      await main.getByText('What it waits for').waitFor();
      await main.locator('.state.dead').first().waitFor();
      await main.getByRole('button', { name: 'Data and context' }).first().click();
      await main.locator('.detail .json').first().waitFor();
      await main.getByRole('button', { name: 'State before and after' }).first().click();
      await page.fine(`${JSON.stringify(text.slice(0, 60))} at ${size.width}`);
      if (size === wide) {
        await page.visit(`#/log/evil/stream/${encodeURIComponent(text)}`);
        await main.locator('.journal .entry').first().waitFor();
        await page.visit(`#/find/${encodeURIComponent(text)}`);
        await main.locator('h1').waitFor();
        await page.fine(`stream and search of ${JSON.stringify(text.slice(0, 60))}`);
      }
    }
  }
  await page.visit('#/topology');
  await page.locator('.graph svg text').first().waitFor();
  assert.ok(await page.locator('.graph svg').evaluate((svg) => [...svg.querySelectorAll('*')].every((e) => ['g', 'a', 'path', 'polygon', 'polyline', 'ellipse', 'text', 'title', 'tspan', 'span'].includes(e.localName))));
  assert.deepEqual(await page.locator('a').evaluateAll((links) => links.map((a) => a.getAttribute('href')).filter((href) => !href.startsWith('#'))), []);
  // A key of hostile text in an action: it is what the server gets.
  await page.visit(instance(hostile[2]));
  await page.getByRole('button', { name: 'Discard' }).first().click();
  await page.getByRole('dialog').getByRole('button', { name: /^Discard/u }).click();
  await page.locator('.said', { hasText: 'Discarded.' }).waitFor();
  await until(`SELECT count(*) = ${hostile.length - 1} FROM pm.parked WHERE process_manager = 'evil'`);
  // The direction marks are shown by their numbers, not obeyed.
  await page.visit(instance(hostile[3]));
  assert.match(await main.locator('h1').innerText(), /U\+202E/u);
  await page.fine('hostile text');
  await page.close();
});

test('a role with few rights sees little, and is told why', async () => {
  const database = await value('SELECT current_database()');
  const suffix = process.pid;
  const [first, second] = [`little_${suffix}`, `watcher_${suffix}`];
  await sql(`
    CREATE ROLE ${first} LOGIN;
    CREATE ROLE ${second} LOGIN IN ROLE pg_monitor;
    GRANT USAGE ON SCHEMA pm TO ${second};`);
  const little = await startConsole(['--write', `dbname=${database} user=${first} host=${process.env.PGHOST}`]);
  let page = await openPage(browser, little.url, { expected: [/40[34]/u] });
  await page.getByText(`role "${first}" may not use the schema pm`).waitFor();
  await page.getByText(`GRANT USAGE ON SCHEMA pm TO ${first}`).waitFor();
  await sql(`GRANT USAGE ON SCHEMA pm TO ${first}`);
  await page.reload();
  await page.getByText('There is no process manager, or none that this role may see').waitFor();
  await page.visit('#/process-manager/fulfilment');
  await page.getByText('there is no such process manager').waitFor();
  await page.visit('#/log/orders');
  await page.getByText('There is no such log, or this role may not read it').waitFor();
  await page.visit('#/log/orders/event/1');
  await page.getByText(`role "${first}" may not read log "orders"`).first().waitFor();
  await page.visit('#/workers');
  await page.getByText('No worker runs for roles of which this role is a member').waitFor();
  await page.fine('little');
  await page.close();
  await little.stop();

  const watcher = await startConsole(['--write', `dbname=${database} user=${second} host=${process.env.PGHOST}`]);
  page = await openPage(browser, watcher.url, { expected: [/40[34]|422/u] });
  await page.getByRole('link', { name: 'fulfilment' }).first().click();
  await page.getByText('Parked events, instances and timers are shown only to members of the owner').waitFor();
  await page.getByRole('button', { name: 'Pause' }).click();
  await page.getByText(`Role ${second} is not a member of the owner`).waitFor();
  assert.equal(await page.getByRole('dialog').getByRole('button', { name: 'Pause this process manager' }).count(), 0);
  await page.keyboard.press('Escape');
  await page.fine('watcher');
  await page.close();
  await watcher.stop();
  await sql(`DROP OWNED BY ${first}, ${second}; DROP ROLE ${first}, ${second}`);
});
