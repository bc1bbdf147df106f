import { globSync, readFileSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { dirname, relative, resolve } from 'node:path';
import { describe, expect, test } from 'vitest';

const root = resolve(import.meta.dirname, '../..');
const files = (folder: string) =>
  globSync(`${folder}/**/*.{ts,mjs}`, { cwd: root, exclude: (name) => name.includes('node_modules') });
const read = (file: string) => readFileSync(resolve(root, file), 'utf8');
const { dependencies } = JSON.parse(read('package.json')) as { dependencies: Record<string, string> };

interface Import {
  /** The file of this repository, from its root, or the package or built-in module. */
  target: string;
  kind: 'file' | 'package' | 'builtin';
  /** Is gone when the program runs. */
  typeOnly: boolean;
}

/** Every way in which a source file names another: import, export … from, and import() of a literal. */
const statement = /^\s*(?:import|export)\s+(type\s+)?(?:[^'"`;]*?\sfrom\s+)?'([^']+)'|\bimport\(\s*'([^']+)'/gm;

function importsOf(file: string): Import[] {
  return [...read(file).matchAll(statement)].map(([, type, named = '', loaded = '']) => {
    const name = named || loaded;
    const typeOnly = type !== undefined;
    if (name.startsWith('.')) {
      return { target: relative(root, resolve(root, dirname(file), name)), kind: 'file', typeOnly };
    }
    if (name.startsWith('@matcher/')) {
      const [, workspace, ...path] = name.split('/');
      const folder = workspace === 'shared' ? 'shared' : `workers/${workspace}`;
      return { target: [folder, ...path].join('/'), kind: 'file', typeOnly };
    }
    if (isBuiltin(name)) return { target: name, kind: 'builtin', typeOnly };
    const [first = '', second = ''] = name.split('/');
    return { target: first.startsWith('@') ? `${first}/${second}` : first, kind: 'package', typeOnly };
  });
}

/** What a folder's files import, as `file → target`, of what the rule does not allow. */
function offences(folder: string, allowed: (imported: Import, file: string) => boolean): string[] {
  return files(folder).flatMap((file) =>
    importsOf(file)
      .filter((imported) => !allowed(imported, file))
      .map(({ target }) => `${file} → ${target}`),
  );
}

const workers = globSync('workers/*/', { cwd: root }).map((path) => path.replace(/\/$/, ''));

test('the imports are found, whatever their form', () => {
  const found = importsOf('shared/process/run-worker.ts');
  expect(found).toContainEqual({ target: 'node:os', kind: 'builtin', typeOnly: false });
  expect(found).toContainEqual({ target: 'shared/config/variables.ts', kind: 'file', typeOnly: true });
  expect(importsOf('shared/tenancy/tenant-scope.ts')).toContainEqual({
    target: '@aws-sdk/client-s3',
    kind: 'package',
    typeOnly: true,
  });
  expect(importsOf('workers/ingest/main.ts')).toContainEqual({
    target: 'shared/process/run-worker.ts',
    kind: 'file',
    typeOnly: false,
  });
  // Over several lines, exported through, and loaded while running.
  expect(importsOf('test/unit/architecture.test.ts').map(({ target }) => target)).toContain('vitest');
  expect(importsOf('workers/local/services/checks.ts').map(({ target }) => target)).toContain('pg');
});

describe('a worker', () => {
  test.each(workers)('%s imports the shared package and its own files, and no other worker', (folder) => {
    expect(files(folder).length).toBeGreaterThan(0);
    const other = (imported: Import) =>
      imported.kind !== 'file' || imported.target.startsWith('shared/') || imported.target.startsWith(`${folder}/`);
    expect(offences(folder, other)).toEqual([]);
  });

  test('that is a process has one line in the Procfile, and no line is without its process', () => {
    const processes = workers
      .map((folder) => `${folder}/main.ts`)
      .filter((file) => files(dirname(file)).includes(file));
    const lines = [...read('Procfile').matchAll(/^[\w-]+: node (\S+)$/gm)].map(([, file]) => file);
    expect(lines.toSorted()).toEqual(processes.toSorted());
  });
});

test('the shared package knows no worker', () => {
  expect(offences('shared', ({ kind, target }) => kind !== 'file' || target.startsWith('shared/'))).toEqual([]);
});

test('what runs depends on declared dependencies only, not on what the tests bring along', () => {
  // Containers are a way to get servers, tried where Docker answers.
  const declared = new Set([...Object.keys(dependencies), 'testcontainers']);
  for (const folder of ['shared', 'workers']) {
    expect(
      offences(folder, ({ kind, target, typeOnly }) => kind !== 'package' || typeOnly || declared.has(target)),
    ).toEqual([]);
  }
});

test('the matching engine has no input or output of its own: neither it nor what it imports reaches a file, a socket or a driver', () => {
  const reached = new Map<string, string[]>();
  const visit = (file: string, path: string[]) => {
    if (reached.has(file)) return;
    reached.set(file, path);
    for (const { kind, target, typeOnly } of importsOf(file)) {
      if (typeOnly) continue;
      if (kind === 'file') visit(target, [...path, target]);
      else reached.set(target, [...path, target]);
    }
  };
  const engine = files('workers/matching/engine');
  expect(engine.length).toBeGreaterThan(0);
  for (const file of engine) visit(file, [file]);
  const outside = [...reached].filter(
    ([target]) => !/^workers\/matching\/engine\/|^shared\/(money\/[\w-]+|errors)\.ts$/.test(target),
  );
  expect(outside.map(([, path]) => path.join(' → '))).toEqual([]);
});

test('a file’s name says its subject: none is called utils, helpers, misc or common', () => {
  const vague = /(^|[/.-])(utils?|helpers?|misc|common)([.-]|$)/i;
  const all = ['shared', 'workers', 'test'].flatMap(files);
  expect(all.length).toBeGreaterThan(100);
  expect(all.filter((file) => file.split('/').some((part) => vague.test(part)))).toEqual([]);
});
