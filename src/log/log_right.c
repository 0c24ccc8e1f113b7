/*
 * log_right.c
 *		Checks which roles may read a log.
 *
 * Only the catalogs are read, so the table need not be locked.
 */
#include "pm.h"

#include "lib/stringinfo.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"

#include "log/log_right.h"

/*
 * May the role read the table's columns, all of them, if it may use the schema?
 */
static bool
log_has_select(Oid relid, Oid role)
{
	return pg_class_aclcheck(relid, role, ACL_SELECT) == ACLCHECK_OK ||
		   pg_attribute_aclcheck_all(relid, role, ACL_SELECT, ACLMASK_ALL) == ACLCHECK_OK;
}

bool
log_has_right(Oid relid, Oid role)
{
	Oid nsp = get_rel_namespace(relid);

	return OidIsValid(nsp) && compat_namespace_aclcheck(nsp, role, ACL_USAGE) == ACLCHECK_OK &&
		   log_has_select(relid, role);
}

char *
log_grants(Oid relid, Oid role)
{
	Oid nsp = get_rel_namespace(relid);
	char *schema = OidIsValid(nsp) ? get_namespace_name(nsp) : NULL;
	char *table = get_rel_name(relid);
	char *user = GetUserNameFromId(role, true);
	StringInfoData grants;

	initStringInfo(&grants);
	if (schema == NULL || table == NULL || user == NULL)
		return grants.data;
	if (compat_namespace_aclcheck(nsp, role, ACL_USAGE) != ACLCHECK_OK)
		appendStringInfo(&grants, "GRANT USAGE ON SCHEMA %s TO %s", quote_identifier(schema),
						 quote_identifier(user));
	if (!log_has_select(relid, role))
		appendStringInfo(&grants, "%sGRANT SELECT ON %s TO %s", grants.len > 0 ? "; " : "",
						 quote_qualified_identifier(schema, table), quote_identifier(user));
	return grants.data;
}

/*
 * Does not check whether the table exists; the caller finds that out when it
 * locks the table.
 */
void
log_require_right(const char *name, Oid relid, Oid role)
{
	if (get_rel_name(relid) == NULL || log_has_right(relid, role))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("role \"%s\" may not read log \"%s\"", GetUserNameFromId(role, false), name),
			 errhint("Run %s.", log_grants(relid, role))));
}

bool
log_may_select(PmLog *log, Oid role)
{
	return log_has_right(log->relid, role);
}

bool
log_hides_from(PmLog *log, Oid role)
{
	return check_enable_rls(log->relid, role, true) == RLS_ENABLED;
}

/*
 * An owner can revoke the right from itself, and force row-level security on
 * itself.
 */
bool
log_owner_can_read(PmLog *log)
{
	return log_may_select(log, log->owner) && !log_hides_from(log, log->owner);
}

bool
log_may_read(PmLog *log, Oid role)
{
	return log_may_select(log, role) && !log_hides_from(log, role) && log_owner_can_read(log);
}
