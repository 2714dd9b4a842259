/**
 * What others call the keys and values of our configurations: one table, which every "did you mean" asks.
 *
 * Names are written folded (see `foldName`), so that one entry stands for camelCase, snake_case and kebab-case.
 */

/** A name without case, hyphens, underscores and spaces: `num_hidden_layers` and `numHiddenLayers` are one. */
export function foldName(name: string): string {
  return name.toLowerCase().replace(/[-_\s]/g, '');
}

/** By the name here: the names of Transformers, nanoGPT, Megatron-LM, torchtitan, Lightning and papers, folded. */
const NAMES: Readonly<Record<string, string>> = {
  // A model.
  hiddenSize: 'nembd dmodel modeldim dim hiddendim embeddim embeddingdim embeddingsize modelsize width',
  numLayers: 'nlayer nlayers numhiddenlayers depth layercount numblocks nblocks',
  numHeads: 'nhead nheads numattentionheads attentionheads numqueryheads nqheads',
  numKvHeads: 'nkvheads nkvhead numkeyvalueheads kvheads numquerygroups nlocalheads',
  headDim: 'headsize dhead dimhead kvchannels headwidth',
  intermediateSize: 'dff dffn ffndim ffnhiddensize ffnsize mlpdim mlpsize mlphiddensize ninner intermediatedim',
  vocabSize: 'vocab vocabularysize nvocab vocabularylength paddedvocabsize',
  layers: 'layertypes layerpattern pattern blockpattern architecture',
  ropeTheta: 'ropebase rotarybase rotaryembbase rotarytheta',
  ropeDim: 'rotarydim rotaryndims',
  ropeScaling: 'rotaryscaling',
  rmsNormEps: 'normeps layernormeps layernormepsilon rmseps rmsnormepsilon',
  norm: 'normtype normalization',
  normBias: 'layernormbias lnbias',
  embeddingNorm: 'embednorm embeddinglayernorm',
  qkNorm: 'useqknorm qklayernorm qknormalization',
  activation: 'hiddenact act activationfunction hiddenactivation activationfn',
  attentionScale: 'softmaxscale attnscale attentionmultiplier',
  attentionSoftcap: 'attnlogitsoftcapping attnsoftcap attentionlogitsoftcapping',
  attentionBias: 'attnbias qkvbias useqkvbias',
  embeddingScale: 'embeddingmultiplier scaleembeddings',
  logitSoftcap: 'finallogitsoftcapping logitsoftcapping softcap',
  experts: 'moe mixtureofexperts moeconfig',
  count: 'numexperts numlocalexperts nroutedexperts nexperts',
  perToken: 'numexpertspertok numexpertspertoken topkexperts expertspertoken',
  balanceLoss: 'routerauxlosscoef auxlosscoef auxloss loadbalancingloss moeauxlosscoeff',
  routerZLoss: 'zlosscoefficient zloss routerzlosscoef moezlosscoeff',
  sinks: 'attentionsinks attnsinks usesinks',
  outputGate: 'attnoutputgate attentionoutputgate gatedattention',
  tieEmbeddings: 'tiewordembeddings tieweights tiedembeddings weighttying sharedembeddings tieemb',
  std: 'initializerrange initstd initialstd',
  // Training.
  lr: 'learningrate maxlr peaklr baselr maxlearningrate peaklearningrate',
  minLrRatio: 'minlr minlearningrate minlrratio lrminratio finallrratio',
  warmupSteps: 'warmup warmupiters numwarmupsteps lrwarmupsteps lrwarmupiters',
  decaySteps: 'decay lrdecaysteps lrdecayiters cooldownsteps numdecaysteps',
  steps: 'maxsteps trainsteps trainingsteps numsteps maxiters iterations iters trainiters numtrainsteps totalsteps',
  batchSize: 'bs globalbatchsize perdevicetrainbatchsize trainbatchsize batch',
  accumulate: 'gradaccum gradientaccumulation gradientaccumulationsteps gradaccumsteps accumulategradbatches',
  seqLen: 'sequencelength contextlength contextsize context maxseqlen maxseqlength maxlength blocksize ctxlen nctx',
  schedule: 'lrschedule lrscheduler lrschedulertype scheduler lrdecaystyle',
  weightDecay: 'wd decoupledweightdecay l2',
  beta1: 'adambeta1 b1',
  beta2: 'adambeta2 b2',
  eps: 'adamepsilon adameps epsilon',
  clipNorm: 'gradclip clipgrad maxgradnorm gradclipnorm gradientclipping gradientclipval gradnormclip',
  logEvery: 'loggingsteps logsteps loginterval logfreq logeverynsteps',
  evalEvery: 'evalsteps evalinterval evaluationsteps evalfreq valcheckinterval',
  checkpointEvery: 'savesteps saveinterval saveevery checkpointinterval checkpointsteps ckptevery ckptinterval',
  keepCheckpoints: 'savetotallimit keeplast maxcheckpoints savetopk',
  precision: 'dtype torchdtype mixedprecision paramdtype',
  remat: 'gradientcheckpointing activationcheckpointing recompute rematerialization checkpointactivations',
  // A run.
  seed: 'randomseed rngseed',
  data: 'dataset datasets trainingdata',
  train: 'training trainer trainingarguments optimizer',
  eval: 'evaluation validation',
  engine: 'backend device accelerator',
  threads: 'numthreads nthreads',
  files: 'datafiles paths texts',
  // A study.
  architectures: 'designs models archs variants',
  seeds: 'randomseeds numseeds',
  grid: 'sweep hyperparameters',
  base: 'defaults shared',
  // Values.
  full: 'attention fullattention global globalattention softmax mha gqa',
  swa: 'slidingwindow slidingattention slidingwindowattention sliding window windowed local localattention',
  gdn: 'gateddeltanet gateddelta deltanet gateddeltarule',
  kda: 'kimideltaattention kimilinear kimi',
  rwkv7: 'rwkv goose rwkv7attention',
  mlstm: 'xlstm matrixlstm lstm',
  gla: 'gatedlinearattention',
  mamba2: 'mamba ssd ssm',
  lightning: 'lightningattention minimax',
  nope: 'noposition nopositions norope',
  silu: 'swish swiglu',
  gelu_tanh: 'gelunew gelupytorchtanh gelufast gelutanhapproximate geglu',
  rms: 'rmsnorm',
  layer: 'layernorm ln',
  relu2: 'squaredrelu relusquared sqrelu',
  bf16: 'bfloat16',
  f32: 'float32 fp32 float single',
  'xla:cuda': 'cuda gpu nvidia',
  'xla:tpu': 'tpu',
  onnx: 'onnxruntime ort',
};

const BY_ALIAS = new Map<string, string[]>();
for (const [name, aliases] of Object.entries(NAMES)) {
  for (const alias of aliases.split(' ').map(foldName)) BY_ALIAS.set(alias, [...(BY_ALIAS.get(alias) ?? []), name]);
}

/** Every name that has aliases. */
export const ALIASED_NAMES: readonly string[] = Object.keys(NAMES);

/**
 * The one of `candidates` that `word` is written differently from, or is another project's name for; undefined if none.
 */
export function knownAs(word: string, candidates: readonly string[]): string | undefined {
  const folded = foldName(word);
  const same = candidates.find((candidate) => foldName(candidate) === folded);
  return same ?? BY_ALIAS.get(folded)?.find((name) => candidates.includes(name));
}
