// A graph, laid out by Graphviz and drawn here. What Graphviz returns is a list of what to draw, not markup: names that
// are in it become texts, and nothing else.
import { html, useEffect, useState } from './html.js';

let worker;
let last = 0;

function startWorker() {
  const url = '/graph-worker.js';
  const policy = globalThis.trustedTypes?.createPolicy('pm-console', { createScriptURL: (text) => (text === url ? text : '') });
  return new Worker(policy ? policy.createScriptURL(url) : url, { type: 'module' });
}

// On a narrow screen the graph grows downwards. The direction stands in the head of the text, before all names.
const narrow = matchMedia('(max-width: 700px)');

/** Lays out a text in the language DOT. */
function layOut(dot) {
  worker ??= startWorker();
  const id = ++last;
  return new Promise((resolve, reject) => {
    const answer = ({ data }) => {
      if (data.id !== id) return;
      worker.removeEventListener('message', answer);
      if (data.error) reject(new Error(data.error));
      else resolve(data.graph);
    };
    worker.addEventListener('message', answer);
    worker.addEventListener('error', () => reject(new Error('Graphviz could not be loaded')), { once: true });
    worker.postMessage({ id, dot });
  });
}

// Colors of the drawing, in those of the page, so that a state has the same color everywhere, in both schemes.
const colors = {
  '#000000': 'currentColor', '#c0291c': 'var(--bad)', '#2d5fa8': 'var(--accent)', '#ffffff': 'var(--surface)', '#f2f2f2': 'var(--raised)',
  '#d9efd9': 'var(--ok-soft)', '#fde3b8': 'var(--warn-soft)', '#fbf3a6': 'var(--warn-soft)', '#dbe4f5': 'var(--accent-soft)', '#f7c6c0': 'var(--bad-soft)',
};
const color = (value) => colors[value] ?? 'none';

// In a picture there is no room for numbers of characters.
const visible = (text) => text.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '\uFFFD');

const anchors = { l: 'start', c: 'middle', r: 'end' };

/** The shapes of a list of drawing operations; y points up in Graphviz, and down on the screen. */
function shapes(operations, height) {
  const found = [];
  let pen = 'currentColor';
  let fill = 'none';
  let dashes;
  let width = 1;
  let size = 12;
  const at = ([x, y]) => `${x.toFixed(1)},${(height - y).toFixed(1)}`;
  for (const o of operations ?? []) {
    const line = { stroke: pen, 'stroke-dasharray': dashes, 'stroke-width': width };
    switch (o.op) {
      case 'c': pen = color(o.color); break;
      case 'C': fill = color(o.color); break;
      case 'F': ({ size } = o); break;
      case 'S':
        if (o.style === 'dashed') dashes = '5 3';
        else if (o.style === 'dotted') dashes = '1 3';
        else if (o.style === 'solid') dashes = undefined;
        else width = Number(/^setlinewidth\(([\d.]+)\)$/u.exec(o.style)?.[1] ?? width);
        break;
      case 'e':
      case 'E':
        found.push(html`<ellipse cx=${o.rect[0]} cy=${height - o.rect[1]} rx=${o.rect[2]} ry=${o.rect[3]} fill=${o.op === 'E' ? fill : 'none'} ...${line} />`);
        break;
      case 'p':
      case 'P':
        found.push(html`<polygon points=${o.points.map(at).join(' ')} fill=${o.op === 'P' ? fill : 'none'} ...${line} />`);
        break;
      case 'L': found.push(html`<polyline points=${o.points.map(at).join(' ')} fill="none" ...${line} />`); break;
      case 'b':
      case 'B': {
        const [first, ...rest] = o.points;
        found.push(html`<path d=${`M${at(first)} C${rest.map(at).join(' ')}`} fill=${o.op === 'B' ? fill : 'none'} ...${line} />`);
        break;
      }
      // Graphviz has made room for this width, whatever font there is here.
      case 'T': found.push(html`<text x=${o.pt[0]} y=${height - o.pt[1]} text-anchor=${anchors[o.align] ?? 'middle'} font-size=${size} textLength=${o.width} lengthAdjust="spacingAndGlyphs" fill=${pen}>${visible(o.text)}</text>`); break;
      default:
    }
  }
  return found;
}

/** target(node): {href, label} or undefined. */
export function Graph({ dot, target }) {
  const [state, setState] = useState({});
  const [downwards, setDownwards] = useState(narrow.matches);
  useEffect(() => {
    const look = () => setDownwards(narrow.matches);
    narrow.addEventListener('change', look);
    return () => narrow.removeEventListener('change', look);
  }, []);
  useEffect(() => {
    let over = false;
    layOut(downwards ? dot.replace('rankdir=LR', 'rankdir=TB') : dot).then(
      (graph) => over || setState({ graph }),
      (error) => over || setState({ error }),
    );
    return () => (over = true);
  }, [dot, downwards]);

  if (state.error) return html`<p class="problem" role="alert">The picture could not be drawn: ${state.error.message}</p>`;
  if (!state.graph) return html`<p class="none wait">Graphviz is drawing …</p>`;
  const { graph } = state;
  const [, , width, height] = graph.bb.split(',').map(Number);
  const nodes = (graph.objects ?? []).filter((node) => node._draw_);
  return html`<div class="graph" tabindex="0" role="group" aria-label="which process manager follows which log">
    <svg viewBox=${`-4 -4 ${width + 8} ${height + 8}`} width=${Math.round((width + 8) * 1.35)} style=${{ minWidth: `${Math.round((width + 8) * 0.8)}px` }}>
      ${(graph.edges ?? []).map((edge) => html`<g class="edge">${['_draw_', '_hdraw_', '_tdraw_', '_ldraw_', '_hldraw_', '_tldraw_'].flatMap((part) => shapes(edge[part], height))}</g>`)}
      ${nodes.map((node) => {
        const link = target(node);
        const drawn = html`<g class="node">${shapes(node._draw_, height)}${shapes(node._ldraw_, height)}${node.tooltip && html`<title>${node.tooltip.slice(0, 1000)}</title>`}</g>`;
        return link ? html`<a href=${link.href} aria-label=${link.label}>${drawn}</a>` : drawn;
      })}
    </svg>
  </div>`;
}
