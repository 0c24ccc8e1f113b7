/*
 * version.c
 *		The version of the extension in this database, beside the library's.
 *
 * A server loads one library for all its databases, and loads the new one as
 * soon as it restarts after an upgrade of the package.  ALTER EXTENSION pm
 * UPDATE comes later, in each database, when its owner has time.  So the library
 * can serve older extensions, from PM_OLDEST_SERVED on.  A change that adds an
 * object which the library needs must ask version_require() before it uses it.
 * A change that adds a column to a private table must let its reader
 * (scan_begin_table(), registration.c) do without it, or raise PM_OLDEST_SERVED.
 *
 * A library that is older than the extension cannot know what it lacks.  It
 * runs no workers.
 */
#include "pm.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_extension.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"

#include "base/version.h"

/*
 * Is the first version older than, the same as, or newer than the second: -1, 0,
 * 1.  By numbers; what follows a hyphen does not count.
 */
static int
version_compare(const char *a, const char *b)
{
	int left[3] = {0, 0, 0};
	int right[3] = {0, 0, 0};

	sscanf(a, "%d.%d.%d", &left[0], &left[1], &left[2]);
	sscanf(b, "%d.%d.%d", &right[0], &right[1], &right[2]);
	for (int i = 0; i < lengthof(left); i++)
		if (left[i] != right[i])
			return left[i] < right[i] ? -1 : 1;
	return 0;
}

VersionFit
version_fit(const char *installed)
{
	int order = version_compare(installed, PM_VERSION);

	if (order > 0)
		return VERSION_NEWER;
	if (order == 0)
		return VERSION_SAME;
	return version_compare(installed, PM_OLDEST_SERVED) >= 0 ? VERSION_OLDER : VERSION_TOO_OLD;
}

/*
 * The version of the extension in this database, or NULL where there is none.
 * In a transaction.  A fresh catalog snapshot reads it, since the extension
 * may have been dropped or updated a moment ago.
 */
char *
version_installed(void)
{
	Relation rel = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;
	char *version = NULL;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ,
				CStringGetDatum("pm"));
	scan = systable_beginscan(rel, ExtensionNameIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		bool isnull;
		Datum value = heap_getattr(tuple, Anum_pg_extension_extversion, RelationGetDescr(rel),
								   &isnull);

		version = isnull ? NULL : TextDatumGetCString(value);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return version;
}

/*
 * Refuses what came with a version that this database's extension is older
 * than.  "feature" is the subject of a sentence, in the language of its user:
 * "the argument keep_ended of pm.register".
 */
void
version_require(const char *since, const char *feature)
{
	char *installed = version_installed();

	if (installed == NULL || version_compare(installed, since) < 0)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("%s needs version %s of the extension pm", feature, since),
						errdetail("This database has version %s.", installed ? installed : "none"),
						errhint("Run ALTER EXTENSION pm UPDATE.")));
}
