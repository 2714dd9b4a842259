/** Tensors of the xla engine: one buffer per device, or data still on the host that waits for its first use. */
import { EngineError, type DType, type HostTensor, type Shape } from '../../../core/index.js';
import type { DeviceTensor, Sharding } from '../../contract/engine.js';
import type { PjrtBuffer } from '../pjrt/client.js';

/** Buffers in the order of the mesh's devices, and the tensor's sharding. */
export interface Placement {
  readonly sharding: Sharding;
  readonly buffers: readonly PjrtBuffer[];
}

/** A tensor of the XLA engine: on the host, on devices, or on both. */
export class XlaTensor implements DeviceTensor {
  readonly engine = 'xla';
  /** The host's copy; null if there is none. */
  host: HostTensor | null;
  placement: Placement | null;
  state: 'live' | 'donated' | 'released' = 'live';

  constructor(
    readonly dtype: DType,
    readonly shape: Shape,
    content: { readonly host: HostTensor } | { readonly placement: Placement },
  ) {
    this.host = 'host' in content ? content.host : null;
    this.placement = 'placement' in content ? content.placement : null;
  }
}

/** The tensor as ours and usable. Throws `EngineError` that says why not. */
export function ownTensor(t: DeviceTensor, what: string): XlaTensor {
  if (!(t instanceof XlaTensor)) throw new EngineError(`xla: ${what} belongs to engine ${t.engine}`);
  if (t.state === 'donated') {
    throw new EngineError(`xla: ${what} was donated to an earlier run; keep the output that took its place`);
  }
  if (t.state === 'released') throw new EngineError(`xla: ${what} was released, or its engine disposed of`);
  return t;
}
