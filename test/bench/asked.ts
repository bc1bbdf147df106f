/** The size that the command line asks for by `--records N` or `--tenants N`, or the one that the bench is about. */
export function asked(what: 'records' | 'tenants', initial: number): number {
  const at = process.argv.indexOf(`--${what}`);
  return at < 0 ? initial : Number(process.argv[at + 1]);
}
