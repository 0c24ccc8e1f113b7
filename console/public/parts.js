// Parts that several pages have.
import { html, useEffect, useRef, useState } from './html.js';
import { marked, Name, parseTime, Prose, Text, Time } from './text.js';
import { statementsIn } from './sql.js';
import { linksIn, placeOf, to } from './links.js';

export { to };

// ---- links

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
    // Another title takes its place: for example, the name that of "Loading".
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
  paused: 'stopped with pm.pause',
  halted: 'stopped by failures, until a person resumes it',
  failing: 'has failed, and is tried again',
  deferred: 'has been postponed by its handler',
  behind: 'waits for an earlier event of its key',
  dead: 'is not tried again until a person says so',
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

/**
 * A statement to copy, with a link to the page of the console that shows the same, unless that is the present one, or
 * that of the process manager whose link stands beside it.
 */
export function Sql({ value, manager }) {
  const place = placeOf(value);
  const known = place && (place.href === location.hash || (manager !== undefined && place.href === to.manager(manager)));
  return html`<span class="sql"><code>${marked(value, true)}</code><${Copy} value=${value} />${place && !known && html`<a class="goto" href=${place.href}>→ <${Name} value=${place.label} max=${40} /></a>`}</span>`;
}

/** What pm.status says, with links to the events, logs, keys and process managers that it names. */
export const Reason = ({ value, manager, max = 400 }) => html`<${Prose} parts=${linksIn(value, manager)} max=${max} />`;

export function Hint({ value, manager }) {
  if (!value) return null;
  return html`<span class="hint">${statementsIn(value).map(({ text, sql }) => (sql ? html`<${Sql} value=${sql} manager=${manager} />` : text.trim() === '' ? ' ' : html`<${Prose} parts=${linksIn(text, manager)} max=${1000} />`))}</span>`;
}

// ---- times of what is to come

/** When a parked event is tried next. While its process manager stands still, there is no time for it. */
export function NextAttempt({ at, state }) {
  if (at === null) return state === 'failing' || state === 'deferred' ? html`<span class="none">when resumed</span>` : html`<span class="none">–</span>`;
  const time = parseTime(at);
  return time && time < Date.now() ? html`<span class="none">due</span>` : html`<${Time} value=${at} ago />`;
}

/** When a timer is due. */
export const Due = ({ timer }) => html`<span class=${timer.overdue ? 'bad' : timer.far ? 'far' : ''}><${Time} value=${timer.due} ago /></span>${timer.far && html` <span class="tag far">far off</span>`}`;

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

/** What is shown for a request: an error, a text while it waits, or what the function makes of the data. Until then, a title. */
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
    <tbody>${rows.map(({ key, cells, kind, below }) => html`<tr key=${key} class=${kind}>${cells.map((cell, n) => html`<td class=${columns[n][1]}><div data-label=${columns[n][0]}>${cell}</div></td>`)}</tr>
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
