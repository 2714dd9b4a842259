/**
 * Multi-head latent attention as layers of a model: whole sequences meet expanded keys and values, and generation keeps
 * latents and shared rotary keys.
 *
 * Shape letters: B sequences, T tokens, n tokens of a chunk, S entries of the cache, H heads, C latentRank, N nopeDim,
 * R ropeDim, V valueDim.
 */
import { at, dims, invariant } from '../core/index.js';
import { concat, convert, mul, reshape, sliceAxis, transpose, type Value } from '../graph/index.js';
import { attendWindows, meanGroupKeys } from './attention.js';
import { mixBranches } from './branches.js';
import { headGates, turn } from './attention-heads.js';
import { attend, cacheShape, extended, type AttendInputs, type SeenEntries } from './cached-attention.js';
import type { ModelConfig } from './config.js';
import type { Mixer, MixerOutput, MixerScope, StepOutput, StepScope } from './mixer.js';
import { affine, twoParts } from './mixers/linear.js';
import { mlaKeptDim, mlaKeyDim, mlaMixer, type MlaConfig, type MlaParts, type MlaScope } from './mixers/mla.js';
import type { HeadGroup, MlaPlan } from './plan.js';
import { scaleQueries } from './query-scaling.js';
import { temperatureParams, temperQueries } from './temperature.js';
import { paramMaker, sectionOf } from './recurrent.js';
import { checkCached, checkPacked, latentRotary } from './rope.js';
import { noTap } from './tap.js';

/** The name of the state that holds latents and shared keys. */
const LATENTS = 'latents';

function groupOf({ groups }: MlaPlan): HeadGroup {
  const [group] = groups;
  invariant(group !== undefined && groups.length === 1, 'latent attention has one group of all heads');
  return group;
}

/** What latent attention sees of its layer: its own parameters by their own names. */
function scopeOf(scope: MixerScope): MlaScope {
  return {
    model: scope.config,
    x: scope.x,
    inputMatrix: (name) => scope.inputMatrix(`mla.${name}`),
    param: (name) => scope.param(`mla.${name}`),
  };
}

/** Queries and what is kept of each token, with their positions. */
interface Positioned extends AttendInputs {
  /** `[B,T,C]`, normalized. */
  readonly latent: Value;
  /** `[B,T,R]`. */
  readonly shared: Value;
}

/** The parameter of learned temperatures. */
const TEMPERATURE = 'mla.temperature';

function positioned(scope: MixerScope, section: MlaConfig, group: HeadGroup): Positioned {
  const { config, positions } = scope;
  const { nopeDim: N, ropeDim: R } = section;
  const { q, latent, shared } = mlaMixer.project(scopeOf(scope), section, partsOf(config));
  const [B, T] = dims(q, 2);
  if (scope.segments !== null) checkPacked(config, [group], T);
  const rotary = latentRotary(config, section, group, positions?.limit ?? T);
  const sinks = config.sinks ? scope.param('mla.sinks') : null;
  const common = { latent, sinks, bias: null, scale: rotary.scoreScale, softcap: config.attentionSoftcap };
  const scale = (x: Value, turned: boolean) =>
    temperQueries(scaleQueries(x, scope, { ...group, rope: turned }), scope, [group], 0, TEMPERATURE);
  if (rotary.frequencies === null) return { ...common, q: scale(q, false), shared };
  const [own, turning] = twoParts(q, N, R);
  const turned = turn(turning, rotary, scope);
  const scaled = rotary.queryFactor === 1 ? turned : mul(turned, rotary.queryFactor);
  return {
    ...common,
    q: scale(concat([own, scaled], 3), true),
    shared: reshape(turn(reshape(shared, [B, T, 1, R]), rotary, scope), [B, T, R]),
  };
}

/** What is added to the residual stream, from the outputs of the heads `[B,T,H,V]`. */
function leave(scope: MixerScope, heads: Value): Value {
  const { config, param } = scope;
  const [B, T, H, V] = dims(heads, 4);
  const gated =
    config.outputGate === false ? heads : mul(heads, headGates(scope, H, scope.inputMatrix('mla.wgate'), 'mla.bgate'));
  return affine(reshape(gated, [B, T, H * V]), param('mla.wo'), partsOf(config).outputBias ? param('mla.bo') : null);
}

function build(scope: MixerScope, plan: MlaPlan): MixerOutput {
  const { config, layer, segments, tap = noTap } = scope;
  const [section, group] = [sectionOf(config, 'mla'), groupOf(plan)];
  const { q, latent, shared, scale, softcap, sinks } = positioned(scope, section, group);
  const { k, v } = mlaMixer.expand(scopeOf(scope), section, latent, shared);
  const site = { layer, firstHead: 0, heads: config.numHeads };
  const queries = tap({ kind: 'queries', ...site }, tap({ kind: 'layerQueries', layer }, q));
  const inputs = { q: queries, k: tap({ kind: 'layerKeys', layer }, k), v, segments };
  const law = { scale, softcap, sinks, bias: null };
  const out = mixBranches(scope, group, (windows) => attendWindows(inputs, windows, law));
  return { out: leave(scope, tap({ kind: 'heads', ...site }, out)) };
}

/**
 * Whether n queries meet S entries with fewer products where all latents are expanded to keys and values, as for chunks
 * of prompts, than where queries and outputs go over to the latents, as for single tokens.
 */
function expandsFor(n: number, S: number, { latentRank: C, nopeDim: N, ropeDim: R, valueDim: V }: MlaConfig): boolean {
  const projected = C * (N + V);
  return S * projected + n * S * (N + R + V) < n * projected + n * S * (2 * C + R);
}

/** The heads' outputs `[B,n,H,V]` on kept entries `[B,1,S,C+R]`, latents and shared keys. */
function attendLatents(
  scope: MlaScope,
  section: MlaConfig,
  inputs: AttendInputs,
  kept: Value,
  seen: SeenEntries,
): Value {
  const entries = convert(kept, inputs.q.dtype);
  const { latentRank: C, nopeDim: N, ropeDim: R } = section;
  const [B, , S] = dims(entries, 3);
  const n = at(inputs.q.shape, 1);
  if (expandsFor(n, S, section)) {
    const flat = reshape(entries, [B, S, C + R]);
    const [latent, shared] = twoParts(flat, C, R);
    const { k, v } = mlaMixer.expand(scope, section, latent, shared);
    const headsFirst = (x: Value) => transpose(x, [0, 2, 1, 3]);
    return attend(inputs, headsFirst(k), headsFirst(v), seen);
  }
  const [own, turning] = twoParts(inputs.q, N, R);
  const q = concat([mlaMixer.absorb(scope, own), turning], 3);
  return mlaMixer.release(scope, attend({ ...inputs, q }, entries, sliceAxis(entries, 3, 0, C), seen));
}

function step(scope: StepScope, plan: MlaPlan): StepOutput {
  const [section, group] = [sectionOf(scope.config, 'mla'), groupOf(plan)];
  const { latent, shared, ...inputs } = positioned(scope, section, group);
  const [B, n] = dims(latent, 2);
  const chunk = reshape(concat([latent, shared], 2), [B, n, 1, mlaKeptDim(section)]);
  const { entries, seen, cache } = extended(scope.state(LATENTS), chunk, scope.place, group.window);
  const out = attendLatents(scopeOf(scope), section, inputs, entries, seen);
  return { out: leave(scope, out), state: { [LATENTS]: cache } };
}

const partsOf = ({ attentionBias: bias, sinks, outputGate, outputGateBias }: ModelConfig): MlaParts => ({
  latentBias: bias === 'qkv' || bias === 'all',
  outputBias: bias === 'output' || bias === 'all',
  sinks,
  outputGate,
  outputGateBias,
});

/** Latent attention as a mixer: parameters, FLOPs, cache of latents, and the forward pass of sequences and chunks. */
export const mlaRules: Mixer<MlaPlan> = {
  params: (config, plan, layer) => [
    ...mlaMixer.params(paramMaker(config, 'mla', layer), sectionOf(config, 'mla'), config, partsOf(config)),
    ...temperatureParams(plan, `layers.${layer}.${TEMPERATURE}`, { layer }),
  ],
  sequenceFlops: (config, plan, seqLen) => {
    const section = sectionOf(config, 'mla');
    const perKey = 2 * config.numHeads * (mlaKeyDim(section) + section.valueDim);
    return perKey * meanGroupKeys(groupOf(plan), seqLen);
  },
  stateBytes: (config, plan, length, elementBytes) => {
    const { window } = groupOf(plan);
    const kept = window === null ? length : Math.min(window, length);
    return elementBytes * mlaKeptDim(sectionOf(config, 'mla')) * kept;
  },
  build,
  states: (config, plan, room) => {
    checkCached(config, plan, room.maxLength);
    const shape = cacheShape(groupOf(plan).window, 1, mlaKeptDim(sectionOf(config, 'mla')), room);
    return [{ name: LATENTS, shape, dtype: room.dtype }];
  },
  step,
};
