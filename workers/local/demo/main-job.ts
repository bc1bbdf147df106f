import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import type { Sample } from '../samples/sample.ts';
import { writeSamples } from '../samples/write-samples.ts';
import { differencesFrom, downloadReport } from './check.ts';
import { matcher, type Reconciled } from './command-line.ts';
import { publishForeignMessage } from './foreign-message.ts';
import type { DemoOptions } from './options.ts';
import { type DemoSummary, summaryOf } from './summary.ts';

/** What one tenant of the demo reconciles. */
interface Assignment {
  /** Of the tenant, for people. */
  name: string;
  contextFile: string;
  /** What is known to be right; absent for a user's own data. */
  sample?: Sample;
}

export interface MainJob {
  summary: DemoSummary;
  names: string[];
  /** Code under which the foreign message lies among the dead letters. */
  deathCode: string;
  /** Whatever is not as it has to be. */
  differences: string[];
}

const tenantNames = ['Acme Cards', 'Borealis Bank'];

/** Onboards two tenants into a running deployment, reconciles for both at once, and sends a message that claims the wrong tenant. */
export async function runMainJob(
  options: DemoOptions,
  environment: Record<string, string>,
  say: (line: string) => void,
  signal: AbortSignal,
): Promise<MainJob> {
  const samplesDirectory = await mkdtemp(join(tmpdir(), 'matcher-samples-'));
  try {
    const assignments = await assign(options, samplesDirectory, say);
    const tenants = await Promise.all(
      assignments.map(async ({ name }) => {
        const slug = name.toLowerCase().replaceAll(' ', '-');
        const args = ['tenant', 'create', name, '--email', `operations@${slug}.example`];
        const { id } = await matcher<{ id: string }>(args, environment, signal);
        say(`onboarded ${name}: ${id}`);
        return id;
      }),
    );
    const results = await Promise.all(
      assignments.map(async ({ name, contextFile }, index) => {
        const args = ['reconcile', contextFile, '--tenant', tenants[index] as string];
        return await matcher<Reconciled>(args, environment, signal, (line) => say(`${name}: ${line}`));
      }),
    );
    const [owner, claimed] = tenants as [string, string];
    const deathCode = await publishForeignMessage(
      environment,
      owner,
      claimed,
      (results[0] as Reconciled).context,
      signal,
    );
    say('checking the results');
    const differences = deathCode === 'TENANT_MISMATCH' ? [] : [`the foreign message was buried as ${deathCode}`];
    for (const [index, { name, sample }] of assignments.entries()) {
      const result = results[index] as Reconciled;
      const found = sample ? await differencesFrom(sample, result) : await differencesOfOwnData(result);
      differences.push(...found.map((difference) => `${name}: ${difference}`));
    }
    return { summary: summaryOf(results), names: assignments.map(({ name }) => name), deathCode, differences };
  } finally {
    await rm(samplesDirectory, { recursive: true, force: true });
  }
}

async function assign(options: DemoOptions, directory: string, say: (line: string) => void): Promise<Assignment[]> {
  const { context } = options;
  if (context !== undefined) return tenantNames.map((name) => ({ name, contextFile: context }));
  say(`generating two samples of ${options.records.toLocaleString('en-US')} records a side (seed ${options.seed})`);
  const samples = await writeSamples(directory, options);
  return samples.map((sample, index) => ({
    name: tenantNames[index] ?? basename(sample.contextFile),
    contextFile: sample.contextFile,
    sample,
  }));
}

/** Of a user's own data nobody knows what is right, but the parts have to add up. */
async function differencesOfOwnData(result: Reconciled): Promise<string[]> {
  const pairs = Object.values(result.matched).reduce((sum, n) => sum + n, 0);
  const differences: string[] = [];
  for (const side of ['left', 'right'] as const) {
    const added = result.sources
      .filter((source) => source.side === side.toUpperCase())
      .reduce((sum, source) => sum + source.added, 0);
    if (pairs + result.open[side] !== added) {
      differences.push(`${side}: ${pairs} matched and ${result.open[side]} open are not the ${added} loaded`);
    }
  }
  for (const { report } of result.exports) await downloadReport(result, report);
  return differences;
}
