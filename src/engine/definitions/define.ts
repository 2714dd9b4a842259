/** What an engine is to those who choose one: a definition in a file of this folder, listed in `table.ts`. */
import { ConfigError, type DType } from '../../core/index.js';
import type { Engine, MeshShape } from '../contract/engine.js';
import type { Platform } from '../xla/pjrt/discover.js';
import type { Hosts } from '../xla/pjrt/hosts/hosts.js';
import type { Hardware } from './hardware.js';

/** What an engine is made with. */
export interface EngineRequest {
  /** Worker threads of the CPU engine. */
  readonly threads?: number | undefined;
  /** The device mesh of xla engines (default: one device). */
  readonly mesh?: MeshShape | undefined;
  /** The same bits on every run, on accelerators too. */
  readonly deterministic?: boolean | undefined;
  /** Part of a device's memory that this process may take, more than 0 and at most 1. */
  readonly memoryFraction?: number | undefined;
  /** The processes that share a run; undefined for one alone. */
  readonly hosts: Hosts | undefined;
  readonly hardware: Hardware;
  /** Why it is taken (default: it was asked for). */
  readonly reason?: string | undefined;
}

/** An engine that `--engine` takes by name: what docs/engines.md says of it, and how it is made. */
export interface EngineDefinition {
  /** What computes, in a sentence. */
  readonly computes: string;
  /** What it is for, in a sentence. */
  readonly use: string;
  /** The devices that it computes on. */
  readonly devices: string;
  /** The dtypes that it computes in; graphs of others are refused with `UnsupportedOpError`. */
  readonly dtypes: readonly DType[];
  /** What is to be known of its dtypes. */
  readonly precision: string;
  /** What has to be there. */
  readonly needs: string;
  /** What it cannot do. */
  readonly limits: string;
  /** When `auto` takes it. */
  readonly auto: string;
  /** The platform whose plugin it loads on this hardware; null for none. */
  platform(hardware: Hardware): Platform | null;
  /**
   * Looks whether what the engine needs is on this machine, without loading or starting anything.
   *
   * @throws ConfigError or EngineError for what is missing, as `make` does
   */
  check(hardware: Hardware): void;
  /**
   * Makes the engine.
   *
   * @throws ConfigError for options that it cannot do, or a missing plugin
   */
  make(request: EngineRequest): Engine;
}

/** What engines of one device say of a mesh of several; nothing where there is none. */
export function meshLeftOut({ data = 1, fsdp = 1, tensor = 1 }: MeshShape = {}): string {
  // Not refused: a run of a mesh is measured on the host, too.
  const devices = data * fsdp * tensor;
  return devices === 1 ? '' : `; the mesh of ${devices} devices is left out, which only xla engines have`;
}

/** Throws `ConfigError` where processes of an engine that knows no others would each do the whole work. */
export function refuseHosts(name: string, hosts: Hosts | undefined): void {
  if (hosts === undefined || hosts.nodes === 1) return;
  throw new ConfigError(
    `LONGSIGHT_COORDINATOR makes this process one of ${hosts.nodes} that share a run, which the engine ${name} cannot do; ` +
      'unset it, or choose an accelerator (--engine xla)',
  );
}
