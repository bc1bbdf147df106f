import { lastLines, runCommand } from '../../workers/local/services/commands.ts';
import { program, systemPython } from '../../workers/local/services/packages.ts';

const whatToDo =
  'sudo apt-get install python3-pika (Debian, Ubuntu), or pip install pika for the python3 of this machine';

/** The lock of the services' own installations: two at a time would get into each other's way. */
const install = `exec 9>/run/matcher-packages.lock && flock 9
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq || echo 'apt-get update failed: trying with the package lists that are there' >&2
apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0 python3-pika`;

/**
 * A Python that has pika, installed when it is missing.
 *
 * @returns `undefined`, after saying so, where nothing can be installed.
 * @throws Error when it could be installed and was not.
 */
export async function pythonWithPika(): Promise<string | undefined> {
  for (const python of [systemPython(), program('python3')]) {
    if (python && (await hasPika(python))) return python;
  }
  const asRoot = process.getuid?.() === 0 ? [] : ['sudo', '-n'];
  const mayInstall =
    process.platform === 'linux' &&
    program('apt-get') !== undefined &&
    (asRoot.length === 0 || (await runCommand('sudo', ['-n', 'true'])).code === 0);
  if (!mayInstall) {
    process.stderr.write(`the Python example is not tested, since pika can't be installed here: ${whatToDo}\n`);
    return undefined;
  }
  const [command = 'sh', ...args] = [...asRoot, 'sh', '-c', install];
  const { output } = await runCommand(command, args);
  const python = systemPython();
  if (python && (await hasPika(python))) return python;
  throw new Error(`apt-get could not install python3-pika:\n${lastLines(output)}\n\n${whatToDo}`);
}

async function hasPika(python: string): Promise<boolean> {
  return (await runCommand(python, ['-c', 'import pika'])).code === 0;
}
