/*
 * notice.c
 *		What the server's log says once about a database.
 *
 * These lines are for an administrator who has upgraded something and finds that
 * nothing runs, or that an update of the extension remains to be done.  Workers
 * come and go, so shared memory remembers what was said since the server started
 * (slot_database.c).  When a situation is over and arises again, it is reported
 * again.  The lines name the database, and no role and no process manager.
 */
#include "pm.h"

#include "base/report.h"
#include "shmem/slot_database.h"
#include "worker/notice.h"

/*
 * Reports that the versions differ, once for each way in which they do.
 */
void
notice_version(const char *installed, VersionFit fit)
{
	static const DatabaseNotice notices[] = {
		[VERSION_SAME] = 0,
		[VERSION_OLDER] = DATABASE_NOTICE_OLDER,
		[VERSION_TOO_OLD] = DATABASE_NOTICE_TOO_OLD,
		[VERSION_NEWER] = DATABASE_NOTICE_NEWER,
	};
	static VersionFit told = VERSION_SAME;

	if (fit == told)
		return;
	told = fit;
	/* The other situations are over. */
	slot_database_forget_notices(~(uint32) (notices[fit] | DATABASE_NOTICE_COPY));
	if (fit == VERSION_SAME || !slot_database_notice(notices[fit]))
		return;
	if (fit == VERSION_OLDER)
		ereport(LOG,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the extension pm of database \"%s\" has version %s, and the library "
						"has version %s",
						report_database(), installed, PM_VERSION),
				 errdetail("Everything that version %s had continues to work.", installed),
				 errhint("Run ALTER EXTENSION pm UPDATE in that database when it suits you.")));
	else if (fit == VERSION_TOO_OLD)
		ereport(LOG, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					  errmsg("pm does not run in database \"%s\"", report_database()),
					  errdetail("The extension there has version %s, and version %s of the library "
								"serves extensions from version %s on.",
								installed, PM_VERSION, PM_OLDEST_SERVED),
					  errhint("Run ALTER EXTENSION pm UPDATE in that database.")));
	else
		ereport(LOG,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("pm does not run in database \"%s\"", report_database()),
				 errdetail("The extension there has version %s, and the library is older: %s.",
						   installed, PM_VERSION),
				 errhint("Install version %s of the library and restart the server.", installed)));
}

/*
 * Reports that the database is a copy.  After pg_upgrade, for example, nothing
 * else would tell the administrator, who does not look at pm.status yet.
 */
void
notice_copies(int count)
{
	static bool told = false;

	if ((count > 0) == told)
		return;
	told = count > 0;
	if (count == 0)
		slot_database_forget_notices(DATABASE_NOTICE_COPY);
	else if (slot_database_notice(DATABASE_NOTICE_COPY))
		ereport(LOG,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("pm waits for pm.resume() in database \"%s\", which is a copy",
						report_database()),
				 errdetail("Process managers that were registered in another database or cluster: "
						   "%d.",
						   count),
				 errhint("When the original no longer runs them, run SELECT pm.resume() in that "
						 "database as a superuser. Until then nothing is handled there.")));
}
