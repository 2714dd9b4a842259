/** Fields that findings of several analyses have, with their meanings. */
import { z } from 'zod';
import { field } from '../../core/index.js';

/** The version of a result. */
export const format = field(z.literal(1), 'version of the format');

/** How many texts were read. */
export const texts = field(z.number(), 'texts that were read', 'texts');

/** Which head. */
export const headIndex = {
  layer: field(z.number(), 'number of the layer, from 0'),
  head: field(z.number(), 'number of the head in its layer, from 0'),
};

const label = field(z.string(), 'the layer in the short form of patterns, such as `swa:128`');

/** Which layer. */
export const layerIndex = { layer: headIndex.layer, label };

/** Which head, and what it sees. */
export const attentionHead = {
  ...headIndex,
  label,
  window: field(z.number().nullable(), 'what a query sees, the own token included; null for full attention', 'keys'),
};

/** How well needle samples are answered. */
export const needleScore = z.object({
  accuracy: field(z.number(), 'samples whose answer is right, token for token, under greedy decoding', 'share'),
  low: field(z.number(), 'lower end of the 95 % interval of `accuracy`', 'share'),
  high: field(z.number(), 'its upper end', 'share'),
  probability: field(
    z.number(),
    "mean over samples of the geometric mean of the probabilities of the answer's tokens",
    'probability',
  ),
  samples: field(z.number(), 'samples', 'samples'),
});
