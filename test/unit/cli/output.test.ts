import { describe, expect, test } from 'vitest';
import { createOutput } from '../../../workers/cli/output.ts';
import { manyLines, oneLine, table } from '../../../workers/cli/terminal-text.ts';

/** What a program that writes to a terminal, or to a file, would have written. */
function stream(isTTY: boolean, columns = 60) {
  let text = '';
  const write = (chunk: string) => {
    text += chunk;
    return true;
  };
  return { stream: { isTTY, columns, write } as unknown as NodeJS.WriteStream, text: () => text };
}

function output(json: boolean, isTTY: boolean) {
  const [stdout, stderr] = [stream(isTTY), stream(isTTY)];
  return {
    out: createOutput(json, { stdout: stdout.stream, stderr: stderr.stream }),
    stdout: stdout.text,
    stderr: stderr.text,
  };
}

describe('text from data', () => {
  test('cannot move the cursor, colour the screen, ring the bell or turn the direction of writing', () => {
    expect(oneLine('a\u001b[2J\u001b]0;title\u0007b\u009b31mc\u202ed\u2066e\u0000')).toBe('a[2J]0;titleb31mcde');
  });

  test('stays on its line, unless it may have several', () => {
    expect(oneLine('first\r\n  second\nthird')).toBe('first second third');
    expect(manyLines('first\nsec\rond\u001b[1m')).toBe('first\nsecond[1m');
  });

  test('keeps letters and signs of all writings', () => {
    expect(oneLine('Überweisung – 振込 · €5')).toBe('Überweisung – 振込 · €5');
  });
});

test('a table has its numbers to the right, with their thousands apart', () => {
  expect(
    table(
      ['RULE', 'PAIRS'],
      [
        ['exact', 12345],
        ['late\u001b[0m', 7],
      ],
    ),
  ).toBe('RULE      PAIRS\nexact    12,345\nlate[0m       7');
});

describe('progress', () => {
  test('in a file: a line for each stage, and the summary', () => {
    const { out, stdout, stderr } = output(false, false);
    for (const count of ['1', '2', '3']) out.progress('ledger', 'loading', count);
    out.progress('ledger', 'writing');
    out.done('ledger', '3 records');
    expect(stderr()).toBe('ledger: loading\nledger: writing\nledger: 3 records\n');
    expect(stdout()).toBe('');
  });

  test('on a terminal: one line that is written again, never wider than the screen, and gone before the result', () => {
    const { out, stdout, stderr } = output(false, true);
    out.progress('ledger', 'loading', '1,000');
    out.progress('statement', 'uploading', 'x'.repeat(100));
    out.result({}, 'done');
    expect(stdout()).toBe('done\n');
    const drawn = stderr().split('\u001b[2K\r');
    expect(drawn).toEqual([
      'ledger: loading 1,000',
      expect.stringMatching(/^ledger: loading 1,000 · statement: uploading x+…$/),
      '',
    ]);
    expect(drawn[1]?.length).toBeLessThan(60);
  });

  test('with --json: the document alone is on standard output', () => {
    const { out, stdout } = output(true, false);
    out.progress('ledger', 'loading');
    out.result({ jobId: 'a' }, 'a');
    expect(stdout()).toBe('{"jobId":"a"}\n');
  });
});
