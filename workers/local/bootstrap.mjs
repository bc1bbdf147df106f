// Runs a script of this repository on the pinned Node, on a fresh clone too:
//
//   node workers/local/bootstrap.mjs SCRIPT.ts ARGUMENTS...
//
// Plain JavaScript that needs nothing installed: it is what installs. Node 20 runs it; older versions still get as far as
// the message that says so, which is why the syntax is modest.
import { spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, writeSync } from 'node:fs';
import { constants } from 'node:os';
import { delimiter, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
const lock = join(root, '.matcher', 'install.lock');
const pinnedNode = join(root, 'node_modules', '.bin', 'node');

/** npm writes what it has installed as the last step of an installation, so a broken one does not pass. */
function isInstalled() {
  const installedFile = join(root, 'node_modules', '.package-lock.json');
  if (!existsSync(installedFile) || !existsSync(pinnedNode)) return false;
  const wanted = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')).packages;
  const installed = JSON.parse(readFileSync(installedFile, 'utf8')).packages;
  const { '': _project, ...packages } = wanted;
  return (
    Object.keys(installed).every((path) => path in packages) &&
    Object.entries(packages).every(([path, entry]) =>
      // Optional packages are those of other platforms.
      path in installed ? installed[path].version === entry.version : entry.optional === true,
    )
  );
}

async function install() {
  const release = await takeLock();
  try {
    if (isInstalled()) return;
    process.stderr.write('installing dependencies (npm ci)\n');
    const npm = npmCommand();
    const child = spawn(npm[0], [...npm.slice(1), 'ci', '--no-audit', '--no-fund', '--no-progress'], {
      cwd: root,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    release.alsoHeldBy(child.pid);
    const output = [];
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => output.push(chunk));
    const forwarding = forwardSignals(child);
    const { status, signal, error } = await end(child);
    forwarding.stop();
    if (signal || forwarding.last) leave(128 + constants.signals[signal || forwarding.last]);
    if (status === 0 && isInstalled()) return;
    process.stderr.write(Buffer.concat(output));
    const reason = error ? `npm could not be started: ${error.message}` : `npm ci ended with status ${status}`;
    process.stderr.write(`${reason}; see above. Nothing was run.\n`);
    leave(1);
  } finally {
    release.now();
  }
}

/** The npm that called us, else the one on PATH. */
function npmCommand() {
  const script = process.env.npm_execpath;
  return script && /npm-cli\.c?js$/.test(script) ? [process.execPath, script] : ['npm'];
}

/**
 * One installation at a time. The lock names the processes that hold it; it is void when all of them are dead. npm is one of
 * them because it goes on for a while when only its caller is killed.
 */
async function takeLock() {
  mkdirSync(dirname(lock), { recursive: true });
  for (let waited = 0; ; waited += 100) {
    try {
      const file = openSync(lock, 'wx');
      writeSync(file, `${process.pid}\n`);
      const now = () => rmSync(lock, { force: true });
      process.once('exit', now);
      return {
        alsoHeldBy: (pid) => pid && writeSync(file, `${pid}\n`),
        now: () => {
          process.off('exit', now);
          closeSync(file);
          now();
        },
      };
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
    }
    if (waited === 500) process.stderr.write('waiting for another installation of the dependencies\n');
    if (isVoid(lock)) removeVoidLock();
    await new Promise((done) => setTimeout(done, 100));
  }
}

function isVoid(file) {
  try {
    const holders = readFileSync(file, 'utf8').split('\n').filter(Boolean).map(Number);
    // Without a holder yet, it was created a moment ago.
    return holders.length > 0 && !holders.some(isAlive);
  } catch {
    return false;
  }
}

/** Renaming first makes sure that, of several that wait, nobody removes a lock that another one has just taken. */
function removeVoidLock() {
  const aside = `${lock}.${process.pid}`;
  try {
    renameSync(lock, aside);
    if (isVoid(aside)) rmSync(aside);
    else renameSync(aside, lock);
  } catch (error) {
    if (error.code !== 'ENOENT') throw error;
  }
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

/**
 * The child is in a process group of its own and gets signals from us alone. In ours, one Ctrl-C would reach it from the
 * terminal, from us, and through npm from us again, and a second one usually means "stop at once, clean up nothing".
 */
function forwardSignals(child) {
  const forwarding = { last: undefined, at: 0, stop: () => {} };
  const forward = (signal) => {
    const repeated = signal === forwarding.last && Date.now() - forwarding.at < 500;
    forwarding.last = signal;
    forwarding.at = Date.now();
    if (!repeated) child.kill(signal);
  };
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'];
  for (const signal of signals) process.on(signal, forward);
  forwarding.stop = () => {
    for (const signal of signals) process.off(signal, forward);
  };
  return forwarding;
}

function end(child) {
  return new Promise((done) => {
    child.once('error', (error) => done({ status: 1, signal: null, error }));
    child.once('close', (status, signal) => done({ status, signal }));
  });
}

async function run(script, args) {
  // When we are killed without a chance to forward anything, the kernel tells the script in our place.
  const tether = which('setpriv') ? ['setpriv', '--pdeathsig', 'TERM', '--'] : [];
  const command = [...tether, pinnedNode, resolve(root, script), ...args];
  const child = spawn(command[0], command.slice(1), {
    cwd: root,
    stdio: 'inherit',
    detached: true,
    env: { ...process.env, MATCHER_CALLER_CWD: callerFolder() },
  });
  forwardSignals(child);
  const { status, signal, error } = await end(child);
  if (error) process.stderr.write(`${command[0]} could not be started: ${error.message}\n`);
  leave(signal ? 128 + constants.signals[signal] : status);
}

function which(name) {
  return (process.env.PATH || '').split(delimiter).some((folder) => existsSync(join(folder, name)));
}

/** Where the user typed the command, for file names given relative to it: npm changes to the root first. */
function callerFolder() {
  return (process.cwd() === root && process.env.INIT_CWD) || process.cwd();
}

function leave(status) {
  process.exit(status);
}

const [script, ...args] = process.argv.slice(2);
if (Number(process.versions.node.split('.')[0]) < 20) {
  process.stderr.write(`Node ${process.versions.node} is too old: this needs Node 20 or newer to install the rest\n`);
  leave(1);
} else if (!script) {
  process.stderr.write('usage: node workers/local/bootstrap.mjs SCRIPT.ts [ARGUMENTS...]\n');
  leave(2);
} else {
  if (!isInstalled()) await install();
  await run(script, args);
}
