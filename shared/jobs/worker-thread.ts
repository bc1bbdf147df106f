import { once } from 'node:events';
import { errorCode, errorMessage, MatcherError, remedyFor } from '../errors.ts';
import { connectionOptions } from '../postgres/connection-options.ts';
import { countedClient } from '../postgres/counted-client.ts';
import { runTransaction, unused } from '../postgres/transaction.ts';
import { keySpaceOf } from '../tenancy/key-space.ts';
import { leaseLost } from './claim-keeper.ts';
import type { JobType } from './contracts/job-types.ts';
import type { ThreadedWork, WorkControl } from './definition.ts';
import { endJobs } from './record.ts';
import type { FromThread, ThreadFailure, ThreadOutcome, ThreadTask, ToThread } from './threaded-work.ts';

/** Runs in a worker thread: one job's work, in a transaction of its own connection. */

/** For what else that client does: the seat counts already, and hears of refusals from the work's outcome. */
const Connection = countedClient(
  async () => () => {},
  () => {},
);

export default async function work({
  module,
  task,
  connection,
  storage,
  port,
  told,
}: ThreadTask): Promise<ThreadOutcome> {
  const say = (said: FromThread) => port.postMessage(said);
  const end = new AbortController();
  port.on('message', (message: ToThread) => {
    if (message.kind === 'abort') end.abort(aborted());
  });
  const cancellation = {
    get aborted() {
      return Atomics.load(told, 0) !== 0;
    },
    get reason() {
      return aborted();
    },
  };
  let disconnect = () => {};
  const control: WorkControl = {
    async objects() {
      // Most works need none, and reading its library takes longer than all the rest of a thread's start.
      const { createS3Client, tenantObjects } = await import('../objects/tenant-objects.ts');
      const s3 = createS3Client(storage.settings);
      disconnect = () => s3.destroy();
      return tenantObjects(s3, storage.settings, keySpaceOf(storage.settings, storage.tenantId));
    },
    signal: end.signal,
    cancellation,
    progress: (progress) => say({ kind: 'progress', progress }),
  };
  let client: InstanceType<typeof Connection> | undefined;
  let connected = false;
  try {
    const { default: run } = (await import(module)) as { default: ThreadedWork<JobType, unknown> };
    client = new Connection(connectionOptions(connection.target, connection.timeouts, 'matcher', connection.limits));
    await client.connect();
    connected = true;
    say({ kind: 'connected', processId: (client as unknown as { processID: number }).processID });
    await runTransaction(
      'transaction',
      client,
      unused(),
      async (tx) => {
        const result = await run(tx, task, control);
        say({ kind: 'result', result });
        const [message] = (await once(port, 'message', { signal: end.signal })) as [ToThread];
        if (message.kind === 'abort') throw aborted();
        const [ended] = await endJobs([{ db: tx, ...message.end }]);
        if (!ended) throw leaseLost();
      },
      end.signal,
    );
    return { ended: true };
  } catch (error) {
    return { ended: false, failure: failureOf(error, !connected && client !== undefined) };
  } finally {
    disconnect();
    await client?.end().catch(() => {});
    port.close();
  }
}

/** Whoever told it to end knows why. */
function aborted(): MatcherError {
  return new MatcherError('WORK_ABORTED', 'The work was told to end', { remedy: 'not-now' });
}

function failureOf(error: unknown, refused: boolean): ThreadFailure {
  return {
    code: errorCode(error),
    message: errorMessage(error),
    hint: error instanceof MatcherError ? error.hint : undefined,
    remedy: remedyFor(error),
    stack: error instanceof Error ? error.stack : undefined,
    refused,
  };
}
