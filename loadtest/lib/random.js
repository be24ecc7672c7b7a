// Random numbers by the seed: the same run asks for the same.

/** A generator of numbers in 0..1 (mulberry32). */
export function random(seed) {
  let state = (seed * 0x9e3779b9) >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** An index below `count`: the first ones far more often, as the popular are (Zipf, s about 1). */
export function popular(next, count) {
  return Math.min(count - 1, Math.floor(count ** next()) - 1 + (count === 1 ? 1 : 0));
}

/** A number with this median, nine of ten below `ninetieth` (log-normal). */
export function spread(next, median, ninetieth) {
  const normal = Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
  return Math.max(1, Math.round(median * Math.exp((normal * Math.log(ninetieth / median)) / 1.2816)));
}
