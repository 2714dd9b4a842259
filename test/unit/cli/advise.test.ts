/** `longsight advise` as people call it. */
import { describe, expect, it } from 'vitest';
import { cli } from '../../support/cli.js';
import { FAKE_DESIGNS, writeFakeStudy } from '../../support/fake-study.js';
import { temporaryFolder } from '../../support/folders.js';

function study(): string {
  const dir = temporaryFolder();
  const runs = FAKE_DESIGNS.slice(0, 2).flatMap(({ label, pattern, formsAt }) =>
    formsAt.map((tokens, i) => ({
      ...{ name: `${pattern}_${i + 1}`, architecture: label, pattern, seed: i + 1, formsAt: tokens },
    })),
  );
  writeFakeStudy(dir, runs);
  return dir;
}

describe('longsight advise', () => {
  it('prints an answer, a table, how sure it is and what would settle it', async () => {
    const { code, stdout } = await cli(['advise', study(), '--kv-budget', '40MiB']);
    expect(code).toBe(0);
    expect(stdout).toContain('swa:8 + full is the one design that fits 40.0 MiB of cache at 65,536 tokens');
    expect(stdout).toMatch(/\nfull +no +4 x 64 +222 k +64\.0 MiB +40,960 /);
    expect(stdout).toContain('full does not fit: its cache is 1.6 × the budget.');
    expect(stdout).toContain('How sure\n  Measured with 2 seeds of swa:8 + full.');
  });

  it('gives the same to programs', async () => {
    const { code, stdout } = await cli(['advise', study(), '--context', '4k', '--json']);
    expect(code).toBe(0);
    const { event, request, studies } = JSON.parse(stdout) as {
      readonly event: string;
      readonly request: object;
      readonly studies: readonly { readonly designs: readonly { readonly cacheBytes: number }[] }[];
    };
    expect(event).toBe('advice');
    expect(request).toEqual({
      ...{ context: 4096, kvBudget: null, params: null, flops: null, cacheDtype: 'bf16', by: 'recall' },
    });
    expect(studies[0]?.designs.map(({ cacheBytes }) => cacheBytes)).toEqual([
      2 * 4096 * 256 + 2 * 8 * 256,
      4 * 4096 * 256,
    ]);
  });

  it.each([
    [['nowhere'], /^longsight: nowhere is not a study folder \(study\.json\)/],
    [['a', 'a'], /^longsight: a is named twice/],
    [['a', './a/'], /^longsight: \.\/a\/ is named twice/],
    [
      ['a', '--kv-budget', '1 giga'],
      /^longsight: --kv-budget must be bytes, such as 1GB, 512MiB or 1000000, got "1 giga"/,
    ],
    [['a', '--kv-budget', '0'], /^longsight: --kv-budget must be bytes/],
    [['a', '--params', '-5'], /^longsight: --params must be a number of at least 1, such as 100M or 1\.5B, got "-5"/],
    [['a', '--params', '1e14'], /^longsight: --params 100000000000000 is too many; give at most 10000000000000/],
    [['a', '--context', '4k,8k'], /^longsight: --context must be one number of tokens/],
    [['a', '--by', 'luck'], /^longsight: --by must be one of recall, loss, got "luck"/],
  ])('refuses %j in one sentence', async (args, message) => {
    const { code, stdout, stderr } = await cli(['advise', ...args]);
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr).toMatch(message);
  });
});
