/** When passes with gradients compute layers anew. */

/**
 * From so many tokens in a pass on, the insides of layers are computed anew in the backward pass: memory is that of one
 * layer, not of all.
 */
export const REMAT_TOKENS = 4096;
