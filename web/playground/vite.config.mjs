/** Bundles the playground: the page, the worker that trains, and onnxruntime's WebAssembly with and without relaxed SIMD. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { defineConfig } from 'vite';
import { RELAXED_FILE, withRelaxedSimd } from '../../scripts/relaxed-simd.mjs';
import { browserModules } from '../../scripts/vite-browser.mjs';

const ORT = dirname(createRequire(import.meta.url).resolve('onnxruntime-web/ort-wasm-simd-threaded.wasm'));

/** Puts onnxruntime's files beside the page as they are, and the one for browsers with relaxed SIMD. */
const runtime = () => ({
  name: 'longsight-onnxruntime',
  generateBundle() {
    const emit = (fileName, source) => this.emitFile({ type: 'asset', fileName, source });
    const wasm = readFileSync(join(ORT, 'ort-wasm-simd-threaded.wasm'));
    emit('ort-wasm-simd-threaded.mjs', readFileSync(join(ORT, 'ort-wasm-simd-threaded.mjs')));
    emit('ort-wasm-simd-threaded.wasm', wasm);
    emit(RELAXED_FILE, withRelaxedSimd(wasm));
  },
});

export default defineConfig({
  publicDir: false,
  plugins: [browserModules(), runtime()],
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  resolve: { conditions: ['onnxruntime-web-use-extern-wasm', 'browser', 'module', 'import'] },
  build: {
    outDir: '../../dist/web/playground',
    emptyOutDir: true,
    target: 'es2022',
    cssCodeSplit: false,
    modulePreload: false,
    reportCompressedSize: false,
    rolldownOptions: {
      input: { playground: 'web/playground/main.tsx', worker: 'web/worker/playground.ts' },
      output: {
        format: 'es',
        entryFileNames: '[name].js',
        chunkFileNames: '[name].js',
        assetFileNames: '[name][extname]',
      },
    },
  },
});
