/** Recurrent mixers as layers of a model: from the definitions of `mixers/` to the rules that the model asks for. */
import { at, got, invariant, sizeOf } from '../core/index.js';
import { eq, rotary, rotaryAt, rotaryFrequencies, type Value } from '../graph/index.js';
import type { ModelConfig } from './config.js';
import { firstTokens } from './documents.js';
import type { Mixer, MixerScope } from './mixer.js';
import type { MixerPlace, ParamMaker, RecurrentDefinition, RecurrentScope, StateAccess } from './mixers/definition.js';
import { RECURRENT, type RecurrentMixer, type SectionName, type SectionOf } from './mixers/table.js';
import { ZEROS, type ParamInit, type ParamRole, type ParamSpec } from './mixers/spec.js';
import { convBiasInit, convInit, matrixInit } from './param-inits.js';
import { recurrentMixers, type LayerPlan, type PlanOf } from './plan.js';
import { chunkStates, wholeSequences } from './state-access.js';

/** The section of a mixer that the model uses. */
export function sectionOf<M extends SectionName>(config: ModelConfig, mixer: M): SectionOf<M> {
  const section = config[mixer];
  invariant(section, `a model with ${mixer} layers has no ${mixer} section`);
  return section as SectionOf<M>;
}

const sumOf = (widths: number | readonly number[]): number =>
  typeof widths === 'number' ? widths : widths.reduce((a, b) => a + b, 0);

/** Makes parameters of layer `layer`, named `layers.N.MIXER.NAME`. */
export function paramMaker(config: ModelConfig, mixer: SectionName, layer: number): ParamMaker {
  const spec = (name: string, shape: readonly number[], role: ParamRole, init: ParamInit): ParamSpec => ({
    name: `layers.${layer}.${mixer}.${name}`,
    shape,
    init,
    part: 'mixer',
    role,
    layer,
  });
  return {
    matrix: (name, fanIn, fanOut) => ({
      ...spec(name, [fanIn, sumOf(fanOut)], 'in', matrixInit(config, fanIn, false)),
      ...(typeof fanOut === 'number' ? {} : { columns: fanOut }),
    }),
    correction: (name, fanIn, rank, fanOut) => [
      spec(`${name}down`, [fanIn, rank], 'in', ZEROS),
      spec(`${name}up`, [rank, fanOut], 'in', { kind: 'normal', std: 0.1 / Math.sqrt(fanOut) }),
    ],
    output: (name, fanIn) => spec(name, [fanIn, config.hiddenSize], 'out', matrixInit(config, fanIn, true)),
    blocks: (name, count, fanIn, fanOut = fanIn) =>
      spec(name, [count, fanIn, fanOut], 'blocks', matrixInit(config, fanIn, false)),
    conv: (name, channels, width, bias) => [
      spec(`${name}.weight`, [channels, width], 'conv', convInit(config, width)),
      ...(bias ? [spec(`${name}.bias`, [channels], 'vector', convBiasInit(config, width))] : []),
    ],
    rates: (name, channels, states) => spec(name, [channels, states], 'vector', { kind: 'log-counting' }),
    vector: (name, size, init) => spec(name, typeof size === 'number' ? [size] : size, 'vector', init),
  };
}

/** Where a layer stands, for a mixer that it has. */
function placeOf({ layers, numLayers }: ModelConfig, layer: number, mixer: RecurrentMixer): MixerPlace {
  return { layer, numLayers, first: !layers.slice(0, layer).some((plan) => recurrentMixers(plan).includes(mixer)) };
}

/** The name that what layers with a mixer hand on has among everything that layers do. */
const handedName = (mixer: RecurrentMixer, name: string): string => `${mixer}.${name}`;

/** Whether a layer may read what an earlier one has handed on under a name. */
export const takesHanded = (plan: LayerPlan, name: string): boolean =>
  recurrentMixers(plan).some((mixer) => name.startsWith(handedName(mixer, '')));

/** What a mixer sees of its layer: its own parameters by their own names. What it hands on is put into `hands`. */
function scopeOf(scope: MixerScope, mixer: RecurrentMixer, hands: Record<string, Value>): RecurrentScope {
  const { config, layer, x, positions } = scope;
  const { first } = placeOf(config, layer, mixer);
  return {
    model: config,
    layer,
    numLayers: config.numLayers,
    x,
    inputMatrix: (name) => scope.inputMatrix(`${mixer}.${name}`),
    param: (name) => scope.param(`${mixer}.${name}`),
    starts: () =>
      scope.starts ??
      (positions === null ? firstTokens([at(x.shape, 0), at(x.shape, 1)], scope.segments) : eq(positions.values, 0)),
    fromFirst: (name, value) => {
      if (!first) return got(scope.handed, handedName(mixer, name));
      hands[handedName(mixer, name)] = value;
      return null;
    },
    rotate: (heads) => {
      const frequencies = rotaryFrequencies(at(heads.shape, 3), config.ropeTheta);
      if (positions === null) return rotary(heads, frequencies);
      return rotaryAt(heads, frequencies, positions.values, positions.limit);
    },
  };
}

/** The rules of a recurrent mixer from its definition. */
export function recurrentMixer<M extends RecurrentMixer>(mixer: M): Mixer<PlanOf<M>> {
  // Each definition is generic in its section; the table pairs them by name, which TypeScript cannot follow here.
  const definition = RECURRENT[mixer] as unknown as RecurrentDefinition<never, SectionOf<M>>;
  const sectionFor = (config: ModelConfig, { heads }: { readonly heads?: number | undefined }): SectionOf<M> => {
    const section = sectionOf(config, mixer);
    if (heads === undefined) return section;
    invariant(definition.withHeads !== undefined, `${mixer} has no heads that a layer could share out`);
    return definition.withHeads(section, heads);
  };
  return {
    params: (config, plan, layer) =>
      definition.params(
        paramMaker(config, mixer, layer),
        sectionFor(config, plan),
        config,
        placeOf(config, layer, mixer),
      ),
    sequenceFlops: (config, plan, seqLen) => definition.sequenceFlops(sectionFor(config, plan), seqLen),
    stateBytes: (config, plan, _length, elementBytes) =>
      definition.states(sectionFor(config, plan), config).reduce((n, { shape, exact }) => {
        return n + sizeOf(shape) * (exact ? Math.max(4, elementBytes) : elementBytes);
      }, 0),
    states: (config, plan, { batchSize, dtype }) =>
      definition.states(sectionFor(config, plan), config).map(({ name, shape, exact }) => ({
        name,
        shape: [batchSize, ...shape],
        dtype: exact && dtype === 'bf16' ? 'f32' : dtype,
      })),
    step: (scope, plan) => {
      const exact = new Map(
        definition.states(sectionFor(scope.config, plan), scope.config).map((s) => [s.name, s.exact]),
      );
      const { access, after } = chunkStates(scope, (name) => got(exact, name));
      const hands: Record<string, Value> = {};
      const out = definition.mix(scopeOf(scope, mixer, hands), sectionFor(scope.config, plan), access);
      return { out, hands, state: after };
    },
    build: (scope, plan) => {
      const [hands, whole]: [Record<string, Value>, StateAccess] = [{}, wholeSequences(scope.segments)];
      const out = definition.mix(scopeOf(scope, mixer, hands), sectionFor(scope.config, plan), whole);
      return { out, hands };
    },
  };
}
