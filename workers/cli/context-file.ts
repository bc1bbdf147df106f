import { readFile, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { type JobBodyInput, reports } from '@matcher/shared/jobs/contracts/bodies.ts';
import {
  checkRules,
  checkSources,
  contextShape,
  fieldMap,
  type Side,
  schedule,
  side,
  source,
} from '@matcher/shared/jobs/contracts/context.ts';
import { z } from 'zod';
import { type ContextProblem, fieldName, inOurWords, type Path, problemsOf } from './context-problems.ts';
import { parseYaml } from './context-yaml.ts';
import { UsageError } from './failures.ts';
import { fileProblem, whyUnusable } from './local-files.ts';

export type Report = (typeof reports)[number];
export type FileFormat = 'CSV' | 'JSON';

/** A reconciliation as its user wrote it down: the context, and the files that are to be taken through it. */
export interface ContextFile {
  context: JobBodyInput<'context.apply'>['context'];
  /** Empty unless the files were asked for. */
  sources: {
    name: string;
    side: Side;
    format: FileFormat;
    /** Absolute paths. */
    files: string[];
  }[];
  reports: Report[];
}

/** Everything that is wrong with a context file, each with its line. */
export class ContextFileError extends UsageError {
  readonly problems: readonly ContextProblem[];
  readonly summary: string;

  constructor(file: string, problems: readonly ContextProblem[]) {
    const lines = problems
      .slice(0, maxProblems)
      .map(({ line, field, problem }) => `${file}:${line}: ${field ? `${field}: ` : ''}${problem}`);
    if (problems.length > maxProblems) lines.push(`${file}: and ${problems.length - maxProblems} more`);
    super('CONTEXT_FILE_INVALID', lines.join('\n'));
    this.problems = problems;
    const count = problems.length === 1 ? 'a problem' : `${problems.length} problems`;
    this.summary = `the context file has ${count}; nothing was published`;
  }
}

/** A broken file can have thousands. */
const maxProblems = 50;

const maxFileBytes = 1024 * 1024;

const format = z.enum(['CSV', 'JSON']);
const files = z.array(z.string().min(1)).min(1);
const top = {
  version: z.literal(1),
  ...contextShape,
  reports: z.array(z.enum(reports)).default([...reports]),
};

const sourceWithFiles = source.extend({ format, files });
const sourceMaybeWithFiles = source.extend({ format: format.optional(), files: files.optional() });
const schemaOf = (one: z.ZodType) => z.strictObject({ ...top, sources: z.array(one).min(2).max(20) });

/**
 * Reads a context file, YAML or JSON. Connects to nothing.
 *
 * @param options.withFiles whether the sources' files are wanted: then each source needs its `format` and at least one file
 *   that can be read.
 * @throws ContextFileError with all problems, UsageError `FILE_UNREADABLE`
 */
export async function readContextFile(file: string, options: { withFiles: boolean }): Promise<ContextFile> {
  const parsed = parseYaml(await textOf(file));
  if ('problems' in parsed) throw new ContextFileError(file, parsed.problems);
  const { value, lineOf } = parsed;
  const schema = schemaOf(options.withFiles ? sourceWithFiles : sourceMaybeWithFiles);
  const checked = schema.safeParse(value, { error: inOurWords });
  const found = (checked.error?.issues ?? []).flatMap((issue) =>
    problemsOf(issue, (path) => valueAt(value, path), fieldsAt),
  );
  found.push(...acrossSources(value), ...acrossRules(value));
  if (options.withFiles) found.push(...(await unreadableFiles(value, dirname(file))));
  if (found.length > 0) {
    const problems = found.map(({ path, problem }) => ({ line: lineOf(path), field: fieldName(path), problem }));
    throw new ContextFileError(
      file,
      problems.toSorted((a, b) => a.line - b.line),
    );
  }
  return contextFileFrom(value as WrittenContext, dirname(file), options.withFiles);
}

/** A context file's value once the schema has accepted it. */
interface WrittenContext {
  version: 1;
  reports?: Report[];
  sources: { name: string; side: Side; format: FileFormat; files: string[] }[];
}

function contextFileFrom(written: WrittenContext, folder: string, withFiles: boolean): ContextFile {
  const { version: _version, reports: wanted = [...reports], sources, ...rest } = written;
  return {
    context: {
      ...rest,
      sources: sources.map(({ format: _format, files: _files, ...one }) => one),
    } as unknown as ContextFile['context'],
    sources: withFiles
      ? sources.map(({ name, side, format, files }) => ({
          name,
          side,
          format,
          files: files.map((path) => resolve(folder, path)),
        }))
      : [],
    reports: [...new Set(wanted)],
  };
}

async function textOf(file: string): Promise<string> {
  let bytes: Buffer;
  try {
    const { size } = await stat(file);
    if (size > maxFileBytes) throw tooLarge(file);
    bytes = await readFile(file);
  } catch (error) {
    if (error instanceof UsageError) throw error;
    throw new UsageError('FILE_UNREADABLE', `${file}: the context file ${whyUnusable(error)}`);
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new ContextFileError(file, [{ line: 1, field: '', problem: 'is not UTF-8' }]);
  }
}

const tooLarge = (file: string) =>
  new ContextFileError(file, [
    { line: 1, field: '', problem: `has more than ${maxFileBytes} bytes: is it a data file?` },
  ]);

type Found = { path: Path; problem: string };

async function unreadableFiles(value: unknown, folder: string): Promise<Found[]> {
  const found: Found[] = [];
  for (const [s, one] of asList(valueAt(value, ['sources'])).entries()) {
    for (const [f, path] of asList(valueAt(one, ['files'])).entries()) {
      if (typeof path !== 'string' || path === '') continue;
      const problem = await fileProblem(resolve(folder, path));
      if (problem) found.push({ path: ['sources', s, 'files', f], problem: `${JSON.stringify(path)} ${problem}` });
    }
  }
  return found;
}

/** What concerns several sources, looked at also while single fields are wrong, so that all problems are said at once. */
function acrossSources(value: unknown): Found[] {
  const sources = asList(valueAt(value, ['sources']));
  if (sources.length === 0) return [];
  const found: Found[] = [];
  const named = sources.map((one) => ({ name: valueAt(one, ['name']), side: valueAt(one, ['side']) }));
  checkSources({ sources: named as { name: string; side: Side }[] }, {
    addIssue: ({ path, message }: { path: Path; message: string }) => found.push({ path, problem: message }),
  } as never);
  // What is missing or misspelled has a problem of its own; what follows from it is none.
  const sidesKnown = named.every((one) => side.safeParse(one.side).success);
  return found.filter(({ path }) => {
    const [, index] = path;
    return typeof index === 'number' ? typeof named[index]?.name === 'string' : sidesKnown;
  });
}

/** What rules ask for that their context does not have. */
function acrossRules(value: unknown): Found[] {
  const found: Found[] = [];
  const rules = asList(valueAt(value, ['rules'])).map((one) => ({
    config: Object(valueAt(one, ['config'])) as object,
  }));
  checkRules({ type: valueAt(value, ['type']), rules }, {
    addIssue: ({ path, message }: { path: Path; message: string }) => found.push({ path, problem: message }),
  } as never);
  return found;
}

/** The fields that there are at a place of the file; unknown for rules, whose problems name them. */
function fieldsAt(path: Path): readonly string[] | undefined {
  if (path.length === 0) return Object.keys(top);
  if (path[0] === 'schedule') return Object.keys(schedule.shape);
  if (path[0] !== 'sources') return undefined;
  return Object.keys((path.at(-1) === 'fieldMap' ? fieldMap : sourceWithFiles).shape);
}

function valueAt(value: unknown, path: Path): unknown {
  return path.reduce<unknown>((at, part) => (at as Record<PropertyKey, unknown> | null | undefined)?.[part], value);
}

const asList = (value: unknown): unknown[] => (Array.isArray(value) ? value : []);
