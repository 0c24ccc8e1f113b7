// Where the console is: server, database, role, and what this version of the extension offers.
import { repeated } from './database.js';

const aboutQuery = repeated(`
  SELECT current_database() AS database, session_user::text AS role, current_setting('server_version') AS server,
         pg_is_in_recovery() AS recovery, e.extversion AS version, s.usage,
         CASE WHEN s.usage THEN to_regclass('pm.stat') IS NOT NULL ELSE false END AS stat,
         CASE WHEN s.usage THEN to_regclass('pm.association') IS NOT NULL ELSE false END AS association,
         CASE WHEN s.usage THEN to_regprocedure('pm.diagram()') IS NOT NULL ELSE false END AS diagram,
         CASE WHEN s.usage THEN to_regprocedure('pm.history(text, text)') IS NOT NULL ELSE false END AS history,
         pg_has_role('pg_monitor', 'USAGE') AS monitor
  FROM (SELECT) one
  LEFT JOIN pg_extension e ON e.extname = 'pm'
  CROSS JOIN LATERAL (SELECT coalesce((SELECT has_schema_privilege(n.oid, 'USAGE') FROM pg_namespace n WHERE n.nspname = 'pm'), false)
                             AS usage) s`);

const quoted = (name) => (/^[a-z_][a-z0-9_]*$/u.test(name) ? name : `"${name.replaceAll('"', '""')}"`);

function problem(row) {
  if (row.version === null) {
    return { message: `database "${row.database}" does not have the extension pm`, hint: 'Run CREATE EXTENSION pm, or name another database.' };
  }
  if (!row.usage) {
    return { message: `role "${row.role}" may not use the schema pm`, hint: `Run GRANT USAGE ON SCHEMA pm TO ${quoted(row.role)}.` };
  }
  if (!row.history) {
    return { message: `the extension pm in this database has version ${row.version}, and the console needs 0.2.0`, hint: 'Run ALTER EXTENSION pm UPDATE.' };
  }
  return null;
}

/** What the console knows about the database, in a transaction that has begun. */
export async function aboutIn(query, database) {
  const [row] = await query(aboutQuery);
  return { ...row, write: database.write, problem: problem(row) };
}

export const about = (database) => database.read((query) => aboutIn(query, database));
