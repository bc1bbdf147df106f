import { oneLine } from './terminal-text.ts';

/** Where a command's words go: its result to standard output, everything else to standard error. */
export interface Output {
  readonly json: boolean;
  /** The command's result, once: one JSON document with --json, else its text. */
  result(document: object, text: string): void;
  /** Says how far something is that goes on beside others; `stage` tells lines apart where no line can be rewritten. */
  progress(label: string, stage: string, detail?: string): void;
  /** It is done; `summary` stays on the screen. */
  done(label: string, summary: string): void;
  /** Takes the progress line away, so that something else can be printed. */
  clear(): void;
}

export interface Streams {
  stdout: NodeJS.WriteStream;
  stderr: NodeJS.WriteStream;
}

/** Clears the line and puts the cursor at its beginning (ECMA-48: EL, CR). */
const clearLine = '\u001b[2K\r';

export function createOutput(json: boolean, { stdout, stderr }: Streams): Output {
  const rewrites = stderr.isTTY === true;
  /** What goes on, by label: the stage that was said, and how it is shown. */
  const going = new Map<string, { stage: string; shown: string }>();
  let drawn = false;

  const clear = () => {
    if (drawn) stderr.write(clearLine);
    drawn = false;
  };
  const draw = () => {
    if (!rewrites) return;
    clear();
    if (going.size === 0) return;
    const line = [...going].map(([label, { shown }]) => `${label}: ${shown}`).join(' · ');
    // A line that wraps can't be taken away by one movement of the cursor.
    const width = Math.max(20, (stderr.columns || 80) - 1);
    stderr.write(line.length > width ? `${line.slice(0, width - 1)}…` : line);
    drawn = true;
  };

  return {
    json,
    result(document, text) {
      clear();
      stdout.write(json ? `${JSON.stringify(document)}\n` : `${text}\n`);
    },
    progress(label, stage, detail) {
      const name = oneLine(label);
      const before = going.get(name)?.stage;
      going.set(name, { stage, shown: oneLine(detail ? `${stage} ${detail}` : stage) });
      if (rewrites) draw();
      else if (before !== stage) stderr.write(`${name}: ${oneLine(stage)}\n`);
    },
    done(label, summary) {
      going.delete(oneLine(label));
      clear();
      stderr.write(`${oneLine(label)}: ${oneLine(summary)}\n`);
      draw();
    },
    clear,
  };
}
