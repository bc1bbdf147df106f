import type { Variable } from './kinds.ts';
import { ConfigError, loadSettings, type Role } from './load.ts';
import { variables } from './variables.ts';

/** Who needs a variable is asked of the very check that refuses to start without it. */
const askers: [string, Role, NodeJS.ProcessEnv][] = [
  ['workers, multi-tenant', 'worker', { MULTI_TENANT_ENABLED: 'true' }],
  ['workers, single-tenant', 'worker', {}],
  ['Tenant Manager', 'tenant-manager', {}],
];

/** `docs/configuration.md`: every variable that a process reads. */
export function configurationDocument(): string {
  const needs = new Map<string, string[]>();
  for (const [who, role, env] of askers) {
    for (const name of requiredBy(role, env)) needs.set(name, [...(needs.get(name) ?? []), who]);
  }
  const rows = Object.entries(variables as Record<string, Variable<unknown>>).map(
    ([name, { type, default: value, about }]) => {
      const shown = value === undefined ? '–' : `\`${value}\``;
      return `| \`${name}\` | ${type} | ${shown} | ${needs.get(name)?.join('; ') ?? ''} | ${about} |`;
    },
  );
  return `# Configuration

Every process is configured by environment variables. What is wrong with them is reported all at once, by name, before anything
connects, and ends the process with status 2. An empty variable counts as absent. In multi-tenant mode
(\`MULTI_TENANT_ENABLED=true\`) where each tenant's database and vhost are comes from the Tenant Manager; otherwise the same
workers serve one tenant with the \`POSTGRES_*\` and \`RABBITMQ_*\` settings.

This page is written by \`npm run generate\`.

| Variable | Type | Default | Required by | Meaning |
|---|---|---|---|---|
${rows.join('\n')}
`;
}

function requiredBy(role: Role, env: NodeJS.ProcessEnv): string[] {
  try {
    loadSettings(role, env);
    return [];
  } catch (error) {
    if (error instanceof ConfigError) return error.problems.map(({ variable }) => variable);
    throw error;
  }
}
