// What all process managers do, as the overview shows it, and its recent past.
//
// However many pages are open, one query at a time looks at pm.status, and only while a page asks. It is made again
// after two seconds, or after fifteen times as long as it has taken, so that on a server with very many process managers
// the console takes a fraction of one session.
import { aboutIn } from './about.js';
import { repeated } from './database.js';
import { counters, rateBetween, timeBetween } from './rates.js';
import { History } from './history.js';

const statusQuery = repeated(`
  SELECT process_manager, log, lane, high_water_mark, lag, state, left(reason, 2000) AS reason, left(hint, 2000) AS hint,
         retry_at, parked, dead, deferred, handled, errors, conflicts, timers_overdue,
         CASE WHEN lag > 0 THEN extract(epoch FROM clock_timestamp() - oldest_unhandled)::float8 END AS behind
  FROM pm.status`);

const managerQuery = repeated(`
  SELECT name, owner, handler, lanes, paused,
         coalesce((SELECT pg_has_role(r.oid, 'USAGE') FROM pg_roles r WHERE r.rolname = owner), false) AS may
  FROM pm.process_manager`);

// The most urgent first. A process manager has the state of its most urgent row.
const urgency = ['halted', 'waiting', 'retrying', 'paused', 'running', 'idle'];

const total = '\0total';

// Of rows in the same state, the one that has the most to say.
const weight = (row) => (row.reason === null ? 0 : 1 + Number(row.parked) + Number(row.dead) * 1e6);

/** One row of a process manager from those of its lanes and logs. */
function summarize(name, rows, registration) {
  const sum = (column) => rows.reduce((n, row) => n + BigInt(row[column] ?? 0), 0n).toString();
  const worst = rows.reduce((a, b) => {
    const order = urgency.indexOf(a.state) - urgency.indexOf(b.state);
    return order < 0 || (order === 0 && weight(a) >= weight(b)) ? a : b;
  });
  const behind = rows.reduce((most, row) => (row.behind === null ? most : Math.max(most ?? 0, row.behind)), null);
  const lag = sum('lag');
  // Each lane and log counts its own parked events.
  const counting = rows.filter((row) => row.parked !== '0' && row.reason !== null && ['idle', 'running'].includes(row.state));
  const counts = counting.length > 1 && counting.includes(worst) && /^\d+ events? (is|are) parked/u.test(worst.reason);
  return {
    name,
    owner: registration?.owner ?? null,
    may: registration?.may ?? false,
    consumers: registration?.handler === null,
    lanes: registration?.lanes ?? 1,
    logs: new Set(rows.map((row) => row.log)).size,
    state: worst.state,
    reason: counts ? `${sum('parked')} events are parked${sum('dead') === '0' ? '' : `, ${sum('dead')} of them dead`}` : worst.reason,
    hint: worst.hint,
    retry_at: worst.retry_at,
    // Positions beyond the cursor may be gaps, or events that nobody can see yet.
    behind: lag === '0' ? 0 : behind,
    lag,
    parked: sum('parked'),
    dead: sum('dead'),
    deferred: sum('deferred'),
    errors: sum('errors'),
    conflicts: sum('conflicts'),
    overdue: sum('timers_overdue'),
  };
}

// What pm.status says of a process manager that has work and does it, or has none.
const ordinary = /^(\d+ (events?|timers?) (is|are) |a retry is due|consumer ")/u;

// What needs attention comes first: process managers that have stopped, then single dead events, then states that may end
// by themselves. Each is a number, the lowest of which counts.
const needs = [
  (manager) => manager.state === 'halted',
  (manager) => manager.state === 'waiting',
  // One step takes a long time: a call, or a lock that it waits for.
  (manager) => manager.state === 'running' && manager.reason !== null && !ordinary.test(manager.reason),
  (manager) => manager.state === 'paused',
  (manager) => manager.dead !== '0',
  (manager) => manager.state === 'retrying',
  (manager) => manager.overdue !== '0',
  (manager) => BigInt(manager.parked) > BigInt(manager.deferred),
  (manager) => manager.state === 'running',
  (manager) => manager.deferred !== '0',
  () => true,
];

// Up to here, nothing is handled before somebody has looked.
const calm = 4;

export const rank = (manager) => needs.findIndex((applies) => applies(manager));

export class Snapshot {
  #database;
  #history = new History();
  #pending = null;
  #last = null;

  constructor(database) {
    this.#database = database;
  }

  /** The snapshot: the last one, if it is recent, or a new one. */
  async get() {
    if (this.#last && Date.now() < this.#last.next) return this.#last;
    // Pages that ask while the query runs get its result.
    this.#pending ??= this.#take().finally(() => (this.#pending = null));
    return this.#pending;
  }

  async #take() {
    const began = Date.now();
    const { here, status, registrations, counted } = await this.#database.read(
      async (query) => {
        const found = await aboutIn(query, this.#database);
        if (found.problem) return { here: found };
        const rows = await query(statusQuery);
        return { here: found, status: rows, registrations: await query(managerQuery), counted: await counters(query, found, rows) };
      },
      { timeout: 20_000 },
    );
    if (here.problem) return (this.#last = { about: here, next: began + 1000, at: began, took: 0, managers: [], marks: new Map() });
    const at = Date.now();
    const took = at - began;
    const registered = new Map(registrations.map((row) => [row.name, row]));
    const byName = new Map();
    const marks = new Map();
    for (const row of status) {
      if (row.high_water_mark !== null) marks.set(row.log, row.high_water_mark);
      const rows = byName.get(row.process_manager);
      if (rows) rows.push(row);
      else byName.set(row.process_manager, [row]);
    }

    const every = Math.min(Math.max(2000, took * 15), 60_000);
    const before = this.#last?.counted && at - this.#last.at < every * 10 ? this.#last : null;
    const seconds = before ? (at - before.at) / 1000 : 0;
    const samples = new Map();
    const sums = [0, 0, 0, 0, 0];
    const managers = [];
    for (const [name, rows] of byName) {
      const manager = summarize(name, rows, registered.get(name));
      const now = counted.get(name);
      const rate = rateBetween(before?.counted.get(name), now, seconds);
      manager.rate = Number.isNaN(rate) ? null : rate;
      manager.call_ms = timeBetween(before?.counted.get(name), now);
      // Since the counters were set to zero.
      manager.mean_ms = now?.calls > 0 ? now.total_time / now.calls : null;
      manager.max_ms = now?.calls > 0 ? now.max_time : null;
      // If no event can be seen beyond the cursor, the time behind is 0, whatever the positions say.
      const sample = [rate, manager.behind ?? 0, Number(manager.lag), Number(manager.parked), Number(manager.dead)];
      samples.set(name, sample);
      // In all: the sums, and the longest time behind.
      sample.forEach((value, n) => {
        if (!Number.isNaN(value)) sums[n] = n === 1 ? Math.max(sums[n], value) : sums[n] + value;
      });
      managers.push(manager);
    }
    if (!before) sums[0] = NaN;
    for (const manager of managers) manager.urgent = rank(manager) < calm;
    managers.sort((a, b) => rank(a) - rank(b) || (a.name < b.name ? -1 : 1));

    // A gap in time is a gap in the charts.
    if (this.#last && !before) this.#history.push(this.#last.at / 1000 + 0.001, new Map([...samples.keys(), total].map((n) => [n, Array(5).fill(NaN)])));
    samples.set(total, sums);
    this.#history.push(at / 1000, samples);
    return (this.#last = { about: here, at, took, every, next: at + every, managers, counted, marks });
  }

  /** The charts of one process manager, or without a name of all of them. */
  history(name = total, since = 0) {
    return this.#history.of(name, since);
  }

  /** The last rates of a process manager, for a line in a table. */
  recentRates(name) {
    return this.#history.tail(name, 'rate', 60);
  }
}
