/*
 * owner_check.c
 *		Checks whether a role can own a process manager.
 *
 * A dispatcher runs in a session of the owner, so the owner must be able to
 * connect to the database.
 */
#include "pm.h"

#include "catalog/pg_authid.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/syscache.h"

#include "manager/owner_check.h"

/*
 * Checks a role that is to own a process manager.
 */
void
owner_check_role(Oid role)
{
	HeapTuple tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(role));
	Form_pg_authid form;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("role with OID %u does not exist", role)));
	form = (Form_pg_authid) GETSTRUCT(tuple);
	if (!form->rolcanlogin)
		ereport(ERROR, (errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
						errmsg("role \"%s\" is not permitted to log in", NameStr(form->rolname)),
						errdetail("A process manager runs in sessions of the role that owns it."),
						errhint("Run ALTER ROLE %s LOGIN (a password is not needed), "
								"or use a role that can log in.",
								quote_identifier(NameStr(form->rolname)))));
	if (compat_database_aclcheck(MyDatabaseId, role, ACL_CONNECT) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" may not connect to this database", NameStr(form->rolname)),
				 errhint("Run GRANT CONNECT ON DATABASE ... TO %s.",
						 quote_identifier(NameStr(form->rolname)))));
	ReleaseSysCache(tuple);
}

/*
 * Checks the owner of a process manager that exists.
 */
void
owner_check(ProcessManager *pm)
{
	if (!OidIsValid(pm->owner))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("role \"%s\", the owner of process manager \"%s\", does not exist",
							   pm->owner_name, pm->name),
						errhint("A superuser can give it to another role with "
								"SELECT pm.set_owner(%s, ...).",
								quote_literal_cstr(pm->name))));
	owner_check_role(pm->owner);
}
