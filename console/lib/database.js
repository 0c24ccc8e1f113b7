// Transactions of the console. Nothing else in it talks to the server.
//
// Each request is one short transaction. Without --write it is READ ONLY, so that the server, not this program, refuses
// to change anything. Nothing waits long: neither for a lock nor for a result.
import { createHash } from 'node:crypto';
import pg from 'pg';

// Numbers that fit, booleans and text[] are converted. Everything else stays the text that the server wrote: a bigint
// does not fit into a number of JavaScript, and a number in a jsonb may have any length.
const converted = new Set([16, 21, 23, 700, 701, 1009]);
const asItIs = (value) => value;
const types = {
  getTypeParser: (oid, format) => (converted.has(oid) ? pg.types.getTypeParser(oid, format) : asItIs),
};

// Names and operators come from pg_catalog only: what somebody has put into a schema of the search_path is not called
// by this role. Times are written in one format, which the page converts to the reader's zone.
function settings(timeout) {
  return [
    'search_path = pg_catalog, pg_temp',
    `statement_timeout = ${timeout}`,
    `lock_timeout = ${Math.min(timeout, 3000)}`,
    'idle_in_transaction_session_timeout = 15000',
    "TimeZone = 'UTC'",
    "DateStyle = 'ISO, YMD'",
    "IntervalStyle = 'postgres'",
    'client_min_messages = notice',
  ]
    .map((setting) => `SET LOCAL ${setting}; `)
    .join('');
}

const lost = new Set([
  '57P01', // terminated by a person, or the server stops
  '57P02', // the server has crashed
  '57P03', // the server starts
  '53300', // too many connections
  'ECONNREFUSED',
  'ECONNRESET',
  'ENOENT',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENOTFOUND',
]);

/** Is there no connection, or was it lost? */
export function isConnectionLost(error) {
  return (
    lost.has(error.code) ||
    /^08/u.test(error.code ?? '') ||
    /Connection terminated|timeout expired|timeout exceeded when trying to connect|not queryable|Client was closed/u.test(error.message)
  );
}

/** A query that pages repeat. A session plans it once, because planning it takes longer than running it. */
export const repeated = (text) => ({ name: `pm_console_${createHash('sha256').update(text).digest('hex').slice(0, 16)}`, text });

// A pooler has given another session, or the extension was updated so that a view has other columns.
const unplanned = new Set(['26000', '42P05', '0A000']);

export class Database {
  #plans = true;

  constructor(config, { write = false } = {}) {
    this.write = write;
    this.pool = new pg.Pool({
      ...config,
      types,
      max: 4,
      idleTimeoutMillis: 30_000,
      connectionTimeoutMillis: 5_000,
      application_name: 'pm console',
    });
    // An idle connection that the server has closed is not a reason to end.
    this.pool.on('error', () => {});
  }

  /** Runs a function in a READ ONLY transaction. It gets query(text, values), which returns rows; text may be repeated(). */
  async read(work, { timeout = 8000 } = {}) {
    try {
      return await this.#transaction('READ ONLY', timeout, work);
    } catch (error) {
      // A connection of the pool may have been lost without the pool having noticed.
      if (isConnectionLost(error) && error.begun === false) return this.#transaction('READ ONLY', timeout, work);
      if (unplanned.has(error.code)) {
        this.#plans = false;
        return this.#transaction('READ ONLY', timeout, work);
      }
      throw error;
    }
  }

  /** Runs a function in a transaction that may write, and returns its result and the server's notices. */
  async change(work, { timeout = 20_000 } = {}) {
    if (!this.write) throw new Error('this console is read-only');
    const notices = [];
    const result = await this.#transaction('READ WRITE', timeout, work, notices);
    return { result, notices };
  }

  async #transaction(mode, timeout, work, notices) {
    const client = await this.pool.connect();
    const note = ({ severity, message, detail, hint }) => notices?.push({ severity, message, detail, hint });
    const broken = () => {};
    let begun = false;
    let unusable;
    client.on('notice', note);
    client.on('error', broken);
    try {
      // REPEATABLE READ, which a role may have as its default, is refused by pm.
      await client.query(`BEGIN ISOLATION LEVEL READ COMMITTED ${mode}; ${settings(timeout)}`);
      begun = true;
      const result = await work(async (query, values) => {
        const text = query.text ?? query;
        return (await client.query(this.#plans && query.name ? { ...query, values } : { text, values })).rows;
      });
      await client.query('COMMIT');
      return result;
    } catch (error) {
      if (isConnectionLost(error)) unusable = error;
      else await client.query('ROLLBACK').catch((failed) => (unusable = failed));
      error.begun = begun;
      throw error;
    } finally {
      client.off('notice', note);
      client.off('error', broken);
      client.release(unusable);
    }
  }

  end() {
    return this.pool.end();
  }
}
