/** Multiple choice of an opened model. */
import {
  choiceTokens,
  evaluateChoices,
  type ChoiceQuestion,
  type ChoiceScorerOptions,
  type EvaluatedChoices,
} from '../eval/index.js';
import { tokenizerOf } from './model-texts.js';
import type { OpenedModel } from './open-model.js';

/**
 * Scores the choices of questions with the model's own tokenizer, and says how often the likeliest one is right. Notes
 * the length of each for `beyondTraining`.
 *
 * @throws ConfigError if the model has no tokenizer; DataError if a choice has no token, or one that is not the model's
 */
export function choicesOf(
  model: OpenedModel,
  questions: readonly ChoiceQuestion[],
  options: ChoiceScorerOptions,
): Promise<EvaluatedChoices> {
  const tokenizer = tokenizerOf(model);
  const tokens = questions.map((question) => choiceTokens(question, tokenizer));
  for (const { ids } of tokens.flat()) model.noteLength(ids.length);
  return evaluateChoices(model, questions, { ...options, tokens });
}
