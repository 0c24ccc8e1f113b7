-- pm.diagram: which process managers follow which logs, and to which logs they append, as text for Graphviz. It shows
-- what the caller sees in pm.process_manager, pm.status and pm.consumer.

-- A user's text, as part of a quoted Graphviz string. There, a backslash and a quote are special, and so is an
-- ampersand, because labels may contain HTML entities. An SVG file cannot contain most control characters. Characters that
-- change the direction of writing could change how the text after them looks.
CREATE FUNCTION pm_catalog.diagram_text(value text, max_length integer) RETURNS text
	LANGUAGE sql IMMUTABLE STRICT
	RETURN (SELECT pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(
				   CASE WHEN pg_catalog.length(v.plain) OPERATOR(pg_catalog.>) max_length
						THEN pg_catalog.concat(pg_catalog.left(v.plain, max_length OPERATOR(pg_catalog.-) 3), '...')
						ELSE v.plain END,
				   '&', '&amp;'), E'\\', E'\\\\'), '"', E'\\"')
			FROM (SELECT pg_catalog.regexp_replace(value COLLATE pg_catalog."C",
						 E'[\\x01-\\x1f\\x7f\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069\\ufffe\\uffff]', ' ', 'g') AS plain) v);

CREATE FUNCTION pm_catalog.diagram_age(age interval) RETURNS text
	LANGUAGE sql IMMUTABLE STRICT
	RETURN (SELECT CASE WHEN a.seconds OPERATOR(pg_catalog.<) 120 THEN pg_catalog.format('%s s', a.seconds)
						WHEN a.seconds OPERATOR(pg_catalog.<) 7200 THEN pg_catalog.format('%s min', a.seconds OPERATOR(pg_catalog./) 60)
						WHEN a.seconds OPERATOR(pg_catalog.<) 172800 THEN pg_catalog.format('%s h', a.seconds OPERATOR(pg_catalog./) 3600)
						ELSE pg_catalog.format('%s days', a.seconds OPERATOR(pg_catalog./) 86400) END
			FROM (SELECT greatest(pg_catalog.floor(extract(epoch FROM age)), 0)::pg_catalog.int8 AS seconds) a);

-- Compiling the query would take longer than running it.
CREATE FUNCTION pm.diagram() RETURNS text LANGUAGE sql STABLE SET jit = off
BEGIN ATOMIC
	WITH status AS MATERIALIZED (
		SELECT s.process_manager, s.log, s.lane, s.lag, s.state, s.reason, s.parked, s.dead, s.timers_overdue, s.oldest_unhandled,
			   -- Of several lanes and logs, the one that most needs attention is shown.
			   pg_catalog.array_position(ARRAY['halted', 'waiting', 'retrying', 'paused', 'running', 'idle'], s.state) AS rank
		FROM pm.status s
	), manager AS (
		SELECT p.name, p.handler, p.lanes, p.appends_to, pg_catalog.row_number() OVER (ORDER BY p.name COLLATE pg_catalog."C") AS n,
			   u.state, u.reason, u.parked, u.dead, u.overdue, coalesce(h.held, 0) AS held
		FROM pm.process_manager p
		LEFT JOIN (
			SELECT s.process_manager, (pg_catalog.array_agg(s.state ORDER BY s.rank, s.lane, s.log))[1] AS state,
				   (pg_catalog.array_agg(s.reason ORDER BY s.rank, s.lane, s.log))[1] AS reason,
				   pg_catalog.sum(s.parked) AS parked, pg_catalog.sum(s.dead) AS dead, pg_catalog.sum(s.timers_overdue) AS overdue
			FROM status s GROUP BY s.process_manager) u ON u.process_manager OPERATOR(pg_catalog.=) p.name
		LEFT JOIN (
			SELECT c.process_manager, pg_catalog.count(*) AS held FROM pm.consumer c
			WHERE c.lease_until OPERATOR(pg_catalog.>) pg_catalog.clock_timestamp()
			GROUP BY c.process_manager) h ON h.process_manager OPERATOR(pg_catalog.=) p.name
	), follows AS (
		SELECT s.process_manager, s.log, pg_catalog.max(s.lag) AS lag,
			   pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) pg_catalog.min(s.oldest_unhandled) AS age
		FROM status s GROUP BY s.process_manager, s.log
	), appends AS (
		SELECT m.name AS process_manager, a.log FROM manager m CROSS JOIN LATERAL pg_catalog.unnest(m.appends_to) a(log)
	), log AS (
		SELECT l.log AS name, pg_catalog.row_number() OVER (ORDER BY l.log COLLATE pg_catalog."C") AS n
		FROM (SELECT f.log FROM follows f UNION SELECT a.log FROM appends a) l
	)
	SELECT pg_catalog.concat(
		E'digraph pm {\n',
		E'\tgraph [rankdir=LR, fontname="Helvetica,Arial,sans-serif"];\n',
		E'\tnode [fontname="Helvetica,Arial,sans-serif", fontsize=11, style=filled, fillcolor=white];\n',
		E'\tedge [fontname="Helvetica,Arial,sans-serif", fontsize=9];\n',
		(SELECT pg_catalog.string_agg(pg_catalog.format(
				E'\t"log %s" [shape=cylinder, label="%s", tooltip="log %s"];\n',
				l.n, pm_catalog.diagram_text(l.name, 40), pm_catalog.diagram_text(l.name, 300)), '' ORDER BY l.n)
		 FROM log l),
		(SELECT pg_catalog.string_agg(pg_catalog.format(
				E'\t"process manager %s" [shape=%s, style="%s", fillcolor="%s"%s, label="%s", tooltip="%s"];\n', m.n,
				CASE WHEN m.handler IS NULL THEN 'component' ELSE 'box' END,
				CASE WHEN m.handler IS NULL THEN 'filled' ELSE 'filled,rounded' END,
				CASE m.state WHEN 'running' THEN '#d9efd9' WHEN 'retrying' THEN '#fde3b8' WHEN 'waiting' THEN '#fbf3a6'
							 WHEN 'paused' THEN '#dbe4f5' WHEN 'halted' THEN '#f7c6c0' ELSE '#f2f2f2' END,
				CASE WHEN m.dead OPERATOR(pg_catalog.>) 0 OR m.state OPERATOR(pg_catalog.=) 'halted'
					 THEN ', color="#c0291c", penwidth=2' END,
				pg_catalog.concat_ws(E'\\n', pm_catalog.diagram_text(m.name, 40),
					CASE WHEN m.handler IS NULL AND m.held OPERATOR(pg_catalog.=) 0 THEN 'no consumer holds it'
						 WHEN m.handler IS NULL AND m.lanes OPERATOR(pg_catalog.>) 1
						 THEN pg_catalog.format('consumers hold %s of %s lanes', m.held, m.lanes)
						 WHEN m.handler IS NULL THEN 'a consumer holds it'
						 WHEN m.lanes OPERATOR(pg_catalog.>) 1 THEN pg_catalog.format('%s lanes', m.lanes) END,
					coalesce(m.state, 'follows no log'),
					CASE WHEN m.dead OPERATOR(pg_catalog.>) 0 THEN pg_catalog.format('%s parked, %s dead', m.parked, m.dead)
						 WHEN m.parked OPERATOR(pg_catalog.>) 0 THEN pg_catalog.format('%s parked', m.parked) END,
					CASE WHEN m.overdue OPERATOR(pg_catalog.=) 1 THEN '1 timer is overdue'
						 WHEN m.overdue OPERATOR(pg_catalog.>) 1 THEN pg_catalog.format('%s timers are overdue', m.overdue) END),
				pg_catalog.concat_ws(E'\\n', pg_catalog.concat('process manager ', pm_catalog.diagram_text(m.name, 300)),
					pm_catalog.diagram_text(m.reason, 300))), '' ORDER BY m.n)
		 FROM manager m),
		(SELECT pg_catalog.string_agg(pg_catalog.format(
				E'\t"log %s" -> "process manager %s"%s;\n', l.n, m.n,
				CASE WHEN f.lag OPERATOR(pg_catalog.>) 0
					 THEN pg_catalog.format(' [label="%s"]', pg_catalog.concat_ws(', ', pg_catalog.format('%s behind', f.lag),
																				   pm_catalog.diagram_age(f.age)))
					 WHEN f.lag IS NULL THEN ' [label="?"]' END), '' ORDER BY m.n, l.n)
		 FROM follows f
		 JOIN log l ON l.name OPERATOR(pg_catalog.=) f.log
		 JOIN manager m ON m.name OPERATOR(pg_catalog.=) f.process_manager),
		(SELECT pg_catalog.string_agg(pg_catalog.format(
				E'\t"process manager %s" -> "log %s" [color="#2d5fa8", arrowhead=empty];\n', m.n, l.n), '' ORDER BY m.n, l.n)
		 FROM appends a
		 JOIN log l ON l.name OPERATOR(pg_catalog.=) a.log
		 JOIN manager m ON m.name OPERATOR(pg_catalog.=) a.process_manager),
		E'}\n');
END;
