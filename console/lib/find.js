// The search: where is an order, if its number is known? Exact keys and streams, then associations, then keys that
// begin or end with the text. Each question is a transaction of its own, so that one that takes
// too long does not affect the others.
import { text } from './input.js';
import { storedKey } from './instance.js';

const limit = 50;
const searchedLogs = 200;

// Per process manager, so that the indexes, which begin with it, are used.
const keyQuery = `
  SELECT m.name AS process_manager, x.found, x.at
  FROM pm.process_manager m
  CROSS JOIN LATERAL (
    (SELECT 'parked' AS found, p.parked_at AS at FROM pm.parked p WHERE p.process_manager = m.name AND p.key = $1 ORDER BY p.parked_at LIMIT 1)
    UNION ALL
    (SELECT 'instance', i.updated_at FROM pm.instance i WHERE i.process_manager = m.name AND i.key = $1 LIMIT 1)
    UNION ALL
    (SELECT 'ended', e.ended_at FROM pm.ended e WHERE e.process_manager = m.name AND e.key = $1 ORDER BY e.ended_at DESC LIMIT 1)
  ) x
  ORDER BY 1 LIMIT ${limit * 3}`;

const journalQuery = `
  SELECT process_manager, max(handled_at) AS at FROM (
    SELECT process_manager, handled_at FROM pm.journal WHERE key = $1 LIMIT 1000) j
  GROUP BY 1 ORDER BY 1 LIMIT ${limit}`;

const associationQuery = `SELECT process_manager, key, kind FROM pm.association WHERE value = $1 ORDER BY 1, 2 LIMIT ${limit}`;

// A parked event may be the first one of its key, which then has no instance.
const like = '(starts_with(key, $1) OR right(key, length($1)) = $1) AND key <> $1';
const prefixQuery = `
  SELECT process_manager, key, max(at) AS at
  FROM (SELECT process_manager, key, updated_at AS at FROM pm.instance WHERE ${like}
        UNION ALL
        SELECT process_manager, key, parked_at FROM pm.parked WHERE ${like}) k
  GROUP BY 1, 2 ORDER BY 2, 1 LIMIT 20`;

const streamQuery = `
  SELECT l.name AS log, count(*)::int AS events, max(s.recorded_at) AS at
  FROM (SELECT name FROM pm.log WHERE has_table_privilege("table", 'SELECT') ORDER BY name LIMIT ${searchedLogs}) l
  CROSS JOIN LATERAL pm.read_stream(l.name, $1, 0, 100) s
  GROUP BY l.name ORDER BY l.name LIMIT ${limit}`;

export function find(database, snapshot) {
  return async (given) => {
    const wanted = text(given, 'text', { limit: 10_000 });
    const { about } = await snapshot.get();
    const failed = [];
    const ask = (what, query, value, timeout = 4000) =>
      database.read((run) => run(query, [value]), { timeout }).catch((error) => {
        if (!error.severity) throw error;
        failed.push({ what, message: error.message });
        return [];
      });

    const key = storedKey(wanted);
    const keys = new Map();
    for (const row of await ask('keys', keyQuery, key)) {
      const entry = keys.get(row.process_manager) ?? { process_manager: row.process_manager, key, found: [] };
      entry.found.push({ what: row.found, at: row.at });
      keys.set(row.process_manager, entry);
    }
    for (const row of await ask('journals', journalQuery, key)) {
      const entry = keys.get(row.process_manager) ?? { process_manager: row.process_manager, key, found: [] };
      entry.found.push({ what: 'journal', at: row.at });
      keys.set(row.process_manager, entry);
    }
    return {
      keys: [...keys.values()].slice(0, limit),
      associations: about.association ? await ask('associations', associationQuery, key) : [],
      streams: await ask('streams', streamQuery, wanted),
      prefixes: wanted === '' ? [] : await ask('keys that begin or end with it', prefixQuery, wanted, 2000),
      failed,
      searchedLogs,
    };
  };
}
