// What a handler gets with an event.
import { Deferral, PermanentFailure } from './errors.js';

// The escapes that the type jsonb can store: neither NUL nor half a surrogate pair.
const fit = /\\(?:[^u]|ud[89ab]..\\ud[c-f]..|u(?!0000|d[89a-f])....)/gi;

/** JSON as text, where a value is wanted: numbers in it are not rounded as by JSON.parse. */
export class Json {
  constructor(text) {
    JSON.parse(text);
    this.text = text;
  }
}

function json(value, what) {
  const text = value instanceof Json ? value.text : JSON.stringify(value);
  if (text === undefined) throw new TypeError(`${what} must be a JSON value`);
  if (text.includes('\\u') && text.replace(fit, '').includes('\\')) throw new TypeError(`${what} has a character that PostgreSQL's jsonb cannot store`);
  return text;
}

const returned = new Error('the handler has returned already');

export class Context {
  #state; // JSON text
  #parsed;
  #tx;
  #controller = null;
  ops = []; // what to save, in this order, with the advance
  verdict = null; // what defer() or failPermanently() has thrown
  reason = null; // why it is over
  onabort = null;

  constructor(state, tx) {
    this.#state = state;
    this.#tx = tx;
  }

  /** The state of the instance, or null if there is none. It may be changed, and is kept by save(). */
  get state() {
    if (this.#parsed === undefined) this.#parsed = this.#state === null ? null : JSON.parse(this.#state);
    return this.#parsed;
  }

  /** Aborted when the lease is lost, time is up, or the program has to stop. */
  get signal() {
    this.#controller ??= new AbortController();
    if (this.reason) this.#controller.abort(this.reason);
    return this.#controller.signal;
  }

  /** The transaction that advances. */
  get tx() {
    if (!this.#tx) throw new Error("ctx.tx exists only with effects: 'transaction'");
    return this.#tx;
  }

  save(state) {
    this.#open();
    this.#state = json(state, 'the state');
    this.#parsed = undefined;
    this.ops.push({ op: 'save', state: this.#state });
  }

  finish(result) {
    this.#open();
    const op = { op: 'finish', result: result === undefined ? null : json(result, 'the result') };
    // Without an instance, nothing ends.
    if (this.#state !== null || op.result !== null) this.ops.push(op);
    this.#state = null;
    this.#parsed = undefined;
  }

  setTimer(type, due, data = {}) {
    this.#open();
    const at = due instanceof Date ? due.toISOString() : due; // an invalid Date throws
    if (typeof type !== 'string' || typeof at !== 'string') throw new TypeError('setTimer(type, due, data): due must be a Date, or a timestamp as a string');
    this.ops.push({ op: 'timer', type, due: at, data: json(data, 'the data of a timer') });
  }

  cancelTimer(type) {
    this.#open();
    this.ops.push({ op: 'timer', type: String(type), due: null, data: null });
  }

  /** Answers the instance that has appended the event, by pm.reply. */
  reply(type, data = {}) {
    this.#open();
    if (typeof type !== 'string') throw new TypeError('reply(type, data): type must be a string');
    this.ops.push({ op: 'reply', type, data: json(data, 'the data of a reply') });
  }

  /** @param retryIn milliseconds, or an interval as text */
  defer(retryIn) {
    throw (this.verdict ??= new Deferral(retryIn));
  }

  failPermanently(reason, options) {
    throw (this.verdict ??= new PermanentFailure(reason, options));
  }

  /** The state as JSON text, after the handler has returned. */
  get stateText() {
    return this.#state;
  }

  abort(reason) {
    if (this.reason) return;
    this.reason = reason;
    this.#controller?.abort(reason);
    this.onabort?.(reason);
  }

  /** The handler has returned: nothing more is taken from it. */
  close() {
    this.reason ??= returned;
  }

  #open() {
    if (this.reason) throw this.reason;
  }
}

/** The ops of rows as statements. Each key has its ops in order, those of different keys are independent. */
export function statements(rows, name, consumer) {
  const replies = [];
  const keys = new Map(); // key -> its instances, one after the other: what is saved, timers, the end
  for (const { event, ops } of rows) {
    if (!ops?.length) continue;
    const lives = keys.get(event.key) ?? keys.set(event.key, [{ timers: [] }]).get(event.key);
    const timers = [];
    for (const op of ops) {
      const life = lives.at(-1);
      if (op.op === 'save') life.state = op.state;
      else if (op.op === 'reply') replies.push({ text: 'SELECT pm.reply($1, $2, $3, $4)', values: [event.log, event.position, op.type, op.data] });
      else if (op.op === 'timer') timers.push(op);
      else {
        life.end = op;
        life.timers = [];
        timers.length = 0;
        lives.push({ timers: [] });
      }
    }
    // A timer needs its instance, which is saved first.
    lives.at(-1).timers.push(...timers);
  }
  const result = [];
  const add = (text, columns) => columns[0].length > 0 && result.push({ text, values: [name, consumer, ...columns] });
  for (let n = 0; [...keys.values()].some((lives) => lives.length > n); n++) {
    const lives = [...keys].filter(([, l]) => l.length > n).map(([key, l]) => ({ key, ...l[n] }));
    const saved = lives.filter((life) => life.state !== undefined);
    const timers = lives.flatMap((life) => life.timers.map((timer) => ({ key: life.key, ...timer })));
    const ended = lives.filter((life) => life.end);
    add('SELECT pm.save($1, $2, k, s::jsonb) FROM unnest($3::text[], $4::text[]) AS u(k, s)', [
      saved.map((life) => life.key),
      saved.map((life) => life.state),
    ]);
    add(
      `SELECT CASE WHEN due IS NULL THEN pm.cancel_timer(t, $1, $2, k)::text
              ELSE pm.set_timer(t, due::timestamptz, d::jsonb, $1, $2, k)::text END
       FROM unnest($3::text[], $4::text[], $5::text[], $6::text[]) WITH ORDINALITY AS u(k, t, due, d, n) ORDER BY n`,
      [timers.map((t) => t.key), timers.map((t) => t.type), timers.map((t) => t.due), timers.map((t) => t.data)],
    );
    add('SELECT pm.finish($1, $2, k, r::jsonb) FROM unnest($3::text[], $4::text[]) AS u(k, r)', [
      ended.map((life) => life.key),
      ended.map((life) => life.end.result),
    ]);
  }
  return [...result, ...replies];
}
