/** Divided tensors come to the host in one order on every process, whatever compiling takes. */
import { expect, it } from 'vitest';
import { hostTensor, turn } from '../../../src/core/index.js';
import type { Executable, Sharding } from '../../../src/engine/index.js';
import { Gatherer } from '../../../src/engine/xla/engine/gather.js';
import { XlaTensor } from '../../../src/engine/xla/engine/tensor.js';

const ROWS: Sharding = [['fsdp'], []];
const COLUMNS: Sharding = [[], ['fsdp']];

function divided(shape: readonly number[], sharding: Sharding): XlaTensor {
  return new XlaTensor('f32', shape, { placement: { sharding, buffers: [] } });
}

/** A process whose compiler takes as many turns for a program as `delays` says, in order of compiling. */
function processOf(delays: readonly number[]) {
  const [started, released]: [string[], string[]] = [[], []];
  let compiled = 0;
  const gatherer = new Gatherer({
    compile: async (graph, sharding) => {
      for (let i = delays[compiled++] ?? 0; i > 0; i--) await turn();
      const run: Executable['run'] = ({ x }) => {
        started.push(`${String(x?.shape)} ${JSON.stringify(sharding)}`);
        return Promise.resolve({
          y: new XlaTensor('f32', x?.shape ?? [], { placement: { sharding: [], buffers: [] } }),
        });
      };
      return { graph, run, dispose: () => Promise.resolve() };
    },
    fetch: (tensor) =>
      Promise.resolve(hostTensor('f32', tensor.shape, new Float32Array(tensor.shape.reduce((a, b) => a * b, 1)))),
    release: (tensor) => void released.push(String(tensor.shape)),
  });
  return { gatherer, started, released, programs: () => compiled };
}

it('starts gathers in the order in which they are asked for, however long each takes to compile', async () => {
  const order: string[][] = [];
  for (const delays of [
    [9, 0, 4],
    [0, 9, 1],
  ]) {
    const own = processOf(delays);
    const tensors = [divided([4, 1], ROWS), divided([6, 1], ROWS), divided([8, 2], COLUMNS)];
    await Promise.all(tensors.map((tensor) => own.gatherer.download(tensor)));
    order.push(own.started);
  }
  expect(order[0]).toEqual(['4,1 [["fsdp"],[]]', '6,1 [["fsdp"],[]]', '8,2 [[],["fsdp"]]']);
  expect(order[1]).toEqual(order[0]);
});

it('compiles one program for tensors of one shape and sharding, and frees what it gathered', async () => {
  const own = processOf([1, 1, 1, 1]);
  const tensors = [divided([4, 4], ROWS), divided([4, 4], ROWS), divided([4, 4], COLUMNS)];
  const whole = await Promise.all(tensors.map((tensor) => own.gatherer.download(tensor)));
  expect(whole.map(({ shape }) => shape)).toEqual([
    [4, 4],
    [4, 4],
    [4, 4],
  ]);
  expect(own.programs()).toBe(2);
  expect(own.released).toHaveLength(3);
});
