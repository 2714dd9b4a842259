export * from './index.browser.js';
export * from './cache-folder.js';
export * from './csv.js';
export {
  isDiskFull,
  makeNewFolder,
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
export { checkFence } from './fence.js';
export * from './files.js';
export * from './fingerprint.js';
export * from './folder-names.js';
export * from './holder.js';
export * from './hub.js';
export * from './json.js';
export * from './lock.js';
export { isTemporary, namesIn, removeLeftovers, temporaryPath } from './temporary.js';
export * from './trust.js';
export * from './utf8.js';
export * from './version.js';
