/*
 * attach_literal.h
 *		Literals of times in the expressions of an attached log.
 */
#ifndef PM_ATTACH_LITERAL_H
#define PM_ATTACH_LITERAL_H

/*
 * Is the literal at this place in the text of an expression a time that is the same whenever and
 * wherever it is read?
 */
extern bool attach_literal_is_fixed(const char *text, int location);

#endif /* PM_ATTACH_LITERAL_H */
