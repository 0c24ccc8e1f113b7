/*
 * utility.h
 *		The hook for utility commands.
 */
#ifndef PM_UTILITY_H
#define PM_UTILITY_H

/* Called while the postmaster preloads; without workers the hook is not needed. */
extern void utility_install_hook(void);

#endif /* PM_UTILITY_H */
