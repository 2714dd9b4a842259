/**
 * Shared blocks (Zamba, Glorioso et al. 2024): attention and an MLP whose weights several layers use. A block reads the
 * residual stream beside the embedding; what it gives goes through a matrix of the layer's own and is added to what the
 * layer's recurrent mixer reads.
 */
import { z } from 'zod';
import { ConfigError, sizeUpTo } from '../core/index.js';
import type { CcaConfig } from './cca-config.js';
import { isShared, type LayerPlan } from './plan.js';

const rank = (of: string) =>
  sizeUpTo('width')
    .nullable()
    .default(null)
    .describe(`width of a low-rank product that each use adds to the ${of} of its block; null for none`);

/** The section `model.shared`. */
export const sharedSchema = z.strictObject({
  blocks: sizeUpTo('layers').default(1).describe('how many blocks there are, which the layers use in turn'),
  attentionRank: rank('queries, keys and values'),
  mlpRank: rank('input projection of the MLP'),
});

/** The resolved section `model.shared`. */
export type SharedConfig = Readonly<z.output<typeof sharedSchema>>;

/** What a shared block depends on beside its section. */
interface SharedModel {
  readonly layers: readonly LayerPlan[];
  readonly cca: CcaConfig | null;
}

/**
 * The section of a model whose layers use shared blocks, defaults filled in; null where none does.
 *
 * @throws ConfigError if there are more blocks than uses, or other parts of the model do not go with them
 */
export function resolveShared(given: SharedConfig | null, { layers, cca }: SharedModel, where: string) {
  const uses = layers.filter(isShared).length;
  if (uses === 0) return null;
  const section = given ?? sharedSchema.parse({});
  if (section.blocks > uses) {
    throw new ConfigError(
      `${where}.shared: ${section.blocks} blocks for ${uses} layers that use one; give at most ${uses}`,
      { details: { blocks: section.blocks, uses } },
    );
  }
  if (cca !== null) {
    throw new ConfigError(
      `${where}: shared blocks have plain projections to queries, keys and values; leave cca out, or take other layers`,
    );
  }
  return section;
}
