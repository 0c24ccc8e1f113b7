-- Comments on all public objects, for \dn+, \df+ and \d+ of psql.

COMMENT ON SCHEMA pm IS 'functions and views of process managers';
COMMENT ON SCHEMA pm_catalog IS 'private tables and internal functions of process managers';
COMMENT ON SCHEMA pm_process_manager IS 'one type for each process manager, by which PostgreSQL knows its owner and its logs';

COMMENT ON TYPE pm.event IS 'an event of a log, as handlers get it';
COMMENT ON COLUMN pm.event.log IS 'name of the log, or NULL for a timer';
COMMENT ON COLUMN pm.event."position" IS 'position in the log, or NULL for a timer';
COMMENT ON COLUMN pm.event.stream IS 'stream of the event, or the key of a timer';
COMMENT ON COLUMN pm.event.version IS 'version within the stream; NULL if the event has none';
COMMENT ON COLUMN pm.event.type IS 'type of the event or timer';
COMMENT ON COLUMN pm.event.data IS 'content of the event';
COMMENT ON COLUMN pm.event.metadata IS 'data about the event, such as its causation and correlation';
COMMENT ON COLUMN pm.event.recorded_at IS 'when the event was appended, or when the timer was due';

-- Logs

COMMENT ON FUNCTION pm.create_log(text, boolean) IS 'create an event log and its table, or restore the guard of an existing log';
COMMENT ON FUNCTION pm.attach_log(text, regclass, text, text, text, text, text, text, text, text) IS 'use a table that another program writes as an event log';
COMMENT ON FUNCTION pm.detach_log(text) IS 'remove an attached log that no process manager follows, and keep its table';
COMMENT ON FUNCTION pm.create_replica_log(text) IS 'create an event log that a subscription fills with the events of another server, or restore the guard of an existing one';
COMMENT ON FUNCTION pm.rename_log(text, text) IS 'give a log and its table another name or schema; process managers continue';
COMMENT ON FUNCTION pm.partition_log(text, bigint, text) IS 'turn an ordinary log into a partitioned one; its table becomes the first partition';
COMMENT ON FUNCTION pm.drop_log(text) IS 'remove an event log that no process manager follows, and keep its table';
COMMENT ON FUNCTION pm.append(text, text, text, jsonb, jsonb, bigint, text) IS 'append an event to a stream and return its position';
COMMENT ON FUNCTION pm.append_all(text, text, jsonb, bigint) IS 'append several events to a stream and return their positions';
COMMENT ON FUNCTION pm.read(text, bigint, integer, text[]) IS 'read the events after a position, up to the high-water mark';
COMMENT ON FUNCTION pm.read_stream(text, text, bigint, integer) IS 'read all visible events of a stream';
COMMENT ON FUNCTION pm.high_water_mark(text) IS 'position up to which no further event can appear in a log';
COMMENT ON FUNCTION pm.timeline() IS 'timeline on which this server writes; NULL in recovery';
COMMENT ON FUNCTION pm.trace(text, bigint) IS 'the causes of an event, and the tree of events that it has caused, as far as the caller may read the logs';
COMMENT ON FUNCTION pm.trim(text, bigint, integer) IS 'delete old events that all process managers have handled, and return how many';
COMMENT ON FUNCTION pm.keep_parked(text, bigint) IS 'copy parked events, so that they can be deleted from their log';

-- Process managers

COMMENT ON FUNCTION pm.register(text, text, text[], text, text[], text, text, integer, interval, interval, integer, integer, integer, interval, boolean, interval, text[], text[])
	IS 'register a process manager, or change one';
COMMENT ON FUNCTION pm.alter(text, text, text[], text, text[], text, text, integer, interval, interval, integer, integer, integer, interval, boolean, interval, text[], text[], text[])
	IS 'change some settings of a process manager, and leave the others as they are';
COMMENT ON FUNCTION pm.fetch(text, text, integer, interval) IS 'called by a consumer: lease a lane and return its next events and timers';
COMMENT ON FUNCTION pm.advance(text, text, integer, text, bigint) IS 'called by a consumer: record that what it has fetched from a lane is handled';
COMMENT ON FUNCTION pm.extend(text, text) IS 'called by a consumer: renew its leases, and return when they run out';
COMMENT ON FUNCTION pm.release(text, text) IS 'called by a consumer: give up its lanes';
COMMENT ON FUNCTION pm.fail(text, text, text, bigint, text, interval, boolean, text) IS 'called by a consumer: park an event or timer that it could not handle, or wants to handle later';
COMMENT ON FUNCTION pm.save(text, text, text, jsonb) IS 'called by a consumer: keep the state of an instance';
COMMENT ON FUNCTION pm.finish(text, text, text, jsonb) IS 'called by a consumer: end an instance';
COMMENT ON FUNCTION pm.unfollow(text, text) IS 'stop following a log';
COMMENT ON FUNCTION pm.unregister(text) IS 'remove a process manager with its cursors, instances, timers and parked events';
COMMENT ON FUNCTION pm.pause(text) IS 'stop a process manager until pm.resume is called';
COMMENT ON FUNCTION pm.resume(text) IS 'end a pause or a halt, or adopt a copy; NULL: of all process managers that the caller may resume';
COMMENT ON FUNCTION pm.set_owner(text, text) IS 'give a process manager to another role';
COMMENT ON FUNCTION pm.seek(text, text, bigint, boolean) IS 'move a cursor, so that handling continues after this position';
COMMENT ON FUNCTION pm.retry(text, text, bigint, text) IS 'retry a parked event now, and then the other events of its key';
COMMENT ON FUNCTION pm.discard(text, text, bigint, text) IS 'give up a parked event';
COMMENT ON FUNCTION pm.retry(text) IS 'retry all dead events of a process manager now, and return how many';
COMMENT ON FUNCTION pm.discard(text) IS 'give up all dead events of a process manager, and return how many';
COMMENT ON FUNCTION pm.reply(text, bigint, text, jsonb) IS 'called by a consumer: send an answer to the instance whose handler has appended an event';
COMMENT ON FUNCTION pm.send(text, text, text, jsonb) IS 'send an event to one instance of a process manager, without a log';
COMMENT ON FUNCTION pm.erase(text, text, jsonb) IS 'replace the data of the events of a stream, in the log and wherever pm keeps it';
COMMENT ON FUNCTION pm.end_instance(text, text, text) IS 'end an instance, with its timers and parked events';
COMMENT ON FUNCTION pm.set_state(text, text, jsonb, text) IS 'set the state of an instance';
COMMENT ON FUNCTION pm.history(text, text) IS 'what an instance has been through, why it waits, and what will happen next';
COMMENT ON FUNCTION pm.set_timer(text, timestamptz, jsonb, text, text, text) IS 'called by the handler of an instance, or by a consumer: set a timer, which comes back as an event of this type';
COMMENT ON FUNCTION pm.cancel_timer(text, text, text, text) IS 'called by the handler of an instance, or by a consumer: cancel a timer; false if there is none of this type';
COMMENT ON FUNCTION pm.fail_permanently(text) IS 'in a handler: fail permanently, so that the event is dead at once';
COMMENT ON FUNCTION pm.defer(interval, text) IS 'in a handler: have the event handled again after some time, without a failure';
COMMENT ON FUNCTION pm.done(jsonb) IS 'the value that the handler of an instance returns to end the instance, with its result';
COMMENT ON FUNCTION pm.catch_up(text, timestamptz, bigint, text) IS 'handle waiting events and timers in this session, and return how many';
COMMENT ON FUNCTION pm.rehearse(text, text, text, bigint, integer) IS 'what a handler would do with events; everything is undone';
COMMENT ON FUNCTION pm.now() IS 'the current time of a handler: now(), or the as_of of the pm.catch_up call that runs it';
COMMENT ON FUNCTION pm.associate(text, text) IS 'called by the handler of an instance: let pm.associated find the instance by this value';
COMMENT ON FUNCTION pm.dissociate(text, text) IS 'called by the handler of an instance: end an association; false if there is none';
COMMENT ON FUNCTION pm.associated(text, text) IS 'called by correlate: the keys of the instances that are found by this value';
COMMENT ON FUNCTION pm.key() IS 'the key for which the handler is called; NULL outside of a handler';
COMMENT ON FUNCTION pm.wait_for(text, text, bigint, interval) IS 'wait until a process manager has handled the events that exist now; false if the time is up';
COMMENT ON FUNCTION pm.diagram() IS 'which process managers follow and append to which logs, as text for Graphviz';
COMMENT ON FUNCTION pm.stat_reset(text) IS 'set the counters of pm.stat to zero: of one process manager, or of all that the caller may change';

-- Views

COMMENT ON VIEW pm.log IS 'event logs with their tables and columns';
COMMENT ON COLUMN pm.log.name IS 'name of the log';
COMMENT ON COLUMN pm.log."table" IS 'table of the log';
COMMENT ON COLUMN pm.log.pos IS 'column of the position';
COMMENT ON COLUMN pm.log.stream IS 'column of the stream';
COMMENT ON COLUMN pm.log.version IS 'column of the version within the stream, or NULL';
COMMENT ON COLUMN pm.log.type IS 'column of the type';
COMMENT ON COLUMN pm.log.data IS 'column of the data';
COMMENT ON COLUMN pm.log.metadata IS 'column of the metadata, or NULL';
COMMENT ON COLUMN pm.log.recorded_at IS 'column of the time of recording, or NULL';
COMMENT ON COLUMN pm.log.created_at IS 'when the log was created';
COMMENT ON COLUMN pm.log.kind IS 'ordinary, attached, partitioned or replica';
COMMENT ON COLUMN pm.log.filter IS 'condition for the rows of the table that are events of an attached log; NULL: all rows';

COMMENT ON VIEW pm.process_manager IS 'process managers with their owners and settings';
COMMENT ON COLUMN pm.process_manager.name IS 'name of the process manager';
COMMENT ON COLUMN pm.process_manager.owner IS 'role that owns it and that its handler runs as';
COMMENT ON COLUMN pm.process_manager.handler IS 'function that is called for each event; NULL: consumers do the work';
COMMENT ON COLUMN pm.process_manager.logs IS 'logs that it follows';
COMMENT ON COLUMN pm.process_manager.correlate IS 'function that returns the key of an event; NULL: the key is the stream';
COMMENT ON COLUMN pm.process_manager.types IS 'types of events that it handles; NULL: all types';
COMMENT ON COLUMN pm.process_manager.on_failure IS 'what happens when the handler fails: park the event, or halt';
COMMENT ON COLUMN pm.process_manager.max_attempts IS 'attempts after which an event is dead, or the process manager is halted';
COMMENT ON COLUMN pm.process_manager.backoff IS 'pause before the first retry; it doubles with each attempt';
COMMENT ON COLUMN pm.process_manager.handler_timeout IS 'time after which a call of the handler is canceled';
COMMENT ON COLUMN pm.process_manager.batch_size IS 'maximum number of events that are handled in one transaction';
COMMENT ON COLUMN pm.process_manager.lanes IS 'number of lanes that handle events in parallel';
COMMENT ON COLUMN pm.process_manager.park_limit IS 'maximum number of keys that may have parked events in a lane before it is halted';
COMMENT ON COLUMN pm.process_manager.paused IS 'whether it is paused';
COMMENT ON COLUMN pm.process_manager.registered_at IS 'when it was first registered';
COMMENT ON COLUMN pm.process_manager.keep_ended IS 'how long ended instances and journals are kept';
COMMENT ON COLUMN pm.process_manager.journal IS 'whether each event and timer that an instance handles leaves an entry in pm.journal';
COMMENT ON COLUMN pm.process_manager.lease IS 'how long a consumer may hold a lane; NULL: it has a handler';
COMMENT ON COLUMN pm.process_manager.consumers IS 'roles that may be its consumers, in addition to members of the owner';
COMMENT ON COLUMN pm.process_manager.carry IS 'keys of metadata that appended events and timers inherit';
COMMENT ON COLUMN pm.process_manager.appends_to IS 'logs to which its handler has appended';

COMMENT ON VIEW pm.cursor IS 'position up to which each process manager has handled each log';
COMMENT ON COLUMN pm.cursor.process_manager IS 'name of the process manager';
COMMENT ON COLUMN pm.cursor.log IS 'name of the log';
COMMENT ON COLUMN pm.cursor.lane IS 'number of the lane, from 0';
COMMENT ON COLUMN pm.cursor."position" IS 'position up to which all events have been handled or parked';
COMMENT ON COLUMN pm.cursor.moved_at IS 'when the cursor moved last';

COMMENT ON VIEW pm.status IS 'progress and state of each process manager in each of its logs, with the reason and a hint';
COMMENT ON COLUMN pm.status.process_manager IS 'name of the process manager';
COMMENT ON COLUMN pm.status.log IS 'name of the log';
COMMENT ON COLUMN pm.status.lane IS 'number of the lane, from 0';
COMMENT ON COLUMN pm.status."position" IS 'position up to which all events have been handled or parked';
COMMENT ON COLUMN pm.status.high_water_mark IS 'position up to which events can be handled now; NULL if it is not known';
COMMENT ON COLUMN pm.status.lag IS 'number of positions between the cursor and the end of the log; NULL if it is not known';
COMMENT ON COLUMN pm.status.state IS 'idle, running, retrying, halted, paused or waiting';
COMMENT ON COLUMN pm.status.reason IS 'why it is in this state';
COMMENT ON COLUMN pm.status.hint IS 'what can be done about it';
COMMENT ON COLUMN pm.status.attempts IS 'failed attempts of the event that it is retrying';
COMMENT ON COLUMN pm.status.retry_at IS 'when that event, or the next parked one, is tried again';
COMMENT ON COLUMN pm.status.parked IS 'number of parked events';
COMMENT ON COLUMN pm.status.handled IS 'number of events handled so far';
COMMENT ON COLUMN pm.status.errors IS 'number of failures so far';
COMMENT ON COLUMN pm.status.rate IS 'events handled per second, averaged over about 10 seconds';
COMMENT ON COLUMN pm.status.eta IS 'time until the cursor reaches the high-water mark at this rate';
COMMENT ON COLUMN pm.status.oldest_unhandled IS 'when the first event after the cursor was recorded';
COMMENT ON COLUMN pm.status.conflicts IS 'number of lost races for a stream, serialization failures, deadlocks and lock timeouts that were retried and not counted as errors';
COMMENT ON COLUMN pm.status.dead IS 'number of parked events that are dead: they are tried again only with pm.retry';
COMMENT ON COLUMN pm.status.timers_overdue IS 'number of timers that are due and have not fired';
COMMENT ON COLUMN pm.status.oldest_overdue IS 'when the oldest of these timers was due';
COMMENT ON COLUMN pm.status.deferred IS 'number of parked events that their handler has deferred';
COMMENT ON COLUMN pm.status.oldest_age IS 'age of oldest_unhandled';
COMMENT ON COLUMN pm.status.lag_events IS 'number of visible events above the cursor, counted up to 1000';

COMMENT ON VIEW pm.stat IS 'what process managers have done since reset_at, and what is waiting, by lane';
COMMENT ON COLUMN pm.stat.process_manager IS 'name of the process manager';
COMMENT ON COLUMN pm.stat.lane IS 'number of the lane, from 0';
COMMENT ON COLUMN pm.stat.events IS 'events and timers that were handled';
COMMENT ON COLUMN pm.stat.calls IS 'calls of the handler; NULL for consumers';
COMMENT ON COLUMN pm.stat.batches IS 'transactions in which something was handled';
COMMENT ON COLUMN pm.stat.total_time IS 'time spent in the handler, in milliseconds; NULL for consumers';
COMMENT ON COLUMN pm.stat.max_time IS 'time of the longest call of the handler, in milliseconds; NULL for consumers';
COMMENT ON COLUMN pm.stat.failures IS 'failures';
COMMENT ON COLUMN pm.stat.conflicts IS 'deadlocks and similar errors that did not count as failures';
COMMENT ON COLUMN pm.stat.deferred IS 'parked events that their handler has deferred';
COMMENT ON COLUMN pm.stat.failing IS 'parked events that will be tried again';
COMMENT ON COLUMN pm.stat.behind IS 'parked events that wait for an earlier one of their key';
COMMENT ON COLUMN pm.stat.dead IS 'parked events that are not tried again';
COMMENT ON COLUMN pm.stat.timers IS 'timers that are set now, and sent events that a dispatcher has read';
COMMENT ON COLUMN pm.stat.timers_overdue IS 'how many of these are due';
COMMENT ON COLUMN pm.stat.oldest_unhandled IS 'age of the oldest event above the cursors';
COMMENT ON COLUMN pm.stat.reset_at IS 'when counting began';

COMMENT ON VIEW pm.instance IS 'the state that process managers keep for each key';
COMMENT ON COLUMN pm.instance.process_manager IS 'name of the process manager';
COMMENT ON COLUMN pm.instance.key IS 'key of the instance';
COMMENT ON COLUMN pm.instance.state IS 'what the handler returned last';
COMMENT ON COLUMN pm.instance.started_at IS 'when the instance began';
COMMENT ON COLUMN pm.instance.updated_at IS 'when its state changed last';

COMMENT ON VIEW pm.association IS 'values by which instances are found, in addition to their keys';
COMMENT ON COLUMN pm.association.process_manager IS 'name of the process manager';
COMMENT ON COLUMN pm.association.key IS 'key of the instance';
COMMENT ON COLUMN pm.association.kind IS 'what the value is';
COMMENT ON COLUMN pm.association.value IS 'the value; one of more than 1,000 bytes is replaced by its hash';

COMMENT ON VIEW pm.ended IS 'instances that have ended, for as long as their process managers keep them';
COMMENT ON COLUMN pm.ended.process_manager IS 'name of the process manager';
COMMENT ON COLUMN pm.ended.key IS 'key of the instance';
COMMENT ON COLUMN pm.ended.started_at IS 'when the instance began';
COMMENT ON COLUMN pm.ended.ended_at IS 'when it ended';
COMMENT ON COLUMN pm.ended.state IS 'its last state; NULL if it ended in the call in which it began';
COMMENT ON COLUMN pm.ended.result IS 'what the handler gave to pm.done';
COMMENT ON COLUMN pm.ended.reason IS 'why the role in ended_by has ended it';
COMMENT ON COLUMN pm.ended.ended_by IS 'role that has ended it; NULL if it ended by itself';

COMMENT ON VIEW pm.journal IS 'the events and timers that instances have handled, and what people have changed';
COMMENT ON COLUMN pm.journal.process_manager IS 'name of the process manager';
COMMENT ON COLUMN pm.journal.key IS 'key of the instance';
COMMENT ON COLUMN pm.journal.started_at IS 'when the instance began';
COMMENT ON COLUMN pm.journal.seq IS 'number of the entry among those of the instance, from 1';
COMMENT ON COLUMN pm.journal.log IS 'log of the event; NULL for a timer or a change by a person';
COMMENT ON COLUMN pm.journal."position" IS 'position of the event';
COMMENT ON COLUMN pm.journal.type IS 'type of the event or timer; NULL for a change by a person';
COMMENT ON COLUMN pm.journal.handled_at IS 'when it was handled';
COMMENT ON COLUMN pm.journal.state IS 'state afterwards; NULL if the instance has ended';
COMMENT ON COLUMN pm.journal.appended IS 'log and position of each event that the handler has appended';
COMMENT ON COLUMN pm.journal.timers IS 'type and due time of each timer that the handler has set';
COMMENT ON COLUMN pm.journal.by IS 'role that sent the event or made the change';
COMMENT ON COLUMN pm.journal.reason IS 'why that role has made the change';

COMMENT ON VIEW pm.timer IS 'timers that instances have set';
COMMENT ON COLUMN pm.timer.process_manager IS 'name of the process manager';
COMMENT ON COLUMN pm.timer.key IS 'key of the instance';
COMMENT ON COLUMN pm.timer.type IS 'type of the event that the timer becomes';
COMMENT ON COLUMN pm.timer.due IS 'when the timer fires';
COMMENT ON COLUMN pm.timer.data IS 'data of that event';

COMMENT ON VIEW pm.parked IS 'events and timers that are set aside because they, or an earlier one of their key, failed or were deferred';
COMMENT ON COLUMN pm.parked.process_manager IS 'name of the process manager';
COMMENT ON COLUMN pm.parked.log IS 'name of the log, or NULL for a timer';
COMMENT ON COLUMN pm.parked."position" IS 'position of the event, or the number that names a timer';
COMMENT ON COLUMN pm.parked.key IS 'key of the event, or NULL if correlate has failed permanently';
COMMENT ON COLUMN pm.parked.state IS 'failing: it is retried; deferred: its handler wants it later; behind: it waits for an earlier one; dead: it is retried only with pm.retry';
COMMENT ON COLUMN pm.parked.event IS 'the event as it is in its log now';
COMMENT ON COLUMN pm.parked.attempts IS 'number of failures so far';
COMMENT ON COLUMN pm.parked.message IS 'message of the last failure, or the reason for a deferral';
COMMENT ON COLUMN pm.parked.detail IS 'detail of the last failure';
COMMENT ON COLUMN pm.parked.context IS 'context of the last failure';
COMMENT ON COLUMN pm.parked.sqlstate IS 'SQLSTATE of the last failure';
COMMENT ON COLUMN pm.parked.retry_at IS 'when it is tried next; NULL if it is behind or dead, and while its process manager is paused, halted or in a copy';
COMMENT ON COLUMN pm.parked.parked_at IS 'when it was set aside';
COMMENT ON COLUMN pm.parked.hint IS 'advice on the last failure';
COMMENT ON COLUMN pm.parked.error_hint IS 'hint of the last failure, as the handler gave it';

COMMENT ON VIEW pm.worker IS 'background workers and what each of them is doing';
COMMENT ON COLUMN pm.worker.pid IS 'process ID, or NULL while the worker starts';
COMMENT ON COLUMN pm.worker.kind IS 'launcher, scheduler or dispatcher';
COMMENT ON COLUMN pm.worker.database IS 'database that it serves';
COMMENT ON COLUMN pm.worker.role IS 'role whose process managers it runs';
COMMENT ON COLUMN pm.worker.state IS 'starting, idle, reading, handling or committing';
COMMENT ON COLUMN pm.worker.since IS 'when this state began';
COMMENT ON COLUMN pm.worker.process_manager IS 'process manager that it is running, if it belongs to this database';
COMMENT ON COLUMN pm.worker.lane IS 'lane of that process manager';
COMMENT ON COLUMN pm.worker.log IS 'log of the event that it is handling';
COMMENT ON COLUMN pm.worker."position" IS 'position of the event that it is handling';
COMMENT ON COLUMN pm.worker.overdue IS 'whether the handler has ignored its timeout';
COMMENT ON COLUMN pm.worker.started_at IS 'when the worker started';
COMMENT ON COLUMN pm.worker.wait_event_type IS 'type of what it waits for, as in pg_stat_activity';
COMMENT ON COLUMN pm.worker.wait_event IS 'what it waits for, as in pg_stat_activity';

COMMENT ON VIEW pm.consumer IS 'lanes that consumers hold, or whose lease has run out before everything was advanced';
COMMENT ON COLUMN pm.consumer.process_manager IS 'name of the process manager';
COMMENT ON COLUMN pm.consumer.lane IS 'number of the lane, from 0';
COMMENT ON COLUMN pm.consumer.consumer IS 'name of the consumer';
COMMENT ON COLUMN pm.consumer.role IS 'role that has fetched';
COMMENT ON COLUMN pm.consumer.since IS 'when it began to hold the lane';
COMMENT ON COLUMN pm.consumer.lease_until IS 'when its lease runs out';
COMMENT ON COLUMN pm.consumer.fetched IS 'number of events and timers that it has fetched and not advanced';
COMMENT ON COLUMN pm.consumer.oldest IS 'when the first of these was recorded or due';

COMMENT ON VIEW pm.erasure IS 'calls of pm.erase that are not complete yet';
COMMENT ON COLUMN pm.erasure.log IS 'log of the events';
COMMENT ON COLUMN pm.erasure.positions IS 'positions of the events whose data was replaced in the log';
COMMENT ON COLUMN pm.erasure.erased_at IS 'when it was replaced';
COMMENT ON COLUMN pm.erasure.process_managers IS 'process managers that were locked by others, and may still keep data of the events';

COMMENT ON VIEW pm.promotion IS 'positions that logs have skipped after promotions, because the old primary may have drawn them';
COMMENT ON COLUMN pm.promotion.log IS 'name of the log';
COMMENT ON COLUMN pm.promotion.timeline IS 'timeline that the promotion began';
COMMENT ON COLUMN pm.promotion.skipped_from IS 'first position that was skipped';
COMMENT ON COLUMN pm.promotion.skipped_to IS 'last position that was skipped';
COMMENT ON COLUMN pm.promotion.skipped_at IS 'when they were skipped: at the first write after the promotion';

COMMENT ON VIEW pm.blocker IS 'sessions and prepared transactions that block process managers and logs, and how to end them';
COMMENT ON COLUMN pm.blocker.blocks IS 'what is blocked: high-water mark, log, process manager or dispatcher';
COMMENT ON COLUMN pm.blocker.log IS 'log that is blocked, or that a blocked dispatcher is handling';
COMMENT ON COLUMN pm.blocker.process_manager IS 'process manager that is blocked';
COMMENT ON COLUMN pm.blocker.pid IS 'process ID of the session; NULL for a prepared transaction';
COMMENT ON COLUMN pm.blocker.gid IS 'identifier of the prepared transaction; NULL for a session';
COMMENT ON COLUMN pm.blocker.role IS 'role of the session or prepared transaction';
COMMENT ON COLUMN pm.blocker.since IS 'when its transaction began';
COMMENT ON COLUMN pm.blocker.state IS 'state of the session, as in pg_stat_activity, or prepared';
COMMENT ON COLUMN pm.blocker.query IS 'last statement of the session, as in pg_stat_activity';
COMMENT ON COLUMN pm.blocker.hint IS 'the SQL that ends the transaction, or what else helps';
COMMENT ON COLUMN pm.blocker.wait_event_type IS 'type of what it waits for, as in pg_stat_activity';
COMMENT ON COLUMN pm.blocker.wait_event IS 'what it waits for, as in pg_stat_activity';
