/*
 * guard_ddl.h
 *		Checks, creates and removes the guard's objects on a log's table.
 */
#ifndef PM_GUARD_DDL_H
#define PM_GUARD_DDL_H

#include "catalog/pg_trigger.h"
#include "utils/relcache.h"

#define GUARD_WRITE_TRIGGER	   "pm_before_write"
#define GUARD_UPDATE_TRIGGER   "pm_before_update"
#define GUARD_TRUNCATE_TRIGGER "pm_before_truncate"
/* It must fire after all others of its kind, and they fire in the order of their names. */
#define GUARD_ROW_TRIGGER "zz_pm_before_row"
#define GUARD_ROW_TYPE                                                                             \
	(TRIGGER_TYPE_BEFORE | TRIGGER_TYPE_ROW | TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE)
#define GUARD_CHECK "pm_position_is_new"

/*
 * The same checks, made on rows of the catalogs.  The first function returns the bit of a trigger
 * of the guard, or 0 if the trigger is none of these or was changed ("conditional": it has a WHEN
 * condition).  The second one returns the bits of all triggers that an ordinary table needs.  The
 * third one tells whether the expression of a constraint is that of the check for this column.
 * The check of a replica log names the table, "relid"; with InvalidOid, no table may be named.
 */
extern int guard_trigger_bit(Form_pg_trigger trigger, bool conditional);
extern int guard_trigger_bits(void);
extern bool guard_is_check(const char *expression, Oid relid, AttrNumber attnum);
/* Does the table have the check of positions, unchanged?  A partitioned table has a trigger for it.
 */
extern bool guard_has_check(Relation rel);
/*
 * Raises an error if not, or if the table is that of a replica log and lacks one of its
 * triggers.
 */
extern void guard_require_check(Relation rel);
/*
 * The name of the first object that is missing, changed or disabled; NULL if the guard
 * is complete.
 */
extern const char *guard_missing(Relation rel);
/*
 * The name of the trigger that a leaf of a partitioned log should have; NULL if it has it.  *later
 * is a trigger that fires after it, or NULL.
 */
extern const char *guard_missing_in_leaf(Relation leaf, const char **later);
/* Does the table have any of the guard's objects? */
extern bool guard_has_any(Relation rel);

/* Removes the guard from a table. */
extern void guard_take_off(Oid relid);
/* Creates those of the guard's objects that are missing or changed; those of a replica log differ.
 */
extern void guard_put_back(Oid relid, AttrNumber attnum, bool replica);
/* Makes the check depend on the extension. */
extern void guard_adopt(Oid relid);

/* The qualified name of a table or sequence, which may be gone: "?" then. */
extern const char *guard_qualified_name(Oid relid);
/* The hint for a position that may not be written; readers may have seen positions up to "used". */
extern char *guard_hint(Oid relid, Oid seqid, AttrNumber attnum, int64 used, bool set_back);
/* Raises the error for a row for which the trigger of this table did not fire. */
COMPAT_NORETURN extern void guard_refuse_untriggered(Oid relid);

#endif /* PM_GUARD_DDL_H */
