/**
 * Other positions at inference, the trained weights as they are: what a model does beyond the length that it was
 * trained on. Heads change that see farther than that length; windows within it meet no distance that is new to them,
 * and keep their positions.
 */
import { ConfigError } from '../core/index.js';
import {
  headGroups,
  resolveModelConfig,
  type HeadGroup,
  type LayerPlan,
  type LocalRope,
  type ModelConfig,
  type RopeScaling,
} from '../model/index.js';

/**
 * A change of positions or of the temperature of attention. `log`: scores times `s ln n` over n visible keys, s fixed,
 * as in layers of `temp=log` (Nakanishi 2025, arXiv 2501.19399). `grow`: queries times `1 + ln(1 + floor(p / T)) /
 * ln T` at position p, T being the length trained on, which changes nothing below it (the law of Llama 4).
 */
export type PositionVariant =
  | { readonly kind: 'base'; readonly theta: number }
  | { readonly kind: 'yarn'; readonly factor: number }
  | { readonly kind: 'temperature'; readonly law: TemperatureLaw };

/** Temperatures that can be laid over layers without positions. */
export const TEMPERATURE_LAWS = ['log', 'grow'] as const;
/** A temperature that can be laid over layers without positions. */
export type TemperatureLaw = (typeof TEMPERATURE_LAWS)[number];

/** What tables and figures call a variant. */
export function variantName(variant: PositionVariant): string {
  switch (variant.kind) {
    case 'base':
      return `base ${variant.theta}`;
    case 'yarn':
      return `YaRN ${variant.factor}`;
    case 'temperature':
      return `temperature ${variant.law}`;
  }
}

/** Whether queries of a group meet keys that stand farther back than `trained` tokens let them in training. */
const seesBeyond = ({ window, chunk }: HeadGroup, trained: number): boolean =>
  (window ?? Infinity) > trained && (chunk ?? Infinity) > trained;

/**
 * The same model with other positions in the heads that see farther than `trained` tokens.
 *
 * @throws ConfigError if the model has no such heads that the variant could change, or cannot say what it asks for
 */
export function varyPositions(model: ModelConfig, variant: PositionVariant, trained: number): ModelConfig {
  const wants = ({ rope }: HeadGroup) => (variant.kind === 'temperature') === (rope === false);
  const isChanged = (group: HeadGroup) => wants(group) && seesBeyond(group, trained);
  const groups = model.layers.flatMap(headGroups);
  if (!groups.some(isChanged)) {
    const what = variant.kind === 'temperature' ? 'without rotary positions (NoPE)' : 'with rotary positions';
    throw new ConfigError(
      `the model has no heads ${what} that see farther than ${trained} tokens, so that ${variantName(variant)} ` +
        'would change nothing; leave it out',
    );
  }
  checkSharedKeys(model.layers, isChanged, variant);
  const varied = { ...model, ...changesOf(model, variant, { trained, isChanged, groups }) };
  resolveModelConfig(varied, variantName(variant));
  return varied;
}

/** Throws `ConfigError` where a layer would read keys that were turned otherwise than its queries. */
function checkSharedKeys(
  layers: readonly LayerPlan[],
  isChanged: (group: HeadGroup) => boolean,
  variant: PositionVariant,
): void {
  if (variant.kind === 'temperature') return;
  const changes = (plan: LayerPlan | undefined) => plan !== undefined && headGroups(plan).some(isChanged);
  const layer = layers.findIndex(
    (plan) => plan.mixer === 'attention' && plan.keysOf !== undefined && changes(layers[plan.keysOf]) !== changes(plan),
  );
  if (layer < 0) return;
  throw new ConfigError(
    `layer ${layer} reads the keys of another, of which ${variantName(variant)} would turn one and not the other; leave it out`,
  );
}

interface Scope {
  readonly trained: number;
  readonly isChanged: (group: HeadGroup) => boolean;
  /** The heads of all layers. */
  readonly groups: readonly HeadGroup[];
}

function changesOf(model: ModelConfig, variant: PositionVariant, scope: Scope): Partial<ModelConfig> {
  const { trained, isChanged, groups } = scope;
  switch (variant.kind) {
    case 'base':
      return changed(model, isChanged, (group) => ({ ...group, ropeTheta: variant.theta }));
    case 'yarn': {
      const { factor } = variant;
      const ramp = { betaFast: 32, betaSlow: 1, truncate: true };
      const ropeScaling: RopeScaling = { type: 'yarn', factor, originalLength: trained, ...ramp };
      return { ...keptWindows(model, scope), ropeScaling };
    }
    case 'temperature': {
      if (groups.some((group) => isChanged(group) && group.temperature !== undefined)) {
        throw new ConfigError(`layers without positions have a temperature already; leave ${variantName(variant)} out`);
      }
      if (model.positionBias !== null) {
        throw new ConfigError(
          `${variantName(variant)} does not go with positions as a bias of each query (positionBias); leave it out`,
        );
      }
      if (variant.law === 'log') return changed(model, isChanged, (group) => ({ ...group, temperature: 'log' }));
      if (trained === 1) {
        throw new ConfigError(
          `${variantName(variant)} divides by the logarithm of the length trained on, which is 0 for 1 token; name a longer one or leave it out`,
        );
      }
      if (model.queryScaling !== null || groups.some((group) => group.rope === false && !isChanged(group))) {
        throw new ConfigError(
          `${variantName(variant)} changes all queries without positions, and the model has some that grow already or see no ` +
            `farther than ${trained} tokens; leave it out`,
        );
      }
      return { queryScaling: { beta: 1 / Math.log(trained), length: trained, nope: true } };
    }
  }
}

/** The layers of a model with some of its heads changed. */
function changed(
  { layers }: Pick<ModelConfig, 'layers'>,
  isChanged: (group: HeadGroup) => boolean,
  change: (group: HeadGroup) => HeadGroup,
): Pick<ModelConfig, 'layers'> {
  const own = (group: HeadGroup) => (isChanged(group) ? change(group) : group);
  return {
    layers: layers.map((plan): LayerPlan => {
      return plan.mixer === 'attention' || plan.mixer === 'mla' ? { ...plan, groups: plan.groups.map(own) } : plan;
    }),
  };
}

/**
 * What keeps the positions of heads as they are once those of the model are scaled: heads that turn as the model says
 * turn as `localRope` says, which takes the model's own base and scaling.
 */
function keptWindows(model: ModelConfig, { isChanged, groups }: Scope): Partial<ModelConfig> {
  const fail = (why: string): never => {
    throw new ConfigError(`YaRN cannot be laid over the model: ${why}; leave it out`);
  };
  if (model.ropeScaling !== null) fail(`its rotary positions are scaled already (${model.ropeScaling.type})`);
  if (groups.some((group) => isChanged(group) && group.rope === 'local')) fail('full layers have local positions');
  const isKept = (group: HeadGroup) => group.rope === true && !isChanged(group);
  if (!groups.some(isKept)) return {};
  if (model.localRope !== null) fail('its windows have positions of two kinds');
  const localRope: LocalRope = { theta: model.ropeTheta, scaling: null };
  return { localRope, ...changed(model, isKept, (group) => ({ ...group, rope: 'local' })) };
}
