// Requests about one process manager.
import { repeated } from './database.js';
import { BadRequest, bigint, count, text } from './input.js';
import { brief, cut, json, messageGroup } from './sql.js';

const pageSize = 25;
const instancesPerPage = 10;

const registrationQuery = repeated(`
  SELECT m.name, m.owner, m.handler, m.logs[1:200] AS logs, cardinality(m.logs) AS log_count, m.correlate, m.types,
         m.on_failure, m.max_attempts, m.backoff, m.handler_timeout, m.batch_size, m.lanes, m.park_limit, m.paused,
         m.registered_at, m.keep_ended, m.journal, m.lease, m.consumers::text[] AS consumers, m.carry,
         coalesce((SELECT pg_has_role(r.oid, 'USAGE') FROM pg_roles r WHERE r.rolname = m.owner), false) AS may
  FROM pm.process_manager m WHERE m.name = $1`);

const laneQuery = repeated(`
  SELECT log, lane, position, high_water_mark, lag, state, left(reason, 2000) AS reason, left(hint, 2000) AS hint,
         attempts, retry_at, parked, dead, deferred, handled, errors, conflicts, rate, eta,
         CASE WHEN lag > 0 THEN extract(epoch FROM clock_timestamp() - oldest_unhandled)::float8 END AS behind,
         timers_overdue, oldest_overdue
  FROM pm.status WHERE process_manager = $1
  ORDER BY array_position('{halted,waiting,retrying,paused,running,idle}'::text[], state), lag DESC NULLS LAST, log, lane
  LIMIT 201`);

const consumerQuery = repeated(`
  SELECT lane, consumer, role, since, lease_until, lease_until < clock_timestamp() AS over, fetched, oldest
  FROM pm.consumer WHERE process_manager = $1 ORDER BY lane LIMIT 200`);

const statQuery = repeated(`
  SELECT sum(calls)::text AS calls, sum(batches)::text AS batches,
         sum(total_time)::float8 AS total_time, max(max_time)::float8 AS max_time, min(reset_at) AS reset_at
  FROM pm.stat WHERE process_manager = $1`);

/** Settings, lanes and the charts of a process manager. */
export function manager(database, snapshot) {
  return async (given) => {
    const name = text(given, 'name');
    // The charts are those of the overview, which continues meanwhile.
    const now = await snapshot.get();
    const found = await database.read(async (query) => {
      const [registration] = await query(registrationQuery, [name]);
      if (!registration) return null;
      const lanes = await query(laneQuery, [name]);
      const consumers = registration.handler === null ? await query(consumerQuery, [name]) : [];
      const [stat] = now.about.stat ? await query(statQuery, [name]) : [];
      return { registration, lanes: lanes.slice(0, 200), moreLanes: lanes.length > 200, consumers, stat };
    });
    if (!found) throw Object.assign(new BadRequest('there is no such process manager, or this role may not see it'), { status: 404 });
    const summary = now.managers.find((row) => row.name === name) ?? null;
    return { ...found, summary, about: now.about, every: now.every, at: now.at, history: snapshot.history(name) };
  };
}

// At most this many parked events are counted.
const groupedLimit = 50_000;

/** The parked events by what their message says. */
export function parkedGroups(database) {
  return async (given) => {
    const name = text(given, 'name');
    const rows = await database.read((query) =>
      query(
        `SELECT state, sqlstate, ${messageGroup} AS message_group, count(*)::int AS events, count(DISTINCT key)::int AS keys,
                ${cut('min(message)', 'message', 1000)}, min(parked_at) AS first, max(parked_at) AS last,
                min(retry_at) AS retry_at, left(min(hint), 2000) AS hint, (sum(count(*)) OVER ())::int AS counted
         FROM (SELECT state, sqlstate, message, key, parked_at, retry_at, CASE WHEN state <> 'behind' THEN hint END AS hint
               FROM pm.parked WHERE process_manager = $1 LIMIT ${groupedLimit}) p
         GROUP BY 1, 2, 3 ORDER BY array_position('{dead,failing,deferred,behind}'::text[], state), events DESC, 3 LIMIT 101`,
        [name],
      ),
    );
    const counted = rows[0]?.counted ?? 0;
    return { groups: rows.slice(0, 100), more: rows.length > 100, counted, limited: counted >= groupedLimit };
  };
}

/** Events that are parked, a page of them: all, those in a state, those of a group, those of a key. */
export function parkedEvents(database) {
  return async (given) => {
    const name = text(given, 'name');
    const state = text(given, 'state', { optional: true, limit: 20 });
    const group = text(given, 'group', { optional: true, limit: 2000 });
    const key = text(given, 'key', { optional: true });
    const offset = count(given, 'offset', { limit: 100_000 });
    const rows = await database.read((query) =>
      query(
        `SELECT log, position, key, state, attempts, ${cut('message', 'message', 500)}, sqlstate, retry_at, parked_at
         FROM pm.parked
         WHERE process_manager = $1 AND ($2::text IS NULL OR state = $2) AND ($3::text IS NULL OR ${messageGroup} = $3)
           AND ($4::text IS NULL OR key = $4)
         ORDER BY parked_at, log, position, key LIMIT ${pageSize + 1} OFFSET $5`,
        [name, state, group, key, offset],
      ),
    );
    return { events: rows.slice(0, pageSize), more: rows.length > pageSize, pageSize };
  };
}

/** One parked event or timer, with all that is known of its failure. */
export function parkedEvent(database) {
  return async (given) => {
    const values = [text(given, 'name'), text(given, 'log', { optional: true }), bigint(given, 'position'), text(given, 'key', { optional: true })];
    const [row] = await database.read((query) =>
      query(
        `SELECT log, position, key, state, attempts, ${cut('message', 'message')}, ${cut('detail', 'detail')}, ${cut('context', 'context')},
                sqlstate, retry_at, parked_at, left(hint, 4000) AS hint, ${cut('error_hint', 'error_hint', 4000)}, (event).stream AS stream, (event).version AS version,
                (event).type AS type, (event).recorded_at AS recorded_at, ${json('(event).data', 'data')}, ${json('(event).metadata', 'metadata')}
         FROM pm.parked
         WHERE process_manager = $1 AND log IS NOT DISTINCT FROM $2 AND position = $3 AND ($4::text IS NULL OR key = $4) LIMIT 1`,
        values,
      ),
    );
    return { event: row ?? null };
  };
}

/** A page of instances, by key. */
export function instances(database) {
  return async (given) => {
    const name = text(given, 'name');
    const after = text(given, 'after', { optional: true });
    const prefix = text(given, 'prefix', { optional: true, limit: 1000 }) ?? '';
    const rows = await database.read((query) =>
      query(
        `SELECT key, ${brief('state', 'state')}, started_at, updated_at FROM pm.instance
         WHERE process_manager = $1 AND ($2::text IS NULL OR key > $2) AND ($3 = '' OR starts_with(key, $3))
         ORDER BY key LIMIT ${instancesPerPage + 1}`,
        [name, after, prefix],
      ),
    );
    return { instances: rows.slice(0, instancesPerPage), more: rows.length > instancesPerPage, pageSize: instancesPerPage };
  };
}

// Timers that are due later than this are shown apart: it is more likely a mistake than a plan.
export const farOff = "interval '1 year'";
const farLimit = 1000;

/** The timers that are due next, and those that are due in the farthest future. */
export function timers(database) {
  const columns = `key, type, due, due < clock_timestamp() AS overdue, due > clock_timestamp() + ${farOff} AS far, ${brief('data', 'data')}`;
  return async (given) => {
    const values = [text(given, 'name')];
    return database.read(async (query) => {
      const next = await query(`SELECT ${columns} FROM pm.timer WHERE process_manager = $1 ORDER BY due LIMIT 10`, values);
      const [{ far }] = await query(
        `SELECT count(*)::int AS far FROM (
           SELECT FROM pm.timer WHERE process_manager = $1 AND due > clock_timestamp() + ${farOff} LIMIT ${farLimit + 1}) f`,
        values,
      );
      const furthest = far > 0 ? await query(`SELECT ${columns} FROM pm.timer WHERE process_manager = $1 ORDER BY due DESC LIMIT 5`, values) : [];
      return { timers: next, far: Math.min(far, farLimit), moreFar: far > farLimit, furthest: furthest.filter((timer) => timer.far) };
    });
  };
}

const sourceLimit = 60_000;

// Found by the type of their first argument, which few functions have. Every role may read the catalog, and so these.
const sourceQuery = `
  SELECT p.oid::regprocedure::text AS signature, l.lanname::text AS language, pg_get_userbyid(p.proowner)::text AS owner,
         ${cut('pg_get_functiondef(p.oid)', 'source', sourceLimit)}
  FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
  WHERE p.prokind = 'f' AND p.pronargs BETWEEN 1 AND 2
    AND p.proargtypes[0] IN (SELECT t.oid FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
                             WHERE n.nspname = 'pm' AND t.typname IN ('event', '_event'))
    AND replace(p.oid::regprocedure::text, 'pg_catalog.', '') = ANY ($1)`;

/** The functions of a process manager, as they are now. */
export function source(database) {
  return async (given) => {
    const name = text(given, 'name');
    return database.read(async (query) => {
      const [registration] = await query('SELECT handler, correlate FROM pm.process_manager WHERE name = $1', [name]);
      if (!registration) throw Object.assign(new BadRequest('there is no such process manager, or this role may not see it'), { status: 404 });
      const plain = (signature) => signature?.replaceAll('pg_catalog.', '');
      const wanted = [plain(registration.handler), plain(registration.correlate)];
      const rows = await query(sourceQuery, [wanted.filter(Boolean)]);
      const found = (signature) => rows.find((row) => plain(row.signature) === signature) ?? { signature, source: null };
      return { handler: wanted[0] ? found(wanted[0]) : null, correlate: wanted[1] ? found(wanted[1]) : null };
    });
  };
}
