// What the tests share. The server, and a database with pm, are those of the environment (PGHOST, PGDATABASE, PGDATA).
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { format } from 'node:util';
import pg from 'pg';
import { Consumer } from '../index.js';

/** A pool that outlives restarts of the server. */
export const pool = new pg.Pool({ max: 5 });
pool.on('error', () => {});

export async function sql(text, values) {
  return (await pool.query(text, values)).rows;
}

export async function value(text, values) {
  const [row] = (await pool.query({ text, values, rowMode: 'array' })).rows;
  return row?.[0];
}

/** Waits until a function, or a query, returns true. */
export async function until(what, { seconds = 60, message = String(what) } = {}) {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    // While the server restarts, queries fail.
    const found = await (async () => (typeof what === 'string' ? value(what) : what()))().catch(() => false);
    if (found === true) return;
    assert.ok(Date.now() < end, `not within ${seconds} s: ${message}`);
    await delay(20);
  }
}

/** Collects what a consumer says. */
export function quiet(lines = []) {
  const say = (...words) => lines.push(words.map((w) => (w instanceof Error ? String(w.message) : format(w))).join(' '));
  return { lines, warn: say, error: say, info: say };
}

/** Starts a consumer in this process; stop() ends it and returns the result of run(). */
export function start(options, handler) {
  const logger = quiet();
  const consumer = new Consumer({ signals: [], logger, ...options });
  const running = consumer.run(handler);
  running.catch(() => {});
  return {
    consumer,
    lines: logger.lines,
    running,
    stop() {
      consumer.stop();
      return running;
    },
  };
}

/** Starts a program in a process of its own, to be killed. */
export function program(file, args = [], env = {}) {
  const child = spawn(process.execPath, [new URL(file, import.meta.url).pathname, ...args], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, ...env },
  });
  child.text = '';
  child.stderr.on('data', (data) => (child.text += data));
  child.ended = once(child, 'exit');
  return child;
}

export function pgCtl(...args) {
  execFileSync('pg_ctl', ['-D', process.env.PGDATA, '-l', process.env.PM_TEST_SERVER_LOG, '-s', '-w', ...args], { stdio: 'ignore' });
}

export function figure(text) {
  console.log(`# figure: ${text}`);
}
