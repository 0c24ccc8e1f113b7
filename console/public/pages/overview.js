// All process managers: the most urgent first, and what happened in the last minutes.
import { html, useState } from '../html.js';
import { useLive } from '../api.js';
import { duration, milliseconds, number, rate, Text } from '../text.js';
import { Answer, H1, Hint, ManagerLink, Pager, Reason, State, Table } from '../parts.js';
import { Chart, Spark } from '../chart.js';

const order = ['halted', 'waiting', 'paused', 'retrying', 'parked', 'running', 'idle'];

const whole = (value) => number(Math.round(value));
export const chartsOf = (history) => html`<div class="charts" role="group" aria-label="the last minutes" tabindex="0">
  <${Chart} title="Handled" times=${history.t} values=${history.rate} format=${rate} />
  <${Chart} title="Behind, in time" times=${history.t} values=${history.behind} format=${duration} tone="--warn" />
  <${Chart} title="Parked" times=${history.t} values=${history.parked} format=${whole} tone="--bad" whole />
</div>`;

/** How far behind: as a time, and in positions. */
export function Behind({ row }) {
  if (row.lag === null) return html`<span class="none">not known</span>`;
  if (row.lag === '0') return html`<span class="none">up to date</span>`;
  return html`<span>${duration(row.behind)}</span> <span class="none nowrap">${number(row.lag)} ${row.lag === '1' ? 'position' : 'positions'}</span>`;
}

/** How long a call of the handler takes: lately, or else on average, and the longest one. */
export function CallTime({ row }) {
  if (row.mean_ms === null) return null;
  const usual = row.call_ms ?? row.mean_ms;
  return html`<span class=${usual >= 1000 ? 'slow' : ''}>${milliseconds(usual)}</span> <span class="none nowrap">max ${milliseconds(row.max_ms)}</span>`;
}

const many = (value) => (value === '0' || value === 0 ? html`<span class="none">0</span>` : number(value));

function row(manager, stat) {
  return {
    key: manager.name,
    kind: manager.reason ? 'has-below' : '',
    cells: [
      html`<${State} value=${manager.state} />`,
      html`<${ManagerLink} name=${manager.name} />${manager.consumers && html` <span class="tag">consumers</span>`}${manager.lanes > 1 && html` <span class="tag">${manager.lanes} lanes</span>`}<span class="owner"> <${Text} value=${manager.owner ?? ''} max=${30} /></span>`,
      html`<${Behind} row=${manager} />`,
      html`<span class="with-spark"><span>${rate(manager.rate)}</span><${Spark} values=${manager.rates} /></span>`,
      ...(stat ? [manager.mean_ms === null ? null : html`<${CallTime} row=${manager} />`] : []),
      many(manager.parked),
      html`<span class=${manager.dead === '0' ? '' : 'bad'}>${many(manager.dead)}</span>`,
    ],
    below: manager.reason && html`<div class=${manager.urgent || manager.state === 'retrying' ? 'reason trouble' : 'reason'}><${Reason} value=${manager.reason} manager=${manager.name} />${manager.hint && '.'} <${Hint} value=${manager.hint} manager=${manager.name} /></div>`,
  };
}

export function Overview({ about }) {
  const [state, setState] = useState('');
  const [text, setText] = useState('');
  const [offset, setOffset] = useState(0);
  const answer = useLive('/api/overview', { state, text, offset: offset || null }, 1000);

  const columns = [['State', 'narrow'], ['Process manager', 'wide'], ['Behind', ''], ['Handled', ''], ...(about.stat ? [['A call takes', '']] : []), ['Parked', 'num'], ['Dead', 'num']];
  return html`<${H1}>Overview</${H1}>
    <${Answer} of=${answer}>${(data) => html`
      ${chartsOf(data.history)}
      <div class="filters" role="group" aria-label="states">
        <button type="button" aria-pressed=${state === ''} onClick=${() => { setState(''); setOffset(0); }}>all <b>${number(data.all)}</b></button>
        ${order.filter((name) => data.states[name]).map((name) => html`<button type="button" class=${`filter ${name}`} aria-pressed=${state === name} onClick=${() => { setState(state === name ? '' : name); setOffset(0); }}>${name === 'parked' ? 'with parked events' : html`<span class="dot"></span>${name}`} <b>${number(data.states[name])}</b></button>`)}
        <input type="search" value=${text} onInput=${(event) => { setText(event.target.value); setOffset(0); }} placeholder="Filter by name" aria-label="Filter by name" spellcheck=${false} />
      </div>
      <${Table} label="process managers" columns=${columns} rows=${data.managers.map((manager) => row(manager, about.stat))}
        empty=${data.all === 0 ? 'There is no process manager, or none that this role may see. Members of pg_monitor see all of them.' : 'No process manager matches.'} />
      <${Pager} offset=${offset} pageSize=${data.pageSize} shown=${data.managers.length} more=${offset + data.managers.length < data.found} found=${data.found} go=${setOffset} />
      ${data.every > 5000 && html`<p class="none">The query of pm.status takes ${milliseconds(data.took)} here, so it is made every ${duration(data.every / 1000)}.</p>`}
    `}</>`;
}
