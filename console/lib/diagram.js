// Which process manager follows which log, as Graphviz text. If the extension has pm.diagram(), its text is used, as long
// as the picture can be read at a glance. Otherwise, and around one process manager or log, the text is written here.
import { text } from './input.js';

const nodeLimit = 60;

const edgesQuery = `
  SELECT c.process_manager, c.log, min(c.position) AS position FROM pm.cursor c
  WHERE $1::text IS NULL OR c.process_manager = $1
     OR c.process_manager IN (SELECT f.process_manager FROM pm.cursor f WHERE f.log = $1)
  GROUP BY 1, 2 ORDER BY 1, 2 LIMIT 1001`;

// Where handlers append to: the extension knows it, or else the journals, if there are any.
const appendsQuery = `
  SELECT name AS process_manager, unnest(appends_to) AS log FROM pm.process_manager WHERE appends_to IS NOT NULL LIMIT 1000`;
const journaledQuery = `
  SELECT DISTINCT j.process_manager, a.value ->> 'log' AS log
  FROM (SELECT process_manager, appended FROM pm.journal WHERE appended <> '[]' LIMIT 2000) j
  CROSS JOIN LATERAL jsonb_array_elements(j.appended) a LIMIT 1000`;

/** A string of the language DOT. A backslash would begin an escape of Graphviz, and a line end ends the string. */
export function quote(value) {
  const clean = value.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '\uFFFD').replaceAll('\\', '\\\\').replaceAll('"', '\\"');
  return `"${clean}"`;
}

const shorten = (value) => (value.length > 40 ? `${value.slice(0, 39)}…` : value);

// Colors, shapes and labels are those of pm.diagram().
const fills = { running: '#d9efd9', halted: '#f7c6c0', waiting: '#fbf3a6', retrying: '#fde3b8', paused: '#dbe4f5' };

function write(managers, logs, follows, appends) {
  const lines = ['digraph pm {', '  rankdir=LR;', '  node [fontname="Helvetica,Arial,sans-serif", fontsize=11];', '  edge [arrowsize=0.8];'];
  const log = (name) => quote(`log ${name}`);
  const manager = (name) => quote(`process manager ${name}`);
  for (const name of logs) lines.push(`  ${log(name)} [shape=cylinder, label=${quote(shorten(name))}, tooltip=${log(name)}];`);
  for (const { name, state, notes, urgent, consumers } of managers) {
    const label = [shorten(name), ...notes].filter(Boolean).map((line) => quote(line).slice(1, -1)).join('\\n');
    const shape = consumers ? 'shape=component, style=filled' : 'shape=box, style="rounded,filled"';
    lines.push(`  ${manager(name)} [${shape}, fillcolor="${fills[state] ?? '#f2f2f2'}"${urgent ? ', color="#c0291c", penwidth=2' : ''}, label="${label}", tooltip=${manager(name)}];`);
  }
  for (const edge of follows) lines.push(`  ${log(edge.log)} -> ${manager(edge.process_manager)}${edge.behind > 0 ? ` [label="${edge.behind} behind"]` : ''};`);
  for (const edge of appends) lines.push(`  ${manager(edge.process_manager)} -> ${log(edge.log)} [color="#2d5fa8", arrowhead=empty];`);
  return `${lines.join('\n')}\n}\n`;
}

export function diagram(database, snapshot) {
  return async (given) => {
    const around = text(given, 'around', { optional: true, limit: 1000 });
    const now = await snapshot.get();
    if (around === null && now.about.diagram && now.managers.length <= nodeLimit) {
      const [{ dot }] = await database.read((query) => query('SELECT pm.diagram() AS dot'));
      if (dot.length <= 200_000) return { dot, byServer: true };
    }

    const { follows, appends } = await database.read(async (query) => ({
      follows: await query(edgesQuery, [around]),
      appends: await query(now.about.diagram ? appendsQuery : journaledQuery),
    }));
    const known = new Map(now.managers.map((manager) => [manager.name, manager]));
    const names = [...new Set(follows.map((edge) => edge.process_manager))];
    const logs = new Set(follows.map((edge) => edge.log));
    const shown = appends.filter((edge) => names.includes(edge.process_manager));
    for (const edge of shown) logs.add(edge.log);
    if (names.length > nodeLimit * 2 || logs.size > nodeLimit * 4 || follows.length > 1000) {
      return { dot: null, names: now.managers.slice(0, 200).map((manager) => manager.name), managers: now.managers.length };
    }
    const managers = names.map((name) => {
      const manager = known.get(name);
      if (!manager) return { name, notes: [] };
      const { state, parked, dead, overdue, lanes, consumers } = manager;
      const notes = [
        lanes > 1 && `${lanes} lanes`,
        state,
        dead !== '0' ? `${parked} parked, ${dead} dead` : parked !== '0' && `${parked} parked`,
        overdue !== '0' && (overdue === '1' ? '1 timer is overdue' : `${overdue} timers are overdue`),
      ];
      return { name, state, notes, consumers, urgent: state === 'halted' || dead !== '0' };
    });
    for (const edge of follows) {
      const mark = now.marks.get(edge.log);
      edge.behind = mark === undefined ? 0 : Number(BigInt(mark) - BigInt(edge.position));
    }
    return { dot: write(managers, logs, follows, shown), byServer: false };
  };
}
