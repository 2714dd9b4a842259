/** What engines do with composites: keep some for kernels of theirs, expand the others. */
import type { CompositeOp, OpName } from '../../graph/index.js';

/** What an engine does with each composite: `null` where it is expanded, else what it needs to know of its kernel. */
export type CompositeTable<T> = { readonly [K in CompositeOp]: T | null };

/** The ops that an engine with such a table has to have a rule for: primitives, and composites that it keeps. */
export type RuledOp<T extends CompositeTable<unknown>> = Exclude<
  OpName,
  'input' | { [K in CompositeOp]: T[K] extends null ? K : never }[CompositeOp]
>;
