#!/usr/bin/env node
/**
 * What a stranger meets: packs the package, checks the tarball with publint and Are The Types Wrong, installs it in an empty project,
 * type-checks and runs the program of the README there, compiles the examples, imports every path of `exports`, and starts the command line.
 *
 *     node scripts/check-package.mjs
 *
 * Needs the npm registry only. Run after `npm ci`.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, posix } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..');
const folder = mkdtempSync(join(tmpdir(), 'longsight-package-'));
const project = mkdtempSync(join(tmpdir(), 'longsight-project-'));

/** Runs a command to its end; anything but exit code 0 ends this script. */
function run(cwd, command, ...args) {
  console.log(`$ ${command} ${args.join(' ')}`);
  const { status, stdout, stderr } = spawnSync(command, args, { cwd, encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${status}:\n${stdout}\n${stderr}`);
  return stdout.trim();
}

const require_ = (condition, what) => {
  if (!condition) throw new Error(what);
};

try {
  run(ROOT, 'npm', 'pack', '--pack-destination', folder);
  const tarball = join(
    folder,
    readdirSync(folder).find((name) => name.endsWith('.tgz')),
  );
  run(ROOT, 'npx', 'publint', '--strict', tarball);
  run(ROOT, 'npx', 'attw', '--profile', 'esm-only', tarball);
  const files = run(ROOT, 'tar', '-tzf', tarball).split('\n');
  require_(
    !files.some((file) => /\.map$|\.test\.|tsbuildinfo/.test(file)),
    'the tarball holds maps, tests or build records',
  );
  for (const file of [
    'dist/index.js',
    'dist/index.d.ts',
    'dist/cli/main.js',
    'dist/web/app.js',
    'dist/web/app.css',
    'dist/web/playground/worker.js',
    'dist/web/playground/ort-wasm-simd-threaded.wasm',
    'dist/web/playground/ort-wasm-simd-threaded.relaxed.wasm',
    'docs/model.md',
    'presets/recall.yaml',
    'examples/README.md',
    'CONTRIBUTING.md',
    'README.md',
  ])
    require_(files.includes(`package/${file}`), `the tarball lacks ${file}`);
  // Pages of the manual may link to studies and benchmarks, which stay in the repository, and say so; the examples to what is there.
  const examplesPage = readFileSync(join(ROOT, 'examples', 'README.md'), 'utf8');
  for (const [, target] of examplesPage.matchAll(/\]\((?!https:)([^)#]+)/g))
    require_(
      files.includes(posix.join('package/examples', target)),
      `examples/README.md links to ${target}, which the tarball lacks`,
    );

  // As a user does, with the flag that the README names for machines that only the npm registry answers.
  writeFileSync(join(project, 'package.json'), JSON.stringify({ name: 'empty', private: true, type: 'module' }));
  const { devDependencies } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
  const compilers = ['typescript', '@types/node'].map((name) => `${name}@${devDependencies[name]}`);
  run(project, 'npm', 'install', '--no-audit', '--no-fund', '--onnxruntime-node-install=skip', tarball, ...compilers);

  // The line by which the README brings the CPU engine where npm has left it out.
  run(project, 'npm', 'install', 'onnxruntime-node', '--onnxruntime-node-install=skip');

  const program = /```ts\n([\s\S]*?)```/.exec(readFileSync(join(ROOT, 'README.md'), 'utf8'))[1];
  writeFileSync(join(project, 'program.ts'), program);
  const strict = ['--strict', '--module', 'nodenext', '--target', 'es2022', '--types', 'node', '--skipLibCheck'];
  run(project, 'npx', 'tsc', ...strict, 'program.ts');
  const printed = run(project, process.execPath, 'program.js');
  console.log(printed);
  require_(/^after 5 steps: Int32Array\(4\)/m.test(printed), 'the program of the README did not train and generate');

  // The examples that ship, against the declarations that ship.
  const examples = join(project, 'node_modules', 'longsight', 'examples');
  const programs = readdirSync(examples).filter((name) => name.endsWith('.ts'));
  for (const name of programs) writeFileSync(join(project, name), readFileSync(join(examples, name)));
  run(project, 'npx', 'tsc', ...strict, ...programs);

  const { exports } = JSON.parse(readFileSync(join(project, 'node_modules', 'longsight', 'package.json'), 'utf8'));
  const paths = Object.keys(exports).filter((path) => !path.endsWith('.json'));
  const imports = paths.map((path) => `longsight${path.slice(1)}`);
  const script = `for (const name of ${JSON.stringify(imports)}) if (Object.keys(await import(name)).length === 0) throw new Error(name)`;
  run(project, process.execPath, '--input-type=module', '-e', `${script}; process.exit(0)`);
  console.log(`${imports.length} paths can be imported`);
  console.log(run(project, 'npx', 'longsight', '--version'));
  run(project, 'npx', 'longsight', 'doctor');
} finally {
  rmSync(folder, { recursive: true, force: true });
  rmSync(project, { recursive: true, force: true });
}
