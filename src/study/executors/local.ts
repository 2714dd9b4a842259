/** `--executor local`: worker processes of this host. */
import { z } from 'zod';
import { defineExecutor } from './contract.js';

/** Trains runs in worker processes of this host, and waits for them. */
export const local = defineExecutor({
  summary: 'worker processes of this host',
  options: z.undefined(),
  can: [],
  isLocal: true,
  start: async ({ trainHere }) => ({ kind: 'ended', outcomes: await trainHere() }),
});
