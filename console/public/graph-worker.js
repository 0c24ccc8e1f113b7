// Graphviz, apart from the page: a large graph takes its time.
import { instance } from '/library/viz.js';

const viz = instance();

self.onmessage = async ({ data: { id, dot } }) => {
  try {
    self.postMessage({ id, graph: (await viz).renderJSON(dot) });
  } catch (error) {
    self.postMessage({ id, error: error.message });
  }
};
