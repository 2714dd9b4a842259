/** `scan` as `stablehlo.while`: the counter, the carries, the stacked results, then what every step reads. */
import { at, tensorFrom } from '../../../core/index.js';
import type { Graph, Node, TensorType } from '../../../graph/index.js';
import type { Scope } from './scope.js';
import type { TextBuilder } from '../mlir/text.js';
import { listText, typeText } from '../mlir/text.js';

const COUNTER: TensorType = { dtype: 'i32', shape: [] };

/** Slice `index` of `x` along its leading axis. */
function sliceAt(builder: TextBuilder, x: string, type: TensorType, index: string, zero: string): string {
  const rest = type.shape.slice(1);
  const one = { dtype: type.dtype, shape: [1, ...rest] };
  const at = [index, ...rest.map(() => zero)];
  const types = [typeText(type), ...at.map(() => typeText(COUNTER))].join(', ');
  const cut = builder.define(
    `stablehlo.dynamic_slice ${x}, ${at.join(', ')}, sizes = ${listText(one.shape)} : (${types}) -> ${typeText(one)}`,
  );
  return builder.reshape(cut, one, rest);
}

/** `whole` with slice `index` replaced by `part` (a dynamic update slice). */
function putAt(
  builder: TextBuilder,
  whole: string,
  type: TensorType,
  part: string,
  index: string,
  zero: string,
): string {
  const rest = type.shape.slice(1);
  const one = { dtype: type.dtype, shape: [1, ...rest] };
  const row = builder.reshape(part, { dtype: type.dtype, shape: rest }, one.shape);
  const at = [index, ...rest.map(() => zero)];
  const types = [typeText(type), typeText(one), ...at.map(() => typeText(COUNTER))].join(', ');
  return builder.define(
    `stablehlo.dynamic_update_slice ${whole}, ${row}, ${at.join(', ')} : (${types}) -> ${typeText(type)}`,
  );
}

function zerosLike(builder: TextBuilder, type: TensorType): string {
  const zero = builder.constant(tensorFrom(type.dtype, [], [0]));
  return builder.broadcast(zero, { dtype: type.dtype, shape: [] }, type.shape);
}

/** Writes a scan; `lowerBody` writes the nodes of its body. */
export function lowerScan(
  node: Node<'scan'>,
  inputs: readonly string[],
  scope: Scope,
  lowerBody: (graph: Graph, scope: Scope) => string[],
): readonly string[] {
  const { builder } = scope;
  const { body, length, numCarry, numXs, reverse, savesCarry } = node.attrs;
  const stackedTypes = node.outputs.slice(numCarry);
  const stacked = stackedTypes.map((type) => zerosLike(builder, type));
  const start = builder.scalar(0, 'i32');
  const initial = [start, ...inputs.slice(0, numCarry), ...stacked, ...inputs.slice(numCarry)];
  const types = [COUNTER, ...node.inputs.slice(0, numCarry), ...stackedTypes, ...node.inputs.slice(numCarry)].map(
    typeText,
  );
  // Constants are carried through the loop unchanged, so that the body reads nothing from outside.
  const args = initial.map(() => builder.name());
  const result = builder.name();
  builder.line(
    `${result}:${initial.length} = stablehlo.while(${args.map((a, i) => `${a} = ${initial[i]}`).join(', ')}) : ${types.join(', ')}`,
  );
  const counter = at(args, 0);
  builder.line('cond {');
  builder.indented(() => {
    const end = builder.scalar(length, 'i32');
    const [i, to] = [typeText(COUNTER), typeText({ dtype: 'bool', shape: [] })];
    const more = builder.define(`stablehlo.compare LT, ${counter}, ${end}, SIGNED : (${i}, ${i}) -> ${to}`);
    builder.line(`stablehlo.return ${more} : ${to}`);
  });
  builder.line('} do {');
  builder.indented(() => {
    const carries = args.slice(1, 1 + numCarry);
    const filled = args.slice(1 + numCarry, 1 + numCarry + stacked.length);
    const read = args.slice(1 + numCarry + stacked.length);
    const index = reverse ? fromEnd(builder, counter, length) : counter;
    const zero = builder.scalar(0, 'i32');
    const xs = read.slice(0, numXs).map((x, i) => {
      const type = at(node.inputs, numCarry + i);
      return sliceAt(builder, x, type, index, zero);
    });
    const given = [...carries, ...xs, ...read.slice(numXs)];
    const inner: Scope = { ...scope, names: new Map(body.inputs.map(({ value }, i) => [value, at(given, i)])) };
    const outs = lowerBody(body, inner);
    const ys = [...outs.slice(numCarry), ...(savesCarry ? carries : [])];
    const next = ys.map((y, i) => putAt(builder, at(filled, i), at(stackedTypes, i), y, index, zero));
    const one = builder.scalar(1, 'i32');
    const count = builder.define(`stablehlo.add ${counter}, ${one} : ${typeText(COUNTER)}`);
    const values = [count, ...outs.slice(0, numCarry), ...next, ...read];
    builder.line(`stablehlo.return ${values.join(', ')} : ${types.join(', ')}`);
  });
  builder.line('}');
  return node.outputs.map((_, i) => `${result}#${i + 1}`);
}

function fromEnd(builder: TextBuilder, counter: string, length: number): string {
  const last = builder.scalar(length - 1, 'i32');
  return builder.define(`stablehlo.subtract ${last}, ${counter} : ${typeText(COUNTER)}`);
}
