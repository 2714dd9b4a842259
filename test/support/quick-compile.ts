/**
 * Imported first by tests whose programs run once each: XLA's CPU backend leaves LLVM's optimizations out, which take longer than what they
 * speed up. What Longsight hands to XLA, and how XLA divides it, stays the same.
 */
process.env['XLA_FLAGS'] ??= '--xla_backend_optimization_level=0';
