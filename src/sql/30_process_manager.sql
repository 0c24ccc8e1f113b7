-- The functions for process managers. They register and change process managers, decide about parked
-- events, are called by handlers, handle events in the caller's session, or wait until events are
-- handled.

-- A registration determines which function runs as which role. So the trigger keeps members of
-- pg_write_all_data from writing this table.
CREATE FUNCTION pm_catalog.before_change() RETURNS trigger
	LANGUAGE C AS 'MODULE_PATHNAME', 'pm_registry_before_change';
REVOKE EXECUTE ON FUNCTION pm_catalog.before_change() FROM PUBLIC;
CREATE TRIGGER before_change BEFORE INSERT OR UPDATE OR DELETE ON pm_catalog.process_manager
	FOR EACH STATEMENT EXECUTE FUNCTION pm_catalog.before_change();

-- src/manager/register_args.c has the arguments in the same order.
CREATE FUNCTION pm.register(name text, handler text, logs text[], correlate text DEFAULT NULL,
							types text[] DEFAULT NULL, start_at text DEFAULT NULL,
							on_failure text DEFAULT 'park', max_attempts integer DEFAULT 5,
							backoff interval DEFAULT '1 s', handler_timeout interval DEFAULT '10 s',
							batch_size integer DEFAULT 100, lanes integer DEFAULT 1,
							park_limit integer DEFAULT 1000, keep_ended interval DEFAULT NULL,
							journal boolean DEFAULT false, lease interval DEFAULT '30 s',
							consumers text[] DEFAULT NULL, carry text[] DEFAULT NULL)
	RETURNS void LANGUAGE C AS 'MODULE_PATHNAME', 'pm_register';
-- NULL leaves a setting as it is. reset names arguments that get their default again.
CREATE FUNCTION pm.alter(name text, handler text DEFAULT NULL, logs text[] DEFAULT NULL,
						 correlate text DEFAULT NULL, types text[] DEFAULT NULL,
						 start_at text DEFAULT NULL, on_failure text DEFAULT NULL,
						 max_attempts integer DEFAULT NULL, backoff interval DEFAULT NULL,
						 handler_timeout interval DEFAULT NULL, batch_size integer DEFAULT NULL,
						 lanes integer DEFAULT NULL, park_limit integer DEFAULT NULL,
						 keep_ended interval DEFAULT NULL, journal boolean DEFAULT NULL,
						 lease interval DEFAULT NULL, consumers text[] DEFAULT NULL,
						 carry text[] DEFAULT NULL, reset text[] DEFAULT NULL)
	RETURNS void LANGUAGE C AS 'MODULE_PATHNAME', 'pm_alter';
-- For consumers: programs outside the database that do the work of a process manager without a handler.
CREATE FUNCTION pm.fetch(name text, consumer text, max_count integer DEFAULT 100, wait interval DEFAULT '0 s')
	RETURNS TABLE (log text, "position" bigint, stream text, version bigint, type text, data jsonb, metadata jsonb,
				   recorded_at timestamptz, key text, attempt integer, state jsonb, lane integer,
				   lease_until timestamptz)
	LANGUAGE C ROWS 100 AS 'MODULE_PATHNAME', 'pm_fetch';
CREATE FUNCTION pm.advance(name text, consumer text, lane integer, log text DEFAULT NULL, up_to bigint DEFAULT NULL)
	RETURNS void LANGUAGE C AS 'MODULE_PATHNAME', 'pm_advance';
CREATE FUNCTION pm.extend(name text, consumer text) RETURNS timestamptz
	LANGUAGE C AS 'MODULE_PATHNAME', 'pm_extend';
CREATE FUNCTION pm.release(name text, consumer text) RETURNS void
	LANGUAGE C AS 'MODULE_PATHNAME', 'pm_release';
CREATE FUNCTION pm.fail(name text, consumer text, log text, pos bigint, error text, retry_in interval DEFAULT NULL,
						permanent boolean DEFAULT false, key text DEFAULT NULL)
	RETURNS void LANGUAGE C AS 'MODULE_PATHNAME', 'pm_fail';
CREATE FUNCTION pm.save(name text, consumer text, key text, state jsonb) RETURNS void
	LANGUAGE C AS 'MODULE_PATHNAME', 'pm_save';
CREATE FUNCTION pm.finish(name text, consumer text, key text, result jsonb DEFAULT NULL) RETURNS void
	LANGUAGE C AS 'MODULE_PATHNAME', 'pm_finish';
CREATE FUNCTION pm.reply(log text, pos bigint, type text, data jsonb DEFAULT '{}') RETURNS void
	LANGUAGE C AS 'MODULE_PATHNAME', 'pm_reply';
CREATE FUNCTION pm.unfollow(name text, log text) RETURNS void
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'pm_unfollow';
CREATE FUNCTION pm.unregister(name text) RETURNS void
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'pm_unregister';
CREATE FUNCTION pm.pause(name text) RETURNS void
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'pm_pause';
CREATE FUNCTION pm.resume(name text DEFAULT NULL) RETURNS void
	LANGUAGE C AS 'MODULE_PATHNAME', 'pm_resume';
CREATE FUNCTION pm.set_owner(name text, role text) RETURNS void
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'pm_set_owner';
CREATE FUNCTION pm.seek(name text, log text, after bigint, reset boolean DEFAULT false) RETURNS void
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'pm_seek';
CREATE FUNCTION pm.retry(name text, log text, pos bigint, key text DEFAULT NULL) RETURNS void
	LANGUAGE C AS 'MODULE_PATHNAME', 'pm_retry';
CREATE FUNCTION pm.discard(name text, log text, pos bigint, key text DEFAULT NULL) RETURNS void
	LANGUAGE C AS 'MODULE_PATHNAME', 'pm_discard';
CREATE FUNCTION pm.retry(name text) RETURNS bigint
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'pm_retry_dead';
CREATE FUNCTION pm.discard(name text) RETURNS bigint
	LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'pm_discard_dead';
CREATE FUNCTION pm.send(name text, key text, type text, data jsonb DEFAULT '{}') RETURNS void
	LANGUAGE C AS 'MODULE_PATHNAME', 'pm_send';
CREATE FUNCTION pm.erase(log text, stream text, replacement jsonb DEFAULT '{}') RETURNS bigint
	LANGUAGE C AS 'MODULE_PATHNAME', 'pm_erase';
CREATE FUNCTION pm.end_instance(name text, key text, reason text) RETURNS void
	LANGUAGE C AS 'MODULE_PATHNAME', 'pm_end_instance';
CREATE FUNCTION pm.set_state(name text, key text, state jsonb, reason text) RETURNS void
	LANGUAGE C AS 'MODULE_PATHNAME', 'pm_set_state';
CREATE FUNCTION pm.set_timer(type text, due timestamptz, data jsonb DEFAULT '{}', name text DEFAULT NULL,
							 consumer text DEFAULT NULL, key text DEFAULT NULL) RETURNS void
	LANGUAGE C AS 'MODULE_PATHNAME', 'pm_set_timer';
CREATE FUNCTION pm.cancel_timer(type text, name text DEFAULT NULL, consumer text DEFAULT NULL,
								key text DEFAULT NULL) RETURNS boolean
	LANGUAGE C AS 'MODULE_PATHNAME', 'pm_cancel_timer';
-- STABLE, not IMMUTABLE, because its value differs from one call of a handler to the next
-- (src/manager/done.c), and a plan must not contain it.
CREATE FUNCTION pm.done(result jsonb DEFAULT NULL) RETURNS jsonb
	LANGUAGE C STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'pm_done';
CREATE FUNCTION pm.fail_permanently(reason text) RETURNS void
	LANGUAGE C AS 'MODULE_PATHNAME', 'pm_fail_permanently';
CREATE FUNCTION pm.defer(again_in interval, reason text DEFAULT NULL) RETURNS void
	LANGUAGE C AS 'MODULE_PATHNAME', 'pm_defer';
CREATE FUNCTION pm.catch_up(name text DEFAULT NULL, as_of timestamptz DEFAULT NULL,
							max_count bigint DEFAULT NULL, on_failure text DEFAULT 'raise')
	RETURNS bigint LANGUAGE C AS 'MODULE_PATHNAME', 'pm_catch_up';
CREATE FUNCTION pm.rehearse(name text, handler text DEFAULT NULL, log text DEFAULT NULL, after bigint DEFAULT 0,
							max_count integer DEFAULT 1000)
	RETURNS TABLE (event_log text, pos bigint, key text, outcome text, error text, appended jsonb, state jsonb)
	LANGUAGE C AS 'MODULE_PATHNAME', 'pm_rehearse';
CREATE FUNCTION pm.now() RETURNS timestamptz
	LANGUAGE C STABLE AS 'MODULE_PATHNAME', 'pm_now';
CREATE FUNCTION pm.associate(kind text, value text) RETURNS void
	LANGUAGE C AS 'MODULE_PATHNAME', 'pm_associate';
CREATE FUNCTION pm.dissociate(kind text, value text) RETURNS boolean
	LANGUAGE C AS 'MODULE_PATHNAME', 'pm_dissociate';
CREATE FUNCTION pm.associated(kind text, value text) RETURNS text[]
	LANGUAGE C STABLE STRICT AS 'MODULE_PATHNAME', 'pm_associated';
CREATE FUNCTION pm.key() RETURNS text
	LANGUAGE C STABLE AS 'MODULE_PATHNAME', 'pm_key';
CREATE FUNCTION pm.wait_for(name text, log text DEFAULT NULL, up_to bigint DEFAULT NULL,
							timeout interval DEFAULT '5 s')
	RETURNS boolean LANGUAGE C AS 'MODULE_PATHNAME', 'pm_wait_for';
