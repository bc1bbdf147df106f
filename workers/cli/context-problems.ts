import type { z } from 'zod';

/** One thing that is wrong with a context file. */
export interface ContextProblem {
  line: number;
  /** Such as `sources[1].fieldMap.amount`; empty for the file as a whole. */
  field: string;
  /** What the field takes, and what it got. */
  problem: string;
}

export type Path = readonly PropertyKey[];

export function fieldName(path: Path): string {
  return path.reduce<string>((name, part) => {
    if (typeof part === 'number') return `${name}[${part}]`;
    return name === '' ? String(part) : `${name}.${String(part)}`;
  }, '');
}

/** A value as its author sees it. In a YAML file `2026` is a number although a name was meant, so the kind is said. */
function got(value: unknown): string {
  if (value === undefined || value === null) return 'got nothing';
  if (Array.isArray(value)) return `got a list of ${value.length}`;
  if (typeof value === 'object') return 'got an object';
  const text = JSON.stringify(value);
  const shown = text.length > 60 ? `${text.slice(0, 60)}…` : text;
  return typeof value === 'string' ? `got ${shown}` : `got the ${typeof value} ${shown}`;
}

const kinds: Record<string, string> = {
  string: 'a text',
  array: 'a list',
  object: 'an object, its fields as "name: value"',
  number: 'a number',
  boolean: 'true or false',
};

const listed = (values: readonly string[]): string =>
  values.length < 2 ? values.join('') : `${values.slice(0, -1).join(', ')} or ${values.at(-1)}`;

/** What the contracts' schemas leave to the library's own words, in ours. */
export const inOurWords: z.core.$ZodErrorMap = (issue) => {
  const { input } = issue;
  switch (issue.code) {
    case 'invalid_type': {
      const quotes = issue.expected === 'string' && ['number', 'boolean'].includes(typeof input);
      return `takes ${kinds[issue.expected] ?? issue.expected}; ${got(input)}${quotes ? ': put it in quotes' : ''}`;
    }
    case 'invalid_value':
      return `takes ${listed(issue.values.map(String))}; ${got(input)}`;
    case 'too_small':
      return `takes at least ${amount(issue.minimum, issue.origin)}; ${got(input)}`;
    case 'too_big':
      return `takes at most ${amount(issue.maximum, issue.origin)}; ${got(input)}`;
    default:
      return undefined;
  }
};

function amount(bound: number | bigint, origin: string): string {
  const unit = origin === 'array' ? 'entr' : origin === 'string' ? 'character' : undefined;
  if (unit === undefined) return String(bound);
  const plural = unit === 'entr' ? (bound === 1 ? 'y' : 'ies') : bound === 1 ? '' : 's';
  return `${bound} ${unit}${plural}`;
}

/** The part of a message about several unknown fields that is about this one. */
function aboutKey(message: string, key: string): string {
  const about = message.split('; ').find((part) => part.startsWith(`${key} `) || part.startsWith(JSON.stringify(key)));
  return about ?? message;
}

/**
 * A schema's issue as one problem per field.
 *
 * @param valueAt the value at a path of the file.
 * @param fieldsAt the fields that the schema has there.
 */
export function problemsOf(
  issue: z.core.$ZodIssue,
  valueAt: (path: Path) => unknown,
  fieldsAt: (path: Path) => readonly string[] | undefined,
): { path: Path; problem: string }[] {
  const known = issue.code === 'unrecognized_keys' ? fieldsAt(issue.path) : undefined;
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => ({
      path: [...issue.path, key],
      problem: known ? `is no field; there is ${known.join(', ')}` : aboutKey(issue.message, key),
    }));
  }
  // Messages of the contracts' own say what is taken; those of the rules also what they got.
  const complete = issue.code === 'custom' || /\bgot /.test(issue.message);
  return [{ path: issue.path, problem: complete ? issue.message : `${issue.message}; ${got(valueAt(issue.path))}` }];
}
