// Which processes do the work, and which sessions block them.
import { repeated } from './database.js';

const workerQuery = repeated(`
  SELECT pid, kind, database, role, state, since, process_manager, lane, log, position, overdue, started_at,
         wait_event_type, wait_event
  FROM pm.worker ORDER BY array_position('{dispatcher,scheduler,launcher}'::text[], kind), database, role, pid LIMIT 301`);

const blockers = (condition) => repeated(`
  SELECT b.blocks, b.log, b.process_manager, b.pid, b.gid, b.role, b.since, b.state, left(b.query, 4000) AS query, b.hint,
         b.wait_event_type, b.wait_event, a.application_name, host(a.client_addr) AS client
  FROM pm.blocker b LEFT JOIN pg_stat_activity a ON a.pid = b.pid WHERE ${condition} ORDER BY b.since LIMIT 101`);
const blockerQuery = blockers('true');
/** What holds back the mark of a log, or has locked the log. */
export const logBlockerQuery = blockers('b.log = $1');

const consumerQuery = repeated(`
  SELECT process_manager, lane, consumer, role, since, lease_until, lease_until < clock_timestamp() AS over, fetched, oldest
  FROM pm.consumer ORDER BY process_manager, lane LIMIT 201`);

const settingQuery = repeated(`
  SELECT name, setting, unit FROM pg_settings WHERE name LIKE 'pm.%' OR name IN ('max_worker_processes') ORDER BY name`);

export function workers(database) {
  return async () =>
    database.read(async (query) => ({
      workers: await query(workerQuery),
      blockers: await query(blockerQuery),
      consumers: await query(consumerQuery),
      settings: await query(settingQuery),
    }));
}
