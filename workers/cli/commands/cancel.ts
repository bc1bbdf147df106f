import { MatcherError } from '@matcher/shared/errors.ts';
import { type CancelOutcome, requestCancel } from '@matcher/shared/jobs/cancel.ts';
import { checkJobId } from '@matcher/shared/jobs/client.ts';
import { drainOutbox } from '@matcher/shared/jobs/outbox.ts';
import type { Command } from 'commander';
import { finishCommand, type Invocation, type Shell, tenantOption, timeoutOption } from '../invocation.ts';
import { withRecords, withRecordsAndVhost, withTenant } from '../tenant-session.ts';
import { oneLine } from '../terminal-text.ts';

/** How long (ms) the event may take to leave. */
const sendTimeout = 10_000;

interface Options {
  tenant?: string;
  wait?: boolean;
}

export function addCancelCommand(program: Command, shell: Shell): void {
  const command = program
    .command('cancel')
    .summary('cancel a job that waits or runs')
    .description(
      'Cancels a job: one that waits is not begun, one that runs is ended within about a second and leaves nothing half done. A job that has ended stays as it is, and the command fails.',
    )
    .argument('<id>', 'the job, as the command that published it said')
    .addOption(tenantOption())
    .option('--wait', 'follow the job to its end, which may still be another one')
    .addOption(timeoutOption());
  finishCommand(
    command,
    shell,
    'matcher cancel 5f0c1f5e-4e0e-4a53-9f0b-6f7a3c1d2e4b --tenant 0190a3c2f1b87c3e9d4a5b6c7d8e9f00 --wait',
    async (invocation, { tenant, wait }: Options, jobId: string) => {
      checkJobId(jobId);
      if (wait) {
        // Before it is asked for: the event of its end can't be missed.
        await withTenant(invocation, tenant, async ({ jobs }) => {
          const outcome = await cancel(invocation, tenant, jobId);
          if (outcome.found !== 'ENDED') invocation.out.done('cancel', said(outcome));
          if (outcome.found === 'WAITING') await sendEvent(invocation, tenant);
          const { state } = await jobs.follow(jobId, 'cancel');
          if (state !== 'CANCELLED') throw hadEnded(jobId, `${state}, before it could be cancelled`);
          invocation.out.result({ jobId, found: outcome.found, state }, 'The job is cancelled.');
        });
        return;
      }
      const outcome = await cancel(invocation, tenant, jobId);
      invocation.out.result({ jobId, ...outcome }, said(outcome));
      if (outcome.found === 'WAITING') await sendEvent(invocation, tenant);
    },
  );
}

/** It need not wait for whoever opens the tenant's database next. To a broker that is away it goes then: the job is cancelled all the same. */
async function sendEvent(invocation: Invocation, tenant: string | undefined): Promise<void> {
  try {
    const soon = AbortSignal.any([invocation.signal, AbortSignal.timeout(sendTimeout)]);
    await withRecordsAndVhost(invocation, tenant, ({ records, connection, tenantId }) =>
      records.write((db) => drainOutbox(db, connection, tenantId, soon)),
    );
  } catch {}
}

async function cancel(invocation: Invocation, tenant: string | undefined, jobId: string): Promise<CancelOutcome> {
  const outcome = await withRecords(invocation, tenant, ({ records, ...session }) =>
    records.write((db) => requestCancel(db, session, jobId)),
  );
  if (outcome.found !== 'ENDED' || outcome.state === 'CANCELLED') return outcome;
  if (outcome.state === 'DUPLICATE') {
    throw hadEnded(jobId, 'DUPLICATE', `What is done is job ${outcome.duplicateOf}, which can be cancelled.`);
  }
  throw hadEnded(jobId, outcome.state);
}

function hadEnded(jobId: string, state: string, hint = 'Nothing was changed.'): MatcherError {
  return new MatcherError('JOB_ENDED', `The job ${jobId} has ended: ${state}`, { hint });
}

function said(outcome: CancelOutcome): string {
  switch (outcome.found) {
    case 'NOT_STARTED':
      return 'No worker has begun a job of this id: when its message comes, it will not be begun.';
    case 'WAITING':
      return 'Nobody was working on the job: it is cancelled.';
    case 'RUNNING':
      return oneLine(
        `The job is running${outcome.worker === null ? '' : ` (${outcome.worker})`}: it will be ended within about a second, unless it is done before.`,
      );
    case 'ENDED':
      return 'The job was cancelled before.';
  }
}
