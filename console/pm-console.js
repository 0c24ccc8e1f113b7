#!/usr/bin/env node
// The command: reads its arguments, connects once to see that it can, and serves the pages on 127.0.0.1.
import { once } from 'node:events';
import { parseArgs } from 'node:util';
import { connectionConfig } from './lib/connection.js';
import { Database } from './lib/database.js';
import { about } from './lib/about.js';
import { createConsole } from './lib/server.js';

const usage = `usage: pm-console [--write] [--port PORT] [CONNECTION]

Serves a console for pm, process managers inside PostgreSQL, on 127.0.0.1, and prints its address.

  CONNECTION   a URL (postgres://shop@localhost/shop), keywords (host=/tmp dbname=shop user=shop) or the name of a
               database; what it leaves out comes from PGHOST, PGPORT, PGDATABASE, PGUSER, PGPASSWORD and ~/.pgpass
  --write      allows actions: retry, discard, pause, resume, send, end and set; without it every transaction is READ ONLY
  --port PORT  the port to listen on; the default is the first free one from 4810 on

The console sees and may do what the role of the connection may, and nothing else.`;

function fail(message, status = 1) {
  console.error(`pm-console: ${message}`);
  process.exit(status);
}

function readArguments() {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        write: { type: 'boolean', default: false },
        port: { type: 'string' },
        help: { type: 'boolean', short: 'h', default: false },
      },
    });
    if (positionals.length > 1) throw new Error('only one connection can be given');
    const port = values.port === undefined ? undefined : Number(values.port);
    if (port !== undefined && !(Number.isInteger(port) && port >= 0 && port <= 65535)) {
      throw new Error(`--port ${values.port} is not a port`);
    }
    return { ...values, port, connection: connectionConfig(positionals[0]) };
  } catch (error) {
    return fail(`${error.message}\n\n${usage}`, 2);
  }
}

/** Listens on the port, or on the first free one from 4810 on. */
async function listen(server, port) {
  for (let candidate = port ?? 4810; ; candidate++) {
    try {
      server.listen(candidate, '127.0.0.1');
      await once(server, 'listening');
      return server.address().port;
    } catch (error) {
      if (error.code !== 'EADDRINUSE' || port !== undefined || candidate >= 4899) throw error;
    }
  }
}

const args = readArguments();
if (args.help) {
  console.log(usage);
  process.exit(0);
}

const database = new Database(args.connection, { write: args.write });
let now;
try {
  now = await about(database);
} catch (error) {
  fail(`cannot connect: ${error.message}`);
}

const { server, secrets } = createConsole(database);
let port;
try {
  port = await listen(server, args.port);
} catch (error) {
  fail(`cannot listen on 127.0.0.1: ${error.message}`);
}

// The token stands behind the #, which browsers do not send: it gets into no log and no Referer.
console.log(`pm console for database "${now.database}" as role "${now.role}", ${args.write ? 'with --write' : 'read-only'}`);
if (now.problem) console.log(`  ${now.problem.message}. ${now.problem.hint ?? ''}`);
console.log(`\n  http://127.0.0.1:${port}/#token=${secrets.token}\n`);
console.log('Open this address in a browser on this machine. Ctrl-C ends the console.');

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => {
    server.close();
    server.closeAllConnections?.();
    database.end().finally(() => process.exit(0));
    setTimeout(() => process.exit(0), 1000).unref();
  });
}
