/** Bundles the dashboard's page into two files, which the server sends and a static site opens from a folder. */
import { defineConfig } from 'vite';

export default defineConfig({
  publicDir: false,
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  build: {
    outDir: '../dist/web',
    emptyOutDir: true,
    target: 'es2022',
    cssCodeSplit: false,
    reportCompressedSize: false,
    // A plain script, not a module: browsers load no modules from files.
    lib: {
      entry: 'main.tsx',
      formats: ['iife'],
      name: 'LongsightDashboard',
      fileName: () => 'app.js',
      cssFileName: 'app',
    },
  },
});
