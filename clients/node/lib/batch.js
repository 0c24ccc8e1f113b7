// The events and timers that one call of pm.fetch has returned, from one lane.
//
// effects: 'transaction'   All of it is one transaction, with the advance at its end. If it fails, it is rolled back; then what
//                          came before the failing event is handled again, then that event alone, then the rest. A failure
//                          counts only if the event was alone.
// effects: 'outside'       What is handled is advanced as soon as everything before it is, so that a crash repeats little.
import { setTimeout as delay } from 'node:timers/promises';
import { Context, statements } from './context.js';
import { ConnectionLost, Deferral, GivenBack, LeaseLost, PermanentFailure, describe, interval, isConflict, refusal } from './errors.js';

const conflictTries = 20;
const rollbackWithin = 10000;

/** The transaction of a batch, for ctx.tx. It begins with its first query. */
class Transaction {
  #session;
  #logger;
  #begun = false;
  #ended = false;
  error = null; // of the query that has aborted it
  closed = null; // why it takes no more queries

  constructor({ session, logger }) {
    this.#session = session;
    this.#logger = logger;
  }

  query(config, values) {
    if (this.closed) {
      // A handler that waits for none of its queries must not end the process, nor lose one silently.
      if (this.#ended) this.#logger.warn('a query is not executed:', this.closed);
      const refused = Promise.reject(this.closed);
      refused.catch(() => {});
      return refused;
    }
    this.#begin();
    return this.#watch(this.#session.query(config, values));
  }

  #begin() {
    if (this.#begun) return;
    this.#begun = true;
    this.#watch(this.#session.query('BEGIN'));
  }

  // The error is kept, whether or not the handler looks at the promise.
  #watch(promise) {
    promise.catch((error) => (this.error ??= error));
    return promise;
  }

  /** Sends the last statements and COMMIT; returns the error, if any, and whether it is that of an advance. */
  async commit(writes, advances) {
    this.#begin();
    this.#ended = true;
    this.closed = new Error('the transaction has ended: a handler must await its queries');
    const sent = [...writes, ...advances].map((statement) => this.#watch(this.#session.query(statement)));
    const [commit] = await Promise.allSettled([this.#watch(this.#session.query('COMMIT')), ...sent]);
    if (this.error) return { error: this.error, advance: (await firstRejected(sent)) >= writes.length };
    if (commit.value.command !== 'COMMIT') return { error: new Error('the transaction was rolled back by the server') };
    return null;
  }

  /** If this fails, the connection is lost. */
  async rollback(reason) {
    this.closed ??= reason;
    if (!this.#begun) return;
    // A query of a handler whose time is over may still run, or wait for a lock.
    const since = Date.now();
    const cancel = () => (Date.now() - since < rollbackWithin ? this.#session.cancel() : this.#session.close());
    const timer = setInterval(cancel, 500);
    try {
      await this.#session.query('ROLLBACK');
    } finally {
      clearInterval(timer);
    }
  }
}

async function firstRejected(promises) {
  const settled = await Promise.allSettled(promises);
  return settled.findIndex((result) => result.status === 'rejected' && result.reason.code !== '25P02');
}

export class Batch {
  #c; // the consumer: session, settings, handler
  #items = []; // events, each with its rows: one for each of its keys
  #groups = new Map(); // key -> rows
  #failed = new Map(); // key -> index of the row that failed: it is parked, and so is what comes after it
  #states = new Map(); // key -> state as JSON text, what is committed
  #running = new Set(); // contexts
  #ending = null; // why it must end
  #stopping = false;
  #lock = Promise.resolve();

  constructor(consumer, rows) {
    this.#c = consumer;
    this.lane = rows[0].lane;
    for (const row of rows) {
      const last = this.#items.at(-1);
      const { log, position, key } = row.event;
      if (last && log !== null && last.log === log && last.position === position) {
        last.rows.push(row);
        last.several = true;
      } else {
        this.#items.push({ log, position, rows: [row], several: false });
      }
      row.item = this.#items.at(-1);
      if (!this.#states.has(key)) this.#states.set(key, row.state);
      this.#group(row).push(row);
    }
  }

  /** @param guilty whether the batch has one event, and the connection is lost whenever that is handled */
  async run(guilty) {
    const lost = new Error('the connection to the database was lost while it was handled');
    if (guilty) for (const row of this.#items[0].rows) await this.#fail(row, lost);
    else if (this.#c.effects === 'transaction') await this.#inTransaction(this.#items, true);
    else await this.#outside();
    // Passes what was parked at the end.
    if (this.#failed.size > 0) await this.#c.session.query(this.#advance());
  }

  /** The program has to stop: what is running may end, and nothing new begins if possible. */
  stop() {
    this.#stopping = true;
  }

  /** The lease is lost, or there is no more time. */
  abort(reason) {
    this.#ending ??= reason;
    for (const context of this.#running) context.abort(reason);
  }

  // ---- the handler

  async #call(row, states, tx) {
    const { event } = row;
    row.ops = [];
    if (this.#isGone(row)) return;
    const context = new Context(states.get(event.key), tx);
    this.#running.add(context);
    let timer;
    try {
      await Promise.race([
        (async () => this.#c.handler(event, context))(),
        new Promise((_, reject) => {
          context.onabort = reject;
          timer = setTimeout(() => {
            const late = new Error(`the handler has not returned within ${this.#c.handlerTimeout} ms`);
            context.abort(late);
          }, this.#c.handlerTimeout);
        }),
      ]);
    } finally {
      clearTimeout(timer);
      context.close();
      this.#running.delete(context);
    }
    if (context.verdict) throw context.verdict;
    row.ops = context.ops;
    states.set(event.key, context.stateText);
  }

  /** A timer that an event before it in this batch has canceled, replaced, or ended with its instance. */
  #isGone({ event, index }) {
    if (event.kind !== 'timer') return false;
    for (const row of this.#groups.get(event.key)) {
      if (row.index >= index) return false;
      if (row.ops?.some((op) => op.op === 'finish' || (op.op === 'timer' && op.type === event.type))) return true;
    }
    return false;
  }

  /** Calls the handler for rows: those of one key in order, different keys at the same time. */
  async #callAll(items, each) {
    const groups = new Map();
    for (const { rows } of items)
      for (const row of rows) (groups.get(row.event.key) ?? groups.set(row.event.key, []).get(row.event.key)).push(row);
    const queue = groups.values();
    const worker = async () => {
      for (const rows of queue) for (const row of rows) if (!(await each(row))) break;
    };
    await Promise.all(Array.from({ length: Math.min(this.#c.concurrency, groups.size) }, worker));
  }

  // ---- effects in the transaction

  async #inTransaction(items, whole = false) {
    for (let tries = 1; ; tries++) {
      items = items.filter((item) => this.#without(item).rows.length > 0);
      if (items.length === 0) return;
      const failure = await this.#attempt(items, whole && this.#failed.size === 0);
      if (!failure) return;
      const at = items.indexOf(failure.row?.item);
      if (items.length > 1) {
        const middle = at < 0 ? items.length >> 1 : at;
        await this.#inTransaction(items.slice(0, middle));
        if (at >= 0) await this.#inTransaction([items[at]]);
        return this.#inTransaction(items.slice(at < 0 ? middle : at + 1));
      }
      if (isConflict(failure.error) && tries < conflictTries) await delay(Math.random() * 10 * tries);
      else {
        await this.#fail(failure.row ?? items[0].rows[0], failure.error);
        if (this.#c.halts) throw new GivenBack('what was fetched after a failed event is given back');
      }
    }
  }

  /** Handles events in one transaction; returns the failure, if any. */
  async #attempt(items, whole) {
    const tx = new Transaction(this.#c);
    const states = new Map(this.#states);
    let failure = null;

    await this.#callAll(items, async (row) => {
      if (failure || this.#ending) return false;
      try {
        await this.#call(row, states, tx);
      } catch (error) {
        failure ??= { row, error };
        tx.closed ??= new Error('the transaction is rolled back, because a handler has failed');
      }
      return !failure;
    });
    let last = null;
    if (!failure && !this.#ending && !tx.error) {
      const advances = whole ? [this.#advance()] : this.#advances(items);
      last = await tx.commit(this.#writes(items), advances);
      if (!last) {
        this.#states = states;
        return null;
      }
    }
    await tx.rollback(new Error('the transaction is rolled back'));
    if (this.#ending) throw this.#ending;
    // If no handler has failed, then a query has failed for which no handler waits, or whose error a handler has caught.
    const what = failure ?? last ?? { error: tx.error };
    this.#raise(what);
    return what;
  }

  /** Raises what is not the fault of an event. */
  #raise({ error, advance }) {
    if (this.#c.session.lost) throw this.#c.session.lost;
    if (error?.code === 'PM002') throw new LeaseLost(error.message, { cause: error });
    if (advance && error.code === '22003') this.#givenBack(error);
    if (error instanceof ConnectionLost) throw error;
    if (advance && !isConflict(error)) throw error;
  }

  /** on_failure is 'halt'; from now on this consumer knows. */
  #givenBack(error) {
    this.#c.halts = true;
    throw new GivenBack(error.message, { cause: error });
  }

  // ---- effects outside

  async #outside() {
    let from = 0; // items before it are advanced
    let broken = null;
    const settled = ({ rows }) => rows.every((row) => row.done || this.#isParked(row));
    const advance = () =>
      this.#alone(async () => {
        let to = from;
        while (to < this.#items.length && settled(this.#items[to])) to++;
        if (to === from || broken) return;
        const items = this.#items.slice(from, to);
        from = to;
        await this.#write(items);
      }).catch((error) => {
        broken ??= error;
        this.abort(error);
      });

    const advances = new Set();
    await this.#callAll(this.#items, async (row) => {
      if (broken || this.#ending || this.#stopping || this.#isParked(row)) return false;
      try {
        await this.#call(row, this.#states, null);
        row.done = true;
      } catch (error) {
        if (broken || this.#ending) return false;
        try {
          await this.#alone(() => this.#fail(row, error));
        } catch (wrong) {
          broken ??= wrong;
          this.abort(wrong);
          return false;
        }
      }
      const promise = advance().finally(() => advances.delete(promise));
      advances.add(promise);
      return row.done === true;
    });
    await Promise.all(advances);
    if (broken) throw broken;
    if (this.#ending) throw this.#ending;
    if (from < this.#items.length) throw new GivenBack('the program stops');
  }

  /** Saves and advances what was handled outside. If that cannot be written, one event at a time. */
  async #write(items) {
    for (let tries = 1; ; tries++) {
      items = items.filter((item) => this.#without(item).rows.length > 0);
      if (items.length === 0) return;
      const tx = new Transaction(this.#c);
      const failure = await tx.commit(this.#writes(items), this.#advances(items));
      if (!failure) return;
      await tx.rollback(failure.error);
      try {
        this.#raise(failure);
      } catch (error) {
        // What comes after a failed event was given back. What comes before it was not.
        const cut = this.#items.findIndex((item) => item.failed);
        const before = items.filter((item) => this.#items.indexOf(item) < cut);
        if (error instanceof GivenBack && before.length > 0 && before.length < items.length) await this.#write(before);
        throw error;
      }
      if (isConflict(failure.error) && tries < conflictTries) {
        await delay(Math.random() * 10 * tries);
      } else if (items.length > 1) {
        for (const item of items) await this.#write([item]);
        return;
      } else {
        await this.#fail(items[0].rows.find((row) => row.ops?.length) ?? items[0].rows[0], refusal(failure.error));
      }
    }
  }

  /** One at a time: what this batch does in the database besides calling handlers. */
  #alone(work) {
    const result = this.#lock.then(work);
    this.#lock = result.catch(() => {});
    return result;
  }

  // ---- statements

  #writes(items) {
    return statements(
      items.flatMap((item) => item.rows),
      this.#c.name,
      this.#c.consumer,
    );
  }

  #advance(log = null, upTo = null) {
    return { text: 'SELECT pm.advance($1, $2, $3, $4, $5)', values: [this.#c.name, this.#c.consumer, this.lane, log, upTo] };
  }

  /** Up to the last of these events in each log, and the last timer. */
  #advances(items) {
    const last = new Map();
    for (const { log, position } of items) {
      last.delete(log);
      last.set(log, position);
    }
    return [...last].map(([log, position]) => this.#advance(log, position));
  }

  /** Parks an event, in a transaction of its own: what it has written is rolled back already. */
  async #fail(row, error, again = false) {
    const { event, item } = row;
    const deferred = error instanceof Deferral;
    const permanent = error instanceof PermanentFailure;
    const what = `${this.#c.name}: ${event.log === null ? `timer ${event.type}` : `${event.log}/${event.position}`} of ${event.key}`;

    if (this.#c.session.lost) throw this.#c.session.lost;
    if (!deferred) this.#c.logger.warn(`${what} has failed${permanent ? ' permanently' : ''}:`, error);
    try {
      await this.#c.session.query('SELECT pm.fail($1, $2, $3, $4, $5, $6::interval, $7, $8)', [
        this.#c.name,
        this.#c.consumer,
        event.log,
        event.position,
        deferred ? null : describe(error),
        permanent ? null : interval(error?.retryIn),
        permanent,
        item.several ? event.key : null,
      ]);
    } catch (refused) {
      if (refused.code === 'PM002') throw new LeaseLost(refused.message, { cause: refused });
      if (refused.code === '22003') this.#givenBack(refused);
      // The cancellation of what the handler has waited for came too late.
      if (refused.code === '57014' && !again) return this.#fail(row, error, true);
      // The server does not accept the time.
      if (/^22/.test(refused.code) && interval(error?.retryIn) !== null) {
        return this.#fail(row, new Error(`${describe(error)}; retryIn is refused: ${describe(refused)}`, { cause: error }));
      }
      throw refused;
    }
    item.failed = true;
    this.#failed.set(event.key, row.index);
  }

  #isParked(row) {
    return row.index >= (this.#failed.get(row.event.key) ?? Infinity);
  }

  /** An event without the keys that are parked. */
  #without(item) {
    if (this.#failed.size > 0) item.rows = item.rows.filter((row) => !this.#isParked(row));
    return item;
  }

  #group({ event: { key } }) {
    return this.#groups.get(key) ?? this.#groups.set(key, []).get(key);
  }
}
