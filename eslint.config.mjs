import eslint from '@eslint/js';
import tseslint from 'typescript-eslint';
import { noUnboundedSpread } from './scripts/eslint-no-unbounded-spread.mjs';

export default tseslint.config(
  { ignores: ['dist/**', 'build/**', 'runs/**', 'node_modules/**', '**/*.mjs', 'coverage/**', '.venv/**'] },
  eslint.configs.recommended,
  ...tseslint.configs.recommendedTypeChecked,
  {
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-misused-promises': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/require-await': 'off',
      'no-constant-condition': ['error', { checkLoops: false }],
    },
  },
  {
    files: ['src/**/*.ts'],
    ignores: ['**/*.test.ts'],
    plugins: { local: { rules: { 'no-unbounded-spread': noUnboundedSpread } } },
    rules: { 'local/no-unbounded-spread': 'error' },
  },
);
