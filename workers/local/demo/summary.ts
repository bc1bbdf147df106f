import type { Reconciled } from './command-line.ts';

export interface DemoSummary {
  tenants: {
    tenantId: string;
    context: string;
    left: number;
    right: number;
    matched: Record<string, number>;
    exceptions: Record<string, number>;
    export: { rows: number; bytes: number; sha256: string; url: string };
    seconds: number;
  }[];
  foreignMessage: 'dead-lettered';
}

export function summaryOf(results: readonly Reconciled[]): DemoSummary {
  return {
    tenants: results.map((result) => {
      const report = result.exports.find((each) => each.report === 'MATCHED') ?? result.exports[0];
      if (!report) throw new Error(`${result.tenantId} has no export`);
      const { tenantId, context, left, right, matched, exceptions, seconds } = result;
      const { rows, bytes, sha256, url } = report;
      return { tenantId, context, left, right, matched, exceptions, export: { rows, bytes, sha256, url }, seconds };
    }),
    foreignMessage: 'dead-lettered',
  };
}

export function printSummary(summary: DemoSummary, names: readonly string[], deathCode: string): string {
  const count = (n: number) => n.toLocaleString('en-US');
  const list = (counts: Record<string, number>) =>
    Object.entries(counts)
      .map(([name, n]) => `${count(n)} ${name}`)
      .join(', ') || 'none';
  const blocks = summary.tenants.map((tenant, index) =>
    [
      `${names[index]}  (tenant ${tenant.tenantId}, context ${tenant.context})`,
      `  records read   ${count(tenant.left)} left, ${count(tenant.right)} right`,
      `  matched        ${list(tenant.matched)}`,
      `  exceptions     ${list(tenant.exceptions)}`,
      `  time           ${tenant.seconds.toFixed(1)} s`,
      `  export         ${count(tenant.export.rows)} rows, ${count(tenant.export.bytes)} bytes, SHA-256 ${tenant.export.sha256.slice(0, 16)}…`,
      `                 ${tenant.export.url}`,
    ].join('\n'),
  );
  return [...blocks, `foreign message  dead-lettered (${deathCode})`].join('\n\n');
}
