// How much each process manager has handled so far. All rates are computed from these figures: from pm.stat, where
// the extension has it, else from pm.status.
import { repeated } from './database.js';

const fromStat = repeated(`
  SELECT process_manager AS name, sum(events)::float8 AS events, sum(calls)::float8 AS calls,
         sum(total_time)::float8 AS total_time, max(max_time)::float8 AS max_time, sum(failures)::text AS failures
  FROM pm.stat GROUP BY process_manager`);

/** Counters by process manager: events, and with pm.stat calls, total_time and max_time (ms). */
export async function counters(query, about, statusRows) {
  const found = new Map();
  for (const row of statusRows) {
    const entry = found.get(row.process_manager) ?? { events: 0 };
    entry.events += Number(row.handled);
    found.set(row.process_manager, entry);
  }
  if (about.stat) {
    for (const { name, ...entry } of await query(fromStat)) if (found.has(name) && entry.events !== null) found.set(name, entry);
  }
  return found;
}

/** Events a second between two samples; NaN where that is not known. */
export function rateBetween(before, now, seconds) {
  if (!before || !now || !(seconds > 0) || now.events < before.events) return NaN;
  return (now.events - before.events) / seconds;
}

/** Milliseconds in the handler for each call, between two samples. */
export function timeBetween(before, now) {
  if (!before?.calls || !(now?.calls > before.calls) || now.total_time < before.total_time) return null;
  return (now.total_time - before.total_time) / (now.calls - before.calls);
}
