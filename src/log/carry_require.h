/*
 * carry_require.h
 *		What keeps another table from taking the place of a log's table.
 */
#ifndef PM_CARRY_REQUIRE_H
#define PM_CARRY_REQUIRE_H

#include "log/log.h"

/*
 * Raises an error if something depends on the table that carry.c does not carry over.  The error
 * names all of it.
 */
extern void carry_require(PmLog *log);

#endif /* PM_CARRY_REQUIRE_H */
