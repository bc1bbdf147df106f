import { contextDefinition } from '@matcher/shared/jobs/contracts/context.ts';
import { cronProblem, isTimeZone, latestFiring, nextFiring } from '@matcher/shared/schedules/cron.ts';
import { firingOf, scheduledJobId } from '@matcher/shared/schedules/scheduled-job.ts';
import { describe, expect, test } from 'vitest';
import { simpleContext } from '../../support/contexts.ts';

const berlin = (cron: string) => ({ cron, timezone: 'Europe/Berlin' });
const at = (time: string) => new Date(time);

describe('a cron expression', () => {
  test.each(['0 6 * * 1-5', '*/15 * * * *', '0 6 1,15 * *', '30 18 * JAN-MAR MON', '0  6 * * 7', '0 6 L * *'])(
    '%s is taken',
    (cron) => expect(cronProblem(cron)).toBeUndefined(),
  );

  test.each([
    ['', 'takes five fields'],
    ['0 6 * *', 'takes five fields'],
    ['0 0 6 * * *', 'takes five fields'],
    ['@daily', 'takes five fields'],
    ['0 6 ? * *', 'takes five fields'],
    ['0 25 * * *', 'expected range 0-23'],
    ['0 6 * * FOO', 'cannot resolve alias'],
    ['0 0 30 2 *', 'takes a day that there is'],
    ['0 0 31 4,6 *', 'takes a day that there is'],
  ])('%s is refused: %s', (cron, problem) => {
    expect(cronProblem(cron)).toContain(problem);
    expect(cronProblem(cron)).toContain(`got ${JSON.stringify(cron)}`);
  });
});

test.each([
  ['Europe/Berlin', true],
  ['UTC', true],
  ['America/Argentina/Buenos_Aires', true],
  ['+01:00', false],
  ['Mars/Phobos', false],
  ['', false],
])('%s as a time zone: %s', (name, known) => expect(isTimeZone(name)).toBe(known));

describe('a firing', () => {
  test('is read in the time zone of the schedule', () => {
    expect(nextFiring(berlin('0 6 * * 1-5'), at('2026-11-27T05:00:00Z'))).toEqual(at('2026-11-30T05:00:00Z'));
    expect(nextFiring(berlin('0 6 * * 1-5'), at('2026-07-01T00:00:00Z'))).toEqual(at('2026-07-01T04:00:00Z'));
  });

  test('is the latest at its own moment, and until the next one', () => {
    const { cron, timezone } = berlin('0 6 * * *');
    const latest = (time: string) => latestFiring({ cron, timezone }, at(time)).toISOString();
    expect(latest('2026-11-27T05:00:00.000Z')).toBe('2026-11-27T05:00:00.000Z');
    expect(latest('2026-11-27T05:00:00.001Z')).toBe('2026-11-27T05:00:00.000Z');
    expect(latest('2026-11-27T04:59:59.999Z')).toBe('2026-11-26T05:00:00.000Z');
  });

  test('comes once on the day on which the clocks go forward over it, and once on the day on which they go back over it', () => {
    const daily = berlin('30 2 * * *');
    const forward = nextFiring(daily, at('2026-03-28T12:00:00Z'));
    expect(forward).toEqual(at('2026-03-29T01:30:00Z'));
    expect(nextFiring(daily, forward)).toEqual(at('2026-03-30T00:30:00Z'));
    const back = nextFiring(daily, at('2026-10-24T12:00:00Z'));
    expect(back).toEqual(at('2026-10-25T00:30:00Z'));
    expect(nextFiring(daily, back)).toEqual(at('2026-10-26T01:30:00Z'));
  });

  test('is the job’s identity', () => {
    const id = scheduledJobId('bank', at('2026-11-27T05:00:00Z'));
    expect(id).toBe('schedule:bank:2026-11-27T05:00:00Z');
    expect(firingOf(id)).toEqual(at('2026-11-27T05:00:00Z'));
    expect(firingOf('4f6b2c1e-8d0a-4b7e-9a53-0c1d2e3f4a5b')).toBeUndefined();
  });
});

describe('a context’s definition', () => {
  test('takes a schedule, in UTC unless it says otherwise', () => {
    const { schedule } = contextDefinition.parse(simpleContext({ schedule: { cron: '0 6 * * *' } }));
    expect(schedule).toEqual({ cron: '0 6 * * *', timezone: 'UTC' });
    expect(contextDefinition.parse(simpleContext()).schedule).toBeUndefined();
  });

  test('is refused with a schedule that can’t be meant, and says why', () => {
    const { error } = contextDefinition.safeParse(
      simpleContext({ schedule: { cron: '0 6 * *', timezone: 'Mars/Phobos' } }),
    );
    expect(error?.issues.map(({ path, message }) => `${path.join('.')} ${message}`)).toEqual([
      expect.stringMatching(/^schedule\.cron takes five fields \(minute, .*\); got "0 6 \* \*"$/),
      expect.stringMatching(/^schedule\.timezone takes the IANA name .* got "Mars\/Phobos"$/),
    ]);
  });
});
