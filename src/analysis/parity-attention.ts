/** Attention maps as another program returns them, from queries and keys of a forward pass. */
import { at, entry, f64At } from '../core/index.js';
import { firstVisible, headGroups, headSizes, scoreScales, type ModelConfig } from '../model/index.js';

// Bound once: where modules are loaded as they stand (test runners), an imported name is looked up at every call.
const readF64 = f64At;

type Numbers = Readonly<Record<string, Float64Array>>;

/** Softmax attention `[samples,H,T,T]` of a layer from its queries, its keys and perhaps the `sinks` of its heads. */
export function attentionMaps(
  model: ModelConfig,
  layer: number,
  states: Numbers,
  [samples, T]: readonly [samples: number, tokens: number],
): Float64Array {
  const plan = at(model.layers, layer);
  const { numHeads: H, numKvHeads: G, keyDim } = headSizes(model, plan);
  // Queries and keys with a position bias come with a channel more for each key.
  const D = keyDim + (model.positionBias === null ? 0 : T);
  const [q, k] = [entry(states, `q.${layer}`), entry(states, `k.${layer}`)];
  const groupOf = headGroups(plan).flatMap((g) => Array.from({ length: g.heads }, () => g));
  const scales = scoreScales(model, plan, T);
  const { attentionSoftcap: cap } = model;
  const out = new Float64Array(samples * H * T * T);
  for (let b = 0; b < samples; b++) {
    for (let h = 0; h < H; h++) {
      const g = Math.floor(h / (H / G));
      for (let t = 0; t < T; t++) {
        const row = out.subarray(((b * H + h) * T + t) * T, ((b * H + h) * T + t + 1) * T);
        const query = ((b * T + t) * H + h) * D;
        const first = firstVisible(at(groupOf, h), t);
        for (let j = first; j <= t; j++) {
          const key = ((b * T + j) * G + g) * D;
          let score = 0;
          for (let c = 0; c < D; c++) score += readF64(q, query + c) * readF64(k, key + c);
          const scaled = score * at(scales, h);
          row[j] = cap === null ? scaled : cap * Math.tanh(scaled / cap);
        }
        softmaxIn(row.subarray(first, t + 1), states['sinks']?.[h] ?? -Infinity);
      }
    }
  }
  return out;
}

/** Scores become probabilities; a sink takes its part of them. */
function softmaxIn(scores: Float64Array, sink: number): void {
  const most = scores.reduce((a, b) => Math.max(a, b), sink);
  let total = Math.exp(sink - most);
  scores.forEach((s, i) => (total += scores[i] = Math.exp(s - most)));
  scores.forEach((s, i) => (scores[i] = s / total));
}
