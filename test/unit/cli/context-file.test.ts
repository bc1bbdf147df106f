import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { contextApplyBody } from '@matcher/shared/jobs/contracts/bodies.ts';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ContextFileError, readContextFile } from '../../../workers/cli/context-file.ts';

const valid = `version: 1
name: card-settlement
type: "1:1"
sources:
  - name: ledger
    side: LEFT
    type: LEDGER
    format: CSV
    files: [ledger.csv, data/more.csv]
    fieldMap:
      external_id: id
      amount: amount
      currency: currency
      date: booked_at
  - name: acquirer
    side: RIGHT
    type: GATEWAY
    format: JSON
    files: [settlement.json]
    fieldMap: {external_id: id, amount: gross, currency: currency, date: day, description: text}
rules:
  - name: exact
    priority: 1
    type: EXACT
    config:
      matchFields: [order_id]
      matchReference: false
`;

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'context-file-'));
  await mkdir(join(folder, 'data'));
  for (const file of ['ledger.csv', 'data/more.csv', 'settlement.json']) await writeFile(join(folder, file), 'x');
});
afterEach(() => rm(folder, { recursive: true }));

async function read(content: string | Buffer, withFiles = true, name = 'context.yaml') {
  const file = join(folder, name);
  await writeFile(file, content);
  return readContextFile(file, { withFiles });
}

/** The problems of a file, each as `LINE: field: problem`. */
async function problems(content: string | Buffer, withFiles = true): Promise<string[]> {
  const error = await read(content, withFiles).catch((thrown) => thrown);
  expect(error).toBeInstanceOf(ContextFileError);
  const { problems, message } = error as ContextFileError;
  const [first] = problems;
  expect(message).toContain(`context.yaml:${first?.line}: `);
  return problems.map(({ line, field, problem }) => `${line}: ${field ? `${field}: ` : ''}${problem}`);
}

/** The valid file with one piece of it exchanged. */
const exchanged = (piece: string, other: string) => {
  expect(valid).toContain(piece);
  return valid.replace(piece, other);
};

describe('a valid context file', () => {
  test('gives the body of context.apply, the files beside the context file, and all reports unless told otherwise', async () => {
    const { context, sources, reports } = await read(valid);
    expect(contextApplyBody.safeParse({ version: 1, context }).error).toBeUndefined();
    expect(sources).toEqual([
      {
        name: 'ledger',
        side: 'LEFT',
        format: 'CSV',
        files: [join(folder, 'ledger.csv'), join(folder, 'data/more.csv')],
      },
      { name: 'acquirer', side: 'RIGHT', format: 'JSON', files: [join(folder, 'settlement.json')] },
    ]);
    expect(reports).toEqual(['MATCHED', 'UNMATCHED', 'EXCEPTIONS']);
  });

  test('may name its reports, or none', async () => {
    expect((await read(`${valid}reports: [EXCEPTIONS, EXCEPTIONS]\n`)).reports).toEqual(['EXCEPTIONS']);
    expect((await read(`${valid}reports: []\n`)).reports).toEqual([]);
  });

  test('may be JSON, indented with tabs or with a byte order mark', async () => {
    const { parse } = await import('yaml');
    const json = JSON.stringify(parse(valid), null, '\t');
    expect((await read(json, true, 'context.json')).context.name).toBe('card-settlement');
    expect((await read(`\ufeff${valid}`)).context.name).toBe('card-settlement');
  });

  test('may repeat a part by an anchor', async () => {
    const anchored = exchanged('fieldMap:\n      external_id', 'fieldMap: &map\n      external_id').replace(
      /fieldMap: \{.*\}/,
      'fieldMap: *map',
    );
    const { context } = await read(anchored);
    expect(context.sources[1]?.fieldMap).toEqual(context.sources[0]?.fieldMap);
  });

  test('needs no files where only the context is wanted', async () => {
    const bare = valid.replaceAll(/ {4}(format|files): .*\n/g, '');
    expect((await read(bare, false)).sources).toEqual([]);
    expect(await problems(bare)).toEqual([
      '5: sources[0].format: takes CSV or JSON; got nothing',
      '5: sources[0].files: takes a list; got nothing',
      '13: sources[1].format: takes CSV or JSON; got nothing',
      '13: sources[1].files: takes a list; got nothing',
    ]);
  });
});

describe('a field that is wrong is named with its line, what it takes and what it got', () => {
  test.each([
    [
      'a number where a text is meant',
      exchanged('name: card-settlement', 'name: 2026'),
      '2: name: takes a text; got the number 2026: put it in quotes',
    ],
    [
      'true where a text is meant',
      exchanged('description: text', 'description: true'),
      '20: sources[1].fieldMap.description: takes a text; got the boolean true: put it in quotes',
    ],
    ['a version that is a text', exchanged('version: 1', 'version: "1"'), '1: version: takes 1; got "1"'],
    [
      'a word that is none of those',
      exchanged('side: LEFT', 'side: left'),
      '6: sources[0].side: takes LEFT or RIGHT; got "left"',
    ],
    [
      'a name with other characters',
      exchanged('name: card-settlement', 'name: Card Settlement'),
      /^2: name: a context name takes 1 to 63 of .*; got "Card Settlement"$/,
    ],
    ['a type that there is not', exchanged('"1:1"', '"N:1"'), '3: type: takes "1:1", "1:N" or "N:M"; got "N:1"'],
    [
      'a list that is a text',
      exchanged('[order_id]', 'order_id'),
      '26: rules[0].config.matchFields: takes a list of field names; got "order_id"',
    ],
    [
      'a field that is missing',
      exchanged('      currency: currency\n', ''),
      '10: sources[0].fieldMap.currency: takes a text; got nothing',
    ],
    [
      'a field that there is not',
      exchanged('      amount: amount', '      amout: amount'),
      /^12: sources\[0\]\.fieldMap\.amout: is no field; there is external_id, amount, /,
    ],
    [
      'one at the top',
      `colour: red\n${valid}`,
      '1: colour: is no field; there is version, name, description, type, sources, rules, schedule, reports',
    ],
    ['one of a source', exchanged('side: LEFT', 'side: LEFT\n    filez: []'), /^7: sources\[0\]\.filez: is no field; /],
    [
      'one of a rule',
      exchanged('matchReference: false', 'matchRefs: false'),
      /^27: rules\[0\]\.config\.matchRefs: "matchRefs" is not a field of an EXACT rule/,
    ],
    [
      'a rule that needs another type of context',
      exchanged('matchReference: false', 'groupBy: [day]'),
      '27: rules[0].config.groupBy: groupBy needs a context of type 1:N or N:M; this one is 1:1',
    ],
    [
      'an empty list',
      exchanged('[settlement.json]', '[]'),
      '19: sources[1].files: takes at least 1 entry; got a list of 0',
    ],
    [
      'a report that there is not',
      `${valid}reports: [ALL]\n`,
      '28: reports[0]: takes MATCHED, UNMATCHED or EXCEPTIONS; got "ALL"',
    ],
    [
      'a source that is there twice',
      exchanged('name: acquirer', 'name: ledger'),
      '15: sources[1].name: the source ledger is there twice',
    ],
    [
      'a side that is missing',
      exchanged('side: RIGHT', 'side: LEFT'),
      '4: sources: needs at least one source with side RIGHT',
    ],
  ])('%s', async (_what, content, expected) => {
    const found = await problems(content);
    expect(found).toContainEqual(typeof expected === 'string' ? expected : expect.stringMatching(expected));
  });

  test('all at once, in the order of their lines', async () => {
    const content = valid
      .replace('side: LEFT', 'side: left')
      .replace('name: acquirer', 'name: ledger')
      .replace('settlement.json', 'nothing.json')
      .replace('type: EXACT', 'type: FUZZY')
      .replace('version: 1', 'version: 2');
    expect(await problems(content)).toEqual([
      '1: version: takes 1; got the number 2',
      '6: sources[0].side: takes LEFT or RIGHT; got "left"',
      '15: sources[1].name: the source ledger is there twice',
      '19: sources[1].files[0]: "nothing.json" does not exist',
      '24: rules[0].type: takes EXACT, TOLERANCE or DATE_LAG; got "FUZZY"',
    ]);
  });

  test('several unknown fields of one rule: each with its own line', async () => {
    const found = await problems(exchanged('matchReference: false', 'foo: 1\n      bar: 2'));
    expect(found).toEqual([
      expect.stringMatching(/^27: rules\[0\]\.config\.foo: "foo"/),
      expect.stringMatching(/^28: rules\[0\]\.config\.bar: "bar"/),
    ]);
  });
});

describe('files of the sources', () => {
  test('one that does not exist, and a folder', async () => {
    expect(await problems(exchanged('[ledger.csv, data/more.csv]', '[lost.csv, data]'))).toEqual([
      '9: sources[0].files[0]: "lost.csv" does not exist',
      '9: sources[0].files[1]: "data" is a folder',
    ]);
  });
});

describe('text that is no YAML', () => {
  test.each([
    [
      'a field that is there twice',
      'version: 1\nname: a\nname: b\nsources:\n  - {a: 1, a: 2}\n',
      ['3: "name" is there twice', '5: "a" is there twice'],
    ],
    [
      'a tab as indentation',
      'version: 1\nsources:\n\t- a\n',
      [expect.stringMatching(/^3: is no valid YAML: .*[Tt]ab/)],
    ],
    [
      'broken JSON',
      '{\n"version": 1,\n"name": "x"\n"type": "1:1"\n}',
      [expect.stringMatching(/^4: is no valid YAML: Missing ,/)],
    ],
    [
      'two documents',
      'version: 1\n---\nversion: 1\n',
      [expect.stringMatching(/^2: is no valid YAML: .*multiple documents/)],
    ],
    [
      'a tag that would make something else of a value',
      'version: !!js/function "x"\n',
      [expect.stringMatching(/^1: is no valid YAML: Unresolved tag/)],
    ],
    ['an anchor that there is not', 'version: 1\nname: *other\n', ['2: *other: there is no anchor &other before it']],
    ['an empty file', '', ['1: takes an object, its fields as "name: value"; got nothing']],
    ['a list', '- a\n- b\n', ['1: takes an object, its fields as "name: value"; got a list of 2']],
    ['what is not UTF-8', Buffer.from([0xff, 0xfe, 0x41]), ['1: is not UTF-8']],
    ['a data file', 'x'.repeat(1024 * 1024 + 1), ['1: has more than 1048576 bytes: is it a data file?']],
  ])('%s', async (_what, content, expected) => {
    expect(await problems(content)).toEqual(expected);
  });

  test('a few lines that would expand to gigabytes are refused, and so is what holds itself', async () => {
    const bomb = ['a: &a [x, x, x, x, x, x, x, x, x]'];
    for (const [one, before] of ['ba', 'cb', 'dc', 'ed', 'fe', 'gf', 'hg', 'ih']) {
      bomb.push(`${one}: &${one} [${Array(9).fill(`*${before}`).join(', ')}]`);
    }
    expect(await problems(bomb.join('\n'))).toEqual([
      '2: refers to anchors (*name) too often; it takes 100 references, nested ones multiplied',
    ]);
    expect(await problems('version: 1\nrules: &a [*a]\n')).toEqual([expect.stringMatching(/^2: refers to anchors/)]);
  });
});

test('a context file that does not exist, and a folder in its place', async () => {
  await expect(readContextFile(join(folder, 'none.yaml'), { withFiles: true })).rejects.toThrow(
    'none.yaml: the context file does not exist',
  );
  await expect(readContextFile(folder, { withFiles: true })).rejects.toThrow('the context file is a folder');
});
