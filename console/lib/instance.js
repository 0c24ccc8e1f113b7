// Requests about one instance: what it is, what it has been through, and what it waits for.
import { createHash } from 'node:crypto';
import { count, text } from './input.js';
import { farOff } from './manager.js';
import { brief, cut, json } from './sql.js';

/** A key as it is stored: a long one is replaced by its hash. */
export function storedKey(key) {
  if (/^sha256:[0-9a-f]{64}$/u.test(key)) return key;
  if (Buffer.byteLength(key) <= 1000 && !key.startsWith('sha256:')) return key;
  return `sha256:${createHash('sha256').update(key).digest('hex')}`;
}

const kept = 50;

/** State, ended lives, what is parked, sent and set, and associations. */
export function instance(database) {
  return async (given) => {
    const name = text(given, 'name');
    const values = [name, storedKey(text(given, 'key'))];
    const found = await database.read(async (query) => {
      const [manager] = await query(
        `SELECT m.name, m.owner, m.handler, m.logs[1:20] AS logs, m.correlate, m.journal, m.keep_ended,
                coalesce((SELECT pg_has_role(r.oid, 'USAGE') FROM pg_roles r WHERE r.rolname = m.owner), false) AS may
         FROM pm.process_manager m WHERE m.name = $1`,
        [name],
      );
      if (!manager) return { manager: null };
      const [live] = await query(
        `SELECT ${json('state', 'state')}, started_at, updated_at FROM pm.instance WHERE process_manager = $1 AND key = $2`,
        values,
      );
      const ended = await query(
        `SELECT started_at, ended_at, ${json('state', 'state')}, ${json('result', 'result')}, ${cut('reason', 'reason', 1000)}, ended_by
         FROM pm.ended WHERE process_manager = $1 AND key = $2 ORDER BY ended_at DESC LIMIT ${kept + 1}`,
        values,
      );
      const parked = await query(
        `SELECT log, position, key, state, attempts, ${cut('message', 'message', 2000)}, sqlstate, retry_at, parked_at,
                left(hint, 2000) AS hint, ${cut('error_hint', 'error_hint', 2000)}, (event).type AS type, ${brief('(event).data', 'data')}
         FROM pm.parked WHERE process_manager = $1 AND key = $2
         ORDER BY array_position('{dead,failing,deferred,behind}'::text[], state), parked_at LIMIT ${kept + 1}`,
        values,
      );
      const timers = await query(
        `SELECT type, due, due < clock_timestamp() AS overdue, due > clock_timestamp() + ${farOff} AS far, ${brief('data', 'data')} FROM pm.timer
         WHERE process_manager = $1 AND key = $2 ORDER BY due LIMIT ${kept + 1}`,
        values,
      );
      const associations = await query(
        `SELECT kind, value FROM pm.association WHERE process_manager = $1 AND key = $2 ORDER BY 1, 2 LIMIT ${kept + 1}`,
        values,
      );
      return { manager, live: live ?? null, ended, parked, timers, associations };
    });
    return { ...found, key: values[1] };
  };
}

/** What was sent to the instance and is not handled yet. Only pm.history shows it. */
export function pending(database) {
  return async (given) => {
    const rows = await database.read((query) =>
      query(
        `SELECT type, handled_at AS sent_at, "by" FROM pm.history($1, $2) WHERE status = 'pending' LIMIT ${kept}`,
        [text(given, 'name'), text(given, 'key')],
      ),
    );
    return { pending: rows };
  };
}

const entriesPerPage = 40;

/** The journal of a key, all its lives, the newest entries first. One entry more tells the state before the last one. */
export function journal(database) {
  return async (given) => {
    const offset = count(given, 'offset', { limit: 100_000 });
    const rows = await database.read((query) =>
      query(
        `SELECT started_at, seq, log, position, type, handled_at, ${json('state', 'state')},
                -- Positions as strings: as numbers they would not survive JSON.parse.
                (SELECT jsonb_agg(jsonb_build_object('log', a.value ->> 'log', 'position', a.value ->> 'position'))::text
                 FROM (SELECT value FROM jsonb_array_elements(appended) LIMIT 100) a) AS appended,
                jsonb_array_length(appended) AS appended_count,
                (SELECT jsonb_agg(jsonb_build_object('type', t.value ->> 'type', 'due', t.value ->> 'due'))::text
                 FROM (SELECT value FROM jsonb_array_elements(timers) LIMIT 100) t) AS timers, "by", ${cut('reason', 'reason', 2000)}
         FROM pm.journal WHERE process_manager = $1 AND key = $2
         ORDER BY handled_at DESC, started_at DESC, seq DESC LIMIT ${entriesPerPage + 1} OFFSET $3`,
        [text(given, 'name'), storedKey(text(given, 'key')), offset],
      ),
    );
    return {
      entries: rows.slice(0, entriesPerPage),
      before: rows[entriesPerPage] ?? null,
      more: rows.length > entriesPerPage,
      pageSize: entriesPerPage,
    };
  };
}
