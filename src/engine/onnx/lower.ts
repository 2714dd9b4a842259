/** Longsight graph -> ONNX model. */
import { UnsupportedOpError, isFloat, isHalf, sizeOf } from '../../core/index.js';
import {
  decomposeAttention,
  decomposeAttentionGrad,
  expand,
  simplify,
  type AttentionBlocks,
  type Decomposition,
  type DecompositionOverrides,
  type Graph,
  type OpName,
  type Value,
} from '../../graph/index.js';
import * as L from '../../graph/index.js';
import { isDecodeStep } from '../passes/decode-step.js';
import { gatesAnew } from '../passes/gates-anew.js';
import { masksAfterExp } from '../passes/masked-exp.js';
import { gainsInNorms } from '../passes/norm-gains.js';
import { projectionsByPart } from '../passes/projections.js';
import { evaluateConstant } from '../reference/engine.js';
import { OnnxBuilder, type Name } from './builder.js';
import { ONNX_TYPES, encodeModel, heldType, type OnnxGraph, type OnnxPort } from './proto.js';
import { hasKernel, lowerNodes, usesOf } from './rules.js';

/**
 * The derivative of a plain norm (no weight) in terms of the forward pass's normalized values, where they are at hand.
 */
const rmsNormGrad: Decomposition<'rmsNormGrad'> = (inputs) => {
  const [x, rstd, dy, weight] = inputs as [Value, Value, Value, Value | undefined];
  const forward = rstd.node;
  const own = forward.op === 'rmsNorm' && rstd.index === 1 && forward.inputs[0] === x && forward.inputs.length === 1;
  const normal = own ? forward.outputs[0] : L.mul(x, rstd);
  const dNormal = weight ? L.mul(dy, weight) : dy;
  const last = x.shape.length - 1;
  const inner = L.mul(L.reduceMean(L.mul(dNormal, normal), [last], true), rstd);
  const dx = L.sub(L.mul(dNormal, rstd), L.mul(normal, inner));
  if (!weight) return [dx];
  const lead = x.shape.slice(0, -1).map((_, i) => i);
  return [dx, L.reduceSum(L.mul(dy, normal), lead)];
};

/**
 * Probabilities of attention are kept for the backward pass where a query meets at most five keys for each channel of
 * a head in its block: that is a product, a mask and a softmax less, for at most a quarter more than what a layer keeps
 * for each channel anyway, about 20 numbers.
 *
 * Gradients of the causal form have shapes of their own: onnxruntime's planner holds the memory of a value that is used
 * no more for the next one of its shape, however much later that comes, and scores would be held from the forward to
 * the backward pass, the largest values of a long sequence.
 */
const BLOCKS: AttentionBlocks = { banded: null, causal: null, keptKeys: 5, flatGradients: true };

const OVERRIDES: DecompositionOverrides = {
  rmsNormGrad,
  attention: (inputs, attrs) => decomposeAttention(inputs, attrs, BLOCKS),
  attentionGrad: (inputs, attrs) => decomposeAttentionGrad(inputs, attrs, BLOCKS),
};

/**
 * The graph as it is lowered: in the form that CPUs are fastest with, composites without a kernel expanded, masks after
 * exponentials, equal nodes merged, constants folded.
 */
function prepare(graph: Graph, donate: Readonly<Record<string, string>>, recomputes: boolean): Graph {
  const suited = isDecodeStep(graph, donate) ? gainsInNorms(graph) : projectionsByPart(graph);
  const expanded = expand(recomputes ? gatesAnew(suited) : suited, { keep: hasKernel, overrides: OVERRIDES });
  return simplify(masksAfterExp(expanded), { evaluate: evaluateConstant });
}

/**
 * An output before all others, an empty list, which onnxruntime's Node binding cannot hand to JavaScript: when the
 * program has run and written its other outputs to the memory given for them, the binding fails here instead of copying
 * each of them.
 */
export const STOP_OUTPUT = 'stop';

/** A flag (bool `[1]`) that a run sets: proof that the program ran before the binding failed. */
export const RAN_OUTPUT = 'ran';

/** What elements of two bytes can go through as they are, until they are converted. */
const MOVES: ReadonlySet<string> = new Set<OpName>([
  ...(['input', 'constant', 'take', 'slice', 'split'] as const),
  ...(['concat', 'reshape', 'transpose', 'broadcast', 'stopGradient'] as const),
]);

/** Input and output names as they stand in the ONNX model: arbitrary names are numbered. */
export interface LoweredGraph {
  readonly model: Uint8Array;
  readonly onnx: OnnxGraph;
  readonly inputNames: ReadonlyMap<string, Name>;
  readonly outputNames: ReadonlyMap<string, Name>;
}

/**
 * Lowers a graph whose inputs are donated to outputs as `donate` says. Throws `UnsupportedOpError` where the CPU
 * kernels lack an op or dtype.
 *
 * @param recomputes whether the backward pass computes the gates of MLPs anew instead of keeping them
 * @param stops whether the model has `STOP_OUTPUT` and `RAN_OUTPUT`, by which the Node binding copies no outputs
 */
export function lowerToOnnx(
  graph: Graph,
  donate: Readonly<Record<string, string>> = {},
  { stops = true, recomputes = true }: { readonly stops?: boolean; readonly recomputes?: boolean } = {},
): LoweredGraph {
  const prepared = prepare(graph, donate, recomputes);
  for (const node of prepared.nodes) {
    const half = node.outputs.find((v) => isHalf(v.dtype));
    if (half === undefined || MOVES.has(node.op)) continue;
    throw new UnsupportedOpError(`onnx cannot do ${node.op} in ${half.dtype}: the CPU engine computes in f32 or f64`, {
      details: { op: node.op, engine: 'onnx' },
    });
  }
  const builder = new OnnxBuilder(usesOf(prepared));
  const inputNames = new Map<string, Name>();
  const hasHalves = prepared.inputs.some(({ value }) => isHalf(value.dtype));
  const inputs = prepared.inputs.map(({ name, value }, i): OnnxPort => {
    const own = `input${i}`;
    inputNames.set(name, own);
    builder.bind(value, own);
    if (hasHalves && isFloat(value.dtype) && donate[name] === undefined) builder.markWeight(own);
    return { name: own, type: heldType(value.dtype), dims: value.shape };
  });
  lowerNodes(builder, prepared);
  const outputNames = new Map<string, Name>();
  const stop = stops ? builder.op('SequenceEmpty', []) : null;
  const outputs = prepared.outputs.map(({ name, value }, i) => {
    const own = `output${i}`;
    outputNames.set(name, own);
    return { port: { name: own, type: heldType(value.dtype), dims: value.shape }, from: builder.of(value) };
  });
  const onnx = builder.finish('longsight', inputs, [
    ...(stop === null ? [] : stopPorts(builder, stop, prepared)),
    ...outputs,
  ]);
  return { model: encodeModel(onnx), onnx, inputNames, outputNames };
}

/** The outputs that end a run before its results are copied. */
function stopPorts(b: OnnxBuilder, stop: Name, graph: Graph): { readonly port: OnnxPort; readonly from: Name }[] {
  return [
    { port: { name: STOP_OUTPUT, type: 'f32', dims: [], sequence: true }, from: stop },
    { port: { name: RAN_OUTPUT, type: 'bool', dims: [1] }, from: ranFlag(b, graph) },
  ];
}

/** True, computed from an input where there is one, so that it cannot be folded away. */
function ranFlag(b: OnnxBuilder, graph: Graph): Name {
  const port = graph.inputs[0];
  if (!port) return b.op('Not', [b.numbers('bool', [1], [0])]);
  const { value } = port;
  const first = b.op('Slice', [b.reshape(b.of(value), [sizeOf(value.shape)]), b.ints([0]), b.ints([1])]);
  const exact = value.dtype !== 'bool' && !isHalf(value.dtype);
  const number = exact ? first : b.cast(first, ONNX_TYPES.i32);
  return b.op('Not', [b.op('Less', [number, number])]);
}
