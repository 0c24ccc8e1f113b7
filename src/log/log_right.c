/*
 * log_right.c
 *		Checks which roles may read a log.
 *
 * Only the catalogs are read, so the table need not be locked.
 */
#include "pm.h"

#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"

#include "log/log_right.h"

bool
log_has_right(Oid relid, Oid role)
{
	Oid nsp = get_rel_namespace(relid);

	return OidIsValid(nsp) && compat_namespace_aclcheck(nsp, role, ACL_USAGE) == ACLCHECK_OK &&
		   (pg_class_aclcheck(relid, role, ACL_SELECT) == ACLCHECK_OK ||
			pg_attribute_aclcheck_all(relid, role, ACL_SELECT, ACLMASK_ALL) == ACLCHECK_OK);
}

char *
log_grants(Oid relid, const char *role)
{
	char *schema = get_namespace_name(get_rel_namespace(relid));
	char *table = get_rel_name(relid);

	if (schema == NULL || table == NULL)
		return "";
	return psprintf("GRANT USAGE ON SCHEMA %s TO %s; GRANT SELECT ON %s TO %s",
					quote_identifier(schema), quote_identifier(role),
					quote_qualified_identifier(schema, table), quote_identifier(role));
}

/*
 * Does not check whether the table exists; the caller finds that out when it
 * locks the table.
 */
void
log_require_right(const char *name, Oid relid, Oid role)
{
	char *user;

	if (get_rel_name(relid) == NULL || log_has_right(relid, role))
		return;
	user = GetUserNameFromId(role, false);
	ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					errmsg("role \"%s\" may not read log \"%s\"", user, name),
					errhint("Run %s.", log_grants(relid, user))));
}

bool
log_may_select(PmLog *log, Oid role)
{
	return log_has_right(log->relid, role);
}

/*
 * An owner can revoke the right from itself, and force row-level security on
 * itself.
 */
bool
log_owner_can_read(PmLog *log)
{
	return log_may_select(log, log->owner) &&
		   check_enable_rls(log->relid, log->owner, true) != RLS_ENABLED;
}

bool
log_may_read(PmLog *log, Oid role)
{
	return log_may_select(log, role) && check_enable_rls(log->relid, role, true) != RLS_ENABLED &&
		   log_owner_can_read(log);
}
