// graphile.cjs migrate|drain|latency: graphile-worker with one task, an INSERT. It connects by PGHOST, PGUSER, PGDATABASE.
const { run, runMigrations } = require('graphile-worker');
const { Pool } = require('pg');

const pgPool = new Pool({ max: 12 });
// For a backlog many jobs are fetched and completed at once; for latency a job is fetched as soon as NOTIFY reports it.
const settings = {
  drain: {
    pollInterval: 10,
    localQueue: { size: 500, refetchDelay: { durationMs: 10 } },
    completeJobBatchDelay: 10,
    failJobBatchDelay: 10,
  },
  latency: { pollInterval: 2000, completeJobBatchDelay: 0, failJobBatchDelay: 0 },
};
const preset = { worker: { concurrentJobs: 10, getQueueNameBatchDelay: 0, ...settings[process.argv[2]] } };
const taskList = {
  see: (e, helpers) =>
    helpers.query({
      name: 'see',
      text: 'INSERT INTO bench.seen (position, sent_at) VALUES ($1, $2)',
      values: [e.position, e.sent_at ?? null],
    }),
};
const quiet = new (require('graphile-worker').Logger)(() => (level, message) => {
  if (level === 'error' || level === 'warning') console.error(message);
});

async function main() {
  if (process.argv[2] === 'migrate') {
    await runMigrations({ pgPool, preset, logger: quiet });
    await pgPool.end();
    return;
  }
  const runner = await run({ pgPool, preset, taskList, logger: quiet, noHandleSignals: true });
  process.on('SIGTERM', () => process.exit(0));
  await runner.promise;
}
main().catch((e) => { console.error(e); process.exit(1); });
