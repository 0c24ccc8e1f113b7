-- What \d+ and \df+ say.

COMMENT ON SCHEMA pm IS 'process managers: functions and views';
COMMENT ON SCHEMA pm_catalog IS 'process managers: private tables and internal functions';
COMMENT ON SCHEMA pm_process_manager IS 'process managers: a type for each, by which PostgreSQL knows its owner and its logs';
COMMENT ON TYPE pm.event IS 'an event of a log, as handlers get it';

COMMENT ON FUNCTION pm.create_log(text) IS 'make a table of this name and the event log of this name, or repair the guard of one';
COMMENT ON FUNCTION pm.drop_log(text) IS 'forget an event log that nobody follows; its table stays';
COMMENT ON FUNCTION pm.append(text, text, text, jsonb, jsonb, bigint) IS 'append an event to a stream, return its position';
COMMENT ON FUNCTION pm.append_all(text, text, jsonb, bigint) IS 'append events to a stream, return their positions';
COMMENT ON FUNCTION pm.read(text, bigint, integer, text[]) IS 'events after a position, never past the high-water mark';
COMMENT ON FUNCTION pm.read_stream(text, text, bigint, integer) IS 'the events of a stream, all that are visible';
COMMENT ON FUNCTION pm.high_water_mark(text) IS 'the largest position at or below which nothing can appear any more';
COMMENT ON FUNCTION pm.trace(text, bigint) IS 'the tree of what one event caused, as far as the caller may read';
COMMENT ON FUNCTION pm.trim(text, bigint, integer) IS 'delete old events that everybody has handled, return how many';

COMMENT ON FUNCTION pm.register(text, text, text[], text, text[], text, text, integer, interval, interval, integer, integer, integer)
	IS 'register a process manager, or give it new settings';
COMMENT ON FUNCTION pm.unfollow(text, text) IS 'stop following a log';
COMMENT ON FUNCTION pm.unregister(text) IS 'forget a process manager and its cursors';
COMMENT ON FUNCTION pm.pause(text) IS 'stop a process manager until pm.resume';
COMMENT ON FUNCTION pm.resume(text) IS 'end a pause or a halt, adopt a copy; null: all that the caller may';
COMMENT ON FUNCTION pm.set_owner(text, text) IS 'give a process manager to another role';
COMMENT ON FUNCTION pm.seek(text, text, bigint, boolean) IS 'set a cursor: the next event is the first one after this position';
COMMENT ON FUNCTION pm.retry(text, text, bigint) IS 'have a parked event, and then the rest of its key, retried now';
COMMENT ON FUNCTION pm.discard(text, text, bigint) IS 'give up a parked event';
COMMENT ON FUNCTION pm.retry(text) IS 'have all dead events of a process manager, and then the rest of their keys, retried now';
COMMENT ON FUNCTION pm.discard(text) IS 'give up all dead events of a process manager';
COMMENT ON FUNCTION pm.set_timer(text, timestamptz, jsonb) IS 'in an instance''s handler: have it called with an event of this type when it is due';
COMMENT ON FUNCTION pm.cancel_timer(text) IS 'in an instance''s handler: forget a timer; false if there is none';
COMMENT ON FUNCTION pm.done() IS 'what an instance''s handler returns to end the instance';
COMMENT ON FUNCTION pm.catch_up(text, timestamptz, bigint, text) IS 'handle in this session what is there, return how many events';
COMMENT ON FUNCTION pm.now() IS 'now(), or the as_of of the pm.catch_up that runs';
COMMENT ON FUNCTION pm.wait_for(text, text, bigint, interval) IS 'wait until a process manager has handled what is there now; false on timeout';

COMMENT ON VIEW pm.log IS 'the event logs, their tables and columns';
COMMENT ON VIEW pm.process_manager IS 'the registrations, with owner and policy';
COMMENT ON VIEW pm.cursor IS 'up to where each process manager has handled each log';
COMMENT ON VIEW pm.status IS 'a row a cursor: how far it is, how it is, why, and what to do about it';
COMMENT ON VIEW pm.instance IS 'what process managers keep for each key';
COMMENT ON VIEW pm.timer IS 'what instances have asked to be told later';
COMMENT ON VIEW pm.parked IS 'events and timers set aside, since they failed or an earlier one of their key did';
COMMENT ON VIEW pm.worker IS 'the background workers and what they do now';
COMMENT ON VIEW pm.blocker IS 'who holds back a high-water mark or is in a dispatcher''s way, and the SQL that ends it';
