/** The kinds of data sources. A new kind is a definition in a file beside this one, and a line here. */
import { recallKind } from './recall.js';
import { shardsKind } from './shards.js';
import { textKind } from './text.js';

/** Every kind of data source, by its `kind` in a configuration. */
export const SOURCE_KINDS = {
  recall: recallKind,
  text: textKind,
  shards: shardsKind,
} as const;
