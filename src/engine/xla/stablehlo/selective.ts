/** The selective scan as tile kernels on NVIDIA GPUs: states go with their channels last, partial sums are added up. */
import { at, dims, entry, present } from '../../../core/index.js';
import type { Node, TensorType } from '../../../graph/index.js';
import type { Mesh } from '../mesh/sharding.js';
import type { TextBuilder } from '../mlir/text.js';
import {
  SELECTIVE_TUNING,
  selectiveBackward,
  selectiveForward,
  type Arrays,
  type SelectiveShape,
} from '../kernels/recurrence/index.js';
import type { KeptFor } from './composites.js';
import { runIn } from './recurrence.js';
import type { Scope } from './scope.js';

type SelectiveOp = KeptFor<'selectiveScan'>;

/** States of a channel, all of which a lane holds in registers. */
const STATES: readonly number[] = [4, 8, 16];

/** Whether the kernels can do this scan; or why not. */
export function fitsSelectiveKernels({ inputs, attrs }: Node<SelectiveOp>, mesh: Mesh | null): true | string {
  const [{ dtype, shape }, , , , rates] = inputs;
  const [channels, states] = [at(shape, 2), at(rates.shape, 1)];
  if (!attrs.ownGradient) return 'a chunked form is asked for';
  if (mesh !== null) return 'several devices';
  if (dtype !== 'bf16' && dtype !== 'f32') return `${dtype}, neither bf16 nor f32`;
  if (!STATES.includes(states)) return `${states} states of a channel, not ${STATES.join(', ')}`;
  const { block } = SELECTIVE_TUNING;
  return channels % block === 0 || `${channels} channels, not a multiple of ${block}`;
}

/** `[B,I,N]` with channels last, and back. */
const channelsLast = (builder: TextBuilder, x: string, type: TensorType): string =>
  builder.transpose(x, type, [0, 2, 1]);

/** The sum of an f32 tensor over leading axes. */
function summed(builder: TextBuilder, x: string, shape: readonly number[], axes: readonly number[]): string {
  return builder.reduce(x, { dtype: 'f32', shape }, axes, 'add', 0);
}

/** selectiveScan, or its gradient. */
export function lowerSelective(node: Node<SelectiveOp>, names: readonly string[], scope: Scope): readonly string[] {
  const { builder } = scope;
  const types = node.inputs;
  const [batch, tokens, channels] = dims(types[0], 3);
  const [{ dtype: given }, , , , ratesType] = types;
  const [states, dtype] = [at(ratesType.shape, 1), given === 'bf16' ? 'bf16' : 'f32'] as const;
  const { segments, initialState } = node.attrs;
  const shape: SelectiveShape = { batch, tokens, channels, states, dtype, segments };
  const stateType: TensorType = { dtype: 'f32', shape: [batch, channels, states] };
  const lastType: TensorType = { dtype: 'f32', shape: [batch, states, channels] };
  const state = (x: string): string => channelsLast(builder, x, stateType);
  const [u, write, read, step] = [at(names, 0), at(names, 1), at(names, 2), at(names, 3)];
  const rest = names.slice(5);
  const documents = segments ? { segments: present(rest.shift()) } : {};
  const zero = (): string => builder.broadcast(builder.scalar(0, 'f32'), { dtype: 'f32', shape: [] }, lastType.shape);
  const operands: Arrays<string> = {
    ...{ u, write, read, step, rates: builder.transpose(at(names, 4), ratesType, [1, 0]), ...documents },
    initial: initialState ? state(present(rest.shift())) : zero(),
  };
  const run = runIn(builder);
  if (node.op === 'selectiveScan') {
    const results = selectiveForward(run, shape, operands);
    return [entry(results, 'y'), channelsLast(builder, entry(results, 'last'), lastType)];
  }
  const grads = selectiveBackward(run, shape, { ...operands, dout: at(rest, 0), dstate: state(at(rest, 1)) });
  const sharedShape = [batch, tokens, states];
  const shared = (name: string): string => {
    const sum = summed(builder, entry(grads, name), [channels / SELECTIVE_TUNING.block, ...sharedShape], [0]);
    return builder.convert(sum, { dtype: 'f32', shape: sharedShape }, dtype);
  };
  const chunks = Math.ceil(tokens / SELECTIVE_TUNING.chunk);
  const dRates = summed(builder, entry(grads, 'drates'), [batch, chunks, states, channels], [0, 1]);
  return [
    ...[entry(grads, 'du'), shared('dwrite'), shared('dread'), entry(grads, 'dstep')],
    builder.transpose(dRates, { dtype: 'f32', shape: [states, channels] }, [1, 0]),
    ...(initialState ? [channelsLast(builder, entry(grads, 'dinitial'), lastType)] : []),
  ];
}
