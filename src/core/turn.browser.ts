/** The next turn of the event loop, in a browser. */

/** Settles in a later turn of the event loop, behind what waits for the present one. */
export function turn(): Promise<void> {
  return new Promise((done) => setTimeout(done, 0));
}
