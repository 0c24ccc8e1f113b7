// Which processes do the work, and which sessions block them.
import { html } from '../html.js';
import { useLive } from '../api.js';
import { number, Text, Time } from '../text.js';
import { Answer, EventLink, Facts, H1, Hint, LogLink, ManagerLink, Section, Table } from '../parts.js';

// Before PostgreSQL 17, whatever a worker of an extension waits for has this name.
const waitOf = (row) => (row.wait_event && row.wait_event !== 'Extension' ? `${row.wait_event_type}: ${row.wait_event}` : '');

function Blocker({ row }) {
  return {
    key: `${row.blocks} ${row.log} ${row.process_manager} ${row.pid} ${row.gid}`,
    cells: [
      html`<strong>${row.blocks}</strong> ${row.log !== null && html`<${LogLink} name=${row.log} />`} ${row.process_manager !== null && html`<${ManagerLink} name=${row.process_manager} />`}`,
      row.pid === null ? html`prepared <bdi class="code"><${Text} value=${row.gid} /></bdi>` : html`session <span class="code">${row.pid}</span>${row.application_name && html`<br /><${Text} value=${row.application_name} max=${64} />`}${row.client && html`<br /><span class="none">from ${row.client}</span>`}`,
      html`<${Text} value=${row.role} />`,
      html`<${Time} value=${row.since} ago />`,
      html`${row.state}${waitOf(row) && html`<br /><span class="none">${waitOf(row)}</span>`}`,
    ],
    below: html`<div class="reason trouble">${row.query && html`<span class="none">Its last statement:</span> <pre class="statement" tabindex="0"><${Text} value=${row.query} max=${300} lines /></pre>`}<${Hint} value=${row.hint} /></div>`,
  };
}

export const Blockers = ({ rows }) => html`<${Table} label="blockers" columns=${[['Blocks', 'wide'], ['By', ''], ['Role', ''], ['Since', ''], ['State', '']]} rows=${rows.slice(0, 100).map((row) => Blocker({ row }))} empty="Nothing is blocked: no process manager or log that this role may see." />
  ${rows.length > 0 && html`<p class="none">Check carefully before you end a session. The last session of a chain is the one that must end.</p>`}`;

/** How many dispatchers there are. All places may be taken by idle ones, which is nothing to worry about. */
function Places({ data }) {
  const setting = data.settings.find(({ name }) => name === 'pm.max_workers')?.setting;
  const dispatchers = data.workers.filter((worker) => worker.kind === 'dispatcher');
  const idle = dispatchers.filter((worker) => worker.state === 'idle').length;
  const all = setting !== undefined && dispatchers.length >= Number(setting);
  const running = dispatchers.length === 1 ? `1 dispatcher, which is ${idle === 1 ? 'idle' : 'busy'}` : `${dispatchers.length} dispatchers, ${idle === 0 ? 'none' : idle} of them idle`;
  return html`<p class="none">${dispatchers.length === 0 ? 'No dispatcher runs' : running}, as far as this role may see. At most ${setting ?? '–'} can run (<code>pm.max_workers</code>).
    ${all && idle > 0 && ' An idle one makes room as soon as another role has work.'}
    ${all && idle === 0 && ' All are busy: another role that has work waits for one of them.'}</p>`;
}

export function Workers() {
  const answer = useLive('/api/workers', {}, 2000);
  return html`<${H1}>Workers and blockers</${H1}>
    <${Answer} of=${answer}>${(data) => {
      return html`
        <${Section} title="Blockers" count=${data.blockers.length}>
          <${Blockers} rows=${data.blockers} />
        </${Section}>
        <${Section} title="Workers" count=${data.workers.length > 300 ? 'the first 300' : data.workers.length}>
          <${Table} label="workers" columns=${[['Kind', ''], ['Pid', 'num'], ['Database', ''], ['Role', ''], ['State', ''], ['Since', ''], ['Works on', 'wide'], ['Waits for', '']]} empty="No worker runs for roles of which this role is a member. Members of pg_monitor see all."
            rows=${data.workers.slice(0, 300).map((row) => ({
              key: `${row.kind} ${row.pid} ${row.started_at}`,
              cells: [row.kind, html`<span class="code">${row.pid ?? '–'}</span>`, html`<${Text} value=${row.database ?? '–'} max=${40} />`, html`<${Text} value=${row.role ?? '–'} max=${40} />`,
                html`<span class=${`state ${row.overdue ? 'failing' : row.state === 'idle' ? 'idle' : 'running'}`}><span class="dot"></span>${row.state}${row.overdue && ', overdue'}</span>`,
                html`<${Time} value=${row.since} ago />`,
                row.process_manager === null ? null : html`<${ManagerLink} name=${row.process_manager} />${row.lane ? html` <span class="tag">lane ${row.lane}</span>` : ''} ${row.log !== null && row.position !== null && html`<${EventLink} log=${row.log} position=${row.position} />`}`,
                waitOf(row) ? html`<span class="none">${waitOf(row)}</span>` : null],
            }))} />
          <${Places} data=${data} />
        </${Section}>
        <${Section} title="Consumers" count=${data.consumers.length}>
          <${Table} label="consumers" columns=${[['Process manager', 'wide'], ['Lane', 'num'], ['Consumer', 'wide'], ['Role', ''], ['Lease until', ''], ['Fetched', 'num']]} empty="No consumer holds a lane."
            rows=${data.consumers.slice(0, 200).map((row) => ({ key: `${row.process_manager} ${row.lane}`, cells: [html`<${ManagerLink} name=${row.process_manager} />`, row.lane, html`<${Text} value=${row.consumer} />`, html`<${Text} value=${row.role} />`, html`<span class=${row.over ? 'bad' : ''}><${Time} value=${row.lease_until} ago /></span>`, number(row.fetched)] }))} />
        </${Section}>
        <${Section} title="Settings"><${Facts} of=${data.settings.map((setting) => [setting.name, `${setting.setting}${setting.unit ? ` ${setting.unit}` : ''}`])} /></${Section}>`;
    }}</>`;
}
