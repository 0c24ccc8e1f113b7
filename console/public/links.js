// Where in the console it is what a text of the server is about. Such texts contain what users have stored, so an address
// is made of names and positions only, and leads nowhere but to a page of the console.

const part = encodeURIComponent;
export const to = {
  manager: (name) => `#/process-manager/${part(name)}`,
  instance: (name, key) => `#/process-manager/${part(name)}/instance/${part(key)}`,
  log: (name) => `#/log/${part(name)}`,
  stream: (log, stream) => `#/log/${part(log)}/stream/${part(stream)}`,
  event: (log, position) => `#/log/${part(log)}/event/${part(position)}`,
  topology: (name) => `#/topology/${part(name)}`,
  find: (text) => `#/find/${part(text)}`,
};

// Names are quoted, and written as they are: one that contains a quote ends there, and its link leads to no such page.
const named = /\bposition (\d{1,19}) of log "([^"]+)"|\b(log|process manager|key) "([^"]+)"|\bpm\.(blocker|worker|consumer)\b/gu;

/** A reason or a hint as parts, with addresses; manager: the process manager that it is about, if that is known. */
export function linksIn(text, manager) {
  const parts = [];
  let done = 0;
  for (const match of text.matchAll(named)) {
    const [all, position, log, kind, name, view] = match;
    let href;
    if (position) href = to.event(log, position);
    else if (view) href = '#/workers';
    else if (kind === 'log') href = to.log(name);
    else if (kind === 'process manager') href = to.manager(name);
    else if (manager !== undefined) href = to.instance(manager, name);
    if (!href) continue;
    if (match.index > done) parts.push({ text: text.slice(done, match.index) });
    parts.push({ text: all, href });
    done = match.index + all.length;
  }
  if (done < text.length) parts.push({ text: text.slice(done) });
  return parts;
}

const literal = String.raw`'((?:[^']|'')*)'`;
const places = [
  [/\bpm\.(?:blocker|worker|consumer)\b/u, () => ({ href: '#/workers', label: 'Workers' })],
  [new RegExp(String.raw`\bpm\.(?:seek|retry|discard)\(\s*${literal},\s*${literal},\s*(\d{1,19})`, 'u'), (_, log, position) => ({ href: to.event(log, position), label: `${log}@${position}` })],
  [new RegExp(String.raw`\bpm\.(?:resume|retry|discard|pause|alter|unregister)\(\s*${literal}`, 'u'), (name) => ({ href: to.manager(name), label: name })],
  [new RegExp(String.raw`\bFROM pm\.(?:parked|status|stat|process_manager)\b.*\bprocess_manager = ${literal}`, 'u'), (name) => ({ href: to.manager(name), label: name })],
];

/** The page that shows what a statement shows, or that has a button for what it does; undefined if there is none. */
export function placeOf(sql) {
  for (const [pattern, place] of places) {
    const match = pattern.exec(sql);
    if (match) return place(...match.slice(1).map((value) => value?.replaceAll("''", "'")));
  }
  return undefined;
}
