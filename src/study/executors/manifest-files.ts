/** The files of `--executor manifest`: a Kubernetes Job, a SkyPilot task, and the image that both run. */
import { createHash } from 'node:crypto';
import { z } from 'zod';

/** One word of a command line or a name of an object. */
const word = z.string().regex(/^[^\s'"$`\\]+$/, 'must be one word');

/** `executors.manifest` of a study file. */
export const manifestOptions = z.strictObject({
  image: word
    .default('longsight:latest')
    .describe('image of the containers; the Dockerfile beside the manifests makes it'),
  volume: word
    .default('studies')
    .describe('volume that holds the study folder: a PersistentVolumeClaim, for SkyPilot the name of a volume'),
  mount: z
    .string()
    .regex(/^\/[\w./-]+$/, 'must be an absolute path')
    .default('/studies')
    .describe('where the volume is mounted'),
  folder: z
    .string()
    .regex(/^(?!(.*\/)?\.\.(\/|$))[\w.-]+(\/[\w.-]+)*$/, 'must be a path inside of the volume')
    .optional()
    .describe('the study folder, as a path inside of the volume (default: the name of the study)'),
  gpus: z
    .int()
    .min(0)
    .optional()
    .describe('GPUs of a run (default: the devices of the largest mesh; none for studies without one)'),
  gpuResource: word.default('nvidia.com/gpu').describe('what Kubernetes calls a GPU'),
  accelerator: word.default('H100').describe('what SkyPilot calls the GPU'),
  cpus: z.int().min(1).optional().describe('CPUs of a run (default: no request)'),
  memoryGiB: z.int().min(1).optional().describe('memory of a run in GiB (default: no request)'),
  limit: z.int().min(1).optional().describe('runs at once, for SkyPilot nodes (default: all, for SkyPilot 1)'),
  graceSeconds: z.int().min(1).default(120).describe('seconds that a run gets to save its state when its pod must go'),
  retries: z.int().min(0).default(3).describe('how often a run that was killed, out of memory say, is started again'),
  spot: z.boolean().default(true).describe('whether SkyPilot may take machines that can be taken away'),
});

/** `executors.manifest`, defaults filled in. */
export type ManifestOptions = z.output<typeof manifestOptions>;

/** What the manifests are of. */
export interface ManifestStudy {
  readonly name: string;
  /** Names of the runs; those that others go on from come first. */
  readonly runs: readonly string[];
  /** The number of GPUs of a run. */
  readonly gpus: number;
  /** Options that every `longsight study run` gets. */
  readonly runOptions: readonly string[];
}

const LABEL_LENGTH = 52; // Kubernetes puts an index and five letters behind, in 63 characters

/** A name for Kubernetes and SkyPilot: lower case, digits and `-`; a hash keeps names apart that had to be changed. */
export function objectName(name: string): string {
  const plain = name.toLowerCase().replace(/[^a-z0-9-]+/g, '-');
  const prefixed = `longsight-${plain}`.replace(/-+$/, '');
  if (plain === name && prefixed.length <= LABEL_LENGTH) return prefixed;
  const hash = createHash('sha256').update(name).digest('hex').slice(0, 8);
  return `${prefixed.slice(0, LABEL_LENGTH - hash.length - 1).replace(/-+$/, '')}-${hash}`;
}

const folderOf = ({ name }: ManifestStudy, { mount, folder }: ManifestOptions): string =>
  `${mount.replace(/\/$/, '')}/${folder ?? name}`;

/**
 * An Indexed Job (Kubernetes 1.33): completion i trains the i-th run. Exit code 75 and disruptions do not count as
 * failures, 1 and 2 fail the run for good, anything else (killed, out of memory) is tried again so many times.
 */
export function kubernetesJob(study: ManifestStudy, options: ManifestOptions): object {
  const { image, volume, mount, gpuResource, cpus, memoryGiB, limit, graceSeconds, retries } = options;
  const { runs, gpus, runOptions } = study;
  const command = `shift "$JOB_COMPLETION_INDEX"; exec longsight study run ${folderOf(study, options)} "$1" ${runOptions.join(' ')}`;
  // GPUs must have limits; with requests equal to them the pod is the last that a node under pressure ends.
  const asked = {
    ...(gpus === 0 ? {} : { [gpuResource]: gpus }),
    ...(cpus === undefined ? {} : { cpu: cpus }),
    ...(memoryGiB === undefined ? {} : { memory: `${memoryGiB}Gi` }),
  };
  const onExit = (action: string, values: readonly number[]) => ({
    action,
    onExitCodes: { containerName: 'run', operator: 'In', values },
  });
  const disrupted = { action: 'Ignore', onPodConditions: [{ type: 'DisruptionTarget', status: 'True' }] };
  const labels = { 'app.kubernetes.io/name': 'longsight', 'app.kubernetes.io/instance': objectName(study.name) };
  return {
    apiVersion: 'batch/v1',
    kind: 'Job',
    metadata: { name: objectName(study.name), labels },
    spec: {
      ...{
        completionMode: 'Indexed',
        completions: runs.length,
        parallelism: Math.min(limit ?? runs.length, runs.length),
      },
      ...{ backoffLimitPerIndex: retries, maxFailedIndexes: runs.length },
      podFailurePolicy: { rules: [onExit('Ignore', [75]), disrupted, onExit('FailIndex', [1, 2])] },
      template: {
        metadata: { labels },
        spec: {
          ...{ restartPolicy: 'Never', terminationGracePeriodSeconds: graceSeconds },
          containers: [
            {
              ...{ name: 'run', image, command: ['sh', '-c', command.trimEnd(), 'sh', ...runs] },
              resources: { requests: asked, limits: asked },
              volumeMounts: [{ name: 'studies', mountPath: mount }],
            },
          ],
          volumes: [{ name: 'studies', persistentVolumeClaim: { claimName: volume } }],
        },
      },
    },
  };
}

/** A SkyPilot task: node r of n trains every n-th run from the r-th on, and tries again what is not done yet. */
export function skyTask(study: ManifestStudy, options: ManifestOptions): object {
  const { image, volume, mount, accelerator, cpus, memoryGiB, limit, spot } = options;
  const { runs, gpus, runOptions } = study;
  const run = `set -- ${runs.join(' ')}
own=
i=0
for run in "$@"; do
  if [ $((i % SKYPILOT_NUM_NODES)) -eq "$SKYPILOT_NODE_RANK" ]; then own="$own $run"; fi
  i=$((i + 1))
done
if [ -z "$own" ]; then exit 0; fi
trap 'exit 75' TERM
# 75: its state is saved, or it waits for another run.
code=75
while [ "$code" -eq 75 ]; do
  longsight study run ${[folderOf(study, options), '$own', ...runOptions].join(' ')}
  code=$?
  if [ "$code" -eq 75 ]; then sleep 30; fi
done
exit "$code"
`;
  return {
    name: objectName(study.name),
    ...(limit === undefined ? {} : { num_nodes: Math.min(limit, runs.length) }),
    resources: {
      image_id: `docker:${image}`,
      ...(gpus === 0 ? {} : { accelerators: `${accelerator}:${gpus}` }),
      ...(cpus === undefined ? {} : { cpus: `${cpus}+` }),
      ...(memoryGiB === undefined ? {} : { memory: `${memoryGiB}+` }),
      use_spot: spot,
      job_recovery: { max_restarts_on_errors: options.retries },
    },
    volumes: { [mount]: volume },
    run,
  };
}

/** The image: Node and the packed package; for accelerators the plugin that the build is told of. */
export const DOCKERFILE = `# The image of longsight. Put the packed package beside this file (npm pack), then:
#   docker build --tag longsight:latest .
# With a plugin for accelerators, as Python packages that hold one:
#   docker build --tag longsight:latest --build-arg PLUGIN="jax-cuda13-pjrt jax-cuda13-plugin[with-cuda]" .
FROM node:22-bookworm-slim
ARG PLUGIN=
RUN if [ -n "$PLUGIN" ]; then \\
      apt-get update && apt-get install --yes --no-install-recommends python3-venv && \\
      python3 -m venv /opt/plugin && /opt/plugin/bin/pip install --no-cache-dir $PLUGIN && \\
      rm -rf /var/lib/apt/lists/*; \\
    fi
ENV VIRTUAL_ENV=/opt/plugin
COPY longsight-*.tgz /tmp/longsight.tgz
# Without the download of CUDA libraries, which npm would take for a reason to leave the CPU engine out where it fails.
RUN npm install --global --omit=dev --onnxruntime-node-install=skip /tmp/longsight.tgz && rm /tmp/longsight.tgz && longsight doctor
`;
