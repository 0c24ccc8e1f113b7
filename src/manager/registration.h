/*
 * registration.h
 *		Reads and writes rows of pm_catalog.process_manager.
 */
#ifndef PM_REGISTRATION_H
#define PM_REGISTRATION_H

#include "base/exec.h"

/* The columns that are read, in the order of registration_columns[]. */
typedef enum RegistrationColumn
{
	REGISTRATION_ID,
	REGISTRATION_NAME,
	REGISTRATION_OWNER,
	REGISTRATION_OWNER_NAME,
	REGISTRATION_HANDLER,
	REGISTRATION_HANDLER_KIND,
	REGISTRATION_HANDLER_OWNER,
	REGISTRATION_CORRELATE,
	REGISTRATION_CORRELATE_OWNER,
	REGISTRATION_LOGS,
	REGISTRATION_TYPES,
	REGISTRATION_ON_FAILURE,
	REGISTRATION_MAX_ATTEMPTS,
	REGISTRATION_BACKOFF,
	REGISTRATION_HANDLER_TIMEOUT,
	REGISTRATION_BATCH_SIZE,
	REGISTRATION_LANES,
	REGISTRATION_PARK_LIMIT,
	REGISTRATION_PAUSED,
	REGISTRATION_SYSTEM_IDENTIFIER,
	REGISTRATION_DATABASE,
	REGISTRATION_KEEP_ENDED,
	REGISTRATION_JOURNAL,
	REGISTRATION_LEASE,
	REGISTRATION_CONSUMERS,
	REGISTRATION_CONSUMER_NAMES,
	REGISTRATION_CARRY,
	REGISTRATION_COLUMNS
} RegistrationColumn;

/* A row, or what is to be written into one. */
typedef struct Registration
{
	Datum values[REGISTRATION_COLUMNS];
	bool nulls[REGISTRATION_COLUMNS];
} Registration;

/* Which rows are read. */
typedef enum RegistrationWhich
{
	REGISTRATION_ALL,
	REGISTRATION_BY_OWNER,
	REGISTRATION_BY_NAME
} RegistrationWhich;

/* Runs a query for rows in an owner scope, and takes them from its result. */
extern uint64 registration_select(RegistrationWhich which, Datum key);
extern void registration_read(Registration *registration, uint64 row);

/* Copies the row of a name into the current memory context.  False if there is none. */
extern bool registration_copy(const char *name, Registration *registration);

/* Adds a row, false if the name is taken; or changes the settings in a row, false if it is gone. */
extern bool registration_insert(const Registration *registration);
extern bool registration_update(const Registration *registration);

#endif /* PM_REGISTRATION_H */
