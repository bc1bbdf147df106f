/** Divides the records of one side into parts, one after the other, each with its own count. */
export interface Layout<Part extends string> {
  total: number;
  count(part: Part): number;
  /** The index at which a part begins. */
  start(part: Part): number;
  /** Which part an index falls into, and which record of that part it is, from 0. */
  locate(index: number): { part: Part; offset: number };
}

export function createLayout<Part extends string>(counts: Readonly<Record<Part, number>>): Layout<Part> {
  const parts: { part: Part; start: number; count: number }[] = [];
  let total = 0;
  for (const part of Object.keys(counts) as Part[]) {
    const count = counts[part];
    if (count < 0) throw new RangeError(`The part ${part} would have ${count} records.`);
    parts.push({ part, start: total, count });
    total += count;
  }
  const find = (part: Part) => {
    const found = parts.find((candidate) => candidate.part === part);
    if (found === undefined) throw new RangeError(`There is no part ${part}.`);
    return found;
  };
  return {
    total,
    count: (part) => find(part).count,
    start: (part) => find(part).start,
    locate(index) {
      const found = parts.find((candidate) => index >= candidate.start && index < candidate.start + candidate.count);
      if (found === undefined) throw new RangeError(`There is no record ${index} among ${total}.`);
      return { part: found.part, offset: index - found.start };
    },
  };
}
