// One instance: what it waits for, what it has been through, and how its state came to be.
import { html, useState } from '../html.js';
import { useLive } from '../api.js';
import { duration, Json, Name, number, parseTime, Text, Time } from '../text.js';
import { Answer, Copy, Due, EventLink, Facts, H1, Hint, ManagerLink, NextAttempt, Pager, Section, State, to } from '../parts.js';
import { Act } from '../act.js';
import { SideBySide } from '../diff.js';
import { ErrorHint, ParkedDetail, parkedActions } from './parked.js';

// ---- what it waits for

function ParkedItem({ manager, may, about, event, done }) {
  const [open, setOpen] = useState(false);
  return html`<li class=${`wait-item ${event.state}`}>
    <div class="line"><${State} value=${event.state} /> <strong><${Text} value=${event.type ?? (event.log === null ? 'timer' : 'event')} max=${60} /></strong>
      ${event.log !== null && html` <${EventLink} log=${event.log} position=${event.position} />`}
      <span class="none">parked <${Time} value=${event.parked_at} ago />${event.attempts > 0 && `, ${number(event.attempts)} ${event.attempts === 1 ? 'attempt' : 'attempts'}`}${['failing', 'deferred'].includes(event.state) && html`, next attempt: <${NextAttempt} at=${event.retry_at} state=${event.state} />`}</span>
      <div class="actions">${parkedActions({ manager, may, about, event, done })}</div></div>
    ${event.message !== null && html`<p class="message"><${Text} value=${event.message} length=${event.message_length} max=${600} lines /></p>`}
    ${event.error_hint && html`<p class="reason"><${ErrorHint} value=${event.error_hint} length=${event.error_hint_length} /></p>`}
    ${event.hint && html`<p class="reason"><${Hint} value=${event.hint} manager=${manager.name} /></p>`}
    <button type="button" class="link" aria-expanded=${open} onClick=${() => setOpen(!open)}>${open ? 'Less' : 'Data and context'}</button>
    ${open && html`<${ParkedDetail} name=${manager.name} event=${event} said />`}
  </li>`;
}

function Waits({ data, pending, about, reload }) {
  const { manager, parked, timers } = data;
  const sent = pending.data?.pending ?? [];
  if (parked.length + timers.length + sent.length === 0) {
    return html`<p class="none">Nothing is parked, sent or set${data.live ? ': it waits for an event' : ''}.</p>`;
  }
  return html`<ul class="waits">
    ${parked.slice(0, 50).map((event) => html`<${ParkedItem} key=${`${event.log} ${event.position}`} manager=${manager} may=${manager.may} about=${about} event=${event} done=${reload} />`)}
    ${parked.length > 50 && html`<li class="none">and more parked events</li>`}
    ${sent.map((event) => html`<li class="wait-item"><div class="line"><span class="state pending"><span class="dot"></span>pending</span> <strong><${Text} value=${event.type} max=${60} /></strong> <span class="none">sent <${Time} value=${event.sent_at} ago />${event.by && html` by <${Text} value=${event.by} />`}, not handled yet</span></div></li>`)}
    ${timers.slice(0, 50).map((timer) => html`<li class="wait-item"><div class="line"><span class=${timer.overdue || timer.far ? 'state failing' : 'state timer'}><span class="dot"></span>timer</span> <strong><${Text} value=${timer.type} max=${60} /></strong> <span>due <${Due} timer=${timer} /></span> <span class="none"><${Time} value=${timer.due} /></span> ${timer.data !== '{}' && html`<span class="code"><${Text} value=${timer.data} max=${80} /></span>`}</div></li>`)}
    ${timers.length > 50 && html`<li class="none">and more timers</li>`}
  </ul>`;
}

// ---- its journal

const listOf = (text) => (text ? JSON.parse(text) : []);

function Entry({ entry, previous }) {
  const [open, setOpen] = useState(false);
  const appended = listOf(entry.appended);
  const timers = listOf(entry.timers);
  const ended = entry.state === null && !entry.state_size;
  const byHand = entry.type === null;
  // The entry before belongs to the same life, unless this one is its first.
  const same = previous && previous.started_at === entry.started_at && BigInt(previous.seq) + 1n === BigInt(entry.seq);
  const title = byHand ? (ended ? 'ended manually' : 'state set manually') : html`<${Text} value=${entry.type} max=${80} />`;
  return html`<li class=${`entry ${byHand ? 'by-hand' : entry.log === null ? 'timer' : 'event'} ${ended ? 'end' : ''} ${entry.seq === '1' ? 'begin' : ''}`}>
    <div class="line"><${Time} value=${entry.handled_at} fraction />
      <strong>${title}</strong>
      ${entry.log !== null ? html`<${EventLink} log=${entry.log} position=${entry.position} />` : !byHand && html`<span class="tag">${entry.by ? 'sent' : 'timer'}</span>`}
      ${entry.by && html`<span class="none">by <${Text} value=${entry.by} /></span>`}
      ${ended && html`<span class="tag">ended</span>`}</div>
    ${entry.reason !== null && html`<p class="quote"><${Text} value=${entry.reason} length=${entry.reason_length} max=${300} /></p>`}
    ${appended.length > 0 && html`<div class="line effects"><span class="none">appended</span> ${appended.map((event) => html`<${EventLink} log=${event.log} position=${event.position} /> `)}${entry.appended_count > appended.length && html`<span class="none">and ${number(entry.appended_count - appended.length)} more</span>`}</div>`}
    ${timers.length > 0 && html`<div class="line effects"><span class="none">set timer</span> ${timers.map((timer) => html`<span><${Text} value=${timer.type} max=${40} /> <span class="none">for <${Time} value=${utc(timer.due)} /></span></span> `)}</div>`}
    <button type="button" class="link" aria-expanded=${open} onClick=${() => setOpen(!open)}>${open ? 'Hide the states' : 'State before and after'}</button>
    ${open && html`<${SideBySide} before=${same ? previous.state : null} beforeSize=${same ? previous.state_size : null} after=${entry.state} afterSize=${entry.state_size} ended=${ended} />
      ${!same && entry.seq !== '1' && html`<p class="none">The previous entry has been removed, so the state before this one is not known.</p>`}`}
  </li>`;
}

// In a jsonb a time is written as to_jsonb does.
const utc = (text) => (text && parseTime(text.replace(/\+00:00$/u, '+00')) ? text.replace(/\+00:00$/u, '+00') : text);

function Journal({ name, instanceKey, journaled, correlate, logs }) {
  const [offset, setOffset] = useState(0);
  const answer = useLive('/api/journal', { name, key: instanceKey, offset: offset || null }, 3000);
  return html`<${Section} title="Journal">
    <${Answer} of=${answer}>${(data) => html`
      ${data.entries.length === 0 && html`<p class="none">${journaled ? 'It has no entries: no call of the handler for this key has succeeded since the journal was switched on.' : 'This process manager keeps no journal (pm.alter(…, journal => true) begins one), so what the instance has handled is not known.'}</p>`}
      <ol class="journal">${data.entries.map((entry, n) => html`<${Entry} key=${`${entry.started_at} ${entry.seq}`} entry=${entry} previous=${data.entries[n + 1] ?? data.before} />`)}</ol>
      <${Pager} offset=${offset} pageSize=${data.pageSize} shown=${data.entries.length} more=${data.more} go=${setOffset} />
      ${data.entries.length === 0 && html`<p>${correlate === null ? 'Its events are those of the streams of this name' : 'Streams of this name'}: ${logs.map((log) => html`<a href=${to.stream(log, instanceKey)}>in <${Name} value=${log} /></a> `)}</p>`}`}</>
  </${Section}>`;
}

// ---- the page

export function Instance({ name, instanceKey, about }) {
  const answer = useLive('/api/instance', { name, key: instanceKey }, 3000);
  const pending = useLive('/api/pending', { name, key: instanceKey }, 10_000);
  return html`<${Answer} of=${answer} title=${html`<${Name} value=${instanceKey} max=${160} />`}>${(data) => {
    const { manager, live, ended, key } = data;
    if (!manager) return html`<${H1}>There is no such process manager</${H1}><p class="none">Or there is one that this role may not see.</p>`;
    const reload = () => { answer.reload(); pending.reload(); };
    const values = { manager: name, key };
    const base = { about, may: manager.may, owner: manager.owner, done: reload, values };
    const worst = data.parked[0]?.state;
    return html`<p class="crumbs"><${ManagerLink} name=${name} /> <span class="none">/ instance</span></p>
      <div class="title"><${H1}><${Name} value=${key} max=${160} /></${H1}>
        <span class=${`state ${live ? 'running' : 'idle'}`}><span class="dot"></span>${live ? 'live' : ended.length ? 'ended' : 'no instance'}</span>
        ${worst && html`<${State} value=${worst} />`}
        <${Copy} value=${key} label="Copy key" />
        <div class="actions">
          <${Act} ...${base} label="Send an event" action="send" verb="Sent" title="Send an event to this instance" explain="It is queued, and handled in the order of time. If there is no instance, the handler gets the state NULL." button="Send"
            fields=${[{ name: 'type', label: 'Type', required: true }, { name: 'data', label: 'Data (JSON)', kind: 'json', value: '{}' }]} />
          <${Act} ...${base} label="Set the state" action="set_state" verb="The state is set" title="Set the state of this instance" explain="The change and its reason are written to the journal and to the server's log." button="Set"
            fields=${[{ name: 'state', label: 'State (JSON)', kind: 'json', required: true, value: live?.state ?? '{}' }, { name: 'reason', label: 'Reason', required: true }]} />
          <${Act} ...${base} label="End" danger action="end_instance" verb="Ended" title="End this instance" explain="Its state, its timers and its parked events are deleted. This cannot be undone." button="End it"
            fields=${[{ name: 'reason', label: 'Reason', required: true }]} />
        </div></div>
      ${!manager.may && html`<p class="none">Instances are shown to members of the owner, <bdi>${manager.owner}</bdi>, only.</p>`}
      <${Section} title="What it waits for"><${Waits} data=${data} pending=${pending} about=${about} reload=${reload} /></${Section}>
      <div class="two wide-first">
        <${Journal} name=${name} instanceKey=${key} journaled=${manager.journal} correlate=${manager.correlate} logs=${manager.logs ?? []} />
        <div>
          <${Section} title="State">${live
            ? html`<${Json} value=${live.state} size=${live.state_size} /><${Facts} of=${[['started', html`<${Time} value=${live.started_at} />`], ['updated', html`<${Time} value=${live.updated_at} />`]]} />`
            : html`<p class="none">This key ${ended.length ? 'no longer has an' : 'has no'} instance.</p>`}</${Section}>
          ${data.associations.length > 0 && html`<${Section} title="Also found by"><${Facts} of=${data.associations.slice(0, 50).map(({ kind, value }) => [html`<${Text} value=${kind} max=${60} />`, html`<${Text} value=${value} />`])} /></${Section}>`}
          ${ended.length > 0 && html`<${Section} title="Ended" count=${ended.length > 50 ? 'the last 50' : ended.length}>${ended.slice(0, 50).map((life) => html`<details class="life"><summary><${Time} value=${life.ended_at} /> ${life.ended_by ? html`<span class="tag">by <${Text} value=${life.ended_by} /></span>` : html`<span class="none">by itself, after ${lasted(life)}</span>`}</summary>
            ${life.reason !== null && html`<p class="quote"><${Text} value=${life.reason} length=${life.reason_length} max=${300} /></p>`}
            <p class="label">result</p><${Json} value=${life.result} size=${life.result_size} />
            <p class="label">last state</p><${Json} value=${life.state} size=${life.state_size} /></details>`)}</${Section}>`}
        </div>
      </div>`;
  }}</>`;
}

function lasted(life) {
  const [from, until] = [parseTime(life.started_at), parseTime(life.ended_at)];
  return from && until ? duration((until - from) / 1000) : '–';
}
