"""Compares `longsight choice` with EleutherAI's lm-evaluation-harness on a folder that `longsight export` wrote: the log-likelihood of
each choice. Prints greedy continuations too, which end at the end token or after 40 tokens. Questions have a `context`, `choices` and an
`answer` (an index).

    pip install lm-eval==0.4.13 torch transformers accelerate
    longsight export runs/text text-hf
    longsight choice text-hf questions.jsonl --out choices.jsonl
    python scripts/check-lm-eval.py text-hf questions.jsonl choices.jsonl
"""

import json
import pathlib
import sys
import tempfile

from lm_eval import evaluator
from lm_eval.tasks import TaskManager

TOLERANCE = 1e-4  # nats

folder, questions, choices = (pathlib.Path(path).resolve() for path in sys.argv[1:])
common = f"""
dataset_path: json
dataset_kwargs: {{data_files: {{test: {json.dumps(str(questions))}}}}}
test_split: test
doc_to_text: "{{{{context}}}}"
"""
tasks = pathlib.Path(tempfile.mkdtemp(prefix='check-lm-eval-'))
(tasks / 'choices.yaml').write_text(
    common
    + """
task: choices
output_type: multiple_choice
doc_to_choice: "{{choices}}"
doc_to_target: "{{answer}}"
metric_list: [{metric: acc}]
"""
)
(tasks / 'greedy.yaml').write_text(
    common
    + """
task: greedy
output_type: generate_until
doc_to_target: "{{choices[0]}}"
generation_kwargs: {until: ["\\n"], max_gen_toks: 40, do_sample: false}
metric_list: [{metric: exact_match}]
"""
)
result = evaluator.simple_evaluate(
    model='hf',
    model_args={'pretrained': str(folder), 'dtype': 'float32', 'max_length': 1024},
    tasks=['choices', 'greedy'],
    task_manager=TaskManager(include_path=str(tasks), include_defaults=False),
    batch_size=1,
    device='cpu',
    log_samples=True,
)
ours = [json.loads(line) for line in choices.read_text().splitlines()]
samples = sorted(result['samples']['choices'], key=lambda sample: sample['doc_id'])
assert len(ours) == len(samples), f'{len(ours)} questions here, {len(samples)} there'
apart = max(
    abs(choice['logLikelihood'] - float(response[0]))
    for mine, theirs in zip(ours, samples)
    for choice, response in zip(mine['choices'], theirs['filtered_resps'])
)
print(f'{len(ours)} questions; log-likelihoods differ by at most {apart:.1e} nats; accuracy there {result["results"]["choices"]["acc,none"]}')
for sample in result['samples']['greedy']:
    print(f'{sample["doc"]["context"]!r}: {sample["resps"][0][0]!r}')
if apart > TOLERANCE:
    sys.exit(f'more than {TOLERANCE} nats apart')
