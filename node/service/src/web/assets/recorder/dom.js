// Small helpers to build elements without markup strings, so that no policy about inline styles or
// trusted types on the embedding page stands in the way.

const SVG = 'http://www.w3.org/2000/svg';

/**
 * `h('button', { class: 'x', onclick }, 'text', child)`. A property where the element has one that
 * is a function or `.name`, an attribute otherwise; null, undefined and false leave it out.
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name.startsWith('.')) element[name.slice(1)] = value;
    else element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** 24 by 24, drawn with strokes; a name in `FILLED` is drawn with fill. */
const PATHS = {
  camera: ['M3 7.5A1.5 1.5 0 0 1 4.5 6h9A1.5 1.5 0 0 1 15 7.5v9a1.5 1.5 0 0 1-1.5 1.5h-9A1.5 1.5 0 0 1 3 16.5z', 'm15 10.5 6-3.5v10l-6-3.5'],
  screen: ['M3 5.5A1.5 1.5 0 0 1 4.5 4h15A1.5 1.5 0 0 1 21 5.5v9a1.5 1.5 0 0 1-1.5 1.5h-15A1.5 1.5 0 0 1 3 14.5z', 'M8.5 20h7', 'M12 16v4'],
  file: ['M12 15.5V4', 'm7.5 8 4.5-4.5L16.5 8', 'M4 15v3.5A1.5 1.5 0 0 0 5.5 20h13a1.5 1.5 0 0 0 1.5-1.5V15'],
  microphone: ['M12 3a3 3 0 0 1 3 3v5a3 3 0 0 1-6 0V6a3 3 0 0 1 3-3z', 'M5.5 11a6.5 6.5 0 0 0 13 0', 'M12 17.5V21'],
  back: ['m14.5 5.5-6.5 6.5 6.5 6.5'],
  check: ['m5 12.5 4.5 4.5L19 7.5'],
  warn: ['M12 4 2.8 19.5h18.4z', 'M12 10v4.5', 'M12 17.2v.1'],
  link: ['M4.5 9.5a11 11 0 0 1 15 0', 'M7.5 13a6.5 6.5 0 0 1 9 0', 'M12 17.4v.1'],
  unlink: ['M4.5 9.5a11 11 0 0 1 4-2.6', 'M13 6.6a11 11 0 0 1 6.5 2.9', 'M7.5 13a6.5 6.5 0 0 1 3-1.7', 'M12 17.4v.1', 'm4 4 16 16'],
  again: ['M4.5 12a7.5 7.5 0 1 0 2.3-5.4', 'M4.5 4v4h4'],
  trash: ['M4.5 6.5h15', 'M9 6.5V4h6v2.5', 'm6.5 6.5 1 13.5h9l1-13.5', 'M10.2 10.5v5.5', 'M13.8 10.5v5.5'],
  download: ['M12 4v11', 'm7.5 11 4.5 4.5 4.5-4.5', 'M4.5 20h15'],
  close: ['m6 6 12 12', 'm18 6-12 12'],
  play: ['M8 5.5v13l10.5-6.5z'],
  pause: ['M8.5 6v12', 'M15.5 6v12'],
  stop: ['M7 7h10v10H7z'],
  record: ['M12 6a6 6 0 1 1 0 12 6 6 0 0 1 0-12z'],
  key: ['M8.5 11.5a4 4 0 1 1 0 8 4 4 0 0 1 0-8z', 'm11.5 12.5 8-8', 'm16 8 3 3'],
  clock: ['M12 3.5a8.5 8.5 0 1 1 0 17 8.5 8.5 0 0 1 0-17z', 'M12 7.5V12l3 2'],
  shield: ['M12 3.5 5 6v5.5c0 4.5 3 7.5 7 9 4-1.5 7-4.5 7-9V6z'],
};
const FILLED = new Set(['play', 'stop', 'record']);

export function icon(name) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('aria-hidden', 'true');
  svg.setAttribute('class', FILLED.has(name) ? 'icon filled' : 'icon');
  for (const d of PATHS[name]) {
    const path = document.createElementNS(SVG, 'path');
    path.setAttribute('d', d);
    svg.append(path);
  }
  return svg;
}

/** 75_000 → `1:15`, 3_600_000 → `1:00:00`. */
export function clockTime(ms) {
  const s = Math.floor(Math.max(0, ms) / 1000);
  const pad = (n) => String(n).padStart(2, '0');
  const minutes = Math.floor(s / 60) % 60;
  const hours = Math.floor(s / 3600);
  return hours ? `${hours}:${pad(minutes)}:${pad(s % 60)}` : `${minutes}:${pad(s % 60)}`;
}

/** 1_234_567 → `1.2 MB`. */
export function size(bytes) {
  const units = ['bytes', 'kB', 'MB', 'GB', 'TB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit && value < 100 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

export function button(label, { onclick, kind = '', glyph = null, first = false }) {
  return h('button', { type: 'button', class: `button ${kind}`, part: kind === 'primary' ? 'button primary' : 'button', onclick, 'data-first': first },
    glyph && icon(glyph), h('span', {}, label));
}

/** Hands a blob to the person as a file. */
export function save(blob, name) {
  const url = URL.createObjectURL(blob);
  h('a', { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
