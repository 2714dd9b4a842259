/**
 * The part of the ONNX protobuf format that Longsight writes (onnx/onnx.proto, IR version 10), with protobufjs as the
 * encoder.
 */
import protobuf from 'protobufjs/minimal.js';
import { LongsightError, maxOf, type DType, type HostTensor } from '../../core/index.js';

/** TensorProto.DataType. */
export const ONNX_TYPES: Readonly<Record<OnnxType, number>> = {
  f32: 1,
  bf16: 16,
  f16: 10,
  f64: 11,
  i32: 6,
  i64: 7,
  u16: 4,
  bool: 9,
};

/** The element types of ONNX tensors that are written. */
export type OnnxType = DType | 'i64' | 'u16';

/**
 * The element type that stands for a dtype in inputs, outputs and constants: bf16 as its bits, since onnxruntime's Node
 * binding has no tensors of bf16.
 */
export const heldType = (dtype: DType): OnnxType => (dtype === 'bf16' ? 'u16' : dtype);

/** A tensor with its elements (`TensorProto`). */
export interface OnnxTensor {
  readonly name: string;
  readonly type: OnnxType;
  /** The sizes of its dimensions. */
  readonly dims: readonly number[];
  /** Little-endian elements. */
  readonly raw: Uint8Array;
}

/**
 * The value of a node's attribute (`AttributeProto`); a number stands for an integer unless it is wrapped as `{ float
 * }`.
 */
export type OnnxAttribute = number | readonly number[] | string | { readonly float: number } | OnnxGraph | OnnxTensor;

/** One operation (`NodeProto`). */
export interface OnnxNode {
  readonly op: string;
  readonly domain: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: Readonly<Record<string, OnnxAttribute>>;
}

/** A graph's input or output (`ValueInfoProto`). */
export interface OnnxPort {
  readonly name: string;
  readonly type: OnnxType;
  /** The sizes of its dimensions. */
  readonly dims: readonly number[];
  /** A list of such tensors. */
  readonly sequence?: boolean;
}

/** A graph, or the body of a loop (`GraphProto`). */
export interface OnnxGraph {
  readonly name: string;
  readonly nodes: readonly OnnxNode[];
  readonly initializers: readonly OnnxTensor[];
  readonly inputs: readonly OnnxPort[];
  readonly outputs: readonly OnnxPort[];
}

type Writer = protobuf.Writer;

const LENGTH_DELIMITED = 2;
const VARINT = 0;
const FIXED32 = 5;
const tag = (field: number, wire: number): number => (field << 3) | wire;

function text(w: Writer, field: number, value: string): void {
  w.uint32(tag(field, LENGTH_DELIMITED)).string(value);
}

function integer(w: Writer, field: number, value: number): void {
  if (!Number.isSafeInteger(value)) throw new LongsightError(`${value} cannot be written as an ONNX integer`);
  w.uint32(tag(field, VARINT)).int64(value);
}

function nested(w: Writer, field: number, write: (w: Writer) => void): void {
  w.uint32(tag(field, LENGTH_DELIMITED)).fork();
  write(w);
  w.ldelim();
}

function writeTensor(w: Writer, t: OnnxTensor): void {
  for (const d of t.dims) integer(w, 1, d);
  integer(w, 2, ONNX_TYPES[t.type]);
  text(w, 8, t.name);
  w.uint32(tag(9, LENGTH_DELIMITED)).bytes(t.raw);
}

const ATTRIBUTE = { float: 1, int: 2, string: 3, tensor: 4, graph: 5, ints: 7 } as const;

function writeAttribute(w: Writer, name: string, value: OnnxAttribute): void {
  text(w, 1, name);
  const type = (code: number): void => integer(w, 20, code);
  if (typeof value === 'number') {
    integer(w, 3, value);
    type(ATTRIBUTE.int);
  } else if (typeof value === 'string') {
    text(w, 4, value);
    type(ATTRIBUTE.string);
  } else if ('float' in value) {
    w.uint32(tag(2, FIXED32)).float(value.float);
    type(ATTRIBUTE.float);
  } else if ('nodes' in value) {
    nested(w, 6, (inner) => writeGraph(inner, value));
    type(ATTRIBUTE.graph);
  } else if ('raw' in value) {
    nested(w, 5, (inner) => writeTensor(inner, value));
    type(ATTRIBUTE.tensor);
  } else {
    for (const i of value) integer(w, 8, i);
    type(ATTRIBUTE.ints);
  }
}

function writeNode(w: Writer, node: OnnxNode): void {
  for (const name of node.inputs) text(w, 1, name);
  for (const name of node.outputs) text(w, 2, name);
  text(w, 4, node.op);
  for (const [name, value] of Object.entries(node.attributes))
    nested(w, 5, (inner) => writeAttribute(inner, name, value));
  if (node.domain !== '') text(w, 7, node.domain);
}

function writePort(w: Writer, port: OnnxPort): void {
  const tensorType = (type: Writer): void =>
    nested(type, 1, (tensor) => {
      integer(tensor, 1, ONNX_TYPES[port.type]);
      nested(tensor, 2, (shape) => {
        for (const d of port.dims) nested(shape, 1, (dim) => integer(dim, 1, d));
      });
    });
  text(w, 1, port.name);
  nested(w, 2, (type) => {
    if (port.sequence) nested(type, 4, (sequence) => nested(sequence, 1, tensorType));
    else tensorType(type);
  });
}

function writeGraph(w: Writer, graph: OnnxGraph): void {
  for (const node of graph.nodes) nested(w, 1, (inner) => writeNode(inner, node));
  text(w, 2, graph.name);
  for (const t of graph.initializers) nested(w, 5, (inner) => writeTensor(inner, t));
  for (const port of graph.inputs) nested(w, 11, (inner) => writePort(inner, port));
  for (const port of graph.outputs) nested(w, 12, (inner) => writePort(inner, port));
}

/** The default operator set, and for some ops the first that has them. */
const OPSET = 21;
const FIRST_OPSETS: ReadonlyMap<string, number> = new Map([
  ['TensorScatter', 24],
  ['BitCast', 26],
]);

/** The first operator set, from the default one on, that has every op of a graph and of the bodies inside it. */
function opsetOf(graph: OnnxGraph): number {
  return graph.nodes.reduce((most, { op, attributes }) => {
    const bodies = Object.values(attributes).filter((a) => typeof a === 'object' && 'nodes' in a);
    return Math.max(most, FIRST_OPSETS.get(op) ?? OPSET, bodies.length === 0 ? OPSET : maxOf(bodies.map(opsetOf)));
  }, OPSET);
}

/** A ModelProto with the default operator set, or the first that has all of its ops, and `com.microsoft` 1. */
export function encodeModel(graph: OnnxGraph): Uint8Array {
  const w = protobuf.Writer.create();
  integer(w, 1, 10);
  text(w, 2, 'longsight');
  nested(w, 7, (inner) => writeGraph(inner, graph));
  for (const [domain, version] of [
    ['', opsetOf(graph)],
    ['com.microsoft', 1],
  ] as const) {
    nested(w, 8, (inner) => {
      text(inner, 1, domain);
      integer(inner, 2, version);
    });
  }
  return w.finish();
}

/** The bytes of a host tensor. */
export function rawBytes(t: Pick<HostTensor, 'data'>): Uint8Array {
  return new Uint8Array(t.data.buffer, t.data.byteOffset, t.data.byteLength);
}
