/** Experts as plain loops in float64, one token at a time: routers, who is chosen, and what the chosen ones give. */
import type { ExpertsConfig, ModelConfig } from '../../../src/model/index.js';
import { ACTIVATIONS, dotOf, normed, nth, times } from './plain-parts.js';

/** The logits of a router for one token, and what it hands on. */
export function plainRouter(
  config: ModelConfig,
  experts: ExpertsConfig,
  { x, before: stream }: { readonly x: readonly number[]; readonly before: readonly number[] },
  numbers: (name: string) => Float64Array,
  before: readonly number[] | null,
): { logits: number[]; state: number[] | null } {
  const { routerSize: R } = experts;
  const choices = experts.count + Number(experts.skip !== null) + (experts.sharedScores ?? 0);
  const plus = (v: readonly number[], bias: ArrayLike<number>) => v.map((y, i) => y + (bias[i] ?? NaN));
  const project = (v: readonly number[], name: string, n: number) => times(v, nth(numbers(`w${name}`), 0, v.length, n));
  if (R === null) {
    const read = experts.routerNorm
      ? normed(stream, numbers('routerscale'), config.rmsNormEps).map((v) => v / Math.sqrt(config.hiddenSize))
      : x;
    const logits = project(read, 'router', choices);
    return { logits: experts.routerBias ? plus(logits, numbers('brouter')) : logits, state: null };
  }
  const own = plus(project(x, 'routerin', R), numbers('brouterin'));
  const factors = before === null ? null : numbers('routerskip');
  const state = own.map((v, i) => v + (factors === null ? 0 : (before?.[i] ?? NaN) * (factors[i] ?? NaN)));
  const gelu = (v: number) => ACTIVATIONS.gelu(v, () => NaN);
  let y = normed(state, numbers('routernorm.weight'), config.rmsNormEps);
  for (const name of ['router1', 'router2']) y = plus(project(y, name, R), numbers(`b${name}`)).map(gelu);
  return { logits: project(y, 'router', choices), state };
}

/** The experts that SparseMixer chooses, each with its softmax over those that are left and near it. */
function sparseWeights(
  logits: readonly number[],
  { perToken, jitter }: ExpertsConfig,
): [expert: number, weight: number][] {
  const chosen: [number, number][] = [];
  for (let j = 0; j < perToken; j++) {
    const left = logits.map((_, e) => e).filter((e) => !chosen.some(([other]) => other === e));
    const best = Math.max(...left.map((e) => logits[e] ?? NaN));
    const near = left.filter((e) => (best - logits[e]!) / Math.max(Math.abs(logits[e]!), best) <= 2 * jitter);
    const total = near.reduce((sum, e) => sum + Math.exp(logits[e]! - best), 0);
    chosen.push([logits.indexOf(best), 1 / total]);
  }
  return chosen;
}

/** The experts that a router's logits choose for one token, and the shared one. */
export function plainExperts(
  config: ModelConfig,
  experts: ExpertsConfig,
  x: readonly number[],
  products: readonly number[],
  numbers: (name: string) => Float64Array,
): number[] {
  const { count: E, perToken, intermediateSize: F, groups, clamped } = experts;
  const d = config.hiddenSize;
  const up = config.mlpGate ? 'gateup' : 'up';
  const width = config.mlpGate ? 2 : 1;
  const plus = (v: readonly number[], bias: ArrayLike<number> | null) => v.map((y, i) => y + (bias?.[i] ?? 0));
  const cap = experts.logitSoftcap;
  const all = products.map((l) => (cap === null ? l : cap * Math.tanh(l / cap)));
  const logits = all.slice(0, all.length - (experts.sharedScores ?? 0));
  const sharedScores = all.slice(logits.length).map((l) => 1 / (1 + Math.exp(-l)));
  const top = Math.max(...logits);
  const total = logits.reduce((sum, l) => sum + Math.exp(l - top), 0);
  const scores = logits.map((l) => (experts.scores === 'softmax' ? Math.exp(l - top) / total : 1 / (1 + Math.exp(-l))));
  const corrected = plus(
    experts.correctionOf === 'logits' ? logits : scores,
    experts.correctionBias ? numbers('correction') : null,
  );
  const choice = corrected.map((c, e) => (e === E ? c + (experts.skip ?? NaN) : c));
  const sorted = (list: readonly number[]) => [...list].sort((a, b) => b - a);
  const size = groups === null ? choice.length : E / groups.count;
  const groupScores = Array.from({ length: choice.length / size }, (_, g) =>
    sorted(choice.slice(g * size, (g + 1) * size))
      .slice(0, groups?.best ?? 1)
      .reduce((a, b) => a + b, 0),
  );
  const least = sorted(groupScores)[(groups?.perToken ?? 1) - 1] ?? NaN;
  const open = choice.map((c, e) => ((groupScores[Math.floor(e / size)] ?? NaN) >= least ? c : -Infinity));
  const sparse = experts.scores === 'sparsemixer' ? sparseWeights(logits, experts) : null;
  const chosen =
    sparse?.map(([e]) => e) ??
    open
      .map((_, e) => e)
      .sort((a, b) => (open[b] ?? NaN) - (open[a] ?? NaN))
      .slice(0, perToken);
  const given = new Map(sparse ?? scores.map((s, e) => [e, s]));
  const together = [...chosen.map((e) => given.get(e) ?? NaN), ...sharedScores].reduce((a, b) => a + b, 0);
  const sum = experts.normalize ? together + experts.normalizeEps : 1;
  const act = (both: readonly number[], half: number): number[] =>
    both.slice(0, half).map((g, i) => {
      const u = both[half + i] ?? 1;
      if (!config.mlpGate) return ACTIVATIONS[config.activation](g, () => NaN);
      return ACTIVATIONS[config.activation](config.mlpGateScale * g, () => NaN) * u;
    });
  const clampedAct = (both: readonly number[], { alpha, limit }: { alpha: number; limit: number }): number[] =>
    both.slice(0, F).map((g, i) => {
      const u = Math.max(-limit, Math.min(limit, both[F + i] ?? NaN));
      const gate = Math.min(g, limit);
      return ((u + 1) * gate) / (1 + Math.exp(-alpha * gate));
    });
  const latent = experts.latentSize ?? d;
  const bias = (name: string) => (config.mlpBias ? numbers(name) : null);
  const read =
    experts.latentSize === null ? x : plus(times(x, nth(numbers('wlatentin'), 0, d, latent)), bias('blatentin'));
  const own = (name: string, e: number, n: number) =>
    experts.bias ? numbers(name).subarray(e * n, (e + 1) * n) : null;
  let mixed = Array.from({ length: latent }, () => 0);
  for (const e of chosen) {
    if (e === E) continue;
    const factor = experts.weightScale ? (numbers('weightscale')[e] ?? NaN) : 1;
    const weight = ((given.get(e) ?? NaN) / sum) * experts.scale * factor;
    const input = experts.weigh === 'input' ? read.map((v) => v * weight) : read;
    const inner = plus(
      times(input, nth(numbers(`experts.w${up}`), e, latent, width * F)),
      own(`experts.b${up}`, e, width * F),
    );
    const active = clamped === null ? act(inner, F) : clampedAct(inner, clamped);
    const y = plus(times(active, nth(numbers('experts.wdown'), e, F, latent)), own('experts.bdown', e, latent));
    mixed = mixed.map((v, i) => v + (y[i] ?? NaN) * (experts.weigh === 'input' ? 1 : weight));
  }
  const out =
    experts.latentSize === null
      ? mixed
      : plus(times(mixed, nth(numbers('wlatentout'), 0, latent, d)), bias('blatentout'));
  const S = experts.sharedSize;
  if (S === null) return out;
  const inner = plus(times(x, nth(numbers(`shared.w${up}`), 0, d, width * S)), bias(`shared.b${up}`));
  const weighed = act(inner, S).map((v, i) => {
    const part = Math.floor((i * sharedScores.length) / S);
    return experts.sharedScores === null ? v : (v * (sharedScores[part] ?? NaN) * experts.scale) / sum;
  });
  const shared = plus(times(weighed, nth(numbers('shared.wdown'), 0, S, d)), bias('shared.bdown'));
  const gate = experts.sharedGate ? 1 / (1 + Math.exp(-dotOf(x, Array.from(numbers('shared.wgate'))))) : 1;
  return out.map((v, i) => v + gate * (shared[i] ?? NaN));
}
