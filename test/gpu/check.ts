/**
 * Checks the xla engine on a device against the reference engine: every op and derivative in float32 and bfloat16,
 * cuDNN's attention at the edges of its windows, every tile kernel, and those of the recurrences. A program of its own,
 * for hosts without test tools; prints one JSON line per check and ends with code 1 if one failed.
 *
 * usage: node check.js PLATFORM [f32] [bf16] [attention] [kernels] [packed] [recurrences]; `packed` is what of kernels
 * and recurrences is about packed documents, and whole models on them
 */
import { createXlaEngine, evaluateReference, type Platform, type XlaEngine } from '../../src/engine/index.js';
import * as L from '../../src/graph/index.js';
import type { Value } from '../../src/graph/index.js';
import { randomTensor } from '../support/random.js';
import { checkTileKernels, type KernelFinding } from './kernels.js';
import { checkOps, compare, rounded, type Finding } from './ops.js';
import { checkPackedSteps, type PackedStepFinding } from './packed-steps.js';
import { checkRecurrences, type RecurrenceFinding } from './recurrences.js';
import { gradients, runOn } from './run.js';

const WINDOWS = (tokens: number): (number | null)[] => [1, 2, 127, 128, 129, tokens, null];

/** Attention in bf16 with its derivatives, q, k and v as the model makes them. */
async function checkAttention(engine: XlaEngine, report: (finding: Finding, note: object) => void): Promise<void> {
  const [B, T, H, G, D] = [2, 256, 4, 2, 64];
  const shapes = { q: [B, T, H, D], k: [B, T, G, D], v: [B, T, G, D] };
  for (const window of WINDOWS(T)) {
    const tensors = Object.fromEntries(
      Object.entries(shapes).map(([name, shape]) => [
        name,
        rounded(randomTensor('f32', shape, `cudnn/${name}`), 'bf16'),
      ]),
    );
    const inputs = Object.fromEntries(
      Object.entries(shapes).map(([name, shape]) => [name, L.input(name, 'bf16', shape)]),
    );
    const [q, k, v] = [inputs['q'] as Value, inputs['k'] as Value, inputs['v'] as Value];
    const { out } = L.attention(q, k, v, { window, scale: 1 / Math.sqrt(D) });
    const [dq, dk, dv] = gradients([out], [q, k, v], 'cudnn') as [Value, Value, Value];
    const graph = L.makeGraph(inputs, { out, dq, dk, dv });
    const kernels = (engine.lower(graph).match(/__cudnn\$fmha/g) ?? []).length;
    const expected = evaluateReference(graph, tensors);
    report(compare(`attention window ${window ?? 'none'}`, await runOn(engine, graph, tensors), expected, 'bf16'), {
      kernels,
    });
  }
}

async function main(platform: Platform, parts: readonly string[]): Promise<number> {
  const engine = createXlaEngine({ platform, cache: null });
  let failed = 0;
  const print = (line: object): void => void process.stdout.write(`${JSON.stringify(line)}\n`);
  const report = (finding: Finding, note: object = {}): void => {
    const ok = finding.ratio <= 1;
    if (!ok) failed++;
    print({
      check: finding.check,
      ok,
      worst: finding.worst,
      ratio: finding.ratio,
      ...(ok ? {} : { at: finding.at }),
      ...note,
    });
  };
  print({ engine: engine.info, device: engine.devices[0]?.kind });
  for (const float of ['f32', 'bf16'] as const) {
    if (!parts.includes(float)) continue;
    await checkOps(engine, float, report, (check, error) => {
      failed++;
      print({ check, ok: false, error: error.message.slice(0, 500) });
    });
  }
  const reportKernel = (finding: KernelFinding | RecurrenceFinding | PackedStepFinding): void => {
    if (!finding.ok) failed++;
    print(finding);
  };
  const wanted = (part: string) => (name: string) =>
    parts.includes(part) || (parts.includes('packed') && name.includes('documents'));
  await checkTileKernels(engine, wanted('kernels'), reportKernel);
  await checkRecurrences(engine, wanted('recurrences'), reportKernel);
  if (parts.includes('packed')) await checkPackedSteps(engine, reportKernel);
  await engine.dispose();
  if (parts.includes('attention')) {
    const plain = createXlaEngine({ platform, cache: null, tileKernels: false });
    await checkAttention(plain, report);
    await plain.dispose();
  }
  print({ failed });
  return failed === 0 ? 0 : 1;
}

const [platform = 'cpu', ...parts] = process.argv.slice(2);
process.exitCode = await main(
  platform as Platform,
  parts.length > 0 ? parts : ['f32', 'bf16', 'attention', 'kernels', 'recurrences'],
);
