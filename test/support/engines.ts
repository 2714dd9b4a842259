/** The engines that the conformance tests run on. */
import type { HostTensor } from '../../src/core/index.js';
import { createOnnxEngine, createXlaEngine, findPlugin, type Engine, type Executable } from '../../src/engine/index.js';
import type { Graph } from '../../src/graph/index.js';

export interface EngineUnderTest {
  readonly name: string;
  readonly make: () => Engine;
  /** Whether it computes in bf16; if not it has to say so. */
  readonly bf16: boolean;
}

export const ENGINES: EngineUnderTest[] = [{ name: 'onnx', make: () => createOnnxEngine({ threads: 2 }), bf16: false }];

const cpuPlugin = findPlugin('cpu');
if (cpuPlugin.plugin) {
  const { path } = cpuPlugin.plugin;
  ENGINES.push({
    name: 'xla:cpu',
    make: () => createXlaEngine({ platform: 'cpu', plugin: path, cache: null }),
    bf16: true,
  });
} else {
  const places = cpuPlugin.searched.join(', ');
  console.log(`xla:cpu is left out: no PJRT CPU plugin; run node scripts/fetch-pjrt-cpu.mjs (searched ${places})`);
}

/** Compiles, runs once and frees. */
export async function runOn(
  engine: Engine,
  graph: Graph,
  tensors: Readonly<Record<string, HostTensor>>,
): Promise<Record<string, HostTensor>> {
  const program = await engine.compile(graph);
  const host = await runProgram(engine, program, tensors);
  await program.dispose();
  return host;
}

/** What a program gives for these tensors, on the host. */
export async function runProgram(
  engine: Engine,
  program: Executable,
  tensors: Readonly<Record<string, HostTensor>>,
): Promise<Record<string, HostTensor>> {
  const outputs = await program.run(
    Object.fromEntries(Object.entries(tensors).map(([name, t]) => [name, engine.upload(t)])),
  );
  const host: Record<string, HostTensor> = {};
  for (const [name, t] of Object.entries(outputs)) host[name] = await engine.download(t);
  return host;
}
