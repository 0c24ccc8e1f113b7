/*
 * slot_database.h
 *		What shared memory knows about each database.
 */
#ifndef PM_SLOT_DATABASE_H
#define PM_SLOT_DATABASE_H

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"

/* What the launcher reads about a database. */
typedef struct DatabaseView
{
	bool served; /* it has a scheduler, or one is being started */
	bool active; /* a scheduler has found the extension in it */
	bool away;	 /* its scheduler has left to make room */
	bool wanted; /* something has happened since the scheduler left */
	TimestampTz due;
	uint32 announced; /* counts announcements */
	uint32 looked;	  /* the count when a scheduler last started */
} DatabaseView;

/* What the server's log says about a database once, as bits. */
typedef enum DatabaseNotice
{
	DATABASE_NOTICE_COPY = 1 << 0,
	DATABASE_NOTICE_OLDER = 1 << 1,
	DATABASE_NOTICE_TOO_OLD = 1 << 2,
	DATABASE_NOTICE_NEWER = 1 << 3
} DatabaseNotice;

/* For the launcher. */
extern void slot_database_view(Oid database, DatabaseView *view);
extern bool slot_database_any_announced(void);
extern void slot_database_keep(List *there);

/* For schedulers, about their own database, and for the launcher when it starts a scheduler. */
extern uint32 slot_database_announced(void);
extern void slot_database_set_looked(Oid database, uint32 announced);
extern void slot_database_set_active(bool active, int nroles, Oid role);
extern int slot_database_gave_way(void);
extern void slot_database_leave(TimestampTz due, int gave_way);
extern void slot_database_due(TimestampTz due);

/* For transactions: these run in transaction callbacks, and cannot fail. */
extern void slot_database_announce(void);
extern void slot_database_touch(Oid database);

/* For commands that need exclusive use of a database. */
extern void slot_database_hold_out(Oid database);
extern void slot_database_release(void);
extern bool slot_database_held_out(Oid database);

/* For all workers, about their own database: true if it was not said yet, and now it is. */
extern bool slot_database_notice(DatabaseNotice notice);
extern void slot_database_forget_notices(uint32 notices);

/* For starting workers, and for pm.status. */
extern void slot_database_set_refused(Oid database, bool refused);
extern TimestampTz slot_database_refused_at(Oid database);

/* The caller holds the lock of the workers' shared memory. */
extern bool slot_database_others(Oid role);

#endif /* PM_SLOT_DATABASE_H */
