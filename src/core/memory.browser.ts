/** How much memory there is, in a browser. */

/** What 32-bit WebAssembly can address, in bytes: the most that an engine in a browser may use. */
export function memoryOfProcess(): number {
  return 2 ** 32;
}
