/*
 * carry_require.c
 *		What keeps another table from taking the place of a log's table.
 *
 * Views, functions, foreign keys and publications know the table by its OID, so they would
 * continue to mean the old table.  Whatever depends on the table and is not known to be
 * carried over (carry.c), to stay with it, or to be moved (shell_type.c) is an obstacle.
 */
#include "pm.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"

#include "base/exec.h"
#include "log/carry_require.h"

/*
 * $1 is the table, $2 its sequence, $3 and $4 are the columns of stream and version, $5 is that of
 * positions.
 */

/* What depends on the table, its row type, its sequence, indexes or constraints. */
#define REQUIRE_DEPENDENTS                                                                         \
	"d AS (SELECT DISTINCT d.classid, d.objid, d.objsubid, d.deptype FROM "                        \
	"pg_catalog.pg_depend d WHERE (d.refclassid = 'pg_class'::regclass AND (d.refobjid IN "        \
	"($1, $2) OR d.refobjid IN (SELECT indexrelid FROM pg_catalog.pg_index WHERE indrelid = "      \
	"$1))) "                                                                                       \
	"OR (d.refclassid = 'pg_type'::regclass AND d.refobjid IN (SELECT oid FROM types)) "           \
	"OR (d.refclassid = 'pg_constraint'::regclass AND d.refobjid IN (SELECT oid FROM "             \
	"pg_catalog.pg_constraint WHERE conrelid = $1)))"

#define REQUIRE_TYPES                                                                              \
	"types AS (SELECT y.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_type r ON r.oid = "      \
	"c.reltype JOIN pg_catalog.pg_type y ON y.oid IN (r.oid, r.typarray) WHERE c.oid = $1)"

/* Is it carried over, or does it belong to the old table alone? */
#define REQUIRE_KNOWN                                                                              \
	"CASE d.classid "                                                                              \
	"WHEN 'pg_class'::regclass THEN d.objid = $2 OR d.deptype = 'i' OR EXISTS (SELECT FROM "       \
	"pg_catalog.pg_index x WHERE x.indexrelid = d.objid AND x.indrelid = $1) "                     \
	"OR (d.deptype = 'a' AND EXISTS (SELECT FROM pg_catalog.pg_class s WHERE s.oid = d.objid "     \
	"AND s.relkind = 'S')) "                                                                       \
	"WHEN 'pg_attrdef'::regclass THEN EXISTS (SELECT FROM pg_catalog.pg_attrdef a WHERE "          \
	"a.oid = d.objid AND a.adrelid = $1) "                                                         \
	"WHEN 'pg_constraint'::regclass THEN EXISTS (SELECT FROM pg_catalog.pg_constraint k "          \
	"WHERE k.oid = d.objid AND k.conrelid = $1 AND k.contype IN ('c', 'n', 'p', 'u')) "            \
	"WHEN 'pg_trigger'::regclass THEN EXISTS (SELECT FROM pg_catalog.pg_trigger g WHERE "          \
	"g.oid = d.objid AND (g.tgrelid = $1 OR g.tgisinternal)) "                                     \
	"WHEN 'pg_type'::regclass THEN d.objid IN (SELECT oid FROM types) OR EXISTS (SELECT FROM "     \
	"pg_catalog.pg_type y JOIN pg_catalog.pg_namespace n ON n.oid = y.typnamespace WHERE "         \
	"y.oid = d.objid AND NOT y.typisdefined AND n.nspname = 'pm_process_manager') "                \
	"WHEN 'pg_statistic_ext'::regclass THEN EXISTS (SELECT FROM pg_catalog.pg_statistic_ext "      \
	"s WHERE s.oid = d.objid AND s.stxrelid = $1) "                                                \
	"WHEN 'pg_policy'::regclass THEN EXISTS (SELECT FROM pg_catalog.pg_policy p WHERE p.oid "      \
	"= d.objid AND p.polrelid = $1) "                                                              \
	"ELSE false END"

/* Properties of the table that a partition, or a partitioned table, cannot have. */
#define REQUIRE_TABLE                                                                              \
	"SELECT 'inheritance from ' || pg_catalog.pg_describe_object('pg_class'::regclass, "           \
	"inhparent, 0) FROM pg_catalog.pg_inherits WHERE inhrelid = $1 "                               \
	"UNION ALL SELECT 'the type of the table' FROM pg_catalog.pg_class WHERE oid = $1 AND "        \
	"reloftype <> 0 "                                                                              \
	"UNION ALL SELECT pg_catalog.pg_describe_object('pg_class'::regclass, attrelid, attnum) "      \
	"|| ', which is a second identity column' FROM pg_catalog.pg_attribute WHERE attrelid = $1 "   \
	"AND NOT attisdropped AND "                                                                    \
	"attidentity <> '' AND attnum <> $5 "                                                          \
	"UNION ALL SELECT 'a security label of ' || pg_catalog.pg_describe_object(classoid, objoid, "  \
	"objsubid) FROM pg_catalog.pg_seclabel WHERE objoid IN ($1, $2) AND "                          \
	"classoid = 'pg_class'::regclass "                                                             \
	"UNION ALL SELECT 'subscription ' || pg_catalog.quote_ident(s.subname) FROM "                  \
	"pg_catalog.pg_subscription_rel r JOIN pg_catalog.pg_subscription s ON s.oid = r.srsubid "     \
	"WHERE r.srrelid = $1 "                                                                        \
	"UNION ALL SELECT pg_catalog.pg_describe_object('pg_constraint'::regclass, oid, 0) || ', "     \
	"which refers to the whole row' FROM pg_catalog.pg_constraint WHERE conrelid = $1 AND "        \
	"contype = 'c' AND 0 = ANY (conkey) "                                                          \
	"UNION ALL SELECT pg_catalog.pg_describe_object('pg_class'::regclass, indexrelid, 0) || ', "   \
	"which refers to the whole row' FROM pg_catalog.pg_index WHERE indrelid = $1 AND "             \
	"pg_catalog.concat(indexprs, indpred) ~ ':varattno 0 ' "                                       \
	"UNION ALL SELECT 'membership in ' || pg_catalog.pg_describe_object(refclassid, "              \
	"refobjid, 0) FROM pg_catalog.pg_depend WHERE classid = 'pg_class'::regclass AND objid = "     \
	"$1 AND objsubid = 0 AND deptype = 'e' "                                                       \
	"UNION ALL SELECT pg_catalog.pg_describe_object('pg_class'::regclass, indexrelid, 0) || "      \
	"CASE WHEN NOT indisvalid THEN ', which is not valid' ELSE ', which is unique without "        \
	"the position' END FROM pg_catalog.pg_index WHERE indrelid = $1 AND (NOT indisvalid OR "       \
	"indisexclusion OR (indisunique AND NOT ($5 = ANY (indkey[0:indnkeyatts - 1])) AND NOT "       \
	"(indnkeyatts = 2 AND indkey[0] = $3 AND indkey[1] = $4))) "                                   \
	"UNION ALL SELECT pg_catalog.pg_describe_object('pg_constraint'::regclass, oid, 0) || ', "     \
	"which is not inherited' FROM pg_catalog.pg_constraint WHERE conrelid = $1 AND contype = "     \
	"'c' AND connoinherit "                                                                        \
	"UNION ALL SELECT 'publication ' || pg_catalog.quote_ident(p.pubname) || ', which "            \
	"publishes partitions under their own names' FROM pg_catalog.pg_publication p JOIN "           \
	"pg_catalog.pg_class c ON c.oid = $1 WHERE NOT p.pubviaroot AND (p.puballtables OR "           \
	"EXISTS (SELECT FROM pg_catalog.pg_publication_namespace n WHERE n.pnpubid = p.oid AND "       \
	"n.pnnspid = c.relnamespace))"

/*
 * A view depends on the table by its rule.
 */
static ExecStatement require_obstacles =
	{NULL,
	 "WITH " REQUIRE_TYPES ", " REQUIRE_DEPENDENTS ", o (obstacle) AS ("
	 "SELECT CASE WHEN r.ev_class <> $1 THEN "
	 "pg_catalog.pg_describe_object('pg_class'::regclass, r.ev_class, 0) "
	 "ELSE pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid) END "
	 "FROM d LEFT JOIN pg_catalog.pg_rewrite r "
	 "ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid "
	 "WHERE NOT " REQUIRE_KNOWN " UNION ALL " REQUIRE_TABLE ") "
	 "SELECT DISTINCT obstacle COLLATE pg_catalog.\"C\" AS obstacle FROM o "
	 "ORDER BY obstacle LIMIT 100",
	 5,
	 {OIDOID, OIDOID, INT2OID, INT2OID, INT2OID}};

void
carry_require(PmLog *log)
{
	Datum values[5];
	ExecScope scope;
	StringInfoData obstacles;
	uint64 count;

	values[0] = ObjectIdGetDatum(log->relid);
	values[1] = ObjectIdGetDatum(log->seqid);
	values[2] = Int16GetDatum(log->attnum[EVENT_STREAM]);
	values[3] = Int16GetDatum(log->attnum[EVENT_VERSION]);
	values[4] = Int16GetDatum(log->attnum[EVENT_POSITION]);
	exec_begin_caller(&scope);
	count = exec_statement(&require_obstacles, values, NULL);
	initStringInfo(&obstacles);
	for (uint64 row = 0; row < count; row++)
		appendStringInfo(&obstacles, "%s%s", row > 0 ? "\n" : "", exec_text(row, 1));
	if (count > 0)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("log \"%s\" cannot become a partitioned log, because of what depends on "
						"its table",
						log->title),
				 errdetail_internal("%s", obstacles.data),
				 errhint("In one transaction, drop these, call pm.partition_log, and create again "
						 "what the new table can have.")));
	exec_end(&scope);
}
