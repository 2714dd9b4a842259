/** Light or dark. */
import { useEffect, useState } from 'preact/hooks';

/** Turns between light and dark, and keeps the choice where the browser allows. */
export function ThemeButton() {
  const root = document.documentElement;
  const isDark = () =>
    (root.dataset['theme'] ?? (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light')) === 'dark';
  const [dark, setDark] = useState(isDark);
  const turn = () => {
    root.dataset['theme'] = dark ? 'light' : 'dark';
    try {
      localStorage.setItem('longsight-theme', root.dataset['theme']);
    } catch {
      // Pages from files may keep nothing.
    }
    setDark(!dark);
  };
  useEffect(() => {
    try {
      const kept = localStorage.getItem('longsight-theme');
      if (kept !== null) root.dataset['theme'] = kept;
    } catch {
      // As above.
    }
    setDark(isDark());
  }, []);
  return (
    <button
      type="button"
      class="quiet"
      onClick={turn}
      aria-label={dark ? 'Light theme' : 'Dark theme'}
      title={dark ? 'Light theme' : 'Dark theme'}
    >
      {dark ? '☀' : '☾'}
    </button>
  );
}
