// One event: what it says, who has handled it, what led to it and what it has caused.
import { html } from '../html.js';
import { useLive } from '../api.js';
import { duration, Json, Name, number, parseTime, Text, Time } from '../text.js';
import { Answer, EventLink, Facts, H1, InstanceLink, LogLink, ManagerLink, Section, Sql, State, StreamLink, Table, to } from '../parts.js';

/** The rows of pm.trace as a tree: each event after its cause. */
function ordered(events, log, position) {
  const id = (l, p) => JSON.stringify([l, p]);
  const children = new Map();
  for (const event of events) {
    if (event.depth <= 0) continue;
    const cause = id(event.cause_log, event.cause_position);
    if (!children.has(cause)) children.set(cause, []);
    children.get(cause).push(event);
  }
  const up = events.filter((event) => event.depth <= 0).sort((a, b) => a.depth - b.depth);
  const rows = [...up];
  const seen = new Set();
  const stack = [...(children.get(id(log, position)) ?? [])].reverse();
  while (stack.length) {
    const event = stack.pop();
    const key = id(event.event_log, event.position);
    if (seen.has(key)) continue;
    seen.add(key);
    rows.push(event);
    stack.push(...[...(children.get(key) ?? [])].reverse());
  }
  return rows;
}

function Trace({ log, position }) {
  const answer = useLive('/api/trace', { log, position });
  return html`<${Section} title="Causes and effects">
    ${answer.error?.code === '57014' && html`<p class="none">Logs without this index are read in full: <${Sql} value="CREATE INDEX ON … USING gin (metadata jsonb_path_ops);" /></p>`}
    <${Answer} of=${answer}>${(data) => {
      const rows = ordered(data.events, log, position);
      const first = rows[0]?.depth ?? 0;
      const here = parseTime(rows.find((event) => event.depth === 0)?.recorded_at);
      const after = (event) => {
        const then = parseTime(event.recorded_at);
        if (!here || !then || event.depth === 0) return '';
        return `${then >= here ? '+' : '−'}${duration(Math.abs(then - here) / 1000)}`;
      };
      return html`<ol class="trace">${rows.map((event) => html`<li class=${event.depth === 0 ? 'here' : event.depth < 0 ? 'cause' : 'effect'} data-depth=${event.depth - first} style=${{ '--depth': Math.min(event.depth - first, 12) }}>
          <span class="branch" aria-hidden="true"></span><strong><${Text} value=${event.type} max=${80} /></strong>
          ${event.depth === 0 ? html`<span class="tag">this event</span>` : html`<${EventLink} log=${event.event_log} position=${event.position} />`}
          <${StreamLink} log=${event.event_log} name=${event.stream} /> <span class="none">${after(event)}</span></li>`)}</ol>
        ${rows.length === 1 && html`<p class="none">It has no cause and no effects that this role may see.</p>`}
        ${rows[0]?.cause_log && html`<p class="none">Its cause, <${Name} value=${rows[0].cause_log} />@${rows[0].cause_position}, may not be read or no longer exists.</p>`}
        ${data.more && html`<p class="none">There are more than 500 events.</p>`}`;
    }}</>
  </${Section}>`;
}

function followed(row, type, journaled) {
  if (row.parked > 0) return html`<${State} value=${row.parked_state} />${row.parked > 1 && html` <span class="none">for ${number(row.parked)} keys</span>`}`;
  if (row.beyond < row.lanes) return html`<span class="state waiting"><span class="dot"></span>not yet handled</span>${row.lanes > 1 && html` <span class="none">${row.lanes - row.beyond} of ${row.lanes} lanes</span>`}`;
  if (type !== undefined && row.types && !row.types.includes(type)) return html`<span class="none">passed over: not one of its types</span>`;
  return html`<span class="state idle"><span class="dot"></span>${journaled ? 'handled' : 'handled or passed over'}</span>`;
}

export function Event({ log, position }) {
  const answer = useLive('/api/event', { log, position }, 5000);
  const neighbor = (n) => (BigInt(position) + n).toString();
  return html`<p class="crumbs"><${LogLink} name=${log} /> <span class="none">/ event</span></p>
    <${Answer} of=${answer} title=${html`<${Name} value=${log} max=${40} />@${position}`}>${(data) => {
      const { event } = data;
      return html`<div class="title"><${H1}>${event ? html`<${Text} value=${event.type} max=${100} />` : 'There is no such event'} <small><${Name} value=${log} max=${40} />@${position}</small></${H1}>
          <div class="actions">${position !== '1' && html`<a class="button" href=${to.event(log, neighbor(-1n))}>← ${neighbor(-1n)}</a>`}<a class="button" href=${to.event(log, data.next ?? neighbor(1n))}>${data.next ?? neighbor(1n)} →</a></div></div>
        ${!event && html`<p>${BigInt(position) > BigInt(data.mark) ? html`Position ${position} is above the high-water mark, ${number(data.mark)}: there is no event, or one that may not be read before earlier writers have ended.` : 'No event has this position: its transaction was rolled back, or the event was deleted.'}</p>`}
        ${event && html`<${Facts} of=${[
          ['stream', html`<${StreamLink} log=${log} name=${event.stream} />`],
          ['version', event.version === null ? html`<span class="none">none: written by INSERT</span>` : number(event.version)],
          ['recorded', html`<${Time} value=${event.recorded_at} fraction />`],
        ]} />
        <div class="two"><${Section} title="Data"><${Json} value=${event.data} size=${event.data_size} /></${Section}><${Section} title="Metadata"><${Json} value=${event.metadata} size=${event.metadata_size} /></${Section}></div>`}
        <${Section} title="Who follows this log" count=${data.followers.length}>
          <${Table} label="followers" columns=${[['Process manager', 'wide'], ['This event', ''], ['Instances', 'wide']]} empty="No process manager that this role may see follows it."
            rows=${data.followers.map((row) => ({ key: row.process_manager, cells: [html`<${ManagerLink} name=${row.process_manager} />`, followed(row, event?.type, data.journal.some((entry) => entry.process_manager === row.process_manager)),
              html`${row.parked > 0 && html`<${InstanceLink} manager=${row.process_manager} name=${row.parked_key} /> `}${data.journal.filter((entry) => entry.process_manager === row.process_manager).slice(0, 10).map((entry) => html`<${InstanceLink} manager=${entry.process_manager} name=${entry.key} /> <span class="none"><${Time} value=${entry.handled_at} />${entry.ended && ', which ended it'}</span> `)}`] }))} />
        </${Section}>
        ${event && html`<${Trace} log=${log} position=${position} />`}`;
    }}</>`;
}
