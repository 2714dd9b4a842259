export declare const RELAXED_FILE: string;
export declare function withRelaxedSimd(file: Uint8Array): Uint8Array<ArrayBuffer>;
