/** Forward passes in the precision that a model was trained in. */
import { makeGraph, mixedPrecision, type Graph } from '../graph/index.js';
import type { Engine } from './contract/engine.js';

/** `f32`: everything in float32. `bf16`: products and activations in bfloat16, as `mixedPrecision` does it. */
export type Precision = 'f32' | 'bf16';

const exact = new WeakMap<Engine, Engine>();

/**
 * An engine whose programs compute in `precision`, whatever graphs say; inputs and outputs stay as graphs have them.
 * Tensors are those of `engine`, and whoever made that disposes of it. Meant for forward passes: a graph with gradients
 * belongs on `inFloat32(engine)`.
 */
export function inPrecision(engine: Engine, precision: Precision): Engine {
  if (precision === 'f32') return inFloat32(engine);
  const whole = inFloat32(engine);
  const narrowed: Engine = {
    info: whole.info,
    hints: { ...whole.hints, activations: 'bf16' },
    compile: (graph, options) => whole.compile(inBf16(graph), options),
    upload: (tensor, sharding) => whole.upload(tensor, sharding),
    download: (tensor) => whole.download(tensor),
    ...(whole.release === undefined ? {} : { release: (tensor) => whole.release?.(tensor) }),
    dispose: () => whole.dispose(),
  };
  exact.set(narrowed, whole);
  return narrowed;
}

/** The engine that computes graphs as they are, where `inPrecision` made another of it. */
export function inFloat32(engine: Engine): Engine {
  return exact.get(engine) ?? engine;
}

/**
 * The precision to measure a model in: the one asked for, else on accelerators that of its training, else float32.
 *
 * @param trained the precision of its training; float32 by default
 */
export function measuringPrecision(
  engine: Engine,
  { asked, trained = 'f32' }: { readonly asked?: Precision | undefined; readonly trained?: Precision | undefined },
): Precision {
  return asked ?? (engine.hints.accelerator === true ? trained : 'f32');
}

function inBf16(graph: Graph): Graph {
  const outputs = mixedPrecision(graph.outputs.map((port) => port.value));
  return makeGraph(
    Object.fromEntries(graph.inputs.map(({ name, value }) => [name, value])),
    Object.fromEntries(graph.outputs.map(({ name, value }, i) => [name, outputs[i] ?? value])),
  );
}
