/*
 * next.h
 *		What the next version adds, for test/t/210_upgrade.pl.
 */
#ifndef PM_NEXT_H
#define PM_NEXT_H

/* Counts a batch in the new table, if there is one. */
extern void next_batch(const char *manager, int handled);

/* Writes the new column of pm_catalog.process_manager. */
extern void next_set_note(const char *manager, const char *note);

#endif /* PM_NEXT_H */
