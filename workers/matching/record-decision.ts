import {
  auditLogEvent,
  matchConfirmedEvent,
  matchUnmatchedEvent,
  namedTransactions,
} from '@matcher/shared/jobs/contracts/events.ts';
import type { JobType } from '@matcher/shared/jobs/contracts/job-types.ts';
import { addEvents, type JobEvent, type Sender } from '@matcher/shared/jobs/outbox.ts';
import type { Transaction } from '@matcher/shared/postgres/transaction.ts';
import type { DecidedGroup } from './decided-groups.ts';

/** What a person decided, and in which job. */
export interface Decision {
  jobId: string;
  action: JobType;
  /** The context's name. */
  context: string;
  /** What the groups have become. */
  status: 'CONFIRMED' | 'REJECTED' | 'REVOKED';
  reason: string | null;
  decidedBy: string | null;
}

/** Keeps who decided what about which groups, and announces each of them, and the decision itself, once the transaction is committed. */
export async function recordDecision(
  tx: Transaction,
  sender: Sender,
  decision: Decision,
  groups: readonly DecidedGroup[],
): Promise<void> {
  const { jobId, status, reason, decidedBy } = decision;
  const ids = groups.map(({ id }) => id);
  const [{ at }] = (await tx.query<{ at: Date }>(
    `WITH kept AS (INSERT INTO match_decisions (group_id, job_id, status, reason, decided_by)
                   SELECT id, $2, $3, $4, $5 FROM unnest($1::bigint[]) AS id)
     SELECT now() AS at`,
    [ids, jobId, status, reason, decidedBy],
  )) as [{ at: Date }];
  await addEvents(tx, sender, [
    ...groups.map((group) => groupEvent(decision, group, at)),
    {
      eventType: auditLogEvent,
      jobId,
      contextId: decision.context,
      action: decision.action,
      matchIds: ids,
      reason,
      decidedBy,
    },
  ]);
}

function groupEvent({ jobId, context, status, reason }: Decision, group: DecidedGroup, at: Date): JobEvent {
  const truncated = group.transactions - namedTransactions;
  const about = {
    jobId,
    contextId: context,
    runId: group.madeBy,
    matchId: group.id,
    ruleId: group.rule,
    transactionIds: group.transactionIds,
    ...(truncated > 0 ? { truncatedIdCount: truncated } : {}),
  };
  if (status !== 'CONFIRMED') return { eventType: matchUnmatchedEvent, ...about, status, reason };
  return { eventType: matchConfirmedEvent, ...about, confidence: group.confidence, confirmedAt: at.toISOString() };
}
