// What becomes of a recording, as the node explains it: what happens next, when each file goes, and
// by which rule.

import { h, icon, size } from '/recorder/v1/dom.js';

const NAMES = { main: 'Main file', raw: 'Raw file', snapshot: 'Snapshot', filmstrip: 'Filmstrip', filmstrip_vtt: 'Filmstrip’s WebVTT file' };
const TRIED_SHOWN = 12;
const exactly = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'long' });
const fromNow = new Intl.RelativeTimeFormat(undefined, { numeric: 'auto' });
const UNITS = [['day', 86_400_000], ['hour', 3_600_000], ['minute', 60_000]];

/** An instant to the second, with how far off that is. */
function exact(text) {
  const date = new Date(text);
  const off = date - Date.now();
  const [unit, ms] = UNITS.find(([, size]) => Math.abs(off) >= size) ?? UNITS.at(-1);
  return [h('time', { datetime: text, title: date.toISOString() }, exactly.format(date)), ` (${fromNow.format(Math.round(off / ms), unit)})`];
}

function fileLine(file) {
  const { goes, gone } = file;
  const said = gone ? ['Deleted here on ', ...exact(gone.at)] : goes ? ['Goes on ', ...exact(goes.at)] : [file.sentence.replace(/^[^:]*: /, '').replace(/^./, (c) => c.toUpperCase())];
  const why = (gone ?? goes)?.why;
  return h('li', {},
    h('span', { class: 'what' }, NAMES[file.kind] ?? file.kind),
    h('span', { class: 'chip', 'data-mood': file.present ? 'good' : '' }, file.present ? 'Here' : 'Not here'),
    h('p', {}, said, why && h('span', { class: 'why' }, why.replace(/^./, (c) => c.toUpperCase()))));
}

function whole(outlook) {
  const { next, ends } = outlook;
  // That the whole of it goes next is said once.
  const same = next?.at && next.at === ends?.at;
  return [
    next && !same && h('p', {}, h('b', {}, 'Next: '), next.what, next.at ? [', ', ...exact(next.at)] : ', now'),
    ends && h('p', {}, h('b', {}, 'The whole recording: '), new Date(ends.at) > Date.now() ? 'goes on ' : 'ended on ', ...exact(ends.at), `, by ${ends.why}`),
  ];
}

/** Everything of it, as it stands in the card once that is opened. */
export function outlookOf(outlook) {
  return [
    ...whole(outlook).filter(Boolean),
    outlook.files.length > 0 && h('ul', { class: 'files' }, outlook.files.map(fileLine)),
    !outlook.files.length && h('p', {}, outlook.sentence),
  ].filter(Boolean);
}

export function holdLine(hold, lift) {
  return h('div', { class: 'hold' }, icon('shield'),
    h('p', {}, h('b', {}, 'Legal hold'), ' since ', h('time', { datetime: hold.at, title: new Date(hold.at).toLocaleString() }, exactly.format(new Date(hold.at))), `, set by ${hold.by}: ${hold.reason}`),
    lift);
}

/** A file on its way to a destination. */
export function pushLine({ destination, kind, bytes, sent_bytes }) {
  const label = `${NAMES[kind] ?? kind} to ${destination}: ${size(sent_bytes)} of ${size(bytes)}`;
  return h('div', { class: 'pushing' }, h('span', {}, label), h('progress', { max: bytes || 1, value: sent_bytes, 'aria-label': label }));
}

function triedLine({ at, attempt, by_hand, destination, kind, bytes, sent_bytes, duration_ms, location, error }) {
  const took = `${(duration_ms / 1000).toFixed(1)} s`;
  const whole = `${NAMES[kind] ?? kind} to ${destination}, ${by_hand ? 'by hand' : `attempt ${attempt}`}, ${took}, ${location ? size(bytes) : `${size(sent_bytes)} of ${size(bytes)}`}`;
  return h('li', {},
    h('time', { class: 'what', datetime: at, title: exactly.format(new Date(at)) }, new Date(at).toLocaleTimeString()),
    h('span', { class: 'chip', 'data-mood': location ? 'good' : 'bad' }, location ? 'Arrived' : 'Failed'),
    h('p', {}, whole, error && h('span', { class: 'why' }, error)));
}

/** What was tried at each destination, newest first; the rest is the command line's to list. */
export function triedOf(attempts) {
  const newest = attempts.slice(-TRIED_SHOWN).reverse();
  if (!newest.length) return [];
  const more = attempts.length - newest.length;
  return [h('p', {}, h('b', {}, 'What was tried'), more > 0 && ` (the last ${newest.length} of ${attempts.length})`), h('ul', { class: 'files' }, newest.map(triedLine))];
}
