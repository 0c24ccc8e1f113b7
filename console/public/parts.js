// Parts that several pages have.
import { html, useEffect, useRef, useState } from './html.js';
import { marked, Name, Text } from './text.js';
import { statementsIn } from './sql.js';

// ---- addresses of pages

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

export const ManagerLink = ({ name }) => html`<a href=${to.manager(name)}><${Name} value=${name} /></a>`;
export const LogLink = ({ name }) => html`<a href=${to.log(name)}><${Name} value=${name} /></a>`;
export const InstanceLink = ({ manager, name }) =>
  name === null || name === undefined ? html`<span class="none">no key</span>` : html`<a href=${to.instance(manager, name)}><${Name} value=${name} /></a>`;
export const EventLink = ({ log, position }) =>
  html`<a class="event-link" href=${to.event(log, position)}><${Name} value=${log} max=${40} /><span class="at">@${position}</span></a>`;
export const StreamLink = ({ log, name }) => html`<a href=${to.stream(log, name)}><${Name} value=${name} /></a>`;

// ---- titles

// After a move to another page the keyboard begins at its title, which may come with the data.
let wanted = false;
export const wantFocus = () => (wanted = true);

export function H1({ children }) {
  const title = useRef();
  useEffect(() => {
    const element = title.current;
    if (wanted) {
      wanted = false;
      element.focus();
    }
    // Another title takes its place: "Loading" by the name, for example.
    return () => (wanted ||= element === document.activeElement);
  }, []);
  return html`<h1 tabindex="-1" ref=${title}>${children}</h1>`;
}

// ---- states

const meanings = {
  idle: 'nothing to do',
  running: 'at work, or about to be',
  retrying: 'an event has failed and is tried again',
  waiting: 'something keeps it from running',
  paused: 'stopped by hand',
  halted: 'stopped by failures, until a person resumes it',
  failing: 'has failed, and is tried again',
  deferred: 'its handler wants it later',
  behind: 'waits for an earlier event of its key',
  dead: 'is not tried again, until a person says so',
};

export const State = ({ value }) => html`<span class=${`state ${value}`} title=${meanings[value]}><span class="dot"></span>${value}</span>`;

// ---- hints, with their SQL to copy

export function Copy({ value, label = 'Copy' }) {
  const [done, setDone] = useState(false);
  const timer = useRef();
  async function copy() {
    await navigator.clipboard.writeText(value);
    setDone(true);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => setDone(false), 1500);
  }
  return html`<button type="button" class="copy" onClick=${copy} aria-label=${`${label}: ${value.slice(0, 80)}`}>${done ? 'Copied' : label}</button>`;
}

export const Sql = ({ value }) => html`<span class="sql"><code>${marked(value, true)}</code><${Copy} value=${value} /></span>`;

export function Hint({ value }) {
  if (!value) return null;
  return html`<span class="hint">${statementsIn(value).map(({ text, sql }) => (sql ? html`<${Sql} value=${sql} />` : text.trim() === '' ? ' ' : html`<${Text} value=${text} max=${1000} />`))}</span>`;
}

// ---- errors and emptiness

export function Problem({ error, action }) {
  if (!error) return null;
  return html`<div class="problem" role="alert">
    <strong>${action && `${action}: `}<${Text} value=${error.message} max=${1000} /></strong>
    ${error.detail && html`<p><${Text} value=${error.detail} max=${1000} /></p>`}
    ${error.hint && html`<p><${Hint} value=${error.hint} /></p>`}
    ${error.code && html`<p class="none">SQLSTATE ${error.code}</p>`}
  </div>`;
}

/** What a question has brought: an error, a wait, or what the function makes of the data. Until there is data, a title. */
export function Answer({ of, children, waiting = 'Loading …', title }) {
  const lost = of.error && (of.error.kind === 'connection' || of.error.kind === 'gone' || of.error.kind === 'session');
  return html`${title && !of.data && html`<${H1}>${title}</${H1}>`}
    ${of.error && !lost && html`<${Problem} error=${of.error} />`}
    ${of.data ? children(of.data) : (!of.error || lost) && html`<p class="none wait">${lost ? 'Waiting for the connection …' : waiting}</p>`}`;
}

export const Section = ({ title, count, actions, children, id }) => html`<section class="section" id=${id}>
  <header><h2>${title}${count !== undefined && html` <span class="count">${count}</span>`}</h2>${actions && html`<div class="actions">${actions}</div>`}</header>
  ${children}
</section>`;

/** A table whose rows become cards on a narrow screen. columns: [label, class]; rows: arrays of cells. */
export function Table({ columns, rows, empty = 'There are none.', label }) {
  if (rows.length === 0) return html`<p class="none">${empty}</p>`;
  return html`<div class="table"><table aria-label=${label}>
    <thead><tr>${columns.map(([title, kind]) => html`<th scope="col" class=${kind}>${title}</th>`)}</tr></thead>
    <tbody>${rows.map(({ key, cells, kind, below }) => html`<tr key=${key} class=${kind}>${cells.map((cell, n) => html`<td class=${columns[n][1]} data-label=${columns[n][0]}><div>${cell}</div></td>`)}</tr>
      ${below && html`<tr key=${`${key}-below`} class="below"><td colspan=${columns.length}>${below}</td></tr>`}`)}</tbody>
  </table></div>`;
}

export function Pager({ offset, pageSize, shown, more, found, go }) {
  if (offset === 0 && !more) return null;
  return html`<nav class="pager" aria-label="pages">
    <button type="button" disabled=${offset === 0} onClick=${() => go(Math.max(0, offset - pageSize))}>← Previous</button>
    <span>${offset + 1} to ${offset + shown}${found !== undefined && ` of ${found.toLocaleString('en')}`}</span>
    <button type="button" disabled=${!more} onClick=${() => go(offset + pageSize)}>Next →</button>
  </nav>`;
}

export const Facts = ({ of }) => html`<dl class="facts">${of.filter(Boolean).map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;

export const Figure = ({ label, value, note, kind }) => html`<div class=${`figure ${kind ?? ''}`}><span class="label">${label}</span><span class="value">${value}</span>${note && html`<span class="note">${note}</span>`}</div>`;
