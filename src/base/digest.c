/*
 * digest.c
 *		Digests of texts that may be too long for an index.
 *
 * A digest is stored, so it must not change when a dump is restored in another
 * encoding.
 */
#include "pm.h"

#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "base/digest.h"

Datum
digest_text(Datum value)
{
	text *given = DatumGetTextPP(value);
	int len = VARSIZE_ANY_EXHDR(given);
	char *utf8 = VARDATA_ANY(given);

	if (GetDatabaseEncoding() != PG_UTF8 && GetDatabaseEncoding() != PG_SQL_ASCII)
	{
		char *converted = pg_server_to_any(utf8, len, PG_UTF8);

		if (converted != utf8)
			len = strlen(converted);
		utf8 = converted;
	}
	return DirectFunctionCall1(sha256_bytea, PointerGetDatum(cstring_to_text_with_len(utf8, len)));
}
