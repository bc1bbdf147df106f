import { checkBody } from '@matcher/shared/jobs/client.ts';
import { jobBodies } from '@matcher/shared/jobs/contracts/bodies.ts';
import type { JobType } from '@matcher/shared/jobs/contracts/job-types.ts';
import { describe, expect, test } from 'vitest';

/** What is said of a body that is refused. */
function problem(type: JobType, body: unknown): string | undefined {
  try {
    checkBody(type, body);
  } catch (error) {
    return (error as Error).message;
  }
}

const bank = { version: 1, context: 'bank' };
const groups = ['67108864', '134217728'];
const reason = 'another customer';
const left = [{ source: 'ledger', externalId: 'l1' }];
const right = [{ source: 'statement', externalId: 'r1' }];

test('the smallest bodies of decisions are taken', () => {
  expect(problem('matching.confirm', { ...bank, groups })).toBeUndefined();
  expect(problem('matching.reject', { ...bank, groups, reason })).toBeUndefined();
  expect(problem('matching.revoke', { ...bank, groups, reason })).toBeUndefined();
  expect(problem('matching.manual', { ...bank, left, right })).toBeUndefined();
});

test('what is revoked is not matched again unless that is said', () => {
  expect(jobBodies['matching.revoke'].parse({ ...bank, groups, reason }).rematch).toBe(false);
  expect(jobBodies['matching.revoke'].parse({ ...bank, groups, reason, rematch: true }).rematch).toBe(true);
});

describe('a body that can’t be meant is refused by field', () => {
  test.each<[JobType, object, string]>([
    ['matching.reject', { groups }, 'reason: '],
    ['matching.revoke', { groups, reason: '   ' }, 'reason: '],
    ['matching.revoke', { groups, reason: 'x'.repeat(1001) }, 'reason: '],
    ['matching.confirm', { groups, decidedBy: '' }, 'decidedBy: '],
    ['matching.confirm', { groups: [] }, 'groups: '],
    ['matching.confirm', { groups: Array.from({ length: 1001 }, (_, i) => String(i + 1)) }, 'groups: '],
    ['matching.confirm', { groups: [67108864] }, 'groups.0: '],
    ['matching.confirm', { groups: ['1', '-2'] }, 'groups.1: takes the id of a group'],
    ['matching.confirm', { groups: ['9'.repeat(19)] }, 'groups.0: takes the id of a group'],
    ['matching.confirm', { groups: ['1', '2', '1'] }, 'groups.2: 1 is there twice'],
    ['matching.confirm', { groups, rematch: true }, 'rematch'],
    ['matching.manual', { left, right: [] }, 'right: '],
    ['matching.manual', { left: [...left, ...left], right }, 'left.1: l1 of ledger is there twice'],
    ['matching.manual', { left: [{ source: 'Ledger', externalId: 'l1' }], right }, 'left.0.source: '],
    ['matching.manual', { left: [{ source: 'ledger' }], right }, 'left.0.externalId: '],
  ])('%s %j', (type, given, said) => {
    expect(problem(type, { ...bank, ...given })).toContain(said);
  });
});
