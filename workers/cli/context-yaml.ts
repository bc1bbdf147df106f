import { type Document, isAlias, isMap, isScalar, isSeq, LineCounter, type Node, parseDocument } from 'yaml';
import type { ContextProblem, Path } from './context-problems.ts';

/** A file's content, and where in it each field stands. */
export interface LocatedYaml {
  value: unknown;
  /** The line of the field, or of the nearest one around it when it is missing. Lines count from 1. */
  lineOf(path: Path): number;
}

/** References to an anchor at most, multiplied where they are nested: a few lines of YAML could otherwise stand for gigabytes. */
const maxAliases = 100;

/** Reads YAML 1.2, of which JSON is a part. Every problem of the text itself is reported, with its line. */
export function parseYaml(text: string): LocatedYaml | { problems: ContextProblem[] } {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: true, strict: true });
  const lineAt = (offset: number) => Math.max(1, lines.linePos(offset).line);
  const faults = [...document.errors, ...document.warnings];
  if (faults.length > 0) {
    return {
      problems: faults.map(({ code, message, pos: [start] }) => ({
        line: lineAt(start),
        field: '',
        problem: code === 'DUPLICATE_KEY' ? `${keyAt(text, start)} is there twice` : `is no valid YAML: ${message}`,
      })),
    };
  }
  try {
    const value: unknown = document.toJS({ maxAliasCount: maxAliases });
    // An anchor that holds itself has no text.
    JSON.stringify(value);
    return { value, lineOf: (path) => lineAt(offsetOf(document, path)) };
  } catch {
    const line = lineAt(firstAlias(document.contents) ?? 0);
    const problem = `refers to anchors (*name) in a way that would expand without measure; it takes at most ${maxAliases} references`;
    return { problems: [{ line, field: '', problem }] };
  }
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

function firstAlias(node: unknown): number | undefined {
  if (isAlias(node)) return node.range?.[0];
  const children = isMap(node) ? node.items.map(({ value }) => value) : isSeq(node) ? node.items : [];
  for (const child of children) {
    const found = firstAlias(child);
    if (found !== undefined) return found;
  }
  return undefined;
}
