#!/usr/bin/env bash
# onnxruntime-node 1.30.0, seen 2026-11-29 on Linux x64 with Node 20.
#
# One would expect a session on Linux to touch nothing but the model. The package's library makes a folder with a device id and a
# database under the user's cache folder (DeveloperTools/.onnxruntime) as soon as a session is made. Nothing was seen to be sent. With ORT_DISABLE_TELEMETRY=1 in the environment it makes neither.
#
# Exits 0 as long as this is so, 1 if it has changed, 2 if it could not be tried.
set -u
folder=$(mktemp -d) || exit 2
trap 'rm -rf "$folder"' EXIT
cd "$folder" || exit 2
npm init -y >/dev/null 2>&1
npm install --no-audit --no-fund --ignore-scripts onnxruntime-node@1.30.0 >/dev/null 2>&1 || exit 2
# An Identity of one float, as the bytes of its ModelProto.
cat >try.mjs <<'JS'
import { InferenceSession, Tensor } from 'onnxruntime-node';
const bytes = (...parts) => parts.flat();
const field = (number, content) => bytes((number << 3) | 2, content.length, content);
const text = (number, value) => field(number, [...Buffer.from(value)]);
const value = (number, name) =>
  field(number, bytes(text(1, name), field(2, field(1, bytes([0x08, 1], field(2, field(1, [0x08, 1])))))));
const node = field(1, bytes(text(1, 'x'), text(2, 'y'), text(4, 'Identity')));
const graph = field(7, bytes(node, text(2, 'g'), value(11, 'x'), value(12, 'y')));
const model = Uint8Array.from(bytes([0x08, 8], graph, field(8, [0x10, 17])));
const session = await InferenceSession.create(model);
const { y } = await session.run({ x: new Tensor('float32', Float32Array.of(3), [1]) });
if (y.data[0] !== 3) process.exit(2);
JS
made() { # folder of the cache, environment...
  mkdir -p "$1/home" && env HOME="$folder/$1/home" XDG_CACHE_HOME="$folder/$1/cache" TMPDIR="$folder/$1" "${@:2}" node try.mjs >&2 || return 2
  (cd "$1" && find cache home -type f 2>/dev/null | sort)
}
usual=$(made usual) || exit 2
without=$(made without ORT_DISABLE_TELEMETRY=1) || exit 2
printf 'made by a session:\n%s\nwith ORT_DISABLE_TELEMETRY=1:\n%s\n' "$usual" "$without"
[[ $usual == *onnxruntime* ]] && [ -z "$without" ]
