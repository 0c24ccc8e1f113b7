// pgboss.cjs migrate|drain|latency: pg-boss, its fetch and complete in a loop that polls every 10 ms. The inserts of a batch and the
// completion of its jobs are one transaction, which the option db allows. It connects by PGHOST, PGUSER, PGDATABASE.
const PgBoss = require('pg-boss');
const { Client } = require('pg');

async function main() {
  const client = new Client();
  await client.connect();
  const db = { executeSql: (text, values) => client.query(text, values) };
  const boss = new PgBoss({ db, supervise: false, schedule: false });
  boss.on('error', (error) => console.error(error));
  await boss.start();
  if (process.argv[2] === 'migrate') {
    await boss.createQueue('see');
    process.exit(0);
  }
  process.on('SIGTERM', () => process.exit(0));
  for (;;) {
    const jobs = await boss.fetch('see', { batchSize: 1000 });
    if (jobs.length === 0) {
      await new Promise((resolve) => setTimeout(resolve, 10));
      continue;
    }
    await client.query('BEGIN');
    for (const { data } of jobs) await client.query('INSERT INTO bench.seen (position, sent_at) VALUES ($1, $2)', [data.position, data.sent_at ?? null]);
    await boss.complete('see', jobs.map((job) => job.id));
    await client.query('COMMIT');
  }
}
main().catch((error) => { console.error(error); process.exit(1); });
