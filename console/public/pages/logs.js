// Logs: all of them, the end of one, and one stream.
import { html, useState } from '../html.js';
import { useLive } from '../api.js';
import { bytes, Json, Name, number, Text, Time } from '../text.js';
import { Blockers } from './workers.js';
import { Answer, EventLink, Facts, H1, LogLink, ManagerLink, Pager, Section, StreamLink, Table, to } from '../parts.js';

export function Logs() {
  const [text, setText] = useState('');
  const [offset, setOffset] = useState(0);
  const answer = useLive('/api/logs', { text, offset: offset || null }, 5000);
  return html`<${H1}>Logs</${H1}>
    <div class="filters"><input type="search" value=${text} onInput=${(event) => { setText(event.target.value); setOffset(0); }} placeholder="Filter by name" aria-label="Filter by name" spellcheck=${false} /></div>
    <${Answer} of=${answer}>${(data) => html`
      <${Table} label="logs" columns=${[['Log', 'wide'], ['Kind', ''], ['Table', 'wide'], ['Owner', ''], ['Events, about', 'num'], ['Mark', 'num'], ['Followers', 'num'], ['Created', '']]} empty="There is no log that this role may read."
        rows=${data.logs.map((row) => ({ key: row.name, cells: [row.readable ? html`<${LogLink} name=${row.name} />` : html`<${Name} value=${row.name} /> <span class="tag">may not be read</span>`, row.kind === 'ordinary' ? html`<span class="none">${row.kind}</span>` : row.kind, html`<${Text} value=${row.table} max=${60} />`, html`<${Text} value=${row.owner} />`, row.events === null ? '–' : number(Math.round(row.events)), number(row.mark), number(row.followers ?? 0), html`<${Time} value=${row.created_at} />`] }))} />
      <${Pager} offset=${offset} pageSize=${data.pageSize} shown=${data.logs.length} more=${offset + data.logs.length < data.found} found=${data.found} go=${setOffset} />`}</>`;
}

function Tail({ name }) {
  const [type, setType] = useState('');
  const [before, setBefore] = useState([]);
  const at = before.at(-1);
  const answer = useLive('/api/tail', { name, type, before: at }, at === undefined ? 2000 : 0);
  return html`<${Section} title=${at === undefined ? 'Newest events' : 'Earlier events'} actions=${html`<input type="search" value=${type} onInput=${(event) => { setType(event.target.value); setBefore([]); }} placeholder="Only this type" aria-label="Only this type" spellcheck=${false} />`}>
    <${Answer} of=${answer}>${(data) => html`
      <${Table} label="events" columns=${[['Position', 'num'], ['Recorded', ''], ['Type', 'medium'], ['Stream', 'medium'], ['Version', 'num'], ['Data', 'wide clip']]} empty=${data.older ? `None between here and position ${data.older}.` : 'There are none.'}
        rows=${data.events.map((event) => ({ key: event.position, cells: [html`<a href=${to.event(name, event.position)}>${event.position}</a>`, html`<${Time} value=${event.recorded_at} fraction />`, html`<${Text} value=${event.type} max=${80} />`, html`<${StreamLink} log=${name} name=${event.stream} />`, number(event.version), html`<span class="code"><${Text} value=${event.data} max=${300} /></span>`] }))} />
      ${(before.length > 0 || data.older) && html`<nav class="pager" aria-label="pages of events">
        <button type="button" disabled=${before.length === 0} onClick=${() => setBefore(before.slice(0, -1))}>← Newer</button>
        <button type="button" disabled=${!data.older} onClick=${() => setBefore([...before, data.older])}>Older →</button></nav>`}`}</>
  </${Section}>`;
}

function Streams({ name }) {
  const [text, setText] = useState('');
  const answer = useLive('/api/streams', { name }, 10_000);
  function open(event) {
    event.preventDefault();
    if (text) location.hash = to.stream(name, text);
  }
  return html`<${Section} title="Streams">
    <form class="filters" onSubmit=${open}><input type="search" value=${text} onInput=${(event) => setText(event.target.value)} placeholder="Name of a stream" aria-label="Open a stream" spellcheck=${false} /> <button type="submit">Open</button></form>
    <${Answer} of=${answer}>${(data) => html`<${Table} label="streams" columns=${[['Stream', 'wide'], ['Events', 'num'], ['Last', '']]} empty="There are none."
      rows=${data.streams.map((row) => ({ key: row.stream, cells: [html`<${StreamLink} log=${name} name=${row.stream} />`, number(row.events), html`<${Time} value=${row.recorded_at} ago />`] }))} />
      ${data.streams.length > 0 && html`<p class="none">These are the streams of the last ${number(data.recent)} positions.</p>`}`}</>
  </${Section}>`;
}

const kinds = {
  attached: 'Another program owns and writes this table. Process managers follow it; pm.append refuses it.',
  partitioned: 'Its table is partitioned by range of position, so that old events are removed by dropping a partition.',
  replica: 'A subscription fills it with the events of another server. Its positions are those of arrival here.',
};

const synced = { i: 'not begun', d: 'copying the existing rows', f: 'copied', s: 'catching up', r: 'up to date with the subscription' };

/** What is particular to a log that is not an ordinary one. */
function Kind({ data: { log, partitions, subscriptions } }) {
  const code = (value) => (value === null ? html`<span class="none">none</span>` : html`<span class="code"><${Text} value=${value} max=${300} /></span>`);
  if (log.kind === 'ordinary') return null;
  return html`<${Section} title=${html`Kind <span class="count">${log.kind}</span>`}>
    <p>${kinds[log.kind]}</p>
    ${log.kind === 'attached' && html`<${Facts} of=${[...['pos', 'stream', 'version', 'type', 'data', 'metadata', 'recorded_at'].map((name) => [name, code(log[name])]), ['filter', log.filter === null ? 'all rows' : code(log.filter)]]} />`}
    ${log.kind === 'replica' && html`<${Table} label="subscriptions" columns=${[['Subscription', 'wide'], ['State', ''], ['Table', '']]} empty="No subscription fills it."
      rows=${subscriptions.map((row) => ({ key: row.name, cells: [html`<${Text} value=${row.name} />`, row.enabled ? 'enabled' : html`<span class="bad">disabled</span>`, synced[row.state] ?? row.state] }))} />`}
    ${log.has_partitions && html`<${Table} label="partitions" columns=${[['Partition', 'wide'], ['Positions', 'medium'], ['Events, about', 'num'], ['Size', 'num']]} empty="It has no partition yet, so nothing can be written."
      rows=${partitions.slice(0, 50).map((row) => ({ key: row.name, cells: [html`<span class="code"><${Text} value=${row.name} /></span>`, code(row.bounds), row.events === null ? '–' : number(Math.round(row.events)), bytes(row.size)] }))} />
      ${partitions.length > 50 && html`<p class="none">These are the last 50.</p>`}`}
  </${Section}>`;
}

/** Why nobody gets what lies above the mark, or why the log is locked. */
function Held({ log, blockers }) {
  if (blockers.length === 0) return null;
  const held = blockers.some((row) => row.blocks === 'high-water mark');
  return html`<${Section} title=${held ? 'The mark is held back' : 'The log is locked'} count=${blockers.length}>
    <p>${held
      ? html`Events above position ${number(log.mark)} are not handled or read until ${blockers.length === 1 ? 'this transaction has' : 'these transactions have'} ended, because ${blockers.length === 1 ? 'it may still write' : 'they may still write'} events before them.`
      : 'Nobody can read it until this lock is released.'}</p>
    <${Blockers} rows=${blockers} />
  </${Section}>`;
}

export function Log({ name }) {
  const answer = useLive('/api/log', { name }, 5000);
  return html`<p class="crumbs"><a href="#/logs">Logs</a></p>
    <${H1}><${Name} value=${name} /></${H1}>
    <${Answer} of=${answer}>${(data) =>
      data.log === null
        ? html`<p class="none">There is no such log, or this role may not read it.</p>`
        : html`<${Facts} of=${[
              ['table', html`<span class="code"><${Text} value=${data.log.table} /></span>`],
              ['owner', html`<${Text} value=${data.log.owner} />`],
              ['high-water mark', number(data.log.mark)],
              ['events, about', data.log.events === null ? '–' : number(Math.round(data.log.events))],
              ['created', html`<${Time} value=${data.log.created_at} />`],
            ]} />
            <${Held} log=${data.log} blockers=${data.blockers} />
            <${Kind} data=${data} />
            <div class="two wide-first"><${Tail} name=${name} />
              <div><${Section} title="Followers" count=${data.followers.length}><${Table} label="followers" columns=${[['Process manager', 'wide'], ['At', 'num'], ['Moved', '']]} empty="Nobody follows it."
                rows=${data.followers.map((row) => ({ key: row.process_manager, cells: [html`<${ManagerLink} name=${row.process_manager} />`, number(row.position), html`<${Time} value=${row.moved_at} ago />`] }))} /></${Section}>
              <${Streams} name=${name} /></div></div>`}</>`;
}

export function Stream({ name, stream }) {
  const [after, setAfter] = useState([]);
  const [limit, setLimit] = useState(100);
  const answer = useLive('/api/stream', { name, stream, after: after.at(-1), limit });
  return html`<p class="crumbs"><${LogLink} name=${name} /> <span class="none">/ stream</span></p>
    <${H1}><${Name} value=${stream} max=${160} /></${H1}>
    <${Answer} of=${answer}>${(data) => {
      const last = data.events.at(-1);
      return html`${data.events.length === 0 && html`<p class="none">It has no events, or none after this version.</p>`}
        <ol class="journal stream">${data.events.map((event) => html`<li class="entry event" key=${event.position}>
          <div class="line"><${Time} value=${event.recorded_at} fraction /> <strong><${Text} value=${event.type} max=${80} /></strong> <${EventLink} log=${name} position=${event.position} /> ${event.version !== null && html`<span class="none">version ${number(event.version)}</span>`}</div>
          ${event.data !== '{}' && html`<${Json} value=${event.data} size=${event.data_size} />`}</li>`)}</ol>
        ${(after.length > 0 || data.more) && html`<nav class="pager" aria-label="pages of events">
          ${after.length > 0 && html`<button type="button" onClick=${() => setAfter(after.slice(0, -1))}>← Previous</button>`}
          ${data.more && (last.version !== null ? html`<button type="button" onClick=${() => setAfter([...after, last.version])}>Next →</button>` : limit < 2000 ? html`<button type="button" onClick=${() => setLimit(2000)}>More</button>` : html`<span class="none">The first 2,000 events without a version.</span>`)}</nav>`}`;
    }}</>`;
}
