import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { folderWith } from '../../test/support/folders.js';
import { ConfigError, DataError } from '../core/index.js';
import { readChatTemplate, type ChatMessage } from './chat-template.js';
import { openTokenizer } from './tokenizer.js';

interface Recorded {
  readonly templates: Readonly<Record<string, string>>;
  readonly conversations: Readonly<Record<string, ChatMessage[]>>;
  readonly cases: readonly {
    readonly template: string;
    readonly conversation: string;
    readonly prompt: boolean;
    readonly text?: string;
    readonly ids?: number[];
    readonly error?: string;
  }[];
}

const DATA = fileURLToPath(new URL('../../test/data', import.meta.url));
// What Transformers 5.24 made of them: scripts/make-chat-templates.py.
const { templates, conversations, cases } = JSON.parse(
  readFileSync(join(DATA, 'chat', 'expected.json'), 'utf8'),
) as Recorded;
const config = readFileSync(join(DATA, 'tokenizer', 'tokenizer_config.json'), 'utf8');
const tokenizer = openTokenizer(join(DATA, 'tokenizer'));

const templateOf = (source: string, more: object = {}, now?: () => Date, limitMs?: number) =>
  readChatTemplate(
    folderWith({
      'chat_template.jinja': source,
      'tokenizer_config.json': JSON.stringify({ ...(JSON.parse(config) as object), ...more }),
    }),
    now,
    limitMs,
  );
const say = (source: string, now?: () => Date) => templateOf(source, {}, now).render([{ role: 'user', content: 'x' }]);

describe('chat templates', () => {
  it.each(cases.filter(({ prompt }) => prompt))(
    '$template of "$conversation"',
    ({ template, conversation, ...want }) => {
      const render = () => templateOf(templates[template] ?? '').render(conversations[conversation] ?? []);
      if (want.error !== undefined) {
        expect(render).toThrow(`does not take this conversation: ${want.error}`);
        return;
      }
      expect(render()).toBe(want.text);
      expect([...tokenizer.encode(render())]).toEqual(want.ids);
    },
  );

  it('print truth values and none as Python does', () => {
    expect(say("{{ 1 == 1 }} {{ messages is not string }} {{ none }} {{ missing }}|{{ 3 }} {{ 1.5 }} {{ 'a' }}")).toBe(
      'True True None |3 1.5 a',
    );
    expect(say('{% macro f(x) %}{{ x }}{% endmacro %}{{ f(false) }}{% for m in [true] %}{{ m }}{% endfor %}')).toBe(
      'FalseTrue',
    );
    expect(say('{% set x %}{{ true }}{% endset %}{{ x }}')).toBe('True');
  });

  it('refuse to print lists', () => {
    expect(() => say('{{ messages }}')).toThrow(
      /chat_template.jinja prints a list or a mapping, which is not implemented/,
    );
  });

  it('print dates in English, whatever the language of the machine', () => {
    const now = () => new Date(2026, 2, 5, 9, 7, 1);
    expect(say("{{ strftime_now('%d %b %Y, %A %B, %H:%M:%S %%') }}", now)).toBe(
      '05 Mar 2026, Thursday March, 09:07:01 %',
    );
    expect(() => say("{{ strftime_now('%U') }}", now)).toThrow('strftime_now with "%U" is not implemented');
  });

  it('come from tokenizer_config.json where there is no file of their own', () => {
    const at = (chat_template: unknown) =>
      readChatTemplate(
        folderWith({ 'tokenizer_config.json': JSON.stringify({ chat_template, bos_token: { content: '<b>' } }) }),
      );
    expect(at('{{ bos_token }}{{ messages[0].content }}').render([{ role: 'user', content: 'y' }])).toBe('<b>y');
    const several = [
      { name: 'rag', template: 'r' },
      { name: 'default', template: 'd' },
    ];
    expect(at(several).render([{ role: 'user', content: 'y' }])).toBe('d');
    expect(() => at(several.slice(0, 1))).toThrow('has chat templates named "rag" and none named "default"');
    expect(() => at(undefined)).toThrow(
      /has no chat template \(chat_template.jinja, or chat_template in tokenizer_config.json\)/,
    );
  });

  it.each([5, true, { default: 'x' }, [{ name: 'default', template: 5 }]])('of a wrong type are named: %j', (given) => {
    const read = () =>
      readChatTemplate(folderWith({ 'tokenizer_config.json': JSON.stringify({ chat_template: given }) }));
    expect(read).toThrow(DataError);
    expect(read).toThrow(/tokenizer_config.json: chat_template must be a text, or a list of templates .*, got /);
  });

  it('of a file that holds no object are refused by name', () => {
    expect(() => readChatTemplate(folderWith({ 'tokenizer_config.json': '[]' }))).toThrow(ConfigError);
  });

  it('that count for ever are ended', () => {
    expect(say('{% for i in range(2, 9, 3) %}{{ i }},{% endfor %}{{ range(3, 0, -2) | length }}')).toBe('2,5,8,2');
    expect(() => say('{% for i in range(1000000000000) %}a{% endfor %}')).toThrow(
      /does not take this conversation: range\(\) of 1000000000000 numbers; at most 1000000 are counted/,
    );
    const nested = '{% for i in range(1000000) %}{% for j in range(1000000) %}{% endfor %}{% endfor %}';
    const limited = templateOf(nested, {}, undefined, 200);
    expect(() => limited.render([{ role: 'user', content: 'x' }])).toThrow(
      /does not take this conversation: it takes longer than 0\.2 s/,
    );
  });

  it('that are no Jinja are refused by name', () => {
    expect(() => say('{% if %}')).toThrow(/chat_template.jinja is not a chat template that can be read here: /);
  });
});
