import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';

const root = resolve(import.meta.dirname, '../..');

/** How long (ms) a process may take to say that it is up, and to end when it is told to. */
const upWithin = 90_000;
const endWithin = 90_000;

export interface ProcessOptions {
  /** `matching.1`; its log is the file of that name. */
  name: string;
  script: string;
  environment: Record<string, string>;
  logs: string;
  /** Words of the log line with which it says that it is up. */
  up: string;
  /** Called with each such line. */
  onUp?(line: string): void;
  onMessage?(message: unknown): void;
  /** Called when it has ended and nobody had told it to. It is started anew. */
  onUntold(how: string): void;
}

/** One place in the fleet, whose process is killed, stopped and started anew. */
export class FleetProcess {
  readonly name: string;
  readonly #options: ProcessOptions;
  #child: ChildProcess | undefined;
  #up = Promise.withResolvers<void>();
  /** Its next end is our doing. */
  #told = false;
  #over = false;

  constructor(options: ProcessOptions) {
    this.name = options.name;
    this.#options = options;
  }

  get runs(): boolean {
    return this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  start(): void {
    if (this.#over || this.runs) return;
    const { name, script, environment, logs, up, onUp, onMessage } = this.#options;
    this.#told = false;
    this.#up = Promise.withResolvers();
    const child = spawn(process.execPath, [resolve(root, script)], {
      cwd: root,
      // In a process group of its own, where a terminal's Ctrl-C does not reach it.
      detached: true,
      env: { ...process.env, ...environment },
      // Through the channel it notices that we are gone, however we went.
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    });
    this.#child = child;
    const log = createWriteStream(join(logs, `${name}.log`), { flags: 'a' });
    for (const stream of [child.stdout, child.stderr]) {
      if (!stream) continue;
      createInterface({ input: stream }).on('line', (line) => {
        if (!log.writableEnded) log.write(`${line}\n`);
        if (!line.includes(up)) return;
        onUp?.(line);
        this.#up.resolve();
      });
    }
    if (onMessage) child.on('message', onMessage);
    child.on('close', () => log.end());
    child.once('exit', (code, signal) => void this.#ended(code, signal));
  }

  /** Waits until it has said that it is up; a process that does not is looked at in the end, by what it has left undone. */
  async up(): Promise<void> {
    const waiting = new AbortController();
    const late = delay(upWithin, undefined, { signal: waiting.signal, ref: false }).catch(() => {});
    await Promise.race([this.#up.promise, late]);
    waiting.abort();
  }

  send(message: object): void {
    if (this.#child?.connected) this.#child.send(message, () => {});
  }

  /** Kills it. Returns when it has ended. */
  async kill(): Promise<void> {
    await this.#end('SIGKILL');
  }

  /** Tells it to drain, and waits until it has ended. */
  async stop(): Promise<void> {
    const child = this.#child;
    const began = Date.now();
    const waiting = new AbortController();
    const late = delay(endWithin, undefined, { signal: waiting.signal, ref: false }).then(
      () => 'late' as const,
      () => 'over' as const,
    );
    if ((await Promise.race([this.#end('SIGTERM'), late])) === 'late') {
      this.#options.onUntold(`had not ended ${Math.round((Date.now() - began) / 1000)} s after SIGTERM`);
      await this.#end('SIGKILL');
    } else if (child?.exitCode !== null && child?.exitCode !== 0) {
      this.#options.onUntold(`ended with ${child?.exitCode} after SIGTERM`);
    }
    waiting.abort();
  }

  /** It dies by its own hand, or by ours when that takes too long. */
  async expectEnd(withinMs: number): Promise<void> {
    this.#told = true;
    const child = this.#child;
    if (!child || !this.runs) return;
    const ended = once(child, 'exit');
    const waiting = new AbortController();
    const late = delay(withinMs, undefined, { signal: waiting.signal }).catch(() => {});
    await Promise.race([ended, late]);
    waiting.abort();
    await this.kill();
  }

  /** Ends it for good. */
  async close(): Promise<void> {
    this.#over = true;
    await this.#end('SIGKILL');
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    this.#told = true;
    const child = this.#child;
    if (!child || !this.runs) return;
    const ended = once(child, 'exit');
    child.kill(signal);
    await ended;
  }

  async #ended(code: number | null, signal: NodeJS.Signals | null): Promise<void> {
    if (this.#told || this.#over) return;
    this.#options.onUntold(`ended by itself with ${signal ?? code}`);
    await delay(500);
    this.start();
  }
}
