// After saving: how far the node has come, then the finished files.

import { button, h, icon, size } from './dom.js';
import { PLAY_BYTES_MAX } from './outcome.js';

const STEPS = {
  saved: ['Saved', 'The node has it on disk. It prepares it for watching now.'],
  processing: ['Saved', 'The node prepares it for watching. You may close this page.'],
  delivering: ['Saved', 'It is ready and on its way to where it is kept.'],
  stored: ['Stored', 'It is where it is kept.'],
  delivered: ['Delivered', 'It was handed over. Nothing of it stays on the node.'],
  failed: ['Saved, but not finished', 'The node has it on disk and could not finish it. Tell whoever runs the node; nothing is lost.'],
  garbage: ['Not a recording', 'The node could not read this as a recording.'],
  deleted: ['Deleted', 'This recording was deleted.'],
};

export class ResultView {
  #host;
  #video;
  #urls = new Map(); // kind → object URL, or null while it is fetched
  #status = null;
  #parts = {};
  #epoch = 0;

  constructor(host, video) {
    this.#host = host;
    this.#video = video;
  }

  close() {
    this.#epoch += 1;
    for (const url of this.#urls.values()) if (url) URL.revokeObjectURL(url);
    this.#urls.clear();
    this.#status = null;
    this.#parts = {};
  }

  panel() {
    const state = this.#status?.state ?? 'saved';
    const [title, text] = STEPS[state] ?? STEPS.processing;
    const bad = ['failed', 'garbage', 'deleted'].includes(state);
    const busy = ['saved', 'processing'].includes(state);
    this.#parts.title = h('h2', {}, title);
    this.#parts.text = h('p', {}, text);
    this.#parts.bar = h('progress', { max: '1', 'aria-label': 'Processing' });
    this.#parts.bar.hidden = !busy;
    return [h('div', { class: bad ? 'medal bad' : 'medal good' }, icon(bad ? 'warn' : 'check')), this.#parts.title, this.#parts.text, this.#parts.bar];
  }

  bar() {
    const main = this.#urls.get('main');
    return [
      h('div', { class: 'left' }, button('New recording', { onclick: () => this.#host.reset(), kind: 'quiet', glyph: 'again', first: true })),
      h('div', { class: 'centre' }, main && h('span', { class: 'chip', 'data-mood': 'good' }, icon('shield'), STEPS[this.#status?.state]?.[0] ?? 'Saved')),
      h('div', { class: 'right' }, main && h('a', { class: 'button', part: 'button', href: main, download: 'recording.mp4' }, icon('download'), h('span', {}, 'Download'))),
    ];
  }

  foot() {
    const picture = (kind, alt) => this.#urls.get(kind) && h('img', { class: kind, part: kind, src: this.#urls.get(kind), alt });
    return [picture('snapshot', 'Snapshot of the recording'), picture('filmstrip', 'Filmstrip: pictures from beginning to end')].filter(Boolean);
  }

  /** Shows a status of the node, or that it cannot be asked just now (null). */
  show(status, view) {
    if (!status) {
      if (this.#parts.text) this.#parts.text.textContent = 'Saved. The node cannot be reached just now; asking again.';
      return;
    }
    const before = this.#status?.state;
    this.#status = status;
    if (status.state !== before) {
      view.panel.replaceChildren(...this.panel());
      view.bar.replaceChildren(...this.bar());
      view.announce(STEPS[status.state]?.join('. ') ?? '');
    }
    if (status.state === 'failed' && status.explain) this.#parts.text.textContent = status.explain;
    if (status.progress > 0) this.#parts.bar.value = status.progress;
    else this.#parts.bar.removeAttribute('value');
    for (const file of status.files ?? []) this.#fetch(file, view);
  }

  async #fetch(file, view) {
    const { kind, url, bytes } = file;
    if (!url || !['main', 'snapshot', 'filmstrip'].includes(kind) || this.#urls.has(kind)) return;
    if (file.local === false && !file.pushed?.length) return;
    if (bytes > PLAY_BYTES_MAX) {
      this.#urls.set(kind, null);
      this.#parts.text.textContent = `${this.#parts.text.textContent} At ${size(bytes)} it is too large to be shown here.`;
      return;
    }
    this.#urls.set(kind, null);
    const epoch = this.#epoch;
    try {
      const blob = await this.#host.outcome.file(url);
      if (epoch !== this.#epoch) return;
      this.#urls.set(kind, URL.createObjectURL(blob));
    } catch {
      if (epoch === this.#epoch) this.#urls.delete(kind); // asked for again with the next status
      return;
    }
    if (kind === 'main') {
      this.#video.src = this.#urls.get('main');
      this.#video.dataset.from = 'result';
      this.#video.hidden = false;
      view.panel.hidden = true;
      view.bar.replaceChildren(...this.bar());
      view.announce('The recording can be watched now.');
    }
    if (kind === 'snapshot') this.#video.poster = this.#urls.get('snapshot');
    view.foot.replaceChildren(...this.foot());
    view.foot.hidden = !view.foot.childNodes.length;
  }
}
