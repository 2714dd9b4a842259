export { isPlain, merge, parsePath, unknownName, valueAt, withValueAt, type Plain } from './overrides.js';
export {
  checkRun,
  evaluateCheckpoint,
  HEADS,
  performRun,
  precisionOf,
  traceCheckpoint,
  type PerformOptions,
} from './run.js';
export {
  documentedRunSchema,
  loadRunFile,
  resolveRunConfig,
  runSchema,
  type FullRunConfig,
  type Setting,
} from './run-config.js';
export { locate, parseYaml, parseYamlConfig, readYamlFile, toYaml, type YamlFile } from './yaml-file.js';
