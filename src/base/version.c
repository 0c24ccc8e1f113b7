/*
 * version.c
 *		The version of the extension in this database, and whether the library serves
 *		it.
 *
 * A server loads one library for all its databases, and loads the new one as
 * soon as it restarts after an upgrade of the package.  ALTER EXTENSION pm
 * UPDATE comes later, in each database, when its owner has time.  So the library
 * can serve older extensions, from PM_OLDEST_SERVED on.  What a newer version adds
 * may be absent: a user who asks for it is refused (version_require()), and code
 * that would use it by itself asks version_has().  Columns of private tables are
 * looked for one by one (scan_begin_table(), registration.c), because they are
 * there before the update of the extension is complete.
 *
 * version_has() is asked in every batch, so the version is kept in memory.
 * ALTER EXTENSION itself sends no invalidation.  So the script of each version
 * ends with pm_catalog.announce(), which sends one for the main private table.
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
#include "utils/inval.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "base/exec.h"
#include "base/relcache.h"
#include "base/version.h"

/* The version, as version_has() remembers it. */
static struct
{
	uint64 as_of; /* of "changes" */
	int64 number; /* of the extension in this database, -1: there is none */
	Oid relid;	  /* the table whose invalidation tells of another version */
} known;

static uint64 changes = 1; /* how often the version may have changed */

static void
version_relcache_callback(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == known.relid)
		changes++;
}

/*
 * The extension may have been dropped, or created.
 */
static void
version_schema_callback(Datum arg, int cacheid, uint32 hashvalue)
{
	changes++;
}

void
version_install(void)
{
	relcache_watch(version_relcache_callback);
	CacheRegisterSyscacheCallback(NAMESPACEOID, version_schema_callback, (Datum) 0);
}

/*
 * A number by which versions are ordered.  What follows the third part is ignored.
 */
static int64
version_number(const char *version)
{
	int64 number = 0;

	for (int part = 0; part < 3; part++)
	{
		int digits = 0;

		for (; *version >= '0' && *version <= '9'; version++)
			digits = Min(digits * 10 + (*version - '0'), 99999);
		if (*version == '.')
			version++;
		number = number * 1000000 + digits;
	}
	return number;
}

VersionFit
version_fit(const char *installed)
{
	int64 number = version_number(installed);

	if (number > version_number(PM_VERSION))
		return VERSION_NEWER;
	if (number == version_number(PM_VERSION))
		return VERSION_SAME;
	return number >= version_number(PM_OLDEST_SERVED) ? VERSION_OLDER : VERSION_TOO_OLD;
}

/*
 * The version of the extension in this database, or NULL where there is none.
 * Must be called in a transaction.  The version is read with a fresh catalog
 * snapshot, because the extension may have been dropped or updated a moment ago.
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
 * This is about objects that came with a version.  The update script of the extension
 * creates them before anything in the script can ask for them, so they exist if this
 * function returns true.
 */
bool
version_has(const char *since)
{
	if (known.as_of != changes)
	{
		/*
		 * Read this first, so that an invalidation that arrives meanwhile makes the
		 * answer outdated.
		 */
		uint64 as_of = changes;
		char *installed;

		known.relid = exec_catalog_relid("process_manager");
		installed = version_installed();
		known.number = installed != NULL ? version_number(installed) : -1;
		known.as_of = as_of;
		if (installed != NULL)
			pfree(installed);
	}
	return known.number >= version_number(since);
}

/*
 * Sends an invalidation to every backend, at commit.
 */
void
version_changed(void)
{
	Oid relid = exec_catalog_relid("process_manager");

	if (OidIsValid(relid))
		CacheInvalidateRelcacheByRelid(relid);
}

/*
 * Refuses an extension that the library does not serve.
 */
void
version_require_served(void)
{
	char *installed = version_installed();
	VersionFit fit = installed != NULL ? version_fit(installed) : VERSION_SAME;

	if (fit == VERSION_NEWER)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the library of pm is older than the extension pm of this database"),
				 errdetail("The library has version %s, and the extension has version %s.",
						   PM_VERSION, installed),
				 errhint("Install version %s of the library and restart the server.", installed)));
	if (fit == VERSION_TOO_OLD)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the extension pm of this database is too old for the library of pm"),
				 errdetail("The extension has version %s, and version %s of the library serves "
						   "extensions from version %s on.",
						   installed, PM_VERSION, PM_OLDEST_SERVED),
				 errhint("Run ALTER EXTENSION pm UPDATE.")));
}

/*
 * Refuses a feature of a version that is later than that of this database's extension.
 * "feature" is the subject of a sentence, in the language of its user: "the argument
 * keep_ended of pm.register".
 */
void
version_require(const char *since, const char *feature)
{
	char *installed = version_installed();

	if (installed == NULL || version_number(installed) < version_number(since))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("%s needs version %s of the extension pm", feature, since),
						errdetail("This database has version %s.", installed ? installed : "none"),
						errhint("Run ALTER EXTENSION pm UPDATE.")));
}
