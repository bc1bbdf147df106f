import { type ChildProcess, spawn } from 'node:child_process';
import { chownSync, closeSync, existsSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { lastLines } from './commands.ts';
import { ServicesError } from './environment.ts';
import { program } from './packages.ts';
import { familyOf, gone, isAlive } from './processes.ts';

export interface ServerCommand {
  command: string;
  args: string[];
  /** The system user to run as when we are root: servers either refuse root or are better off without it. */
  user: string;
  /** The server's own folder; it is also its HOME and working directory. */
  folder: string;
  env?: Record<string, string>;
  /** What makes the server end at once. Its data are thrown away, so nothing needs to be written first. */
  stopSignal?: NodeJS.Signals;
}

export interface Server {
  name: string;
  pid: number;
  log: string;
  /** Resolves when the process has ended, with how it ended in words. */
  ended: Promise<string>;
}

interface Running extends Server {
  child: ChildProcess;
  stopSignal: NodeJS.Signals;
}

const graceMs = 5000;

/** Owns every process that the keeper starts, so that one call ends them all at any moment. */
export class Supervisor {
  readonly #running = new Set<Running>();
  readonly #ready = new WeakSet<Server>();
  readonly #log: (line: string) => void;
  #stopping = false;

  constructor(log: (line: string) => void) {
    this.#log = log;
  }

  /** Starts a server in a process group of its own; what it prints goes to `server.log` in its folder. */
  start(name: string, { command, args, user, folder, env, stopSignal = 'SIGTERM' }: ServerCommand): Server {
    if (this.#stopping) throw new ServicesError('stopped while the services were starting');
    const log = join(folder, `${name}.log`);
    const output = openSync(log, 'a');
    const identity = systemUser(user);
    const [executable = command, ...rest] = [...tether(), command, ...args];
    const child = spawn(executable, rest, {
      cwd: folder,
      detached: true,
      stdio: ['ignore', output, output],
      ...(identity ? { uid: identity.uid, gid: identity.gid } : {}),
      // Nothing of the caller's environment: PGDATA or RABBITMQ_NODENAME there are about somebody else's server.
      env: { PATH: systemPath, LANG: 'C.UTF-8', HOME: folder, TMPDIR: folder, USER: user, ...env },
    });
    closeSync(output);
    const { promise: ended, resolve } = Promise.withResolvers<string>();
    const server: Running = { name, pid: child.pid ?? 0, log, ended, child, stopSignal };
    this.#running.add(server);
    const onEnd = (how: string) => {
      // From now on the number may belong to a process of somebody else.
      this.#running.delete(server);
      if (this.#ready.has(server) && !this.#stopping) this.#log(`${name} ${how}${tailOf(log)}`);
      resolve(how);
    };
    child.once('error', (error) => onEnd(`could not be started: ${error.message}`));
    child.once('exit', (code, signal) => onEnd(signal ? `was ended by ${signal}` : `ended with status ${code}`));
    return server;
  }

  /** Runs a program that prepares a server's folder, to its end. */
  async run(name: string, command: ServerCommand): Promise<void> {
    const server = this.start(name, command);
    const how = await server.ended;
    if (how !== 'ended with status 0') throw new ServicesError(`${name} ${how}${tailOf(server.log)}`);
  }

  /**
   * Waits until `answers` resolves. Rejects when the server has ended, or when it does not answer in time, with the end of
   * its log.
   */
  async ready(server: Server, answers: () => Promise<void>, withinMs = 60_000): Promise<void> {
    const deadline = Date.now() + withinMs;
    let how: string | undefined;
    server.ended.then((words) => {
      how = words;
    });
    for (;;) {
      const problem = await answers().then(
        () => undefined,
        (error: Error) => error,
      );
      if (how) throw new ServicesError(`${server.name} ${how} before it was ready${tailOf(server.log)}`);
      if (!problem) {
        this.#ready.add(server);
        return;
      }
      if (problem instanceof ServicesError) throw problem;
      if (Date.now() > deadline) {
        const seconds = withinMs / 1000;
        throw new ServicesError(
          `${server.name} did not answer within ${seconds} s: ${problem.message}${tailOf(server.log)}`,
        );
      }
      await sleep(50);
    }
  }

  /** Ends every server and lets no other one start. Bounded in time. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await Promise.all([...this.#running].map(end));
  }
}

/** Ends a server with all its helpers, some of which live in process groups of their own. */
async function end({ child, pid, stopSignal }: Running): Promise<void> {
  const family = familyOf(pid);
  if (stopSignal !== 'SIGKILL') {
    child.kill(stopSignal);
    if (await gone(family, graceMs)) return;
  }
  for (const member of family.filter(isAlive)) kill(member);
  await gone(family, graceMs);
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It ended between the look and the signal.
  }
}

const systemPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** Makes the kernel end a server whose keeper is killed without a chance to do it; the data folder then stays behind. */
function tether(): string[] {
  const setpriv = program('setpriv');
  return setpriv ? [setpriv, '--pdeathsig', 'KILL', '--'] : [];
}

/** Undefined unless we are root: then everything runs as who we are. */
function systemUser(name: string): { uid: number; gid: number } | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const line = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .find((entry) => entry.startsWith(`${name}:`));
  if (!line) throw new ServicesError(`there is no system user "${name}", which the server must run as`);
  const [, , uid, gid] = line.split(':');
  return { uid: Number(uid), gid: Number(gid) };
}

/** Gives paths to the user that the server runs as. */
export function handOver(user: string, ...paths: string[]): void {
  const identity = systemUser(user);
  if (identity) for (const path of paths) chownSync(path, identity.uid, identity.gid);
}

/** An empty folder that only the server's user can read. */
export async function emptyFolder(user: string, path: string): Promise<string> {
  await rm(path, { recursive: true, force: true });
  mkdirSync(path, { mode: 0o700 });
  handOver(user, path);
  return path;
}

function tailOf(log: string): string {
  if (!existsSync(log)) return '';
  return `\n--- the end of ${basename(log)}:\n${lastLines(readFileSync(log, 'utf8'))}`;
}
