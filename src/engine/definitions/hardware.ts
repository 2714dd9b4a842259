/** What accelerators a host has, as the choice of an engine sees it. */
import { ConfigError } from '../../core/index.js';
import type { Platform } from '../xla/pjrt/discover.js';

/** What there is to choose from; for tests. */
export interface Hardware {
  /** Whether the host has a device of the platform. */
  hasDevice(platform: Platform): boolean;
  /** Whether a plugin of the platform is installed. */
  hasPlugin(platform: Platform): boolean;
  /**
   * Why the platform's devices cannot be used although the host may have some, in words; null if nothing hides them.
   */
  hides?(platform: Platform): string | null;
}

/** The accelerator of this host that can be used, with the reason for the answer. */
export function chooseAccelerator(hardware: Hardware): { readonly platform: Platform | null; readonly why: string } {
  let hidden: string | null = null;
  for (const platform of ['cuda', 'tpu'] as const) {
    if (!hardware.hasDevice(platform)) continue;
    hidden ??= hardware.hides?.(platform) ?? null;
    if ((hardware.hides?.(platform) ?? null) !== null) continue;
    if (hardware.hasPlugin(platform))
      return { platform, why: `there are a ${platform} device and a PJRT plugin for it` };
    return { platform: null, why: `there is a ${platform} device but no PJRT plugin for it` };
  }
  return { platform: null, why: hidden ?? 'there is no accelerator' };
}

/** Throws `ConfigError` where the environment hides the platform's devices. */
export function refuseHidden(platform: Platform, hardware: Hardware): void {
  const hidden = hardware.hides?.(platform) ?? null;
  if (hidden === null) return;
  throw new ConfigError(`${hidden}; name the devices to use there, or unset it, or choose another engine`);
}
