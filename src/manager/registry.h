/*
 * registry.h
 *		Loads process managers from the catalog, and checks which roles may change them.
 */
#ifndef PM_REGISTRY_H
#define PM_REGISTRY_H

#include "nodes/pg_list.h"
#include "utils/timestamp.h"

typedef enum HandlerKind
{
	HANDLER_EVENT = 'e',   /* f(pm.event) */
	HANDLER_BATCH = 'b',   /* f(pm.event[]) */
	HANDLER_INSTANCE = 's' /* f(pm.event, jsonb) RETURNS jsonb */
} HandlerKind;

/*
 * When the process manager had "lanes" lanes, the lane "lane" had handled a log
 * up to "position" (repartition.c).
 */
typedef struct FormerLane
{
	char *manager;
	char *log;
	int lanes;
	int lane;
	int64 position;
} FormerLane;

/*
 * A function of a process manager, as handler_find.c has found it by its signature.
 */
typedef struct FoundFunction
{
	Oid registered_owner; /* its owner when it was registered, 0: not known */
	Oid oid;
	uint64 version; /* lookup_version in handler_find.c when it was looked up; 0: not yet */
} FoundFunction;

typedef struct ProcessManager
{
	int id;
	char *name;
	Oid owner;
	char *owner_name;
	char *handler; /* NULL: consumers do its work (consumer.c) */
	FoundFunction found_handler;
	HandlerKind kind;
	char *correlate; /* NULL: the key is the stream */
	FoundFunction found_correlate;
	Datum types; /* text[], or 0 for all */
	bool halt_on_failure;
	int max_attempts;
	int64 backoff;		   /* ms */
	int64 handler_timeout; /* ms */
	int batch_size;
	int lanes;
	int park_limit;
	bool paused;
	int64 keep_ended;	/* how long ended instances and journals are kept, ms; -1: not given */
	bool journal;		/* each call for an instance leaves an entry */
	int64 lease;		/* how long a consumer may hold a lane, ms */
	List *consumers;	/* OIDs of the roles that may be its consumers */
	List *carry;		/* keys of metadata that are passed on */
	bool at_home;		/* registered in this database of this cluster */
	List *logs;			/* names of the logs that it follows */
	List *former_lanes; /* of FormerLane */
	uint64 version;		/* registry_version() when this was read */
	const char *origin; /* rehearsal: the process manager whose instances it begins with */
	List *gone;			/* rehearsal: the keys whose instances it does not begin with */
} ProcessManager;

/* The schema of the types that stand for process managers (shell_type.c). */
#define REGISTRY_TYPES "pm_process_manager"

extern void registry_install(void);

/* A number that changes whenever what was loaded may be outdated. */
extern uint64 registry_version(void);

/* To be called after a change of a registration. */
extern void registry_changed(void);

/* Loads the process managers of a role, or of all roles if that is InvalidOid. */
extern List *registry_load(Oid owner);
extern ProcessManager *registry_get(const char *name, bool missing_ok);

/* Raises an error if the current user may not change the process manager. */
extern bool registry_may_change(const ProcessManager *pm);
extern void registry_require_owner(ProcessManager *pm);

/* The type that stands for a process manager, or InvalidOid. */
extern Oid registry_type(const char *name);

#endif /* PM_REGISTRY_H */
