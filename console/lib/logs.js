// Requests about logs and streams. Events are read with pm.read and pm.read_stream, which run nothing that the owner of
// the table has attached to it.
import { bigint, count, text } from './input.js';
import { brief, json } from './sql.js';
import { logBlockerQuery } from './workers.js';

const pageSize = 50;

// As the planner estimates it: nothing is counted. What has not been analyzed yet is not known.
const estimate = `
  CASE WHEN c.relkind = 'p'
       THEN (SELECT sum(k.reltuples) FILTER (WHERE k.reltuples >= 0)::float8 FROM pg_partition_tree(c.oid) t JOIN pg_class k ON k.oid = t.relid WHERE t.isleaf)
       WHEN c.reltuples >= 0 THEN c.reltuples::float8 END AS events`;

// The partitions of a table, the last ones first.
const partitionQuery = `
  SELECT k.oid::regclass::text AS name, pg_get_expr(k.relpartbound, k.oid) AS bounds,
         CASE WHEN k.reltuples >= 0 THEN k.reltuples::float8 END AS events, pg_relation_size(k.oid)::text AS size
  FROM pg_partition_tree($1::oid) t JOIN pg_class k ON k.oid = t.relid
  WHERE t.isleaf AND t.level > 0 ORDER BY k.oid DESC LIMIT 51`;

// The subscriptions that fill a table; which server they come from is not for everybody.
const subscriptionQuery = `
  SELECT s.subname::text AS name, s.subenabled AS enabled, r.srsubstate::text AS state
  FROM pg_subscription_rel r JOIN pg_subscription s ON s.oid = r.srsubid WHERE r.srrelid = $1 ORDER BY 1 LIMIT 20`;

/** A page of logs, by name. */
export function logs(database, snapshot) {
  return async (given) => {
    const wanted = text(given, 'text', { optional: true, limit: 200 }) ?? '';
    const offset = count(given, 'offset', { limit: 1_000_000 });
    const { marks } = await snapshot.get();
    const rows = await database.read((query) =>
      query(
        `SELECT l.name, l.kind, l."table"::text AS table, ${estimate},
                pg_get_userbyid(c.relowner)::text AS owner, has_table_privilege(c.oid, 'SELECT') AS readable, f.followers, l.created_at,
                count(*) OVER () AS found
         FROM pm.log l
         LEFT JOIN pg_class c ON c.oid = l."table"
         LEFT JOIN (SELECT log, count(DISTINCT process_manager)::int AS followers FROM pm.cursor GROUP BY log) f ON f.log = l.name
         WHERE $1 = '' OR strpos(lower(l.name), lower($1)) > 0
         ORDER BY l.name LIMIT ${pageSize} OFFSET $2`,
        [wanted, offset],
      ),
    );
    return { logs: rows.map((row) => ({ ...row, mark: marks.get(row.name) ?? null })), found: Number(rows[0]?.found ?? 0), pageSize };
  };
}

/** One log: its mark and its followers. */
export function log(database) {
  return async (given) => {
    const name = text(given, 'name');
    return database.read(async (query) => {
      const [found] = await query(
        `SELECT l.name, l.kind, l."table"::oid AS oid, l."table"::text AS table, l.created_at, pg_get_userbyid(c.relowner)::text AS owner,
                c.relkind = 'p' AS has_partitions, ${estimate},
                l.pos, l.stream, l.version, l.type, l.data, l.metadata, l.recorded_at, l.filter
         FROM pm.log l LEFT JOIN pg_class c ON c.oid = l."table" WHERE l.name = $1`,
        [name],
      );
      if (!found) return { log: null };
      const [mark] = await query('SELECT pm.high_water_mark($1) AS mark', [name]);
      const followers = await query(
        `SELECT process_manager, min(position) AS position, max(moved_at) AS moved_at FROM pm.cursor
         WHERE log = $1 GROUP BY 1 ORDER BY 1 LIMIT 101`,
        [name],
      );
      const blockers = await query(logBlockerQuery, [name]);
      const partitions = found.has_partitions ? await query(partitionQuery, [found.oid]) : [];
      const subscriptions = found.kind === 'replica' ? await query(subscriptionQuery, [found.oid]) : [];
      return { log: { ...found, ...mark }, followers, blockers, partitions, subscriptions };
    });
  };
}

// A tail is looked for in windows below a position, because positions have gaps. pm.read is not told of the type: it
// would look for so many events of that type, up to the end of the log. Larger windows follow empty ones.
const tailSize = 30;
const firstWindow = 30n;
const largestWindow = 5000n;
const windows = 8;

/** The events below a position, or the last ones of the log; newest first. */
export function tail(database) {
  return async (given) => {
    const name = text(given, 'name');
    const type = text(given, 'type', { optional: true, limit: 1000 });
    const before = bigint(given, 'before', { optional: true });
    return database.read(async (query) => {
      const [{ mark }] = await query('SELECT pm.high_water_mark($1) AS mark', [name]);
      let top = before === null ? BigInt(mark) + 1n : BigInt(before);
      let window = firstWindow;
      const events = [];
      for (let n = 0; n < windows && top > 1n && events.length < tailSize; n++) {
        const low = top - 1n > window ? top - 1n - window : 0n;
        const rows = await query(
          `SELECT position, stream, version, type, recorded_at, ${brief('data', 'data')}
           FROM pm.read($1, $2, $3::int)
           WHERE position < $5 AND ($4::text IS NULL OR type = $4) ORDER BY position DESC LIMIT $6`,
          [name, low.toString(), window.toString(), type, top.toString(), tailSize - events.length],
        );
        events.push(...rows);
        // A full page may have left some of the window out.
        top = events.length >= tailSize ? BigInt(events.at(-1).position) : low + 1n;
        window = window * 8n > largestWindow ? largestWindow : window * 8n;
      }
      return { mark, events, older: top > 1n ? top.toString() : null };
    });
  };
}

// The streams of the newest events, as a way in. To find all streams would mean reading all events.
const recent = 1000;

export function streams(database) {
  return async (given) => {
    const name = text(given, 'name');
    const rows = await database.read(async (query) => {
      const [{ mark }] = await query('SELECT pm.high_water_mark($1) AS mark', [name]);
      const after = BigInt(mark) > BigInt(recent) ? BigInt(mark) - BigInt(recent) : 0n;
      return query(
        `SELECT stream, count(*)::int AS events, max(position) AS position, max(recorded_at) AS recorded_at
         FROM pm.read($1, $2, ${recent}) GROUP BY stream ORDER BY max(position) DESC LIMIT 20`,
        [name, after.toString()],
      );
    });
    return { streams: rows, recent };
  };
}

/** The events of a stream, from one version on. Those without a version come last, and only on a first page. */
export function stream(database) {
  return async (given) => {
    const limit = count(given, 'limit', { limit: 2000, otherwise: 100 });
    const after = bigint(given, 'after', { optional: true }) ?? '0';
    const rows = await database.read((query) =>
      query(
        `SELECT position, version, type, recorded_at, ${json('data', 'data')}
         FROM pm.read_stream($1, $2, $3, $4::int)`,
        [text(given, 'name'), text(given, 'stream'), after, String(limit + 1)],
      ),
    );
    return { events: rows.slice(0, limit), more: rows.length > limit, limit };
  };
}
