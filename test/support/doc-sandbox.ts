/** A folder with the files that pages of the documentation speak of: run files that they show, texts, a tiny model of Transformers. */
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { LINES, ROOT } from './doc-commands.js';

/** The YAML blocks of the pages that have commands. */
function yamlBlocks(): { page: string; text: string }[] {
  return [...new Set(LINES.map(({ page }) => page))].flatMap((page) =>
    [...readFileSync(join(ROOT, page), 'utf8').matchAll(/```yaml\n([\s\S]*?)```/g)].map(([, text = '']) => ({
      page,
      text,
    })),
  );
}

/**
 * Fills an empty folder: run files that pages show (`# NAME.yaml`), texts, prompts, questions, and a tiny model of Transformers in the
 * place of the one that pages load.
 */
export function fillSandbox(folder: string): void {
  const at = (name: string) => join(folder, name);
  const data = (...path: string[]) => join(ROOT, 'test', 'data', ...path);
  const book = readFileSync(join(ROOT, 'presets', 'corpora', 'moby-dick.txt'), 'utf8');
  mkdirSync(at('texts'));
  [1, 2, 3, 4, 5, 6, 7, 8].forEach((n) =>
    writeFileSync(at(`texts/${'abcdefgh'[n - 1]}.txt`), book.slice(20_000 * n, 20_000 * n + 10_000)),
  );
  writeFileSync(at('book.txt'), book.slice(0, 1000));
  for (const { page, text } of yamlBlocks()) {
    const name = /^# ([\w-]+\.yaml)\n/.exec(text)?.[1];
    if (name === undefined) continue;
    if (existsSync(at(name))) throw new Error(`${page} shows another ${name}`);
    writeFileSync(at(name), text);
  }
  const manifest = yamlBlocks().find(({ text }) => text.startsWith('executors:\n  manifest:'));
  writeFileSync(at('study.yaml'), `${readFileSync(at('windows.yaml'), 'utf8')}${manifest?.text ?? ''}`);
  cpSync(data('texts', 'fallback'), at('SmolLM2-135M'), { recursive: true });
  writeFileSync(
    at('SmolLM2-135M/chat_template.jinja'),
    '{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant: ',
  );
  writeFileSync(at('prompts.jsonl'), '{"text": "the quick"}\n{"text": "the lazy"}\n');
  writeFileSync(at('chats.jsonl'), '{"messages": [{"role": "user", "content": "the fox"}]}\n');
  cpSync(data('hf', 'qwen2'), at('qwen2'), { recursive: true });
  const context = 'Ada wrote notes on the engine.';
  const qas = [{ question: 'Who wrote notes?', answers: [{ text: 'Ada' }] }];
  writeFileSync(at('dev-v2.0.json'), JSON.stringify({ data: [{ paragraphs: [{ context, qas }] }] }));
  const paragraphs = [['City', ['Rome is old.']]];
  writeFileSync(
    at('hotpot_dev_distractor_v1.json'),
    JSON.stringify([{ question: 'What is old?', answer: 'Rome', context: paragraphs }]),
  );
  writeFileSync(at('samples.jsonl'), `${JSON.stringify({ index: 0, input: 'the fox is ', outputs: ['quick'] })}\n`);
  for (const name of ['task.jsonl', 'other.jsonl']) cpSync(data('choice', 'questions.jsonl'), at(name));
}
