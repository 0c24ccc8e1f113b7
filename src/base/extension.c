/*
 * extension.c
 *		The schemas of the extension.
 *
 * Hooks of the library run in every database, even where the extension pm does not
 * exist.  There, any role may have a schema of the same name, with tables and views
 * that run that role's functions.  So objects of the extension are looked up in a
 * schema that is a member of the extension, never in one that only has its name.
 * Other roles cannot create anything in such a schema.
 */
#include "pm.h"

#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_namespace.h"
#include "commands/extension.h"
#include "utils/inval.h"
#include "utils/syscache.h"

#include "base/extension.h"

/* The schemas.  Each is looked up once, until any schema changes. */
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
	/* It is not worth finding out which schema has changed. */
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
	elog(ERROR, "schema \"%s\" does not belong to the extension", name);
}
