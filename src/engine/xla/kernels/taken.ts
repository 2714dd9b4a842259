/** What kernels say of themselves: what they take on some devices, or why they take nothing there. */

/** The devices that kernels are placed on, as far as kernels differ by them. */
export interface KernelDevice {
  /**
   * Tensor parallelism: heads and the classes of logits are sharded, so that kernels read heads from separate tensors,
   * and losses have no kernel.
   */
  readonly dividesHeads: boolean;
}

/** What a kernel takes on some devices, or why it takes nothing there. */
type Taken =
  | {
      /** What it takes, with all its limits. */
      readonly takes: string;
      /** The same in the words of an engine's `reason`; left out where that goes without saying. */
      readonly briefly?: string;
    }
  | {
      readonly whyNot: string;
      /** Said in an engine's `reason`, too. */
      readonly notable?: boolean;
    };

/** A kernel, or several that belong together, as `doctor` and an engine's `reason` name them. */
export interface NamedKernel {
  readonly name: string;
  takes(device: KernelDevice): Taken;
}
