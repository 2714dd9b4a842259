import eslint from '@eslint/js';
import jsdoc from 'eslint-plugin-jsdoc';
import tseslint from 'typescript-eslint';
import { noFragments, publicQuantities, whyComments } from './scripts/eslint-comments.mjs';
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
  {
    // CONTRIBUTING.md, "Comments", says what a good one is; these rules see to it that there is one.
    files: ['src/**/*.ts'],
    ignores: ['**/*.test.ts'],
    plugins: {
      jsdoc,
      comments: {
        rules: { 'public-quantities': publicQuantities, 'why-comments': whyComments, 'no-fragments': noFragments },
      },
    },
    rules: {
      'jsdoc/require-jsdoc': [
        'error',
        {
          enableFixer: false,
          exemptOverloadedImplementations: true,
          require: { FunctionDeclaration: false },
          contexts: [
            'ExportNamedDeclaration > FunctionDeclaration',
            'ExportNamedDeclaration > TSDeclareFunction:first-child',
            'ExportNamedDeclaration > ClassDeclaration',
            'ExportNamedDeclaration > TSInterfaceDeclaration',
            'ExportNamedDeclaration > TSTypeAliasDeclaration',
            'ExportNamedDeclaration > TSEnumDeclaration',
            'ExportNamedDeclaration[declaration.type="VariableDeclaration"]',
          ],
        },
      ],
      'jsdoc/no-blank-blocks': 'error',
      'jsdoc/require-description': ['error', { descriptionStyle: 'body', contexts: ['any'] }],
      'jsdoc/informative-docs': 'error',
      'jsdoc/require-throws-description': 'error',
      'comments/no-fragments': 'error',
      'comments/public-quantities': 'error',
      'comments/why-comments': 'error',
      'max-len': ['error', { code: 100_000, comments: 120, ignoreUrls: true }],
    },
  },
);
