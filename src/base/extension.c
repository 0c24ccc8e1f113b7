/*
 * extension.c
 *		The schemas of the extension.
 *
 * Hooks of the library run in every database, also where there is no extension
 * pm.  There, somebody else may have a schema of the same name, with tables and
 * views that run that role's functions.  So whatever belongs to the extension is
 * looked up in a schema that is a member of it, never by its name alone: nobody
 * else can create anything in there.
 */
#include "pm.h"

#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_namespace.h"
#include "commands/extension.h"
#include "utils/inval.h"
#include "utils/syscache.h"

#include "base/extension.h"

/* The schemas, each looked up once until some schema changes. */
static struct
{
	const char *name;
	Oid oid;
} schemas[] = {
	{"pm", InvalidOid},
	{"pm_catalog", InvalidOid},
	{"pm_process_manager", InvalidOid},
};

static void
extension_schema_callback(Datum arg, int cacheid, uint32 hashvalue)
{
	for (int i = 0; i < lengthof(schemas); i++)
		schemas[i].oid = InvalidOid;
}

void
extension_install(void)
{
	CacheRegisterSyscacheCallback(NAMESPACEOID, extension_schema_callback, (Datum) 0);
}

static Oid
extension_find_schema(const char *name)
{
	Oid schema = get_namespace_oid(name, true);
	Oid extension = get_extension_oid("pm", true);

	if (!OidIsValid(schema) || !OidIsValid(extension) ||
		getExtensionOfObject(NamespaceRelationId, schema) != extension)
		return InvalidOid;
	return schema;
}

/*
 * One of the extension's schemas, or InvalidOid where there is no extension.
 */
Oid
extension_schema(const char *name)
{
	for (int i = 0; i < lengthof(schemas); i++)
	{
		if (strcmp(schemas[i].name, name) != 0)
			continue;
		if (!OidIsValid(schemas[i].oid))
			schemas[i].oid = extension_find_schema(name);
		return schemas[i].oid;
	}
	elog(ERROR, "schema \"%s\" is none of the extension", name);
}
