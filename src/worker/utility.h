/*
 * utility.h
 *		Commands that our workers must know of.
 */
#ifndef PM_UTILITY_H
#define PM_UTILITY_H

extern void utility_install_hook(void);

#endif /* PM_UTILITY_H */
