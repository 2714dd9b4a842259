/** The configurations of position biases and of short convolutions in attention layers: schemas, checks. */
import { z } from 'zod';
import { ConfigError, sizeUpTo } from '../core/index.js';
import { count } from './mixers/parts.js';
import { headGroups, type AttentionPlan, type LayerPlan } from './plan.js';

/** Schema of the section `model.positionBias`. */
export const positionBiasSchema = z.strictObject({
  width: sizeUpTo('width').describe('channels of the state by which each query head mixes the profiles of its layer'),
  extent: sizeUpTo('tokens').describe(
    'distances that have a bias, from 0, in layers that do not say otherwise (;bias=N)',
  ),
});

/** The resolved section `model.positionBias`. */
export type PositionBiasConfig = Readonly<z.output<typeof positionBiasSchema>>;

/** Schema of the section `model.shortConv`. */
export const shortConvSchema = z.strictObject({
  width: count.default(4).describe('tokens under each convolution, its own included'),
});

/** The resolved section `model.shortConv`. */
export type ShortConvConfig = Readonly<z.output<typeof shortConvSchema>>;

/** The distances from 0 that have a bias in a layer. */
export const biasExtent = ({ extent }: PositionBiasConfig, plan: AttentionPlan): number => plan.biasExtent ?? extent;

/** What these sections depend on. */
interface Surroundings {
  readonly layers: readonly LayerPlan[];
  readonly cca: object | null;
  readonly sinks: boolean;
  readonly attentionSoftcap: number | null;
}

/**
 * The sections themselves: `positionBias`, `shortConv`, `mlpFactor`.
 *
 * @throws ConfigError in one sentence where other parts of the model have no place for one of them
 */
export function checkAttentionParts<
  S extends {
    readonly positionBias: PositionBiasConfig | null;
    readonly shortConv: ShortConvConfig | null;
    readonly mlpFactor: boolean;
  },
>(given: S & Surroundings, where: string): Pick<S, 'positionBias' | 'shortConv' | 'mlpFactor'> {
  const { positionBias, shortConv, mlpFactor, layers, cca } = given;
  const refuse = (field: string, why: string): never => {
    throw new ConfigError(`${where}.${field} ${why}`, { details: { field } });
  };
  const shared = layers.some((plan) => plan.mixer === 'attention' && plan.shared === true);
  if (mlpFactor && shared) refuse('mlpFactor', 'has no place in shared blocks; leave it out, or take other layers');
  for (const [field, set] of [
    ['positionBias', positionBias !== null],
    ['shortConv', shortConv !== null],
  ] as const) {
    if (!set) continue;
    const other = layers.findIndex((plan) => plan.mixer !== 'attention' || plan.beside !== undefined);
    if (other >= 0) refuse(field, `needs attention in every layer, and layer ${other} has another mixer; leave it out`);
    const borrowed = layers.findIndex(
      (plan) => plan.mixer === 'attention' && (plan.keysOf !== undefined || plan.valuesAreKeys === true),
    );
    if (borrowed >= 0)
      refuse(field, `needs keys and values of its own in every layer, and layer ${borrowed} has not; leave it out`);
    if (cca !== null) refuse(field, 'does not go with cca; leave one of them out');
  }
  if (positionBias !== null) checkBias(given, (why) => refuse('positionBias', why));
  return { positionBias, shortConv, mlpFactor };
}

/** What a bias on scores does not go with. */
function checkBias({ layers, sinks, attentionSoftcap }: Surroundings, refuse: (why: string) => never): void {
  const plans = layers.filter((plan) => plan.mixer === 'attention');
  if (sinks || plans.some((plan) => plan.sinks === true)) refuse('does not go with sinks; leave one of them out');
  if (attentionSoftcap !== null) refuse('does not go with attentionSoftcap; leave one of them out');
  const groups = plans.flatMap(headGroups);
  if (groups.some(({ chunk }) => chunk !== undefined)) refuse('does not go with chunks of attention; use windows');
  if (groups.some(({ temperature }) => temperature !== undefined))
    refuse('does not go with temperatures; leave temp out');
}
