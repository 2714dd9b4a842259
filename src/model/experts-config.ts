/** The configuration of experts (mixture-of-experts MLPs): schema, defaults, checks. */
import { z } from 'zod';
import { ConfigError, LIMITS, realNumber, sizeUpTo } from '../core/index.js';

const groupsSchema = z.strictObject({
  count: sizeUpTo('heads').describe('groups of experts, of one size, in the order of the experts'),
  perToken: sizeUpTo('heads').describe('groups that a token may choose its experts from'),
  best: sizeUpTo('heads').default(2).describe('experts of a group whose scores add up to that of the group'),
});

const clampedSchema = z.strictObject({
  alpha: realNumber().positive().default(1.702).describe('factor on the gate in its sigmoid'),
  limit: realNumber().positive().default(7).describe('bound of gate (above) and of the other projection (both sides)'),
});

/** Schema of the section `model.experts`. */
export const expertsSchema = z.strictObject({
  count: sizeUpTo('heads').describe('experts of a layer'),
  perToken: sizeUpTo('heads').describe('experts that each token is sent to'),
  intermediateSize: sizeUpTo('width').describe('inner width of an expert'),
  scores: z
    .enum(['softmax', 'sigmoid', 'sparsemixer'])
    .default('softmax')
    .describe(
      "what makes scores of the router's logits: softmax over all experts, a sigmoid of each, or for each choice a softmax over those " +
        'that are left and near the best of them (sparsemixer, Phi-3.5-MoE)',
    ),
  jitter: realNumber()
    .nonnegative()
    .default(0.01)
    .describe('of sparsemixer: a logit is near the best where it is at most twice this share below it'),
  normalize: z
    .boolean()
    .default(true)
    .describe(
      "divide the weights of a token's experts by their sum; with softmax this is the softmax over the chosen experts' logits",
    ),
  normalizeEps: realNumber().nonnegative().default(0).describe('added to that sum'),
  scale: realNumber().default(1).describe('factor on the weights'),
  correctionBias: z
    .boolean()
    .default(false)
    .describe('a bias an expert on the scores, for the choice alone; it has no gradient'),
  correctionOf: z
    .enum(['scores', 'logits'])
    .default('scores')
    .describe("what that bias is added to for the choice: scores, or the router's logits"),
  logitSoftcap: realNumber()
    .positive()
    .nullable()
    .default(null)
    .describe("c tanh(logits / c) in place of the router's logits; null for none"),
  routerBias: z.boolean().default(false).describe("a bias of the router's projection"),
  routerSize: sizeUpTo('width')
    .nullable()
    .default(null)
    .describe(
      'width of a router with layers of its own: a projection, to which what the router before handed on is added times learned ' +
        'factors, a norm and two GELU layers before the logits; null for one projection',
    ),
  routerNorm: z
    .boolean()
    .default(false)
    .describe(
      'the router reads what stands before the norm of its layer, normed without weights, times a learned factor a channel and ' +
        '1 / sqrt(hiddenSize) (Gemma 4); false: it reads what experts read',
    ),
  weightScale: z.boolean().default(false).describe('a learned factor an expert on the weights'),
  besideMlp: z
    .boolean()
    .default(false)
    .describe(
      'the MLP stays beside the experts, which have a norm of their own; what each of the two gives is normed before they are ' +
        'added (Gemma 4; norm both only)',
    ),
  skip: realNumber()
    .nullable()
    .default(null)
    .describe(
      'one more choice, behind the experts, by which a token passes none of them (perToken 1 only): the bias on its score, for ' +
        'the choice alone; null for no such choice',
    ),
  groups: groupsSchema
    .nullable()
    .default(null)
    .describe('choice limited to the best groups of experts; null for a choice among all'),
  weigh: z
    .enum(['output', 'input'])
    .default('output')
    .describe('whether weights multiply what experts give, or what they read'),
  bias: z.boolean().default(false).describe('biases of each expert'),
  clamped: clampedSchema
    .nullable()
    .default(null)
    .describe(
      '(up + 1) gate sigmoid(alpha gate) with both clamped, in place of the activation; null for the activation',
    ),
  latentSize: sizeUpTo('width')
    .nullable()
    .default(null)
    .describe('width of a projection that experts read and write in place of the residual stream; null for none'),
  sharedSize: sizeUpTo('width')
    .nullable()
    .default(null)
    .describe('inner width of a shared expert, which every token passes; null for none'),
  sharedGate: z
    .boolean()
    .default(false)
    .describe('multiply the shared expert by a sigmoid of a projection of its input'),
  sharedScores: sizeUpTo('heads')
    .nullable()
    .default(null)
    .describe(
      'equal parts of the shared expert that the router scores too (Inkling): their scores join the sum that weights are divided by, ' +
        'and weigh what they give; null for a shared expert that no score weighs',
    ),
  dense: z
    .array(z.int().min(0))
    .max(LIMITS.layers.most)
    .default(() => [])
    .describe('layers, counted from 0, whose MLP has no experts'),
  balanceLoss: realNumber()
    .nonnegative()
    .default(0)
    .describe(
      'factor on the load-balancing loss in training: count times the sum over experts of their share of the tokens times their ' +
        'mean score (Switch, Mixtral), mean over layers; 0.01 is usual',
    ),
  routerZLoss: realNumber()
    .nonnegative()
    .default(0)
    .describe('factor on the mean square of the log-sum-exp of router logits in training (ST-MoE), mean over layers'),
});

/** Experts of a model, resolved. */
export type ExpertsConfig = Readonly<z.output<typeof expertsSchema>>;

/** The model's other settings that experts depend on. */
interface Surroundings {
  readonly numLayers: number;
  readonly activation: string;
  readonly mlpGate: boolean;
}

/**
 * Checks experts against one another and the rest of the model.
 *
 * @param where what the section is called in messages
 * @throws ConfigError in one sentence
 */
export function checkExperts(experts: ExpertsConfig, model: Surroundings, where: string): ExpertsConfig {
  const wrong = problemOf(experts, model);
  if (wrong !== null) throw new ConfigError(`${where}${wrong}`, { details: { experts } });
  return { ...experts, dense: [...new Set(experts.dense)].sort((a, b) => a - b) };
}

function problemOf(experts: ExpertsConfig, { numLayers, activation, mlpGate }: Surroundings): string | null {
  const {
    count,
    perToken,
    groups,
    clamped,
    sharedGate,
    sharedSize,
    dense,
    skip,
    scores,
    correctionBias,
    routerSize,
    routerBias,
    routerNorm,
    weightScale,
    normalize,
    sharedScores,
  } = experts;
  // What excludes something else comes first, so that counts are judged of experts that can be.
  if (scores === 'sparsemixer' && (groups !== null || correctionBias || skip !== null))
    return '.scores sparsemixer goes with no groups, correctionBias or skip; leave them out';
  if (skip !== null && perToken !== 1) return `.skip needs perToken 1, not ${perToken}`;
  if (skip !== null && groups !== null) return '.skip has no group; leave groups out';
  if (routerSize !== null && routerBias) return '.routerBias has no place in a router with layers of its own';
  if (routerSize !== null && routerNorm) return '.routerNorm has no place in a router with layers of its own';
  if (weightScale && (scores === 'sparsemixer' || skip !== null))
    return '.weightScale goes with neither scores sparsemixer nor skip; leave it out';
  if (sharedScores !== null) {
    if (sharedSize === null || sharedSize % sharedScores !== 0)
      return `.sharedScores ${sharedScores} needs a sharedSize that is a multiple of it, not ${sharedSize}`;
    if (scores !== 'sigmoid' || !normalize || experts.weigh !== 'output')
      return '.sharedScores needs scores sigmoid, normalize true and weigh output';
    if (skip !== null || weightScale || sharedGate || routerSize !== null)
      return '.sharedScores goes with no skip, weightScale, sharedGate or routerSize; leave them out';
  }
  if (perToken > count) return `.perToken ${perToken} is more than the ${count} experts; use ${count} or fewer`;
  if (groups !== null) {
    const size = count / groups.count;
    if (!Number.isInteger(size)) {
      return `.groups.count ${groups.count} does not divide the ${count} experts; use a divisor of ${count}`;
    }
    if (groups.perToken > groups.count)
      return `.groups.perToken ${groups.perToken} is more than the ${groups.count} groups; use ${groups.count} or fewer`;
    if (groups.best > size)
      return `.groups.best ${groups.best} is more than the ${size} experts of a group; use ${size} or fewer`;
    if (groups.perToken * size < perToken) {
      return `.perToken ${perToken} is more than the ${groups.perToken * size} experts of ${groups.perToken} groups; use more groups or fewer experts`;
    }
  }
  if (clamped !== null && !mlpGate) return '.clamped needs a gate; set mlpGate to true or leave clamped out';
  if (clamped === null && activation === 'xielu') return ' cannot have activation xielu, which learns; use another';
  if (sharedGate && sharedSize === null) return '.sharedGate needs a shared expert; give sharedSize';
  const outside = dense.find((layer) => layer >= numLayers);
  if (outside !== undefined)
    return `.dense has layer ${outside}, and the layers are 0 to ${numLayers - 1}; leave it out`;
  return null;
}

/** What a token may be sent to: the experts, and none of them where that is a choice. */
export const choicesOf = ({ count, skip }: Pick<ExpertsConfig, 'count' | 'skip'>): number =>
  count + Number(skip !== null);

/** The experts of a layer; null where its MLP has none. */
export function expertsOf(
  { experts }: { readonly experts: ExpertsConfig | null },
  layer: number,
): ExpertsConfig | null {
  return experts === null || experts.dense.includes(layer) ? null : experts;
}
