-- The contract: exactly what the schema pm contains. A change here is a change for everybody who
-- uses pm.
BEGIN;
SELECT no_plan();

-- ---- functions --------------------------------------------------------------

CREATE TEMP TABLE contract (name text, arguments text, result text, volatility text);
INSERT INTO contract VALUES
	('create_log', 'log text, partitioned boolean DEFAULT false', 'void', 'volatile'),
	('create_replica_log', 'log text', 'void', 'volatile'),
	('rename_log', 'log text, new_name text', 'void', 'volatile'),
	('partition_log', 'log text, up_to bigint, partition text', 'void', 'volatile'),
	('drop_log', 'log text', 'void', 'volatile'),
	('attach_log', 'log text, source regclass, pos text, stream text, type text, data text, version text DEFAULT NULL::text, metadata text DEFAULT NULL::text, recorded_at text DEFAULT NULL::text, filter text DEFAULT NULL::text', 'void', 'volatile'),
	('detach_log', 'log text', 'void', 'volatile'),
	('append', 'log text, stream text, type text, data jsonb DEFAULT ''{}''::jsonb, metadata jsonb DEFAULT ''{}''::jsonb, expected_version bigint DEFAULT NULL::bigint, id text DEFAULT NULL::text', 'bigint', 'volatile'),
	('append_all', 'log text, stream text, events jsonb, expected_version bigint DEFAULT NULL::bigint', 'bigint[]', 'volatile'),
	('read', 'log text, after bigint DEFAULT 0, max_count integer DEFAULT 100, types text[] DEFAULT NULL::text[]', 'SETOF pm.event', 'volatile'),
	('read_stream', 'log text, stream text, after_version bigint DEFAULT 0, max_count integer DEFAULT NULL::integer', 'SETOF pm.event', 'volatile'),
	('high_water_mark', 'log text', 'bigint', 'volatile'),
	('timeline', '', 'integer', 'stable'),
	('trace', 'log text, pos bigint', 'TABLE(depth integer, event_log text, "position" bigint, stream text, type text, recorded_at timestamp with time zone, cause_log text, cause_position bigint)', 'volatile'),
	('trim', 'log text, up_to bigint, max_count integer DEFAULT 10000', 'bigint', 'volatile'),
	('keep_parked', 'log text, up_to bigint', 'bigint', 'volatile'),
	('register', 'name text, handler text, logs text[], correlate text DEFAULT NULL::text, types text[] DEFAULT NULL::text[], start_at text DEFAULT NULL::text, '
		'on_failure text DEFAULT ''park''::text, max_attempts integer DEFAULT 5, backoff interval DEFAULT ''@ 1 sec''::interval, '
		'handler_timeout interval DEFAULT ''@ 10 secs''::interval, batch_size integer DEFAULT 100, lanes integer DEFAULT 1, park_limit integer DEFAULT 1000, '
		'keep_ended interval DEFAULT NULL::interval, journal boolean DEFAULT false, lease interval DEFAULT ''@ 30 secs''::interval, consumers text[] DEFAULT NULL::text[], carry text[] DEFAULT NULL::text[]', 'void', 'volatile'),
	('alter', 'name text, handler text DEFAULT NULL::text, logs text[] DEFAULT NULL::text[], correlate text DEFAULT NULL::text, types text[] DEFAULT NULL::text[], start_at text DEFAULT NULL::text, '
		'on_failure text DEFAULT NULL::text, max_attempts integer DEFAULT NULL::integer, backoff interval DEFAULT NULL::interval, '
		'handler_timeout interval DEFAULT NULL::interval, batch_size integer DEFAULT NULL::integer, lanes integer DEFAULT NULL::integer, park_limit integer DEFAULT NULL::integer, '
		'keep_ended interval DEFAULT NULL::interval, journal boolean DEFAULT NULL::boolean, lease interval DEFAULT NULL::interval, consumers text[] DEFAULT NULL::text[], carry text[] DEFAULT NULL::text[], reset text[] DEFAULT NULL::text[]', 'void', 'volatile'),
	('fetch', 'name text, consumer text, max_count integer DEFAULT 100, wait interval DEFAULT ''@ 0''::interval',
		'TABLE(log text, "position" bigint, stream text, version bigint, type text, data jsonb, metadata jsonb, recorded_at timestamp with time zone, key text, attempt integer, state jsonb, lane integer, lease_until timestamp with time zone)', 'volatile'),
	('advance', 'name text, consumer text, lane integer, log text DEFAULT NULL::text, up_to bigint DEFAULT NULL::bigint', 'void', 'volatile'),
	('extend', 'name text, consumer text', 'timestamp with time zone', 'volatile'),
	('reply', 'log text, pos bigint, type text, data jsonb DEFAULT ''{}''::jsonb', 'void', 'volatile'),
	('release', 'name text, consumer text', 'void', 'volatile'),
	('fail', 'name text, consumer text, log text, pos bigint, error text, retry_in interval DEFAULT NULL::interval, permanent boolean DEFAULT false, key text DEFAULT NULL::text', 'void', 'volatile'),
	('save', 'name text, consumer text, key text, state jsonb', 'void', 'volatile'),
	('finish', 'name text, consumer text, key text, result jsonb DEFAULT NULL::jsonb', 'void', 'volatile'),
	('stat_reset', 'name text DEFAULT NULL::text', 'void', 'volatile'),
	('unfollow', 'name text, log text', 'void', 'volatile'),
	('unregister', 'name text', 'void', 'volatile'),
	('pause', 'name text', 'void', 'volatile'),
	('resume', 'name text DEFAULT NULL::text', 'void', 'volatile'),
	('set_owner', 'name text, role text', 'void', 'volatile'),
	('seek', 'name text, log text, after bigint, reset boolean DEFAULT false', 'void', 'volatile'),
	('retry', 'name text, log text, pos bigint, key text DEFAULT NULL::text', 'void', 'volatile'),
	('discard', 'name text, log text, pos bigint, key text DEFAULT NULL::text', 'void', 'volatile'),
	('retry', 'name text', 'bigint', 'volatile'),
	('discard', 'name text', 'bigint', 'volatile'),
	('send', 'name text, key text, type text, data jsonb DEFAULT ''{}''::jsonb', 'void', 'volatile'),
	('erase', 'log text, stream text, replacement jsonb DEFAULT ''{}''::jsonb', 'bigint', 'volatile'),
	('end_instance', 'name text, key text, reason text', 'void', 'volatile'),
	('set_state', 'name text, key text, state jsonb, reason text', 'void', 'volatile'),
	('history', 'name text, key text', 'SETOF pm_catalog.history_row', 'volatile'),
	('set_timer', 'type text, due timestamp with time zone, data jsonb DEFAULT ''{}''::jsonb, name text DEFAULT NULL::text, consumer text DEFAULT NULL::text, key text DEFAULT NULL::text', 'void', 'volatile'),
	('cancel_timer', 'type text, name text DEFAULT NULL::text, consumer text DEFAULT NULL::text, key text DEFAULT NULL::text', 'boolean', 'volatile'),
	('done', 'result jsonb DEFAULT NULL::jsonb', 'jsonb', 'stable'),
	('catch_up', 'name text DEFAULT NULL::text, as_of timestamp with time zone DEFAULT NULL::timestamp with time zone, max_count bigint DEFAULT NULL::bigint, on_failure text DEFAULT ''raise''::text', 'bigint', 'volatile'),
	('associate', 'kind text, value text', 'void', 'volatile'),
	('dissociate', 'kind text, value text', 'boolean', 'volatile'),
	('associated', 'kind text, value text', 'text[]', 'stable'),
	('key', '', 'text', 'stable'),
	('fail_permanently', 'reason text', 'void', 'volatile'),
	('defer', 'again_in interval, reason text DEFAULT NULL::text', 'void', 'volatile'),
	('rehearse', 'name text, handler text DEFAULT NULL::text, log text DEFAULT NULL::text, after bigint DEFAULT 0, max_count integer DEFAULT 1000',
		'TABLE(event_log text, pos bigint, key text, outcome text, error text, appended jsonb, state jsonb)', 'volatile'),
	('diagram', '', 'text', 'stable'),
	('now', '', 'timestamp with time zone', 'stable'),
	('wait_for', 'name text, log text DEFAULT NULL::text, up_to bigint DEFAULT NULL::bigint, timeout interval DEFAULT ''@ 5 secs''::interval', 'boolean', 'volatile');

SET LOCAL intervalstyle = postgres_verbose;

SELECT is(pg_get_function_arguments(p.oid), c.arguments, format('arguments of pm.%s', c.name))
FROM contract c LEFT JOIN pg_proc p ON p.proname = c.name AND p.pronamespace = 'pm'::regnamespace AND pg_get_function_arguments(p.oid) = c.arguments ORDER BY c.name;
SELECT is(pg_get_function_result(p.oid), c.result, format('result of pm.%s', c.name))
FROM contract c LEFT JOIN pg_proc p ON p.proname = c.name AND p.pronamespace = 'pm'::regnamespace AND pg_get_function_arguments(p.oid) = c.arguments ORDER BY c.name;
SELECT is(CASE p.provolatile WHEN 'v' THEN 'volatile' WHEN 's' THEN 'stable' ELSE 'immutable' END, c.volatility, format('volatility of pm.%s', c.name))
FROM contract c LEFT JOIN pg_proc p ON p.proname = c.name AND p.pronamespace = 'pm'::regnamespace AND pg_get_function_arguments(p.oid) = c.arguments ORDER BY c.name;
SELECT bag_eq(
	$$ SELECT proname::text FROM pg_proc WHERE pronamespace = 'pm'::regnamespace $$, 'SELECT name FROM contract',
	'schema pm has these functions, each once, and no others');
SELECT is_empty($$ SELECT oid::regprocedure FROM pg_proc WHERE pronamespace IN ('pm'::regnamespace, 'pm_catalog'::regnamespace) AND prosecdef $$,
	'no function is SECURITY DEFINER');
SELECT results_eq($$ SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace IN ('pm'::regnamespace, 'pm_catalog'::regnamespace) AND proparallel <> 'u' $$,
	$$ VALUES ('pm.done(jsonb)') $$, 'all functions except pm.done() are PARALLEL UNSAFE');
SELECT is_empty($$ SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'pm'::regnamespace AND obj_description(oid, 'pg_proc') IS NULL $$,
	'each function has a comment');
-- the names of the arguments are part of the contract
SELECT lives_ok($$ SELECT * FROM pm.read(log => 'x', after => 1, max_count => 1, types => '{a}') WHERE false $$, 'named arguments');
SELECT throws_ok($$ SELECT pm.retry(name => 'nobody', log => 'x', pos => 1, key => 'k') $$, '42704', NULL, 'named arguments of pm.retry');
SELECT throws_ok($$ SELECT pm.discard(name => 'nobody', log => NULL, pos => 1, key => 'k') $$, '42704', NULL, 'named arguments of pm.discard');
SELECT throws_ok($$ SELECT pm.set_timer(type => 'x', due => '2030-01-01', data => '{}') $$, '55000', NULL, 'named arguments of pm.set_timer');
SELECT throws_ok($$ SELECT pm.cancel_timer(type => 'x') $$, '55000', NULL, 'named arguments of pm.cancel_timer');

-- ---- types ------------------------------------------------------------------

SELECT is(
	(SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'pm.event'::regclass AND attnum > 0),
	'log text, position bigint, stream text, version bigint, type text, data jsonb, metadata jsonb, recorded_at timestamp with time zone',
	'pm.event');
SELECT isnt(obj_description('pm.event'::regtype, 'pg_type'), NULL, 'pm.event has a comment');

-- ---- views ------------------------------------------------------------------

CREATE TEMP TABLE columns (view text, n serial, name text, type text);
INSERT INTO columns (view, name, type) VALUES
	('log', 'name', 'text'), ('log', 'table', 'regclass'), ('log', 'pos', 'text'), ('log', 'stream', 'text'), ('log', 'version', 'text'),
	('log', 'type', 'text'), ('log', 'data', 'text'), ('log', 'metadata', 'text'), ('log', 'recorded_at', 'text'), ('log', 'created_at', 'timestamp with time zone'), ('log', 'kind', 'text'), ('log', 'filter', 'text'),
	('process_manager', 'name', 'text'), ('process_manager', 'owner', 'name'), ('process_manager', 'handler', 'text'), ('process_manager', 'logs', 'text[]'),
	('process_manager', 'correlate', 'text'), ('process_manager', 'types', 'text[]'), ('process_manager', 'on_failure', 'text'),
	('process_manager', 'max_attempts', 'integer'), ('process_manager', 'backoff', 'interval'), ('process_manager', 'handler_timeout', 'interval'),
	('process_manager', 'batch_size', 'integer'), ('process_manager', 'lanes', 'integer'), ('process_manager', 'park_limit', 'integer'),
	('process_manager', 'paused', 'boolean'), ('process_manager', 'registered_at', 'timestamp with time zone'),
	('process_manager', 'keep_ended', 'interval'), ('process_manager', 'journal', 'boolean'), ('process_manager', 'lease', 'interval'), ('process_manager', 'consumers', 'name[]'), ('process_manager', 'carry', 'text[]'), ('process_manager', 'appends_to', 'text[]'),
	('consumer', 'process_manager', 'text'), ('consumer', 'lane', 'integer'), ('consumer', 'consumer', 'text'), ('consumer', 'role', 'name'), ('consumer', 'since', 'timestamp with time zone'),
	('consumer', 'lease_until', 'timestamp with time zone'), ('consumer', 'fetched', 'integer'), ('consumer', 'oldest', 'timestamp with time zone'),
	('erasure', 'log', 'text'), ('erasure', 'positions', 'bigint[]'), ('erasure', 'erased_at', 'timestamp with time zone'), ('erasure', 'process_managers', 'text[]'),
	('promotion', 'log', 'text'), ('promotion', 'timeline', 'integer'), ('promotion', 'skipped_from', 'bigint'), ('promotion', 'skipped_to', 'bigint'), ('promotion', 'skipped_at', 'timestamp with time zone'),
	('cursor', 'process_manager', 'text'), ('cursor', 'log', 'text'), ('cursor', 'lane', 'integer'), ('cursor', 'position', 'bigint'), ('cursor', 'moved_at', 'timestamp with time zone'),
	('status', 'process_manager', 'text'), ('status', 'log', 'text'), ('status', 'lane', 'integer'), ('status', 'position', 'bigint'), ('status', 'high_water_mark', 'bigint'),
	('status', 'lag', 'bigint'), ('status', 'state', 'text'), ('status', 'reason', 'text'), ('status', 'hint', 'text'), ('status', 'attempts', 'integer'),
	('status', 'retry_at', 'timestamp with time zone'), ('status', 'parked', 'bigint'), ('status', 'handled', 'bigint'), ('status', 'errors', 'bigint'), ('status', 'rate', 'numeric'),
	('status', 'eta', 'interval'), ('status', 'oldest_unhandled', 'timestamp with time zone'), ('status', 'conflicts', 'bigint'), ('status', 'dead', 'bigint'), ('status', 'timers_overdue', 'bigint'), ('status', 'oldest_overdue', 'timestamp with time zone'), ('status', 'deferred', 'bigint'), ('status', 'oldest_age', 'interval'), ('status', 'lag_events', 'bigint'),
	('stat', 'process_manager', 'text'), ('stat', 'lane', 'integer'), ('stat', 'events', 'bigint'), ('stat', 'calls', 'bigint'), ('stat', 'batches', 'bigint'), ('stat', 'total_time', 'double precision'),
	('stat', 'max_time', 'double precision'), ('stat', 'failures', 'bigint'), ('stat', 'conflicts', 'bigint'), ('stat', 'deferred', 'bigint'), ('stat', 'failing', 'bigint'), ('stat', 'behind', 'bigint'),
	('stat', 'dead', 'bigint'), ('stat', 'timers', 'bigint'), ('stat', 'timers_overdue', 'bigint'), ('stat', 'oldest_unhandled', 'interval'), ('stat', 'reset_at', 'timestamp with time zone'),
	('instance', 'process_manager', 'text'), ('instance', 'key', 'text'), ('instance', 'state', 'jsonb'), ('instance', 'started_at', 'timestamp with time zone'),
	('instance', 'updated_at', 'timestamp with time zone'),
	('association', 'process_manager', 'text'), ('association', 'key', 'text'), ('association', 'kind', 'text'), ('association', 'value', 'text'),
	('ended', 'process_manager', 'text'), ('ended', 'key', 'text'), ('ended', 'started_at', 'timestamp with time zone'), ('ended', 'ended_at', 'timestamp with time zone'),
	('ended', 'state', 'jsonb'), ('ended', 'result', 'jsonb'), ('ended', 'reason', 'text'), ('ended', 'ended_by', 'text'),
	('journal', 'process_manager', 'text'), ('journal', 'key', 'text'), ('journal', 'started_at', 'timestamp with time zone'), ('journal', 'seq', 'bigint'), ('journal', 'log', 'text'),
	('journal', 'position', 'bigint'), ('journal', 'type', 'text'), ('journal', 'handled_at', 'timestamp with time zone'), ('journal', 'state', 'jsonb'), ('journal', 'appended', 'jsonb'),
	('journal', 'timers', 'jsonb'), ('journal', 'by', 'text'), ('journal', 'reason', 'text'),
	('timer', 'process_manager', 'text'), ('timer', 'key', 'text'), ('timer', 'type', 'text'), ('timer', 'due', 'timestamp with time zone'), ('timer', 'data', 'jsonb'),
	('parked', 'process_manager', 'text'), ('parked', 'log', 'text'), ('parked', 'position', 'bigint'), ('parked', 'key', 'text'), ('parked', 'state', 'text'),
	('parked', 'event', 'pm.event'), ('parked', 'attempts', 'integer'), ('parked', 'message', 'text'), ('parked', 'detail', 'text'), ('parked', 'context', 'text'),
	('parked', 'sqlstate', 'text'), ('parked', 'retry_at', 'timestamp with time zone'), ('parked', 'parked_at', 'timestamp with time zone'), ('parked', 'hint', 'text'), ('parked', 'error_hint', 'text'),
	('worker', 'pid', 'integer'), ('worker', 'kind', 'text'), ('worker', 'database', 'name'), ('worker', 'role', 'name'), ('worker', 'state', 'text'),
	('worker', 'since', 'timestamp with time zone'), ('worker', 'process_manager', 'text'), ('worker', 'lane', 'integer'), ('worker', 'log', 'text'),
	('worker', 'position', 'bigint'), ('worker', 'overdue', 'boolean'), ('worker', 'started_at', 'timestamp with time zone'),
	('worker', 'wait_event_type', 'text'), ('worker', 'wait_event', 'text'),
	('blocker', 'blocks', 'text'), ('blocker', 'log', 'text'), ('blocker', 'process_manager', 'text'), ('blocker', 'pid', 'integer'), ('blocker', 'gid', 'text'),
	('blocker', 'role', 'name'), ('blocker', 'since', 'timestamp with time zone'), ('blocker', 'state', 'text'), ('blocker', 'query', 'text'), ('blocker', 'hint', 'text'),
	('blocker', 'wait_event_type', 'text'), ('blocker', 'wait_event', 'text');

SELECT is(
	(SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = to_regclass('pm.' || v.view) AND attnum > 0 AND NOT attisdropped),
	(SELECT string_agg(name || ' ' || type, ', ' ORDER BY n) FROM columns c WHERE c.view = v.view),
	'columns of pm.' || v.view)
FROM (SELECT DISTINCT view FROM columns ORDER BY 1) v;
SELECT bag_eq($$ SELECT relname::text FROM pg_class WHERE relnamespace = 'pm'::regnamespace AND relkind IN ('v', 'r', 'm', 'p', 'f', 'S') $$, 'SELECT DISTINCT view FROM columns',
	'schema pm has these views, and no others and no tables');
SELECT is_empty($$ SELECT oid::regclass FROM pg_class WHERE relnamespace = 'pm'::regnamespace AND relkind = 'v' AND NOT coalesce(reloptions @> '{security_barrier=true}', false) $$,
	'each view is a security barrier');
SELECT is_empty($$ SELECT oid::regclass FROM pg_class WHERE relnamespace = 'pm'::regnamespace AND relkind = 'v' AND obj_description(oid, 'pg_class') IS NULL $$,
	'each view has a comment');
SELECT is_empty($$ SELECT a.attrelid::regclass, a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
	WHERE c.relnamespace = 'pm'::regnamespace AND c.relkind IN ('v', 'c') AND a.attnum > 0 AND col_description(a.attrelid, a.attnum) IS NULL $$,
	'every column of a view and every attribute of pm.event has a comment');
SELECT is_empty($$ SELECT oid::regclass FROM pg_class WHERE relnamespace = 'pm_catalog'::regnamespace AND relrowsecurity $$,
	'no row-level security, so that any role can dump');
SELECT is(obj_description('pm'::regnamespace, 'pg_namespace') IS NOT NULL AND obj_description('pm_catalog'::regnamespace, 'pg_namespace') IS NOT NULL, true, 'the schemas have comments');
-- every name in the body of a view or function is qualified
SELECT is_empty($$ SELECT conname FROM pg_constraint WHERE connamespace = 'pm'::regnamespace $$, 'schema pm has no constraints');

-- ---- settings ---------------------------------------------------------------

SELECT is(
	(SELECT string_agg(concat_ws(' ', name, boot_val || unit, vartype, context), ', ' ORDER BY name COLLATE "C") FROM pg_settings WHERE name LIKE 'pm.%' AND unit IS NOT NULL),
	'pm.batch_duration 100ms integer sighup, pm.log_min_duration -1ms integer superuser, pm.poll_interval 1000ms integer sighup, pm.promotion_wait 10000ms integer sighup', 'the settings with a unit');
SELECT is(
	(SELECT string_agg(concat_ws(' ', name, boot_val, vartype, context), ', ' ORDER BY name COLLATE "C") FROM pg_settings WHERE name LIKE 'pm.%' AND unit IS NULL),
	'pm.launcher on bool sighup, pm.max_logs 16384 integer postmaster, pm.max_stats 16384 integer postmaster, pm.max_workers 4 integer postmaster, pm.promotion_gap 10000000 integer sighup', 'the settings without a unit');
SELECT throws_ok($$ SET pm.nosuch = 1 $$, '42602', NULL, 'an unknown setting is refused');
SELECT throws_ok($$ SET pm.launcher = off $$, '55P02', NULL, 'a session cannot stop the workers');

-- ---- the extension ----------------------------------------------------------

SELECT is(extrelocatable, false, 'not relocatable') FROM pg_extension WHERE extname = 'pm';
SELECT is(trusted, false, 'not trusted') FROM pg_available_extension_versions WHERE name = 'pm';
SELECT is(superuser, true, 'a superuser installs it') FROM pg_available_extension_versions WHERE name = 'pm';
SELECT bag_eq(
	$$ SELECT unnest(extconfig)::regclass::text FROM pg_extension WHERE extname = 'pm' $$,
	$$ SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'pm_catalog'::regnamespace AND relkind IN ('r', 'S') AND relname NOT IN ('lease', 'fetched', 'noted') $$,
	'all private tables and sequences are dumped, except what consumers hold');

SELECT * FROM finish();
ROLLBACK;
