/** The manual's table of contents. Every page of `docs` stands in it once; a test compares. */

/** A page of the manual: its title in the sidebar, and its file below `docs`. */
interface ManualPage {
  readonly title: string;
  /** Path of the Markdown file from `docs`, with forward slashes. */
  readonly file: string;
}

/** A part of the manual, in the order of the sidebar. */
export interface ManualSection {
  readonly title: string;
  readonly pages: readonly ManualPage[];
}

const page = (title: string, file: string): ManualPage => ({ title, file });

/** What a published study has: its page, and the page of its numbers. */
const study = (title: string, folder: string): ManualPage[] => [
  page(title, `studies/${folder}/README.md`),
  page(`${title}: numbers`, `studies/${folder}/numbers.md`),
];

/** The page that the site begins with. */
export const START_PAGE = 'README.md';

/** Every section but the API, which TypeDoc makes from doc comments. */
export const SECTIONS: readonly ManualSection[] = [
  {
    title: 'Learn',
    pages: [page('Hybrid attention, from the beginning', 'learn.md'), page('Glossary', 'glossary.md')],
  },
  {
    title: 'Do',
    pages: [
      page('Getting started', 'getting-started.md'),
      page('Train on your own text', 'own-text.md'),
      page('Compare designs', 'compare-designs.md'),
      page('Look inside a model', 'look-inside.md'),
      page('Extend the context', 'context-extension.md'),
      page('Use a GPU', 'gpu.md'),
      page('Studies on many machines', 'clusters.md'),
      page('Publish a study', 'publish.md'),
      page('Generate text', 'generation.md'),
      page('Long-context tasks: RULER', 'ruler.md'),
      page('Multiple choice', 'multiple-choice.md'),
      page('Dashboard', 'dashboard.md'),
      page('Playground', 'playground.md'),
      page('From a program', 'program.md'),
      page('When something goes wrong', 'troubleshooting.md'),
      page('What surprises people', 'surprises.md'),
      page('Upgrade', 'upgrading.md'),
    ],
  },
  {
    title: 'Look up',
    pages: [
      page('Commands', 'commands.md'),
      page('Configuration', 'config.md'),
      page('The model', 'model.md'),
      page('Data', 'data.md'),
      page('Studies', 'studies.md'),
      page('Run folders', 'run-folders.md'),
      page('Files and fields', 'formats.md'),
      page('Measures', 'measures.md'),
      page('Analyses', 'analysis.md'),
      page('Hugging Face models', 'hugging-face.md'),
      page('Hugging Face families', 'hugging-face-families.md'),
      page('Hugging Face model types', 'hugging-face-types.md'),
      page('Where it runs', 'platforms.md'),
      page('Engines', 'engines.md'),
      page('Accelerators', 'xla.md'),
      page('Recurrences by chunks', 'recurrences.md'),
      page('What survives a crash', 'durability.md'),
    ],
  },
  {
    title: 'Method and findings',
    pages: [
      page('Method', 'method.md'),
      ...study('Recall on real text', 'real-text'),
      ...study('Window size and delay', 'real-text-delay'),
      ...study('Four times the tokens', 'real-text-long'),
      ...study('The first 48 M tokens', 'real-text-short'),
      ...study('Size and tokens', 'scaling'),
      ...study('Muon and AdamW', 'muon'),
      ...study('Windows drawn at random', 'windows-drawn'),
      ...study('Order of windows', 'windows-order'),
      ...study('Longer contexts', 'length'),
      ...study('Heads or layers', 'headwise'),
      ...study('Ratios and places', 'ratios'),
      ...study('Places by measurement', 'placement'),
      ...study('Context extension', 'extension'),
      ...study('Temperature', 'temperature'),
      page('Experiment log', 'log.md'),
      page('Its first four days', 'log-2026-11.md'),
    ],
  },
  { title: 'Contribute', pages: [page('Architecture', 'architecture.md')] },
];
