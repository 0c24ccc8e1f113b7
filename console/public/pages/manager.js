// One process manager: what it does, what is parked, how it is registered.
import { html, useState } from '../html.js';
import { useLive } from '../api.js';
import { duration, milliseconds, Name, number, rate, Text, Time } from '../text.js';
import { Answer, Due, Facts, Figure, H1, Hint, InstanceLink, LogLink, NextAttempt, Pager, Reason, Section, State, Table, to } from '../parts.js';
import { Act } from '../act.js';
import { Behind, chartsOf } from './overview.js';
import { ParkedDetail, parkedActions } from './parked.js';

// ---- parked events

function Groups({ manager, may, about, data, chosen, choose, reload }) {
  const owner = manager.owner;
  const base = { about, may, owner, done: reload };
  const rows = data.groups.map((group) => {
    const id = JSON.stringify([group.state, group.message_group]);
    const values = { manager: manager.name, state: group.state, group: group.message_group, until: group.last, message: group.message_group };
    const events = `${number(group.events)} ${group.events === 1 ? 'event' : 'events'}`;
    return {
      key: id,
      kind: chosen?.id === id ? 'chosen' : '',
      cells: [
        html`<${State} value=${group.state} />`,
        html`<button type="button" class="link" aria-expanded=${chosen?.id === id} onClick=${() => choose(chosen?.id === id ? null : { id, ...group })}>${group.state === 'behind' ? 'wait behind an earlier event of their key' : html`<${Text} value=${group.message ?? 'no message'} length=${group.message_length} max=${200} />`}</button>
          ${group.sqlstate && html` <span class="tag">${group.sqlstate}</span>`}${group.hint && html`<div class="reason"><${Hint} value=${group.hint} manager=${manager.name} /></div>`}`,
        html`${number(group.events)}`,
        html`${number(group.keys)}`,
        html`<${Time} value=${group.first} ago />`,
        html`<div class="actions">${group.state !== 'behind' && html`<${Act} ...${base} label="Retry" action="retry_group" verb="Retried" values=${values} title=${`Retry ${events}`} explain="Each is handled again at once, and its attempts are counted from the beginning. What waits behind it follows." />`}
          <${Act} ...${base} label="Discard" danger action="discard_group" verb="Discarded" values=${values} title=${`Discard ${events}`} explain="The handler will never be called for them. This cannot be undone." /></div>`,
      ],
    };
  });
  return html`<${Table} label="parked events by message" columns=${[['State', 'narrow'], ['Message of the failure', 'wide widest'], ['Events', 'num'], ['Keys', 'num'], ['Since', ''], ['', 'buttons']]} rows=${rows} empty="Nothing is parked." />
    ${data.limited && html`<p class="none">Only the first ${number(data.counted)} parked events are counted.</p>`}
    ${data.more && html`<p class="none">These are the 100 largest groups of each state.</p>`}`;
}

function ParkedList({ manager, may, about, group, reload }) {
  const [offset, setOffset] = useState(0);
  const [open, setOpen] = useState(null);
  const answer = useLive('/api/parked', { name: manager.name, state: group?.state, group: group?.message_group, offset: offset || null }, 5000);
  const again = () => { answer.reload(); reload(); };
  return html`<${Answer} of=${answer}>${(data) => html`
    <${Table} label="parked events" columns=${[['State', 'narrow'], ['Key', 'wide'], ['Event', ''], ['Attempts', 'num'], ['Next attempt', ''], ['Parked', ''], ['', 'buttons']]}
      rows=${data.events.map((event) => {
        const id = JSON.stringify([event.log, event.position, event.key]);
        return {
          key: id,
          kind: open === id ? 'chosen' : '',
          cells: [
            html`<${State} value=${event.state} />`,
            html`<${InstanceLink} manager=${manager.name} name=${event.key} />`,
            html`<button type="button" class="link" aria-expanded=${open === id} onClick=${() => setOpen(open === id ? null : id)}>${event.log === null ? 'timer' : html`<${Name} value=${event.log} max=${30} />`}<span class="at">@${event.position}</span></button>`,
            number(event.attempts),
            html`<${NextAttempt} at=${event.retry_at} state=${event.state} />`,
            html`<${Time} value=${event.parked_at} ago />`,
            html`<div class="actions">${parkedActions({ manager, may, about, event, done: again })}</div>`,
          ],
          below: open === id && html`<${ParkedDetail} name=${manager.name} event=${event} />`,
        };
      })} empty="Nothing is parked." />
    <${Pager} offset=${offset} pageSize=${data.pageSize} shown=${data.events.length} more=${data.more} go=${setOffset} />`}</>`;
}

function Parked({ manager, may, about }) {
  const [chosen, setChosen] = useState(null);
  const groups = useLive('/api/parked-groups', { name: manager.name }, 3000);
  const base = { about, may, owner: manager.owner, done: groups.reload };
  const dead = groups.data?.groups.some((group) => group.state === 'dead');
  return html`<${Section} title="Parked" count=${groups.data && number(groups.data.counted)} actions=${dead && html`
      <${Act} ...${base} label="Retry all dead" action="retry_dead" verb="Retried" values=${{ manager: manager.name }} title="Retry all dead events" explain="All events of this process manager that are dead are handled again." />
      <${Act} ...${base} label="Discard all dead" danger action="discard_dead" verb="Discarded" values=${{ manager: manager.name }} title="Discard all dead events" explain="The handler will never be called for them. This cannot be undone." />`}>
    <${Answer} of=${groups}>${(data) => html`
      <${Groups} manager=${manager} may=${may} about=${about} data=${data} chosen=${chosen} choose=${setChosen} reload=${groups.reload} />
      ${data.groups.length > 0 && html`<h3>${chosen ? html`Events of this group <button type="button" class="link" onClick=${() => setChosen(null)}>show all</button>` : 'Events'}</h3>
        <${ParkedList} key=${chosen?.id ?? ''} manager=${manager} may=${may} about=${about} group=${chosen} reload=${groups.reload} />`}`}</>
  </${Section}>`;
}

// ---- lanes, instances, timers, settings

function Lanes({ data, said }) {
  const several = data.registration.lanes > 1;
  const rows = data.lanes.map((lane) => ({
    key: `${lane.log} ${lane.lane}`,
    kind: lane.reason ? 'has-below' : '',
    cells: [
      html`<${State} value=${lane.state} />`,
      html`<${LogLink} name=${lane.log} />`,
      ...(several ? [String(lane.lane)] : []),
      html`<${Behind} row=${lane} />`,
      number(lane.position),
      number(lane.high_water_mark),
      number(lane.handled),
      number(lane.errors),
      number(lane.conflicts),
    ],
    below: lane.reason && html`<div class="reason"><${Reason} value=${lane.reason} manager=${data.registration.name} max=${600} />${lane.hint && lane.hint !== said && html`. <${Hint} value=${lane.hint} manager=${data.registration.name} />`}${lane.retry_at && html`${lane.hint && lane.hint !== said ? '' : '.'} <span class="none">Next attempt: <${NextAttempt} at=${lane.retry_at} state=${lane.state} /></span>`}</div>`,
  }));
  return html`<${Section} title=${several ? 'Lanes and logs' : 'Logs'} count=${data.moreLanes ? 'the first 200' : data.lanes.length}>
    <${Table} label="lanes and logs" columns=${[['State', 'narrow'], ['Log', 'wide'], ...(several ? [['Lane', 'num']] : []), ['Behind', ''], ['Position', 'num'], ['Mark', 'num'], ['Handled', 'num'], ['Errors', 'num'], ['Conflicts', 'num']]} rows=${rows} />
  </${Section}>`;
}

function Consumers({ rows, state }) {
  return html`<${Section} title="Consumers" count=${rows.length}>
    <${Table} label="consumers" columns=${[['Lane', 'num'], ['Consumer', 'wide'], ['Role', ''], ['Lease until', ''], ['Fetched', 'num'], ['Oldest', '']]} empty=${state === 'halted' ? 'No consumer holds a lane. While the process manager is halted, pm.fetch returns nothing.' : 'No consumer holds a lane.'}
      rows=${rows.map((row) => ({ key: row.lane, cells: [row.lane, html`<${Text} value=${row.consumer} />`, html`<${Text} value=${row.role} />`, html`<span class=${row.over ? 'bad' : ''}><${Time} value=${row.lease_until} ago /></span>`, number(row.fetched), html`<${Time} value=${row.oldest} ago />`] }))} />
  </${Section}>`;
}

function Instances({ manager }) {
  const [prefix, setPrefix] = useState('');
  const [after, setAfter] = useState([]);
  const [key, setKey] = useState('');
  const answer = useLive('/api/instances', { name: manager.name, prefix, after: after.at(-1) });
  function open(event) {
    event.preventDefault();
    if (key) location.hash = to.instance(manager.name, key);
  }
  return html`<${Section} title="Instances">
    <div class="filters">
      <form onSubmit=${open}><input type="search" value=${key} onInput=${(event) => setKey(event.target.value)} placeholder="Key" aria-label="Open the instance of a key" spellcheck=${false} /> <button type="submit">Open</button></form>
      <input type="search" value=${prefix} onInput=${(event) => { setPrefix(event.target.value); setAfter([]); }} placeholder="Keys that begin with" aria-label="Keys that begin with" spellcheck=${false} />
    </div>
    <${Answer} of=${answer}>${(data) => html`
      <${Table} label="instances" columns=${[['Key', 'wide'], ['State', 'wide clip'], ['Started', ''], ['Updated', '']]} empty="There are none at the moment."
        rows=${data.instances.map((row) => ({ key: row.key, cells: [html`<${InstanceLink} manager=${manager.name} name=${row.key} />`, html`<span class="code"><${Text} value=${row.state} max=${300} /></span>`, html`<${Time} value=${row.started_at} ago />`, html`<${Time} value=${row.updated_at} ago />`] }))} />
      ${(after.length > 0 || data.more) && html`<nav class="pager" aria-label="pages of instances">
        <button type="button" disabled=${after.length === 0} onClick=${() => setAfter(after.slice(0, -1))}>← Previous</button>
        <button type="button" disabled=${!data.more} onClick=${() => setAfter([...after, data.instances.at(-1).key])}>Next →</button></nav>`}`}</>
  </${Section}>`;
}

const TimerTable = ({ manager, label, timers }) => html`<${Table} label=${label} columns=${[['Due', ''], ['Type', 'medium'], ['Key', 'wide'], ['Data', 'clip']]} empty="No timer is set."
  rows=${timers.map((timer) => ({ key: `${timer.key} ${timer.type}`, cells: [html`<${Due} timer=${timer} />`, html`<${Text} value=${timer.type} />`, html`<${InstanceLink} manager=${manager.name} name=${timer.key} />`, html`<span class="code"><${Text} value=${timer.data} max=${300} /></span>`] }))} />`;

function Timers({ manager }) {
  const answer = useLive('/api/timers', { name: manager.name }, 10_000);
  return html`<${Section} title="Next timers">
    <${Answer} of=${answer}>${(data) => html`<${TimerTable} manager=${manager} label="timers" timers=${data.timers} />
      ${data.far > 0 && html`<h3 class="far">${data.moreFar ? 'More than ' : ''}${number(data.far)} ${data.far === 1 ? 'timer is' : 'timers are'} due in more than a year; the last ${data.furthest.length === 1 ? 'one' : 'ones'}:</h3>
        <${TimerTable} manager=${manager} label="timers that are far off" timers=${data.furthest} />`}`}</>
  </${Section}>`;
}

/** The functions, as they are now: CREATE OR REPLACE changes what the next batch calls. */
function Source({ manager }) {
  const [open, setOpen] = useState(false);
  const answer = useLive(open && '/api/source', { name: manager.name });
  if (manager.handler === null && manager.correlate === null) return null;
  const shown = (what, found) =>
    found && html`<p class="label">${what}: <span class="code"><${Text} value=${found.signature} /></span>${found.source !== null && html`, ${found.language}, owned by <${Text} value=${found.owner} />`}</p>
      ${found.source === null ? html`<p class="none">This function no longer exists.</p>` : html`<pre class="json source" tabindex="0"><${Text} value=${found.source} length=${found.source_length} max=${20_000} lines /></pre>`}`;
  return html`<${Section} title="Source" actions=${html`<button type="button" aria-expanded=${open} onClick=${() => setOpen(!open)}>${open ? 'Hide' : 'Show the functions'}</button>`}>
    ${open && html`<${Answer} of=${answer}>${(data) => html`${shown('handler', data.handler)}${shown('correlate', data.correlate)}`}</>`}
  </${Section}>`;
}

function Settings({ of, stat }) {
  const list = (values) => (values ? values.map((value) => html`<span class="tag"><${Text} value=${value} max=${60} /></span> `) : 'all');
  const code = (value) => html`<span class="code"><${Text} value=${value} /></span>`;
  return html`<${Section} title="Settings">
    <${Facts} of=${[
      ['owner', html`<${Text} value=${of.owner} />`],
      ['handler', of.handler === null ? 'none: consumers do the work' : code(of.handler.replace('pg_catalog.', ''))],
      ['correlate', of.correlate === null ? 'the key is the stream' : code(of.correlate)],
      ['types', list(of.types)],
      ['on_failure', of.on_failure],
      ['max_attempts', number(of.max_attempts)],
      ['backoff', of.backoff],
      ['handler_timeout', of.handler_timeout],
      ['batch_size', number(of.batch_size)],
      ['lanes', of.lanes],
      ['park_limit', number(of.park_limit)],
      ['keep_ended', of.keep_ended ?? 'nothing is kept'],
      ['journal', of.journal ? 'yes' : 'no'],
      of.handler === null && ['lease', of.lease],
      of.handler === null && ['consumers', of.consumers ? list(of.consumers) : 'members of the owner'],
      of.carry && ['carry', list(of.carry)],
      ['registered', html`<${Time} value=${of.registered_at} />`],
      stat && ['counted since', html`<${Time} value=${stat.reset_at} />`],
      stat && ['calls', number(stat.calls)],
      stat && ['total time of calls', milliseconds(stat.total_time)],
      stat && ['longest call', milliseconds(stat.max_time)],
    ]} />
  </${Section}>`;
}

export function Manager({ name, about }) {
  const answer = useLive('/api/manager', { name }, 1000);
  return html`<${Answer} of=${answer} title=${html`<${Name} value=${name} />`}>${(data) => {
    const { registration: manager, summary } = data;
    const base = { about, may: manager.may, owner: manager.owner, done: answer.reload };
    const stopped = manager.paused || ['halted', 'retrying', 'paused'].includes(summary?.state);
    return html`<div class="title"><${H1}><${Name} value=${name} /></${H1}>${summary && html`<${State} value=${summary.state} />`}
        <div class="actions">
          ${stopped && html`<${Act} ...${base} label="Resume" action="resume" verb="Resumed" values=${{ manager: name }} title="Resume this process manager" explain="Ends a pause, a halt and the wait for a retry. Failing parked events are due at once." />`}
          ${!manager.paused && html`<${Act} ...${base} label="Pause" action="pause" verb="Paused" values=${{ manager: name }} title="Pause this process manager" explain="It handles nothing until it is resumed. Its cursors stay, and timers that become due fire afterward." />`}
          <a class="button" href=${to.topology(name)}>Topology</a>
        </div></div>
      ${summary?.reason && html`<div class=${`reason banner ${summary.state}`}><${Reason} value=${summary.reason} manager=${name} max=${800} />${summary.hint && '.'} <${Hint} value=${summary.hint} manager=${name} /></div>`}
      ${summary && html`<div class="figures">
        <${Figure} label="Behind" value=${summary.lag === '0' ? 'up to date' : duration(summary.behind)} note=${summary.lag !== '0' && `${number(summary.lag)} positions`} />
        <${Figure} label="Handled" value=${rate(summary.rate)} note=${data.stat?.calls && `${number(data.stat.calls)} calls`} />
        ${summary.mean_ms !== null && html`<${Figure} label="A call takes" value=${milliseconds(summary.call_ms ?? summary.mean_ms)} note=${`${summary.call_ms === null ? '' : `mean ${milliseconds(summary.mean_ms)}, `}longest ${milliseconds(summary.max_ms)}`} kind=${(summary.call_ms ?? summary.mean_ms) >= 1000 ? 'slow' : ''} />`}
        <${Figure} label="Parked" value=${number(summary.parked)} note=${summary.deferred !== '0' && `${number(summary.deferred)} deferred`} />
        <${Figure} label="Dead" value=${number(summary.dead)} kind=${summary.dead === '0' ? '' : 'bad'} />
        <${Figure} label="Failures" value=${number(summary.errors)} note=${`${number(summary.conflicts)} conflicts`} />
        ${summary.overdue !== '0' && html`<${Figure} label="Timers overdue" value=${number(summary.overdue)} kind="bad" />`}
      </div>`}
      ${chartsOf(data.history)}
      ${manager.may
        ? html`<${Parked} manager=${manager} may=${manager.may} about=${about} />`
        : html`<${Section} title="Parked"><p class="none">Parked events, instances and timers are shown only to members of the owner, <bdi>${manager.owner}</bdi>.</p></${Section}>`}
      <${Lanes} data=${data} said=${summary?.hint} />
      ${manager.handler === null && html`<${Consumers} rows=${data.consumers} state=${summary?.state} />`}
      ${manager.may && html`<${Instances} manager=${manager} /><${Timers} manager=${manager} />`}
      <${Source} manager=${manager} />
      <${Settings} of=${manager} stat=${data.stat} />`;
  }}</>`;
}

