/*
 * hold_out.h
 *		Keeping workers out of a database that a command needs for itself.
 */
#ifndef PM_HOLD_OUT_H
#define PM_HOLD_OUT_H

#include "nodes/nodes.h"

extern void hold_out_install(void);

/*
 * If the utility statement needs a database for itself, makes the workers leave it
 * and keeps them out until the transaction is over.
 */
extern void hold_out_for(Node *statement);

#endif /* PM_HOLD_OUT_H */
