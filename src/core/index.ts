export * from './aliases.js';
export * from './at.js';
export * from './cache-folder.js';
export * from './dot.js';
export * from './csv.js';
export * from './differences.js';
export {
  isDiskFull,
  needFolder,
  openPart,
  openScratch,
  outputPath,
  removePath,
  renamePath,
  tryToRemove,
  writeAll,
  writeInPlace,
} from './disk.js';
export * from './dtype.js';
export * from './errors.js';
export { checkFence } from './fence.js';
export * from './files.js';
export * from './fingerprint.js';
export * from './folder-names.js';
export * from './format.js';
export * from './holder.js';
export * from './hub.js';
export * from './json.js';
export * from './limits.js';
export * from './lists.js';
export * from './lock.js';
export * from './messages.js';
export * from './pending.js';
export * from './turns.js';
export * from './rng.js';
export * from './schema.js';
export * from './simultaneous.js';
export * from './statistics.js';
export { isTemporary, namesIn, removeLeftovers, temporaryPath } from './temporary.js';
export * from './tensor.js';
export * from './token-ids.js';
export * from './trust.js';
export * from './utf8.js';
