import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { delimiter, join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { root } from '../paths.ts';
import { freePorts } from '../services/ports.ts';

/*
 * Runs the Procfile's processes. Own code instead of a process runner from npm, because the processes must be told to stop exactly once (a terminal's Ctrl-C
 * reaches every process of its group), must end when this one is killed, and each need an address of their own at which they say that they are ready.
 */

/** A process that keeps dying is started again ever more slowly (ms). */
const restartDelays = [500, 2000, 10_000];
/** A configuration with which no process can work: starting it again changes nothing. */
const badConfiguration = 2;

export interface FleetOptions {
  /** Commands by kind, as the Procfile has them. */
  commands: ReadonlyMap<string, string>;
  counts: ReadonlyMap<string, number>;
  environment: Record<string, string>;
  /** Receives what the processes print, a line at a time. */
  output(process: string, line: string): void;
  /** Called when a process can't run at all; the others go on until `stop`. */
  failed(problem: string): void;
}

interface Member {
  name: string;
  command: string;
  /** host:port of its /health and /ready. */
  address: string;
  child?: ChildProcess;
  deaths: number;
}

export class Fleet {
  readonly #options: FleetOptions;
  readonly #members: Member[] = [];
  #stopping = false;

  constructor(options: FleetOptions) {
    this.#options = options;
  }

  /**
   * Starts all processes and waits until each has said that it is ready.
   *
   * @param url where the only process is to be found, when others have been told so already.
   */
  async start(signal: AbortSignal, url?: string): Promise<void> {
    for (const [kind, command] of this.#options.commands) {
      for (let i = 1; i <= (this.#options.counts.get(kind) ?? 0); i++) {
        const address = url ? new URL(url).host : `127.0.0.1:${(await freePorts('port')).port}`;
        this.#members.push({ name: `${kind}.${i}`, command, address, deaths: 0 });
      }
    }
    for (const member of this.#members) this.#run(member);
    await Promise.all(this.#members.map((member) => untilReady(member.address, signal)));
  }

  /** Process ids by name, of those that run now. */
  get pids(): Map<string, number> {
    return new Map(this.#members.flatMap(({ name, child }) => (child?.pid ? [[name, child.pid]] : [])));
  }

  /** Tells every process once to drain, and waits until all have ended. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await Promise.all(
      this.#members.map(async ({ child }) => {
        if (!child || child.exitCode !== null || child.signalCode !== null) return;
        const ended = once(child, 'exit');
        child.kill('SIGTERM');
        await ended;
      }),
    );
  }

  /** Ends every process at once. */
  kill(): void {
    this.#stopping = true;
    for (const { child } of this.#members) child?.kill('SIGKILL');
  }

  #run(member: Member): void {
    // `exec`, so that the process to be told is the worker and not its shell.
    const child = spawn('/bin/sh', ['-c', `exec ${member.command}`], {
      cwd: root,
      // In a process group of its own, where a terminal's Ctrl-C does not reach it.
      detached: true,
      env: {
        ...process.env,
        ...this.#options.environment,
        SERVER_ADDRESS: member.address,
        PATH: `${join(root, 'node_modules', '.bin')}${delimiter}${process.env.PATH ?? ''}`,
      },
      // Through the channel a worker notices that we are gone, however we went.
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    });
    member.child = child;
    for (const stream of [child.stdout, child.stderr]) {
      if (stream) createInterface({ input: stream }).on('line', (line) => this.#options.output(member.name, line));
    }
    child.on('exit', (code, signal) => void this.#exited(member, code, signal));
  }

  async #exited(member: Member, code: number | null, signal: NodeJS.Signals | null): Promise<void> {
    if (this.#stopping) return;
    this.#options.output(member.name, `ended with ${signal ?? code}`);
    if (code === badConfiguration) {
      this.#options.failed(`${member.name} cannot work with this configuration`);
      return;
    }
    await delay(restartDelays[Math.min(member.deaths++, restartDelays.length - 1)]);
    if (!this.#stopping) this.#run(member);
  }
}

/** Asks until the process at `address` is ready to work; the Tenant Manager, which has no /ready, until it is healthy. */
async function untilReady(address: string, signal: AbortSignal): Promise<void> {
  for (;;) {
    signal.throwIfAborted();
    for (const path of ['/ready', '/health']) {
      const response = await fetch(`http://${address}${path}`, { signal }).catch(() => undefined);
      if (response?.ok) return;
      // A worker that is alive and not ready answers 503; only where there is no /ready does /health decide.
      if (response?.status === 503) break;
    }
    await delay(50, undefined, { signal });
  }
}
