-- pm.reply: a consumer answers the instance whose handler has appended an event
\set SHOW_CONTEXT never
\getenv abs_srcdir PG_ABS_SRCDIR
\set no_workers :abs_srcdir '/sql/no_workers.inc'
\set ECHO none
\i :no_workers
\set ECHO all

SELECT pm.create_log('orders');
SELECT pm.create_log('outbox');
SELECT pm.create_log('unread');
CREATE TABLE calls (n serial, key text, type text, log text, version bigint, state jsonb, data jsonb, metadata jsonb);
CREATE FUNCTION placed(e pm.event, s jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO calls (key, type, log, version, state, data, metadata) VALUES (e.stream, e.type, e.log, e.version, s, e.data, e.metadata);
	CASE e.type
		WHEN 'Placed' THEN
			PERFORM pm.append('outbox', 'mail', 'Mail', e.data);
			PERFORM pm.append('unread', 'mail', 'Mail', e.data);
		WHEN 'Several' THEN
			PERFORM pm.append_all('outbox', 'mail', '[{"type": "Mail"}, {"type": "Fax", "metadata": {"tenant": "own"}}]');
		WHEN 'Twice' THEN
			PERFORM pm.append('outbox', 'mail', 'Mail', id => 'one'), pm.append('outbox', 'mail', 'Mail', id => 'one');
		WHEN 'Inserted' THEN
			INSERT INTO outbox (stream, version, type, data) VALUES ('inserted', 1, 'Mail', '{}');
		WHEN 'Undone' THEN
			BEGIN
				PERFORM pm.append('outbox', 'mail', 'Mail');
				RAISE EXCEPTION 'no';
			EXCEPTION WHEN raise_exception THEN NULL;
			END;
		WHEN 'Ended' THEN
			RETURN pm.done();
		ELSE NULL;
	END CASE;
	RETURN coalesce(s, '{}') || jsonb_build_object(e.type, true);
END $$;
CREATE FUNCTION stateless(e pm.event) RETURNS void LANGUAGE sql AS $$ SELECT pm.append('outbox', 'mail', 'Mail') $$;
SELECT pm.register('order', 'placed', '{orders}', start_at => 'beginning', carry => '{tenant}', journal => true);
SELECT pm.register('other', 'stateless', '{orders}', types => '{Stateless}', start_at => 'beginning');

-- nobody follows the log yet
SELECT pm.append('orders', 'o-0', 'Placed');
SELECT pm.catch_up();
SELECT * FROM pm_catalog.reply_to;

SELECT pm.register('mailer', NULL, '{outbox}', types => '{Mail}', start_at => 'beginning');
SELECT pm.append('orders', 'o-' || i, 'Placed', '{"n": 1}', '{"tenant": "acme", "trace": 7}') FROM generate_series(1, 2) i;
SELECT pm.append('orders', 'o-3', type) FROM unnest('{Several,Twice,Inserted,Undone,Stateless}'::text[]) type;
SELECT pm.append('outbox', 'by hand', 'Mail');
SELECT pm.catch_up();
SELECT r.log, r."position", p.name, r.key, r.type, r.metadata FROM pm_catalog.reply_to r JOIN pm_catalog.process_manager p ON p.id = r.process_manager ORDER BY 1, 2;
SELECT "position", type, metadata FROM outbox ORDER BY 1;
TRUNCATE calls RESTART IDENTITY;

-- the answer comes with the commit of the advance
SELECT "position", stream FROM pm.fetch('mailer', 'one', 3);
BEGIN;
SELECT pm.reply('outbox', 3, 'Mailed', '{"id": "m-3"}');
SELECT pm.advance('mailer', 'one', 0);
ROLLBACK;
SELECT count(*) FROM pm_catalog.sent;
BEGIN;
SELECT pm.reply('outbox', 3, 'Mailed', '{"id": "m-3"}');
SELECT pm.advance('mailer', 'one', 0);
COMMIT;
SELECT pm.catch_up('order');
SELECT key, type, log, version, state, data, metadata - 'sent_by' AS metadata, metadata -> 'sent_by' = to_jsonb(current_user) AS me FROM calls ORDER BY n;
SELECT key, seq, log, type, state, by = current_user AS by FROM pm.journal WHERE key = 'o-1' ORDER BY seq;
-- a second reply, and one after the advance; a handler may append events that cause more
SELECT pm.reply('outbox', 3, 'Bounced'), pm.reply('OutBox', 4, 'Placed', NULL);
SELECT pm.reply('outbox', 4, 'Mailed'), pm.reply('outbox', 7, 'Mailed');
SELECT pm.catch_up('order');
SELECT "position", key, metadata FROM pm_catalog.reply_to WHERE key = 'o-2' ORDER BY 1;

-- nothing to reply to: no consumers at that time, appended by hand, inserted, undone, no instance, no such event, a log that nobody follows
SELECT pm.reply('outbox', 1, 'Mailed');
\set VERBOSITY sqlstate
SELECT pm.reply('outbox', 999, 'Mailed');
SELECT pm.reply('unread', 1, 'Mailed');
SELECT pm.reply('nosuch', 1, 'Mailed');
SELECT "position", stream FROM outbox o WHERE NOT EXISTS (SELECT FROM pm_catalog.reply_to r WHERE r."position" = o."position") ORDER BY 1;
SELECT pm.reply('outbox', "position", 'Mailed') FROM outbox WHERE stream = 'inserted';
SELECT pm.reply('outbox', "position", 'Mailed') FROM outbox WHERE stream = 'by hand';
SELECT pm.reply(NULL, 2, 'Mailed');
SELECT pm.reply('outbox', NULL, 'Mailed');
SELECT pm.reply('outbox', 3, NULL);
SELECT pm.reply('outbox', 3, '');
-- a type that the consumers do not get
SELECT "position", type FROM outbox WHERE type = 'Fax';
SELECT pm.reply('outbox', "position", 'Faxed') FROM outbox WHERE type = 'Fax';
BEGIN READ ONLY;
SELECT pm.reply('outbox', 3, 'Mailed');
ROLLBACK;
\set VERBOSITY default
CREATE FUNCTION replies(e pm.event) RETURNS void LANGUAGE sql AS $$ SELECT pm.reply('outbox', 3, 'x') $$;
SELECT pm.register('replies', 'replies', '{orders}', start_at => 'beginning');
SELECT pm.catch_up('replies');
SELECT pm.unregister('replies');

-- an instance that has ended gets it as any event
SELECT pm.append('orders', 'o-1', 'Ended');
SELECT pm.catch_up('order');
TRUNCATE calls;
SELECT pm.reply('outbox', 3, 'Late');
SELECT pm.catch_up('order');
SELECT key, type, state FROM calls;

-- ---- rights ------------------------------------------------------------------

CREATE ROLE reply_shop LOGIN;
CREATE ROLE reply_mail LOGIN;
CREATE ROLE reply_desk;
CREATE ROLE reply_stranger LOGIN;
GRANT USAGE ON SCHEMA pm TO reply_shop, reply_mail, reply_desk, reply_stranger;
GRANT SELECT ON outbox TO reply_shop, reply_mail, reply_stranger;
GRANT CREATE ON SCHEMA public TO reply_shop;
-- a role that may read the log, and has a process manager that follows it, is a stranger to the instance
SET ROLE reply_stranger;
SELECT pm.reply('outbox', 3, 'Forged');
SELECT pm.register('spy', NULL, '{outbox}', start_at => 'beginning');
SELECT "position" FROM pm.fetch('spy', 's', 2);
SELECT pm.reply('outbox', 3, 'Forged');
-- and must not learn what there is to reply to
SELECT pm.reply('unread', 1, 'Forged');
RESET ROLE;
-- consumers need no other rights; they act for the owner of what they consume
SELECT pm.alter('mailer', consumers => '{reply_desk}');
SET ROLE reply_desk;
SELECT pm.reply('outbox', 3, 'Mailed');
RESET ROLE;
SELECT type, metadata ->> 'sent_by' AS sent_by FROM pm_catalog.sent WHERE key = 'o-1';
SELECT pm.set_owner('mailer', 'reply_mail');
SET ROLE reply_desk;
SELECT pm.reply('outbox', 3, 'Mailed');
RESET ROLE;
-- a member of the owner of the other process manager
ALTER FUNCTION placed OWNER TO reply_shop;
GRANT ALL ON ALL TABLES IN SCHEMA public TO reply_shop;
GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO reply_shop;
SELECT pm.set_owner('order', 'reply_shop');
GRANT reply_shop TO reply_mail;
SET ROLE reply_desk;
SELECT pm.reply('outbox', 3, 'Mailed');
RESET ROLE;
REVOKE reply_shop FROM reply_mail;
SET ROLE reply_desk;
\set VERBOSITY sqlstate
SELECT pm.reply('outbox', 3, 'Mailed');
RESET ROLE;
-- the owner of the table
ALTER TABLE outbox OWNER TO reply_mail;
SET ROLE reply_desk;
SELECT pm.reply('outbox', 3, 'Mailed');
RESET ROLE;
SELECT count(*) FROM pm_catalog.sent;
SELECT pm.alter('mailer', reset => '{consumers}');
SET ROLE reply_desk;
SELECT pm.reply('outbox', 3, 'Mailed');
RESET ROLE;
\set VERBOSITY default

-- ---- what is removed ---------------------------------------------------------

-- as the events go
ALTER TABLE outbox OWNER TO CURRENT_USER;
SELECT pm.unregister('spy');
GRANT SELECT ON outbox TO reply_mail;
SELECT pm.seek('mailer', 'outbox', 4);
SELECT pm.trim('outbox', 4);
SELECT min("position") FROM pm_catalog.reply_to;
SELECT pm.reply('outbox', 3, 'Mailed');
-- an id is not used again
SELECT "position" AS kept FROM pm_catalog.reply_to ORDER BY 1 LIMIT 1 \gset
SELECT pm.unregister('order');
ALTER FUNCTION placed OWNER TO CURRENT_USER;
SELECT pm.register('order', 'placed', '{orders}', start_at => 'end');
SELECT pm.reply('outbox', :kept, 'Mailed');
SELECT pm.unregister('mailer');
SELECT pm.drop_log('outbox');
SELECT count(*) FROM pm_catalog.reply_to;
SELECT pm.unregister('order'), pm.unregister('other');
DROP TABLE outbox;
DROP FUNCTION placed, stateless, replies;
SELECT pm.drop_log(name) FROM pm.log ORDER BY name;
DROP TABLE orders, unread, calls;
DROP OWNED BY reply_shop, reply_mail, reply_desk, reply_stranger;
DROP ROLE reply_shop, reply_mail, reply_desk, reply_stranger;
