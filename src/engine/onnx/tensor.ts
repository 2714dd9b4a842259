/** Tensors of the onnx engine, in Node and in browsers: arrays of the host. */
import { EngineError, messageOf, type DType, type HostArray, type HostTensor, type Shape } from '../../core/index.js';
import type { DeviceTensor } from '../contract/engine.js';

/** A tensor of the onnx engine. */
export class OnnxTensor implements DeviceTensor {
  readonly engine = 'onnx';
  /** Whether it was donated, so that another tensor has its memory. */
  consumed = false;
  constructor(
    readonly dtype: DType,
    readonly shape: Shape,
    readonly data: HostArray,
  ) {}
}

/**
 * A tensor as one of the onnx engine.
 *
 * @param what its name in errors, such as `input "x"`
 * @throws EngineError if it belongs to another engine or was donated
 */
export function ownTensor(t: DeviceTensor, what: string): OnnxTensor {
  if (!(t instanceof OnnxTensor)) throw new EngineError(`onnx: ${what} belongs to engine ${t.engine}`);
  if (t.consumed)
    throw new EngineError(`onnx: ${what} was donated to an earlier run; keep the output that took its place`);
  return t;
}

/** `Engine.upload`, `download` and `dispose`: nothing moves, and there is nothing to close. */
export const HOST_MEMORY = {
  upload: (tensor: HostTensor) => new OnnxTensor(tensor.dtype, tensor.shape, tensor.data),
  download: async (t: DeviceTensor) => {
    const { dtype, shape, data } = ownTensor(t, 'the tensor');
    return { dtype, shape, data: data.slice() };
  },
  dispose: async () => {},
};

/** The error of a program that onnxruntime does not take. */
export const notTaken = (cause: unknown): EngineError =>
  new EngineError(`onnx: onnxruntime did not take the program: ${messageOf(cause)}`, { cause });

/** The error of a run that failed. */
export const runFailed = (cause: unknown): EngineError =>
  new EngineError(`onnx: the program failed: ${messageOf(cause)}`, { cause });
