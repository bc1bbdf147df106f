import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type ContextFileError, readContextFile } from '../../../workers/cli/context-file.ts';
import { simpleContext } from '../../support/contexts.ts';

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'schedule-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

/** What a context file with this schedule, in its last lines, is read as. */
const read = async (schedule: string) => {
  const file = join(folder, 'context.yaml');
  const { name, type, sources, rules } = simpleContext();
  const fields = Object.entries({ version: 1, name, type, sources, rules });
  await writeFile(file, [...fields.map(([key, value]) => `${key}: ${JSON.stringify(value)}`), schedule].join('\n'));
  return await readContextFile(file, { withFiles: false });
};
const problems = async (schedule: string) => {
  const error = (await read(schedule).catch((thrown) => thrown)) as ContextFileError;
  return error.problems.map(({ line, field, problem }) => `${line}: ${field}: ${problem}`);
};

test('a context file says when its context is matched', async () => {
  const { context } = await read('schedule: { cron: "0 6 * * 1-5", timezone: "Europe/Berlin" }');
  expect(context.schedule).toEqual({ cron: '0 6 * * 1-5', timezone: 'Europe/Berlin' });
});

test('what is wrong with it is named, with its line', async () => {
  expect(await problems('schedule:\n  cron: 0 6 * *\n  timezone: Mars/Phobos\n  timeZone: UTC')).toEqual([
    expect.stringMatching(/^7: schedule\.cron: takes five fields \(.*\); got "0 6 \* \*"$/),
    expect.stringMatching(/^8: schedule\.timezone: takes the IANA name of a time zone, .*; got "Mars\/Phobos"$/),
    '9: schedule.timeZone: is no field; there is cron, timezone',
  ]);
});
