import type { AnyJobDefinition } from '@matcher/shared/jobs/definition.ts';
import { exportRun } from '../../workers/export/export-run.ts';
import { ingestionRun } from '../../workers/ingest/ingestion-run.ts';
import { contextApply } from '../../workers/matching/context-apply.ts';
import { matchingConfirm, matchingReject, matchingRevoke } from '../../workers/matching/decisions.ts';
import { matchingManual } from '../../workers/matching/matching-manual.ts';
import { matchingRun } from '../../workers/matching/matching-run.ts';

/** What all kinds of workers do together. */
export const everyJob: readonly AnyJobDefinition[] = [
  contextApply,
  ingestionRun,
  matchingRun,
  matchingConfirm,
  matchingReject,
  matchingRevoke,
  matchingManual,
  exportRun,
];
