// What the tests with a database have in common. The database is that of PGHOST and PGDATABASE, with pm.
import { spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const pathOf = (file) => fileURLToPath(new URL(file, import.meta.url));

// Runs SQL, and returns the last line that it returns.
export function psql(sql) {
  return run(['-c', 'SET client_min_messages = warning', '-f', '-'], sql);
}

export function psqlFile(file) {
  return run(['-f', pathOf(file)], '');
}

function run(options, input) {
  return new Promise((resolve, reject) => {
    const child = spawn('psql', ['-XqAt', '-v', 'ON_ERROR_STOP=1', ...options], { stdio: ['pipe', 'pipe', 'inherit'] });
    let output = '';

    child.stdout.on('data', (chunk) => { output += chunk; });
    child.on('error', reject);
    child.on('close', (code) => (code === 0 ? resolve(output.trimEnd().split('\n').pop()) : reject(new Error(`psql has failed: ${input}`))));
    child.stdin.end(input);
  });
}

// Waits until a query returns true, or a function does.
export async function until(condition, limit = 60000) {
  const end = Date.now() + limit;

  while (!(typeof condition === 'string' ? (await psql(condition)) === 't' : await condition())) {
    // A sender that cannot start will not do anything.
    if (Date.now() > end || senders.some((sender) => sender.failed)) throw new Error(`not within ${limit} ms, or no sender: ${condition}\nThe senders say:\n${allOutput().slice(-3000)}`);
    await sleep(300);
  }
}

// Starts a sender with these settings, in addition to PG*.
const senders = [];

export function startSender(settings) {
  const environment = Object.fromEntries(Object.entries(process.env).filter(([name]) => /^(PG|PATH$|HOME$)/.test(name)));
  const child = spawn(process.execPath, [pathOf('../sender.js')], { env: { ...environment, ...settings }, stdio: ['ignore', 'pipe', 'pipe'] });
  const sender = { output: '', kill: (signal) => child.kill(signal), exited: new Promise((resolve) => child.on('close', resolve)) };

  child.on('close', (code) => { sender.failed = code > 0; });
  child.stdout.on('data', (chunk) => { sender.output += chunk; });
  child.stderr.on('data', (chunk) => { sender.output += chunk; });
  senders.push(sender);
  return sender;
}

export function allOutput() {
  return senders.map((sender) => sender.output).join('');
}

export function killAll() {
  for (const sender of senders) sender.kill('SIGKILL');
}
