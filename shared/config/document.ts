import type { Variable } from './kinds.ts';
import { ConfigError, loadSettings, type Role } from './load.ts';
import { type VariableName, variables } from './variables.ts';

/** When a variable is required is asked of the very check that refuses to start without it; the first that asks is the condition shown. */
const askers: [when: string, role: Role, env: NodeJS.ProcessEnv][] = [
  ['multi-tenant mode', 'worker', { MULTI_TENANT_ENABLED: 'true' }],
  ['single-tenant mode', 'worker', {}],
  ['with `FETCHER_ENABLED`', 'worker', { FETCHER_ENABLED: 'true' }],
  ['with `FETCHER_ENABLED` in multi-tenant mode', 'worker', { MULTI_TENANT_ENABLED: 'true', FETCHER_ENABLED: 'true' }],
  ['the Tenant Manager process', 'tenant-manager', {}],
];

/** `docs/configuration.md`: every variable that a process reads. */
export function configurationDocument(): string {
  return `# Configuration

Every process is configured by environment variables. What is wrong with them is reported all at once, by name, before anything
connects, and ends the process with status 2. An empty variable counts as absent. In multi-tenant mode
(\`MULTI_TENANT_ENABLED=true\`) where each tenant's database and vhost are comes from the Tenant Manager; otherwise the same
workers serve one tenant with the \`POSTGRES_*\` and \`RABBITMQ_*\` settings.

This page is written by \`npm run generate\`.

${table(Object.keys(variables) as VariableName[])}
`;
}

/** The variables of multi-tenant mode, as the README shows them. */
function multiTenantTable(): string {
  return table(
    (Object.keys(variables) as VariableName[]).filter((name) =>
      /^(MULTI_TENANT_|DEFAULT_TENANT_|M2M_|AWS_REGION$)/.test(name),
    ),
  );
}

const marks = {
  start: '<!-- variables of multi-tenant mode: npm run generate -->',
  end: '<!-- end of the variables -->',
};

/** `readme` with the table of multi-tenant mode between its marks brought up to date. */
export function withMultiTenantTable(readme: string): string {
  const [before, rest] = readme.split(marks.start);
  const after = rest?.split(marks.end)[1];
  if (before === undefined || after === undefined) throw new Error(`README.md has lost its marks: ${marks.start}`);
  return `${before}${marks.start}\n${multiTenantTable()}\n${marks.end}${after}`;
}

function table(names: readonly VariableName[]): string {
  const needs = requirements();
  const rows = names.map((name) => {
    const { type, default: value, about } = variables[name] as Variable<unknown>;
    const shown = value instanceof Map ? [...value].map((entry) => entry.join('=')).join(',') : (value ?? '');
    return `| \`${name}\` | ${type} | ${shown === '' ? '–' : `\`${shown}\``} | ${needs.get(name)?.join('; ') ?? ''} | ${about} |`;
  });
  return ['| Variable | Type | Default | Required when | Meaning |', '|---|---|---|---|---|', ...rows].join('\n');
}

function requirements(): Map<string, string[]> {
  const needs = new Map<string, string[]>();
  const worker = new Set<string>();
  for (const [when, role, env] of askers) {
    for (const name of requiredBy(role, env)) {
      // With the Fetcher everything else is still required: only what it adds is said.
      if (env.FETCHER_ENABLED && worker.has(name)) continue;
      if (role === 'worker') worker.add(name);
      needs.set(name, [...(needs.get(name) ?? []), when]);
    }
  }
  return needs;
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
