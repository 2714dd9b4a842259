/** Names of repositories on the Hugging Face hub, given where a folder is expected. */
import { existsSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { StoreError } from './errors.js';

/** `OWNER/NAME`, alone or as `hf://OWNER/NAME` or the address of the page. */
const HUB_NAME =
  /^(?:hf:\/\/|(?:https?:\/\/)?(?:huggingface\.co|hf\.co)\/)?([A-Za-z0-9][\w.-]*\/[A-Za-z0-9][\w.-]*)\/?$/;

/**
 * The Hugging Face repository (`OWNER/NAME`) that `path` names; null for a path that exists, that lies in a folder that
 * does, or that does not look like a repository.
 */
export function hubName(path: string): string | null {
  const name = HUB_NAME.exec(path)?.[1];
  if (name === undefined || name.startsWith('runs/')) return null; // our own folders
  return existsSync(path) || existsSync(dirname(path)) ? null : name;
}

/**
 * Refuses the name of a hub repository where a folder is expected; does nothing for anything else.
 *
 * @throws StoreError saying how to get the folder
 */
export function refuseHubName(path: string): void {
  const name = hubName(path);
  if (name === null) return;
  throw new StoreError(
    `there is no folder ${path}, and Longsight reads local folders only; get that of a model on the Hugging Face hub with ` +
      `"hf download ${name} --local-dir ${basename(name)}" and name ${basename(name)}`,
    { details: { path, hubName: name } },
  );
}
