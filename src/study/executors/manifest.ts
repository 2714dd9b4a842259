/** `--executor manifest`: files for Kubernetes and SkyPilot, which train runs by `longsight study run FOLDER ID`. */
import { join } from 'node:path';
import { makeFolder, maxOf, plural, writeFileAtomic } from '../../core/index.js';
import { toYaml } from '../../lab/index.js';
import { defineExecutor } from './contract.js';
import { DOCKERFILE, kubernetesJob, manifestOptions, objectName, skyTask } from './manifest-files.js';

/** Writes manifests beside the plan; whoever applies them trains the runs. */
export const manifest = defineExecutor({
  summary: 'writes a Kubernetes Indexed Job, a SkyPilot task and a Dockerfile that train the runs',
  options: manifestOptions,
  can: [],
  isLocal: false,
  start: ({ dir, name, wanted, units, runOptions, note }, options) => {
    const chosen = new Set(wanted);
    const open = units().filter(({ id, state }) => chosen.has(id) && state !== 'done');
    const trainers = new Set(open.flatMap(({ after }) => after?.run ?? []));
    const runs = [...open].sort((a, b) => Number(trainers.has(b.id)) - Number(trainers.has(a.id))).map(({ id }) => id);
    const text = runs.length === 0 ? 'Every run is done: there is nothing to write a manifest for.' : undefined;
    const value = { event: 'manifest', dir, runs };
    if (text !== undefined) return Promise.resolve({ kind: 'handed over', text, value: { ...value, files: [] } });
    const largest = maxOf(open.map(({ resources }) => resources.devices));
    const study = { name, runs, gpus: options.gpus ?? (largest > 1 ? largest : 0), runOptions };
    const folder = join(dir, 'manifest');
    const files = {
      'job.yaml': toYaml(kubernetesJob(study, options)),
      'sky.yaml': toYaml(skyTask(study, options)),
      Dockerfile: DOCKERFILE,
    };
    makeFolder(folder);
    for (const [file, content] of Object.entries(files)) writeFileAtomic(join(folder, file), content);
    const paths = Object.keys(files).map((file) => join(folder, file));
    note(`${plural(runs.length, 'run')} to train`);
    const inside = `${options.mount}/${options.folder ?? name}`;
    return Promise.resolve({
      kind: 'handed over',
      text:
        `wrote ${paths.join(', ')}\n` +
        `Put ${dir} onto the volume ${options.volume}, where containers see it as ${inside}, then either:\n` +
        `  kubectl apply -f ${join(folder, 'job.yaml')}\n` +
        `  sky jobs launch --name ${objectName(name)} ${join(folder, 'sky.yaml')}\n` +
        `longsight study status FOLDER and study report FOLDER read the folder there.`,
      value: { ...value, files: paths },
    });
  },
});
