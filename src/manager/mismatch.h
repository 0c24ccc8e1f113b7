/*
 * misfit.h
 *		Why no function of a name can be a handler.
 */
#ifndef PM_MISFIT_H
#define PM_MISFIT_H

extern char *misfit_explain(const char *name, Oid function, Oid role, bool correlate);

#endif							/* PM_MISFIT_H */
