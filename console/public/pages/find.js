// What has this key: instances of all process managers, associations, streams.
import { html, useEffect } from '../html.js';
import { useLive } from '../api.js';
import { Name, number, Text, Time } from '../text.js';
import { Answer, H1, InstanceLink, LogLink, ManagerLink, Section, StreamLink, Table, to } from '../parts.js';

const words = { parked: 'parked', instance: 'live', ended: 'ended', journal: 'journal' };
const states = { parked: 'failing', instance: 'running', ended: 'idle', journal: 'idle' };

export function Find({ text, about }) {
  const answer = useLive('/api/find', { text });
  const { data } = answer;
  const found = data ? [...data.keys, ...data.associations] : [];

  // If there is one thing only that can be meant, it is shown at once.
  useEffect(() => {
    if (data && found.length === 1 && data.prefixes.length === 0) location.replace(to.instance(found[0].process_manager, found[0].key));
  }, [data]);

  return html`<${H1}>Search <small><${Name} value=${text} /></small></${H1}>
    <${Answer} of=${answer} waiting="Searching …">${() => html`
      ${data.failed.map(({ what, message }) => html`<p class="none">This search did not finish: ${what} (<${Text} value=${message} />)</p>`)}
      <${Section} title="Instances" count=${data.keys.length}>
        <${Table} label="instances" columns=${[['Process manager', 'wide'], ['Key', 'wide'], ['Found as', '']]} empty="No process manager that this role may look into knows this key."
          rows=${data.keys.map((row) => ({ key: row.process_manager, cells: [html`<${ManagerLink} name=${row.process_manager} />`, html`<${InstanceLink} manager=${row.process_manager} name=${row.key} />`, row.found.map((place) => html`<span class=${`state ${states[place.what]}`}><span class="dot"></span>${words[place.what]}</span> <span class="none"><${Time} value=${place.at} ago /></span> `)] }))} />
      </${Section}>
      ${data.prefixes.length > 0 && html`<${Section} title="Keys that begin or end with it">
        <${Table} label="keys that begin or end with it" columns=${[['Process manager', 'wide'], ['Key', 'wide'], ['Updated', '']]} rows=${data.prefixes.map((row) => ({ key: `${row.process_manager} ${row.key}`, cells: [html`<${ManagerLink} name=${row.process_manager} />`, html`<${InstanceLink} manager=${row.process_manager} name=${row.key} />`, html`<${Time} value=${row.at} ago />`] }))} />
      </${Section}>`}
      ${about.association && html`<${Section} title="Associations" count=${data.associations.length}>
        <${Table} label="associations" columns=${[['Process manager', 'wide'], ['Key', 'wide'], ['Found by', '']]} empty="No instance is associated with it."
          rows=${data.associations.map((row) => ({ key: `${row.process_manager} ${row.key} ${row.kind}`, cells: [html`<${ManagerLink} name=${row.process_manager} />`, html`<${InstanceLink} manager=${row.process_manager} name=${row.key} />`, html`<${Text} value=${row.kind} />`] }))} />
      </${Section}>`}
      <${Section} title="Streams" count=${data.streams.length}>
        <${Table} label="streams" columns=${[['Log', 'wide'], ['Stream', 'wide'], ['Events', 'num'], ['Last', '']]} empty="No log that this role may read has a stream of this name."
          rows=${data.streams.map((row) => ({ key: row.log, cells: [html`<${LogLink} name=${row.log} />`, html`<${StreamLink} log=${row.log} name=${text} />`, row.events < 100 ? number(row.events) : '100 or more', html`<${Time} value=${row.at} ago />`] }))} />
        <p class="none">Of the first ${data.searchedLogs} logs.</p>
      </${Section}>`}</>`;
}
