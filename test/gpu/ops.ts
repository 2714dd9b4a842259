/** Every op and its derivative on a device, in float32 or bfloat16, against the reference engine in float64. */
import { isFloat, tensorFrom, toNumbers, type HostTensor } from '../../src/core/index.js';
import { evaluateReference, type XlaEngine } from '../../src/engine/index.js';
import * as L from '../../src/graph/index.js';
import type { Graph, OpName, Value } from '../../src/graph/index.js';
import { OP_CASES, caseTensors, type OpCase } from '../support/cases.js';
import { gradients, runOn } from './run.js';

export type Float = 'f32' | 'bf16';

/** Largest |actual - expected| / (atol + rtol |expected|) that passes is 1. */
const TOLERANCES = { f32: { rtol: 2e-5, atol: 1e-5 }, bf16: { rtol: 3e-2, atol: 3e-2 } } as const;

/** Ops whose float64 result on rounded inputs says nothing about bf16: results jump where an input rounds. */
const NOT_IN_BF16: ReadonlySet<string> = new Set(['floor', 'sign', 'argmax', 'convert']);

export interface Finding {
  readonly check: string;
  readonly worst: number;
  readonly ratio: number;
  readonly at: string;
}

export function rounded(tensor: HostTensor, float: Float): HostTensor {
  return float === 'bf16' && isFloat(tensor.dtype) ? tensorFrom('bf16', tensor.shape, toNumbers(tensor)) : tensor;
}

/** All cases of an op in one program, which compiles faster than many. */
export function joined(
  op: OpName,
  cases: readonly OpCase[],
  float: Float,
  derivative: boolean,
): { graph: Graph; tensors: Record<string, HostTensor> } {
  const inputs: Record<string, Value> = {};
  const outputs: Record<string, Value> = {};
  const tensors: Record<string, HostTensor> = {};
  cases.forEach((c, k) => {
    if (c.derivativeOf !== undefined || (derivative && c.noGradient !== undefined)) return;
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

export function compare(
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

/**
 * One finding an op and one its derivative; `fail` takes what could not be computed at all. Of ops that `only` names these
 * cases alone.
 */
export async function checkOps(
  engine: XlaEngine,
  float: Float,
  report: (finding: Finding) => void,
  fail: (check: string, error: Error) => void,
  only: Partial<Record<OpName, readonly string[]>> = {},
): Promise<void> {
  for (const [op, all] of Object.entries(OP_CASES) as [OpName, readonly OpCase[]][]) {
    if (float === 'bf16' && NOT_IN_BF16.has(op)) continue;
    const cases = all.filter(({ name }) => only[op]?.includes(name) ?? true);
    for (const derivative of [false, true]) {
      const check = `${float} ${op}${derivative ? ', derivative' : ''}`;
      try {
        const { graph, tensors } = joined(op, cases, float, derivative);
        if (graph.outputs.length === 0) continue;
        report(compare(check, await runOn(engine, graph, tensors), evaluateReference(graph, tensors), float));
      } catch (error) {
        fail(check, error as Error);
      }
    }
  }
}
