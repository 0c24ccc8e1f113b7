// emmett.mjs migrate|drain|latency URL: Emmett's consumer with one reactor, an INSERT in the transaction that moves its checkpoint.
import { getPostgreSQLEventStore, postgreSQLEventStoreConsumer } from '@event-driven-io/emmett-postgresql';
import { SQL } from '@event-driven-io/dumbo';

const [, , what, connectionString] = process.argv;

if (what === 'migrate') {
  const store = getPostgreSQLEventStore(connectionString);
  await store.schema.migrate();
  await store.close();
  process.exit(0);
}

const consumer = postgreSQLEventStoreConsumer({
  connectionString,
  pulling: { batchSize: 1000, pullingFrequencyInMs: 10 },
});
consumer.reactor({
  // A new processor each time, because that of a killed consumer stays locked.
  processorId: `see-${Date.now()}`,
  connectionOptions: { connectionString },
  startFrom: 'BEGINNING',
  eachMessage: async (event, { execute }) => {
    await execute.command(SQL`INSERT INTO bench.seen (position, sent_at)
      VALUES (${event.metadata.globalPosition}, ${event.data.sent_at ?? null})`);
  },
});
process.on('SIGTERM', () => process.exit(0));
await consumer.start();
