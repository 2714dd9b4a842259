/** What computes bf16 programs on CUDA, in words: `reason` and `doctor` print what the kernels say of themselves. */
import type { KernelSupport } from '../../contract/engine.js';
import type { NamedKernel } from '../kernels/taken.js';
import type { Mesh } from '../mesh/sharding.js';
import { TILE_KERNELS } from '../passes/fuse.js';
import { CUDNN_KERNELS } from '../stablehlo/cudnn.js';
import { RECURRENCE_KERNELS } from '../stablehlo/recurrence.js';
import type { CompileScope } from './program.js';

/** Every kernel that is written here, in the order in which engines name them. */
const OWN_KERNELS: readonly NamedKernel[] = [...TILE_KERNELS, RECURRENCE_KERNELS];

/** Which kernels an engine's programs may use. */
type Uses = Pick<CompileScope, 'cudnn' | 'tileKernels'>;

/** Says in words which kernels compute attention and recurrences, for a run's record. */
export function kernelsInUse({ size, axes }: Mesh, { cudnn, tileKernels }: Uses): string {
  const rest = cudnn ? 'cuDNN' : 'XLA';
  if (!tileKernels) return `bf16 attention by ${rest}`;
  const device = { dividesHeads: axes.tensor > 1 };
  const said = OWN_KERNELS.map((kernel) => ({ name: kernel.name, taken: kernel.takes(device) }));
  const taken = said.flatMap(({ taken }) => ('takes' in taken ? (taken.briefly ?? []) : []));
  const ours = `${taken.slice(0, -1).join(', ')} and ${taken.slice(-1).join()}`;
  const where = size > 1 ? ' on each device' : '';
  const others = said.flatMap(({ name, taken }) =>
    'whyNot' in taken && taken.notable ? [`, ${name} by XLA, for ${taken.whyNot}`] : [],
  );
  return `bf16 ${ours} by tile kernels${where}, other attention by ${rest}${others.join('')}, what none of these takes in XLA's general form`;
}

/** What each kernel takes on a mesh, or why it takes nothing; one entry for each. */
export function kernelSupport({ axes }: Mesh, { cudnn, tileKernels }: Uses): KernelSupport[] {
  const device = { dividesHeads: axes.tensor > 1 };
  const entry = (kernel: NamedKernel, used: boolean): KernelSupport => {
    const { name } = kernel;
    const taken = used ? kernel.takes(device) : { whyNot: 'it is for CUDA devices' };
    return 'takes' in taken ? { name, takes: taken.takes, whyNot: null } : { name, takes: null, whyNot: taken.whyNot };
  };
  return [...OWN_KERNELS.map((kernel) => entry(kernel, tileKernels)), entry(CUDNN_KERNELS, cudnn)];
}

/** Every kernel, none of which can be used for the given reason. */
export function kernelsNotUsed(whyNot: string): KernelSupport[] {
  return [...OWN_KERNELS, CUDNN_KERNELS].map(({ name }) => ({ name, takes: null, whyNot }));
}
