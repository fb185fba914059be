// Watching and downloading.
//
// A <video> cannot send the key, so a file is fetched with it and played from memory. That is done
// up to PLAY_BYTES_MAX; larger files are offered for download, straight to disk where the browser
// can do that.

import { button, h, icon, save, size } from '/recorder/v1/dom.js';
import { fileOf, titleOf, within } from './card.js';
import { open } from './dialogs.js';

const PLAY_BYTES_MAX = 1 << 30;

export function play(api, recording, { download }) {
  const main = fileOf(recording, 'main');
  const abort = new AbortController();
  let url = null;
  const title = titleOf(recording);
  const screen = h('div', { class: 'screen' });
  const dialog = h('dialog', { class: 'player', 'aria-label': title },
    h('div', { class: 'bar' }, h('h2', {}, title), h('div', {},
      h('button', { class: 'button quiet', type: 'button', 'aria-label': 'Close', onclick: () => dialog.close() }, icon('close')))),
    screen);
  dialog.addEventListener('close', () => {
    abort.abort();
    if (url) URL.revokeObjectURL(url);
  });
  const offer = (text) => screen.replaceChildren(h('div', { class: 'wait' }, h('p', {}, text),
    button('Download', { onclick: () => download(recording), kind: 'primary', glyph: 'download' })));
  open(dialog);
  if (main.bytes > PLAY_BYTES_MAX) {
    offer(`At ${size(main.bytes)} this is too large to be played here.`);
    return;
  }
  const bar = h('progress', { max: main.bytes || 1, value: 0, 'aria-label': 'Fetching' });
  const figures = h('p', {}, 'Fetching');
  screen.replaceChildren(h('div', { class: 'wait' }, bar, figures));
  const onProgress = (got) => {
    bar.value = got;
    figures.textContent = `${size(got)} of ${size(main.bytes)}`;
  };
  api.file(main.url, { signal: abort.signal, onProgress }).then((blob) => {
    url = URL.createObjectURL(blob);
    const audio = recording.media && !recording.media.width;
    const player = h(audio ? 'audio' : 'video', { src: url, '.controls': true, '.autoplay': true, '.playsInline': true, 'aria-label': title });
    player.addEventListener('error', () => offer('This browser cannot play this file.'));
    screen.replaceChildren(player);
    player.focus();
  }).catch((error) => {
    if (error.name !== 'AbortError') offer(`It could not be fetched. ${error.message}`);
  });
}

/** The main file, or the raw one where there is no other. */
export async function download(api, recording, notify) {
  const file = [fileOf(recording, 'main'), fileOf(recording, 'raw')].find(within);
  const ending = file.kind === 'main' ? 'mp4' : { webm: 'webm', matroska: 'mkv', quicktime: 'mov' }[recording.container] ?? 'bin';
  const name = `${titleOf(recording).replace(/[\\/:*?"<>|]/g, '_').replace(/\.[a-z0-9]{2,4}$/i, '')}.${ending}`;
  try {
    if (globalThis.showSaveFilePicker && file.bytes > 64 << 20) {
      const place = await showSaveFilePicker({ suggestedName: name });
      await api.pipe(file.url, await place.createWritable());
      return;
    }
    notify(`Fetching ${name}, ${size(file.bytes)}.`);
    save(await api.file(file.url), name);
    notify('');
  } catch (error) {
    if (error.name !== 'AbortError') notify(`${name} could not be fetched. ${error.message}`);
  }
}
