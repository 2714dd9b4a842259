/** The checks of `longsight doctor --self-test`; a new one is a definition in a file of its own and a line here. */
import type { SelfCheck } from './definition.js';
import { diskFull } from './disk-full.js';
import { killAndResume } from './kill-and-resume.js';
import { lockRace } from './lock-race.js';

/** The checks that need no engine of their own; `windowsOn` makes those of the engines. */
export const SELF_CHECKS: readonly SelfCheck[] = [killAndResume, lockRace, diskFull];
