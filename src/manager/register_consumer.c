/*
 * register_consumer.c
 *		The roles that pm.register names as consumers.
 *
 * Their OIDs say who they are.  The names are for a copy in another cluster, where the
 * OIDs belong to other roles.
 */
#include "pm.h"

#include "catalog/pg_type.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "manager/register_consumer.h"

Datum
register_consumer_oids(List *names)
{
	int count = list_length(names);
	Datum *roles = palloc(sizeof(Datum) * Max(count, 1));

	if (count == 0)
		return (Datum) 0;
	for (int i = 0; i < count; i++)
		roles[i] = ObjectIdGetDatum(get_role_oid(list_nth(names, i), false));
	return PointerGetDatum(construct_array(roles, count, OIDOID, sizeof(Oid), true, TYPALIGN_INT));
}

Datum
register_consumer_names(List *names)
{
	int count = list_length(names);
	Datum *roles = palloc(sizeof(Datum) * Max(count, 1));

	if (count == 0)
		return (Datum) 0;
	for (int i = 0; i < count; i++)
	{
		Name name = palloc(NAMEDATALEN);

		namestrcpy(name, list_nth(names, i));
		roles[i] = NameGetDatum(name);
	}
	return PointerGetDatum(
		construct_array(roles, count, NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR));
}

void
register_consumer_refuse(List *consumers)
{
	if (consumers != NIL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("a process manager that has a handler cannot have consumers"),
						errhint("Use handler => NULL for consumers, or omit consumers.")));
}
