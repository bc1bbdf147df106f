import type { JobBody } from '@matcher/shared/jobs/contracts/bodies.ts';
import type { JobResult } from '@matcher/shared/jobs/contracts/results.ts';
import type { Job, JobDefinition } from '@matcher/shared/jobs/definition.ts';
import type { Transaction } from '@matcher/shared/postgres/transaction.ts';
import type { TenantScope } from '@matcher/shared/tenancy/tenant-scope.ts';
import { groupsToDecide } from './decided-groups.ts';
import { endGroups } from './end-groups.ts';
import { type FoundContext, lockContext } from './find-context.ts';
import { recordDecision } from './record-decision.ts';

/** Jobs in which a person decides about groups that there are. */
type DecisionType = 'matching.confirm' | 'matching.reject' | 'matching.revoke';

interface Effect {
  action: DecisionType;
  /** What the groups have to be. */
  from: 'PROPOSED' | 'CONFIRMED';
  to: JobResult<DecisionType>['status'];
  /** Makes them so. */
  apply(tx: Transaction, context: FoundContext, ids: readonly string[]): Promise<unknown>;
}

/** `matching.confirm`: what a run was not sure enough of is right. */
export const matchingConfirm: JobDefinition<'matching.confirm'> = {
  type: 'matching.confirm',
  run: (job, scope) =>
    decide(job, scope, {
      action: 'matching.confirm',
      from: 'PROPOSED',
      to: 'CONFIRMED',
      apply: (tx, _, ids) =>
        tx.query(`UPDATE match_groups SET status = 'CONFIRMED' WHERE id = ANY($1::bigint[])`, [ids]),
    }),
};

/** `matching.reject`: what a run proposed is wrong, and is not to be proposed again. */
export const matchingReject: JobDefinition<'matching.reject'> = {
  type: 'matching.reject',
  run: (job, scope) =>
    decide(job, scope, {
      action: 'matching.reject',
      from: 'PROPOSED',
      to: 'REJECTED',
      apply: (tx, context, ids) => endGroups(tx, context, ids, { status: 'REJECTED', barred: true }),
    }),
};

/** `matching.revoke`: what was confirmed, by a run or a person, is wrong after all. */
export const matchingRevoke: JobDefinition<'matching.revoke'> = {
  type: 'matching.revoke',
  run: (job, scope) =>
    decide(job, scope, {
      action: 'matching.revoke',
      from: 'CONFIRMED',
      to: 'REVOKED',
      apply: (tx, context, ids) => endGroups(tx, context, ids, { status: 'REVOKED', barred: !job.body.rematch }),
    }),
};

type DecisionJob = Pick<Job<DecisionType>, 'id'> & { body: JobBody<DecisionType> };

/** All of a job's groups change, or none; under the context's lock, so that no run is matching meanwhile. */
async function decide({ id: jobId, body }: DecisionJob, scope: TenantScope, { action, from, to, apply }: Effect) {
  const { context: name, reason = null, decidedBy = null } = body;
  return async (tx: Transaction) => {
    const context = await lockContext(tx, name);
    const groups = await groupsToDecide(tx, context, body.groups, from);
    await apply(tx, context, body.groups);
    await recordDecision(tx, scope, { jobId, action, context: name, status: to, reason, decidedBy }, groups);
    scope.log.info({ groups: groups.length, status: to }, 'decided');
    const transactions = groups.reduce((sum, group) => sum + group.transactions, 0);
    return { context: name, status: to, groups: groups.length, transactions };
  };
}
