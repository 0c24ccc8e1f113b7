/*
 * pm.h
 *		Declarations that all C files of pm share.
 *
 * The folders are layers, from the lowest to the highest: base, shmem, log, manager,
 * dispatch, worker.  A file includes headers of its own layer and of the layers below.
 * doc/source.md describes each file.
 */
#ifndef PM_H
#define PM_H

#include "postgres.h"

#include "compat.h"
#include "fmgr.h"

/* The version of the library, and the oldest version of the extension that it serves. */
#define PM_VERSION		 "0.2.0"
#define PM_OLDEST_SERVED "0.1.0"

/* pm's own SQLSTATEs. */
#define ERRCODE_PM_VERSION_CONFLICT MAKE_SQLSTATE('P', 'M', '0', '0', '1')
#define ERRCODE_PM_LEASE_LOST		MAKE_SQLSTATE('P', 'M', '0', '0', '2')
#define ERRCODE_PM_PERMANENT		MAKE_SQLSTATE('P', 'M', '0', '0', '3')
#define ERRCODE_PM_DEFERRED			MAKE_SQLSTATE('P', 'M', '0', '0', '4')

#endif /* PM_H */
