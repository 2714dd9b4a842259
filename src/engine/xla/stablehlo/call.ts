/** A tile kernel in StableHLO: the custom call by which XLA's GPU compiler takes Triton IR. */
import type { TensorType } from '../../../graph/index.js';
import { typeText } from '../mlir/text.js';
import type { TextBuilder } from '../mlir/text.js';
import type { BufferSpec, Kernel } from '../kernels/triton/ir.js';
import { printKernel } from '../kernels/triton/print.js';

const escaped = (text: string): string =>
  text.replaceAll('\\', '\\5C').replaceAll('"', '\\22').replaceAll('\n', '\\0A');

const typeOf = ({ dtype, shape }: BufferSpec): TensorType => ({ dtype, shape });

/** Row-major, as the kernel's offsets have it. */
function layoutText({ shape }: BufferSpec): string {
  const rank = shape.length;
  const order = Array.from({ length: rank }, (_, i) => rank - 1 - i);
  return rank === 0 ? 'dense<> : tensor<0xindex>' : `dense<[${order.join(', ')}]> : tensor<${rank}xindex>`;
}

/**
 * Writes the call; `operands` name the kernel's operands in order. Returns the names of its results. Compiled by XLA
 * with the program around it, for NVIDIA GPUs of compute capability 8.0 on.
 */
export function callKernel(builder: TextBuilder, kernel: Kernel, operands: readonly string[]): string[] {
  const [read, written] = [kernel.buffers.filter((b) => !b.written), kernel.buffers.filter((b) => b.written)];
  const [x, y, z] = kernel.grid;
  const config = [
    `debug = false, grid_x = ${x} : i32, grid_y = ${y} : i32, grid_z = ${z} : i32`,
    `ir = "${escaped(printKernel(kernel))}"`,
    `name = "${kernel.name}", num_stages = ${kernel.numStages} : i32, num_warps = ${kernel.numWarps} : i32`,
  ].join(', ');
  const layouts = (specs: readonly BufferSpec[]): string => `[${specs.map(layoutText).join(', ')}]`;
  const types = (specs: readonly BufferSpec[]): string => specs.map((s) => typeText(typeOf(s))).join(', ');
  const result = written.length === 1 ? types(written) : `(${types(written)})`;
  return builder.defineMany(
    written.length,
    `stablehlo.custom_call @__gpu$xla.gpu.triton(${operands.join(', ')}) {backend_config = "", ` +
      `mhlo.backend_config = {${config}}, operand_layouts = ${layouts(read)}, result_layouts = ${layouts(written)}} : ` +
      `(${types(read)}) -> ${result}`,
  );
}
