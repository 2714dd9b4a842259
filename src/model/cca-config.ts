/** The configuration of compressed convolutional attention: schema, checks. */
import { z } from 'zod';
import { ConfigError } from '../core/index.js';
import { count } from './mixers/parts.js';

/** Schema of the section `model.cca`. */
export const ccaSchema = z.strictObject({
  width: count.default(2).describe('tokens under the convolution of each channel, its own included'),
  headWidth: count.default(2).describe('tokens under the convolution of each head, its own included'),
});

/** The resolved section `model.cca`. */
export type CcaConfig = Readonly<z.output<typeof ccaSchema>>;

/** What the section depends on. */
interface Surroundings {
  readonly headDim: number;
  readonly qkNorm: unknown;
  /** Key/value heads of the attention layers. */
  readonly kvHeads: readonly number[];
}

/** The section itself; throws `ConfigError` where a model cannot have it. */
export function checkCca(
  cca: CcaConfig | null,
  { headDim, qkNorm, kvHeads }: Surroundings,
  where: string,
): CcaConfig | null {
  if (cca === null) return null;
  if (qkNorm !== false)
    throw new ConfigError(`${where}.cca normalizes queries and keys itself; leave qkNorm out`, { details: { qkNorm } });
  const odd = kvHeads.find((heads) => (heads * headDim) % 2 !== 0);
  if (odd === undefined) return cca;
  throw new ConfigError(
    `${where}.cca takes half of the ${odd * headDim} channels of values from the token before; make them even`,
    { details: { numKvHeads: odd, headDim } },
  );
}
