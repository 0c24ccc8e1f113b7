// emmett.mjs WHAT URL ...: what 241_stores does with Emmett's own client.
//   migrate URL                    creates its tables
//   write URL CLIENTS EVENTS       CLIENTS clients at a time append EVENTS events, one to three an append, some of which commit late.
//                                  Prints a line in JSON.
//   consume URL                    its own consumer: records what it is given in emmett_seen, until SIGTERM
//   read URL STREAM                prints in JSON what its readStream returns: the version, how many events, of which types
import { projections } from '@event-driven-io/emmett';
import { getPostgreSQLEventStore, postgreSQLEventStoreConsumer, postgreSQLProjection } from '@event-driven-io/emmett-postgresql';
import { SQL } from '@event-driven-io/dumbo';

const [, , what, connectionString, ...args] = process.argv;
// process.exit does not wait for what a pipe has not taken yet.
const print = (value) => new Promise((done) => {
  process.stdout.write(JSON.stringify(value, (_, v) => (typeof v === 'bigint' ? v.toString() : v)) + '\n', done);
});

async function migrate() {
  const store = getPostgreSQLEventStore(connectionString);
  await store.schema.migrate();
  await store.close();
}

// An inline projection runs in the transaction of the append: with it, one append in twenty commits late.
const late = postgreSQLProjection({
  name: 'late',
  canHandle: ['Placed'],
  handle: async (events, { execute }) => {
    if (Math.random() < 0.05) await execute.query(SQL`SELECT pg_sleep(0.03)`);
  },
});

async function write(clients, events) {
  const store = getPostgreSQLEventStore(connectionString, { projections: projections.inline([late]) });
  let left = events;
  let appended = 0;
  let conflicts = 0;
  const client = async () => {
    while (left > 0) {
      const count = Math.min(left, 1 + Math.floor(Math.random() * 3));
      const batch = Array.from({ length: count }, (_, i) => ({ type: i ? 'Noted' : 'Placed', data: { amount: i } }));
      left -= count;
      try {
        await store.appendToStream(`order-${Math.floor(Math.random() * 60)}`, batch);
        appended += count;
      } catch (error) {
        // Another client was first: its transaction is rolled back, and its positions are a gap.
        if (error.errorCode !== 412) throw error;
        conflicts++;
        left += count;
      }
    }
  };
  await Promise.all(Array.from({ length: clients }, client));
  await store.close();
  await print({ appended, conflicts });
}

async function consume() {
  const consumer = postgreSQLEventStoreConsumer({ connectionString, pulling: { batchSize: 500, pullingFrequencyInMs: 50 } });
  consumer.reactor({
    processorId: 'beside',
    connectionOptions: { connectionString },
    startFrom: 'BEGINNING',
    eachMessage: async (event, { execute }) => {
      await execute.command(SQL`INSERT INTO emmett_seen (pos) VALUES (${event.metadata.globalPosition})`);
    },
  });
  process.on('SIGTERM', () => process.exit(0));
  await consumer.start();
}

async function read(stream) {
  const store = getPostgreSQLEventStore(connectionString);
  const { events, currentStreamVersion } = await store.readStream(stream);
  await store.close();
  await print({ currentStreamVersion, count: events.length, types: [...new Set(events.map(({ type }) => type))] });
}

if (what === 'migrate') await migrate();
else if (what === 'write') await write(Number(args[0]), Number(args[1]));
else if (what === 'consume') await consume();
else if (what === 'read') await read(args[0]);
else throw new Error(`what is ${what}?`);
process.exit(0);
