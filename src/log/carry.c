/*
 * carry.c
 *		What belongs to the table of a log, so that another table can take its place.
 *
 * pm.partition_log turns the table into a partition of a new table, which gets its name.
 * PostgreSQL's own functions say how each index, constraint, trigger and policy was made.  The
 * same command, run once the new table has the name, makes it for the new table.
 *
 * An index and a constraint of a partition belong to those of the partitioned table if they have
 * the same definition.  So they stay, under other names, and nothing is built.  PostgreSQL would
 * cut a name that is too long, and then two of them could be the same.  A row trigger of the new
 * table is made for all partitions, so the one of the old table is dropped.  Policies stay: they
 * continue to apply to a query that names the partition.
 */
#include "pm.h"

#include "access/xact.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "nodes/value.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "base/exec.h"
#include "log/carry.h"
#include "log/guard_ddl.h"

/*
 * $1 is the table, $2 the name that it gets, $3 its sequence, $4 and $5 the columns of stream and
 * version, $6 that of positions.
 *
 * The unique index on (stream, version) is dropped: in a partitioned log, pm.append
 * keeps versions unique, and a trigger refuses changes of the versions in old rows
 * (guard_row.c).
 */
#define CARRY_TYPES                                                                                \
	{                                                                                              \
		OIDOID, TEXTOID, OIDOID, INT2OID, INT2OID, INT2OID                                         \
	}

#define CARRY_TABLE                                                                                \
	"t AS (SELECT c.oid, c.relname::pg_catalog.text AS relname, "                                  \
	"pg_catalog.format('%I.%I', n.nspname, c.relname) AS name, n.nspname, c.reltablespace, "       \
	"c.relrowsecurity, c.relforcerowsecurity, c.relreplident "                                     \
	"FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "         \
	"WHERE c.oid = $1)"

#define CARRY_INDEXES                                                                              \
	"i AS (SELECT x.indexrelid, c.relname, k.oid AS con, k.conname, t.nspname, t.name, "           \
	"c.reltablespace, x.indisreplident, "                                                          \
	"CASE WHEN pg_catalog.starts_with(c.relname::pg_catalog.text, t.relname) "                     \
	"THEN $2 || pg_catalog.substr(c.relname::pg_catalog.text, "                                    \
	"pg_catalog.length(t.relname) + 1) ELSE $2 || '_' || c.relname END AS new, "                   \
	"x.indisunique AND x.indnkeyatts = 2 AND x.indkey[0] = $4 AND x.indkey[1] = $5 AS versions "   \
	"FROM t JOIN pg_catalog.pg_index x ON x.indrelid = t.oid "                                     \
	"JOIN pg_catalog.pg_class c ON c.oid = x.indexrelid "                                          \
	"LEFT JOIN pg_catalog.pg_constraint k ON k.conindid = x.indexrelid AND k.conrelid = t.oid "    \
	"AND k.contype IN ('p', 'u'))"

#define CARRY_TRIGGERS                                                                             \
	"g AS (SELECT g.oid, g.tgname, g.tgenabled, t.name FROM t "                                    \
	"JOIN pg_catalog.pg_trigger g ON g.tgrelid = t.oid AND NOT g.tgisinternal "                    \
	"JOIN pg_catalog.pg_proc p ON p.oid = g.tgfoid "                                               \
	"JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace AND n.nspname <> 'pm_catalog')"

/* What is said or set about the parts of the table, once they are there. */
#define CARRY_DETAILS                                                                              \
	"SELECT 11, pg_catalog.format('COMMENT ON INDEX %I.%I IS %L', nspname, relname, "              \
	"pg_catalog.obj_description(indexrelid, 'pg_class')) FROM i WHERE NOT versions "               \
	"UNION ALL "                                                                                   \
	"SELECT 11, pg_catalog.format('COMMENT ON CONSTRAINT %I ON %s IS %L', k.conname, t.name, "     \
	"d.description) "                                                                              \
	"FROM t JOIN pg_catalog.pg_constraint k ON k.conrelid = t.oid AND k.contype IN ('c', 'p', "    \
	"'u') AND k.conname NOT IN ('" GUARD_CHECK "', '" CARRY_UP_TO "') "                            \
	"JOIN pg_catalog.pg_description d ON d.objoid = k.oid "                                        \
	"AND d.classoid = 'pg_catalog.pg_constraint'::pg_catalog.regclass "                            \
	"WHERE k.conindid NOT IN (SELECT indexrelid FROM i WHERE versions) "                           \
	"UNION ALL "                                                                                   \
	"SELECT 11, pg_catalog.format('COMMENT ON POLICY %I ON %s IS %L', p.polname, t.name, "         \
	"pg_catalog.obj_description(p.oid, 'pg_policy')) "                                             \
	"FROM t JOIN pg_catalog.pg_policy p ON p.polrelid = t.oid "                                    \
	"UNION ALL "                                                                                   \
	"SELECT 11, pg_catalog.format('ALTER TABLE %s ALTER COLUMN %I SET STATISTICS %s', t.name, "    \
	"a.attname, a.attstattarget) FROM t JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid "     \
	"AND a.attnum > 0 AND NOT a.attisdropped AND a.attstattarget >= 0 "                            \
	"UNION ALL "                                                                                   \
	"SELECT 11, pg_catalog.format('ALTER TABLE %s ALTER COLUMN %I SET (%I = %s)', t.name, "        \
	"a.attname, o.option_name, o.option_value) "                                                   \
	"FROM t JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid AND NOT a.attisdropped "          \
	"CROSS JOIN pg_catalog.pg_options_to_table(a.attoptions) o "                                   \
	"WHERE o.option_name IN ('n_distinct', 'n_distinct_inherited') "                               \
	"UNION ALL "                                                                                   \
	"SELECT 11, pg_catalog.format('ALTER INDEX %I.%I SET TABLESPACE %I', nspname, relname, "       \
	"(SELECT spcname FROM pg_catalog.pg_tablespace s WHERE s.oid = reltablespace)) "               \
	"FROM i WHERE reltablespace <> 0 AND NOT versions "                                            \
	"UNION ALL "                                                                                   \
	"SELECT 11, pg_catalog.format('ALTER TABLE %s REPLICA IDENTITY %s', name, "                    \
	"CASE relreplident WHEN 'f' THEN 'FULL' WHEN 'n' THEN 'NOTHING' ELSE (SELECT "                 \
	"pg_catalog.format('USING INDEX %I', relname) FROM i WHERE indisreplident) END) FROM t "       \
	"WHERE relreplident <> 'd' "

/*
 * A command that ends with a new name has the name, as it would be if it were free, in a column of
 * its own.
 */
static ExecStatement carry_old =
	{NULL,
	 "WITH " CARRY_TABLE ", " CARRY_INDEXES ", " CARRY_TRIGGERS ", "
	 "c (step, command, name) AS ("
	 "SELECT 1, pg_catalog.format('DROP TRIGGER %I ON %s', tgname, name), NULL::text FROM g "
	 "UNION ALL "
	 "SELECT 2, CASE WHEN versions AND con IS NOT NULL "
	 "THEN pg_catalog.format('ALTER TABLE %s DROP CONSTRAINT %I', name, conname) "
	 "WHEN versions THEN pg_catalog.format('DROP INDEX %I.%I', nspname, relname) "
	 "WHEN con IS NOT NULL "
	 "THEN pg_catalog.format('ALTER TABLE %s RENAME CONSTRAINT %I TO ', name, conname) "
	 "ELSE pg_catalog.format('ALTER INDEX %I.%I RENAME TO ', nspname, relname) END, "
	 "CASE WHEN NOT versions THEN new END FROM i "
	 "UNION ALL "
	 "SELECT 3, pg_catalog.format('ALTER SEQUENCE %I.%I RENAME TO ', n.nspname, s.relname), "
	 "$2 || '_' || s.relname "
	 "FROM pg_catalog.pg_class s JOIN pg_catalog.pg_namespace n ON n.oid = s.relnamespace "
	 "WHERE s.oid = $3 "
	 "UNION ALL "
	 "SELECT 4, pg_catalog.format('ALTER TABLE %s RENAME TO %I', name, $2), NULL FROM t) "
	 "SELECT command, name FROM c ORDER BY step, command",
	 6, CARRY_TYPES};

static ExecStatement carry_new =
	{NULL,
	 "WITH " CARRY_TABLE ", " CARRY_INDEXES ", " CARRY_TRIGGERS ", "
	 "c (step, command) AS ("
	 "SELECT 1, pg_catalog.format('CREATE TABLE %s (LIKE %I.%I INCLUDING DEFAULTS "
	 "INCLUDING GENERATED INCLUDING STORAGE INCLUDING COMPRESSION INCLUDING COMMENTS "
	 "INCLUDING STATISTICS) PARTITION BY RANGE (%I)%s', name, nspname, $2, a.attname, "
	 "(SELECT pg_catalog.format(' TABLESPACE %I', spcname) FROM pg_catalog.pg_tablespace s "
	 "WHERE s.oid = t.reltablespace)) "
	 "FROM t JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid AND a.attnum = $6 "
	 "UNION ALL "
	 "SELECT 2, pg_catalog.format('ALTER TABLE %s ALTER COLUMN %I ADD GENERATED ALWAYS AS IDENTITY "
	 "(SEQUENCE NAME %I.%I START WITH %s INCREMENT BY %s MINVALUE %s MAXVALUE %s)', t.name, "
	 "a.attname, n.nspname, s.relname, q.seqstart, q.seqincrement, q.seqmin, q.seqmax) "
	 "FROM t JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid AND a.attnum = $6 "
	 "JOIN pg_catalog.pg_class s ON s.oid = $3 "
	 "JOIN pg_catalog.pg_namespace n ON n.oid = s.relnamespace "
	 "JOIN pg_catalog.pg_sequence q ON q.seqrelid = s.oid "
	 "UNION ALL "
	 "SELECT 3, pg_catalog.format('COMMENT ON SEQUENCE %I.%I IS %L', n.nspname, s.relname, "
	 "pg_catalog.obj_description(s.oid, 'pg_class')) "
	 "FROM pg_catalog.pg_class s JOIN pg_catalog.pg_namespace n ON n.oid = s.relnamespace "
	 "WHERE s.oid = $3 "
	 "UNION ALL "
	 "SELECT 3, pg_catalog.format('COMMENT ON TABLE %s IS %L', name, "
	 "pg_catalog.obj_description(oid, 'pg_class')) FROM t "
	 "UNION ALL "
	 "SELECT 4, CASE WHEN con IS NULL THEN pg_catalog.pg_get_indexdef(indexrelid) "
	 "ELSE pg_catalog.format('ALTER TABLE %s ADD CONSTRAINT %I %s', name, conname, "
	 "pg_catalog.pg_get_constraintdef(con)) END FROM i WHERE NOT versions "
	 "UNION ALL "
	 "SELECT 5, pg_catalog.format('ALTER TABLE %s ADD CONSTRAINT %I %s', name, conname, "
	 "pg_catalog.pg_get_constraintdef(k.oid)) "
	 "FROM t JOIN pg_catalog.pg_constraint k ON k.conrelid = t.oid AND k.contype = 'c' "
	 "AND k.conname NOT IN ('" GUARD_CHECK "', '" CARRY_UP_TO "') "
	 "UNION ALL "
	 "SELECT 6, pg_catalog.format('ALTER SEQUENCE %I.%I OWNED BY %s.%I', n.nspname, s.relname, "
	 "t.name, a.attname) "
	 "FROM t JOIN pg_catalog.pg_depend d "
	 "ON d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = t.oid "
	 "AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.deptype = 'a' "
	 "JOIN pg_catalog.pg_class s ON s.oid = d.objid AND s.relkind = 'S' "
	 "JOIN pg_catalog.pg_namespace n ON n.oid = s.relnamespace "
	 "JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid "
	 "UNION ALL "
	 "SELECT 7, pg_catalog.format('CREATE POLICY %I ON %s AS %s FOR %s TO %s%s%s', polname, name, "
	 "CASE WHEN polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END, "
	 "CASE polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' "
	 "WHEN 'd' THEN 'DELETE' ELSE 'ALL' END, "
	 "coalesce((SELECT pg_catalog.string_agg(pg_catalog.quote_ident(rolname), ', ') "
	 "FROM pg_catalog.pg_roles r WHERE r.oid = ANY (polroles)), 'PUBLIC'), "
	 "' USING (' || pg_catalog.pg_get_expr(polqual, polrelid) || ')', "
	 "' WITH CHECK (' || pg_catalog.pg_get_expr(polwithcheck, polrelid) || ')') "
	 "FROM t JOIN pg_catalog.pg_policy p ON p.polrelid = t.oid "
	 "UNION ALL "
	 "SELECT 8, pg_catalog.format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', name) FROM t "
	 "WHERE relrowsecurity "
	 "UNION ALL "
	 "SELECT 8, pg_catalog.format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', name) FROM t "
	 "WHERE relforcerowsecurity "
	 "UNION ALL "
	 "SELECT 9, pg_catalog.pg_get_triggerdef(oid) FROM g "
	 "UNION ALL "
	 "SELECT 10, pg_catalog.format('ALTER TABLE %s %s TRIGGER %I', name, "
	 "CASE tgenabled WHEN 'D' THEN 'DISABLE' WHEN 'A' THEN 'ENABLE ALWAYS' "
	 "WHEN 'R' THEN 'ENABLE REPLICA' END, tgname) FROM g WHERE tgenabled <> 'O' "
	 "UNION ALL "
	 "SELECT 10, pg_catalog.format('COMMENT ON TRIGGER %I ON %s IS %L', tgname, name, "
	 "pg_catalog.obj_description(oid, 'pg_trigger')) FROM g "
	 "UNION ALL " CARRY_DETAILS ") "
	 "SELECT command, NULL FROM c ORDER BY step, command",
	 6, CARRY_TYPES};

/*
 * A name for an object of the table that no other object of the schema or the table has or gets.
 */
static char *
carry_name(Carry *carry, PmLog *log, const char *wanted)
{
	Oid nsp = get_rel_namespace(log->relid);

	for (int i = 0;; i++)
	{
		const char *number = i == 0 ? "" : psprintf("_%d", i);
		int length = pg_mbcliplen(wanted, strlen(wanted), NAMEDATALEN - 1 - strlen(number));
		char *name = psprintf("%.*s%s", length, wanted, number);

		if (!list_member(carry->names, makeString(name)) &&
			!OidIsValid(get_relname_relid(name, nsp)) &&
			!OidIsValid(get_relation_constraint_oid(log->relid, name, true)))
		{
			carry->names = lappend(carry->names, makeString(name));
			return name;
		}
	}
}

static List *
carry_commands(Carry *carry, PmLog *log, ExecStatement *statement, Datum *values)
{
	List *commands = NIL;
	uint64 count = exec_statement(statement, values, NULL);

	for (uint64 row = 0; row < count; row++)
	{
		char *command = exec_text(row, 1);
		char *wanted = exec_text(row, 2);

		if (wanted != NULL)
			command = psprintf("%s%s", command, quote_identifier(carry_name(carry, log, wanted)));
		commands = lappend(commands, command);
	}
	return commands;
}

void
carry_collect(Carry *carry, PmLog *log, const char *partition)
{
	Datum values[6];

	values[0] = ObjectIdGetDatum(log->relid);
	values[1] = CStringGetTextDatum(partition);
	values[2] = ObjectIdGetDatum(log->seqid);
	values[3] = Int16GetDatum(log->attnum[EVENT_STREAM]);
	values[4] = Int16GetDatum(log->attnum[EVENT_VERSION]);
	values[5] = Int16GetDatum(log->attnum[EVENT_POSITION]);
	carry->names = list_make1(makeString(pstrdup(partition)));
	carry->old = carry_commands(carry, log, &carry_old, values);
	carry->new = carry_commands(carry, log, &carry_new, values);
}

void
carry_run(List *commands)
{
	ListCell *lc;

	foreach(lc, commands)
		exec_command(lfirst(lc));
	CommandCounterIncrement();
}
