/** The engines by name. A new one is a definition in a file beside this one, and a line here. */
import { autoDefinition } from './auto.js';
import type { EngineDefinition } from './define.js';
import { onnxDefinition } from './onnx.js';
import { referenceDefinition } from './reference.js';
import { cudaDefinition, tpuDefinition, xlaCpuDefinition, xlaDefinition } from './xla.js';

/** Every engine that `--engine` takes, by name, in the order in which they are listed. */
export const ENGINES = {
  auto: autoDefinition,
  onnx: onnxDefinition,
  xla: xlaDefinition,
  'xla:cuda': cudaDefinition,
  'xla:tpu': tpuDefinition,
  'xla:cpu': xlaCpuDefinition,
  reference: referenceDefinition,
} as const satisfies Readonly<Record<string, EngineDefinition>>;

/** A key of `ENGINES`, such as `xla:cuda`: what `--engine` takes. */
export type EngineName = keyof typeof ENGINES;
