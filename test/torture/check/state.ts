/** One tenant as it was found: plain rows and messages, read with the bare drivers. */
export interface TenantState {
  /** Whose data the database says it holds. */
  owners: string[];
  jobs: JobRow[];
  contexts: { id: number; name: string; revision: number }[];
  loads: { job_id: string; context: string; source: string; records: number }[];
  transactions: TransactionRow[];
  groups: { id: string; context_id: number; status: string }[];
  items: { transaction_id: string; group_id: string; side: string }[];
  exceptions: { transaction_id: string; context_id: number }[];
  rejected: { job_id: string; row: number; code: string }[];
  runs: { job_id: string; context_id: number; mode: string; matched: number }[];
  exports: ExportRow[];
  outbox: { event_id: string; event_type: string }[];
  events: EventMessage[];
  /** Messages in each job, delay and dead-letter queue. */
  queues: Map<string, number>;
  deadLetters: { messageId: string; code: string; reason: string }[];
}

export interface JobRow {
  id: string;
  type: string;
  body: unknown;
  state: string;
  attempt: number;
  /** Claims, ever. */
  fence: number;
  deaths: number;
  // biome-ignore lint/suspicious/noExplicitAny: each job type has its own
  result: any;
  error: { code: string; message: string } | null;
  /** Milliseconds since 1970. */
  created: number;
  finished: number | null;
}

export interface TransactionRow {
  id: string;
  context: string;
  source: string;
  external_id: string;
  amount: string;
  currency: string;
  /** YYYY-MM-DD */
  day: string;
  description: string | null;
  metadata: Record<string, unknown>;
}

export interface ExportRow {
  job_id: string;
  context_id: number;
  report: string;
  object_key: string;
  rows: number;
  bytes: number;
  sha256: string;
}

/** As it lay in a queue that was bound to all events from before the first job. */
export interface EventMessage {
  messageId: string;
  routingKey: string;
  tenantHeader: string;
  text: string;
}

export interface Bucket {
  /** Lengths, by key. */
  objects: ReadonlyMap<string, number>;
  read(key: string): Promise<Buffer>;
}

/** What should not be as it is. */
export interface Finding {
  tenant: string;
  job?: string;
  what: string;
}

/** What a publisher knows of a job. */
export interface Published {
  id: string;
  type: string;
  body: unknown;
  /** Otherwise it is there once or not at all. */
  confirmed: boolean;
  /** The records of its file, each of which is loaded once, whatever other files hold it, too. */
  file?: { context: string; source: string; records: readonly FileRecord[] };
}

export interface FileRecord {
  id: string;
  amount: string;
  currency: string;
  date: string;
  text: string;
  ref: string;
  /** The same for two records that have to be matched; absent where nothing matches. */
  pair?: string;
}

export interface ExpectedTenant {
  id: string;
  /** In every id, reference and key that is its own. */
  name: string;
  jobs: readonly Published[];
  /** Contexts that are matched at every full minute, by jobs that no publisher knows of. */
  schedules: readonly string[];
}
