/**
 * Checks the xla engine on a device against the reference engine: every op and derivative in float32 and bfloat16, cuDNN's
 * attention at the edges of its windows, every tile kernel, and those of the recurrences. A program of its own, for hosts without
 * test tools; prints one JSON line per check and ends with code 1 if one failed.
 *
 * usage: node check.js PLATFORM [f32] [bf16] [attention] [kernels] [recurrences]
 */
import { isFloat, tensorFrom, toNumbers, type HostTensor } from '../../src/core/index.js';
import { createXlaEngine, evaluateReference, type Platform, type XlaEngine } from '../../src/engine/index.js';
import * as L from '../../src/graph/index.js';
import type { Graph, OpName, Value } from '../../src/graph/index.js';
import { OP_CASES, caseTensors, type OpCase } from '../support/cases.js';
import { randomTensor } from '../support/random.js';
import { checkTileKernels, type KernelFinding } from './kernels.js';
import { checkRecurrences, type RecurrenceFinding } from './recurrences.js';
import { gradients, runOn } from './run.js';

type Float = 'f32' | 'bf16';

/** Largest |actual - expected| / (atol + rtol |expected|) that passes is 1. */
const TOLERANCES = { f32: { rtol: 2e-5, atol: 1e-5 }, bf16: { rtol: 3e-2, atol: 3e-2 } } as const;

/** Ops whose float64 result on rounded inputs says nothing about bf16: results jump where an input rounds. */
const NOT_IN_BF16: ReadonlySet<string> = new Set(['floor', 'sign', 'argmax', 'convert']);

interface Finding {
  readonly check: string;
  readonly worst: number;
  readonly ratio: number;
  readonly at: string;
}

function rounded(tensor: HostTensor, float: Float): HostTensor {
  return float === 'bf16' && isFloat(tensor.dtype) ? tensorFrom('bf16', tensor.shape, toNumbers(tensor)) : tensor;
}

/** All cases of an op in one program, which compiles faster than many. */
function joined(
  op: OpName,
  cases: readonly OpCase[],
  float: Float,
  derivative: boolean,
): { graph: Graph; tensors: Record<string, HostTensor> } {
  const inputs: Record<string, Value> = {};
  const outputs: Record<string, Value> = {};
  const tensors: Record<string, HostTensor> = {};
  cases.forEach((c, k) => {
    if (derivative && c.noGradient !== undefined) return;
    const own = caseTensors(c, op, 'f32').map((t) => rounded(t, float));
    const values = own.map((t, i) => L.input(`c${k}.in${i}`, t.dtype, t.shape));
    values.forEach((v, i) => {
      inputs[`c${k}.in${i}`] = v;
      tensors[`c${k}.in${i}`] = own[i] as HostTensor;
    });
    const results = c.build(values, float as 'f32');
    const named = derivative ? gradients(results, values, `${op}/${c.name}`) : results;
    named.forEach((v, i) => (outputs[`c${k}.out${i}`] = v));
  });
  return { graph: L.makeGraph(inputs, outputs), tensors };
}

function compare(
  check: string,
  actual: Record<string, HostTensor>,
  expected: Record<string, HostTensor>,
  float: Float,
): Finding {
  let finding: Finding = { check, worst: 0, ratio: 0, at: '' };
  const { rtol, atol } = TOLERANCES[float];
  for (const [name, want] of Object.entries(expected)) {
    const [a, b] = [toNumbers(actual[name] as HostTensor), toNumbers(want)];
    // bf16 errors grow with the sizes that were summed: measured against the largest element of the tensor.
    const scale = float === 'bf16' ? b.reduce((m, x) => Math.max(m, Math.abs(x)), 0) : 0;
    a.forEach((x, i) => {
      const y = b[i] as number;
      if (x === y || (Number.isNaN(x) && Number.isNaN(y))) return;
      const worst = Math.abs(x - y);
      const ratio = Number.isFinite(worst) ? worst / (atol + rtol * Math.max(scale, Math.abs(y))) : Infinity;
      if (ratio > finding.ratio) finding = { check, worst, ratio, at: `${name}[${i}]: ${x}, expected ${y}` };
    });
  }
  return finding;
}

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
    for (const [op, cases] of Object.entries(OP_CASES) as [OpName, readonly OpCase[]][]) {
      if (float === 'bf16' && NOT_IN_BF16.has(op)) continue;
      for (const derivative of [false, true]) {
        const check = `${float} ${op}${derivative ? ', derivative' : ''}`;
        try {
          const { graph, tensors } = joined(op, cases, float, derivative);
          if (graph.outputs.length === 0) continue;
          report(compare(check, await runOn(engine, graph, tensors), evaluateReference(graph, tensors), float));
        } catch (error) {
          failed++;
          print({ check, ok: false, error: (error as Error).message.slice(0, 500) });
        }
      }
    }
  }
  const reportKernel = (finding: KernelFinding | RecurrenceFinding): void => {
    if (!finding.ok) failed++;
    print(finding);
  };
  if (parts.includes('kernels')) await checkTileKernels(engine, reportKernel);
  if (parts.includes('recurrences')) await checkRecurrences(engine, reportKernel);
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
