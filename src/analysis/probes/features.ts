/** States of the residual stream at the last token of samples, layer by layer: what probes read. */
import { entry, at, f64At, DataError, tensorFrom, toNumbers } from '../../core/index.js';
import type { NeedleSample } from '../../data/index.js';
import { concat, input, makeGraph, nodesOf, reshape, take, type Graph } from '../../graph/index.js';
import { batchSequences, parametersFor, type LoadedModel } from '../../loaded/index.js';
import { finalNorm, forward, parameterInputs, printLayer, type ModelConfig, TapReader } from '../../model/index.js';
import type { Features } from './rows.js';
import { scoreProbe, stratifiedSplit, type ProbeKind, type ProbeOptions, type ProbeScore } from './probe.js';

// Bound once: where modules are loaded as they stand (test runners), an imported name is looked up at every call.
const readF64 = f64At;

/** A sequence and the class of what it hides. */
export interface ProbeSample {
  readonly tokens: Int32Array;
  /** Where the state is read; later tokens do not matter. */
  readonly position: number;
  /** The class, from 0. */
  readonly label: number;
}

/**
 * A needle sample whose value is one of `candidates` (token ids, as long as the value): the answer becomes a class.
 *
 * @throws DataError if the candidate has another length than the needle's value
 */
export function probeSample(
  sample: NeedleSample,
  candidates: readonly (readonly number[])[],
  label: number,
): ProbeSample {
  const value = candidates[label] ?? [];
  const [start, end] = sample.needleSpan;
  if (value.length !== end - start) {
    throw new DataError(`candidate ${label} has ${value.length} tokens but the needle's value has ${end - start}`);
  }
  const tokens = sample.tokens.slice();
  tokens.set(value, start);
  return { tokens, position: sample.queryPosition, label };
}

/** What probes are fitted on: the residual stream at the last token after each layer, and the class of each sample. */
export interface ProbeFeatures {
  /** After the embedding, then after each layer (numLayers + 1), one row per sample. */
  readonly states: readonly Features[];
  /** The class of each sample, i32 [samples], from 0. */
  readonly labels: Int32Array;
  /** The number of classes. */
  readonly classes: number;
}

/** How features are taken. */
export interface ExtractOptions {
  /** At most this many tokens in one pass, one sample at least (default: what suits the engine). */
  readonly batchTokens?: number | undefined;
  /** The last state after the final norm, as in Transformers' `hidden_states`; the raw stream unless true. */
  readonly finalNorm?: boolean;
}

const OWN_INPUTS: ReadonlySet<string> = new Set(['tokens', 'rows']);

/** Runs the model over the samples; of each batch one tensor leaves the engine, the states of all layers. */
export async function extractFeatures(
  model: LoadedModel,
  probed: readonly ProbeSample[],
  { batchTokens, finalNorm = false }: ExtractOptions = {},
): Promise<ProbeFeatures> {
  const { engine, config, tensors } = model;
  const samples = probed.map((s) => ({ ...s, end: s.position + 1 }));
  const { batchSize, length, batches } = batchSequences(model, samples, batchTokens);
  const width = config.hiddenSize;
  const states = Array.from({ length: config.numLayers + 1 }, () => new Float64Array(samples.length * width));
  const executable = await engine.compile(stateGraph(config, batchSize, length, finalNorm));
  try {
    const parameters = parametersFor(executable.graph.inputs, OWN_INPUTS, tensors);
    const start = async (batch: (typeof batches)[number]) => {
      const rows = batch.rows.map((s, i) => i * length + s.position);
      const inputs = { ...parameters, tokens: batch.tokens, rows: engine.upload(tensorFrom('i32', [batchSize], rows)) };
      return { batch, outputs: await executable.run(inputs) };
    };
    let done = 0;
    const take = async ({ batch, outputs }: Awaited<ReturnType<typeof start>>) => {
      const values = toNumbers(await engine.download(entry(outputs, 'states')));
      for (const [n, into] of states.entries()) {
        const from = n * batchSize * width;
        into.set(values.subarray(from, from + batch.samples.length * width), done * width);
      }
      done += batch.samples.length;
    };
    // An engine that works beside the host has the next batches while the states of one are copied.
    const underWay: Awaited<ReturnType<typeof start>>[] = [];
    for (const batch of batches) {
      underWay.push(await start(batch));
      const oldest = underWay.length >= engine.hints.runsAhead ? underWay.shift() : undefined;
      if (oldest !== undefined) await take(oldest);
    }
    for (const rest of underWay) await take(rest);
  } finally {
    await executable.dispose();
  }
  const labels = Int32Array.from(samples, (s) => s.label);
  return {
    states: states.map((data) => ({ data, rows: samples.length, width })),
    labels,
    classes: labels.reduce((most, k) => Math.max(most, k + 1), 0),
  };
}

/** Tokens `[batchSize, length]` and flat rows `[batchSize]` to `states` `[numLayers + 1, batchSize, hiddenSize]`. */
function stateGraph(model: ModelConfig, batchSize: number, length: number, normLast: boolean): Graph {
  const params = parameterInputs(model);
  const tokens = input('tokens', 'i32', [batchSize, length]);
  const rows = input('rows', 'i32', [batchSize]);
  const { tap, stream } = new TapReader();
  forward(model, params, tokens, { tap });
  const taken = stream.map((h, n) => {
    const state = take(reshape(h, [batchSize * length, model.hiddenSize]), rows);
    const normed = normLast && n === model.numLayers ? finalNorm(model, params, state) : state;
    return reshape(normed, [1, batchSize, model.hiddenSize]);
  });
  const states = concat(taken, 0);
  const needed = new Set(nodesOf([states]));
  const used = [...params].filter(([, v]) => needed.has(v.node));
  return makeGraph({ ...Object.fromEntries(used), tokens, rows }, { states });
}

/** The probe of one layer. */
export interface LayerProbe extends ProbeScore {
  readonly layer: number;
  readonly label: string;
}

/** Probe accuracy by layer. */
export interface ProbeResult {
  readonly format: 1;
  readonly kind: ProbeKind;
  /** The number of classes. */
  readonly classes: number;
  readonly samples: number;
  /** The accuracy of guessing, one over the number of classes. */
  readonly chance: number;
  /** The probe of the embedding alone, which needs no layer at all; null for deltas. */
  readonly embedding: ProbeScore | null;
  readonly layers: readonly LayerProbe[];
  /** The layer with the highest accuracy, the first of equals. */
  readonly best: number;
}

/** Probes every layer on the same split. */
export function probeLayers(
  { states, labels, classes }: ProbeFeatures,
  model: ModelConfig,
  kind: ProbeKind,
  options: ProbeOptions = {},
): ProbeResult {
  const split = stratifiedSplit(labels, classes, options.testShare ?? 0.2, options.seed ?? 0);
  const score = (features: Features) => scoreProbe(features, labels, classes, split, options);
  const layers = model.layers.map((plan, layer) => {
    const after = at(states, layer + 1);
    const features = kind === 'residual' ? after : difference(after, at(states, layer));
    return { layer, label: printLayer(plan), ...score(features) };
  });
  return {
    format: 1,
    kind,
    classes,
    samples: labels.length,
    chance: 1 / classes,
    embedding: kind === 'residual' ? score(at(states, 0)) : null,
    layers,
    best: layers.reduce((best, l, i) => (l.accuracy > (layers[best]?.accuracy ?? 0) ? i : best), 0),
  };
}

function difference(a: Features, b: Features): Features {
  return { ...a, data: a.data.map((v, i) => v - readF64(b.data, i)) };
}
