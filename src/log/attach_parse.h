/*
 * attach_parse.h
 *		Analyzes and checks the expressions of an attached log.
 */
#ifndef PM_ATTACH_PARSE_H
#define PM_ATTACH_PARSE_H

#include "nodes/bitmapset.h"
#include "nodes/nodes.h"
#include "utils/relcache.h"

#include "base/event.h"

/* What an expression is for: an attribute of an event, EVENT_STREAM and so on, or this. */
#define ATTACH_FILTER (EVENT_ATTRIBUTES + 1)

/*
 * The expression of this text, ready to be executed, with the type that its use asks for.  Adds
 * the columns that it reads.  An error if it may not be used.
 */
extern Node *attach_parse(Relation rel, const char *text, int use, Bitmapset **columns);
/* The name of an argument of pm.attach_log. */
extern const char *attach_argument(int use);

#endif /* PM_ATTACH_PARSE_H */
