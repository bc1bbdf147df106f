import { MatcherError } from '@matcher/shared/errors.ts';
import type { ContextDefinition } from '@matcher/shared/jobs/contracts/context.ts';
import type { JobDefinition } from '@matcher/shared/jobs/definition.ts';
import type { Transaction } from '@matcher/shared/postgres/transaction.ts';

interface SourceRow {
  id: number;
  name: string;
  side: string;
  loaded: boolean;
}

/** `context.apply`: creates a context, or gives an existing one its new definition. Data that is loaded keeps its meaning. */
export const contextApply: JobDefinition<'context.apply'> = {
  type: 'context.apply',
  async run({ body }) {
    const { context } = body;
    return async (tx) => {
      const [{ id, revision }] = (await tx.query<{ id: number; revision: number }>(
        `INSERT INTO contexts (name, type, definition) VALUES ($1, $2, $3)
         ON CONFLICT (name) DO UPDATE SET type = excluded.type, definition = excluded.definition,
                revision = contexts.revision + 1, updated_at = now()
         RETURNING id, revision`,
        [context.name, context.type, JSON.stringify(context)],
      )) as [{ id: number; revision: number }];
      await tx.query('INSERT INTO run_locks VALUES ($1) ON CONFLICT DO NOTHING', [id]);
      await applySources(tx, id, context);
      return { context: context.name, revision };
    };
  },
};

async function applySources(tx: Transaction, contextId: number, context: ContextDefinition): Promise<void> {
  // A file that is being loaded holds its source: what it loads counts below.
  await tx.query('SELECT id FROM sources WHERE context_id = $1 ORDER BY id FOR UPDATE', [contextId]);
  const existing = await tx.query<SourceRow>(
    `SELECT id, name, side, EXISTS (SELECT FROM loads WHERE source_id = sources.id) AS loaded
       FROM sources WHERE context_id = $1`,
    [contextId],
  );
  for (const source of existing) {
    const wanted = context.sources.find(({ name }) => name === source.name);
    if (wanted && (wanted.side === source.side || !source.loaded)) continue;
    if (source.loaded) {
      const what = wanted ? `moves the source ${source.name} to the other side` : `drops the source ${source.name}`;
      throw new MatcherError(
        'SOURCE_HAS_DATA',
        `The new definition of ${context.name} ${what}, which has records loaded`,
        {
          hint: 'Keep the source as it is, or apply the definition under another context name.',
        },
      );
    }
    await tx.query('DELETE FROM sources WHERE id = $1', [source.id]);
  }
  for (const source of context.sources) {
    await tx.query(
      `INSERT INTO sources (context_id, name, type, side, field_map) VALUES ($1, $2, $3, $4, $5)
       ON CONFLICT (context_id, name) DO UPDATE SET type = excluded.type, side = excluded.side, field_map = excluded.field_map`,
      [contextId, source.name, source.type, source.side, JSON.stringify(source.fieldMap)],
    );
  }
}
