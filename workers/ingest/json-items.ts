import type { Duplex } from 'node:stream';
import { MatcherError } from '@matcher/shared/errors.ts';
import type { Token } from 'stream-json/parser.js';
import streamArray from 'stream-json/streamers/stream-array.js';
import withParser from 'stream-json/utils/with-parser.js';

/**
 * From the text of a JSON array to its items as `{ value }`. Numbers stay the digits that were written: as doubles, amounts would be changed before
 * anybody saw them. An item is refused while it is being put together, before it fills the memory.
 *
 * @param maxItemBytes roughly: what counts are an item's characters and its signs.
 */
export function jsonItems(maxItemBytes: number): Duplex {
  const items = () => {
    const assemble = streamArray({ numberAsString: true });
    let row = 1;
    let size = 0;
    const bounded = (token: Token) => {
      // Texts, keys and numbers come in pieces and then as a whole; the pieces come first, so they are what counts.
      size += token.name === 'stringChunk' || token.name === 'numberChunk' ? token.value.length : 1;
      if (size > maxItemBytes) {
        throw new MatcherError('FILE_MALFORMED', `The file cannot be read: record ${row} is larger than 1 MiB`, {
          hint: 'A record holds one transaction; check that the file is an array of such.',
        });
      }
      const item = assemble(token);
      if (typeof item === 'object') {
        row++;
        size = 0;
      }
      return item;
    };
    // A streamer's type has a mark that none of them has when it runs.
    return bounded as typeof assemble;
  };
  return withParser.asStream(items, { packKeys: true });
}
