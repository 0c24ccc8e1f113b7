// Charts of the last minutes (uPlot), and lines without axes for tables.
import uPlot from 'uplot';
import { html, useEffect, useRef, useState } from './html.js';

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const now = () => Date.now() / 1000;

const dark = matchMedia('(prefers-color-scheme: dark)');

// Three charts below each other leave room for what follows.
const narrow = matchMedia('(max-width: 700px)');
const heightOf = () => (narrow.matches ? 84 : 132);

const count = [1, 2, 5].map((n) => [...Array(10)].map((_, power) => n * 10 ** power)).flat().sort((a, b) => a - b);

/** The labels of a time axis. At the ends there is no room for one. */
function clockLabels(plot, times) {
  const width = plot.bbox.width / devicePixelRatio;
  return times.map((t) => {
    const x = plot.valToPos(t, 'x');
    return x < 26 || x > width - 20 ? '' : new Date(t * 1000).toLocaleTimeString('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
  });
}

/** An axis is as wide as its longest label. */
const widthOf = (_, labels) => 14 + Math.max(2, ...(labels ?? []).map((label) => label?.length ?? 0)) * 6.2;

function options({ width, tone, format, hover, whole }) {
  // Colors are asked for whenever it is drawn: the scheme may change.
  const axis = { stroke: () => css('--muted'), font: '11px system-ui, sans-serif', grid: { stroke: () => css('--line'), width: 1 }, ticks: { show: false } };
  return {
    width,
    height: heightOf(),
    padding: [8, 10, 0, 0],
    legend: { show: false },
    cursor: { sync: { key: 'pm' }, y: false, points: { size: 7 }, drag: { x: false, y: false } },
    // A minute at least, so that the first samples do not fill it.
    scales: { x: { time: true, range: ({ data: [times] }) => { const end = times.at(-1) ?? now(); return [Math.min(times[0] ?? end, end - 60), end]; } }, y: { range: (_, low, high) => [0, Math.max(high ?? 0, low ?? 0) * 1.15 || 1] } },
    axes: [
      { ...axis, grid: { show: false }, size: 24, space: 70, values: clockLabels },
      { ...axis, size: widthOf, space: () => (narrow.matches ? 18 : 34), values: (_, values) => values.map(format), ...(whole ? { incrs: count } : {}) },
    ],
    series: [{}, { stroke: () => css(tone), width: 2, fill: () => `${css(tone)}22`, points: { show: (plot) => plot.data[0].length < 3, size: 5 }, spanGaps: false }],
    hooks: { setCursor: [(plot) => hover(plot.cursor.idx ?? null)] },
  };
}

/** One chart: its title, the value now (or under the pointer), and the line. */
export function Chart({ title, times, values, format, tone = '--accent', whole = false }) {
  const place = useRef();
  const plot = useRef();
  const [index, setIndex] = useState(null);

  useEffect(() => {
    const redraw = () => plot.current.redraw(false);
    dark.addEventListener('change', redraw);
    return () => dark.removeEventListener('change', redraw);
  }, []);

  useEffect(() => {
    const width = () => Math.max(place.current.clientWidth, 200);
    plot.current = new uPlot(options({ width: width(), tone, format, hover: setIndex, whole }), [[], []], place.current);
    const observer = new ResizeObserver(() => plot.current.setSize({ width: width(), height: heightOf() }));
    observer.observe(place.current);
    return () => {
      observer.disconnect();
      plot.current.destroy();
    };
  }, [tone]);

  useEffect(() => plot.current.setData([times, values]), [times, values]);

  const at = index !== null && index < values.length ? index : values.length - 1;
  const shown = values[at] ?? null;
  return html`<figure class="chart" aria-label=${`${title}: ${shown === null ? 'not known yet' : format(shown)}`}>
    <figcaption><span class="label">${title}</span><span class="value">${shown === null ? '–' : format(shown)}</span></figcaption>
    <div ref=${place}></div>
  </figure>`;
}

/** The last values as a line. */
export function Spark({ values }) {
  const known = values.filter((value) => value !== null);
  if (known.length < 2) return html`<svg class="spark" viewBox="0 0 80 20" aria-hidden="true"></svg>`;
  const top = Math.max(...known, 1e-9);
  const points = [];
  values.forEach((value, n) => {
    if (value !== null) points.push(`${(80 - (values.length - 1 - n) * (80 / 59)).toFixed(1)},${(18.5 - (value / top) * 17).toFixed(1)}`);
  });
  return html`<svg class="spark" viewBox="0 0 80 20" preserveAspectRatio="none" aria-hidden="true"><polyline points=${points.join(' ')} /></svg>`;
}
