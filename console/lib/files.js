// The files of the page: those of public/, and what the page loads of the libraries. They are read once, at the start,
// and found by their whole path, so that no path leads anywhere else.
import { createHash } from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const require = createRequire(import.meta.url);
const publicDirectory = fileURLToPath(new URL('../public', import.meta.url));

const contentTypes = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
};

// Where the page finds the libraries. Their packages name these files in "exports" for import, not for require.
const libraries = {
  '/library/preact.js': ['preact', 'preact.module.js'],
  '/library/hooks.js': ['preact/hooks', 'hooks.module.js'],
  '/library/htm.js': ['htm', 'htm.module.js'],
  '/library/uplot.js': ['uplot', 'uPlot.esm.js'],
  '/library/uplot.css': ['uplot', 'uPlot.min.css'],
  '/library/viz.js': ['@viz-js/viz', 'viz.js'],
};

function read(file) {
  return { body: readFileSync(file), type: contentTypes[extname(file)] };
}

function* filesBelow(directory, path = '') {
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    if (entry.isDirectory()) yield* filesBelow(join(directory, entry.name), `${path}/${entry.name}`);
    else if (contentTypes[extname(entry.name)]) yield [`${path}/${entry.name}`, join(directory, entry.name)];
  }
}

/** All files by path, and the hash of the inline import map for the Content-Security-Policy. */
export function loadFiles() {
  const files = new Map();
  for (const [path, file] of filesBelow(publicDirectory)) files.set(path, read(file));
  for (const [path, [library, name]] of Object.entries(libraries)) {
    files.set(path, read(join(dirname(require.resolve(library)), name)));
  }
  files.set('/', files.get('/index.html'));

  const [, importMap] = /<script type="importmap">([^]*?)<\/script>/u.exec(files.get('/').body.toString());
  const hash = createHash('sha256').update(importMap).digest('base64');
  return { files, importMapHash: `'sha256-${hash}'` };
}
