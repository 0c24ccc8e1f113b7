// Requests about one event: what it says, who has handled it, what has led to it and what it has caused.
import { bigint, text } from './input.js';
import { json } from './sql.js';

const followerQuery = `
  SELECT c.process_manager, count(*)::int AS lanes, count(*) FILTER (WHERE c.position >= $2)::int AS beyond, m.types,
         (SELECT count(*)::int FROM pm.parked p WHERE p.process_manager = c.process_manager AND p.log = $1 AND p.position = $2) AS parked,
         (SELECT min(p.state) FROM pm.parked p WHERE p.process_manager = c.process_manager AND p.log = $1 AND p.position = $2) AS parked_state,
         (SELECT min(p.key) FROM pm.parked p WHERE p.process_manager = c.process_manager AND p.log = $1 AND p.position = $2) AS parked_key
  FROM pm.cursor c JOIN pm.process_manager m ON m.name = c.process_manager
  WHERE c.log = $1 GROUP BY c.process_manager, m.types ORDER BY 1 LIMIT 101`;

export function event(database) {
  return async (given) => {
    const log = text(given, 'log');
    const position = bigint(given, 'position');
    return database.read(async (query) => {
      const [found] = await query(
        `SELECT log, position, stream, version, type, recorded_at, ${json('data', 'data')}, ${json('metadata', 'metadata')}
         FROM pm.read($1, $2::bigint - 1, 1) WHERE position = $2`,
        [log, position],
      );
      const [near] = await query(
        `SELECT pm.high_water_mark($1) AS mark, (SELECT min(position) FROM pm.read($1, $2, 1)) AS next`,
        [log, position],
      );
      const followers = await query(followerQuery, [log, position]);
      const journal = await query(
        `SELECT process_manager, key, seq, handled_at, state IS NULL AS ended FROM pm.journal
         WHERE position = $2 AND log = $1 ORDER BY handled_at LIMIT 101`,
        [log, position],
      );
      return { event: found ?? null, ...near, followers, journal };
    });
  };
}

const traceLimit = 500;

/** What led to an event and what followed. Without an index this reads whole logs, so it may take too long. */
export function trace(database) {
  return async (given) => {
    const rows = await database.read((query) =>
      query(
        `SELECT depth, event_log, position, stream, type, recorded_at, cause_log, cause_position
         FROM pm.trace($1, $2) LIMIT ${traceLimit + 1}`,
        [text(given, 'log'), bigint(given, 'position')],
      ),
    );
    return { events: rows.slice(0, traceLimit), more: rows.length > traceLimit };
  };
}
