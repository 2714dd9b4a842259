/** Numbers and times as the page prints them. */

/** `118 M`, `4.2 k`, `-` for what is not there. */
export function count(value: number | null | undefined): string {
  if (value === null || value === undefined) return '–';
  const size = Math.abs(value);
  const [scale, unit] =
    size >= 1e12
      ? [1e12, ' T']
      : size >= 1e9
        ? [1e9, ' B']
        : size >= 1e6
          ? [1e6, ' M']
          : size >= 1e4
            ? [1e3, ' k']
            : [1, ''];
  return `${Number((value / scale).toPrecision(3))}${unit}`;
}

/** A measured number with four significant digits. */
export function num(value: number | null | undefined): string {
  if (value === null || value === undefined || Number.isNaN(value)) return '–';
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(2).replace('e+', 'e');
  return String(Number(value.toPrecision(4)));
}

/** `3 min 20 s`, `2 h 05 min`, `4 d 3 h`. */
export function duration(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return '–';
  const s = Math.max(0, Math.round(seconds));
  const pad = (n: number) => String(n).padStart(2, '0');
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${pad(s % 60)} s`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h ${pad(Math.floor((s % 3600) / 60))} min`;
  return `${Math.floor(s / 86_400)} d ${Math.floor((s % 86_400) / 3600)} h`;
}

/** `29 Nov, 14:05`; the year where it is another. */
export function when(ms: number | null): string {
  if (ms === null) return '–';
  const date = new Date(ms);
  const year = date.getFullYear() === new Date().getFullYear() ? {} : { year: 'numeric' as const };
  return date.toLocaleString('en-GB', { day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit', ...year });
}

/** A tick of an axis: short, without needless digits. */
export function tick(value: number): string {
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e15)) return value.toExponential(1).replace('.0e', 'e').replace('e+', 'e');
  const [scale, unit] =
    size >= 1e12
      ? [1e12, 'T']
      : size >= 1e9
        ? [1e9, 'B']
        : size >= 1e6
          ? [1e6, 'M']
          : size >= 1e4
            ? [1e3, 'k']
            : [1, ''];
  return `${Number((value / scale).toPrecision(6))}${unit === '' ? '' : ` ${unit}`}`;
}
