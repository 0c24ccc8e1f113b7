// A Chromium, and pages that fail the test if anything goes wrong in them: an exception, something that the
// Content-Security-Policy has stopped, a request to anywhere else.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const flags = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];

const executablePath = process.env.PM_CHROMIUM ?? execFileSync('sh', ['-c', 'command -v chromium'], { encoding: 'utf8' }).trim();

export async function openBrowser({ timezoneId = 'Asia/Tokyo' } = {}) {
  const directory = mkdtempSync(join(tmpdir(), 'pm-chromium.'));
  const context = await chromium.launchPersistentContext(directory, {
    executablePath,
    args: flags,
    ignoreDefaultArgs: ['--enable-automation'],
    locale: 'en-GB',
    timezoneId,
    permissions: ['clipboard-read', 'clipboard-write'],
    viewport: { width: 1280, height: 900 },
  });
  return {
    context,
    async close() {
      await context.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** A new page at an address, and what went wrong in it. */
export async function openPage({ context }, url, { expected = [] } = {}) {
  const page = await context.newPage();
  const wrong = [];
  const note = (text) => expected.some((pattern) => pattern.test(text)) || wrong.push(text);
  page.on('pageerror', (error) => note(`exception: ${error.stack}`));
  page.on('console', (message) => ['error', 'warning'].includes(message.type()) && note(`console: ${message.text()}`));
  page.on('request', (request) => new URL(request.url()).origin === new URL(url).origin || note(`request to ${request.url()}`));
  page.on('dialog', (dialog) => {
    note(`dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  // What a script of somebody else would set.
  await page.addInitScript(() => {
    Object.defineProperty(window, 'pwned', { set: (value) => console.error(`pwned: ${value}`), get: () => undefined });
  });
  page.setDefaultTimeout(20_000);
  await page.goto(url);
  return Object.assign(page, {
    wrong,
    /** Goes to another page of the console. */
    async visit(hash) {
      await page.evaluate((to) => { location.hash = to; }, hash);
      await page.locator('main h1').first().waitFor();
    },
    /** Nothing has gone wrong, and nothing is wider than the screen. */
    async fine(where) {
      assert.deepEqual(wrong, [], where);
      const width = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
      assert.ok(width[0] <= width[1], `${where}: ${width[0]} pixels wide on a screen of ${width[1]}`);
    },
  });
}
