import type { ExpectedTenant, Finding, JobRow, TenantState } from './state.ts';

/** Records of jobs, what they say of themselves to the world, and what is left of their messages. */

/** The contract's events (docs/publishing.md). */
const completedBy: Record<string, string> = {
  'context.apply': 'context.applied',
  'ingestion.run': 'ingestion.completed',
  'matching.run': 'matching.run_completed',
  'export.run': 'export.completed',
};
const progress = 'job.progress';

export function checkRecords({ name, jobs }: ExpectedTenant, state: TenantState): Finding[] {
  const findings: Finding[] = [];
  const records = new Map(state.jobs.map((row) => [row.id, row]));
  for (const { id, type, body, confirmed } of jobs) {
    const record = records.get(id);
    records.delete(id);
    const found = (what: string) => findings.push({ tenant: name, job: id, what });
    if (!record) {
      if (confirmed) found('was confirmed to its publisher and has no record');
      continue;
    }
    if (record.state !== 'SUCCEEDED') found(`is ${record.state}, after ${storyOf(record)}`);
    if (record.type !== type) found(`is recorded as ${record.type}, was published as ${type}`);
    if (canonical(record.body) !== canonical(body)) found('is recorded with another body than it was published with');
  }
  for (const id of records.keys())
    findings.push({ tenant: name, job: id, what: 'has a record, and nobody published it' });
  return findings;
}

const storyOf = ({ attempt, deaths, error }: JobRow) =>
  `${attempt} attempts and ${deaths} deaths: ${error === null ? 'no error' : `${error.code} ${error.message}`}`;

/** Revisions count how often a context was applied. */
export function checkContexts({ name, jobs }: ExpectedTenant, state: TenantState): Finding[] {
  const applied = new Map<string, number>();
  const ended = succeeded(state);
  for (const { id, type, body } of jobs) {
    if (type !== 'context.apply' || !ended.has(id)) continue;
    const { context } = body as { context: { name: string } };
    applied.set(context.name, (applied.get(context.name) ?? 0) + 1);
  }
  const findings: Finding[] = [];
  const say = (what: string) => findings.push({ tenant: name, what });
  for (const { name: context, revision } of state.contexts) {
    const times = applied.get(context);
    if (times === undefined) say(`has a context ${context} that none of its jobs applied`);
    else if (times !== revision) say(`context ${context} has revision ${revision}, and ${times} jobs applied it`);
    applied.delete(context);
  }
  for (const context of applied.keys()) say(`context ${context} was applied and is not there`);
  return findings;
}

export interface EventCounts {
  /** Distinct ones. */
  events: number;
  /** Sent again, with the same id. */
  again: number;
}

export function checkEvents({ name, id: tenantId }: ExpectedTenant, state: TenantState): [Finding[], EventCounts] {
  const findings: Finding[] = [];
  const say = (what: string, job?: string) => findings.push({ tenant: name, what, ...(job !== undefined && { job }) });
  const records = new Map(state.jobs.map((row) => [row.id, row]));
  const seen = new Map<string, string>();
  const completions = new Map<string, number>();
  for (const { messageId, routingKey, tenantHeader, text } of state.events) {
    const event = JSON.parse(text);
    const { eventId, eventType, jobId } = event;
    const known = seen.get(eventId);
    if (known !== undefined) {
      if (known !== text) say(`two events with the id ${eventId} differ`, jobId);
      continue;
    }
    seen.set(eventId, text);
    const record = records.get(jobId);
    if (eventId !== messageId) say(`the event ${eventId} came as message ${messageId}`, jobId);
    if (eventType !== routingKey) say(`an event ${eventType} was routed as ${routingKey}`, jobId);
    if (event.tenantId !== tenantId || tenantHeader !== tenantId)
      say(`an event is of tenant ${event.tenantId}, by its header of ${tenantHeader}`, jobId);
    if (!record) say(`an event ${eventType} tells of a job that has no record`, jobId);
    else if (eventType === completedBy[record.type]) {
      completions.set(jobId, (completions.get(jobId) ?? 0) + 1);
      if (canonical(event.result) !== canonical(record.result))
        say('its event has another result than its record', jobId);
    } else if (eventType !== progress) say(`an event ${eventType} tells of a ${record.type}`, jobId);
  }
  for (const id of succeeded(state)) {
    const count = completions.get(id) ?? 0;
    if (count !== 1) say(`has succeeded, and ${count} events with ids of their own say so`, id);
    completions.delete(id);
  }
  for (const id of completions.keys()) say('has not succeeded, and an event says so', id);
  return [findings, { events: seen.size, again: state.events.length - seen.size }];
}

/** Nothing waits anywhere. */
export function checkRest({ name }: ExpectedTenant, state: TenantState): Finding[] {
  const findings: Finding[] = [];
  for (const { messageId, code, reason } of state.deadLetters) {
    findings.push({ tenant: name, job: messageId, what: `is a dead letter: ${code} ${reason}` });
  }
  for (const [queue, messages] of state.queues) {
    if (messages > 0) findings.push({ tenant: name, what: `${messages} messages are in ${queue}` });
  }
  if (state.outbox.length > 0) findings.push({ tenant: name, what: `${state.outbox.length} events are in the outbox` });
  return findings;
}

export function succeeded({ jobs }: TenantState): Set<string> {
  return new Set(jobs.filter(({ state }) => state === 'SUCCEEDED').map(({ id }) => id));
}

/** The same text for the same content, whatever the order of its keys. */
function canonical(json: unknown): string {
  return JSON.stringify(json, (_key, value) =>
    typeof value === 'object' && value !== null && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
      : value,
  );
}
