/*
 * consumer_instance.c
 *		The instances that a consumer keeps: pm.save, pm.finish.
 *
 * A consumer can change the instances of the lanes that it holds.  The unit's lock keeps
 * other sessions from reading and writing them, until its transaction ends.
 */
#include "pm.h"

#include "base/argument.h"
#include "base/within.h"
#include "manager/association.h"
#include "manager/consumer_key.h"
#include "manager/finished.h"
#include "manager/instance_save.h"
#include "manager/journal.h"
#include "manager/timer.h"

PG_FUNCTION_INFO_V1(pm_save);
PG_FUNCTION_INFO_V1(pm_finish);

/*
 * pm.save(name, consumer, key, state)
 */
Datum
pm_save(PG_FUNCTION_ARGS)
{
	ConsumerInstance instance;
	Key *key;

	argument_not_null(fcinfo, 3, "state");
	consumer_key_begin(&instance, fcinfo, "pm.save", 0, 1, 2);
	key = instance.key;
	key->updated_at = within_time();
	if (!key->live)
		key->started_at = key->updated_at;
	key->state = PointerGetDatum(PG_DETOAST_DATUM(PG_GETARG_DATUM(3)));
	key->live = key->changed = true;
	instance_save(instance.call.pm, &instance.keys);
	PG_RETURN_VOID();
}

/*
 * Keeps what is to be kept of an instance that ends.
 */
static void
consumer_instance_keep(ProcessManager *pm, const Key *key, Datum result)
{
	JournalEnd end = {.key = key->name,
					  .started_at = key->started_at,
					  .ended_at = within_time(),
					  .state = key->state,
					  .result = result};
	Journal journal;

	journal_begin(&journal, pm);
	if (!journal.ends)
		return;
	journal_end(&journal, &end);
	journal_save(&journal);
}

/*
 * pm.finish(name, consumer, key, result)
 */
Datum
pm_finish(PG_FUNCTION_ARGS)
{
	ConsumerInstance instance;
	ProcessManager *pm;
	Key *key;

	consumer_key_begin(&instance, fcinfo, "pm.finish", 0, 1, 2);
	pm = instance.call.pm;
	key = instance.key;
	if (!key->live)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("process manager \"%s\" has no instance with this key", pm->name),
						errhint("pm.save begins one.")));
	consumer_instance_keep(pm, key, PG_ARGISNULL(3) ? (Datum) 0 : PG_GETARG_DATUM(3));
	if (pm->journal)
		finished_add(pm, key);
	key->live = false;
	key->changed = true;
	instance_save(pm, &instance.keys);
	timer_end(pm, instance.lane, key->name);
	association_end(pm, instance.lane, key->name);
	PG_RETURN_VOID();
}
