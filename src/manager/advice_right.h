/*
 * advice_right.h
 *		Says which right a role lacks.
 */
#ifndef PM_ADVICE_RIGHT_H
#define PM_ADVICE_RIGHT_H

/*
 * What the role lacks on the object that a message of PostgreSQL ("permission denied for
 * table till") is about, as a sentence; NULL if that is not known.
 */
extern char *advice_right(const char *message, Oid role);

#endif /* PM_ADVICE_RIGHT_H */
