#!/bin/bash
# Builds the image of `--executor manifest` without Docker and trains a run in it: as root, with Debian's buildah, mmdebstrap and npm, and
# network to Debian and npm. The base image stands in for node:22-bookworm-slim: Debian bookworm with the node of npm's package node@22.
#
#   npm run build && scripts/check-image.sh
set -eu
root=$(realpath "$(dirname "$0")/..")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
build() { buildah --root "$work/storage" --runroot "$work/run" --storage-driver vfs "$@"; }

mmdebstrap --quiet --variant=apt --include=ca-certificates bookworm "$work/base"
npm install --silent --prefix "$work/node" node@22
cp "$work/node/node_modules/node/bin/node" "$work/base/usr/local/bin/node"
mkdir -p "$work/base/usr/local/lib/node_modules"
cp -a "$(npm root --global)/npm" "$work/base/usr/local/lib/node_modules/"
ln -s ../lib/node_modules/npm/bin/npm-cli.js "$work/base/usr/local/bin/npm"
# Where a proxy has a certificate of its own, this machine trusts it.
cp /etc/ssl/certs/ca-certificates.crt "$work/base/etc/ssl/certs/"
base=$(build from scratch)
build copy --quiet "$base" "$work/base" / >/dev/null
build config --env NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt "$base"
build commit --quiet "$base" docker.io/library/node:22-bookworm-slim >/dev/null

cd "$work"
cat >study.yaml <<'YAML'
name: tiny
base:
  model: { hiddenSize: 8, numLayers: 2, numHeads: 2, intermediateSize: 16 }
  data: { kind: recall, numKeys: 4, numValues: 4, numFillers: 4 }
  train: { steps: 8, seqLen: 16, batchSize: 4, warmupSteps: 2 }
architectures: { full: full }
seeds: [1]
executors: { manifest: { image: longsight, volume: studies } }
YAML
node "$root/dist/cli/main.js" study study.yaml --out studies/tiny --executor manifest
(cd "$root" && npm pack --ignore-scripts --silent --pack-destination "$work/studies/tiny/manifest")
build bud --pull-never --isolation chroot --network host --tag longsight:latest studies/tiny/manifest
image=$(build from --pull-never localhost/longsight:latest)
build run --isolation chroot --volume "$work/studies:/studies" "$image" -- longsight study run /studies/tiny full_seed-1
node "$root/dist/cli/main.js" study status studies/tiny
