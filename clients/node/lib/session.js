// A connection. Queries that are asked for together are sent together, and wait for the server once: in a transaction,
// where the first error ends them all. Nothing is kept in the session, so that it works through pgbouncer in transaction mode.
import net from 'node:net';
import pg from 'pg';
import { ConnectionLost } from './errors.js';

export class Session {
  #client;
  #types = { getTypeParser: (oid, format) => this.#client.getTypeParser(oid, format) };
  #waiting = []; // queries to be sent
  #flight = null; // queries on their way
  #planned = false;
  #closed = null; // settled when the connection has ended
  lost = null; // why the connection was lost

  static async open(config) {
    const session = new Session();
    const client = (session.#client = new pg.Client(config));
    client.on('error', (error) => session.#break(error));
    client.on('end', () => session.#break(new ConnectionLost('the connection has ended')));
    await client.connect();
    return session;
  }

  /** Sends a query, in one message with those that are asked for in the same turn of the event loop. */
  query(config, values) {
    if (typeof config?.submit === 'function') {
      return Promise.reject(new TypeError('cursors and streams are not supported here: use a connection of your own'));
    }
    return new Promise((resolve, reject) => {
      if (this.lost) return reject(this.lost);
      const query = new pg.Query(config, values);
      query.name = undefined;
      query._result._types ??= this.#types; // as pg's own client does
      query.requiresPreparation = () => true;
      query.callback = (error, result) => (error ? reject(error) : resolve(result));
      this.#waiting.push(query);
      this.#plan();
    });
  }

  /** Asks the server to cancel what this connection waits for. */
  cancel() {
    const { host, port, processID, secretKey } = this.#client;
    if (!this.#flight || !processID) return;
    const message = Buffer.alloc(16);
    [16, 80877102, processID, secretKey].forEach((n, i) => message.writeInt32BE(n, 4 * i));
    const socket = net.connect(host.startsWith('/') ? { path: `${host}/.s.PGSQL.${port}` } : { host, port });
    socket.on('error', () => {}).end(message);
  }

  /** Closes the connection, at once if a query is on its way. */
  async close() {
    this.#break(new ConnectionLost('the connection is closed'));
    await this.#closed;
  }

  #break(error) {
    if (this.lost) return;
    this.lost = error;
    this.#closed = this.#client.end().catch(() => {});
    for (const query of this.#waiting.splice(0)) query.callback(error);
  }

  #plan() {
    if (this.#planned || this.#flight) return;
    this.#planned = true;
    // Later than all promises that are settled in this turn, because they can lead to more queries.
    setImmediate(() => {
      this.#planned = false;
      if (this.lost || this.#flight || this.#waiting.length === 0) return;
      this.#flight = new Flight(this.#waiting.splice(0), () => {
        this.#flight = null;
        if (this.#waiting.length > 0) this.#plan();
      });
      this.#client.query(this.#flight);
    });
  }
}

/** Several queries with one Sync, as a custom query of pg. A statement that is repeated is parsed once. */
class Flight {
  constructor(queries, landed) {
    this.queries = queries;
    this.landed = landed;
    this.next = 0;
    this.callback = () => {}; // pg sets it if there is none
  }

  submit(connection) {
    let parsed;
    // All messages are written in one system call, which costs more than the messages.
    const messages = [];
    const writer = Object.create(connection, { stream: { value: { writable: true, write: (message) => messages.push(message) } } });
    const wire = {
      parsedStatements: {},
      submittedNamedStatements: {},
      stream: {},
      parse: ({ text }) => text !== parsed && writer.parse({ text: (parsed = text) }),
      bind: (bind) => writer.bind(bind),
      describe: (what) => writer.describe(what),
      execute: (what) => writer.execute(what),
      close() {},
      sync() {},
      flush() {},
    };
    // A value that cannot be sent fails its query here.
    this.queries = this.queries.filter((query) => {
      let failed = false;
      const { callback } = query;
      query.callback = (error, result) => {
        failed = true;
        callback(error, result);
      };
      const error = query.submit(wire);
      if (error) query.callback(error);
      query.callback = callback;
      return !failed;
    });
    writer.sync();
    connection.stream.write(Buffer.concat(messages));
    return null;
  }

  handleRowDescription(message) {
    this.queries[this.next].handleRowDescription(message);
  }
  handleDataRow(message) {
    this.queries[this.next].handleDataRow(message);
  }
  handleCommandComplete(message, connection) {
    const query = this.queries[this.next++];
    query.handleCommandComplete(message, connection);
    query.handleReadyForQuery(connection);
  }
  handleEmptyQuery(connection) {
    this.queries[this.next++].handleReadyForQuery(connection);
  }
  handlePortalSuspended() {}
  handleCopyInResponse(connection) {
    connection.sendCopyFail('COPY is not supported here: use a connection of your own');
    connection.sync(); // the first Sync has been ignored
  }
  handleCopyData() {}
  handleReadyForQuery() {
    this.landed();
  }
  handleError(error, connection) {
    const skipped = Object.assign(new Error(`not executed, because a query before it has failed: ${error.message}`), {
      code: '25P02',
      cause: error,
    });
    this.queries.slice(this.next).forEach((query, i) => query.handleError(i === 0 ? error : skipped, connection));
    this.next = this.queries.length;
    this.landed();
  }
}
