/** The next turn of the event loop. */

/** Settles in the next turn of the event loop, behind what waits for the present one. */
export function turn(): Promise<void> {
  return new Promise((done) => setImmediate(done));
}
