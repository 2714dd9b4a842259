/**
 * The model as plain loops in float64, one token at a time, written from the definitions and sharing no code with the graph:
 * the oracle of the forward-pass tests.
 */
import { toNumbers, type HostTensor } from '../../../src/core/index.js';
import {
  blockOf,
  expertsOf,
  headGroups,
  type HeadGroup,
  type ModelConfig,
  type QueryScaling,
} from '../../../src/model/index.js';

import { plainCca } from './plain-cca.js';
import { plainExperts, plainRouter } from './plain-experts.js';
import { ACTIVATIONS, dotOf, normed, plus, sigmoid, times, type Matrix } from './plain-parts.js';

export interface PlainResult {
  /** `[T][V]` */
  readonly logits: number[][];
  /** The residual stream: `[numLayers + 1][T][d]`. */
  readonly hidden: number[][][];
  /** Attention probabilities `[layer][head][query][key]`; rows sum to less than 1 with sinks. */
  readonly probabilities: number[][][][];
}

/** The norm of the residual stream that the configuration names. */
function streamNorm(
  config: ModelConfig,
  x: readonly number[],
  numbers: (name: string) => Float64Array,
  name: string,
): number[] {
  const mean = config.norm === 'layer' ? x.reduce((s, v) => s + v, 0) / x.length : 0;
  const gain = config.normWeight ? numbers(`${name}.weight`).map((w) => w + config.normOffset) : null;
  const bias = config.normBias ? numbers(`${name}.bias`) : null;
  return normed(
    x.map((v) => v - mean),
    gain,
    config.rmsNormEps,
  ).map((v, i) => v + (bias === null ? 0 : (bias[i] ?? NaN)));
}

/** Turns channel pairs (m, m + D/2), m < dim/2, by position * base^(-2m/dim) / stretch. */
function turned(x: readonly number[], position: number, base: number, dim: number, stretch: number): number[] {
  const half = x.length / 2;
  return x.map((v, i) => {
    const m = i % half;
    const angle = m < dim / 2 ? (position * Math.pow(base, (-2 * m) / dim)) / stretch : 0;
    const other = x[(i + half) % x.length] ?? NaN;
    return i < half ? v * Math.cos(angle) - other * Math.sin(angle) : v * Math.cos(angle) + other * Math.sin(angle);
  });
}

/** The forward pass of one sequence. */
export function plainForward(
  config: ModelConfig,
  params: ReadonlyMap<string, HostTensor>,
  tokens: readonly number[],
): PlainResult {
  const numbers = (name: string): Float64Array => {
    const tensor = params.get(name);
    if (tensor === undefined) throw new Error(`no parameter ${name}`);
    return toNumbers(tensor);
  };
  const matrix = (name: string): Matrix => ({ data: numbers(name), columns: params.get(name)?.shape[1] ?? NaN });
  const { hiddenSize: d } = config;
  const embedding = numbers('embed.weight');
  let stream = tokens.map((token) =>
    Array.from(embedding.subarray(token * d, (token + 1) * d), (v) => v * config.embeddingScale),
  );
  if (config.learnedPositions !== null) {
    const vectors = numbers('embed.positions');
    stream = stream.map((x, t) => x.map((v, c) => v + (vectors[t * d + c] ?? NaN)));
  }
  const shifted = (x: readonly number[], name: string): number[] => {
    if (!config.residualAffine) return [...x];
    const [bias, weight] = [numbers(`${name}.bias`), numbers(`${name}.weight`)];
    return x.map((v, c) => (v + (bias[c] ?? NaN)) * (weight[c] ?? NaN));
  };
  if (config.embeddingNorm) stream = stream.map((x) => streamNorm(config, x, numbers, 'embed.norm'));
  stream = stream.map((x) => shifted(x, 'embed.affine'));
  // What routers hand on, token by token.
  const states: (number[] | null)[] = tokens.map(() => null);
  const embedded = stream;
  const withInput = (y: readonly number[], layer: number, t: number): number[] => {
    const at = `layers.${layer}`;
    let out = [...y];
    if (config.layerInputs !== null) {
      const [P, L] = [config.layerInputs, config.numLayers];
      const table = numbers('embed.layers.weight');
      const projected = times(embedded[t] ?? [], matrix('embed.layers.project'), layer * P, (layer + 1) * P);
      const context = normed(
        projected.map((v) => v / Math.sqrt(d)),
        numbers('embed.layers.norm.weight').map((w) => w + config.normOffset),
        config.rmsNormEps,
      );
      const gate = times(y, matrix(`${at}.input.wgate`)).map((v) => ACTIVATIONS[config.activation](v, () => NaN));
      const own = gate.map((g, i) => {
        const token = (table[((tokens[t] ?? NaN) * L + layer) * P + i] ?? NaN) * Math.sqrt(P);
        return (g * ((context[i] ?? NaN) + token)) / Math.sqrt(2);
      });
      out = plus(out, streamNorm(config, times(own, matrix(`${at}.input.wout`)), numbers, `${at}.input.norm`));
    }
    return config.layerScale ? out.map((v) => v * (numbers(`${at}.scale`)[0] ?? NaN)) : out;
  };
  const hidden = [stream];
  // Keys and values of key/value heads, by layer and head.
  const kept = new Map<string, KeysAndValues>();
  const probabilities: number[][][][] = [];
  for (let layer = 0; layer < config.numLayers; layer++) {
    const at = `layers.${layer}`;
    const block = blockOf(config, layer);
    const f = block.mlpWidth ?? config.intermediateSize;
    const norm = (x: readonly number[], name: string) => streamNorm(config, x, numbers, `${at}.${name}`);
    const read = (x: readonly number[], name: string) =>
      block.norm === 'post' || (block.mixerNorm === false && name === 'norm1') ? [...x] : norm(x, name);
    const write = (x: readonly number[], name: string) =>
      block.norm === 'post' || block.norm === 'both' ? norm(x, name) : [...x];
    const base = (x: readonly number[], name: string) => (block.norm === 'stream' ? norm(x, name) : [...x]);
    const mixes = config.layers[layer]?.mixer !== 'none';
    const inputs = mixes ? stream.map((x) => read(x, 'norm1')) : [];
    const attended = mixes ? plainAttention(config, layer, inputs, numbers, matrix, kept) : null;
    probabilities.push(attended?.probabilities ?? []);
    const mlp = (inner: readonly number[], t: number, before: readonly number[]): number[] => {
      const experts = expertsOf(config, layer);
      if (experts === null) return denseMlp(inner);
      const own = (name: string) => numbers(`${at}.mlp.${name}`);
      const read = experts.besideMlp ? norm(before, 'norm3') : inner;
      const { logits, state } = plainRouter(config, experts, { x: read, before }, own, states[t] ?? null);
      states[t] = state;
      const mixed = plainExperts(config, experts, read, logits, own);
      return experts.besideMlp ? plus(norm(denseMlp(inner), 'postmlp'), norm(mixed, 'postnorm3')) : mixed;
    };
    const denseMlp = (inner: readonly number[]): number[] => {
      const up = config.mlpGate ? 'gateup' : 'up';
      const learned = (name: string) => numbers(`${at}.mlp.${name}`)[0] ?? NaN;
      const [first, down] = [matrix(`${at}.mlp.w${up}`), matrix(`${at}.mlp.wdown`)];
      const both = times(inner, first).map(
        (v, i) => v + (config.mlpBias ? (numbers(`${at}.mlp.b${up}`)[i] ?? NaN) : 0),
      );
      const active = both
        .slice(0, f)
        .map((g, i) => ACTIVATIONS[config.activation](g, learned) * (config.mlpGate ? (both[f + i] ?? NaN) : 1));
      return times(active, down).map((v, i) => v + (config.mlpBias ? (numbers(`${at}.mlp.bdown`)[i] ?? NaN) : 0));
    };
    // What MLPs give is known of all tokens before any goes on: a convolution reads those before.
    const factor = config.mlpFactor && block.mlp ? (numbers(`${at}.mlp.factor`)[0] ?? NaN) : 1;
    const given: number[][] = [];
    const passed = (y: readonly number[], t: number): number[] => {
      given[t] = y.map((v) => v * factor);
      return withConv(config, given, () => numbers(`${at}.mlp.outconv.weight`))[t] ?? [];
    };
    stream = stream.map((x, t) => {
      const mixed = attended && write(attended.outputs[t] ?? [], 'postnorm1');
      const sum = (which: 1 | 2, skip: readonly number[], onSkip: number, y: readonly number[], onY: number) => {
        const term = (v: readonly number[], by: number, name: string) =>
          shifted(
            v.map((c) => c * by),
            `${at}.${name}${which}`,
          );
        return plus(term(skip, onSkip, 'skip'), term(y, onY, 'add'));
      };
      const middle = mixed ? sum(1, base(x, 'norm1'), block.mixerSkip, mixed, block.mixerScale) : x;
      const last = (y: readonly number[]) => withInput(y, layer, t);
      if (!block.mlp) return last(middle);
      if (block.parallel) return last(sum(2, middle, 1, passed(mlp(inputs[t] ?? [], t, x), t), block.mlpScale));
      const added = write(passed(mlp(read(middle, 'norm2'), t, middle), t), 'postnorm2');
      return last(sum(2, base(middle, 'norm2'), block.mlpSkip, added, block.mlpScale));
    });
    hidden.push(stream);
  }
  const capped = (x: number) => {
    const scaled = x * config.logitScale;
    return config.logitSoftcap === null ? scaled : config.logitSoftcap * Math.tanh(scaled / config.logitSoftcap);
  };
  const headBias = config.headBias ? numbers('head.bias') : new Float64Array(config.vocabSize);
  const withHeadLayer = (x: readonly number[]): readonly number[] => {
    const { headLayer } = config;
    if (headLayer === null) return x;
    const bias = headLayer.bias ? numbers('head.dense.bias') : new Float64Array(d);
    const dense = times(x, matrix('head.dense.weight')).map((v, i) => v + (bias[i] ?? NaN));
    const active = dense.map((v) => ACTIVATIONS[headLayer.activation](v, () => NaN));
    return streamNorm(config, active, numbers, 'head.norm');
  };
  const outputs = stream.map((x) => {
    const last = withHeadLayer(streamNorm(config, x, numbers, 'norm'));
    if (!config.tieEmbeddings) return times(last, matrix('head.weight'));
    return Array.from({ length: config.vocabSize }, (_, v) =>
      dotOf(last, Array.from(embedding.subarray(v * d, (v + 1) * d))),
    );
  });
  return { logits: outputs.map((row) => row.map((x, v) => capped(x + (headBias[v] ?? NaN)))), hidden, probabilities };
}

/** Keys and values of one head, one row a token. */
interface KeysAndValues {
  readonly k: readonly (readonly number[])[];
  readonly v: readonly (readonly number[])[];
}

/** Queries, keys and values of one head, one row a token, and the factor on their scores. */
interface PlainHead extends KeysAndValues {
  readonly q: readonly (readonly number[])[];
  readonly scale: number;
}

/** A head of latent attention, by its definition: keys and values are expanded from normalized latents. */
function latentHead(
  config: ModelConfig,
  inputs: readonly number[][],
  head: number,
  { rope, ropeShare = 1, ropeTheta }: HeadGroup,
  named: { numbers: (name: string) => Float64Array; matrix: (name: string) => Matrix },
): PlainHead {
  const { queryRank, latentRank: C, nopeDim: N, ropeDim: R, valueDim: V, normEps } = config.mla!;
  const { numbers, matrix } = named;
  const biased = ['qkv', 'all'].includes(config.attentionBias);
  const down = (x: readonly number[], which: 'q' | 'kv') =>
    times(x, matrix(`w${which}down`)).map((v, i) => v + (biased ? (numbers(`b${which}down`)[i] ?? NaN) : 0));
  const { theta, scaling } =
    rope === 'local' && config.localRope !== null
      ? config.localRope
      : { theta: config.ropeTheta, scaling: config.ropeScaling };
  const stretch = scaling?.type === 'linear' ? scaling.factor : 1;
  const turn = (x: readonly number[], t: number) =>
    rope === false ? x : turned(x, t, ropeTheta ?? theta, ropeShare * R, stretch);
  const own = head * (N + R);
  const q = inputs.map((x, t) => {
    const from = queryRank === null ? x : normed(down(x, 'q'), numbers('qnorm.weight'), normEps);
    const all = times(from, matrix(queryRank === null ? 'wq' : 'wqup'), own, own + N + R);
    return [...all.slice(0, N), ...turn(all.slice(N), t)];
  });
  const kept = inputs.map((x) => down(x, 'kv'));
  const latents = kept.map((c) => normed(c.slice(0, C), numbers('kvnorm.weight'), normEps));
  return {
    q,
    k: latents.map((c, t) => [
      ...times(c, matrix('wkup'), head * N, (head + 1) * N),
      ...turn(kept[t]?.slice(C) ?? [], t),
    ]),
    v: latents.map((c) => times(c, matrix('wvup'), head * V, (head + 1) * V)),
    scale: scaleOf(config, N + R),
  };
}

const scaleOf = ({ attentionScale: scale }: ModelConfig, channels: number): number =>
  scale === 'width' ? 1 / channels : (scale ?? 1 / Math.sqrt(channels));

/** What tokens give, each with the convolution of the tokens up to it, whose taps lie channel by channel. */
function withConv(
  { shortConv }: ModelConfig,
  given: readonly (readonly number[])[],
  taps: () => Float64Array,
): number[][] {
  if (shortConv === null) return given.map((x) => [...x]);
  const [weights, n] = [taps(), shortConv.width];
  return given.map((x, t) =>
    x.map((v, c) => {
      let sum = v;
      for (let j = 0; j < n; j++) sum += (weights[c * n + j] ?? NaN) * (given[t - n + 1 + j]?.[c] ?? 0);
      return sum;
    }),
  );
}

function plainAttention(
  config: ModelConfig,
  layer: number,
  inputs: readonly number[][],
  numbers: (name: string) => Float64Array,
  matrix: (name: string) => Matrix,
  kept: Map<string, KeysAndValues>,
): { outputs: number[][]; probabilities: number[][][] } {
  const { rmsNormEps: eps } = config;
  const plan = config.layers[layer]!;
  const own = plan.mixer === 'attention' ? plan : undefined;
  const D = own?.headDim ?? config.headDim;
  const counted = plan.mixer === 'attention' ? plan : config;
  const [H, G] = [counted.numHeads ?? config.numHeads, counted.numKvHeads ?? config.numKvHeads];
  const latent = plan.mixer === 'mla';
  const at = `layers.${layer}.${latent ? 'mla' : 'attn'}`;
  const wqkv = latent ? null : matrix(`${at}.wqkv`);
  const V = latent ? config.mla!.valueDim : (config.valueDim ?? D);
  const valueOf = (x: readonly number[], g: number, t: number): number[] => {
    const from = H * D + (own?.valuesAreKeys === true ? g * D : G * D + g * V);
    const value = mixedValues?.[t]?.slice(g * V, (g + 1) * V) ?? project(x, from, V);
    return (config.valueNorm ? normed(value, null, eps) : value).map((v) => v * config.valueScale);
  };
  const perKv = H / G;
  // Which window and positions each query head has.
  const groupOfHead = headGroups(plan).flatMap((g) => Array.from({ length: g.heads }, () => g));
  const bias = !latent && ['qkv', 'all'].includes(config.attentionBias) ? numbers(`${at}.bqkv`) : null;
  const project = (x: readonly number[], from: number, count: number): number[] =>
    times(x, wqkv!, from, from + count).map((v, i) => v + (bias?.[from + i] ?? 0));
  const all = (H + 2 * G) * D;
  // Keys and values of all heads, past their convolutions.
  const convolved = (from: number, width: number, name: string): number[][] =>
    withConv(
      config,
      inputs.map((x) => project(x, from, width)),
      () => numbers(`${at}.${name}.weight`),
    );
  const apart = config.shortConv !== null;
  const keys = apart ? convolved(H * D, G * D, 'keyconv') : null;
  const mixedValues = apart ? convolved((H + G) * D, G * V, 'valueconv') : null;
  const compressed =
    config.cca === null || latent
      ? null
      : plainCca(
          config,
          { H, G },
          inputs.map((x) => project(x, 0, all)),
          project(new Array<number>(config.hiddenSize).fill(0), 0, all),
          (name) => numbers(`${at}.${name}`),
        );
  const headOf = (
    x: readonly number[],
    from: number,
    index: number,
    norm: string | null,
    t: number,
    { rope, ropeShare, ropeTheta: ownTheta }: Pick<HeadGroup, 'rope' | 'ropeShare' | 'ropeTheta'>,
  ) => {
    const width = norm === 'qnorm' ? H * D : G * D;
    const given =
      norm === null || config.qkNorm === false || config.qkNorm === 'rope' || !config.normWeight
        ? null
        : numbers(`${at}.${norm}.weight`);
    const shifted = given?.map((w) => w + config.normOffset) ?? null;
    const kept = norm === 'knorm' ? keys?.[t] : undefined;
    let head =
      kept !== undefined
        ? kept.slice(index * D, (index + 1) * D)
        : compressed === null
          ? project(x, from + index * D, D)
          : (compressed[t]?.[from === 0 ? 'q' : 'k'][index] ?? []);
    if (norm !== null && config.qkNorm === 'head') head = normed(head, shifted, eps);
    if (norm !== null && config.qkNorm === 'width') {
      head = normed(project(x, from, width), shifted, eps).slice(index * D, (index + 1) * D);
    }
    if (norm !== null && config.qkNorm === 'rope' && rope !== false) head = normed(head, null, eps);
    if (rope === false) return head;
    const { ropeTheta, ropeScaling, localRope, ropeDim } = config;
    const own = rope === 'local' && localRope !== null ? localRope : { theta: ropeTheta, scaling: ropeScaling };
    const { theta, scaling } = own;
    return turned(
      head,
      t,
      ownTheta ?? theta,
      ropeShare === undefined ? (('ropeDim' in own ? own.ropeDim : undefined) ?? ropeDim) : ropeShare * D,
      scaling?.type === 'linear' ? scaling.factor : 1,
    );
  };
  const { positionBias } = config;
  const extent = own?.biasExtent ?? positionBias?.extent ?? 0;
  const biasOf = (t: number, h: number, distance: number): number => {
    if (positionBias === null || distance >= extent) return 0;
    const R = positionBias.width;
    const bank = numbers(`${at}.biasbank`);
    const state = times(inputs[t] ?? [], matrix(`${at}.wbias`), h * R, (h + 1) * R);
    return state.reduce((sum, r, i) => sum + r * (bank[i * extent + distance] ?? NaN), 0);
  };
  const probabilities: number[][][] = [];
  const mixed: number[][] = inputs.map(() => []);
  let learned = 0; // heads so far that learn their temperature
  for (let h = 0; h < H; h++) {
    const group = groupOfHead[h];
    if (group === undefined) throw new Error(`head ${h} has no group`);
    const g = Math.floor(h / perKv);
    const scaling: QueryScaling = config.queryScaling ?? { beta: 0, length: 1 };
    const { length, offset = 0 } = scaling;
    const grows = !(scaling.nope === true && group.rope !== false) && !(scaling.full === true && group.window !== null);
    const beta = grows ? scaling.beta : 0;
    const grown = (t: number) =>
      scaling.law === 'power'
        ? (1 + (t + offset) / length) ** beta
        : scaling.law === 'beyond'
          ? 1 + beta * Math.log(Math.max(1, (t + offset) / length))
          : 1 + beta * Math.log(1 + Math.floor((t + offset) / length));
    const named = { numbers: (n: string) => numbers(`${at}.${n}`), matrix: (n: string) => matrix(`${at}.${n}`) };
    const head: PlainHead = latent
      ? latentHead(config, inputs, h, group, named)
      : {
          q: inputs.map((x, t) => headOf(x, 0, h, 'qnorm', t, group)),
          ...(own?.keysOf === undefined
            ? {
                k: inputs.map((x, t) => headOf(x, H * D, g, 'knorm', t, group)),
                v: inputs.map((x, t) => compressed?.[t]?.v[g] ?? valueOf(x, g, t)),
              }
            : kept.get(`${own.keysOf}.${g}`)!),
          scale: scaleOf(config, D),
        };
    kept.set(`${layer}.${g}`, { k: head.k, v: head.v });
    const { k, v, scale } = head;
    const q = head.q.map((x, t) => x.map((c) => c * grown(t)));
    const { attentionSoftcap } = config;
    const cap = (s: number) => (attentionSoftcap === null ? s : attentionSoftcap * Math.tanh(s / attentionSoftcap));
    const sink = (own?.sinks ?? config.sinks) ? Math.exp(numbers(`${at}.sinks`)[h] ?? NaN) : 0;
    const s = group.temperature === 'learned' ? (numbers(`${at}.temperature`)[learned++] ?? NaN) : 0.168;
    const sharpened = (n: number) => (group.temperature === undefined ? 1 : s * Math.log(n));
    const rows = inputs.map((_, t) => {
      const own = group.chunk === undefined ? 0 : Math.floor(t / group.chunk) * group.chunk;
      const first = group.window === null ? own : Math.max(own, t - group.window + 1);
      const weights = k.map((key, j) =>
        j < first || j > t
          ? 0
          : Math.exp(cap(dotOf(q[t] ?? [], key) * scale * sharpened(t - first + 1)) + biasOf(t, h, t - j) * grown(t)),
      );
      const total = weights.reduce((a, b) => a + b, 0) + sink;
      return weights.map((w) => w / total);
    });
    probabilities.push(rows);
    rows.forEach((row, t) => {
      const out = row.reduce<number[]>(
        (sum, p, j) =>
          plus(
            sum,
            (v[j] ?? []).map((x) => p * x),
          ),
        new Array<number>(V).fill(0),
      );
      mixed[t]?.push(...out);
    });
  }
  const outputs = mixed.map((heads, t) => {
    const logits = config.outputGate !== false ? times(inputs[t] ?? [], matrix(`${at}.wgate`)) : null;
    const bias = config.outputGateBias ? numbers(`${at}.bgate`) : new Float64Array(H);
    const perHead = (logits?.length ?? 0) / H;
    const gateOf1 = (x: number) => (config.outputGateActivation === 'softplus' ? Math.log1p(Math.exp(x)) : sigmoid(x));
    const gate = logits?.map((x, i) => gateOf1(x + (bias[Math.floor(i / perHead)] ?? NaN))) ?? null;
    const gateOf = (i: number) => gate?.[config.outputGate === 'head' ? Math.floor(i / V) : i] ?? NaN;
    return times(gate === null ? heads : heads.map((x, i) => x * gateOf(i)), matrix(`${at}.wo`)).map(
      (v, i) => v + (['output', 'all'].includes(config.attentionBias) ? (numbers(`${at}.bo`)[i] ?? NaN) : 0),
    );
  });
  return { outputs: withConv(config, outputs, () => numbers(`${at}.outconv.weight`)), probabilities };
}
