/*
 * hold_out.h
 *		Keeps workers out of a database of which a command needs exclusive use.
 */
#ifndef PM_HOLD_OUT_H
#define PM_HOLD_OUT_H

#include "nodes/nodes.h"

extern void hold_out_install(void);

/*
 * If the utility statement needs exclusive use of a database, makes the workers
 * leave the database and keeps them out until the end of the transaction.
 */
extern void hold_out_for(Node *statement);

#endif /* PM_HOLD_OUT_H */
