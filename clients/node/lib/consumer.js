// A consumer: fetches events of a process manager without a handler, and calls a function for each.
import { randomBytes } from 'node:crypto';
import os from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { Batch } from './batch.js';
import { GivenBack, LeaseLost, isFatal } from './errors.js';
import { Session } from './session.js';

// Everything comes as text, whatever type parsers the program has set.
const fetchColumns = `
  SELECT log, "position"::text, stream, version::text, type, data::text, metadata::text, key, attempt::text, state::text, lane::text,
         (extract(epoch FROM recorded_at) * 1000)::text AS recorded_at,
         (extract(epoch FROM lease_until - clock_timestamp()) * 1000)::text AS lease`;
const fetchFrom = ' FROM pm.fetch($1, $2, $3::int, $4::interval)';
const FETCH = fetchColumns + fetchFrom;
const FETCH_TIMELINE = `${fetchColumns}, pm.timeline()::text AS timeline${fetchFrom}`; // of the server that returns the events
const answerWithin = 15000; // beyond the time of waiting; then the connection is considered dead
const asText = { getTypeParser: () => (value) => value };

export class Consumer {
  #config;
  #running = false;
  #stopping = false;
  #wake = new AbortController(); // ends a pause before the next try
  #renewals = null;
  #fetching = false;
  #batch = null;
  #deadline;
  // An event can be the reason why the connection is lost, or the server crashes. After a loss, events are handled one at a
  // time; one that was alone has failed, if it was not the first loss in a row.
  #losses = 0;
  #first; // the first event of the last batch
  session = null;

  constructor({
    name,
    consumer = `${os.hostname().slice(0, 100)}:${process.pid}:${randomBytes(4).toString('hex')}`,
    connection = {},
    effects = 'transaction',
    batchSize = 100,
    concurrency = effects === 'outside' ? 10 : batchSize,
    handlerTimeout = 60000,
    wait = 30000,
    stopTimeout = 10000,
    timeline = false,
    signals = ['SIGTERM', 'SIGINT'],
    logger = console,
    ...unknown
  }) {
    if (typeof name !== 'string') throw new TypeError('name must be the name of a process manager');
    if (!['transaction', 'outside'].includes(effects)) throw new TypeError("effects must be 'transaction' or 'outside'");
    for (const [what, n, min, max] of [
      ['batchSize', batchSize, 1, 10000],
      ['concurrency', concurrency, 1, 10000],
      ['handlerTimeout', handlerTimeout, 1, 2 ** 31 - 1],
      ['wait', wait, 0, 60000],
      ['stopTimeout', stopTimeout, 0, 2 ** 31 - 1],
    ])
      if (!Number.isInteger(n) || n < min || n > max) throw new RangeError(`${what} must be an integer from ${min} to ${max}`);
    for (const key of Object.keys(unknown)) throw new TypeError(`there is no option ${key}`);
    const config = typeof connection === 'string' ? { connectionString: connection } : connection;
    this.#config = { application_name: name, keepAlive: true, keepAliveInitialDelayMillis: 30000, connectionTimeoutMillis: 10000, ...config };
    Object.assign(this, { name, consumer, effects, batchSize, concurrency, handlerTimeout, wait, stopTimeout, timeline, signals, logger });
  }

  /** Handles events until stop() is called, the signal is aborted, or the process gets one of the signals. */
  async run(handler, { signal } = {}) {
    if (this.#running) throw new Error('the consumer is already running');
    this.#running = true;
    this.#stopping = false;
    this.#wake = new AbortController();
    this.handler = handler;
    const stop = () => this.stop();
    signal?.addEventListener('abort', stop);
    for (const name of this.signals) process.once(name, stop);
    if (signal?.aborted) this.stop();
    try {
      await this.#loop();
    } finally {
      signal?.removeEventListener('abort', stop);
      for (const name of this.signals) process.removeListener(name, stop);
      await this.#leave();
      this.#running = false;
    }
  }

  /** Ends run(): after the current batch or, when stopTimeout is over, without finishing it. */
  stop() {
    if (!this.#running || this.#stopping) return;
    this.#stopping = true;
    this.#wake.abort();
    this.#batch?.stop();
    this.#cancel();
    const batch = this.#batch;
    setTimeout(() => batch?.abort(new Error('the program stops')), this.stopTimeout).unref();
  }

  /** Asks again and again, because a request that comes before the server has begun to fetch has no effect. */
  #cancel() {
    if (!this.#fetching) return;
    this.session?.cancel();
    setTimeout(() => this.#cancel(), 100);
  }

  async #loop() {
    for (let failures = 0; !this.#stopping; ) {
      try {
        const rows = await this.#fetch();
        if (rows.length > 0 && !this.#stopping) await this.#handle(rows);
        failures = this.#losses = 0;
      } catch (error) {
        if (this.session?.lost) {
          this.session = null;
          if (!error.fetching) this.#losses++;
        }
        if (this.#stopping) return this.#stopped(error);
        if (error.fetching && isFatal(error)) throw error;
        // What was given back or lost can be fetched again at once, unless this keeps happening.
        const patience = error instanceof GivenBack || error.code === 'PM002' ? 3 : 0;
        if (error.code === 'PM002') this.logger.warn(`${this.name}: ${error.message}`);
        if (++failures <= patience) continue;
        // Longer each time, until a batch has been handled: what the handler does outside is done again.
        const pause = Math.min(10000, 50 * 2 ** (failures - patience)) * (0.5 + Math.random() / 2);
        this.logger.warn(`${this.name}: trying again in ${Math.round(pause)} ms:`, error);
        await delay(pause, undefined, { signal: this.#wake.signal }).catch(() => {});
      }
    }
  }

  /** An error after stop(). That of a canceled fetch is expected. */
  #stopped(error) {
    if (error.code === '57014' || error instanceof GivenBack) return;
    this.logger.warn(`${this.name}: while it stopped:`, error);
  }

  async #fetch() {
    let dead;
    try {
      const session = (this.session ??= await Session.open(this.#config));
      if (this.#stopping) return [];
      dead = setTimeout(() => session.close(), this.wait + answerWithin);
      this.#fetching = true;
      const values = [this.name, this.consumer, this.#losses > 0 ? 1 : this.batchSize, `${this.wait} milliseconds`];
      const { rows } = await session.query({ text: this.timeline ? FETCH_TIMELINE : FETCH, values, types: asText });
      return rows.map(row);
    } catch (error) {
      throw Object.assign(error, { fetching: true });
    } finally {
      this.#fetching = false;
      clearTimeout(dead);
    }
  }

  async #handle(rows) {
    const batch = (this.#batch = new Batch(this, rows));
    const { log, position } = rows[0].event;
    const first = JSON.stringify([log, position]);
    const guilty = this.#losses > 1 && first === this.#first;
    this.#first = first;
    const lease = Math.max(rows[0].lease, 1);
    const renewal = setInterval(() => this.#renew(batch, lease), Math.max(lease / 3, 10));
    this.#expect(batch, lease);
    try {
      await batch.run(guilty);
    } finally {
      clearInterval(renewal);
      clearTimeout(this.#deadline);
      this.#batch = null;
    }
  }

  /** If the lease is not renewed by then, because the server is away, another consumer may have the lane. */
  #expect(batch, lease) {
    clearTimeout(this.#deadline);
    this.#deadline = setTimeout(() => {
      batch.abort(new LeaseLost('the lease could not be renewed in time'));
      this.#renewals?.close();
    }, lease);
  }

  /** Renews the lease, on a connection of its own. */
  async #renew(batch, lease) {
    if (this.#renewing) return;
    this.#renewing = true;
    try {
      if (this.#renewals?.lost) this.#renewals = null;
      this.#renewals ??= await Session.open(this.#config);
      const since = performance.now();
      await this.#renewals.query('SELECT pm.extend($1, $2)', [this.name, this.consumer]);
      if (batch === this.#batch) this.#expect(batch, lease - (performance.now() - since));
    } catch (error) {
      if (error.code === 'PM002') batch.abort(new LeaseLost(error.message, { cause: error }));
      else this.logger.warn(`${this.name}: the lease is not renewed:`, error);
    } finally {
      this.#renewing = false;
    }
  }
  #renewing = false;

  /** Gives up its lanes and closes its connections. */
  async #leave() {
    try {
      for (let tries = 0; ; tries++) {
        try {
          if (this.session?.lost) this.session = null;
          this.session ??= await Session.open(this.#config);
          await this.session.query('SELECT pm.release($1, $2)', [this.name, this.consumer]);
          break;
        } catch (error) {
          // The fetch was canceled too late, or the connection was lost.
          if (tries === 1) throw error;
        }
      }
    } catch (error) {
      this.logger.warn(`${this.name}: its lease is not released, and will run out:`, error);
    }
    await Promise.all([this.session?.close(), this.#renewals?.close()]);
    this.session = this.#renewals = null;
  }
}

class Event {
  #columns;

  constructor(columns) {
    const { log, position, stream, version, type, key } = (this.#columns = columns);
    this.kind = log !== null ? 'event' : version === null ? 'timer' : 'sent';
    Object.assign(this, { log, position, stream, version, type });
    this.data = JSON.parse(columns.data);
    this.metadata = JSON.parse(columns.metadata);
    this.recordedAt = new Date(Number(columns.recorded_at));
    this.key = key;
    this.attempt = Number(columns.attempt);
    if (columns.timeline !== undefined) this.timeline = Number(columns.timeline);
  }

  /** The data as JSON text: its numbers are not rounded. */
  get dataText() {
    return this.#columns.data;
  }
}

function row(columns, index) {
  const event = new Event(columns);
  return { event, index, state: columns.state, lane: Number(columns.lane), lease: Number(columns.lease) };
}
