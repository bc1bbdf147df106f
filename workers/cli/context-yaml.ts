import {
  type Alias,
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseDocument,
  visit,
} from 'yaml';
import type { ContextProblem, Path } from './context-problems.ts';

/** A file's content, and where in it each field stands. */
export interface LocatedYaml {
  value: unknown;
  /** The line of the field, or of the nearest one around it when it is missing. Lines count from 1. */
  lineOf(path: Path): number;
}

/** References to an anchor at most, nested ones multiplied: a few lines of YAML could otherwise stand for gigabytes. */
const maxAliases = 100;

/** Reads YAML 1.2, of which JSON is a part. The problems of the text itself are reported, with their lines. */
export function parseYaml(text: string): LocatedYaml | { problems: ContextProblem[] } {
  try {
    return readDocument(text);
  } catch (error) {
    // The stack is full.
    if (error instanceof RangeError) return { problems: [{ line: 1, field: '', problem: 'is nested too deeply' }] };
    throw error;
  }
}

function readDocument(text: string): LocatedYaml | { problems: ContextProblem[] } {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: true, strict: true });
  const lineAt = (offset: number) => Math.max(1, lines.linePos(offset).line);
  const problemAt = (offset: number, problem: string) => ({ line: lineAt(offset), field: '', problem });
  const faults = [...document.errors, ...document.warnings].map(({ code, message, pos: [start] }) =>
    problemAt(
      start,
      code === 'DUPLICATE_KEY' ? `${keyAt(text, start)} is there twice` : `is no valid YAML: ${message}`,
    ),
  );
  if (faults.length > 0) return { problems: faults };
  const references = aliasesIn(document);
  const tooMany = `refers to anchors (*name) too often; it takes ${maxAliases} references, nested ones multiplied`;
  if (references.length > maxAliases) {
    return { problems: [problemAt(references[maxAliases]?.range?.[0] ?? 0, tooMany)] };
  }
  const unresolved = references.filter((alias) => !alias.resolve(document));
  if (unresolved.length > 0) {
    return {
      problems: unresolved.map(({ source, range }) =>
        problemAt(range?.[0] ?? 0, `*${source}: there is no anchor &${source} before it`),
      ),
    };
  }
  try {
    const value: unknown = document.toJS({ maxAliasCount: maxAliases });
    // What holds itself has no text.
    if (references.length > 0) JSON.stringify(value);
    return { value, lineOf: (path) => lineAt(offsetOf(document, path)) };
  } catch (error) {
    if (!(error instanceof ReferenceError || error instanceof TypeError)) throw error;
    return { problems: [problemAt(references[0]?.range?.[0] ?? 0, tooMany)] };
  }
}

function aliasesIn(document: Document): Alias[] {
  const aliases: Alias[] = [];
  visit(document, {
    Alias(_key, alias) {
      aliases.push(alias);
    },
  });
  return aliases;
}

function keyAt(text: string, offset: number): string {
  return JSON.stringify(/^["']?([^"':\s]{1,60})/.exec(text.slice(offset, offset + 62))?.[1] ?? 'a field');
}

function offsetOf(document: Document, path: Path): number {
  let node: Node | null | undefined = document.contents;
  let offset = node?.range?.[0] ?? 0;
  for (const part of path) {
    if (isAlias(node)) node = node.resolve(document) as Node | undefined;
    if (isMap(node)) {
      const pair = node.items.find(({ key }) => isScalar(key) && String(key.value) === String(part));
      if (!pair) break;
      offset = (pair.key as Node).range?.[0] ?? offset;
      node = pair.value as Node | null;
    } else if (isSeq(node)) {
      const item = node.items[Number(part)] as Node | undefined;
      if (!item) break;
      offset = item.range?.[0] ?? offset;
      node = item;
    } else {
      break;
    }
  }
  return offset;
}
